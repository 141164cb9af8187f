//! A request of each surface, of about so many bytes.

use std::fmt::Write;

/// Messages of one request.
const MESSAGES: usize = 40;

pub fn body(surface: &str, bytes: usize) -> String {
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(bytes / 45 / MESSAGES + 1);
    let texts = || (0..MESSAGES).map(|number| (number, text.trim_end()));
    let mut list = String::new();
    for (number, text) in texts() {
        let role = if number % 2 == 0 { "user" } else { "assistant" };
        let comma = if number == 0 { "" } else { "," };
        let _ = match surface {
            "openai-embeddings" => write!(list, r#"{comma}"{text}""#),
            _ => write!(list, r#"{comma}{{"role":"{role}","content":"{text}"}}"#),
        };
    }
    match surface {
        "anthropic" => format!(r#"{{"model":"m","max_tokens":256,"messages":[{list}]}}"#),
        "responses" | "openai-embeddings" => format!(r#"{{"model":"m","input":[{list}]}}"#),
        "completions" => format!(r#"{{"model":"m","prompt":"{}"}}"#, text.repeat(MESSAGES)),
        _ => format!(r#"{{"model":"m","messages":[{list}]}}"#),
    }
}
