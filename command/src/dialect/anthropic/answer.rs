//! A whole Anthropic message.

use super::usage;
use crate::chat::{OutputBlock, ToolCall};
use crate::dialect::json::{self, Kind};
use crate::dialect::{FinishReason, Metered, UpstreamFault};

const MALFORMED: UpstreamFault = UpstreamFault::Malformed("not the JSON that was expected");

/// The message's blocks. Errors: no JSON, an error in band, no content.
pub fn read_blocks(body: &str, metered: &mut Metered) -> Result<Vec<OutputBlock>, UpstreamFault> {
    json::check(body).map_err(|_| MALFORMED)?;
    if let Some(error) = json::field(body, "error") {
        return Err(in_band(error));
    }
    let content = json::field(body, "content").filter(|content| json::kind(content) == Kind::Array);
    let content = content.ok_or(UpstreamFault::Malformed("no content"))?;
    metered.keep_names(json::field(body, "id"), json::field(body, "model"));
    if let Some(report) = json::field(body, "usage") {
        usage::keep(report, true, metered);
    }
    metered.finish_reason = json::field(body, "stop_reason").and_then(stop_reason);
    let mut blocks = Vec::new();
    for element in json::elements(content) {
        blocks.extend(block(element.map_err(|_| MALFORMED)?, metered)?);
    }
    Ok(blocks)
}

/// An error where an answer was due. What is wrong with the request or the account stays wrong.
pub fn in_band(error: &str) -> UpstreamFault {
    let kind = json::field(error, "type").and_then(json::string).unwrap_or_default();
    let retryable = matches!(&*kind, "api_error" | "overloaded_error" | "rate_limit_error" | "timeout_error");
    UpstreamFault::InBandError { retryable }
}

/// `None` for null and for what is no string.
pub fn stop_reason(value: &str) -> Option<FinishReason> {
    Some(match &*json::string(value)? {
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        _ => FinishReason::Stop, // `end_turn`, `stop_sequence`, `pause_turn`
    })
}

/// Blocks that only the provider's own tools make are left out.
fn block(text: &str, metered: &mut Metered) -> Result<Option<OutputBlock>, UpstreamFault> {
    let string = |name: &str| match json::field(text, name) {
        Some(value) => json::string(value).map(String::from).ok_or(MALFORMED),
        None => Ok(String::new()),
    };
    let block = match &*string("type")? {
        "text" => OutputBlock::Text(string("text")?),
        "thinking" => OutputBlock::Reasoning {
            text: string("thinking")?,
            signature: Some(string("signature")?).filter(|signature| !signature.is_empty()),
            redacted: None,
        },
        "redacted_thinking" => {
            OutputBlock::Reasoning { text: String::new(), signature: None, redacted: Some(string("data")?) }
        }
        "tool_use" => OutputBlock::ToolCall(ToolCall {
            id: string("id")?,
            name: string("name")?,
            arguments: json::field(text, "input").unwrap_or("{}").to_owned(),
        }),
        _ => return Ok(None),
    };
    match &block {
        OutputBlock::Text(text) => metered.text_bytes += bytes(text),
        OutputBlock::Reasoning { text, .. } => metered.reasoning_bytes += bytes(text),
        OutputBlock::ToolCall(call) => metered.text_bytes += bytes(&call.name) + bytes(&call.arguments),
    }
    Ok(Some(block).filter(|block| !matches!(block, OutputBlock::Text(text) if text.is_empty())))
}

pub fn bytes(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}
