//! Reads a request of the Responses API. Nothing is passed on, so nothing may vanish: a field that the intermediate form does not have
//! is refused unless it is empty. Ignored, because the answer is a good one without them: `text.verbosity` and
//! [`LEFT_OUT`], which the response names as such, the kind of reasoning summaries, and
//! `stream_options.include_obfuscation`.

mod input;

use std::borrow::Cow;

use bytes::Bytes;
use events::refusal::Refusal;
use intermediate::chat::read::{
    OUTPUT_TOKENS_MAX, TOOLS_MAX, effort_of, metadata, model, output_description, raw, schema, top_logprobs,
};
use intermediate::chat::{
    Block, ChatRequest, Logprobs, Message, Reasoning, ResponseFormat, Role, Sampling, Tool, ToolChoice,
};
use intermediate::facts::{Facts, RequestedCap};
use intermediate::fields::{self, Fields, LengthMax, Path, RefusedField};
use intermediate::json::{self, Kind};

use super::echo::Given;
use crate::SurfaceRequest;
use crate::priceable::{service_tier, tier_of_chat, tool};

const CAP_FIELD: &str = "max_output_tokens";
#[rustfmt::skip]
const FIELDS: [&str; 24] = [
    "model", "input", "instructions", CAP_FIELD, "temperature", "top_p", "top_logprobs", "tools", "tool_choice",
    "parallel_tool_calls", "text", "reasoning", "metadata", "user", "safety_identifier", "prompt_cache_key",
    "prompt_cache_retention", "stream", "stream_options", "truncation", "include", "service_tier", "store", "background",
];
/// Fields without which the answer is a good one, and which no dialect of the intermediate form's has.
const LEFT_OUT: [&str; 3] = ["safety_identifier", "prompt_cache_key", "prompt_cache_retention"];
const NO_RESPONSES: &str = "is not supported: the gateway keeps no responses, so send the whole conversation in input";
/// Fields of the API that are refused.
const REFUSED: [RefusedField; 8] = [
    RefusedField { name: "previous_response_id", reason: NO_RESPONSES },
    RefusedField { name: "conversation", reason: NO_RESPONSES },
    RefusedField {
        name: "prompt",
        reason: "is not supported: the gateway keeps no prompt templates, so send instructions and input",
    },
    RefusedField {
        name: "max_tool_calls",
        reason: "is not supported: it limits tools that the provider runs, and only functions are supported",
    },
    RefusedField { name: "context_management", reason: "is not supported: the gateway does not shorten conversations" },
    RefusedField { name: "moderation", reason: "is not supported: the gateway moderates nothing" },
    RefusedField { name: "max_tokens", reason: "is a field of Chat Completions: use max_output_tokens" },
    RefusedField { name: "messages", reason: "is a field of Chat Completions: use input" },
];
const INCLUDE_MAX: usize = 16;
const PROOFS: &str = "reasoning.encrypted_content";
const LOGPROBS: &str = "message.output_text.logprobs";

/// A request, fully read.
pub struct ResponsesRequest {
    chat: Box<ChatRequest>,
    echo: Bytes,
}

impl SurfaceRequest for ResponsesRequest {
    fn read(text: &str) -> Result<(Facts, Self), Refusal> {
        json::check(text).map_err(|fault| Path::Root.fault(fault))?;
        let fields = Fields::read(text, &Path::Root)?;
        let echo = Given::of(&fields).written();
        let (chat, output_cap) = read(fields)?;
        let facts = Facts { unpriced: tier_of_chat(&chat).into_iter().collect(), ..Facts::of_chat(&chat, output_cap) };
        Ok((facts, Self { chat: Box::new(chat), echo }))
    }

    fn chat<'a>(&'a self, _: &[u8]) -> Result<Cow<'a, ChatRequest>, Refusal> {
        Ok(Cow::Borrowed(&self.chat))
    }

    fn client_field(&self, field: &str, _: &[u8]) -> Option<String> {
        if field.starts_with("messages") {
            return Some("input".to_owned());
        }
        let rest = field.strip_prefix("response_format")?;
        Some(format!("text.format{}", rest.strip_prefix(".json_schema").unwrap_or(rest)))
    }

    fn echo(&self) -> Bytes {
        self.echo.clone()
    }
}

/// Reads a body that was checked to be JSON of bounded depth.
fn read(mut fields: Fields<'_, '_>) -> Result<(ChatRequest, RequestedCap), Refusal> {
    fields.refuse_lost(&FIELDS, &REFUSED)?;
    let model = model(&mut fields)?;
    let mut messages = Vec::new();
    if let Some(instructions) = fields.string("instructions")? {
        messages.push(Message { role: Role::System, content: vec![Block::Text(instructions.into_owned())] });
    }
    input::read_all(&mut fields, &mut messages)?;
    let tokens = fields.count(CAP_FIELD, OUTPUT_TOKENS_MAX)?;
    let mut number = |name| fields.number(name)?.map(raw).transpose();
    let sampling = Sampling { temperature: number("temperature")?, top_p: number("top_p")?, ..Sampling::default() };
    let mut left_out = Vec::new();
    let mut chat = ChatRequest {
        model,
        messages,
        sampling,
        choices: 1,
        logprobs: logprobs(&mut fields)?,
        stop: Vec::new(),
        stream: fields.boolean("stream")?.unwrap_or(false),
        tools: tools(&mut fields)?,
        tool_choice: tool_choice(&mut fields)?,
        parallel_tool_calls: fields.boolean("parallel_tool_calls")?,
        response_format: text_format(&mut fields, &mut left_out)?,
        reasoning: reasoning(&mut fields)?,
        metadata: metadata(fields.raw("metadata"), &Path::Root.field("metadata"))?,
        user: fields.string("user")?.map(Into::into),
        service_tier: service_tier(&mut fields)?,
        left_out: Vec::new(),
    };
    check_the_rest(&mut fields, &mut left_out)?;
    chat.left_out = left_out;
    Ok((chat, RequestedCap { field: CAP_FIELD, tokens }))
}

/// Reads what changes nothing, and refuses the values that would.
fn check_the_rest(fields: &mut Fields<'_, '_>, left_out: &mut Vec<&'static str>) -> Result<(), Refusal> {
    for (name, reason) in [
        ("store", "must be false: the gateway keeps no responses"),
        ("background", "must be false: the gateway answers at once"),
    ] {
        if fields.boolean(name)? == Some(true) {
            return Err(fields.path().field(name).refuse(reason));
        }
    }
    if fields.string("truncation")?.is_some_and(|text| text != "disabled") {
        return Err(fields.path().field("truncation").refuse("must be disabled: the gateway does not shorten input"));
    }
    for name in LEFT_OUT {
        left_out.extend(is_asked_for(fields, name)?.then_some(name));
    }
    let path = fields.path().field("stream_options");
    if let Some(options) = fields.raw("stream_options") {
        let mut options = Fields::read(options, &path)?;
        options.boolean("include_obfuscation")?;
        options.refuse_lost(&["include_obfuscation"], &[])?;
    }
    Ok(())
}

/// True if there is a text of this name, and it says something.
fn is_asked_for(fields: &mut Fields<'_, '_>, name: &str) -> Result<bool, Refusal> {
    Ok(fields.string(name)?.is_some_and(|text| !text.is_empty()))
}

/// `include`, and `top_logprobs`, which asks for log probabilities as well. Proofs of reasoning are always given, because
/// the gateway cannot keep them.
fn logprobs(fields: &mut Fields<'_, '_>) -> Result<Option<Logprobs>, Refusal> {
    let mut is_wanted = false;
    fields.list("include", LengthMax { max: INCLUDE_MAX, things: "elements" }, |element, path| {
        match &*fields::string(element, path)? {
            PROOFS => {}
            LOGPROBS => is_wanted = true,
            _ => return Err(path.refuse(format!("must be {PROOFS} or {LOGPROBS}"))),
        }
        Ok(())
    })?;
    let top = top_logprobs(fields)?.filter(|top| *top > 0);
    Ok((is_wanted || top.is_some()).then_some(Logprobs { top }))
}

fn tools(fields: &mut Fields<'_, '_>) -> Result<Vec<Tool>, Refusal> {
    fields.list("tools", LengthMax { max: TOOLS_MAX, things: "elements" }, |element, path| {
        let mut fields = Fields::read(element, path)?;
        let kind = fields.required_string("type")?;
        if kind != "function" {
            let reason =
                format!("must be function: tools of type {kind:.100} run at the provider or have no counterpart");
            return Err(path.field("type").refuse(reason));
        }
        fields.refuse_lost(&["name", "description", "parameters", "strict"], &[])?;
        tool(&mut fields)
    })
}

fn tool_choice(fields: &mut Fields<'_, '_>) -> Result<Option<ToolChoice>, Refusal> {
    let path = fields.path().field("tool_choice");
    let Some(value) = fields.raw("tool_choice") else { return Ok(None) };
    if json::kind(value) == Kind::Object {
        let mut named = Fields::read(value, &path)?;
        let kind = named.required_string("type")?;
        if kind != "function" {
            return Err(path.field("type").refuse(format!("must be function: {kind:.100} is not supported")));
        }
        named.refuse_lost(&["name"], &[])?;
        return Ok(Some(ToolChoice::Named(named.required_string("name")?.into_owned())));
    }
    match &*fields::string(value, &path)? {
        "auto" => Ok(Some(ToolChoice::Auto)),
        "none" => Ok(Some(ToolChoice::None)),
        "required" => Ok(Some(ToolChoice::Required)),
        _ => Err(path.refuse("must be auto, none, required or a function")),
    }
}

/// `text`: `format`, and `verbosity`, which is ignored.
fn text_format(
    fields: &mut Fields<'_, '_>,
    left_out: &mut Vec<&'static str>,
) -> Result<Option<ResponseFormat>, Refusal> {
    let path = fields.path().field("text");
    let Some(value) = fields.raw("text") else { return Ok(None) };
    let mut text = Fields::read(value, &path)?;
    left_out.extend(is_asked_for(&mut text, "verbosity")?.then_some("text.verbosity"));
    let format_path = path.field("format");
    let format = text.raw("format");
    text.refuse_lost(&["format", "verbosity"], &[])?;
    let Some(format) = format else { return Ok(None) };
    let mut format = Fields::read(format, &format_path)?;
    let read = match &*format.required_string("type")? {
        "text" => ResponseFormat::Text,
        "json_object" => ResponseFormat::JsonObject,
        "json_schema" => json_schema(&mut format)?,
        _ => return Err(format_path.field("type").refuse("must be text, json_object or json_schema")),
    };
    format.refuse_lost(&["type"], &[])?;
    Ok(Some(read))
}

fn json_schema(format: &mut Fields<'_, '_>) -> Result<ResponseFormat, Refusal> {
    let name = Some(format.required_string("name")?.into_owned());
    let strict = format.boolean("strict")?;
    let description = output_description(format);
    let path = format.path().field("schema");
    let schema = schema(format, "schema")?.ok_or_else(|| path.refuse("is required"))?;
    Ok(ResponseFormat::JsonSchema { name, description, schema, strict })
}

/// `reasoning`: `effort`, and the kind of summaries, which is ignored: a provider's reasoning is given as it comes.
fn reasoning(fields: &mut Fields<'_, '_>) -> Result<Option<Reasoning>, Refusal> {
    let path = fields.path().field("reasoning");
    let Some(value) = fields.raw("reasoning") else { return Ok(None) };
    let mut reasoning = Fields::read(value, &path)?;
    let effort = reasoning.string("effort")?;
    for (name, harmless) in
        [("summary", None), ("generate_summary", None), ("mode", Some("standard")), ("context", Some("auto"))]
    {
        if let (Some(given), Some(harmless)) = (reasoning.string(name)?, harmless)
            && given != harmless
        {
            return Err(path.field(name).refuse(format!("must be {harmless}")));
        }
    }
    reasoning.refuse_lost(&["effort", "summary"], &[])?;
    effort.map(|effort| effort_of(&effort, &path.field("effort"))).transpose()
}

#[cfg(test)]
mod tests;
