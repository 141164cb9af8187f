//! Reads a whole Anthropic message.

use intermediate::chat::{AnswerChoice, OutputBlock, ToolCall};
use intermediate::json::{self, Kind};
use intermediate::{FinishReason, Metered, UpstreamFault};

use crate::ProviderKind;
use crate::answer_text::{name_of, text_of};
use crate::content_blocks::only_choice;

/// A message as the only choice. Errors: not JSON, an error in band, no content, too many blocks.
pub fn read_choices(body: &str, metered: &mut Metered) -> Result<Vec<AnswerChoice>, UpstreamFault> {
    json::check(body)?;
    let [error, content, id, model, usage, reason] =
        json::pick(body, ["error", "content", "id", "model", "usage", "stop_reason"])?;
    // Read the usage first: an error may report what was used before it.
    if let Some(report) = usage {
        metered.add_report(report, true);
    }
    if error.is_some() {
        return Err(in_band(body));
    }
    let content = content.filter(|content| json::kind(content) == Kind::Array);
    let content = content.ok_or(UpstreamFault::Malformed("no content"))?;
    metered.keep_id_and_model(id, model);
    metered.finish_reason = reason.and_then(stop_reason);
    only_choice(content, metered, |text, _| block(text))
}

/// An error in place of a response. Errors of the request or the account are not retryable.
pub fn in_band(text: &str) -> UpstreamFault {
    let kind = json::field(text, "error").and_then(|error| json::field(error, "type")).and_then(json::string);
    let retryable =
        matches!(kind.as_deref(), Some("api_error" | "overloaded_error" | "rate_limit_error" | "timeout_error"));
    crate::in_band(ProviderKind::Anthropic, text, retryable)
}

/// The finish reason; `None` for null and other values that are not a string.
pub fn stop_reason(value: &str) -> Option<FinishReason> {
    Some(match &*json::string(value)? {
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        _ => FinishReason::Stop, // `end_turn`, `stop_sequence`, `pause_turn`
    })
}

/// One block. `None` for blocks of the provider's built-in tools.
fn block(block: &str) -> Result<Option<OutputBlock>, UpstreamFault> {
    let [kind, text, thinking, signature, data, id, name, input] =
        json::pick(block, ["type", "text", "thinking", "signature", "data", "id", "name", "input"])?;
    Ok(Some(match &*text_of(kind)? {
        "text" => OutputBlock::Text { text: text_of(text)?.into_owned() },
        "thinking" => OutputBlock::Reasoning {
            text: text_of(thinking)?.into_owned(),
            signature: Some(text_of(signature)?.into_owned()).filter(|signature| !signature.is_empty()),
            redacted: None,
        },
        "redacted_thinking" => {
            OutputBlock::Reasoning { text: String::new(), signature: None, redacted: Some(text_of(data)?.into_owned()) }
        }
        "tool_use" => OutputBlock::ToolCall(ToolCall {
            id: name_of(id)?.into_owned(),
            name: name_of(name)?.into_owned(),
            arguments: input.unwrap_or("{}").to_owned(),
            signature: None,
        }),
        _ => return Ok(None),
    }))
}
