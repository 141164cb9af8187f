//! Refusals as responses: the status and the refusal itself, which the outermost layer words for the caller's surface.

use axum::body::Body;
use axum::response::Response;
use events::wire::Refusal;
use http::StatusCode;

/// A response without a body that carries the refusal as an extension.
pub fn refused(refusal: Refusal) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(refusal.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.extensions_mut().insert(refusal);
    response
}
