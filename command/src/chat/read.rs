//! The native request as it comes from a client. Every field is known or refused, with the path to it.

mod message;

use std::collections::BTreeMap;

use events::wire::Refusal;
use serde_json::value::RawValue;

use super::{ChatRequest, Reasoning, ResponseFormat, Tool, ToolChoice};
use crate::dialect::fields::{self, Fields, Path};
use crate::dialect::json::{self, Kind};

/// Messages of one request.
pub const MESSAGES_MAX: usize = 16_384;
/// Blocks of all its messages together, and of the tool results in them.
pub const BLOCKS_MAX: usize = 65_536;
/// Tools of one request.
pub const TOOLS_MAX: usize = 4_096;
/// Output tokens that a client may ask for. What a model can do is far below; what is above is a mistake.
pub const OUTPUT_TOKENS_MAX: u64 = 100_000_000;
/// Characters of a model's name.
pub const MODEL_NAME_MAX: usize = 256;

pub const STOP_MAX: usize = 16;
pub const METADATA_PAIRS_MAX: usize = 16;
pub const METADATA_KEY_MAX: usize = 64;
pub const METADATA_VALUE_MAX: usize = 512;
pub const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

const FIELDS: [&str; 12] = [
    "model",
    "messages",
    "max_output_tokens",
    "temperature",
    "top_p",
    "stop",
    "stream",
    "tools",
    "tool_choice",
    "response_format",
    "reasoning",
    "metadata",
];
/// What the APIs of OpenAI and Anthropic call some of them.
const ELSEWHERE: [(&str, &str); 4] = [
    ("max_tokens", "max_output_tokens"),
    ("max_completion_tokens", "max_output_tokens"),
    ("stop_sequences", "stop"),
    ("reasoning_effort", "reasoning.effort"),
];

impl ChatRequest {
    /// Reads the native form. The text has been checked as JSON of bounded depth, or is checked on the way.
    pub fn read(text: &str) -> Result<Self, Refusal> {
        let mut fields = Fields::read(text, &Path::Root)?.known(&FIELDS, &ELSEWHERE)?;
        let request = Self {
            model: model(&mut fields)?,
            messages: message::read_all(&mut fields)?,
            max_output_tokens: fields.count("max_output_tokens", OUTPUT_TOKENS_MAX)?,
            temperature: fields.number("temperature")?.map(raw).transpose()?,
            top_p: fields.number("top_p")?.map(raw).transpose()?,
            stop: stop(&mut fields)?,
            stream: fields.boolean("stream")?.unwrap_or(false),
            tools: tools(&mut fields)?,
            tool_choice: tool_choice(&mut fields)?,
            parallel_tool_calls: None,
            response_format: response_format(&mut fields)?,
            reasoning: reasoning(&mut fields)?,
            metadata: metadata(&mut fields)?,
            user: None,
        };
        fields.finish()?;
        Ok(request)
    }
}

/// `model`: a name of 1 to 256 characters.
pub fn model(fields: &mut Fields<'_, '_>) -> Result<String, Refusal> {
    let model = fields.required_string("model")?;
    match model.chars().count() {
        1..=MODEL_NAME_MAX => Ok(model.into_owned()),
        _ => Err(fields.path().field("model").refuse("must have 1 to 256 characters")),
    }
}

/// JSON text that is kept as it came.
pub fn raw(text: &str) -> Result<Box<RawValue>, Refusal> {
    RawValue::from_string(text.to_owned()).map_err(|_| Refusal::invalid("", "is not valid JSON"))
}

/// `stop`: a string, or up to 16 of them.
pub fn stop(fields: &mut Fields<'_, '_>) -> Result<Vec<String>, Refusal> {
    let path = fields.path().field("stop");
    let Some(value) = fields.raw("stop") else { return Ok(Vec::new()) };
    if json::kind(value) == Kind::String {
        return Ok(vec![fields::string(value, &path)?.into_owned()]);
    }
    let mut stop = Vec::new();
    fields::elements(value, &path, |index, element| {
        if index == STOP_MAX {
            return Err(path.refuse(format!("has more than {STOP_MAX} sequences")));
        }
        stop.push(fields::string(element, &path.element(index))?.into_owned());
        Ok(())
    })?;
    Ok(stop)
}

/// `metadata`: at most 16 pairs of strings, names of at most 64 characters, values of at most 512.
fn metadata(fields: &mut Fields<'_, '_>) -> Result<BTreeMap<String, String>, Refusal> {
    let path = fields.path().field("metadata");
    fields.raw("metadata").map_or_else(|| Ok(BTreeMap::new()), |value| metadata_of(value, &path))
}

/// See `metadata`; the value itself.
pub fn metadata_of(value: &str, path: &Path<'_>) -> Result<BTreeMap<String, String>, Refusal> {
    if json::kind(value) != Kind::Object {
        return Err(path.refuse("must be an object of strings"));
    }
    let mut metadata = BTreeMap::new();
    for member in json::members(value) {
        let member = member.map_err(|fault| path.fault(fault))?;
        let place = path.field(member.name());
        let text = fields::string(member.value, &place)?;
        if member.name().chars().count() > METADATA_KEY_MAX || text.chars().count() > METADATA_VALUE_MAX {
            return Err(place.refuse("must have a name of at most 64 and a value of at most 512 characters"));
        }
        if metadata.insert(member.name().to_owned(), text.into_owned()).is_some() {
            return Err(place.refuse("is there twice"));
        }
        if metadata.len() > METADATA_PAIRS_MAX {
            return Err(path.refuse(format!("has more than {METADATA_PAIRS_MAX} pairs")));
        }
    }
    Ok(metadata)
}

/// `response_format`: `{"type":"text"}`, `{"type":"json_object"}` or
/// `{"type":"json_schema","json_schema":{"name","schema","strict"}}`.
pub fn response_format(fields: &mut Fields<'_, '_>) -> Result<Option<ResponseFormat>, Refusal> {
    let path = fields.path().field("response_format");
    let Some(value) = fields.raw("response_format") else { return Ok(None) };
    let mut format = Fields::read(value, &path)?;
    let read = match &*format.required_string("type")? {
        "text" => ResponseFormat::Text,
        "json_object" => ResponseFormat::JsonObject,
        "json_schema" => json_schema(&mut format)?,
        _ => return Err(path.field("type").refuse("must be text, json_object or json_schema")),
    };
    format.finish()?;
    Ok(Some(read))
}

fn json_schema(format: &mut Fields<'_, '_>) -> Result<ResponseFormat, Refusal> {
    let path = format.path().field("json_schema");
    let value = format.raw("json_schema").ok_or_else(|| path.refuse("is required"))?;
    let mut fields = Fields::read(value, &path)?;
    let name = fields.string("name")?.map(Into::into);
    let strict = fields.boolean("strict")?;
    fields.raw("description");
    let schema = schema(&mut fields, "schema")?.ok_or_else(|| path.field("schema").refuse("is required"))?;
    fields.finish()?;
    Ok(ResponseFormat::JsonSchema { name, schema, strict })
}

/// A JSON Schema: an object, kept as it came.
pub fn schema(fields: &mut Fields<'_, '_>, name: &str) -> Result<Option<Box<RawValue>>, Refusal> {
    match fields.raw(name) {
        Some(value) if json::kind(value) != Kind::Object => {
            Err(fields.path().field(name).refuse("must be a JSON Schema, an object"))
        }
        value => value.map(raw).transpose(),
    }
}

fn tools(fields: &mut Fields<'_, '_>) -> Result<Vec<Tool>, Refusal> {
    let path = fields.path().field("tools");
    let Some(value) = fields.raw("tools") else { return Ok(Vec::new()) };
    let mut tools = Vec::new();
    fields::bounded_elements(value, &path, TOOLS_MAX, |index, element| {
        let path = path.element(index);
        let mut fields = Fields::read(element, &path)?.known(&["name", "description", "parameters", "strict"], &[])?;
        tools.push(tool(&mut fields)?);
        fields.finish()
    })?;
    Ok(tools)
}

/// `name`, `description`, `parameters`, `strict`.
pub fn tool(fields: &mut Fields<'_, '_>) -> Result<Tool, Refusal> {
    Ok(Tool {
        name: fields.required_string("name")?.into_owned(),
        description: fields.string("description")?.map(Into::into),
        parameters: schema(fields, "parameters")?,
        strict: fields.boolean("strict")?,
    })
}

fn tool_choice(fields: &mut Fields<'_, '_>) -> Result<Option<ToolChoice>, Refusal> {
    let path = fields.path().field("tool_choice");
    let Some(value) = fields.raw("tool_choice") else { return Ok(None) };
    if json::kind(value) == Kind::Object {
        let mut named = Fields::read(value, &path)?.known(&["name"], &[])?;
        let name = named.required_string("name")?.into_owned();
        named.finish()?;
        return Ok(Some(ToolChoice::Named(name)));
    }
    match value {
        r#""auto""# => Ok(Some(ToolChoice::Auto)),
        r#""none""# => Ok(Some(ToolChoice::None)),
        r#""required""# => Ok(Some(ToolChoice::Required)),
        _ => Err(path.refuse(r#"must be "auto", "none", "required" or {"name"}"#)),
    }
}

fn reasoning(fields: &mut Fields<'_, '_>) -> Result<Option<Reasoning>, Refusal> {
    let path = fields.path().field("reasoning");
    let Some(value) = fields.raw("reasoning") else { return Ok(None) };
    let mut reasoning = Fields::read(value, &path)?.known(&["effort", "budget_tokens"], &[])?;
    let effort = reasoning.string("effort")?;
    let budget = reasoning.count("budget_tokens", OUTPUT_TOKENS_MAX)?;
    reasoning.finish()?;
    match (effort, budget) {
        (Some(text), None) => effort_of(&text, &path.field("effort")).map(Some),
        (None, Some(tokens)) => Ok(Some(Reasoning::BudgetTokens(tokens))),
        _ => Err(path.refuse("must have either effort or budget_tokens")),
    }
}

/// One of the efforts that a provider knows.
pub fn effort_of(text: &str, path: &Path<'_>) -> Result<Reasoning, Refusal> {
    match EFFORTS.contains(&text) {
        true => Ok(Reasoning::Effort(text.to_owned())),
        false => Err(path.refuse(format!("must be one of {}", EFFORTS.join(", ")))),
    }
}

#[cfg(test)]
mod tests;
