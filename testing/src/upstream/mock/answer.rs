//! The mock's responses in either provider's dialect.

use serde_json::{Value, json};

pub const TEXT: &str = "The quick brown fox jumps over the lazy dog";
const TOKENS_IN: u64 = 12;
const TOKENS_OUT: u64 = 9;

#[derive(Clone, Copy)]
pub enum Dialect {
    OpenAi,
    Anthropic,
    /// Floats, whatever encoding was asked for.
    Embeddings {
        inputs: usize,
    },
}

pub struct Answer {
    pub dialect: Dialect,
    pub model: String,
    pub usage: Reported,
}

/// The reported usage; the total need not be the sum of its parts.
#[derive(Clone, Copy)]
pub struct Reported {
    tokens_in: u64,
    tokens_out: u64,
    total: u64,
}

impl Default for Reported {
    fn default() -> Self {
        Self { tokens_in: TOKENS_IN, tokens_out: TOKENS_OUT, total: TOKENS_IN + TOKENS_OUT }
    }
}

impl Reported {
    /// Parses `IN-OUT-TOTAL`.
    pub fn of(numbers: &str) -> Self {
        let mut numbers = numbers.split('-').map(|number| number.parse().expect("a number of tokens"));
        let mut next = || numbers.next().expect("three numbers");
        Self { tokens_in: next(), tokens_out: next(), total: next() }
    }

    fn as_openai(self) -> Value {
        json!({
            "prompt_tokens": self.tokens_in, "completion_tokens": self.tokens_out, "total_tokens": self.total,
            "prompt_tokens_details": { "cached_tokens": 0 }, "completion_tokens_details": { "reasoning_tokens": 0 },
        })
    }
}

impl Answer {
    pub fn whole(&self) -> Value {
        match self.dialect {
            Dialect::OpenAi => self.openai_whole(),
            Dialect::Embeddings { inputs } => self.embeddings(inputs),
            Dialect::Anthropic => self.anthropic_message(
                json!([{ "type": "text", "text": TEXT }]),
                json!("end_turn"),
                self.usage.tokens_out,
            ),
        }
    }

    pub fn stream(&self, include_usage: bool) -> Vec<String> {
        match self.dialect {
            Dialect::OpenAi | Dialect::Embeddings { .. } => self.openai_stream(include_usage),
            Dialect::Anthropic => self.anthropic_stream(),
        }
    }

    fn openai_whole(&self) -> Value {
        let message = json!({ "role": "assistant", "content": TEXT });
        json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": self.model,
            "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }], "usage": self.usage.as_openai(),
        })
    }

    fn embeddings(&self, inputs: usize) -> Value {
        let vector = |index: usize| json!({ "object": "embedding", "index": index, "embedding": [0.5, -0.25, index] });
        let tokens = self.usage.tokens_in;
        json!({
            "object": "list", "data": (0..inputs).map(vector).collect::<Vec<_>>(), "model": self.model,
            "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
        })
    }

    fn openai_stream(&self, include_usage: bool) -> Vec<String> {
        let chunk = |choices: Value, usage: Option<Value>| {
            let mut chunk = json!({
                "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": self.model,
                "choices": choices,
            });
            if let Some(usage) = usage {
                chunk["usage"] = usage;
            }
            format!("data: {chunk}\n\n")
        };
        let delta = |delta: Value, finish_reason: Option<&str>| {
            chunk(json!([{ "index": 0, "delta": delta, "finish_reason": finish_reason }]), None)
        };
        let mut frames = vec![delta(json!({ "role": "assistant", "content": "" }), None)];
        frames.extend(deltas().map(|word| delta(json!({ "content": word }), None)));
        frames.push(delta(json!({}), Some("stop")));
        if include_usage {
            frames.push(chunk(json!([]), Some(self.usage.as_openai())));
        }
        frames.push("data: [DONE]\n\n".to_owned());
        frames
    }

    fn anthropic_message(&self, content: Value, stop_reason: Value, tokens_out: u64) -> Value {
        json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": self.model, "content": content,
            "stop_reason": stop_reason, "stop_sequence": null,
            "usage": { "input_tokens": self.usage.tokens_in, "output_tokens": tokens_out },
        })
    }

    fn anthropic_stream(&self) -> Vec<String> {
        let frame = |name: &str, mut data: Value| {
            data["type"] = json!(name);
            format!("event: {name}\ndata: {data}\n\n")
        };
        // A first estimate of the output; the running total at the end replaces it.
        let start = self.anthropic_message(json!([]), Value::Null, 1);
        let block = json!({ "index": 0, "content_block": { "type": "text", "text": "" } });
        let mut frames = vec![
            frame("message_start", json!({ "message": start })),
            frame("content_block_start", block),
            frame("ping", json!({})),
        ];
        frames.extend(deltas().map(|word| {
            frame("content_block_delta", json!({ "index": 0, "delta": { "type": "text_delta", "text": word } }))
        }));
        frames.push(frame("content_block_stop", json!({ "index": 0 })));
        let stop = json!({ "stop_reason": "end_turn", "stop_sequence": null });
        frames.push(frame(
            "message_delta",
            json!({ "delta": stop, "usage": { "output_tokens": self.usage.tokens_out } }),
        ));
        frames.push(frame("message_stop", json!({})));
        frames
    }
}

/// The number of inputs of a request for embeddings.
pub fn inputs_of(body: &Value) -> usize {
    match body["input"].as_array() {
        Some(list) if !list.iter().all(Value::is_number) => list.len(),
        _ => 1,
    }
}

fn deltas() -> impl Iterator<Item = String> {
    TEXT.split(' ').enumerate().map(|(at, word)| if at == 0 { word.to_owned() } else { format!(" {word}") })
}
