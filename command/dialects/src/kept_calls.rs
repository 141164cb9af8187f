//! At most one tool call. Not every dialect can tell a model so, and models that were told may call several tools all the
//! same: the calls after the first are then left out of the response. They were written by the model, so they are
//! measured and billed.

use intermediate::chat::{AnswerChoice, Feature, FeatureSet, OutputBlock};
use intermediate::delta::{Delta, DeltaKind};

/// The tool calls of each choice that the client gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeptCalls {
    #[default]
    All,
    First,
}

impl KeptCalls {
    /// Those for a request with these features.
    pub const fn of(used: FeatureSet) -> Self {
        if used.contains(Feature::OneToolCall) { Self::First } else { Self::All }
    }

    /// Leaves the other calls out of a whole response.
    pub fn keep_in(self, choices: &mut [AnswerChoice]) {
        if self == Self::All {
            return;
        }
        for choice in choices {
            let mut has_call = false;
            choice
                .output
                .retain(|block| !matches!(block, OutputBlock::ToolCall(_)) || !std::mem::replace(&mut has_call, true));
        }
    }
}

/// Leaves the other calls out of a stream. Blocks after them get the numbers that they have without them.
#[derive(Default)]
pub struct FirstCalls {
    /// The blocks left out of each choice, in their order. Readers bound both.
    left_out: Vec<Vec<usize>>,
}

impl FirstCalls {
    /// The delta as the client gets it; `None` if it does not.
    pub fn kept<'a>(&mut self, delta: Delta<'a>) -> Option<Delta<'a>> {
        let left_out = self.of_choice(delta.choice);
        match delta.kind {
            DeltaKind::CallBegins { ordinal, .. } if ordinal > 0 => {
                left_out.push(delta.block);
                None
            }
            DeltaKind::CallArguments { ordinal, .. } if ordinal > 0 => None,
            _ => {
                let before = left_out.partition_point(|block| *block <= delta.block);
                Some(Delta { block: delta.block.saturating_sub(before), ..delta })
            }
        }
    }

    fn of_choice(&mut self, choice: u32) -> &mut Vec<usize> {
        let at = choice as usize;
        if self.left_out.len() <= at {
            self.left_out.resize_with(at + 1, Vec::new);
        }
        &mut self.left_out[at]
    }

    #[cfg(test)]
    pub fn held_bytes(&self) -> usize {
        let blocks = self.left_out.iter().map(|blocks| blocks.capacity() * size_of::<usize>()).sum::<usize>();
        blocks + self.left_out.capacity() * size_of::<Vec<usize>>()
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use events::refused_parameters::RefusedParameters;
    use provider_dialects::{NO_FIELDS, OutboundTarget, ProviderKind, UpstreamCap};
    use serde_json::{Value, json};
    use surfaces::Surface;

    use super::*;
    use crate::golden::{MODEL, REQUEST_ID, receipt, usage};
    use crate::{ClientRequest, Relay};

    /// Two calls, a text after them, and the usage: as each upstream has them.
    fn whole_of(kind: ProviderKind) -> Value {
        match kind {
            ProviderKind::Gemini | ProviderKind::Vertex => {
                let call = |city| json!({"functionCall": {"name": "weather", "args": {"city": city}}});
                let parts = json!([call("Rome"), call("Oslo"), {"text": "after"}]);
                json!({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}],
                    "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 30}})
            }
            ProviderKind::Ollama => {
                let call = |city| json!({"function": {"name": "weather", "arguments": {"city": city}}});
                json!({"message": {"content": "after", "tool_calls": [call("Rome"), call("Oslo")]},
                    "done": true, "done_reason": "stop", "prompt_eval_count": 9, "eval_count": 30})
            }
            ProviderKind::Cohere => {
                let call = |city: &str| {
                    json!({"id": city, "type": "function", "function": {"name": "weather",
                        "arguments": json!({"city": city}).to_string()}})
                };
                json!({"message": {"content": [{"type": "text", "text": "after"}],
                    "tool_calls": [call("Rome"), call("Oslo")]}, "finish_reason": "TOOL_CALL",
                    "usage": {"billed_units": {"input_tokens": 9, "output_tokens": 30}}})
            }
            _ => {
                let call =
                    |city: &str| json!({"toolUse": {"toolUseId": city, "name": "weather", "input": {"city": city}}});
                json!({"output": {"message": {"content": [call("Rome"), call("Oslo"), {"text": "after"}]}},
                    "stopReason": "tool_use", "usage": {"inputTokens": 9, "outputTokens": 30}})
            }
        }
    }

    fn request(surface: Surface) -> ClientRequest {
        let parameters = json!({"type": "object"});
        let function = json!({"name": "weather", "parameters": parameters});
        let messages = json!([{"role": "user", "content": "hi"}]);
        let body = match surface {
            Surface::Anthropic => json!({"max_tokens": 9, "messages": messages,
                "tools": [{"name": "weather", "input_schema": parameters}],
                "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}),
            Surface::Responses => json!({"input": "hi", "parallel_tool_calls": false,
                "tools": [{"type": "function", "name": "weather", "parameters": parameters}]}),
            Surface::Native => json!({"messages": messages, "parallel_tool_calls": false, "tools": [function]}),
            _ => json!({"messages": messages, "parallel_tool_calls": false,
                "tools": [{"type": "function", "function": function}]}),
        };
        let mut body = body;
        body["model"] = json!(MODEL);
        ClientRequest::parse(surface, body.to_string().into()).expect("a request")
    }

    const KINDS: [ProviderKind; 5] =
        [ProviderKind::Gemini, ProviderKind::Vertex, ProviderKind::Ollama, ProviderKind::Cohere, ProviderKind::Bedrock];
    const SURFACES: [Surface; 4] = [Surface::Native, Surface::OpenAi, Surface::Anthropic, Surface::Responses];

    #[test]
    fn a_request_for_one_call_gets_one_from_upstreams_that_cannot_be_told_so() {
        for (kind, surface) in KINDS.into_iter().flat_map(|kind| SURFACES.map(|surface| (kind, surface))) {
            let request = request(surface);
            let target = OutboundTarget {
                model: "m",
                system_prefix: None,
                output_cap: UpstreamCap { tokens: 9, field: None },
                context_window: None,
                allowed_fields: &NO_FIELDS,
                server: None,
                refused: RefusedParameters::NONE,
                takes_signed_thoughts_alone: false,
            };
            let written = request.upstream_bodies().body(kind, &target).expect("a body");
            assert_eq!(written.calls, KeptCalls::First, "{kind:?} {surface:?}");
            let body = Bytes::from(whole_of(kind).to_string());
            let answer = request.answer_reader().keeping(written.calls).read(kind, body, None).expect("an answer");
            let rendered = answer.render(&receipt(&usage(&answer.metered), &answer.metered));
            let text = String::from_utf8(rendered.to_vec()).expect("text");
            assert!(text.contains("Rome") && !text.contains("Oslo") && text.contains("after"), "{kind:?}: {text}");
            assert_eq!(answer.metered.reported().map(|reported| reported.output()), Some(30), "{kind:?}");
            assert!(answer.metered.text_bytes >= 2 * "weather{\"city\":\"Rome\"}".len() as u64, "{kind:?}");
        }
    }

    #[test]
    fn a_stream_has_the_first_call_alone_and_its_blocks_are_numbered_without_gaps() {
        let event = whole_of(ProviderKind::Gemini);
        for surface in SURFACES {
            let relay = Relay::new(ProviderKind::Gemini, &request(surface), REQUEST_ID, MODEL, 0);
            let (mut relay, mut out) = (relay.keeping(KeptCalls::First), BytesMut::new());
            relay.feed(format!("data: {event}\n\n").as_bytes(), &mut out).expect("an event");
            relay.finish(&mut out).expect("an end");
            let metered = relay.metered();
            out.extend_from_slice(&relay.closing(&receipt(&usage(&metered), &metered)));
            let text = String::from_utf8(out.to_vec()).expect("text");
            assert!(text.contains("Rome") && !text.contains("Oslo") && text.contains("after"), "{surface:?}: {text}");
            assert_eq!(metered.reported().map(|reported| reported.output()), Some(30));
            let of_text = r#"{"index":1,"type":"text","text":"after"}"#;
            assert_eq!(text.contains(of_text), surface == Surface::Native, "{text}");
        }
    }

    #[test]
    fn calls_in_turns_keep_the_pieces_of_the_first_of_each_choice() {
        let mut first = FirstCalls::default();
        let begins = |ordinal| DeltaKind::CallBegins { ordinal, id: "c", name: "f", signature: None };
        let piece = |ordinal| DeltaKind::CallArguments { ordinal, piece: "1" };
        for (choice, block, kind, wanted) in [
            (0, 0, begins(0), Some(0)),
            (1, 0, DeltaKind::Text("x"), Some(0)),
            (0, 1, begins(1), None),
            (0, 0, piece(0), Some(0)),
            (0, 1, piece(1), None),
            (1, 1, begins(0), Some(1)),
            (0, 2, DeltaKind::Text("x"), Some(1)),
            (0, 3, begins(2), None),
            (0, 3, DeltaKind::Logprobs("{}"), Some(1)),
            (0, 4, DeltaKind::Text("y"), Some(2)),
            (1, 2, DeltaKind::Text("y"), Some(2)),
        ] {
            let kept = first.kept(Delta { choice, block, kind });
            assert_eq!(kept.map(|delta| (delta.choice, delta.block)), wanted.map(|block| (choice, block)));
        }
    }
}
