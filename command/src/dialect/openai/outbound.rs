//! The canonical request as an OpenAI body.
//!
//! Refused: `reasoning.budget_tokens` (OpenAI knows efforts alone), images in tool results, and messages that are all
//! empty. Left out knowingly:
//! thoughts of earlier answers, and the mark of a tool result that it is an error (its text says so). `metadata` stays
//! with us.

use std::borrow::Cow;

use bytes::Bytes;
use events::wire::Refusal;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::chat::{
    Block, ChatRequest, Image, ImageSource, Message, Reasoning, ResponseFormat, Role, Tool, ToolCall, ToolChoice,
    ToolResult,
};
use crate::dialect::fields::Path;
use crate::dialect::{CapField, OutboundTarget, json};

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Said<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Function<ToolDefinition<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Format<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct Said<'a> {
    role: &'static str,
    content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: Picture<'a> },
}

#[derive(Serialize)]
struct Picture<'a> {
    url: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Serialize)]
struct Call<'a> {
    id: &'a str,
    #[serde(flatten)]
    function: Function<Called<'a>>,
}

#[derive(Serialize)]
struct Called<'a> {
    name: &'a str,
    arguments: &'a str,
}

/// `{"type":"function","function":…}`
#[derive(Serialize)]
struct Function<T> {
    r#type: &'static str,
    function: T,
}

#[derive(Serialize)]
struct ToolDefinition<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Choice<'a> {
    Word(&'static str),
    Named(Function<Name<'a>>),
}

#[derive(Serialize)]
struct Name<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Format<'a> {
    Text,
    JsonObject,
    JsonSchema { json_schema: Schema<'a> },
}

#[derive(Serialize)]
struct Schema<'a> {
    name: &'a str,
    schema: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

const fn function<T>(function: T) -> Function<T> {
    Function { r#type: "function", function }
}

/// Errors: `INVALID_REQUEST` for what OpenAI has no counterpart for.
pub fn request_body(chat: &ChatRequest, target: &OutboundTarget<'_>) -> Result<Bytes, Refusal> {
    let cap = |field| (target.cap_field == field).then_some(target.max_output_tokens);
    let body = Body {
        model: target.model,
        messages: messages(chat, target)?,
        max_tokens: cap(CapField::MaxTokens),
        max_completion_tokens: cap(CapField::MaxCompletionTokens),
        temperature: chat.temperature.as_deref(),
        top_p: chat.top_p.as_deref(),
        stop: &chat.stop,
        stream: chat.stream.then_some(true),
        stream_options: chat.stream.then_some(StreamOptions { include_usage: true }),
        tools: chat.tools.iter().map(definition).collect(),
        tool_choice: chat.tool_choice.as_ref().map(choice),
        parallel_tool_calls: chat.parallel_tool_calls,
        response_format: chat.response_format.as_ref().map(format),
        reasoning_effort: effort(chat)?,
        user: chat.user.as_deref(),
    };
    let mut out = Vec::with_capacity(1024);
    json::push(&mut out, &body);
    Ok(out.into())
}

fn messages<'a>(chat: &'a ChatRequest, target: &OutboundTarget<'a>) -> Result<Vec<Said<'a>>, Refusal> {
    let mut said = Vec::with_capacity(chat.messages.len() + 1);
    if let Some(prefix) = target.system_prefix {
        said.push(plain("system", Some(Content::Text(prefix.into()))));
    }
    let (path, ours) = (Path::Root.field("messages"), said.len());
    for (index, message) in chat.messages.iter().enumerate() {
        say(message, &path.element(index), &mut said)?;
    }
    match said.len() > ours {
        true => Ok(said),
        false => Err(path.refuse("must have one that is not empty")),
    }
}

const fn plain<'a>(role: &'static str, content: Option<Content<'a>>) -> Said<'a> {
    Said { role, content, tool_calls: Vec::new(), tool_call_id: None }
}

/// Tool results come first: they have to follow the calls that they answer.
fn say<'a>(message: &'a Message, path: &Path<'_>, said: &mut Vec<Said<'a>>) -> Result<(), Refusal> {
    for block in &message.content {
        if let Block::ToolResult(result) = block {
            said.push(tool_result(result, path)?);
        }
    }
    match message.role {
        Role::System => said.push(plain("system", Some(Content::Text(joined(&message.content))))),
        Role::Assistant => said.push(assistant(&message.content)),
        Role::User if message.content.iter().any(|block| !matches!(block, Block::ToolResult(_))) => {
            said.push(plain("user", Some(parts(&message.content))));
        }
        Role::User | Role::Tool => {}
    }
    Ok(())
}

fn texts(content: &[Block]) -> impl Iterator<Item = &str> {
    content.iter().filter_map(|block| match block {
        Block::Text(text) => Some(text.as_str()),
        Block::Image(_) | Block::ToolCall(_) | Block::ToolResult(_) | Block::Reasoning(_) => None,
    })
}

fn joined(content: &[Block]) -> Cow<'_, str> {
    let mut texts = texts(content);
    match (texts.next(), texts.next()) {
        (only, None) => Cow::Borrowed(only.unwrap_or_default()),
        (first, second) => first.into_iter().chain(second).chain(texts).collect::<Vec<_>>().join("\n").into(),
    }
}

fn parts(content: &[Block]) -> Content<'_> {
    if let [Block::Text(text)] = content {
        return Content::Text(Cow::Borrowed(text));
    }
    Content::Parts(content.iter().filter_map(part).collect())
}

fn part(block: &Block) -> Option<Part<'_>> {
    match block {
        Block::Text(text) => Some(Part::Text { text }),
        Block::Image(image) => Some(Part::ImageUrl { image_url: picture(image) }),
        Block::ToolCall(_) | Block::ToolResult(_) | Block::Reasoning(_) => None,
    }
}

fn picture(image: &Image) -> Picture<'_> {
    let url = match &image.source {
        ImageSource::Url(url) => Cow::Borrowed(url.as_str()),
        ImageSource::Inline { media_type, base64 } => format!("data:{media_type};base64,{base64}").into(),
    };
    Picture { url, detail: image.detail.as_deref() }
}

fn assistant(content: &[Block]) -> Said<'_> {
    let calls = content.iter().filter_map(|block| match block {
        Block::ToolCall(ToolCall { id, name, arguments }) => {
            Some(Call { id, function: function(Called { name, arguments }) })
        }
        Block::Text(_) | Block::Image(_) | Block::ToolResult(_) | Block::Reasoning(_) => None,
    });
    let tool_calls: Vec<_> = calls.collect();
    let silent = !tool_calls.is_empty() && texts(content).next().is_none();
    let content = (!silent).then(|| Content::Text(joined(content)));
    Said { role: "assistant", content, tool_calls, tool_call_id: None }
}

fn tool_result<'a>(result: &'a ToolResult, path: &Path<'_>) -> Result<Said<'a>, Refusal> {
    if result.content.iter().any(|block| matches!(block, Block::Image(_))) {
        return Err(path.refuse("has an image in a tool result, which this model's provider does not take"));
    }
    let content = Some(Content::Text(joined(&result.content)));
    Ok(Said { tool_call_id: Some(&result.id), ..plain("tool", content) })
}

fn definition(tool: &Tool) -> Function<ToolDefinition<'_>> {
    function(ToolDefinition {
        name: &tool.name,
        description: tool.description.as_deref(),
        parameters: tool.parameters.as_deref(),
        strict: tool.strict,
    })
}

fn choice(choice: &ToolChoice) -> Choice<'_> {
    match choice {
        ToolChoice::Auto => Choice::Word("auto"),
        ToolChoice::None => Choice::Word("none"),
        ToolChoice::Required => Choice::Word("required"),
        ToolChoice::Named(name) => Choice::Named(function(Name { name })),
    }
}

fn format(format: &ResponseFormat) -> Format<'_> {
    match format {
        ResponseFormat::Text => Format::Text,
        ResponseFormat::JsonObject => Format::JsonObject,
        ResponseFormat::JsonSchema { name, schema, strict } => Format::JsonSchema {
            json_schema: Schema { name: name.as_deref().unwrap_or("response"), schema, strict: *strict },
        },
    }
}

fn effort(chat: &ChatRequest) -> Result<Option<&str>, Refusal> {
    match &chat.reasoning {
        None => Ok(None),
        Some(Reasoning::Effort(effort)) => Ok(Some(effort)),
        Some(Reasoning::BudgetTokens(_)) => {
            Err(Refusal::invalid("reasoning.budget_tokens", "this model's provider takes reasoning.effort alone"))
        }
    }
}
