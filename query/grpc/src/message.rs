//! The request's message. It is read whole before a method begins, with a bound on its size and its time: nothing waits for a
//! client that does not send it.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use events::refusal::{ErrorCode, Refusal};
use openapi::refusals;

/// More than the longest values of all parameters take.
const BYTES_MAX: usize = 256 * 1024;
const TIME_MAX: Duration = Duration::from_secs(10);

/// Middleware that passes requests on once their message has arrived.
pub async fn arrived_whole(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    // HTTP/2 may say the length; a body without it is cut where it gets too long.
    let bytes = match tokio::time::timeout(TIME_MAX, to_bytes(body, BYTES_MAX)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => return refusals::response(not_read(&error)),
        Err(_) => {
            let seconds = TIME_MAX.as_secs();
            let reason = format!("the request's message did not arrive within {seconds} s");
            return refusals::response(Refusal::invalid("", reason));
        }
    };
    next.run(Request::from_parts(parts, Body::from(bytes))).await
}

fn not_read(error: &axum::Error) -> Refusal {
    let source = std::error::Error::source(error);
    if source.is_some_and(|source| source.is::<http_body_util::LengthLimitError>()) {
        let kib = BYTES_MAX / 1024;
        return Refusal::new(ErrorCode::PayloadTooLarge, format!("the request's message is over {kib} KiB"));
    }
    Refusal::invalid("", "the request's message broke off")
}
