//! What makes a request a gRPC call.

use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use events::refusal::{ErrorCode, Refusal};
use http::Version;
use http::header::CONTENT_TYPE;
use openapi::refusals;
use projections::caller::Caller;
use tonic::Status;

use crate::status::refused;

const MEDIA_TYPES: [&str; 2] = ["application/grpc", "application/grpc+proto"];

/// True for a gRPC call, whose response is read as one.
pub fn is_call<B>(request: &http::Request<B>) -> bool {
    let media = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    request.version() == Version::HTTP_2 && MEDIA_TYPES.iter().any(|known| media.eq_ignore_ascii_case(known))
}

/// Middleware that refuses anything else.
pub async fn required(request: Request, next: Next) -> Response {
    if is_call(&request) {
        return next.run(request).await;
    }
    let message = "this address serves gRPC: HTTP/2 with the content type application/grpc";
    refusals::response(Refusal::new(ErrorCode::UnsupportedMediaType, message))
}

/// The caller, whom the door has put among the call's extensions.
pub fn caller<T>(request: &tonic::Request<T>) -> Result<Arc<Caller>, Status> {
    let caller = request.extensions().get::<Arc<Caller>>().map(Arc::clone);
    caller.ok_or_else(|| refused(Refusal::new(ErrorCode::Unauthenticated, "no API key"), None))
}
