//! Refusals that every part of this crate makes, and refusals as responses: the status and the refusal itself, which the outermost layer words for the caller's surface.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use events::refusal::{ErrorCode, Refusal};
use openapi::refusals;

/// Advice where the ledger cannot be used.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// `recorded`: whether what was asked for is a fact: `no`, `unknown` or `yes`.
pub fn ledger_unavailable(recorded: &str, message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::LedgerUnavailable, message).with("recorded", recorded).retry_after(RETRY_AFTER)
}

/// A response without a body that carries the refusal as an extension.
pub fn refused(refusal: Refusal) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = refusals::status(refusal.code);
    response.extensions_mut().insert(refusal);
    response
}
