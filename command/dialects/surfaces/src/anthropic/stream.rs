//! Streamed responses of the Anthropic surface, translated from another dialect.
//!
//! One block is open at a time: it ends when another begins. If an upstream interleaves the pieces of several calls, a
//! late piece goes to its block by the index. Pieces of arguments are passed on as they come; that they are JSON cannot
//! be known before the last. The final usage and the end wait for the receipt.

use bytes::BytesMut;
use intermediate::delta::{Delta, DeltaKind};
use intermediate::{Receipt, json};
use serde::Serialize;
use serde_json::value::RawValue;

use super::content::UNSIGNED;
use super::usage::AnthropicUsage;
use super::write::{Content, Message, call_id, message_id, stop_reason};
use crate::sse::put_event;
use crate::{StreamHead, StreamWriter};

/// Writes a streamed response as events.
pub struct MessageWriter {
    request_id: String,
    model: String,
    has_begun: bool,
    /// Blocks so far: the index of the next.
    blocks: usize,
    /// The block that is being written.
    open: Option<OpenBlock>,
    /// The open block is a thought without a signature.
    is_unsigned: bool,
    /// The index of each tool call, by its ordinal.
    calls: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct OpenBlock {
    /// Its number among the upstream's blocks.
    block: usize,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Call,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event<'a> {
    MessageStart { message: Message<'a> },
    ContentBlockStart { index: usize, content_block: Content<'a> },
    ContentBlockDelta { index: usize, delta: Piece<'a> },
    ContentBlockStop { index: usize },
    MessageDelta { delta: End, usage: AnthropicUsage },
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum Piece<'a> {
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "signature_delta")]
    Signature { signature: &'a str },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: &'a str },
}

#[derive(Serialize)]
struct End {
    stop_reason: &'static str,
    stop_sequence: Option<()>,
}

impl Event<'_> {
    const fn name(&self) -> &'static str {
        match self {
            Self::MessageStart { .. } => "message_start",
            Self::ContentBlockStart { .. } => "content_block_start",
            Self::ContentBlockDelta { .. } => "content_block_delta",
            Self::ContentBlockStop { .. } => "content_block_stop",
            Self::MessageDelta { .. } => "message_delta",
        }
    }

    fn put(&self, out: &mut BytesMut) {
        put_event(out, self.name(), &json::written(self));
    }
}

impl StreamWriter for MessageWriter {
    fn new(head: &StreamHead<'_>) -> Self {
        Self {
            request_id: head.request_id.to_owned(),
            model: head.frontend_model.to_owned(),
            has_begun: false,
            blocks: 0,
            open: None,
            is_unsigned: false,
            calls: Vec::new(),
        }
    }

    fn write(&mut self, delta: &Delta<'_>, out: &mut BytesMut) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.put_start(out);
        }
        // A message has one choice: others cannot be asked for.
        if delta.choice > 0 {
            return;
        }
        let block = delta.block;
        match delta.kind {
            DeltaKind::Text(text) => {
                let index = self.index_of(OpenBlock { block, kind: Kind::Text }, Content::Text { text: "" }, out);
                Event::ContentBlockDelta { index, delta: Piece::Text { text } }.put(out);
            }
            DeltaKind::Reasoning(thinking) => {
                let index = self.thinking(block, out);
                Event::ContentBlockDelta { index, delta: Piece::Thinking { thinking } }.put(out);
            }
            DeltaKind::Signature(signature) => {
                let index = self.thinking(block, out);
                self.is_unsigned &= signature.is_empty();
                Event::ContentBlockDelta { index, delta: Piece::Signature { signature } }.put(out);
            }
            DeltaKind::Redacted(data) => {
                self.close_block(out);
                let index = self.next_index();
                Event::ContentBlockStart { index, content_block: Content::RedactedThinking { data } }.put(out);
                Event::ContentBlockStop { index }.put(out);
            }
            DeltaKind::CallBegins { ordinal, id, name, .. } => self.begin_call(block, ordinal, id, name, out),
            DeltaKind::CallArguments { ordinal, piece } => {
                if let Some(index) = self.calls.get(ordinal).copied() {
                    Event::ContentBlockDelta { index, delta: Piece::InputJson { partial_json: piece } }.put(out);
                }
            }
            // Probabilities cannot be asked for, and the end waits for the receipt.
            DeltaKind::Logprobs(_) | DeltaKind::Finish(_) => {}
        }
    }

    fn close(&self, receipt: &Receipt<'_>, out: &mut BytesMut) {
        if !self.has_begun {
            self.put_start(out);
        }
        self.put_block_end(out);
        put_end(receipt, out);
    }

    fn held_bytes(&self) -> usize {
        self.calls.capacity() * size_of::<usize>()
    }
}

impl MessageWriter {
    /// Writes `message_start`. Its usage is not known yet, and is all zeros.
    fn put_start(&self, out: &mut BytesMut) {
        let message = Message {
            id: &message_id(&self.request_id),
            r#type: "message",
            role: "assistant",
            model: &self.model,
            content: Vec::new(),
            stop_reason: None,
            stop_sequence: None,
            usage: AnthropicUsage::default(),
        };
        Event::MessageStart { message }.put(out);
    }

    fn thinking(&mut self, block: usize, out: &mut BytesMut) -> usize {
        let beginning = Content::Thinking { thinking: "", signature: "" };
        self.index_of(OpenBlock { block, kind: Kind::Thinking }, beginning, out)
    }

    /// The index of a block, which begins here unless it is the open one.
    fn index_of(&mut self, block: OpenBlock, beginning: Content<'_>, out: &mut BytesMut) -> usize {
        if self.open == Some(block) {
            return self.blocks.saturating_sub(1);
        }
        self.close_block(out);
        self.open = Some(block);
        self.is_unsigned = block.kind == Kind::Thinking;
        let index = self.next_index();
        Event::ContentBlockStart { index, content_block: beginning }.put(out);
        index
    }

    fn begin_call(&mut self, block: usize, ordinal: usize, id: &str, name: &str, out: &mut BytesMut) {
        let Ok(input) = RawValue::from_string("{}".to_owned()) else { return };
        let id = call_id(id, &self.request_id, ordinal).into_owned();
        let beginning = Content::ToolUse { id: id.into(), name, input: std::borrow::Cow::Owned(input) };
        let index = self.index_of(OpenBlock { block, kind: Kind::Call }, beginning, out);
        // Readers bound the calls, and number them without gaps.
        if self.calls.len() == ordinal {
            self.calls.push(index);
        }
    }

    fn close_block(&mut self, out: &mut BytesMut) {
        self.put_block_end(out);
        self.open = None;
    }

    fn put_block_end(&self, out: &mut BytesMut) {
        let (Some(_), Some(index)) = (self.open, self.blocks.checked_sub(1)) else { return };
        if self.is_unsigned {
            Event::ContentBlockDelta { index, delta: Piece::Signature { signature: UNSIGNED } }.put(out);
        }
        Event::ContentBlockStop { index }.put(out);
    }

    const fn next_index(&mut self) -> usize {
        let index = self.blocks;
        self.blocks += 1;
        index
    }
}

/// Writes the end of a stream from its receipt: `message_delta` with the final usage, and `message_stop`.
pub fn put_end(receipt: &Receipt<'_>, out: &mut BytesMut) {
    let end = End { stop_reason: stop_reason(receipt.finish_reason), stop_sequence: None };
    Event::MessageDelta { delta: end, usage: (&receipt.usage.tokens).into() }.put(out);
    put_event(out, "message_stop", br#"{"type":"message_stop"}"#);
}

#[cfg(test)]
mod tests {
    use intermediate::FinishReason;
    use serde_json::Value;

    use super::*;
    use crate::receipts::{REQUEST_ID, receipt};

    fn written(deltas: &[(usize, DeltaKind<'_>)]) -> Vec<Value> {
        let head = StreamHead {
            request_id: REQUEST_ID,
            frontend_model: "m",
            created_unix_s: 0,
            include_usage: false,
            echo: &bytes::Bytes::new(),
        };
        let (mut writer, mut out) = (MessageWriter::new(&head), BytesMut::new());
        for (block, kind) in deltas {
            writer.write(&Delta { choice: 0, block: *block, kind: kind.clone() }, &mut out);
        }
        writer.close(&receipt(FinishReason::ToolCalls), &mut out);
        let text = String::from_utf8(out.to_vec()).expect("text");
        text.lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).expect("JSON"))
            .collect()
    }

    fn outline(events: &[Value]) -> Vec<String> {
        let kind = |event: &Value| {
            let inside = event["content_block"]["type"].as_str().or(event["delta"]["type"].as_str());
            format!("{} {} {}", event["type"].as_str().unwrap_or_default(), event["index"], inside.unwrap_or_default())
        };
        events.iter().map(kind).collect()
    }

    #[test]
    fn one_block_is_open_at_a_time_and_each_is_closed() {
        let begins = |ordinal| DeltaKind::CallBegins { ordinal, id: "", name: "f", signature: None };
        let events = written(&[
            (0, DeltaKind::Reasoning("hm")),
            (0, DeltaKind::Signature("s")),
            (1, DeltaKind::Redacted("r")),
            (2, DeltaKind::Text("a")),
            (2, DeltaKind::Text("b")),
            (3, begins(0)),
            (3, DeltaKind::CallArguments { ordinal: 0, piece: "{}" }),
            (4, begins(1)),
            (3, DeltaKind::CallArguments { ordinal: 0, piece: "late" }),
            (4, DeltaKind::Finish(FinishReason::ToolCalls)),
        ]);
        assert_eq!(
            outline(&events),
            [
                "message_start null ",
                "content_block_start 0 thinking",
                "content_block_delta 0 thinking_delta",
                "content_block_delta 0 signature_delta",
                "content_block_stop 0 ",
                "content_block_start 1 redacted_thinking",
                "content_block_stop 1 ",
                "content_block_start 2 text",
                "content_block_delta 2 text_delta",
                "content_block_delta 2 text_delta",
                "content_block_stop 2 ",
                "content_block_start 3 tool_use",
                "content_block_delta 3 input_json_delta",
                "content_block_stop 3 ",
                "content_block_start 4 tool_use",
                "content_block_delta 3 input_json_delta",
                "content_block_stop 4 ",
                "message_delta null ",
                "message_stop null ",
            ]
        );
        let ids: Vec<_> = events.iter().filter_map(|event| event["content_block"]["id"].as_str()).collect();
        assert_eq!(ids.len(), 2);
        assert!(ids[0].starts_with("toolu_") && ids[0] != ids[1], "{ids:?}");
        assert_eq!(events[events.len() - 2]["delta"]["stop_reason"], "tool_use");
    }

    #[test]
    fn a_stream_of_nothing_has_a_beginning_and_an_end() {
        assert_eq!(outline(&written(&[])), ["message_start null ", "message_delta null ", "message_stop null "]);
    }
}
