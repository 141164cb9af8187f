//! Errors in Anthropic's format.

use events::refusal::{ErrorCode, Refusal};
use openapi::refusals::{self, Wording};
use openapi::schema::{self, Shape, object};
use serde_json::{Value, json};

use crate::with_details;

/// Their schema in `/openapi.json`.
pub const WORDING: Wording = Wording { name: "AnthropicError", body: shape, has_code: false };

/// The body of an error.
pub fn error(refusal: &Refusal, request_id: &str) -> Value {
    let error = json!({ "type": error_type(refusal.code), "message": refusal.message });
    json!({ "type": "error", "error": with_details(error, refusal), "request_id": request_id })
}

fn shape(code: ErrorCode) -> Shape {
    let error = object()
        .required("type", schema::one_of([error_type(code)]))
        .required("message", schema::string())
        .optional("details", refusals::details(code));
    object()
        .required("type", schema::one_of(["error"]))
        .required("error", error.open())
        .required("request_id", schema::string())
        .open()
}

/// Anthropic's type for an error code.
fn error_type(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Unauthenticated => "authentication_error",
        ErrorCode::Forbidden | ErrorCode::ModelNotAllowed | ErrorCode::TermsNotMet => "permission_error",
        ErrorCode::NotFound | ErrorCode::ModelNotFound => "not_found_error",
        ErrorCode::PayloadTooLarge => "request_too_large",
        ErrorCode::BudgetExceeded | ErrorCode::RateLimited => "rate_limit_error",
        _ => match refusals::status(code).as_u16() {
            503 => "overloaded_error",
            504 => "timeout_error",
            500.. => "api_error",
            _ => "invalid_request_error",
        },
    }
}
