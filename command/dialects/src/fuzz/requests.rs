//! Requests of clients, from their bytes to the upstream body.

use std::sync::LazyLock;

use bytes::Bytes;
use events::event::admin::OutputCapField;
use events::refusal::{ErrorCode, Refusal};
use events::refused_parameters::RefusedParameters;
use fuzzing::{Corpus, Dice, fuzz, shown};
use intermediate::json;
use intermediate::json::JsonFault;
use serde_json::{Map, Value};

use super::*;
use crate::request::IMAGE_TOKENS_MAX;

const BACKEND: &str = "back\"end";
const CAP: u64 = 77_777;
/// Longest refusal in bytes. It repeats some names of the client's.
const REFUSAL_BYTES_MAX: usize = 2048;

const NAMES: [&str; 72] = [
    "model", "messages", "max_tokens", "max_completion_tokens", "max_output_tokens", "n", "stream", "stream_options",
    "include_usage", "tools", "functions", "response_format", "service_tier", "speed", "best_of", "modalities",
    "audio", "prediction", "web_search_options", "n_predict", "metadata", "stop", "temperature", "reasoning",
    "reasoning_effort", "content", "type", "text", "image_url", "url", "data", "media_type", "file", "input_audio",
    "arguments", "arguments_raw", "refusal", "tool_calls", "signature", "redacted", "system", "source", "thinking",
    "cache_control", "ttl", "tool_use_id", "citations", "output_config", "input", "instructions", "input_text",
    "input_image", "output_text", "output", "call_id", "function_call", "function_call_output", "encrypted_content",
    "ledgerway.signature.x", "ledgerway.call.1.c.x", "summary", "format", "include", "top_logprobs", "store",
    "previous_response_id", "prompt", "echo", "suffix", "logprobs", "truncation", "background",
];

fn requests(surface: Surface) -> Corpus {
    Corpus::golden(&format!("{}/requests", surface.spec().name), "json").knowing(&NAMES)
}

pub const CAP_FIELDS: [Option<OutputCapField>; 3] =
    [None, Some(OutputCapField::MaxTokens), Some(OutputCapField::MaxCompletionTokens)];

pub static CORPORA: LazyLock<[Corpus; SURFACES.len()]> = LazyLock::new(|| SURFACES.map(requests));

/// A surface, and requests for it.
pub fn any_surface(dice: &mut Dice<'_>) -> (Surface, &'static Corpus) {
    let which = dice.below(SURFACES.len());
    (SURFACES[which], &CORPORA[which])
}

pub fn target(cap_field: Option<OutputCapField>, prefix: Option<&str>) -> OutboundTarget<'_> {
    OutboundTarget {
        model: BACKEND,
        output_cap: UpstreamCap { tokens: CAP, field: cap_field },
        context_window: None,
        system_prefix: prefix,
        allowed_fields: &NO_FIELDS,
        server: None,
        refused: RefusedParameters::NONE,
        takes_signed_thoughts_alone: false,
    }
}

fn parsed(surface: Surface, body: &[u8]) -> Result<ClientRequest, Refusal> {
    ClientRequest::parse(surface, Bytes::copy_from_slice(body))
}

/// Checks that a refusal is a short 400 or 422.
pub fn is_a_refusal(refusal: &Refusal, body: &[u8]) {
    let known = matches!(refusal.code, ErrorCode::InvalidRequest | ErrorCode::ModelUnpriced);
    assert!(known, "{:?} {}", refusal.code, shown(body));
    let bytes = refusal.message.len() + refusal.details.values().map(|value| value.to_string().len()).sum::<usize>();
    assert!(bytes < REFUSAL_BYTES_MAX, "{bytes} bytes to refuse {}", shown(body));
}

#[test]
fn what_is_accepted_goes_upstream_as_it_was_bounded() {
    fuzz!(6_000, |dice| {
        let (surface, corpus) = any_surface(dice);
        let body = corpus.draw(dice);
        let request = match parsed(surface, &body) {
            Ok(request) => request,
            Err(refusal) => return is_a_refusal(&refusal, &body),
        };
        assert!((1..=128).contains(&request.facts.choices), "{}", shown(&body));
        let prefix = dice.one_in(2).then(|| dice.text(24).replace('\0', "0"));
        let cap_field = CAP_FIELDS[dice.below(3)];
        let takes_signed_thoughts_alone = dice.one_in(2);
        for dialect in DIALECTS {
            let target = OutboundTarget { takes_signed_thoughts_alone, ..target(cap_field, prefix.as_deref()) };
            match request.upstream_body(dialect, &target) {
                Ok(sent) => is_bounded(&request, dialect, &sent, prefix.as_deref()),
                Err(refusal) => is_a_refusal(&refusal, &body),
            }
        }
        let server = Server::ALL[dice.below(Server::ALL.len())];
        let target = OutboundTarget { server: Some(server), ..target(cap_field, prefix.as_deref()) };
        match request.upstream_body(ProviderKind::Openai, &target) {
            Ok(sent) => is_bounded_by_one_cap(&request, &sent),
            Err(refusal) => is_a_refusal(&refusal, &body),
        }
    });
}

/// Checks a body for a server with deviations.
fn is_bounded_by_one_cap(request: &ClientRequest, sent: &Bytes) {
    let text = std::str::from_utf8(sent).expect("an upstream body is UTF-8");
    let top = Ordered::of(text).unwrap_or_else(|| panic!("an upstream body is an object: {text}"));
    says_everything_once(&top, text);
    let caps = ["max_tokens", "max_completion_tokens"].into_iter().filter_map(|name| top.get(name));
    assert_eq!(caps.filter(|cap| *cap != "null").collect::<Vec<_>>(), [CAP.to_string()], "{text}");
    assert_eq!(top.get("stream").and_then(json::boolean).unwrap_or(false), request.facts.streamed, "{text}");
}

/// Checks that the body costs no more than the hold.
fn is_bounded(request: &ClientRequest, dialect: ProviderKind, sent: &Bytes, prefix: Option<&str>) {
    let text = std::str::from_utf8(sent).expect("an upstream body is UTF-8");
    // Translation may add a level to JSON of the largest depth.
    assert!(matches!(json::check(text), Ok(()) | Err(JsonFault::TooDeep)), "{text}");
    let top = Ordered::of(text).unwrap_or_else(|| panic!("an upstream body is an object: {text}"));
    // These have the model, and whether it streams, in the path.
    let is_in_path = matches!(dialect, ProviderKind::Bedrock | ProviderKind::Gemini | ProviderKind::Vertex);
    let model = top.get("model").and_then(json::string);
    assert_eq!(model.as_deref(), Some(BACKEND).filter(|_| !is_in_path), "{text}");
    says_everything_once(&top, text);
    let cap = |name: &str| top.get(name).filter(|value| *value != "null");
    match dialect {
        ProviderKind::Openai | ProviderKind::AzureOpenai => {
            let caps: Vec<_> = ["max_tokens", "max_completion_tokens"].into_iter().filter_map(cap).collect();
            assert_eq!(caps, [CAP.to_string()], "{text}");
            let choices = top.get("n").map_or(1, |n| json::integer(n).unwrap_or(1));
            assert_eq!(choices, request.facts.choices, "{text}");
            let options = top.get("stream_options").unwrap_or_default();
            let asks = json::field(options, "include_usage").and_then(json::boolean);
            assert_eq!(asks, request.facts.streamed.then_some(true).or(asks), "{text}");
        }
        ProviderKind::Anthropic | ProviderKind::Cohere => {
            assert_eq!(cap("max_tokens"), Some(&*CAP.to_string()), "{text}")
        }
        ProviderKind::Ollama => {
            let options = top.get("options").unwrap_or_default();
            assert_eq!(json::field(options, "num_predict"), Some(&*CAP.to_string()), "{text}");
        }
        ProviderKind::Gemini | ProviderKind::Vertex => {
            let config = top.get("generationConfig").unwrap_or_default();
            assert_eq!(json::field(config, "maxOutputTokens"), Some(&*CAP.to_string()), "{text}");
            let choices = json::field(config, "candidateCount").map_or(1, |n| json::integer(n).unwrap_or(1));
            assert_eq!(choices, request.facts.choices, "{text}");
        }
        ProviderKind::Bedrock => {
            let config = top.get("inferenceConfig").unwrap_or_default();
            assert_eq!(json::field(config, "maxTokens"), Some(&*CAP.to_string()), "{text}");
        }
        ProviderKind::Simulator => panic!("it speaks OpenAI's dialect"),
    }
    let streamed = top.get("stream").and_then(json::boolean).unwrap_or(false);
    assert_eq!(streamed, request.facts.streamed && !is_in_path, "{text}");
    let (mut seen, value) = (Seen::default(), serde_json::from_str::<Value>(text));
    // A number beyond a double, or an unpaired surrogate, goes through unchanged.
    let Ok(Value::Object(value)) = value else { return };
    value
        .iter()
        .filter(|(name, _)| *name != "model")
        .for_each(|(name, value)| seen.read(name, value, name == "messages"));
    let bound = request.input_tokens_bound() + prefix.map_or(0, str::len) as u64;
    // The pages of a document are bounded by the target's context, and its base64 is no text.
    let least = (seen.text_bytes + seen.images * IMAGE_TOKENS_MAX).saturating_sub(request.facts.documents.base64_bytes);
    assert!(bound >= least, "{} images, {} bytes of text, bound {bound}: {text}", seen.images, seen.text_bytes);
}

/// Checks that no name occurs twice, even for a server that ignores spelling.
fn says_everything_once(top: &Ordered, text: &str) {
    let folded = |name: &str| -> String {
        let letters = name.chars().filter(|letter| !matches!(letter, '_' | '-'));
        letters.flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
    };
    let known: Vec<String> = NAMES.iter().map(|name| folded(name)).collect();
    let mut names: Vec<String> = top.names().map(folded).filter(|name| known.contains(name)).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "{text}");
}

/// The text of a body that a model would read: every token is at least one byte of it.
#[derive(Default)]
struct Seen {
    text_bytes: u64,
    images: u64,
}

impl Seen {
    /// `in_message`: the value is a message, or in the content of one. Elsewhere an image is text, or nothing.
    fn read(&mut self, name: &str, value: &Value, in_message: bool) {
        match value {
            // Words of the protocol, which no model sees.
            Value::String(_) if matches!(name, "type" | "role") => {}
            Value::String(text) => self.text_bytes += text.len() as u64,
            Value::Array(items) => items.iter().for_each(|item| self.read(name, item, in_message)),
            Value::Object(part) if in_message && name == "content" && is_image_part(part) => {
                self.images += 1;
            }
            Value::Object(members) => {
                let in_message = |child: &str| in_message && child == "content";
                members.iter().for_each(|(name, value)| self.read(name, value, in_message(name)));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

fn is_image_part(part: &Map<String, Value>) -> bool {
    let is_image = |kind: &str| matches!(kind, "image_url" | "image");
    // Bedrock's blocks have no type, but one member of its name.
    part.contains_key("image") || matches!(part.get("type"), Some(Value::String(kind)) if is_image(kind))
}

#[test]
fn what_was_sent_is_a_request_that_is_sent_as_it_is() {
    fuzz!(6_000, |dice| {
        let (surface, corpus) = any_surface(dice);
        let body = corpus.draw(dice);
        let Ok(request) = parsed(surface, &body) else { return };
        // OpenAI's clients cannot send files.
        if request.has_documents() {
            return;
        }
        let cap_field = CAP_FIELDS[dice.below(3)];
        let target = target(cap_field, None);
        let Ok(sent) = request.upstream_body(ProviderKind::Openai, &target) else { return };
        if json::check(std::str::from_utf8(&sent).expect("an upstream body is UTF-8")) == Err(JsonFault::TooDeep) {
            return;
        }
        let again = parsed(Surface::OpenAi, &sent);
        let again = again.unwrap_or_else(|refusal| panic!("{}: {}", refusal.message, shown(&sent)));
        assert_eq!(
            (
                &*again.facts.model,
                again.facts.streamed,
                again.facts.choices,
                again.facts.output_cap.and_then(|cap| cap.tokens)
            ),
            (BACKEND, request.facts.streamed, request.facts.choices, Some(CAP)),
            "{}",
            shown(&sent)
        );
        let sent_again = again.upstream_body(ProviderKind::Openai, &target).expect("the same dialect");
        assert!(sent_again == sent, "{} became {}", shown(&sent), shown(&sent_again));
    });
}

#[test]
fn half_a_request_is_refused() {
    fuzz!(4_000, |dice| {
        let (surface, corpus) = any_surface(dice);
        let body = corpus.seed(dice).trim_ascii();
        let half = body.get(..dice.below(body.len())).unwrap_or_default();
        assert!(parsed(surface, half).is_err(), "{}", shown(half));
    });
}
