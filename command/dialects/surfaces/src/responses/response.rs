//! The `response` object: as a whole response, and in the events of a stream.

use bytes::{BufMut, Bytes};
use events::usage::TokenClasses;
use intermediate::chat::{AnswerChoice, OutputBlock, ToolCall};
use intermediate::{FinishReason, Receipt, work};
use serde::Serialize;

use super::item::{Item, ItemKind, push_escaped};
use super::proof;
use crate::ids::{created_unix_s, digits};

/// How a response ended, or that it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    InProgress,
    Completed,
    /// With OpenAI's reason, if it has one.
    Incomplete(Option<&'static str>),
    Failed,
}

impl Status {
    pub const fn of(reason: FinishReason) -> Self {
        match reason {
            FinishReason::Stop | FinishReason::ToolCalls => Self::Completed,
            FinishReason::Length => Self::Incomplete(Some("max_output_tokens")),
            FinishReason::ContentFilter => Self::Incomplete(Some("content_filter")),
            FinishReason::Cancelled => Self::Incomplete(None),
            FinishReason::Error => Self::Failed,
        }
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete(_) => "incomplete",
            Self::Failed => "failed",
        }
    }

    /// The status of an item. Only the last one can be cut off.
    pub const fn of_item(self, is_last: bool) -> &'static str {
        match self {
            Self::Incomplete(_) | Self::Failed if is_last => "incomplete",
            _ => "completed",
        }
    }
}

/// The parts of a response beside its output.
pub struct Frame<'a> {
    pub digits: &'a str,
    pub model: &'a str,
    pub created_unix_s: i64,
    pub echo: &'a Bytes,
}

const FAILED: &[u8] = br#"{"code":"server_error","message":"the model's provider ended the response with an error"}"#;

impl Frame<'_> {
    /// Appends the response. Usage is given at its end.
    pub fn put<'i>(
        &self,
        status: Status,
        items: impl Iterator<Item = &'i Item>,
        usage: Option<&TokenClasses>,
        out: &mut impl BufMut,
    ) {
        out.put_slice(br#"{"id":"resp_"#);
        out.put_slice(self.digits.as_bytes());
        out.put_slice(br#"","object":"response","created_at":"#);
        put_json(&self.created_unix_s, out);
        out.put_slice(br#","status":""#);
        out.put_slice(status.word().as_bytes());
        out.put_slice(br#"","error":"#);
        out.put_slice(if status == Status::Failed { FAILED } else { b"null" });
        out.put_slice(br#","incomplete_details":"#);
        match status {
            Status::Incomplete(Some(reason)) => {
                out.put_slice(br#"{"reason":""#);
                out.put_slice(reason.as_bytes());
                out.put_slice(b"\"}");
            }
            _ => out.put_slice(b"null"),
        }
        out.put_slice(br#","model":"#);
        put_json(self.model, out);
        out.put_slice(br#","output":["#);
        let mut items = items.enumerate().peekable();
        while let Some((index, item)) = items.next() {
            let is_last = items.peek().is_none();
            item.put(&item.id(self.digits, index), status.of_item(is_last), out);
            out.put_slice(if is_last { b"" } else { b"," });
        }
        out.put_slice(br#"],"usage":"#);
        put_json(&usage.map(ResponsesUsage::from), out);
        out.put_slice(self.echo);
        out.put_slice(br#","background":false,"previous_response_id":null,"store":false}"#);
    }
}

/// Appends a value as JSON.
fn put_json(value: &(impl Serialize + ?Sized), out: &mut impl BufMut) {
    // Writing to memory cannot fail, and the values that are written have no maps.
    let written = serde_json::to_writer(out.writer(), value);
    debug_assert!(written.is_ok(), "the value cannot be written as JSON");
}

/// Writes a whole response. Only the first choice is one: requests cannot ask for several.
pub fn answer(choices: &[AnswerChoice], receipt: &Receipt<'_>) -> Vec<u8> {
    let choice = choices.first();
    let mut items: Vec<Item> = Vec::new();
    for block in choice.into_iter().flat_map(|choice| &choice.output) {
        push_items(block, &mut items);
    }
    let logprobs = choice.and_then(|choice| choice.logprobs.as_deref());
    let message = items.iter_mut().find(|item| item.kind == ItemKind::Message);
    if let (Some(logprobs), Some(message)) = (logprobs, message) {
        message.add_logprobs(logprobs.get());
    }
    let frame = Frame {
        digits: digits(receipt.request_id),
        model: receipt.frontend_model,
        created_unix_s: created_unix_s(receipt.request_id),
        echo: receipt.echo,
    };
    let mut out = Vec::with_capacity(512);
    frame.put(Status::of(receipt.finish_reason), items.iter(), Some(&receipt.usage.tokens), &mut out);
    work::steps(out.len());
    out
}

/// The items of one block: each block is an item of its own.
fn push_items(block: &OutputBlock, items: &mut Vec<Item>) {
    match block {
        OutputBlock::Text { text } => {
            let mut item = Item::of(ItemKind::Message);
            push_escaped(&mut item.text, text);
            items.push(item);
        }
        OutputBlock::Reasoning { text, signature, redacted } => {
            let mut item = Item::of(ItemKind::Reasoning);
            push_escaped(&mut item.text, text);
            let proofs = [(proof::SIGNATURE, signature), (proof::REDACTED, redacted)];
            for (prefix, data) in proofs.into_iter().filter_map(|(prefix, data)| Some((prefix, data.as_ref()?))) {
                if !item.more.is_empty() {
                    items.push(std::mem::replace(&mut item, Item::of(ItemKind::Reasoning)));
                }
                item.more.extend_from_slice(prefix.as_bytes());
                push_escaped(&mut item.more, data);
            }
            items.push(item);
        }
        OutputBlock::ToolCall(ToolCall { id, name, arguments, signature }) => {
            items.extend(signature.as_ref().map(|signature| Item::proof_of_call(id, signature)));
            let mut item = Item::call(id, name);
            push_escaped(&mut item.text, arguments);
            items.push(item);
        }
    }
}

/// Usage in the form of the Responses API: inclusive counts.
#[derive(Serialize)]
struct ResponsesUsage {
    input_tokens: u64,
    input_tokens_details: InputDetails,
    output_tokens: u64,
    output_tokens_details: ResponsesOutputDetails,
    total_tokens: u64,
}

#[derive(Serialize)]
struct InputDetails {
    cached_tokens: u64,
    cache_write_tokens: u64,
}

#[derive(Serialize)]
struct ResponsesOutputDetails {
    reasoning_tokens: u64,
}

impl From<&TokenClasses> for ResponsesUsage {
    fn from(tokens: &TokenClasses) -> Self {
        Self {
            input_tokens: tokens.input(),
            input_tokens_details: InputDetails {
                cached_tokens: tokens.cache_read(),
                cache_write_tokens: tokens.input_cache_write_tokens,
            },
            output_tokens: tokens.output(),
            output_tokens_details: ResponsesOutputDetails { reasoning_tokens: tokens.output_reasoning_tokens },
            total_tokens: tokens.input().saturating_add(tokens.output()),
        }
    }
}
