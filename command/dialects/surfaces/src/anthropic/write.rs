//! Whole responses of the Anthropic surface, translated from another dialect.

use std::borrow::Cow;

use intermediate::chat::{AnswerChoice, OutputBlock};
use intermediate::{FinishReason, Receipt, json};
use serde::Serialize;
use serde_json::value::RawValue;

use super::content::UNSIGNED;
use super::usage::AnthropicUsage;
use crate::ids::digits;

/// A message; of a stream, its beginning.
#[derive(Serialize)]
pub struct Message<'a> {
    pub id: &'a str,
    pub r#type: &'static str,
    pub role: &'static str,
    pub model: &'a str,
    pub content: Vec<Content<'a>>,
    pub stop_reason: Option<&'static str>,
    pub stop_sequence: Option<()>,
    pub usage: AnthropicUsage,
}

/// One block of a message.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Content<'a> {
    Text { text: &'a str },
    Thinking { thinking: &'a str, signature: &'a str },
    RedactedThinking { data: &'a str },
    ToolUse { id: Cow<'a, str>, name: &'a str, input: Cow<'a, RawValue> },
}

/// `msg_` and the digits of the gateway's request id.
pub fn message_id(request_id: &str) -> String {
    format!("msg_{}", digits(request_id))
}

/// The id of a call, made from the request's id if the upstream gave none: a client needs it to give the result.
pub fn call_id<'a>(id: &'a str, request_id: &str, ordinal: usize) -> Cow<'a, str> {
    match id {
        "" => format!("toolu_{}_{ordinal}", digits(request_id)).into(),
        id => id.into(),
    }
}

/// Anthropic's word for a finish reason. Other dialects do not tell which stop sequence ended a response.
pub const fn stop_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop | FinishReason::Cancelled | FinishReason::Error => "end_turn",
        FinishReason::Length => "max_tokens",
        FinishReason::ToolCalls => "tool_use",
        FinishReason::ContentFilter => "refusal",
    }
}

/// Writes the response of another dialect as a message. Arguments that are not a JSON object are wrapped as
/// `{"arguments_raw"}`, because clients take `input` for an object.
pub fn message(choices: &[AnswerChoice], receipt: &Receipt<'_>) -> Vec<u8> {
    let output = choices.first().map_or(&[] as &[_], |choice| &choice.output);
    let mut calls = 0..;
    let content = output.iter().filter_map(|block| content(block, receipt.request_id, &mut calls)).collect();
    json::written(&Message {
        id: &message_id(receipt.request_id),
        r#type: "message",
        role: "assistant",
        model: receipt.frontend_model,
        content,
        stop_reason: Some(stop_reason(receipt.finish_reason)),
        stop_sequence: None,
        usage: (&receipt.usage.tokens).into(),
    })
}

fn content<'a>(
    block: &'a OutputBlock,
    request_id: &str,
    calls: &mut impl Iterator<Item = usize>,
) -> Option<Content<'a>> {
    Some(match block {
        OutputBlock::Text { text } => Content::Text { text },
        OutputBlock::Reasoning { redacted: Some(data), .. } => Content::RedactedThinking { data },
        OutputBlock::Reasoning { text, signature, .. } => {
            let signature = signature.as_deref().filter(|signature| !signature.is_empty()).unwrap_or(UNSIGNED);
            Content::Thinking { thinking: text, signature }
        }
        OutputBlock::ToolCall(call) => Content::ToolUse {
            id: call_id(&call.id, request_id, calls.next().unwrap_or_default()),
            name: &call.name,
            input: call.arguments_object()?,
        },
    })
}
