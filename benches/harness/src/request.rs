//! What is asked: bytes that are made beforehand, the same for every path.

use serde_json::json;

/// Models of the upstream, each a way of answering. The gateway serves them under the same names.
pub const WHOLE: &str = "whole";
/// All tokens of a stream at once.
pub const BURST: &str = "burst";
/// A token every so often.
pub const PACED: &str = "paced";
/// As many tokens of each class as the request says, quickly.
pub const TRACE: &str = "trace";
pub const MODELS: [&str; 4] = [WHOLE, BURST, PACED, TRACE];

const PATH: &str = "/v1/chat/completions";

pub fn whole(secret: &str) -> Vec<u8> {
    let body = json!({ "model": WHOLE, "max_tokens": 64, "messages": messages() });
    post(PATH, secret, body.to_string().as_bytes())
}

/// `tokens`: how many the upstream is to answer with.
pub fn stream(model: &str, tokens: u64, secret: &str) -> Vec<u8> {
    let body = json!({ "model": model, "max_tokens": tokens, "stream": true,
                       "stream_options": { "include_usage": true }, "messages": messages() });
    post(PATH, secret, body.to_string().as_bytes())
}

/// A chat request with these tokens of prompt as `text`; the upstream reports what its first words say.
pub fn of_trace(into: &mut Vec<u8>, secret: &str, prompt: u64, cached: u64, completion: u64, text: &[u8]) {
    let start = format!(
        "{{\"model\":\"{TRACE}\",\"max_tokens\":{completion},\"stream\":true,\
         \"stream_options\":{{\"include_usage\":true}},\"messages\":[{{\"role\":\"user\",\
         \"content\":\"prompt {prompt} cached {cached}. "
    );
    let end = "\"}]}";
    into.clear();
    head("POST", PATH, secret, start.len() + text.len() + end.len(), into);
    into.extend_from_slice(start.as_bytes());
    into.extend_from_slice(text);
    into.extend_from_slice(end.as_bytes());
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

fn messages() -> serde_json::Value {
    json!([{ "role": "user", "content": "Say something about foxes and dogs. ".repeat(8) }])
}
