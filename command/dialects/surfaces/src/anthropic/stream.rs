//! Streamed responses of the Anthropic surface, translated from another dialect.
//!
//! One block is open at a time, as in Anthropic's own streams: it ends when another begins. An upstream of another dialect
//! may send the pieces of several calls in turns. Then the blocks that begin before the arguments of the open call are
//! complete wait until they are, or until the stream ends. Pieces of arguments are passed on as they come; that they are
//! JSON cannot be known before the last. The final usage and the end wait for the receipt.

mod arguments_end;
mod held_blocks;

use bytes::BytesMut;
use intermediate::delta::{Delta, DeltaKind};
use intermediate::{Receipt, json};
use serde::Serialize;
use serde_json::value::RawValue;

use self::arguments_end::ArgumentsEnd;
use self::held_blocks::HeldBlocks;
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
    written: WrittenBlocks,
    held: HeldBlocks,
}

/// The blocks that were written so far.
#[derive(Clone, Copy, Default)]
struct WrittenBlocks {
    /// Their number: the index of the next.
    count: usize,
    /// The block that is being written.
    open: Option<OpenBlock>,
    /// The open block is a thought without a signature.
    is_unsigned: bool,
    /// The arguments of the open block, if that is a call.
    arguments: ArgumentsEnd,
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
            written: WrittenBlocks::default(),
            held: HeldBlocks::default(),
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
        // Probabilities cannot be asked for, and the end waits for the receipt.
        if matches!(delta.kind, DeltaKind::Logprobs(_) | DeltaKind::Finish(_)) {
            return;
        }
        if self.is_held(delta) {
            self.held.add(delta.block, &delta.kind);
            return;
        }
        self.written.put(&self.request_id, delta.block, &delta.kind, out);
        while !self.written.is_calling() {
            let Some((block, pieces)) = self.held.pop() else { break };
            for piece in &pieces {
                self.written.put(&self.request_id, block, &piece.kind(), out);
            }
        }
    }

    fn close(&self, receipt: &Receipt<'_>, out: &mut BytesMut) {
        if !self.has_begun {
            self.put_start(out);
        }
        let mut written = self.written;
        for (block, pieces) in self.held.iter() {
            for piece in pieces {
                written.put(&self.request_id, block, &piece.kind(), out);
            }
        }
        written.put_block_end(out);
        put_end(receipt, out);
    }

    fn kept_bytes(&self) -> usize {
        self.held.held_bytes()
    }

    fn bytes_to_come(&self) -> usize {
        self.held.event_bytes()
    }

    fn held_bytes(&self) -> usize {
        self.request_id.capacity() + self.model.capacity() + 2 * self.held.held_bytes()
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

    /// True if the block of a piece has to wait: the open call is not complete, and the piece is of another block.
    fn is_held(&self, delta: &Delta<'_>) -> bool {
        let is_open = || self.written.open.is_some_and(|open| open.block == delta.block);
        // The rest of a call that has ended is not held: it belongs nowhere.
        let is_rest = || matches!(delta.kind, DeltaKind::CallArguments { .. }) && !self.held.contains(delta.block);
        self.written.is_calling() && !is_open() && !is_rest()
    }
}

impl WrittenBlocks {
    /// True if the open block is a call whose arguments are not complete.
    const fn is_calling(&self) -> bool {
        match self.open {
            Some(OpenBlock { kind: Kind::Call, .. }) => !self.arguments.is_complete(),
            Some(_) | None => false,
        }
    }

    /// Writes a piece of a block.
    fn put(&mut self, request_id: &str, block: usize, kind: &DeltaKind<'_>, out: &mut BytesMut) {
        match *kind {
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
            DeltaKind::CallBegins { ordinal, id, name, .. } => {
                let Ok(input) = RawValue::from_string("{}".to_owned()) else { return };
                let id = call_id(id, request_id, ordinal).into_owned();
                let beginning = Content::ToolUse { id: id.into(), name, input: std::borrow::Cow::Owned(input) };
                self.index_of(OpenBlock { block, kind: Kind::Call }, beginning, out);
                self.arguments = ArgumentsEnd::default();
            }
            // A piece of a call that has ended: white space, or no JSON with what came before.
            DeltaKind::CallArguments { .. } if self.open != Some(OpenBlock { block, kind: Kind::Call }) => {}
            DeltaKind::CallArguments { piece, .. } => {
                self.arguments.read(piece);
                let index = self.count.saturating_sub(1);
                Event::ContentBlockDelta { index, delta: Piece::InputJson { partial_json: piece } }.put(out);
            }
            DeltaKind::Logprobs(_) | DeltaKind::Finish(_) => {}
        }
    }

    fn thinking(&mut self, block: usize, out: &mut BytesMut) -> usize {
        let beginning = Content::Thinking { thinking: "", signature: "" };
        self.index_of(OpenBlock { block, kind: Kind::Thinking }, beginning, out)
    }

    /// The index of a block, which begins here unless it is the open one.
    fn index_of(&mut self, block: OpenBlock, beginning: Content<'_>, out: &mut BytesMut) -> usize {
        if self.open == Some(block) {
            return self.count.saturating_sub(1);
        }
        self.close_block(out);
        self.open = Some(block);
        self.is_unsigned = block.kind == Kind::Thinking;
        let index = self.next_index();
        Event::ContentBlockStart { index, content_block: beginning }.put(out);
        index
    }

    fn close_block(&mut self, out: &mut BytesMut) {
        self.put_block_end(out);
        self.open = None;
        self.is_unsigned = false;
    }

    fn put_block_end(&self, out: &mut BytesMut) {
        let (Some(_), Some(index)) = (self.open, self.count.checked_sub(1)) else { return };
        if self.is_unsigned {
            Event::ContentBlockDelta { index, delta: Piece::Signature { signature: UNSIGNED } }.put(out);
        }
        Event::ContentBlockStop { index }.put(out);
    }

    const fn next_index(&mut self) -> usize {
        let index = self.count;
        self.count += 1;
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

    static NO_ECHO: bytes::Bytes = bytes::Bytes::new();
    const HEAD: StreamHead<'_> = StreamHead {
        request_id: REQUEST_ID,
        frontend_model: "m",
        created_unix_s: 0,
        include_usage: false,
        echo: &NO_ECHO,
    };

    fn written(deltas: &[(usize, DeltaKind<'_>)]) -> Vec<Value> {
        let (mut writer, mut out) = (MessageWriter::new(&HEAD), BytesMut::new());
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
        let begins = |ordinal| begins(0, ordinal, "f").1;
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

    /// The blocks of a stream, of which each is one line of its parts. Fails unless each part is of the open block.
    fn blocks(events: &[Value]) -> Vec<String> {
        let (mut blocks, mut open) = (Vec::<String>::new(), None);
        for event in events {
            let index = event["index"].as_u64();
            match event["type"].as_str().expect("a type") {
                "content_block_start" => {
                    assert_eq!((open, index), (None, u64::try_from(blocks.len()).ok()), "{events:#?}");
                    let beginning = &event["content_block"];
                    let name = beginning["name"].as_str().or(beginning["data"].as_str());
                    blocks.push(format!("{} ", name.or(beginning["type"].as_str()).expect("a name")));
                    open = index;
                }
                "content_block_delta" => {
                    assert_eq!(open, index, "{events:#?}");
                    let parts = ["text", "thinking", "signature", "partial_json"];
                    let parts = parts.iter().filter_map(|part| event["delta"][part].as_str());
                    blocks.last_mut().expect("a block").extend(parts);
                }
                "content_block_stop" => {
                    assert_eq!(open.take(), index, "{events:#?}");
                }
                _ => assert_eq!(open, None, "{events:#?}"),
            }
        }
        blocks
    }

    const fn begins(block: usize, ordinal: usize, name: &'static str) -> (usize, DeltaKind<'static>) {
        (block, DeltaKind::CallBegins { ordinal, id: "", name, signature: None })
    }

    const fn piece(block: usize, ordinal: usize, piece: &'static str) -> (usize, DeltaKind<'static>) {
        (block, DeltaKind::CallArguments { ordinal, piece })
    }

    #[test]
    fn calls_in_turns_are_written_one_after_the_other() {
        for (deltas, wanted) in [
            // Two calls in one chunk, and the rest of each.
            (
                vec![
                    begins(0, 0, "a"),
                    piece(0, 0, r#"{"x""#),
                    begins(1, 1, "b"),
                    piece(1, 1, r#"{"y""#),
                    piece(0, 0, ":1}"),
                    piece(1, 1, ":2}"),
                ],
                &[r#"a {"x":1}"#, r#"b {"y":2}"#][..],
            ),
            // A call that continues after a later one has begun and ended, and a third that continues after both.
            (
                vec![
                    begins(0, 0, "a"),
                    piece(0, 0, "{"),
                    begins(1, 1, "b"),
                    piece(1, 1, "{}"),
                    begins(2, 2, "c"),
                    piece(2, 2, "{"),
                    piece(0, 0, "}"),
                    piece(2, 2, "}"),
                ],
                &["a {}", "b {}", "c {}"],
            ),
            // Text and thoughts between the pieces of a call, and pieces of a call that has ended.
            (
                vec![
                    (0, DeltaKind::Text("t")),
                    begins(1, 0, "a"),
                    (2, DeltaKind::Text("u")),
                    (3, DeltaKind::Reasoning("v")),
                    (3, DeltaKind::Signature("s")),
                    (4, DeltaKind::Redacted("w")),
                    (2, DeltaKind::Text("u")),
                    piece(1, 0, "{}"),
                    piece(1, 0, "\n"),
                    (5, DeltaKind::Text("x")),
                    piece(1, 0, "\n"),
                ],
                &["text t", "a {}", "text uu", "thinking vs", "w ", "text x"],
            ),
            // Calls without arguments, and half of one: the stream ends.
            (vec![begins(0, 0, "a"), begins(1, 1, "b"), begins(2, 2, "c"), piece(1, 1, "{\"")], &["a ", "b {\"", "c "]),
        ] {
            let events = written(&deltas);
            // A line break after the arguments is a piece of the open block as long as it is open.
            let blocks: Vec<_> = blocks(&events).iter().map(|block| block.replace('\n', "")).collect();
            assert_eq!(blocks, wanted, "{events:#?}");
        }
    }

    #[test]
    fn a_call_is_not_held_once_the_one_before_is_complete() {
        let (mut writer, mut out) = (MessageWriter::new(&HEAD), BytesMut::new());
        for ((block, kind), held, is_written) in [
            (begins(0, 0, "a"), false, true),
            (piece(0, 0, "{"), false, true),
            (begins(1, 1, "b"), true, false),
            (piece(1, 1, "{\"y\""), true, false),
            (piece(0, 0, "}"), false, true),
            (piece(1, 1, ":2}"), false, true),
            (begins(2, 2, "c"), false, true),
        ] {
            out.clear();
            writer.write(&Delta { choice: 0, block, kind }, &mut out);
            assert_eq!((writer.kept_bytes() > 0, !out.is_empty()), (held, is_written));
            assert_eq!(writer.bytes_to_come() > 0, held);
        }
    }

    #[test]
    fn a_stream_of_nothing_has_a_beginning_and_an_end() {
        assert_eq!(outline(&written(&[])), ["message_start null ", "message_delta null ", "message_stop null "]);
    }
}
