//! Writes the intermediate form's request as an OpenAI body.
//!
//! Refused: messages that are all empty. Tool results take only text: their images follow in the next user message, under
//! the id of the call. Reasoning without a signature goes back as `reasoning_content` of a message with tool calls, as
//! DeepSeek and others require; a signature means that it is of another dialect. Dropped on purpose: other reasoning of
//! earlier responses, and the error flag of a tool result, whose text says so. `metadata` is not sent upstream.

mod conversation;

use bytes::Bytes;
use events::event::admin::OutputCapField;
use events::refusal::Refusal;
use events::usage::ServiceTier;
use intermediate::chat::{ChatRequest, ReasoningAmount, ResponseFormat, ToolChoice};
use intermediate::json;
use serde::Serialize;
use serde_json::value::RawValue;

use super::server::{self, Fate};
use crate::openai_parts::{Function, FunctionDefinition, function};
use crate::{CallIdRule, OutboundTarget, ProviderKind};
use conversation::OutboundMessage;

#[derive(Serialize)]
struct OpenAiBody<'a> {
    model: &'a str,
    messages: Vec<OutboundMessage<'a>>,
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
    tools: Vec<Function<FunctionDefinition<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<OpenAiToolChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<OpenAiFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<&'a RawValue>,
    /// Mistral's name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    random_seed: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logit_bias: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<ServiceTier>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum OpenAiToolChoice<'a> {
    Word(&'static str),
    Named(Function<Name<'a>>),
}

#[derive(Serialize)]
struct Name<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum OpenAiFormat<'a> {
    Text,
    JsonObject,
    JsonSchema { json_schema: NamedSchema<'a> },
}

#[derive(Serialize)]
struct NamedSchema<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    schema: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

/// The body for OpenAI. Errors: `INVALID_REQUEST` for a field without counterpart.
pub fn request_body(chat: &ChatRequest, target: &OutboundTarget<'_>) -> Result<Bytes, Refusal> {
    body(chat, target, server::call_ids(ProviderKind::Openai, target.server))
}

/// The body for Azure. Errors: likewise.
pub fn azure_body(chat: &ChatRequest, target: &OutboundTarget<'_>) -> Result<Bytes, Refusal> {
    body(chat, target, server::call_ids(ProviderKind::AzureOpenai, target.server))
}

fn body(chat: &ChatRequest, target: &OutboundTarget<'_>, call_ids: CallIdRule) -> Result<Bytes, Refusal> {
    let (tokens, field) = (target.output_cap.tokens, server::output_cap_field(target).unwrap_or_default());
    let sampling = &chat.sampling;
    let cap = |name| (field == name).then_some(tokens);
    let sent = sent_fields(chat, target)?;
    let is_sent = |name: &str| sent.contains(&name);
    let seed = target.server.map_or("seed", |server| server::deviations(server).seed);
    let stream_options = chat.stream && is_sent("stream_options");
    let body = OpenAiBody {
        model: target.model,
        messages: conversation::messages(chat, target, call_ids)?,
        max_tokens: cap(OutputCapField::MaxTokens),
        max_completion_tokens: cap(OutputCapField::MaxCompletionTokens),
        temperature: sampling.temperature.as_deref(),
        top_p: sampling.top_p.as_deref(),
        stop: &chat.stop,
        stream: chat.stream.then_some(true),
        stream_options: stream_options.then_some(StreamOptions { include_usage: true }),
        tools: chat.tools.iter().map(|tool| function(FunctionDefinition::of(tool, tool.strict))).collect(),
        tool_choice: chat.tool_choice.as_ref().map(choice),
        parallel_tool_calls: chat.parallel_tool_calls,
        response_format: chat.response_format.as_ref().map(format),
        reasoning_effort: effort(chat),
        user: chat.user.as_deref().filter(|_| is_sent("user")),
        seed: sampling.seed.as_deref().filter(|_| seed == "seed"),
        random_seed: sampling.seed.as_deref().filter(|_| seed == "random_seed"),
        n: (chat.choices > 1).then_some(chat.choices),
        frequency_penalty: sampling.frequency_penalty.as_deref(),
        presence_penalty: sampling.presence_penalty.as_deref(),
        logit_bias: sampling.logit_bias.as_deref(),
        logprobs: chat.logprobs.map(|_| true),
        top_logprobs: chat.logprobs.and_then(|logprobs| logprobs.top),
        service_tier: chat.service_tier.filter(|_| is_sent("service_tier")),
    };
    Ok(json::written(&body).into())
}

/// The names of the fields that the server takes, of those that the request has. Errors: one without which the answer would
/// be another one.
fn sent_fields(chat: &ChatRequest, target: &OutboundTarget<'_>) -> Result<Vec<&'static str>, Refusal> {
    let sampling = &chat.sampling;
    let choices = chat.choices.to_string();
    let fields = [
        ("stream_options", chat.stream, "{}"),
        ("user", chat.user.is_some(), "user"),
        ("n", chat.choices > 1, choices.as_str()),
        ("logit_bias", sampling.logit_bias.is_some(), "given"),
        ("logprobs", chat.logprobs.is_some(), "true"),
        ("frequency_penalty", sampling.frequency_penalty.is_some(), "given"),
        ("presence_penalty", sampling.presence_penalty.is_some(), "given"),
        ("parallel_tool_calls", chat.parallel_tool_calls.is_some(), "given"),
        ("reasoning_effort", effort(chat).is_some(), "given"),
        ("response_format", chat.response_format.is_some(), "given"),
        ("service_tier", chat.service_tier.is_some(), "given"),
    ];
    let mut sent = Vec::with_capacity(fields.len());
    for (name, _, value) in fields.into_iter().filter(|(_, is_given, _)| *is_given) {
        if server::fate(target, name, value)? == Fate::Sent {
            sent.push(name);
        }
    }
    Ok(sent)
}

fn choice(choice: &ToolChoice) -> OpenAiToolChoice<'_> {
    match choice {
        ToolChoice::Auto => OpenAiToolChoice::Word("auto"),
        ToolChoice::None => OpenAiToolChoice::Word("none"),
        ToolChoice::Required => OpenAiToolChoice::Word("required"),
        ToolChoice::Named(name) => OpenAiToolChoice::Named(function(Name { name })),
    }
}

fn format(format: &ResponseFormat) -> OpenAiFormat<'_> {
    match format {
        ResponseFormat::Text => OpenAiFormat::Text,
        ResponseFormat::JsonObject => OpenAiFormat::JsonObject,
        ResponseFormat::JsonSchema { name, description, schema, strict } => OpenAiFormat::JsonSchema {
            json_schema: NamedSchema {
                name: name.as_deref().unwrap_or("response"),
                description: description.as_deref(),
                schema,
                strict: *strict,
            },
        },
    }
}

fn effort(chat: &ChatRequest) -> Option<&str> {
    let reasoning = chat.reasoning.as_ref().filter(|reasoning| !reasoning.is_switched_off())?;
    match reasoning.amount()? {
        ReasoningAmount::Effort(effort) => Some(effort),
        ReasoningAmount::BudgetTokens(_) => None,
    }
}
