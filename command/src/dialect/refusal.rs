//! How each surface words a refusal.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use events::wire::{ErrorCode, Refusal};
use openapi::schema::{self, Shape, object};
use serde_json::{Value, json};

use super::native::put_event;
use super::{Surface, json, openai};

/// The body of an HTTP error.
pub fn error_body(surface: Surface, refusal: &Refusal, request_id: &str) -> Bytes {
    let mut out = Vec::with_capacity(256);
    json::push(&mut out, &envelope(surface, refusal, request_id));
    out.into()
}

/// An error where bytes of a stream have already been sent. The stream ends after it, without its terminal marker.
pub fn stream_error(surface: Surface, refusal: &Refusal, request_id: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(256);
    match surface {
        Surface::Native => put_event(&mut out, "error", &envelope(surface, refusal, request_id)),
        Surface::OpenAi => openai::put_data(&mut out, &error_body(surface, refusal, request_id)),
    }
    out.freeze()
}

fn envelope(surface: Surface, refusal: &Refusal, request_id: &str) -> Value {
    match surface {
        Surface::Native => refusal.native_body(request_id),
        Surface::OpenAi => {
            let (kind, code) = openai_words(refusal);
            let param = match refusal.code {
                ErrorCode::ModelNotFound => Some("model"),
                _ => refusal.details.get("field").and_then(Value::as_str).filter(|field| !field.is_empty()),
            };
            json!({ "error": { "message": openai_message(refusal), "type": kind, "param": param, "code": code } })
        }
    }
}

/// The form of a refusal on the OpenAI surface, as it is published.
pub fn openai_shape(code: ErrorCode) -> Shape {
    let (kind, word) = openai_words(&Refusal::new(code, ""));
    let kinds = if code == ErrorCode::RateLimited { vec!["requests", "tokens"] } else { vec![kind] };
    let word = word.map_or_else(|| schema::nullable(schema::string()), |word| schema::one_of([word.as_str()]));
    let error = object()
        .required("message", schema::string())
        .required("type", schema::one_of(kinds))
        .required("param", schema::nullable(schema::string()))
        .required("code", word);
    object().required("error", error.open()).open()
}

/// `type` and `code`. OpenAI's own words where it has some, else our code in lower case.
fn openai_words(refusal: &Refusal) -> (&'static str, Option<String>) {
    let own = || Some(refusal.code.as_str().to_ascii_lowercase());
    let theirs = |code: &str| Some(code.to_owned());
    match refusal.code {
        ErrorCode::InvalidRequest => ("invalid_request_error", None),
        ErrorCode::Unauthenticated => ("invalid_request_error", theirs("invalid_api_key")),
        ErrorCode::ModelNotFound => ("invalid_request_error", theirs("model_not_found")),
        ErrorCode::BudgetExceeded => ("insufficient_quota", theirs("insufficient_quota")),
        ErrorCode::RateLimited => (limited_by(refusal), theirs("rate_limit_exceeded")),
        ErrorCode::Forbidden | ErrorCode::ModelNotAllowed => ("permission_error", own()),
        _ if refusal.code.status() >= 500 => ("server_error", own()),
        _ => ("invalid_request_error", own()),
    }
}

/// Some clients (LiteLLM) know a bad key by OpenAI's words for it alone, and take it for a bad request otherwise.
fn openai_message(refusal: &Refusal) -> Cow<'_, str> {
    match refusal.code {
        ErrorCode::Unauthenticated => format!("Incorrect API key provided: {}", refusal.message).into(),
        _ => Cow::Borrowed(&refusal.message),
    }
}

/// OpenAI says in `type` what there were too many of.
fn limited_by(refusal: &Refusal) -> &'static str {
    match refusal.details.get("measure").and_then(Value::as_str) {
        Some(measure) if measure.starts_with("tokens") => "tokens",
        _ => "requests",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(surface: Surface, refusal: &Refusal) -> Value {
        serde_json::from_slice::<Value>(&error_body(surface, refusal, "req_1")).unwrap()["error"].take()
    }

    /// Holds: http.errors, http.openai-errors
    #[test]
    fn both_shapes_are_the_pinned_ones() {
        let refusal = Refusal::invalid("messages[0].role", "must be a string");
        let native = error(Surface::Native, &refusal);
        assert_eq!((&native["code"], &native["request_id"]), (&json!("INVALID_REQUEST"), &json!("req_1")));
        assert_eq!(native["details"]["field"], "messages[0].role");
        let openai = error(Surface::OpenAi, &refusal);
        assert_eq!(openai["param"], "messages[0].role");
        assert_eq!(openai.as_object().unwrap().len(), 4);
    }

    /// Holds: http.openai-errors
    #[test]
    fn openai_clients_find_the_codes_that_they_know() {
        for (code, kind, word) in [
            (ErrorCode::BudgetExceeded, "insufficient_quota", "insufficient_quota"),
            (ErrorCode::RateLimited, "requests", "rate_limit_exceeded"),
            (ErrorCode::ModelNotFound, "invalid_request_error", "model_not_found"),
            (ErrorCode::Unauthenticated, "invalid_request_error", "invalid_api_key"),
            (ErrorCode::UpstreamTimeout, "server_error", "upstream_timeout"),
            (ErrorCode::ModelUnpriced, "invalid_request_error", "model_unpriced"),
        ] {
            let error = error(Surface::OpenAi, &Refusal::new(code, "m"));
            assert_eq!((error["type"].as_str(), error["code"].as_str()), (Some(kind), Some(word)));
        }
    }

    #[test]
    fn a_bad_key_is_worded_as_openai_words_it_on_its_surface_alone() {
        let refusal = Refusal::new(ErrorCode::Unauthenticated, "a valid API key is needed");
        for (surface, message) in [
            (Surface::Native, "a valid API key is needed"),
            (Surface::OpenAi, "Incorrect API key provided: a valid API key is needed"),
        ] {
            assert_eq!(error(surface, &refusal)["message"], message);
        }
    }

    /// Holds: http.stream-error
    #[test]
    fn an_error_in_a_stream_is_one_event() {
        let refusal = Refusal::new(ErrorCode::UpstreamError, "a\nb");
        for (surface, start) in [(Surface::Native, "event: error\ndata: {"), (Surface::OpenAi, "data: {\"error\":{")] {
            let bytes = stream_error(surface, &refusal, "req_1");
            let text = std::str::from_utf8(&bytes).unwrap();
            assert!(text.starts_with(start) && text.ends_with("}\n\n"), "{text}");
            assert_eq!(text.matches("data:").count(), 1);
        }
    }
}
