//! The canonical request as an Anthropic body.
//!
//! System messages are joined, in order, into `system`; consecutive messages of one role are merged; tool results come
//! first in theirs; objects in the schema of an answer are closed. Refused: `response_format` `json_object` and schemas
//! of objects that are open, a thinking budget that Anthropic would refuse, a request of system messages alone. Left out knowingly: thoughts
//! without a signature, empty text, the name of a response format, `detail` of images, thinking where a tool is forced (Anthropic takes either), `tool_choice` without tools.
//! Arguments of an earlier call that are no JSON object are wrapped as `{"arguments_raw"}`, so that a conversation can
//! go on after a model's slip.

use std::borrow::Cow;

use bytes::Bytes;
use events::refusal::Refusal;
use serde::Serialize;
use serde_json::value::RawValue;

use super::schema;
use crate::chat::{
    Block, ChatRequest, ImageSource, Reasoning, ReasoningBlock, ResponseFormat, Role, Tool, ToolCall, ToolChoice,
    ToolResult,
};
use crate::fields::Path;
use crate::{OutboundTarget, json};

/// The least thinking that Anthropic takes.
const THINKING_BUDGET_MIN: u64 = 1024;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<String>,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Definition<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Thinking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<User<'a>>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Vec<Piece<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Piece<'a> {
    ToolResult {
        tool_use_id: Cow<'a, str>,
        content: Vec<Piece<'a>>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
    Text {
        text: &'a str,
    },
    Image {
        source: Source<'a>,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: &'a str,
        input: Cow<'a, RawValue>,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    RedactedThinking {
        data: &'a str,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Source<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Url { url: &'a str },
}

#[derive(Serialize)]
struct Definition<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    input_schema: Schema<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Schema<'a> {
    Given(&'a RawValue),
    /// A tool without parameters.
    Empty {
        r#type: &'static str,
    },
}

#[derive(Serialize)]
struct Choice<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    disable_parallel_tool_use: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Thinking {
    Adaptive,
    Enabled { budget_tokens: u64 },
}

#[derive(Serialize)]
struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format<'a>>,
}

#[derive(Serialize)]
struct Format<'a> {
    r#type: &'static str,
    schema: Cow<'a, RawValue>,
}

#[derive(Serialize)]
struct User<'a> {
    user_id: &'a str,
}

/// Errors: `INVALID_REQUEST` for what Anthropic has no counterpart for.
pub fn request_body(chat: &ChatRequest, target: &OutboundTarget<'_>) -> Result<Bytes, Refusal> {
    let body = Body {
        model: target.model,
        max_tokens: target.output_cap.tokens,
        system: system(chat, target.system_prefix),
        messages: messages(chat)?,
        temperature: chat.temperature.as_deref(),
        top_p: chat.top_p.as_deref(),
        stop_sequences: &chat.stop,
        stream: chat.stream.then_some(true),
        tools: chat.tools.iter().map(definition).collect(),
        tool_choice: tool_choice(chat),
        thinking: thinking(chat, target.output_cap.tokens)?,
        output_config: output_config(chat)?,
        metadata: chat.user.as_deref().map(|user_id| User { user_id }),
    };
    Ok(json::written(&body).into())
}

fn system(chat: &ChatRequest, prefix: Option<&str>) -> Option<String> {
    let said = chat.messages.iter().filter(|message| message.role == Role::System);
    let texts = said.flat_map(|message| &message.content).filter_map(Block::text);
    let texts: Vec<&str> = prefix.into_iter().chain(texts).filter(|text| !text.is_empty()).collect();
    (!texts.is_empty()).then(|| texts.join("\n\n"))
}

fn messages(chat: &ChatRequest) -> Result<Vec<Message<'_>>, Refusal> {
    let mut messages: Vec<Message<'_>> = Vec::with_capacity(chat.messages.len());
    for message in &chat.messages {
        let role = match message.role {
            Role::System => continue,
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
        };
        let pieces = message.content.iter().filter_map(piece);
        match messages.last_mut() {
            Some(turn) if turn.role == role => turn.content.extend(pieces),
            _ => messages.push(Message { role, content: pieces.collect() }),
        }
    }
    messages.retain(|turn| !turn.content.is_empty());
    for turn in &mut messages {
        turn.content.sort_by_key(|piece| !matches!(piece, Piece::ToolResult { .. }));
    }
    match messages.is_empty() {
        true => Err(Path::Root.field("messages").refuse("must have one that is not a system message and not empty")),
        false => Ok(messages),
    }
}

fn piece(block: &Block) -> Option<Piece<'_>> {
    Some(match block {
        Block::Text(text) if text.is_empty() => return None,
        Block::Text(text) => Piece::Text { text },
        Block::Image(image) => Piece::Image {
            source: match &image.source {
                ImageSource::Url(url) => Source::Url { url },
                ImageSource::Inline { media_type, base64 } => Source::Base64 { media_type, data: base64 },
            },
        },
        Block::ToolCall(ToolCall { id, name, .. }) if id.is_empty() && name.is_empty() => return None,
        Block::ToolCall(call) => Piece::ToolUse { id: safe_id(&call.id), name: &call.name, input: input(call)? },
        Block::ToolResult(ToolResult { id, content, is_error }) => Piece::ToolResult {
            tool_use_id: safe_id(id),
            content: content.iter().filter_map(piece).collect(),
            is_error: *is_error,
        },
        Block::Reasoning(ReasoningBlock { redacted: Some(data), .. }) => Piece::RedactedThinking { data },
        Block::Reasoning(ReasoningBlock { text, signature: Some(signature), .. }) => {
            Piece::Thinking { thinking: text, signature }
        }
        Block::Reasoning(_) => return None,
    })
}

/// Anthropic takes letters, digits, `_` and `-` alone. Calls and results change alike, so that they still match.
fn safe_id(id: &str) -> Cow<'_, str> {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    match id.chars().all(is_safe) {
        true => Cow::Borrowed(id),
        false => id.chars().map(|c| if is_safe(c) { c } else { '_' }).collect::<String>().into(),
    }
}

fn input(call: &ToolCall) -> Option<Cow<'_, RawValue>> {
    if let Some(parsed) = call.parsed().filter(|parsed| json::kind(parsed.get()) == json::Kind::Object) {
        return Some(Cow::Borrowed(parsed));
    }
    let mut wrapped = br#"{"arguments_raw":"#.to_vec();
    json::push(&mut wrapped, &call.arguments);
    wrapped.push(b'}');
    RawValue::from_string(String::from_utf8(wrapped).ok()?).ok().map(Cow::Owned)
}

fn definition(tool: &Tool) -> Definition<'_> {
    Definition {
        name: &tool.name,
        description: tool.description.as_deref(),
        input_schema: tool.parameters.as_deref().map_or(Schema::Empty { r#type: "object" }, Schema::Given),
        strict: tool.strict.filter(|strict| *strict),
    }
}

fn tool_choice(chat: &ChatRequest) -> Option<Choice<'_>> {
    let one_at_a_time = chat.parallel_tool_calls == Some(false);
    if chat.tools.is_empty() {
        return None;
    }
    let (kind, name) = match &chat.tool_choice {
        None if !one_at_a_time => return None,
        None | Some(ToolChoice::Auto) => ("auto", None),
        Some(ToolChoice::None) => return Some(Choice { r#type: "none", name: None, disable_parallel_tool_use: false }),
        Some(ToolChoice::Required) => ("any", None),
        Some(ToolChoice::Named(name)) => ("tool", Some(name.as_str())),
    };
    Some(Choice { r#type: kind, name, disable_parallel_tool_use: one_at_a_time })
}

fn thinking(chat: &ChatRequest, max_tokens: u64) -> Result<Option<Thinking>, Refusal> {
    let forced = matches!(chat.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)));
    match &chat.reasoning {
        Some(Reasoning::BudgetTokens(tokens)) if !(THINKING_BUDGET_MIN..max_tokens).contains(tokens) => {
            let reason = format!("must be at least {THINKING_BUDGET_MIN} and less than the output cap, {max_tokens}");
            Err(Refusal::invalid("reasoning.budget_tokens", reason))
        }
        None => Ok(None),
        Some(Reasoning::Effort(effort)) if effort == "none" => Ok(None),
        Some(_) if forced => Ok(None),
        Some(Reasoning::Effort(_)) => Ok(Some(Thinking::Adaptive)),
        Some(Reasoning::BudgetTokens(tokens)) => Ok(Some(Thinking::Enabled { budget_tokens: *tokens })),
    }
}

fn output_config(chat: &ChatRequest) -> Result<Option<OutputConfig<'_>>, Refusal> {
    let effort = match &chat.reasoning {
        Some(Reasoning::Effort(effort)) => match effort.as_str() {
            "none" => None,
            "minimal" => Some("low"),
            effort => Some(effort),
        },
        Some(Reasoning::BudgetTokens(_)) | None => None,
    };
    let format = match &chat.response_format {
        None | Some(ResponseFormat::Text) => None,
        Some(ResponseFormat::JsonObject) => {
            let reason = "json_object has no counterpart at this model's provider; use json_schema";
            return Err(Refusal::invalid("response_format.type", reason));
        }
        Some(ResponseFormat::JsonSchema { schema, .. }) => {
            Some(Format { r#type: "json_schema", schema: schema::closed(schema)? })
        }
    };
    let is_empty = effort.is_none() && format.is_none();
    Ok((!is_empty).then_some(OutputConfig { effort, format }))
}
