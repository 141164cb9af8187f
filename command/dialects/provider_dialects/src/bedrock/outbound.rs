//! Writes the intermediate form's request as a body of Converse; ConverseStream takes the same one. The model is in the path.
//!
//! What Converse has no field for goes into `additionalModelRequestFields`, in the words of each model's maker.
//!
//! Refused, besides what the row of the table refuses: names of tools that Bedrock does not take, because an answer
//! could not give the client's name back; a thinking budget for models other than Claude; schemas with open objects;
//! documents and images of other types, and documents by URL; a request with system messages only. Dropped on purpose, besides what the model's row ignores: cache points among the tools of Amazon's models, thinking
//! if a tool is forced, and `tool_choice` without tools. With `tool_choice` `none` the tools are not sent.

use std::borrow::Cow;

use bytes::Bytes;
use events::refusal::Refusal;
use events::usage::ServiceTier;
use intermediate::chat::{ChatRequest, ResponseFormat, Tool, ToolChoice};
use intermediate::fields::Path;
use intermediate::json;
use serde::Serialize;
use serde_json::value::RawValue;

use super::content::{self, BedrockContentBlock, CachePoint, ConverseMessage};
use super::family::{self, Family, ModelFields};
use super::names;
use crate::OutboundTarget;
use crate::anthropic::schema;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConverseBody<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<BedrockContentBlock<'a>>,
    messages: Vec<ConverseMessage<'a>>,
    inference_config: InferenceConfig<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<BedrockToolConfig<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<BedrockOutputConfig<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_model_request_fields: Option<ModelFields<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<Tier>,
}

#[derive(Serialize)]
struct Tier {
    r#type: ServiceTier,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InferenceConfig<'a> {
    max_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BedrockToolConfig<'a> {
    tools: Vec<ToolEntry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<ConverseToolChoice<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum ToolEntry<'a> {
    #[serde(rename_all = "camelCase")]
    ToolSpec {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        input_schema: InputSchema<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
    },
    CachePoint(CachePoint),
}

#[derive(Serialize)]
struct InputSchema<'a> {
    json: Option<Cow<'a, RawValue>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum ConverseToolChoice<'a> {
    Auto {},
    Any {},
    Tool { name: &'a str },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BedrockOutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text_format: Option<TextFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'a str>,
}

#[derive(Serialize)]
struct TextFormat<'a> {
    r#type: &'static str,
    structure: Structure<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Structure<'a> {
    json_schema: SchemaDefinition<'a>,
}

#[derive(Serialize)]
struct SchemaDefinition<'a> {
    /// JSON as a string.
    schema: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
}

/// The body for Bedrock. Errors: `INVALID_REQUEST` for a value that it cannot express.
pub fn request_body(chat: &ChatRequest, target: &OutboundTarget<'_>) -> Result<Bytes, Refusal> {
    let family = Family::of(target.model);
    let tool_config = tool_config(chat, family)?;
    let body = ConverseBody {
        system: content::system(chat, target.system_prefix, family),
        messages: content::messages(chat, family, tool_config.is_none())?,
        inference_config: InferenceConfig {
            max_tokens: target.output_cap.tokens,
            temperature: chat.sampling.temperature.as_deref(),
            top_p: chat.sampling.top_p.as_deref(),
            stop_sequences: &chat.stop,
        },
        additional_model_request_fields: ModelFields::of(chat, target, family, tool_config.is_some())?,
        tool_config,
        output_config: output_config(chat, family)?,
        service_tier: chat.service_tier.map(|tier| Tier { r#type: tier }),
    };
    Ok(json::written(&body).into())
}

/// `None` if no tool may be called.
fn tool_config(chat: &ChatRequest, family: Family) -> Result<Option<BedrockToolConfig<'_>>, Refusal> {
    let tool_choice = match &chat.tool_choice {
        _ if chat.tools.is_empty() => return Ok(None),
        Some(ToolChoice::None) => return Ok(None),
        None => None,
        Some(ToolChoice::Auto) => Some(ConverseToolChoice::Auto {}),
        Some(ToolChoice::Required) => Some(ConverseToolChoice::Any {}),
        Some(ToolChoice::Named(name)) => Some(ConverseToolChoice::Tool { name }),
    };
    let mut tools = Vec::with_capacity(chat.tools.len());
    for (at, tool) in chat.tools.iter().enumerate() {
        tools.push(specification(tool, at)?);
        let lifetime = tool.cache_point.filter(|_| family.caches_tools());
        tools.extend(lifetime.map(|lifetime| ToolEntry::CachePoint(CachePoint::of(lifetime, family))));
    }
    Ok(Some(BedrockToolConfig { tools, tool_choice }))
}

fn specification(tool: &Tool, at: usize) -> Result<ToolEntry<'_>, Refusal> {
    if !names::is_tool_name(&tool.name) {
        let reason = "must have a name of 1 to 64 letters, digits, _ and -, as Bedrock takes no other";
        return Err(Path::Root.field("tools").element(at).refuse(reason));
    }
    Ok(ToolEntry::ToolSpec {
        name: &tool.name,
        description: tool.description.as_deref().filter(|description| !description.is_empty()),
        input_schema: InputSchema { json: schema::of_tool(tool, at)? },
        strict: tool.strict.filter(|strict| *strict),
    })
}

fn output_config(chat: &ChatRequest, family: Family) -> Result<Option<BedrockOutputConfig<'_>>, Refusal> {
    let text_format = match &chat.response_format {
        None | Some(ResponseFormat::Text | ResponseFormat::JsonObject) => None,
        Some(ResponseFormat::JsonSchema { name, description, schema, .. }) => {
            let schema = match schema::fitted(schema, &schema::output_path())? {
                Cow::Borrowed(schema) => schema.get().into(),
                Cow::Owned(schema) => schema.get().to_owned().into(),
            };
            let json_schema = SchemaDefinition { schema, name: name.as_deref(), description: description.as_deref() };
            Some(TextFormat { r#type: "json_schema", structure: Structure { json_schema } })
        }
    };
    let effort = family::effort(chat, family);
    let is_empty = text_format.is_none() && effort.is_none();
    Ok((!is_empty).then_some(BedrockOutputConfig { text_format, effort }))
}
