//! Responses of JSON.

use axum::response::{IntoResponse, Response};
use events::refusal::{ErrorCode, Refusal};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::Serialize;

use crate::refusals;

/// A response of JSON that ends with a newline, so that the shell's prompt after `curl` stands on a line of its own; JSON
/// parsers skip it.
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let mut json = Vec::with_capacity(128);
        if let Err(error) = serde_json::to_writer(&mut json, &self.0) {
            return refusals::response(
                Refusal::new(ErrorCode::Internal, "the response cannot be written").because(error),
            );
        }
        json.push(b'\n');
        let mut response = Response::new(json.into());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}
