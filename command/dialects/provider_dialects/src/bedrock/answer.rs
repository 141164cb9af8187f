//! Reads a whole response of Converse.

use intermediate::chat::{AnswerChoice, OutputBlock, ToolCall};
use intermediate::json::{self, Kind};
use intermediate::{FinishReason, Metered, UpstreamFault};

use super::exception;
use crate::answer_text::{name_of, text_of};
use crate::content_blocks::only_choice;

/// The message as the only choice. Errors: not JSON, an error in band, no message, too many blocks.
pub fn read_choices(body: &str, metered: &mut Metered) -> Result<Vec<AnswerChoice>, UpstreamFault> {
    json::check(body)?;
    let [output, reason, usage, error, tier] =
        json::pick(body, ["output", "stopReason", "usage", "__type", "serviceTier"])?;
    // Read the usage first: a response that cannot be read is billed too.
    if let Some(report) = usage {
        metered.add_report(report, true);
    }
    metered.keep_service_tier(tier.and_then(|tier| json::field(tier, "type")));
    if let Some(error) = error.and_then(json::string) {
        return Err(exception::fault(&error, body));
    }
    let message = output.and_then(|output| json::field(output, "message"));
    let content = message.and_then(|message| json::field(message, "content"));
    let content = content.filter(|content| json::kind(content) == Kind::Array);
    let content = content.ok_or(UpstreamFault::Malformed("no content"))?;
    metered.finish_reason = reason.and_then(stop_reason);
    let choices = only_choice(content, metered, block)?;
    let mut output = choices.iter().flat_map(|choice| &choice.output);
    metered.calls_tools |= output.any(|block| matches!(block, OutputBlock::ToolCall(_)));
    Ok(choices)
}

/// The finish reason; `None` for null and other values that are not a string.
pub fn stop_reason(value: &str) -> Option<FinishReason> {
    Some(match &*json::string(value)? {
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "guardrail_intervened" | "content_filtered" => FinishReason::ContentFilter,
        "malformed_model_output" | "malformed_tool_use" => FinishReason::Error,
        _ => FinishReason::Stop, // `end_turn`, `stop_sequence`
    })
}

/// Block number `at`. `None` for blocks of the provider's built-in tools, and for images.
fn block(block: &str, at: usize) -> Result<Option<OutputBlock>, UpstreamFault> {
    let [text, call, reasoning, cited] =
        json::pick(block, ["text", "toolUse", "reasoningContent", "citationsContent"])?;
    Ok(match (text, call, reasoning, cited) {
        (Some(text), ..) => Some(OutputBlock::Text { text: text_of(Some(text))?.into_owned() }),
        (_, Some(call), ..) => call_of(call, at)?.map(OutputBlock::ToolCall),
        (_, _, Some(reasoning), _) => Some(reasoning_of(reasoning)?),
        (.., Some(cited)) => Some(OutputBlock::Text { text: cited_text(cited)? }),
        (None, None, None, None) => None,
    })
}

fn call_of(call: &str, at: usize) -> Result<Option<ToolCall>, UpstreamFault> {
    let [id, name, input, kind] = json::pick(call, ["toolUseId", "name", "input", "type"])?;
    if is_built_in(kind) {
        return Ok(None);
    }
    let arguments = input.unwrap_or("{}").to_owned();
    Ok(Some(ToolCall { id: id_of(id, at)?, name: name_of(name)?.into_owned(), arguments, signature: None }))
}

/// True for a call of the provider's own tools, which is not for the client.
pub fn is_built_in(kind: Option<&str>) -> bool {
    kind.and_then(json::string).as_deref() == Some("server_tool_use")
}

fn reasoning_of(reasoning: &str) -> Result<OutputBlock, UpstreamFault> {
    let [thoughts, redacted] = json::pick(reasoning, ["reasoningText", "redactedContent"])?;
    let [text, signature] = json::pick(thoughts.unwrap_or("{}"), ["text", "signature"])?;
    let given = |value| text_of(value).map(|text| Some(text.into_owned()).filter(|text| !text.is_empty()));
    Ok(OutputBlock::Reasoning {
        text: text_of(text)?.into_owned(),
        signature: given(signature)?,
        redacted: given(redacted)?,
    })
}

/// The text of a block with citations, which are left out.
fn cited_text(cited: &str) -> Result<String, UpstreamFault> {
    let content = json::field(cited, "content").filter(|content| json::kind(content) == Kind::Array);
    let mut text = String::new();
    for element in json::elements(content.unwrap_or("[]")) {
        text.push_str(&text_of(json::field(element?, "text"))?);
    }
    Ok(text)
}

/// The id of a call, which is made from its number if it is absent: clients need one for each.
pub fn id_of(value: Option<&str>, number: usize) -> Result<String, UpstreamFault> {
    let id = name_of(value)?;
    Ok(if id.is_empty() { format!("tooluse_{number}") } else { id.into_owned() })
}
