//! The mock's rejections of invalid requests.

use std::fmt::Write;

use http::HeaderMap;
use serde_json::json;

use super::answer::Dialect;

pub const MESSAGE: &str = "This model's maximum context length is 8192 tokens, and you asked for 9000 of them.";
pub const CODE: &str = "context_length_exceeded";
pub const PARAM: &str = "messages";

/// The body with a status of 4xx.
pub fn body(dialect: Dialect) -> String {
    let body = match dialect {
        Dialect::OpenAi | Dialect::Embeddings { .. } => {
            json!({ "error": { "message": MESSAGE, "type": "invalid_request_error", "param": PARAM, "code": CODE } })
        }
        Dialect::Anthropic => {
            json!({ "type": "error", "error": { "type": "invalid_request_error", "message": MESSAGE }, "request_id": "r" })
        }
    };
    body.to_string()
}

/// A body far longer than what the gateway reads of it.
pub fn long() -> String {
    json!({ "error": { "message": format!("{MESSAGE} {}", "word ".repeat(200_000)), "code": CODE } }).to_string()
}

/// The body with status 200, as from OpenRouter, whose code is then a status.
pub fn inside(dialect: Dialect) -> String {
    match dialect {
        Dialect::OpenAi | Dialect::Embeddings { .. } => {
            json!({ "error": { "message": MESSAGE, "code": 400 } }).to_string()
        }
        Dialect::Anthropic => body(dialect),
    }
}

/// The rejection as an event of a stream.
pub fn event(dialect: Dialect) -> String {
    match dialect {
        Dialect::OpenAi | Dialect::Embeddings { .. } => format!("data: {}\n\n", inside(dialect)),
        Dialect::Anthropic => format!("event: error\ndata: {}\n\n", inside(dialect)),
    }
}

/// A body that repeats the request's headers in the message, the code and the parameter.
pub fn leaking(headers: &HeaderMap) -> String {
    let mut message = "The request is wrong:".to_owned();
    let mut last = String::new();
    for (name, value) in headers {
        let value = value.to_str().unwrap_or_default();
        let spaced: String = value.chars().map(|letter| format!("{letter} ")).collect();
        let encoded: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let _ = write!(message, " {name}={value} {} {spaced} {encoded}", value.to_uppercase());
        if name == "authorization" || name == "x-api-key" {
            value.rsplit(' ').next().unwrap_or_default().clone_into(&mut last);
        }
    }
    message.push_str(" and that is all.");
    json!({ "error": { "message": message, "type": "invalid_request_error", "param": last, "code": last } }).to_string()
}
