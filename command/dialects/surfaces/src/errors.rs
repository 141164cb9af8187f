//! Refusals in the error formats of the native API, OpenAI and Anthropic.

use bytes::{Bytes, BytesMut};
use events::refusal::Refusal;
use intermediate::json;
use openapi::refusals;

use super::{BrokenStream, ErrorForm, Surface, anthropic, openai};

/// The body of an HTTP error.
pub fn error_body(form: ErrorForm, refusal: &Refusal, request_id: &str) -> Bytes {
    let body = match form {
        ErrorForm::Native => refusals::native_body(refusal, request_id),
        ErrorForm::OpenAi => openai::error(refusal),
        ErrorForm::Anthropic => anthropic::error(refusal, request_id),
    };
    json::written(&body).into()
}

/// The error event of a stream that has begun. The stream ends after it, without a terminal marker.
pub fn stream_error(surface: Surface, refusal: &Refusal, stream: &BrokenStream<'_>) -> Bytes {
    let mut out = BytesMut::with_capacity(256);
    (surface.spec().put_error)(refusal, stream, &mut out);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use events::refusal::ErrorCode;
    use serde_json::{Value, json};

    use super::*;

    fn error(form: ErrorForm, refusal: &Refusal) -> Value {
        serde_json::from_slice::<Value>(&error_body(form, refusal, "req_1")).unwrap()["error"].take()
    }

    /// Holds: http.errors, http.openai-errors
    #[test]
    fn both_shapes_are_the_pinned_ones() {
        let refusal = Refusal::invalid("messages[0].role", "must be a string");
        let native = error(ErrorForm::Native, &refusal);
        assert_eq!((&native["code"], &native["request_id"]), (&json!("INVALID_REQUEST"), &json!("req_1")));
        assert_eq!(native["details"]["field"], "messages[0].role");
        let openai = error(ErrorForm::OpenAi, &refusal);
        assert_eq!(openai["param"], "messages[0].role");
        assert_eq!(openai["details"], native["details"]);
        assert_eq!(openai.as_object().unwrap().len(), 5);
        let plain = error(ErrorForm::OpenAi, &Refusal::new(ErrorCode::Draining, "m"));
        assert_eq!(plain.as_object().unwrap().len(), 4, "no details: none of ours");
    }

    #[test]
    fn anthropic_clients_find_their_form_and_their_types() {
        let body = |refusal: &Refusal| {
            serde_json::from_slice::<Value>(&error_body(ErrorForm::Anthropic, refusal, "req_1")).unwrap()
        };
        let plain =
            json!({"type": "error", "error": {"type": "not_found_error", "message": "m"}, "request_id": "req_1"});
        assert_eq!(body(&Refusal::new(ErrorCode::NotFound, "m")), plain);
        for (code, kind) in [
            (ErrorCode::Unauthenticated, "authentication_error"),
            (ErrorCode::InvalidRequest, "invalid_request_error"),
            (ErrorCode::MethodNotAllowed, "invalid_request_error"),
            (ErrorCode::Draining, "overloaded_error"),
            (ErrorCode::UpstreamTimeout, "timeout_error"),
            (ErrorCode::Internal, "api_error"),
            (ErrorCode::UpstreamError, "api_error"),
        ] {
            assert_eq!(body(&Refusal::new(code, "m"))["error"]["type"], kind, "{code:?}");
        }
        assert_eq!(body(&Refusal::invalid("a", "b"))["error"]["details"]["field"], "a");
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
            let error = error(ErrorForm::OpenAi, &Refusal::new(code, "m"));
            assert_eq!((error["type"].as_str(), error["code"].as_str()), (Some(kind), Some(word)));
        }
    }

    /// Holds: http.openai-errors, http.upstream-rejected
    #[test]
    fn what_an_upstream_rejected_has_its_code_and_param_where_openai_clients_look_for_them() {
        let refusal = Refusal::new(ErrorCode::UpstreamRejected, "too long").with("upstream_status", 400);
        let bare = error(ErrorForm::OpenAi, &refusal);
        assert_eq!((&bare["type"], &bare["code"]), (&json!("invalid_request_error"), &json!(null)));
        let refusal = refusal.with("upstream_code", "context_length_exceeded").with("upstream_param", "messages");
        let openai = error(ErrorForm::OpenAi, &refusal);
        assert_eq!((&openai["type"], &openai["param"]), (&json!("invalid_request_error"), &json!("messages")));
        assert_eq!((&openai["message"], &openai["code"]), (&json!("too long"), &json!("context_length_exceeded")));
        let native = error(ErrorForm::Native, &refusal);
        assert_eq!(
            (&native["code"], &native["details"]["upstream_code"]),
            (&json!("UPSTREAM_REJECTED"), &openai["code"])
        );
    }

    #[test]
    fn a_bad_key_is_worded_as_openai_words_it_on_its_surface_alone() {
        let refusal = Refusal::new(ErrorCode::Unauthenticated, "this API key is not valid");
        for (form, message) in [
            (ErrorForm::Native, "this API key is not valid"),
            (ErrorForm::OpenAi, "Incorrect API key provided: this API key is not valid"),
        ] {
            assert_eq!(error(form, &refusal)["message"], message);
        }
    }

    /// Holds: http.stream-error
    #[test]
    fn an_error_in_a_stream_is_one_event() {
        let refusal = Refusal::new(ErrorCode::UpstreamError, "a\nb");
        for (surface, start) in [
            (Surface::Native, "event: error\ndata: {"),
            (Surface::OpenAi, "data: {\"error\":{"),
            (Surface::Responses, "event: error\ndata: {\"code\":\"upstream_error\",\"error\":{"),
            (Surface::Completions, "data: {\"error\":{"),
        ] {
            let bytes = stream_error(surface, &refusal, &BrokenStream { request_id: "req_1", events: 7 });
            let text = std::str::from_utf8(&bytes).unwrap();
            assert!(text.starts_with(start) && text.ends_with("}\n\n"), "{text}");
            assert_eq!(text.matches("data:").count(), 1);
        }
    }
}
