//! The refusals of an unknown path and of a wrong method. If the path belongs to OpenAI's or Anthropic's API, the message
//! names the feature and what this version supports instead; otherwise the client's base URL is probably wrong.

use dialects::Surface;
use dialects::surfaces::{Unsupported, below_version};
use events::refusal::{ErrorCode, Refusal};
use http::header::ALLOW;
use http::{HeaderMap, Method};

const NO_SUCH_PATH: &str = "there is no such path. The base URL of OpenAI's clients ends in /v1, that of Anthropic's is without /v1; clients of \
     other APIs cannot be served. GET /openapi.json lists all paths";
const SLASH_AT_THE_END: &str = "there is no such path: it ends in a slash, and no path does";
const VERSION_TWICE: &str = "there is no such path: it has /v1 twice. The base URL of an OpenAI client ends in /v1, that of an \
     Anthropic client does not";

const METRICS: &str = "/metrics";
/// The main listener lacks the path only if another one has it.
const METRICS_ELSEWHERE: &str = "there is no such path: /metrics is served on the address in LEDGERWAY_METRICS_LISTEN";

const MODELS: [&str; 2] = ["GET /v1/models", "GET /v1/models/{name}"];

/// The endpoints to use instead: everything in the table of surfaces, each once.
fn supported() -> Vec<String> {
    let of_surface = |surface: &Surface| {
        let (path, _) = surface.spec().paths.first()?;
        let counting = surface.token_counting().map(|counting| counting.path);
        Some(std::iter::once(*path).chain(counting))
    };
    let paths = Surface::ALL.iter().filter_map(of_surface).flatten();
    paths.map(|path| format!("POST {path}")).chain(MODELS.map(String::from)).collect()
}

/// Methods have no length limit in HTTP; a longer one is cut in the message.
const METHOD_CHARS_MAX: usize = 32;

/// The 404 of the listener for metrics.
pub fn refusal_beside_metrics(_: &str) -> Refusal {
    Refusal::new(ErrorCode::NotFound, "this address serves only /metrics")
}

/// The 404 of an unknown path.
pub fn refusal(path: &str) -> Refusal {
    if let Some(part) = Unsupported::at(path) {
        let supported = supported();
        let instead = supported.join(", ");
        let Unsupported { root, name, .. } = part;
        let message = format!("this version does not support {name} (/v1/{root}); it supports {instead}");
        return Refusal::new(ErrorCode::NotFound, message).with("supported", supported);
    }
    let message = if path == METRICS {
        METRICS_ELSEWHERE
    } else if below_version(path).is_some_and(|rest| rest.starts_with("v1/")) {
        VERSION_TWICE
    } else if path.len() > 1 && path.ends_with('/') {
        SLASH_AT_THE_END
    } else {
        NO_SUCH_PATH
    };
    Refusal::new(ErrorCode::NotFound, message)
}

/// The 405 with the path's methods, which the router has put into `Allow`.
pub fn with_allowed_methods(refusal: Refusal, method: &Method, headers: &HeaderMap) -> Refusal {
    let allowed = headers.get(ALLOW).and_then(|allow| allow.to_str().ok()).unwrap_or_default();
    let allowed: Vec<&str> = allowed.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let method: String = method.as_str().chars().take(METHOD_CHARS_MAX).collect();
    let message = format!("this path does not support {method}; it supports {}", allowed.join(", "));
    Refusal { message, ..refusal }.with("allowed", allowed)
}

#[cfg(test)]
mod tests {
    use dialects::ErrorForm;
    use dialects::surfaces::Audience;

    use super::*;

    #[test]
    fn what_vendors_have_and_this_version_has_not_is_named() {
        for (path, name, form) in [
            ("/v1/images/generations", "image generation", ErrorForm::OpenAi),
            ("/oai/v1/responses/resp_1/cancel", "stored responses", ErrorForm::OpenAi),
            ("/v1/chat/completions/chatcmpl-1/messages", "stored", ErrorForm::OpenAi),
            ("/v1/messages/batches/b", "Batches", ErrorForm::Anthropic),
        ] {
            let refusal = refusal(path);
            assert!(refusal.message.contains(name) && refusal.message.contains("does not support"), "{refusal:?}");
            for one in ["POST /v1/completions", "POST /v1/messages/count_tokens", "GET /v1/models/{name}"] {
                assert!(refusal.details["supported"].as_array().is_some_and(|all| all.contains(&one.into())), "{one}");
            }
            assert_eq!(Audience::at(path).error_form, form, "{path}");
        }
        for (path, says) in [
            ("/v1/response", "ends in /v1"),
            ("/chat/completions", "ends in /v1"),
            ("/v1/v1/messages", "/v1 twice"),
            ("/v1/chat/completions/", "ends in a slash"),
            ("/", "ends in /v1"),
        ] {
            assert!(refusal(path).message.contains(says), "{path}");
        }
        let form = |path| Audience::at(path).error_form;
        assert_eq!([form("/v1/response"), form("/v1/v1/messages")], [ErrorForm::Native, ErrorForm::Anthropic]);
    }
}
