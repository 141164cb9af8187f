//! Requests in flight. A request counts until the last byte of its response has been handed over, or its client has gone.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Counts requests and knows whether new ones are still accepted. Cheap to clone.
#[derive(Clone)]
pub struct InFlight {
    requests: TaskTracker,
    draining: watch::Sender<bool>,
    /// Set when draining is near, so that load balancers stop sending requests.
    leaving: Arc<AtomicBool>,
}

impl InFlight {
    pub fn new() -> Self {
        Self { requests: TaskTracker::new(), draining: watch::Sender::new(false), leaving: Arc::default() }
    }

    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Reports the gateway as not ready from now on; requests are served as before.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// A value that becomes true when new requests are no longer accepted.
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    /// Refuses new requests, and waits for those in flight to end.
    pub async fn drain(&self) {
        self.leave();
        self.draining.send_replace(true);
        self.requests.close();
        self.requests.wait().await;
    }

    /// Number of requests in flight.
    pub fn count(&self) -> usize {
        self.requests.len()
    }

    pub fn begin(&self) -> InFlightRequest {
        InFlightRequest(self.requests.token())
    }
}

/// One request in flight, until it is dropped.
pub struct InFlightRequest(TaskTrackerToken);

impl InFlightRequest {
    /// Keeps the request in flight until the body of its response is dropped.
    pub fn attach_to(self, body: Body) -> Body {
        Body::new(InFlightBody { body, _request: self.0 })
    }
}

struct InFlightBody {
    body: Body,
    _request: TaskTrackerToken,
}

impl http_body::Body for InFlightBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
