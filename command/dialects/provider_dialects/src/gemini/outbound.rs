//! Writes the intermediate form's request as a body of `generateContent`.
//!
//! System messages are joined, in order, into `systemInstruction`. Consecutive messages of one role are merged, with the
//! results of tools first. Gemini matches results to calls by the tool's name, so results are sent with the names and in
//! the order of their calls. Arguments that are not a JSON object are wrapped as `{"arguments_raw"}`.
//!
//! Refused, besides what the row of the table refuses: a result without its call, messages that are all empty, more
//! than eight choices, a seed beyond 32 bits, and a URL whose end does not say what it is of.

mod contents;
mod thinking;

use bytes::Bytes;
use events::refusal::Refusal;
use intermediate::chat::{Block, ChatRequest, Reasoning, ResponseFormat, Role, Tool, ToolChoice};
use intermediate::fields::Path;
use intermediate::json;
use serde::Serialize;
use serde_json::value::RawValue;

use super::model::is_third_generation;
use crate::OutboundTarget;
use contents::{GeminiContent, GeminiPart};
use thinking::ThinkingConfig;

/// The most choices that Gemini gives.
const CANDIDATES_MAX: u64 = 8;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GeminiChatBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Instruction<'a>>,
    contents: Vec<GeminiContent<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<[Declarations<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<GeminiToolConfig<'a>>,
    generation_config: GenerationConfig<'a>,
}

#[derive(Serialize)]
struct Instruction<'a> {
    parts: Vec<GeminiPart<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Declarations<'a> {
    function_declarations: Vec<Declaration<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Declaration<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters_json_schema: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GeminiToolConfig<'a> {
    function_calling_config: FunctionCalling<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FunctionCalling<'a> {
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_function_names: Option<[&'a str; 1]>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig<'a> {
    max_output_tokens: u64,
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
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<ThinkingConfig>,
}

/// The body for Gemini. Errors: `INVALID_REQUEST` for a value that it cannot express.
pub fn request_body(chat: &ChatRequest, target: &OutboundTarget<'_>) -> Result<Bytes, Refusal> {
    let body = GeminiChatBody {
        system_instruction: system_instruction(chat, target.system_prefix),
        contents: contents::contents(chat, is_third_generation(target.model))?,
        tools: declarations(&chat.tools),
        tool_config: tool_config(chat),
        generation_config: generation_config(chat, target)?,
    };
    Ok(json::written(&body).into())
}

fn system_instruction<'a>(chat: &'a ChatRequest, prefix: Option<&'a str>) -> Option<Instruction<'a>> {
    let messages = chat.messages.iter().filter(|message| message.role == Role::System);
    let texts = messages.flat_map(|message| &message.content).filter_map(Block::text);
    let parts: Vec<_> = prefix.into_iter().chain(texts).filter(|text| !text.is_empty()).map(GeminiPart::text).collect();
    (!parts.is_empty()).then_some(Instruction { parts })
}

fn declarations(tools: &[Tool]) -> Option<[Declarations<'_>; 1]> {
    let function_declarations: Vec<_> = tools.iter().map(declaration).collect();
    (!function_declarations.is_empty()).then_some([Declarations { function_declarations }])
}

fn declaration(tool: &Tool) -> Declaration<'_> {
    let Tool { name, description, parameters, .. } = tool;
    Declaration { name, description: description.as_deref(), parameters_json_schema: parameters.as_deref() }
}

fn tool_config(chat: &ChatRequest) -> Option<GeminiToolConfig<'_>> {
    if chat.tools.is_empty() {
        return None;
    }
    let (mode, allowed_function_names) = match chat.tool_choice.as_ref()? {
        ToolChoice::Auto => ("AUTO", None),
        ToolChoice::None => ("NONE", None),
        ToolChoice::Required => ("ANY", None),
        ToolChoice::Named(name) => ("ANY", Some([name.as_str()])),
    };
    Some(GeminiToolConfig { function_calling_config: FunctionCalling { mode, allowed_function_names } })
}

fn generation_config<'a>(chat: &'a ChatRequest, target: &OutboundTarget<'a>) -> Result<GenerationConfig<'a>, Refusal> {
    let sampling = &chat.sampling;
    let seed = sampling.seed.as_deref();
    if seed.is_some_and(|seed| seed.get().parse::<i32>().is_err()) {
        return Err(Path::Root
            .field("seed")
            .refuse("must be an integer of 32 bits: this model's provider takes no other"));
    }
    if chat.choices > CANDIDATES_MAX {
        let reason = format!("must be at most {CANDIDATES_MAX}: this model's provider gives no more");
        return Err(Path::Root.field("n").refuse(reason));
    }
    let (response_mime_type, response_json_schema) = match &chat.response_format {
        None | Some(ResponseFormat::Text) => (None, None),
        Some(ResponseFormat::JsonObject) => (Some("application/json"), None),
        Some(ResponseFormat::JsonSchema { schema, .. }) => (Some("application/json"), Some(&**schema)),
    };
    Ok(GenerationConfig {
        max_output_tokens: target.output_cap.tokens,
        temperature: sampling.temperature.as_deref(),
        top_p: sampling.top_p.as_deref(),
        top_k: sampling.top_k,
        seed,
        frequency_penalty: sampling.frequency_penalty.as_deref(),
        presence_penalty: sampling.presence_penalty.as_deref(),
        stop_sequences: &chat.stop,
        candidate_count: (chat.choices > 1).then_some(chat.choices),
        response_mime_type,
        response_json_schema,
        response_logprobs: chat.logprobs.map(|_| true),
        logprobs: chat.logprobs.and_then(|logprobs| logprobs.top).filter(|top| *top > 0),
        thinking_config: chat
            .reasoning
            .as_ref()
            .and_then(Reasoning::amount)
            .map(|amount| ThinkingConfig::of(amount, target.model, target.output_cap.tokens)),
    })
}
