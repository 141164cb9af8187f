//! Fuzz targets of everything that reads input of clients and upstreams. See `docs/fuzzing.md`.

mod answers;
mod costly;
mod embeddings;
mod requests;
mod scanner;
mod simulator;
mod streams;
mod tedious;
mod work;

use std::fmt;

use fuzzing::Corpus;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::*;

const SURFACES: [Surface; 5] =
    [Surface::Native, Surface::OpenAi, Surface::Anthropic, Surface::Responses, Surface::Completions];
const _: () = assert!(SURFACES.len() == Surface::CHAT.len());
/// All kinds but the simulator, which speaks OpenAI's dialect.
pub const DIALECTS: [ProviderKind; ProviderKind::ALL.len() - 1] = {
    let mut dialects = [ProviderKind::Simulator; ProviderKind::ALL.len() - 1];
    let (mut at, mut found) = (0, 0);
    while at < ProviderKind::ALL.len() {
        if !matches!(ProviderKind::ALL[at], ProviderKind::Simulator) {
            dialects[found] = ProviderKind::ALL[at];
            found += 1;
        }
        at += 1;
    }
    dialects
};

fn answers_of(dialect: ProviderKind, extension: &str) -> Corpus {
    match dialect {
        ProviderKind::Openai => Corpus::golden("openai/answers", extension).knowing(&[
            "error",
            "usage",
            "x_groq",
            "model",
            "choices",
            "prompt_tokens_details",
            "completion_tokens_details",
            "prompt_cache_hit_tokens",
            "refusal",
            "reasoning",
            "reasoning_content",
            "function_call",
        ]),
        ProviderKind::Anthropic => Corpus::golden("anthropic/answers", extension).knowing(&[
            "error",
            "cache_creation",
            "ephemeral_1h_input_tokens",
            "output_tokens_details",
            "content_block",
            "partial_json",
            "signature",
        ]),
        ProviderKind::Ollama => Corpus::golden("ollama/answers", extension)
            .knowing(&["error", "done_reason", "thinking", "tool_calls", "prompt_eval_count"]),
        ProviderKind::AzureOpenai => Corpus::golden("azure_openai/answers", extension).knowing(&[
            "error", "innererror", "usage", "choices", "prompt_filter_results", "content_filter_results",
            "content_filter_offsets",
        ]),
        ProviderKind::Cohere => Corpus::golden("cohere/answers", extension).knowing(&[
            "error", "message", "tool_plan", "thinking", "tool_calls", "finish_reason", "billed_units", "tokens",
            "cached_tokens",
        ]),
        ProviderKind::Gemini => Corpus::golden("gemini/answers", extension).knowing(&[
            "error", "promptFeedback", "blockReason", "finishReason", "functionCall", "thought", "thoughtSignature",
            "usageMetadata", "thoughtsTokenCount", "cachedContentTokenCount", "logprobsResult",
        ]),
        // A stream in the form of its samples: see `golden::wire`.
        ProviderKind::Bedrock => Corpus::golden("bedrock/answers", extension).knowing(&[
            "__type", "reasoningContent", "reasoningText", "redactedContent", "citationsContent", "cacheDetails",
            "originalStatusCode", "toolUseId", "server_tool_use",
        ]),
        ProviderKind::Vertex => Corpus::golden("vertex/answers", extension).knowing(&[
            "error", "type", "finishReason", "functionCall", "thoughtSignature", "usageMetadata", "input_tokens",
            "content_block", "partial_json",
        ]),
        ProviderKind::Simulator => panic!("it has no answers of its own"),
    }
}

/// Choices with their calls' indexes and finish reasons left out, which strict clients may need otherwise; `None` if they
/// have half a surrogate pair.
fn without_corrections(choices: &str) -> Option<Value> {
    let mut choices: Value = serde_json::from_str(choices).ok()?;
    for choice in choices.as_array_mut().into_iter().flatten() {
        if let Some(finish) = choice.get_mut("finish_reason").filter(|finish| finish.is_string()) {
            *finish = Value::Null;
        }
        let calls = choice.pointer_mut("/delta/tool_calls").and_then(Value::as_array_mut);
        for call in calls.into_iter().flatten().filter_map(Value::as_object_mut) {
            call.remove("index");
        }
    }
    Some(choices)
}

/// True if these members of two responses of the OpenAI dialect are the same but for what strict clients need otherwise.
fn are_same_but_corrected(some: &[(String, String)], others: &[(String, String)]) -> bool {
    let is_same = |((name, value), (other_name, other)): (&(String, String), &(String, String))| {
        let may_be_corrected =
            name == "choices" && [value, other].iter().any(|text| text.contains("call") || text.contains("\\u"));
        name == other_name
            && (value == other || may_be_corrected && without_corrections(value) == without_corrections(other))
    };
    some.len() == others.len() && some.iter().zip(others).all(is_same)
}

/// The members of an object as serde reads them, in order, with raw values.
struct Ordered(Vec<(String, Box<RawValue>)>);

impl Ordered {
    fn of(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.get())
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Ordered;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Ordered(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}
