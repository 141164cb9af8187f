//! `POST /add-checkpoint` (<https://c2sp.org/tlog-witness>). Whoever reaches it may ask: the signature of a log is what is checked.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use blocking_work::WITNESS;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use tlog::{ADD_CHECKPOINT_PATH, NoteSignature, REQUEST_BYTES_MAX, SIZE_CONTENT_TYPE};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::refusal::Refusal;
use crate::witness::Witness;

/// How many requests are read and answered at a time: with bodies of full length, 64 MB.
const REQUESTS_MAX: usize = 64;
/// The longest time that a client may take to send its body.
const BODY_WAIT_MAX: Duration = Duration::from_secs(10);

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const SIZE: HeaderValue = HeaderValue::from_static(SIZE_CONTENT_TYPE);

/// The state of the route. Cheap to clone.
#[derive(Clone)]
struct WitnessState {
    witness: Arc<Witness>,
    requests: Arc<Semaphore>,
}

/// The route of a witness.
pub fn routes(witness: Arc<Witness>) -> Router {
    let state = WitnessState { witness, requests: Arc::new(Semaphore::new(REQUESTS_MAX)) };
    Router::new()
        .route(ADD_CHECKPOINT_PATH, post(add_checkpoint))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(state)
}

async fn add_checkpoint(State(state): State<WitnessState>, request: Request) -> Response {
    let Ok(permit) = state.requests.try_acquire_owned() else {
        return try_again("the witness has as many requests as it takes at a time");
    };
    // Known before a byte of it has arrived, if the client says how long it is.
    if request.body().size_hint().lower() > REQUEST_BYTES_MAX as u64 {
        return text(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than a request can be");
    }
    let body = match timeout(BODY_WAIT_MAX, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => body,
        Ok(Err(rejection)) => return text(rejection.status(), &rejection.body_text()),
        Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the body did not arrive within 10 s"),
    };
    // Once begun, it goes on if the client goes away.
    let answered = WITNESS.run(None, move || {
        let answered = state.witness.add_checkpoint(&body);
        drop(permit);
        answered
    });
    match answered.await {
        Ok(answered) => response(answered),
        Err(error) => {
            tracing::error!(%error, "cannot answer a request");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be answered")
        }
    }
}

/// The one place that knows statuses. The specification has them, except for those of a request that has no answer yet.
fn response(answered: Result<NoteSignature, Refusal>) -> Response {
    let refusal = match answered {
        Ok(cosignature) => return text(StatusCode::OK, &cosignature.to_string()),
        Err(refusal) => refusal,
    };
    let status = match &refusal {
        Refusal::OtherSize { stored_size } => return answer(StatusCode::CONFLICT, SIZE, &stored_size.to_string()),
        Refusal::NotStored(error) => {
            tracing::error!(%error, "cannot store a checkpoint, so it is not cosigned");
            return try_again(&refusal.to_string());
        }
        Refusal::Malformed(_) | Refusal::Shrinks { .. } | Refusal::NoRoom(_) => StatusCode::BAD_REQUEST,
        Refusal::UnknownLog => StatusCode::NOT_FOUND,
        Refusal::Untrusted(_) => StatusCode::FORBIDDEN,
        Refusal::OtherRoot => StatusCode::CONFLICT,
        Refusal::Inconsistent(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    text(status, &refusal.to_string())
}

fn try_again(why: &str) -> Response {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, why);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn text(status: StatusCode, line: &str) -> Response {
    answer(status, TEXT, line)
}

fn answer(status: StatusCode, content_type: HeaderValue, line: &str) -> Response {
    (status, [(CONTENT_TYPE, content_type)], format!("{line}\n")).into_response()
}
