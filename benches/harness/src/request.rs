//! Requests as bytes that are made in advance, the same for every path.

use testing::request::head;
pub use testing::request::with_body;
use testing::upstream::prepared::model;

const PATH: &str = "/v1/chat/completions";

/// A chat request. Its prompt comes last, because the upstream reads only the first bytes.
struct Chat<'a> {
    model: &'a str,
    tokens: u64,
    streamed: &'static str,
}

const STREAMED: &str = r#""stream":true,"stream_options":{"include_usage":true},"#;

/// A request for a non-streaming response.
pub fn whole(secret: &str) -> Vec<u8> {
    whole_about(secret, &prompt())
}

/// The same with this prompt, which must not contain anything that JSON escapes.
pub fn whole_about(secret: &str, prompt: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    Chat { model: model::WHOLE, tokens: 64, streamed: "" }.write(&mut bytes, secret, &[prompt.as_bytes()]);
    bytes
}

/// A request for a stream of this many tokens.
pub fn stream(model: &str, tokens: u64, secret: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    Chat { model, tokens, streamed: STREAMED }.write(&mut bytes, secret, &[prompt().as_bytes()]);
    bytes
}

/// A request for a stream, with `text` as its prompt and the usage that the upstream reports in its first words.
pub fn of_trace(into: &mut Vec<u8>, secret: &str, prompt: u64, cached: u64, completion: u64, text: &[u8]) {
    let start = format!("prompt {prompt} cached {cached}. ");
    Chat { model: model::TRACE, tokens: completion, streamed: STREAMED }.write(into, secret, &[start.as_bytes(), text]);
}

impl Chat<'_> {
    fn write(&self, into: &mut Vec<u8>, secret: &str, prompt: &[&[u8]]) {
        let Self { model, tokens, streamed } = self;
        let start = format!(
            "{{\"model\":\"{model}\",\"max_tokens\":{tokens},{streamed}\"messages\":[{{\"role\":\"user\",\"content\":\""
        );
        let end = "\"}]}";
        let prompt_length: usize = prompt.iter().map(|text| text.len()).sum();
        into.clear();
        let length = start.len() + prompt_length + end.len();
        into.extend_from_slice(format!("{}content-length: {length}\r\n\r\n", head("POST", PATH, secret)).as_bytes());
        into.extend_from_slice(start.as_bytes());
        prompt.iter().for_each(|text| into.extend_from_slice(text));
        into.extend_from_slice(end.as_bytes());
    }
}

pub fn post(path: &str, secret: &str, body: &[u8]) -> Vec<u8> {
    with_body("POST", path, secret, body)
}

fn prompt() -> String {
    "Say something about foxes and dogs. ".repeat(8)
}
