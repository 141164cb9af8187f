//! What is asked: bytes that are made beforehand, the same for every path.

/// Models of the upstream, each a way of answering. The gateway serves them under the same names.
pub const WHOLE: &str = "whole";
/// All tokens of a stream at once.
pub const BURST: &str = "burst";
/// A token every so often.
pub const PACED: &str = "paced";
/// A token a second: a stream that costs nothing and lasts.
pub const DRIP: &str = "drip";
/// As many tokens of each class as the request says, quickly.
pub const TRACE: &str = "trace";
pub const MODELS: [&str; 5] = [WHOLE, BURST, PACED, DRIP, TRACE];

const PATH: &str = "/v1/chat/completions";

/// What a chat request says in front of its prompt, which comes last: the upstream looks at the beginning alone.
struct Chat<'a> {
    model: &'a str,
    tokens: u64,
    streamed: &'static str,
}

const STREAMED: &str = r#""stream":true,"stream_options":{"include_usage":true},"#;

pub fn whole(secret: &str) -> Vec<u8> {
    whole_about(secret, &prompt())
}

/// `prompt` has nothing in it that JSON would escape.
pub fn whole_about(secret: &str, prompt: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    Chat { model: WHOLE, tokens: 64, streamed: "" }.write(&mut bytes, secret, &[prompt.as_bytes()]);
    bytes
}

/// `tokens`: how many the upstream is to answer with.
pub fn stream(model: &str, tokens: u64, secret: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    Chat { model, tokens, streamed: STREAMED }.write(&mut bytes, secret, &[prompt().as_bytes()]);
    bytes
}

/// A chat request with these tokens of prompt as `text`; the upstream reports what its first words say.
pub fn of_trace(into: &mut Vec<u8>, secret: &str, prompt: u64, cached: u64, completion: u64, text: &[u8]) {
    let start = format!("prompt {prompt} cached {cached}. ");
    Chat { model: TRACE, tokens: completion, streamed: STREAMED }.write(into, secret, &[start.as_bytes(), text]);
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
        head("POST", PATH, secret, start.len() + prompt_length + end.len(), into);
        into.extend_from_slice(start.as_bytes());
        prompt.iter().for_each(|text| into.extend_from_slice(text));
        into.extend_from_slice(end.as_bytes());
    }
}

pub fn post(path: &str, secret: &str, body: &[u8]) -> Vec<u8> {
    with_body("POST", path, secret, body)
}

pub fn with_body(method: &str, path: &str, secret: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + 256);
    head(method, path, secret, body.len(), &mut bytes);
    bytes.extend_from_slice(body);
    bytes
}

fn head(method: &str, path: &str, secret: &str, length: usize, into: &mut Vec<u8>) {
    into.extend_from_slice(
        format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             authorization: Bearer {secret}\r\ncontent-length: {length}\r\n\r\n"
        )
        .as_bytes(),
    );
}

fn prompt() -> String {
    "Say something about foxes and dogs. ".repeat(8)
}
