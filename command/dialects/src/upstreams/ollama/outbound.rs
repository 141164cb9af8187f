//! Writes the hub's request as a body of `/api/chat`.
//!
//! Ollama matches results to calls by the tool's name, so a result is sent with the name of its call. Arguments that are
//! not a JSON object are wrapped as `{"arguments_raw"}`. `tool_choice` `none` leaves out the tools: Ollama has no field
//! for it. Refused, besides what the row of the table refuses: a result without its call, messages that are all empty.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use events::refusal::Refusal;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::chat::{
    Block, ChatRequest, ImageSource, Message, Reasoning, ReasoningBlock, ResponseFormat, Role, Tool, ToolChoice,
};
use crate::fields::Path;
use crate::{OutboundTarget, json};

#[derive(Serialize)]
struct OllamaBody<'a> {
    model: &'a str,
    messages: Vec<OllamaMessage<'a>>,
    /// Always sent, because the default is true.
    stream: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Definition<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    think: Option<Think>,
    options: Options<'a>,
}

#[derive(Serialize)]
struct Options<'a> {
    num_predict: u64,
    /// Without it, Ollama cuts a long prompt silently to a context that the machine's memory decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    num_ctx: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
}

#[derive(Default, Serialize)]
struct OllamaMessage<'a> {
    role: &'static str,
    content: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_name: Option<&'a str>,
}

#[derive(Serialize)]
struct Call<'a> {
    function: Called<'a>,
}

#[derive(Serialize)]
struct Called<'a> {
    name: &'a str,
    arguments: Cow<'a, RawValue>,
}

#[derive(Serialize)]
struct Definition<'a> {
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Format<'a> {
    Word(&'static str),
    Schema(&'a RawValue),
}

#[derive(Serialize)]
#[serde(untagged)]
enum Think {
    Switch(bool),
    Level(&'static str),
}

/// The body for Ollama. Errors: `INVALID_REQUEST` for a value that it cannot express.
pub fn request_body(chat: &ChatRequest, target: &OutboundTarget<'_>) -> Result<Bytes, Refusal> {
    let sampling = &chat.sampling;
    let tools = if chat.tool_choice == Some(ToolChoice::None) { &[] } else { chat.tools.as_slice() };
    let body = OllamaBody {
        model: target.model,
        messages: messages(chat, target.system_prefix)?,
        stream: chat.stream,
        tools: tools.iter().map(definition).collect(),
        format: format(chat),
        think: think(chat),
        options: Options {
            num_predict: target.output_cap.tokens,
            num_ctx: target.context_window,
            temperature: sampling.temperature.as_deref(),
            top_p: sampling.top_p.as_deref(),
            top_k: sampling.top_k,
            seed: sampling.seed.as_deref(),
            frequency_penalty: sampling.frequency_penalty.as_deref(),
            presence_penalty: sampling.presence_penalty.as_deref(),
            stop: &chat.stop,
        },
    };
    Ok(json::written(&body).into())
}

fn definition(tool: &Tool) -> Definition<'_> {
    let Tool { name, description, parameters, .. } = tool;
    let function = Function { name, description: description.as_deref(), parameters: parameters.as_deref() };
    Definition { r#type: "function", function }
}

fn format(chat: &ChatRequest) -> Option<Format<'_>> {
    match chat.response_format.as_ref()? {
        ResponseFormat::Text => None,
        ResponseFormat::JsonObject => Some(Format::Word("json")),
        ResponseFormat::JsonSchema { schema, .. } => Some(Format::Schema(schema)),
    }
}

/// Ollama knows three levels; models without levels take any of them for true.
fn think(chat: &ChatRequest) -> Option<Think> {
    match chat.reasoning.as_ref()? {
        Reasoning::Effort(effort) => Some(match effort.as_str() {
            "none" => Think::Switch(false),
            "minimal" | "low" => Think::Level("low"),
            "medium" => Think::Level("medium"),
            _ => Think::Level("high"),
        }),
        Reasoning::BudgetTokens(_) => None,
    }
}

fn messages<'a>(chat: &'a ChatRequest, prefix: Option<&'a str>) -> Result<Vec<OllamaMessage<'a>>, Refusal> {
    let mut written = Vec::with_capacity(chat.messages.len() + 1);
    written.extend(prefix.map(|prefix| plain("system", prefix.into())));
    let prefixed = written.len();
    let mut names = HashMap::new();
    for (at, message) in chat.messages.iter().enumerate() {
        add(message, at, &mut names, &mut written)?;
    }
    match written.len() > prefixed {
        true => Ok(written),
        false => Err(Path::Root.field("messages").refuse("must have at least one message that is not empty")),
    }
}

fn plain<'a>(role: &'static str, content: Cow<'a, str>) -> OllamaMessage<'a> {
    OllamaMessage { role, content, ..OllamaMessage::default() }
}

/// Bytes of a result's JSON in a client's body besides its id and its content, at least.
const NAME_BYTES_FREE: usize = 32;

/// Adds a message, the results of tools first. `names` has the names of the calls so far, by id.
fn add<'a>(
    message: &'a Message,
    at: usize,
    names: &mut HashMap<&'a str, &'a str>,
    written: &mut Vec<OllamaMessage<'a>>,
) -> Result<(), Refusal> {
    for block in &message.content {
        if let Block::ToolResult(result) = block {
            let path = Path::Root.field("messages");
            let name = names.get(result.id.as_str()).copied();
            let name = name.ok_or_else(|| path.element(at).refuse("has a tool result without its call"))?;
            // The name takes the place of the id. A longer one could be repeated in more bytes than the client sent, which
            // bound the tokens.
            let tool_name = Some(name).filter(|name| name.len() <= result.id.len() + NAME_BYTES_FREE);
            written.push(OllamaMessage { tool_name, ..plain("tool", joined(&result.content)) });
        }
    }
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => return Ok(()),
    };
    let mut own = plain(role, joined(&message.content));
    let mut thoughts = Vec::new();
    for block in &message.content {
        match block {
            Block::Image(image) => {
                if let ImageSource::Inline { base64, .. } = &image.source {
                    own.images.push(base64);
                }
            }
            Block::ToolCall(call) => {
                names.insert(&call.id, &call.name);
                let call =
                    call.arguments_object().map(|arguments| Call { function: Called { name: &call.name, arguments } });
                own.tool_calls.extend(call);
            }
            Block::Reasoning(ReasoningBlock { text, signature: None, redacted: None }) => thoughts.push(text.as_str()),
            Block::Text(_) | Block::ToolResult(_) | Block::Reasoning(_) | Block::Document(_) | Block::CachePoint(_) => {
            }
        }
    }
    own.thinking = (!thoughts.is_empty()).then(|| thoughts.join("\n").into());
    if !(own.content.is_empty() && own.images.is_empty() && own.tool_calls.is_empty()) {
        written.push(own);
    }
    Ok(())
}

fn joined(content: &[Block]) -> Cow<'_, str> {
    let mut texts = content.iter().filter_map(Block::text);
    match (texts.next(), texts.next()) {
        (only, None) => Cow::Borrowed(only.unwrap_or_default()),
        (first, second) => first.into_iter().chain(second).chain(texts).collect::<Vec<_>>().join("\n").into(),
    }
}
