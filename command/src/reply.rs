//! Refusals as responses. A response carries the refusal itself, which the door writes in the form of the client's surface.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use events::refusal::{ErrorCode, Refusal};
use openapi::refusals;

/// `Retry-After` if the ledger cannot be used.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// `recorded` tells whether the requested change is in the log: `no`, `unknown` or `yes`.
pub fn ledger_unavailable(recorded: &str, message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::LedgerUnavailable, message).with("recorded", recorded).retry_after(RETRY_AFTER)
}

/// A response with the refusal's status, without a body; the refusal is an extension.
pub fn refused(refusal: Refusal) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = refusals::status(refusal.code);
    response.extensions_mut().insert(refusal);
    response
}
