//! Bounds on calls that need no key: how many there are at a time, and how long each may last. A call counts until both its
//! request and its response are gone, and both go at its deadline, though its client may neither read nor send.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use events::refusal::{ErrorCode, Refusal};
use openapi::refusals;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::Status;

use crate::timed_body::TimedBody;

/// The bounds of one kind of calls. Clones share their count.
#[derive(Clone)]
pub struct OpenCalls {
    kind: &'static str,
    time_max: Duration,
    calls_max: usize,
    free: Arc<Semaphore>,
}

impl OpenCalls {
    /// `kind`: what the calls are called in a refusal.
    pub fn new(kind: &'static str, calls_max: usize, time_max: Duration) -> Self {
        Self { kind, time_max, calls_max, free: Arc::new(Semaphore::new(calls_max)) }
    }
}

/// Middleware that keeps calls within these bounds.
pub async fn bounded(State(calls): State<OpenCalls>, request: Request, next: Next) -> Response {
    let OpenCalls { kind, time_max, calls_max, free } = calls;
    let Ok(permit) = free.try_acquire_owned() else {
        let refusal = Refusal::new(ErrorCode::Overloaded, format!("there are {calls_max} {kind} already"));
        return refusals::response(refusal.with("scope", "gateway").try_again());
    };
    let (permit, deadline) = (Arc::new(permit), Instant::now() + time_max);
    let of_request = Arc::clone(&permit);
    let request = request.map(|body| Body::new(TimedBody::of_request(body, of_request, deadline)));
    let response = next.run(request).await;
    let over = Status::deadline_exceeded(format!("{kind} end after {} s: call again", time_max.as_secs()));
    response.map(|body| Body::new(TimedBody::of_response(body, permit, deadline, &over)))
}
