//! Writes the intermediate form's request as a body of `/v2/chat`.
//!
//! A message with tool calls has no content of its own here: what was thought and said before the calls is their
//! `tool_plan`. Reasoning of other messages is a `thinking` block. A certain tool is asked for by sending it alone and
//! `REQUIRED`. Arguments that are not a JSON object are wrapped as `{"arguments_raw"}`. Efforts other than `none` switch
//! thinking on: Cohere has no levels, but budgets. `top_p` goes up to 0.99 there, so 1 is sent as that. `strict_tools`
//! is for all tools, and is set if one of them is strict. Refused, besides what the row of the table refuses: penalties
//! outside of 0 to 1, a choice of a tool that is not in the list, messages that are all empty.

use std::borrow::Cow;

use bytes::Bytes;
use events::refusal::Refusal;
use intermediate::chat::{
    Block, ChatRequest, Message, ReasoningAmount, ReasoningBlock, ResponseFormat, Role, Tool, ToolChoice,
};
use intermediate::fields::Path;
use intermediate::json;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::OutboundTarget;
use crate::lines::in_lines;
use crate::openai_parts::{Function, FunctionDefinition, Picture, function};

#[derive(Serialize)]
struct CohereChatBody<'a> {
    model: &'a str,
    messages: Vec<CohereMessage<'a>>,
    stream: bool,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Function<FunctionDefinition<'a>>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    strict_tools: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<CohereFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Thinking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<Cow<'a, RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    k: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
}

#[derive(Serialize)]
struct CohereMessage<'a> {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<CohereContent<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_plan: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CohereCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum CohereContent<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<CoherePart<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum CoherePart<'a> {
    Text { text: &'a str },
    Thinking { thinking: &'a str },
    ImageUrl { image_url: Picture<'a> },
}

#[derive(Serialize)]
struct CohereCall<'a> {
    id: &'a str,
    #[serde(flatten)]
    function: Function<CohereCalled<'a>>,
}

#[derive(Serialize)]
struct CohereCalled<'a> {
    name: &'a str,
    /// A JSON object: Cohere reads it.
    arguments: String,
}

#[derive(Serialize)]
struct CohereFormat<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    json_schema: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Thinking {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_budget: Option<u64>,
}

/// The body for Cohere. Errors: `INVALID_REQUEST` for a value that it cannot express.
pub fn request_body(chat: &ChatRequest, target: &OutboundTarget<'_>) -> Result<Bytes, Refusal> {
    let sampling = &chat.sampling;
    let (tools, tool_choice) = tools(chat)?;
    let body = CohereChatBody {
        model: target.model,
        messages: messages(chat, target.system_prefix)?,
        stream: chat.stream,
        max_tokens: target.output_cap.tokens,
        strict_tools: tools.iter().any(|tool| tool.strict == Some(true)),
        tools: tools.iter().map(definition).collect(),
        tool_choice,
        response_format: format(chat),
        thinking: thinking(chat),
        temperature: sampling.temperature.as_deref(),
        p: sampling.top_p.as_deref().map(top_p),
        k: sampling.top_k,
        seed: sampling.seed.as_deref(),
        frequency_penalty: penalty(sampling.frequency_penalty.as_deref(), "frequency_penalty")?,
        presence_penalty: penalty(sampling.presence_penalty.as_deref(), "presence_penalty")?,
        stop_sequences: &chat.stop,
    };
    Ok(json::written(&body).into())
}

/// The tools that are sent, and the choice among them.
fn tools(chat: &ChatRequest) -> Result<(&[Tool], Option<&'static str>), Refusal> {
    let tools = chat.tools.as_slice();
    Ok(match &chat.tool_choice {
        Some(ToolChoice::Named(name)) => {
            let named = tools.iter().position(|tool| tool.name == *name).and_then(|at| tools.get(at..=at));
            let path = Path::Root.field("tool_choice");
            (named.ok_or_else(|| path.refuse("names a tool that is not in tools"))?, Some("REQUIRED"))
        }
        Some(ToolChoice::Required) => (tools, Some("REQUIRED")),
        Some(ToolChoice::None) if !tools.is_empty() => (tools, Some("NONE")),
        Some(ToolChoice::Auto | ToolChoice::None) | None => (tools, None),
    })
}

fn definition(tool: &Tool) -> Function<FunctionDefinition<'_>> {
    let mut definition = FunctionDefinition::of(tool, None);
    definition.parameters.get_or_insert_with(|| Cow::Owned(raw(r#"{"type":"object","properties":{}}"#)));
    function(definition)
}

fn format(chat: &ChatRequest) -> Option<CohereFormat<'_>> {
    match chat.response_format.as_ref()? {
        ResponseFormat::Text => None,
        ResponseFormat::JsonObject => Some(CohereFormat { r#type: "json_object", json_schema: None }),
        ResponseFormat::JsonSchema { schema, .. } => {
            Some(CohereFormat { r#type: "json_object", json_schema: Some(schema) })
        }
    }
}

fn thinking(chat: &ChatRequest) -> Option<Thinking> {
    Some(match chat.reasoning.as_ref()?.amount()? {
        ReasoningAmount::Effort("none") => Thinking { r#type: "disabled", token_budget: None },
        ReasoningAmount::Effort(_) => Thinking { r#type: "enabled", token_budget: None },
        ReasoningAmount::BudgetTokens(tokens) => Thinking { r#type: "enabled", token_budget: Some(tokens) },
    })
}

/// `top_p` in the range that Cohere takes, 0.01 to 0.99. Values that no provider takes go as they are, to be refused there.
fn top_p(given: &RawValue) -> Cow<'_, RawValue> {
    match given.get().parse::<f64>() {
        Ok(p) if (0.0..0.01).contains(&p) => Cow::Owned(raw("0.01")),
        Ok(p) if p > 0.99 && p <= 1.0 => Cow::Owned(raw("0.99")),
        _ => Cow::Borrowed(given),
    }
}

/// Errors: a penalty outside of 0 to 1.
fn penalty<'a>(given: Option<&'a RawValue>, field: &str) -> Result<Option<&'a RawValue>, Refusal> {
    let is_in_range = |given: &&RawValue| given.get().parse().is_ok_and(|given: f64| (0.0..=1.0).contains(&given));
    match given.filter(|given| !is_in_range(given)) {
        Some(_) => Err(Path::Root.field(field).refuse("must be from 0 to 1 for the model's provider, cohere")),
        None => Ok(given),
    }
}

fn raw(text: &'static str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap_or_default()
}

fn messages<'a>(chat: &'a ChatRequest, prefix: Option<&'a str>) -> Result<Vec<CohereMessage<'a>>, Refusal> {
    let mut written = Vec::with_capacity(chat.messages.len() + 1);
    written.extend(prefix.map(|prefix| plain("system", CohereContent::Text(prefix.into()))));
    let prefixed = written.len();
    for message in &chat.messages {
        add(message, &mut written);
    }
    match written.len() > prefixed {
        true => Ok(written),
        false => Err(Path::Root.field("messages").refuse("must have at least one message that is not empty")),
    }
}

const fn plain<'a>(role: &'static str, content: CohereContent<'a>) -> CohereMessage<'a> {
    CohereMessage { role, content: Some(content), tool_plan: None, tool_calls: Vec::new(), tool_call_id: None }
}

/// Adds a message, the results of tools first, because they must follow their calls.
fn add<'a>(message: &'a Message, written: &mut Vec<CohereMessage<'a>>) {
    for block in &message.content {
        if let Block::ToolResult(result) = block {
            let content = CohereContent::Text(in_lines(result.content.iter().filter_map(Block::text)));
            written.push(CohereMessage { tool_call_id: Some(&result.id), ..plain("tool", content) });
        }
    }
    let texts = || message.content.iter().filter_map(Block::text);
    match message.role {
        Role::System if texts().next().is_some() => {
            written.push(plain("system", CohereContent::Text(in_lines(texts()))))
        }
        Role::User => written.extend(user(&message.content).map(|content| plain("user", content))),
        Role::Assistant => written.extend(assistant(&message.content)),
        Role::System | Role::Tool => {}
    }
}

fn user(content: &[Block]) -> Option<CohereContent<'_>> {
    if let [Block::Text(text)] = content {
        return Some(CohereContent::Text(Cow::Borrowed(text)));
    }
    let parts = content.iter().filter_map(|block| match block {
        Block::Text(text) => Some(CoherePart::Text { text }),
        Block::Image(image) => Some(CoherePart::ImageUrl { image_url: Picture::of(image) }),
        _ => None,
    });
    let parts: Vec<_> = parts.collect();
    (!parts.is_empty()).then_some(CohereContent::Parts(parts))
}

fn assistant(content: &[Block]) -> Option<CohereMessage<'_>> {
    let calls = content.iter().filter_map(|block| match block {
        Block::ToolCall(call) => {
            let arguments = call.arguments_object()?.get().to_owned();
            Some(CohereCall { id: &call.id, function: function(CohereCalled { name: &call.name, arguments }) })
        }
        _ => None,
    });
    let tool_calls: Vec<_> = calls.collect();
    let said = content.iter().filter_map(|block| match block {
        Block::Text(text) => Some(CoherePart::Text { text }),
        Block::Reasoning(ReasoningBlock { text, signature: None, redacted: None }) => {
            Some(CoherePart::Thinking { thinking: text })
        }
        _ => None,
    });
    let mut said: Vec<_> = said.collect();
    let (content, tool_plan) = match said.as_slice() {
        said if !tool_calls.is_empty() => {
            let plan = in_lines(said.iter().map(|part| match part {
                CoherePart::Text { text } => *text,
                CoherePart::Thinking { thinking } => *thinking,
                CoherePart::ImageUrl { .. } => "",
            }));
            (None, Some(plan).filter(|plan| !plan.is_empty()))
        }
        [] => return None,
        [CoherePart::Text { text }] => (Some(CohereContent::Text(Cow::Borrowed(*text))), None),
        _ => (Some(CohereContent::Parts(std::mem::take(&mut said))), None),
    };
    Some(CohereMessage { role: "assistant", content, tool_plan, tool_calls, tool_call_id: None })
}
