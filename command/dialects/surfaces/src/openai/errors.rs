//! Errors in OpenAI's format.

use std::borrow::Cow;

use events::refusal::{ErrorCode, Refusal};
use openapi::refusals::{self, Wording};
use openapi::schema::{self, Shape, object};
use serde_json::{Value, json};

use crate::with_details;

/// Their schema in `/openapi.json`.
pub const WORDING: Wording = Wording { name: "OpenAiError", body: shape, has_code: true };

/// The body of an error.
pub fn error(refusal: &Refusal) -> Value {
    let (kind, code) = type_and_code(refusal);
    let param = match refusal.code {
        ErrorCode::ModelNotFound => Some("model"),
        ErrorCode::UpstreamRejected => detail(refusal, "field").or_else(|| detail(refusal, "upstream_param")),
        _ => detail(refusal, "field").filter(|field| !field.is_empty()),
    };
    let error = json!({ "message": message(refusal), "type": kind, "param": param, "code": code });
    json!({ "error": with_details(error, refusal) })
}

fn shape(code: ErrorCode) -> Shape {
    let (kind, word) = type_and_code(&Refusal::new(code, ""));
    let kinds = if code == ErrorCode::RateLimited { vec!["requests", "tokens"] } else { vec![kind] };
    let word = word.map_or_else(|| schema::nullable(schema::string()), |word| schema::one_of([word.as_str()]));
    let error = object()
        .required("message", schema::string())
        .required("type", schema::one_of(kinds))
        .required("param", schema::nullable(schema::string()))
        .required("code", word)
        .optional("details", refusals::details(code));
    object().required("error", error.open()).open()
}

/// `type` and `code`: OpenAI's own values if it has any, or else the gateway's code in lower case.
fn type_and_code(refusal: &Refusal) -> (&'static str, Option<String>) {
    let gateway = || Some(refusal.code.as_str().to_ascii_lowercase());
    let openai = |code: &str| Some(code.to_owned());
    match refusal.code {
        ErrorCode::InvalidRequest => ("invalid_request_error", detail(refusal, "condition").map(str::to_owned)),
        // Clients know the provider's codes, such as `context_length_exceeded`.
        ErrorCode::UpstreamRejected => ("invalid_request_error", detail(refusal, "upstream_code").map(str::to_owned)),
        ErrorCode::Unauthenticated => ("invalid_request_error", openai("invalid_api_key")),
        ErrorCode::ModelNotFound => ("invalid_request_error", openai("model_not_found")),
        ErrorCode::BudgetExceeded => ("insufficient_quota", openai("insufficient_quota")),
        ErrorCode::RateLimited => (limited_by(refusal), openai("rate_limit_exceeded")),
        ErrorCode::Forbidden | ErrorCode::ModelNotAllowed | ErrorCode::TermsNotMet => ("permission_error", gateway()),
        _ if refusals::status(refusal.code).is_server_error() => ("server_error", gateway()),
        _ => ("invalid_request_error", gateway()),
    }
}

/// How the refusal of a request without any key begins.
const NO_KEY: &str = "the request has no API key";

/// The message. Some clients (LiteLLM) recognise a bad key by OpenAI's wording only, and otherwise report a bad
/// request.
fn message(refusal: &Refusal) -> Cow<'_, str> {
    match refusal.code {
        ErrorCode::Unauthenticated if !refusal.message.starts_with(NO_KEY) => {
            format!("Incorrect API key provided: {}", refusal.message).into()
        }
        _ => Cow::Borrowed(&refusal.message),
    }
}

fn detail<'r>(refusal: &'r Refusal, name: &str) -> Option<&'r str> {
    refusal.details.get(name).and_then(Value::as_str)
}

/// The measure that was exceeded, which OpenAI puts into `type`.
fn limited_by(refusal: &Refusal) -> &'static str {
    match detail(refusal, "measure") {
        Some(measure) if measure.starts_with("tokens") => "tokens",
        _ => "requests",
    }
}
