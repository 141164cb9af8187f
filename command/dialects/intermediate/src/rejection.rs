//! An upstream's reasons for rejecting a request, and the part of them that a client may read.

use std::borrow::Cow;
use std::fmt;

use crate::json::{self, Kind};
use crate::redaction::Redactor;

/// Bytes of a message kept for redaction.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;
const NAME_BYTES_MAX: usize = 256;
/// Faults that are listed for one request.
const DETAILS_MAX: usize = 8;
/// Error types that add nothing to the status.
const GENERIC_TYPES: [&str; 5] =
    ["BadRequestError", "bad_request", "error", "invalid_request_error", "invalid_request"];

/// An upstream's own words, unredacted. They can only be read through [`Self::redacted`]; `Debug` hides them.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamWords {
    message: Option<String>,
    code: Option<String>,
    param: Option<String>,
}

/// An upstream's reasons for rejecting a request, safe for the client. A part is absent if the upstream did not send it
/// or it cannot be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejection {
    /// At most 1,000 characters on one line.
    pub message: Option<String>,
    /// The upstream's own code: at most 64 letters, digits and `_-.`, such as `context_length_exceeded`.
    pub code: Option<String>,
    /// The path of the rejected parameter, at most 128 characters: `messages[0].content`.
    pub param: Option<String>,
}

impl UpstreamWords {
    /// `body` is the whole response, `error` the error object in it; they may be the same.
    pub fn of(body: &str, error: &str) -> Self {
        // AWS also writes `Message`.
        let [message, capital, code, kind, status, param, detail, details] =
            json::find(error, ["message", "Message", "code", "type", "status", "param", "detail", "details"]);
        let message = message.or(capital);
        let faults_of = detail.or_else(|| json::field(message?, "detail"));
        let faults = faults_of.map(faults).unwrap_or_default();
        let listed = || {
            let faults = faults.iter().map(|fault| match &fault.path {
                path if path.is_empty() => fault.message.clone(),
                path => format!("{path}: {}", fault.message),
            });
            let listed = faults.collect::<Vec<_>>().join("; ");
            (!listed.is_empty()).then_some(listed)
        };
        let message = message.and_then(string).or_else(|| string(json::field(body, "error")?));
        let message = message.or_else(|| string(faults_of?)).or_else(listed);
        let anthropic = || string(json::field(details?, "error_code")?);
        let google = || string(status?);
        let kind = || string(kind?).filter(|kind| !GENERIC_TYPES.contains(&&**kind));
        let code = code.and_then(string).or_else(anthropic).or_else(google).or_else(kind);
        let path = || Some(faults.first()?.path.clone()).filter(|path| !path.is_empty());
        let param = param.and_then(string).or_else(path);
        Self {
            message: message.map(|message| truncated(message, MESSAGE_BYTES_MAX)),
            code: code.filter(|code| code.len() <= NAME_BYTES_MAX),
            param: param.filter(|param| param.len() <= NAME_BYTES_MAX),
        }
    }

    /// The part that the client may read. The redactor must know every secret that was sent to the upstream.
    pub fn redacted(&self, redactor: &Redactor) -> Rejection {
        let rejection = Rejection {
            message: self.message.as_deref().and_then(|message| redactor.text(message)),
            code: self.code.as_deref().and_then(|code| redactor.code(code)),
            param: self.param.as_deref().and_then(|param| redactor.param(param)),
        };
        let parts = [&rejection.code, &rejection.param, &rejection.message];
        // Names are shown whole or not at all.
        match redactor.is_split_over(parts.map(|part| part.as_deref().unwrap_or(""))) {
            true => Rejection { code: None, param: None, ..rejection },
            false => rejection,
        }
    }
}

impl fmt::Debug for UpstreamWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[not redacted yet]")
    }
}

/// A fault as FastAPI lists it, and with it Mistral and vLLM: `{"loc":["body","messages",0],"msg":"…"}`.
struct Fault {
    path: String,
    message: String,
}

fn faults(details: &str) -> Vec<Fault> {
    let faults = json::elements_if_array(details).take(DETAILS_MAX).filter_map(|fault| {
        let [message, path] = json::find(fault, ["msg", "loc"]);
        let message = string(message?)?;
        let path = path.filter(|path| json::kind(path) == Kind::Array).map(self::path);
        Some(Fault { path: path.unwrap_or_default(), message })
    });
    faults.collect()
}

/// Joins a path without `body`, with which FastAPI begins each one and which is not a field of the client's.
fn path(steps: &str) -> String {
    let steps = json::elements(steps).map_while(Result::ok).take(DETAILS_MAX);
    let steps = steps.map(|step| json::string(step).unwrap_or(Cow::Borrowed(step)));
    steps.filter(|step| step != "body").collect::<Vec<_>>().join(".")
}

fn string(value: &str) -> Option<String> {
    json::string(value).map(Cow::into_owned).filter(|text| !text.trim().is_empty())
}

fn truncated(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text.shrink_to_fit();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(body: &str, error: &str) -> [Option<String>; 3] {
        let Rejection { message, code, param } = UpstreamWords::of(body, error).redacted(&Redactor::new([]));
        [message, code, param]
    }

    #[test]
    fn every_providers_words_are_found() {
        for (body, message, code, param) in [
            (
                r#"{"error":{"message":"too long","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
                "too long",
                "context_length_exceeded",
                "messages",
            ),
            (r#"{"error":{"message":"no","type":"invalid_request_error","param":null,"code":null}}"#, "no", "", ""),
            (
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"m: too long"}}"#,
                "m: too long",
                "",
                "",
            ),
            (r#"{"type":"error","error":{"type":"request_too_large","message":"no"}}"#, "no", "request_too_large", ""),
            (r#"{"error":{"code":400,"message":"bad","status":"INVALID_ARGUMENT"}}"#, "bad", "INVALID_ARGUMENT", ""),
            (r#"{"code":"Client specified an invalid argument","error":"no such field"}"#, "no such field", "", ""),
            (r#"{"object":"error","message":"flat","type":"BadRequestError","param":null,"code":400}"#, "flat", "", ""),
            (
                r#"{"detail":[{"loc":["body","messages",0,"role"],"msg":"unknown","type":"enum"},{"msg":"second"}]}"#,
                "messages.0.role: unknown; second",
                "",
                "messages.0.role",
            ),
            (
                r#"{"object":"error","message":{"detail":[{"loc":["body","n"],"msg":"extra"}]},"type":"invalid_request_error"}"#,
                "n: extra",
                "",
                "n",
            ),
            (r#"{"detail":"not so"}"#, "not so", "", ""),
            (r#"{"message":"from Cohere"}"#, "from Cohere", "", ""),
            ("<html>413</html>", "", "", ""),
            ("", "", "", ""),
            (r#"{"error":{"message":"  ","code":""}}"#, "", "", ""),
        ] {
            let error = json::field(body, "error").filter(|error| json::kind(error) == Kind::Object).unwrap_or(body);
            let wanted = [message, code, param].map(|text| (!text.is_empty()).then(|| text.to_owned()));
            assert_eq!(parts(body, error), wanted, "{body}");
        }
    }

    #[test]
    fn a_secret_that_is_split_over_the_parts_of_a_rejection_is_shown_by_none() {
        const SECRET: &str = "gw-7Hq2xVt9LmBz4KpWs8Rn";
        let (one, two, rest) = (&SECRET[..7], &SECRET[7..14], &SECRET[14..21]);
        let redactor = Redactor::new([SECRET]);
        let redacted = |code: &str, param: &str, message: &str| {
            let error = serde_json::json!({ "message": message, "code": code, "param": param }).to_string();
            UpstreamWords::of(&error, &error).redacted(&redactor)
        };
        for (code, param, message) in [
            (one, two, "is wrong"),
            (two, one, "is wrong"),
            ("no_such_field", one, &*format!("{two} is wrong")),
            ("no_such_field", two, &*format!("wrong is {one}")),
            (one, "n", &*format!("{two} is wrong")),
            (two, "n", &*format!("wrong is {one}")),
            (one, rest, &*format!("... {two} !!!")),
            (&one[..4], &one[4..], &*format!("{two} is wrong")),
        ] {
            let rejection = redacted(code, param, message);
            assert_eq!(rejection.message.as_deref(), Some(message), "{code} {param}");
            assert_eq!((rejection.code, rejection.param), (None, None), "{code} {param}: {message}");
        }
        let rejection = redacted("context_length_exceeded", "messages[0].content", "This is too long");
        assert_eq!(rejection.code.as_deref(), Some("context_length_exceeded"));
        assert_eq!(rejection.param.as_deref(), Some("messages[0].content"));
    }

    #[test]
    fn a_message_is_kept_up_to_sixteen_kibibytes() {
        for (bytes, kept) in [(16_384, 16_384), (16_385, 16_384)] {
            let error = serde_json::json!({ "message": "x".repeat(bytes) }).to_string();
            let words = UpstreamWords::of(&error, &error);
            assert_eq!(words.message.map(|message| message.len()), Some(kept));
        }
    }

    #[test]
    fn words_are_hidden_from_debug_output_and_bounded() {
        let body = format!(r#"{{"message":"{}","code":"{}"}}"#, "é".repeat(20_000), "c".repeat(300));
        let words = UpstreamWords::of(&body, &body);
        assert_eq!(format!("{words:?}"), "[not redacted yet]");
        assert!(words.message.is_some_and(|message| message.len() <= MESSAGE_BYTES_MAX));
        assert_eq!(words.code, None);
    }
}
