//! What is said of a path that nothing is at, and of a method that a path does not have. A path that clients of OpenAI's
//! or Anthropic's APIs ask for is named as what it is, with what this version has instead; any other probably has a wrong
//! base URL in front.

use command::dialects::ErrorForm;
use events::wire::{ErrorCode, Refusal};
use http::header::ALLOW;
use http::{HeaderMap, Method};

/// Whoever leaves out the /v1 of a client's base URL reads this, and who looks for what there never was.
const NO_SUCH_PATH: &str =
    "there is no such path: a client's base URL ends in /v1, and GET /openapi.json lists them all";
const SLASH_AT_THE_END: &str = "there is no such path: it ends in a slash, which none of ours does";
const VERSION_TWICE: &str = "there is no such path: it has /v1 twice. The base URL of an OpenAI client ends in /v1, that of an \
     Anthropic client does not";

/// What can be asked instead.
const SUPPORTED: [&str; 3] = ["POST /v1/chat/completions", "GET /v1/models", "POST /v1/inference/chat"];

/// A method is a token of any length.
const METHOD_CHARS_MAX: usize = 32;

/// A part of a vendor's API that this version does not have.
struct Unsupported {
    /// Below `/v1/`: itself and all below it; one that ends in a slash: what is below it alone.
    root: &'static str,
    form: ErrorForm,
    name: &'static str,
}

const fn openai(root: &'static str, name: &'static str) -> Unsupported {
    Unsupported { root, form: ErrorForm::OpenAi, name }
}

const fn anthropic(root: &'static str, name: &'static str) -> Unsupported {
    Unsupported { root, form: ErrorForm::Anthropic, name }
}

/// Where one root is below another, the longer one stands first.
const UNSUPPORTED: &[Unsupported] = &[
    anthropic("messages/batches", "Anthropic's Message Batches API"),
    anthropic("messages/count_tokens", "Anthropic's token counting"),
    anthropic("messages", "Anthropic's Messages API"),
    anthropic("complete", "Anthropic's Text Completions API"),
    openai("chat/completions/", "stored Chat Completions"),
    openai("responses", "OpenAI's Responses API"),
    openai("completions", "OpenAI's legacy Completions API"),
    openai("embeddings", "embeddings"),
    openai("assistants", "OpenAI's Assistants API"),
    openai("audio", "speech and transcription"),
    openai("batches", "OpenAI's Batch API"),
    openai("chatkit", "OpenAI's ChatKit API"),
    openai("containers", "OpenAI's Containers API"),
    openai("conversations", "OpenAI's Conversations API"),
    openai("edits", "OpenAI's Edits API"),
    openai("engines", "OpenAI's Engines API"),
    openai("evals", "OpenAI's Evals API"),
    openai("files", "OpenAI's Files API"),
    openai("fine-tunes", "fine-tuning"),
    openai("fine_tuning", "fine-tuning"),
    openai("images", "the making of images"),
    openai("moderations", "moderations"),
    openai("organization", "OpenAI's Administration API"),
    openai("realtime", "OpenAI's Realtime API"),
    openai("rerank", "reranking"),
    openai("threads", "OpenAI's Assistants API"),
    openai("uploads", "OpenAI's Uploads API"),
    openai("vector_stores", "OpenAI's Vector Stores API"),
    openai("videos", "the making of videos"),
];

/// What of the path is below `/v1/` or `/oai/v1/`.
fn below_version(path: &str) -> Option<&str> {
    path.strip_prefix("/oai").unwrap_or(path).strip_prefix("/v1/")
}

fn unsupported(path: &str) -> Option<&'static Unsupported> {
    let rest = below_version(path)?.trim_end_matches('/');
    UNSUPPORTED.iter().find(|api| is_at_or_below(rest, api.root))
}

fn is_at_or_below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || root.ends_with('/'))
}

/// In whose form errors are said at this path, which nothing of ours is at.
pub fn form_of(path: &str) -> Option<ErrorForm> {
    match below_version(path).and_then(|rest| rest.strip_prefix("v1/")) {
        Some(again) => unsupported(&format!("/v1/{again}")).map(|api| api.form),
        None => unsupported(path).map(|api| api.form),
    }
}

/// 404.
pub fn refusal(path: &str) -> Refusal {
    if let Some(api) = unsupported(path) {
        let instead = SUPPORTED.join(", ");
        let what = format!("this version does not support {} (/v1/{}); it supports {instead}", api.name, api.root);
        let also = match api.form {
            ErrorForm::Anthropic => ", which serve Anthropic's models as well",
            ErrorForm::Native | ErrorForm::OpenAi => "",
        };
        return Refusal::new(ErrorCode::NotFound, what + also).with("supported", SUPPORTED.to_vec());
    }
    let message = if below_version(path).is_some_and(|rest| rest.starts_with("v1/")) {
        VERSION_TWICE
    } else if path.len() > 1 && path.ends_with('/') {
        SLASH_AT_THE_END
    } else {
        NO_SUCH_PATH
    };
    Refusal::new(ErrorCode::NotFound, message)
}

/// 405, once the router has put the methods of the path into `Allow`.
pub fn name_methods(refusal: Refusal, method: &Method, headers: &HeaderMap) -> Refusal {
    let allowed = headers.get(ALLOW).and_then(|allow| allow.to_str().ok()).unwrap_or_default();
    let allowed: Vec<&str> = allowed.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let method: String = method.as_str().chars().take(METHOD_CHARS_MAX).collect();
    let message = format!("this path does not take {method}; it takes {}", allowed.join(", "));
    Refusal { message, ..refusal }.with("allowed", allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_vendors_have_and_this_version_has_not_is_named() {
        for (path, name, form) in [
            ("/v1/responses", "Responses", ErrorForm::OpenAi),
            ("/oai/v1/responses/resp_1/cancel", "Responses", ErrorForm::OpenAi),
            ("/v1/completions", "legacy", ErrorForm::OpenAi),
            ("/v1/chat/completions/chatcmpl-1/messages", "stored", ErrorForm::OpenAi),
            ("/v1/messages", "Messages", ErrorForm::Anthropic),
            ("/v1/messages/count_tokens", "token counting", ErrorForm::Anthropic),
            ("/v1/messages/batches/b", "Batches", ErrorForm::Anthropic),
        ] {
            let refusal = refusal(path);
            assert!(refusal.message.contains(name) && refusal.message.contains("does not support"), "{refusal:?}");
            assert_eq!(refusal.details["supported"][0], SUPPORTED[0]);
            assert_eq!(form_of(path), Some(form), "{path}");
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
        assert_eq!([form_of("/v1/response"), form_of("/v1/v1/messages")], [None, Some(ErrorForm::Anthropic)]);
    }

    #[test]
    fn no_root_hides_behind_a_shorter_one() {
        for (at, api) in UNSUPPORTED.iter().enumerate() {
            let path = if api.root.ends_with('/') { format!("{}x", api.root) } else { api.root.to_owned() };
            let found = UNSUPPORTED.iter().position(|other| is_at_or_below(&path, other.root));
            assert_eq!(found, Some(at), "{}", api.root);
        }
    }
}
