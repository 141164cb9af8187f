//! Writes a streamed response as the events of the Responses API. Every event has a number, without gaps.
//!
//! Text and reasoning end when the next block begins. Calls end at the end of the stream, because providers may send the
//! arguments of several calls in turns. The last event repeats the whole response, so all of it is kept until then;
//! `dialects::Relay` bounds it.

use std::fmt::Write;

use bytes::{BufMut, Bytes, BytesMut};
use intermediate::delta::{Delta, DeltaKind};
use intermediate::{Receipt, work};

use super::item::{Item, ItemKind, push_escaped};
use super::proof;
use super::response::{Frame, Status};
use crate::ids::digits;
use crate::{StreamHead, StreamWriter};

/// About how many bytes an item takes in the events that end it, and in the last event, besides what is kept of it.
const ITEM_END_BYTES: usize = 1024;
const ITEM_REPEATED_BYTES: usize = 256;
/// How often the events that end an item repeat what is kept of it.
const REPEATS_AT_END: usize = 3;
/// About how many bytes an event takes besides its members.
const EVENT_BYTES: usize = 128;

pub struct ResponsesWriter {
    /// The digits of the request's id.
    digits: String,
    model: String,
    created_unix_s: i64,
    echo: Bytes,
    items: Vec<Item>,
    /// The text or reasoning that has not ended.
    open: Option<Open>,
    /// The index of each call in `items`, by its ordinal.
    calls: Vec<u32>,
    /// Bytes kept of all items.
    kept_bytes: usize,
    /// Items that have ended, and the bytes kept of them.
    ended: usize,
    ended_bytes: usize,
    /// The number of the next event.
    next: u64,
}

/// The item that a block is written to.
#[derive(Clone, Copy)]
struct Open {
    block: usize,
    index: usize,
}

/// Writes events with numbers in sequence.
struct Numbered<'o> {
    next: u64,
    out: &'o mut BytesMut,
}

impl Numbered<'_> {
    /// Writes one event with these members besides its type and its number.
    fn put(&mut self, kind: &str, members: &[&[u8]]) {
        self.out.reserve(members.iter().map(|part| part.len()).sum::<usize>() + EVENT_BYTES);
        self.put_with(kind, |out| members.iter().for_each(|part| out.put_slice(part)));
    }

    /// Writes one event, and its members straight into the output: they may be as long as the whole response.
    fn put_with(&mut self, kind: &str, members: impl FnOnce(&mut BytesMut)) {
        let before = self.out.len();
        for part in ["event: ", kind, "\ndata: {\"type\":\"", kind, "\",\"sequence_number\":"] {
            self.out.put_slice(part.as_bytes());
        }
        let _ = write!(self.out, "{},", self.next);
        members(self.out);
        self.out.put_slice(b"}\n\n");
        self.next += 1;
        work::steps(self.out.len() - before);
    }
}

impl StreamWriter for ResponsesWriter {
    fn new(head: &StreamHead<'_>) -> Self {
        Self {
            digits: digits(head.request_id).to_owned(),
            model: head.frontend_model.to_owned(),
            created_unix_s: head.created_unix_s,
            echo: head.echo.clone(),
            items: Vec::new(),
            open: None,
            calls: Vec::new(),
            kept_bytes: 0,
            ended: 0,
            ended_bytes: 0,
            next: 0,
        }
    }

    fn write(&mut self, delta: &Delta<'_>, out: &mut BytesMut) {
        // Requests cannot ask for several choices.
        if delta.choice != 0 {
            return;
        }
        let mut events = Numbered { next: self.next, out };
        self.write_delta(delta, &mut events);
        self.next = events.next;
    }

    /// Writes the end of the items that are still open, and the whole response.
    fn close(&self, receipt: &Receipt<'_>, out: &mut BytesMut) {
        let status = Status::of(receipt.finish_reason);
        let mut events = Numbered { next: self.next, out };
        if self.next == 0 {
            self.put_beginning(&mut events);
        }
        let open = self.open.map(|open| open.index);
        for (index, item) in self.items.iter().enumerate() {
            if item.kind == ItemKind::Call || Some(index) == open {
                let is_last = index + 1 == self.items.len();
                self.put_end(index, item, status.of_item(is_last), &mut events);
            }
        }
        let kind = match status {
            Status::Completed => "response.completed",
            Status::Incomplete(_) => "response.incomplete",
            Status::Failed => "response.failed",
            Status::InProgress => "response.in_progress",
        };
        events.put_with(kind, |out| {
            out.put_slice(br#""response":"#);
            self.frame().put(status, self.items.iter(), Some(&receipt.usage.tokens), out);
        });
    }

    fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// The end of an item repeats it, and the last event repeats all of them.
    fn bytes_to_come(&self) -> usize {
        let open = self.items.len() - self.ended;
        let of_open = REPEATS_AT_END * (self.kept_bytes - self.ended_bytes) + open * ITEM_END_BYTES;
        of_open + self.kept_bytes + self.items.len() * ITEM_REPEATED_BYTES
    }

    fn events(&self) -> u64 {
        self.next
    }

    fn held_bytes(&self) -> usize {
        let item = |item: &Item| item.text.capacity() + item.more.capacity();
        let items = self.items.capacity() * size_of::<Item>() + self.items.iter().map(item).sum::<usize>();
        items + self.calls.capacity() * size_of::<u32>() + self.digits.capacity() + self.model.capacity()
    }
}

impl ResponsesWriter {
    fn write_delta(&mut self, delta: &Delta<'_>, events: &mut Numbered<'_>) {
        match delta.kind {
            DeltaKind::Text(text) => {
                let index = self.item_of(ItemKind::Message, delta.block, events);
                self.add_text(index, text, events);
            }
            DeltaKind::Reasoning(text) => {
                let index = self.item_of(ItemKind::Reasoning, delta.block, events);
                self.add_text(index, text, events);
            }
            DeltaKind::Signature(data) => self.add_proof(delta.block, proof::SIGNATURE, data, events),
            DeltaKind::Redacted(data) => self.add_proof(delta.block, proof::REDACTED, data, events),
            DeltaKind::CallBegins { id, name, signature, .. } => {
                if let Some(signature) = signature {
                    let index = self.begin(Item::proof_of_call(id, signature), events);
                    self.open = Some(Open { block: delta.block, index });
                }
                let index = self.begin(Item::call(id, name), events);
                self.calls.push(u32::try_from(index).unwrap_or(u32::MAX));
            }
            DeltaKind::CallArguments { ordinal, piece } => {
                if let Some(index) = self.calls.get(ordinal) {
                    self.add_text(*index as usize, piece, events);
                }
            }
            DeltaKind::Logprobs(logprobs) => self.add_logprobs(logprobs, events),
            DeltaKind::Finish(_) => {}
        }
    }

    /// The item of this kind that the block is written to. It begins if the block does.
    fn item_of(&mut self, kind: ItemKind, block: usize, events: &mut Numbered<'_>) -> usize {
        let is_it =
            |open: &Open| open.block == block && self.items.get(open.index).is_some_and(|item| item.kind == kind);
        if let Some(open) = self.open.filter(is_it) {
            return open.index;
        }
        let index = self.begin(Item::of(kind), events);
        self.open = Some(Open { block, index });
        index
    }

    /// Begins an item, and ends the open one.
    fn begin(&mut self, item: Item, events: &mut Numbered<'_>) -> usize {
        if events.next == 0 {
            self.put_beginning(events);
        }
        if let Some(Open { index, .. }) = self.open.take()
            && let Some(ended) = self.items.get(index)
        {
            self.put_end(index, ended, "completed", events);
            self.ended += 1;
            self.ended_bytes += ended.bytes();
        }
        let index = self.items.len();
        let id = item.id(&self.digits, index);
        events.put_with("response.output_item.added", |out| {
            put_index(index, out);
            item.put_begun(&id, out);
        });
        if item.kind == ItemKind::Message {
            let part = br#","part":{"type":"output_text","annotations":[],"logprobs":[],"text":""}"#;
            events.put("response.content_part.added", &[place(item.kind, &id, index).as_bytes(), part]);
        }
        self.kept_bytes += item.bytes();
        self.items.push(item);
        index
    }

    fn add_text(&mut self, index: usize, text: &str, events: &mut Numbered<'_>) {
        let Some(item) = self.items.get_mut(index).filter(|_| !text.is_empty()) else { return };
        let place = place(item.kind, &item.id(&self.digits, index), index);
        let before = item.text.len();
        push_escaped(&mut item.text, text);
        let piece = item.text.get(before..).unwrap_or_default();
        self.kept_bytes += piece.len();
        let (kind, end): (_, &[u8]) = match item.kind {
            ItemKind::Message => ("response.output_text.delta", br#"","logprobs":[]"#),
            ItemKind::Reasoning => ("response.reasoning_summary_text.delta", b"\""),
            ItemKind::Call => ("response.function_call_arguments.delta", b"\""),
        };
        if item.kind == ItemKind::Reasoning && before == 0 {
            let part = br#","part":{"type":"summary_text","text":""}"#;
            events.put("response.reasoning_summary_part.added", &[place.as_bytes(), part]);
        }
        events.put(kind, &[place.as_bytes(), br#","delta":""#, piece, end]);
    }

    /// Adds to the proof of the reasoning in this block. Proofs of two kinds need two items.
    fn add_proof(&mut self, block: usize, prefix: &'static str, data: &str, events: &mut Numbered<'_>) {
        let mut index = self.item_of(ItemKind::Reasoning, block, events);
        let has_other = |item: &Item| !item.more.is_empty() && !item.more.starts_with(prefix.as_bytes());
        if self.items.get(index).is_some_and(has_other) {
            index = self.begin(Item::of(ItemKind::Reasoning), events);
            self.open = Some(Open { block, index });
        }
        let Some(item) = self.items.get_mut(index) else { return };
        let before = item.more.len();
        if item.more.is_empty() {
            item.more.extend_from_slice(prefix.as_bytes());
        }
        push_escaped(&mut item.more, data);
        self.kept_bytes += item.more.len() - before;
    }

    /// Adds log probabilities to the open text. They come after their text, so they are in a delta without any.
    fn add_logprobs(&mut self, logprobs: &str, events: &mut Numbered<'_>) {
        let Some(Open { index, .. }) = self.open else { return };
        let Some(item) = self.items.get_mut(index).filter(|item| item.kind == ItemKind::Message) else { return };
        let place = place(item.kind, &item.id(&self.digits, index), index);
        let before = item.more.len();
        let added = item.add_logprobs(logprobs);
        if !added.is_empty() {
            events.put("response.output_text.delta", &[place.as_bytes(), br#","delta":"","logprobs":["#, added, b"]"]);
        }
        self.kept_bytes += item.more.len() - before;
    }

    fn put_beginning(&self, events: &mut Numbered<'_>) {
        for kind in ["response.created", "response.in_progress"] {
            events.put_with(kind, |out| {
                out.put_slice(br#""response":"#);
                self.frame().put(Status::InProgress, std::iter::empty(), None, out);
            });
        }
    }

    /// Writes the events that end an item.
    fn put_end(&self, index: usize, item: &Item, status: &str, events: &mut Numbered<'_>) {
        let id = item.id(&self.digits, index);
        let place = place(item.kind, &id, index);
        // At once: an output that grows as it is written may take twice as much.
        events.out.reserve(REPEATS_AT_END * item.bytes() + ITEM_END_BYTES);
        let put_part = |out: &mut BytesMut| {
            out.put_slice(place.as_bytes());
            out.put_slice(br#","part":"#);
            item.put_part(out);
        };
        match item.kind {
            ItemKind::Message => {
                let text = [place.as_bytes(), br#","text":""#, &item.text, br#"","logprobs":["#, &item.more, b"]"];
                events.put("response.output_text.done", &text);
                events.put_with("response.content_part.done", put_part);
            }
            ItemKind::Reasoning if item.text.is_empty() => {}
            ItemKind::Reasoning => {
                let text = [place.as_bytes(), br#","text":""#, &item.text, b"\""];
                events.put("response.reasoning_summary_text.done", &text);
                events.put_with("response.reasoning_summary_part.done", put_part);
            }
            ItemKind::Call => {
                if item.text.is_empty() {
                    let delta = [place.as_bytes(), br#","delta":""#, item.arguments(), b"\""];
                    events.put("response.function_call_arguments.delta", &delta);
                }
                let whole = [place.as_bytes(), br#","arguments":""#, item.arguments(), b"\""];
                events.put("response.function_call_arguments.done", &whole);
            }
        }
        events.put_with("response.output_item.done", |out| {
            put_index(index, out);
            item.put(&id, status, out);
        });
    }

    fn frame(&self) -> Frame<'_> {
        Frame { digits: &self.digits, model: &self.model, created_unix_s: self.created_unix_s, echo: &self.echo }
    }
}

/// The members of an event before its item.
fn put_index(index: usize, out: &mut BytesMut) {
    let _ = write!(out, r#""output_index":{index},"item":"#);
}

/// The members that say where a piece belongs.
fn place(kind: ItemKind, id: &str, index: usize) -> String {
    let inside = match kind {
        ItemKind::Message => r#","content_index":0"#,
        ItemKind::Reasoning => r#","summary_index":0"#,
        ItemKind::Call => "",
    };
    format!(r#""item_id":"{id}","output_index":{index}{inside}"#)
}

#[cfg(test)]
mod tests {
    use intermediate::FinishReason;
    use serde_json::{Value, json};

    use super::*;
    use crate::receipts::receipt;

    fn begins(ordinal: usize, id: &'static str, signature: Option<&'static str>) -> (usize, DeltaKind<'static>) {
        (ordinal, DeltaKind::CallBegins { ordinal, id, name: "f", signature })
    }

    /// The events of a stream of these deltas, each with its block.
    fn events(deltas: Vec<(usize, DeltaKind<'_>)>, finish_reason: FinishReason) -> Vec<Value> {
        let echo = Bytes::new();
        let head = StreamHead {
            request_id: "req_1",
            frontend_model: "m",
            created_unix_s: 1,
            include_usage: false,
            echo: &echo,
        };
        let (mut writer, mut out) = (ResponsesWriter::new(&head), BytesMut::new());
        for (block, kind) in deltas {
            writer.write(&Delta { choice: 0, block, kind }, &mut out);
        }
        let before = out.len();
        writer.close(&receipt(finish_reason), &mut out);
        assert!(out.len() - before <= writer.bytes_to_come() + 2048, "{} is more than was said", out.len() - before);
        let text = std::str::from_utf8(&out).expect("text");
        let events: Vec<Value> = text
            .split_terminator("\n\n")
            .map(|event| {
                let (name, data) = event.split_once("\ndata: ").expect("a name and data");
                assert!(!data.contains(['\n', '\r']), "more than one line: {data}");
                let data: Value = serde_json::from_str(data).expect("JSON");
                assert_eq!(format!("event: {}", data["type"].as_str().expect("a type")), name);
                data
            })
            .collect();
        assert!((0..).zip(&events).all(|(number, event)| event["sequence_number"] == number), "{events:#?}");
        events
    }

    fn kinds(events: &[Value]) -> Vec<&str> {
        let kinds = events.iter().filter_map(|event| event["type"].as_str());
        kinds.map(|kind| kind.trim_start_matches("response.")).collect()
    }

    #[test]
    fn arguments_that_come_in_turns_end_with_the_stream() {
        let piece = |ordinal, piece| (ordinal, DeltaKind::CallArguments { ordinal, piece });
        let deltas = vec![
            begins(0, "a", None),
            piece(0, "{\"x\""),
            begins(1, "b", None),
            piece(1, "{}"),
            piece(0, ":1}"),
            begins(2, "c", None),
        ];
        let events = events(deltas, FinishReason::ToolCalls);
        let response = &events.last().expect("an end")["response"];
        let arguments: Vec<_> = (0..3).map(|index| response["output"][index]["arguments"].clone()).collect();
        assert_eq!(arguments, [json!("{\"x\":1}"), json!("{}"), json!("{}")], "no arguments are an empty object");
        let ends = kinds(&events).split_off(9);
        let of_one = ["function_call_arguments.done", "output_item.done"];
        let of_empty = ["function_call_arguments.delta", "function_call_arguments.done", "output_item.done"];
        assert_eq!(ends, [&of_one[..], &of_one, &of_empty, &["completed"]].concat()[1..].to_vec(), "{events:#?}");
    }

    #[test]
    fn the_proof_of_a_call_comes_before_it() {
        let events = events(vec![begins(0, "a", Some("p\"q"))], FinishReason::ToolCalls);
        let output = &events.last().expect("an end")["response"]["output"];
        assert_eq!(output[0]["encrypted_content"], "ledgerway.call.1.a.p\"q");
        assert_eq!((&output[0]["type"], &output[1]["call_id"]), (&json!("reasoning"), &json!("a")));
    }

    #[test]
    fn proofs_of_two_kinds_are_in_two_items() {
        let deltas = vec![
            (0, DeltaKind::Reasoning("hm")),
            (0, DeltaKind::Signature("s1")),
            (0, DeltaKind::Signature("s2")),
            (0, DeltaKind::Redacted("r")),
        ];
        let events = events(deltas, FinishReason::Stop);
        let output = &events.last().expect("an end")["response"]["output"];
        assert_eq!(output[0]["encrypted_content"], "ledgerway.signature.s1s2");
        assert_eq!(
            (&output[1]["encrypted_content"], &output[1]["summary"]),
            (&json!("ledgerway.redacted.r"), &json!([]))
        );
    }

    #[test]
    fn probabilities_are_given_after_their_text_and_again_with_it() {
        let logprobs = "{\"content\":[{\"token\":\"a\",\n\"logprob\":-0.5}],\"refusal\":null}";
        let deltas =
            vec![(0, DeltaKind::Text("a")), (0, DeltaKind::Logprobs(logprobs)), (0, DeltaKind::Logprobs(logprobs))];
        let events = events(deltas, FinishReason::Stop);
        let one = json!({"token": "a", "logprob": -0.5});
        assert_eq!((&events[5]["delta"], &events[5]["logprobs"]), (&json!(""), &json!([one])));
        let part = &events.last().expect("an end")["response"]["output"][0]["content"][0];
        assert_eq!(part["logprobs"], json!([one, one]));
    }

    #[test]
    fn the_end_says_how_it_ended() {
        for (reason, kind, details, item) in [
            (FinishReason::Stop, "completed", json!(null), "completed"),
            (FinishReason::Length, "incomplete", json!({"reason": "max_output_tokens"}), "incomplete"),
            (FinishReason::ContentFilter, "incomplete", json!({"reason": "content_filter"}), "incomplete"),
            (FinishReason::Error, "failed", json!(null), "incomplete"),
        ] {
            let events = events(vec![(0, DeltaKind::Text("a"))], reason);
            let last = events.last().expect("an end");
            assert_eq!(last["type"], format!("response.{kind}"));
            let response = &last["response"];
            assert_eq!((&response["status"], &response["incomplete_details"]), (&json!(kind), &details));
            assert_eq!(
                (&response["output"][0]["status"], response["error"].is_null()),
                (&json!(item), kind != "failed")
            );
        }
        let long = "\u{1}".repeat(5000);
        events(vec![(0, DeltaKind::Text(&long)), (1, DeltaKind::Reasoning(&long))], FinishReason::Stop);
        let nothing = events(Vec::new(), FinishReason::Stop);
        assert_eq!(kinds(&nothing), ["created", "in_progress", "completed"]);
    }
}
