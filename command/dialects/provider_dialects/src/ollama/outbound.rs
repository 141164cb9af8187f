//! Writes the intermediate form's request as a body of `/api/chat`.
//!
//! Ollama matches results to calls by the tool's name, and models by their order, so results are sent with the names and in
//! the order of their calls. Arguments that are not a JSON object are wrapped as `{"arguments_raw"}`. `tool_choice` `none`
//! leaves out the tools: Ollama has no field for it. Refused, besides what the row of the table refuses: a result without its
//! call, messages that are all empty.

use std::borrow::Cow;

use bytes::Bytes;
use events::refusal::Refusal;
use intermediate::chat::{
    Block, ChatRequest, ImageSource, Message, ReasoningAmount, ReasoningBlock, ResponseFormat, Role, ToolChoice,
};
use intermediate::fields::Path;
use intermediate::json;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::OutboundTarget;
use crate::calls::Calls;
use crate::lines::joined;
use crate::openai_parts::{Function, FunctionDefinition, function};

#[derive(Serialize)]
struct OllamaChatBody<'a> {
    model: &'a str,
    messages: Vec<OllamaMessage<'a>>,
    /// Always sent, because the default is true.
    stream: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Function<FunctionDefinition<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<OllamaFormat<'a>>,
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
    tool_calls: Vec<OllamaCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_name: Option<&'a str>,
}

#[derive(Serialize)]
struct OllamaCall<'a> {
    function: OllamaCalled<'a>,
}

#[derive(Serialize)]
struct OllamaCalled<'a> {
    name: &'a str,
    arguments: Cow<'a, RawValue>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum OllamaFormat<'a> {
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
    let body = OllamaChatBody {
        model: target.model,
        messages: messages(chat, target.system_prefix)?,
        stream: chat.stream,
        tools: tools.iter().map(|tool| function(FunctionDefinition::of(tool, None))).collect(),
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

fn format(chat: &ChatRequest) -> Option<OllamaFormat<'_>> {
    match chat.response_format.as_ref()? {
        ResponseFormat::Text => None,
        ResponseFormat::JsonObject => Some(OllamaFormat::Word("json")),
        ResponseFormat::JsonSchema { schema, .. } => Some(OllamaFormat::Schema(schema)),
    }
}

/// Ollama knows three levels; models without levels take any of them for true.
fn think(chat: &ChatRequest) -> Option<Think> {
    match chat.reasoning.as_ref()?.amount()? {
        ReasoningAmount::Effort(effort) => Some(match effort {
            "none" => Think::Switch(false),
            "minimal" | "low" => Think::Level("low"),
            "medium" => Think::Level("medium"),
            _ => Think::Level("high"),
        }),
        ReasoningAmount::BudgetTokens(_) => None,
    }
}

fn messages<'a>(chat: &'a ChatRequest, prefix: Option<&'a str>) -> Result<Vec<OllamaMessage<'a>>, Refusal> {
    let mut conversation = OllamaConversation::default();
    conversation.messages.reserve_exact(chat.messages.len() + 1);
    conversation.messages.extend(prefix.map(|prefix| plain("system", prefix.into())));
    let prefixed = conversation.messages.len();
    let path = Path::Root.field("messages");
    for (at, message) in chat.messages.iter().enumerate() {
        conversation.add(message, &path.element(at))?;
    }
    conversation.add_results();
    match conversation.messages.len() > prefixed {
        true => Ok(conversation.messages),
        false => Err(path.refuse("must have at least one message that is not empty")),
    }
}

fn plain<'a>(role: &'static str, content: Cow<'a, str>) -> OllamaMessage<'a> {
    OllamaMessage { role, content, ..OllamaMessage::default() }
}

#[derive(Default)]
struct OllamaConversation<'a> {
    messages: Vec<OllamaMessage<'a>>,
    calls: Calls<'a>,
    /// Results since the last other message, each with the number of its call.
    results: Vec<(usize, OllamaMessage<'a>)>,
}

impl<'a> OllamaConversation<'a> {
    /// Adds a message, the results of tools first.
    fn add(&mut self, message: &'a Message, path: &Path<'_>) -> Result<(), Refusal> {
        for block in &message.content {
            if let Block::ToolResult(result) = block {
                let call = self.calls.of_result(&result.id);
                let call = call.ok_or_else(|| path.refuse("has a tool result without its call"))?;
                let tool_name = Some(call.name);
                self.results
                    .push((call.ordinal, OllamaMessage { tool_name, ..plain("tool", joined(&result.content)) }));
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
                    self.calls.add(&call.id, &call.name);
                    let call = call
                        .arguments_object()
                        .map(|arguments| OllamaCall { function: OllamaCalled { name: &call.name, arguments } });
                    own.tool_calls.extend(call);
                }
                Block::Reasoning(ReasoningBlock { text, signature: None, redacted: None }) => {
                    thoughts.push(text.as_str())
                }
                Block::Text(_)
                | Block::ToolResult(_)
                | Block::Reasoning(_)
                | Block::Document(_)
                | Block::CachePoint(_) => {}
            }
        }
        own.thinking = (!thoughts.is_empty()).then(|| thoughts.join("\n").into());
        if !(own.content.is_empty() && own.images.is_empty() && own.tool_calls.is_empty()) {
            self.add_results();
            self.messages.push(own);
        }
        Ok(())
    }

    fn add_results(&mut self) {
        self.results.sort_by_key(|(ordinal, _)| *ordinal);
        self.messages.extend(self.results.drain(..).map(|(_, result)| result));
    }
}
