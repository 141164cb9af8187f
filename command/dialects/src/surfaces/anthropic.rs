//! Anthropic's API, which is not served. Its clients get that error in Anthropic's format.

use events::refusal::{ErrorCode, Refusal};
use openapi::refusals;
use serde_json::{Value, json};

use super::{Audience, ErrorForm, Vendor, with_details};

pub const VENDOR: Vendor = Vendor {
    audience: Audience { error_form: ErrorForm::Anthropic, surface: None },
    note: ", which serve Anthropic's models as well",
    unsupported: &[
        ("messages/batches", "Anthropic's Message Batches API"),
        ("messages/count_tokens", "Anthropic's token counting"),
        ("messages", "Anthropic's Messages API"),
        ("complete", "Anthropic's Text Completions API"),
    ],
};

/// The body of an error.
pub fn error(refusal: &Refusal, request_id: &str) -> Value {
    let error = json!({ "type": error_type(refusal.code), "message": refusal.message });
    json!({ "type": "error", "error": with_details(error, refusal), "request_id": request_id })
}

/// Anthropic's type for an error code.
const fn error_type(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Unauthenticated => "authentication_error",
        ErrorCode::Forbidden | ErrorCode::ModelNotAllowed => "permission_error",
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
