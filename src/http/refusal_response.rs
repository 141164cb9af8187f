//! Refusals in the error format of the surface: the one place where a refusal becomes a status, a body and headers.

use axum::body::Body;
use axum::response::Response;
use dialects::{ErrorForm, error_body};
use events::refusal::{ErrorCode, Refusal, retry_after_seconds};
use http::HeaderValue;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use openapi::refusals;

/// Writes the status, body and headers of a refusal into its response.
pub fn write_refusal(response: &mut Response, refusal: &Refusal, form: ErrorForm, request_id: &str) {
    let mut body = Vec::from(error_body(form, refusal, request_id));
    body.push(b'\n');
    *response.status_mut() = refusals::status(refusal.code);
    let headers = response.headers_mut();
    // The length of the empty body.
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(wait) = refusal.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(retry_after_seconds(wait)));
    }
    // RFC 9110, section 15.5.16: only where a content coding is the reason.
    let accepted = refusal.details.get("accept_encoding").and_then(serde_json::Value::as_str);
    if let Some(Ok(codings)) = accepted.map(HeaderValue::from_str) {
        headers.insert(ACCEPT_ENCODING, codings);
    }
    if is_final(refusal) {
        // Both vendors' SDKs would otherwise retry, and be refused again.
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
    }
    if refusal.code == ErrorCode::Unauthenticated {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    *response.body_mut() = Body::from(body);
}

/// True if a retry of the same request would be refused again: no money left, an idempotency key that was used, more than
/// the whole limit, a request that the upstream rejected, or one that goes in a circle.
fn is_final(refusal: &Refusal) -> bool {
    let has_no_time = refusal.details.get("retry_after").is_some_and(serde_json::Value::is_null);
    if refusal.code == ErrorCode::RateLimited && has_no_time {
        return true;
    }
    let upstream_status = refusal.details.get("upstream_status").and_then(serde_json::Value::as_u64);
    matches!(refusal.code, ErrorCode::BudgetExceeded | ErrorCode::IdempotencyKeyReused | ErrorCode::LoopDetected)
        || upstream_status.is_some_and(|status| (400..500).contains(&status))
}
