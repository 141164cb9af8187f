//! The checks that make a request a gRPC call, and the deadline that its client gives it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use events::refusal::{ErrorCode, Refusal};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Version};
use openapi::refusals;
use projections::caller::Caller;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use crate::status::{refused, status};
use crate::timed_body::TimedBody;

const MEDIA_TYPES: [&str; 2] = ["application/grpc", "application/grpc+proto"];
const TIMEOUT: &str = "grpc-timeout";
const TIMEOUT_DIGITS_MAX: usize = 8;

/// True for a gRPC call, whose response is read as one.
pub fn is_call<B>(request: &http::Request<B>) -> bool {
    let media = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    request.version() == Version::HTTP_2 && MEDIA_TYPES.iter().any(|known| media.eq_ignore_ascii_case(known))
}

/// Middleware that refuses anything else, and ends calls at their deadline.
pub async fn required(request: Request, next: Next) -> Response {
    if !is_call(&request) {
        let message = "this address serves gRPC: HTTP/2 with the content type application/grpc";
        return refusals::response(Refusal::new(ErrorCode::UnsupportedMediaType, message));
    }
    let deadline = match timeout(request.headers()) {
        Ok(timeout) => timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
        Err(refusal) => return refusals::response(refusal),
    };
    let Some(deadline) = deadline else { return next.run(request).await };
    let passed = || Refusal::new(ErrorCode::QueryTimeout, "the deadline that the call came with has passed");
    match timeout_at(deadline, next.run(request)).await {
        Ok(response) => response.map(|body| Body::new(TimedBody::of_response(body, (), deadline, &status(&passed())))),
        Err(_) => refusals::response(passed()),
    }
}

/// How long the client waits for the call; `None` if it does not say.
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    let Some(value) = headers.get(TIMEOUT) else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(parse_timeout);
    parsed.map(Some).ok_or_else(|| Refusal::invalid(TIMEOUT, "must be up to eight digits and a unit, such as 500m"))
}

fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > TIMEOUT_DIGITS_MAX || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// The caller, whom the door has put among the call's extensions.
pub fn caller<T>(request: &tonic::Request<T>) -> Result<Arc<Caller>, Status> {
    let caller = request.extensions().get::<Arc<Caller>>().map(Arc::clone);
    caller.ok_or_else(|| refused(Refusal::new(ErrorCode::Unauthenticated, "no API key"), None))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::middleware::from_fn;
    use axum::routing::post;
    use futures_util::stream;
    use http_body_util::BodyExt;
    use tokio::time::sleep;
    use tower::ServiceExt;

    use super::*;

    /// The answer to a call with this timeout, of a method that takes two seconds and then never ends.
    async fn call(timeout: &str) -> Response {
        let endless = || async {
            sleep(Duration::from_secs(2)).await;
            Body::from_stream(stream::pending::<Result<&[u8], Status>>())
        };
        let router = Router::new().route("/", post(endless)).layer(from_fn(required));
        let request = http::Request::post("/").version(Version::HTTP_2).header(CONTENT_TYPE, "application/grpc");
        let request = request.header(TIMEOUT, timeout).body(Body::empty()).expect("a request");
        router.oneshot(request).await.expect("an answer")
    }

    /// Holds: grpc.deadline
    #[tokio::test(start_paused = true)]
    async fn a_call_ends_at_the_deadline_that_it_came_with() {
        for (timeout, wanted) in [("500m", 500), ("1S", 1000), ("1900000u", 1900)] {
            let began = Instant::now();
            let refusal = call(timeout).await.extensions_mut().remove::<Refusal>().expect("a refusal");
            assert_eq!(refusal.code, ErrorCode::QueryTimeout, "{timeout}");
            assert_eq!(began.elapsed().as_millis(), wanted, "{timeout}");
        }
        let began = Instant::now();
        let trailers = call("1M").await.into_body().collect().await.expect("an end").trailers().cloned();
        let trailers = trailers.expect("trailers");
        assert_eq!(
            (&trailers["grpc-status"], &trailers["ledgerway-code"]),
            (&"4".parse().expect("a value"), &"QUERY_TIMEOUT".parse().expect("a value"))
        );
        assert_eq!(began.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_has_digits_and_a_unit() {
        for wrong in ["", "S", "5", "-5S", "+5S", "5s", "123456789S", "5é", "1 S"] {
            let refusal = call(wrong).await.extensions_mut().remove::<Refusal>().expect(wrong);
            assert_eq!(refusal.details["field"], TIMEOUT, "{wrong}");
        }
        assert!(call("99999999H").await.extensions().get::<Refusal>().is_none());
    }
}
