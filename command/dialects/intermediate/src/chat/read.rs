//! Readers for the request fields that several surfaces share, and the bounds that hold for all surfaces.

use std::collections::{BTreeMap, HashMap};

use events::event::admin::Model;
pub use events::output_cap::CHOICES_MAX;
use events::refusal::Refusal;
use serde_json::value::RawValue;

use super::{
    Block, CacheLifetime, ChatRequest, ImageSource, ImageUrl, Logprobs, Reasoning, ResponseFormat, Sampling, Tool,
};
use crate::fields::{self, Fields, LengthMax, Path};
use crate::json::{self, Kind};

/// Messages per request.
pub const MESSAGES_MAX: usize = 16_384;
/// Blocks per request, over all messages and the tool results in them.
pub const BLOCKS_MAX: usize = 65_536;
/// Tools per request.
pub const TOOLS_MAX: usize = 4_096;
/// Largest output cap that a client may ask for. It is far above what any model can produce.
pub const OUTPUT_TOKENS_MAX: u64 = 100_000_000;

/// Largest `top_k`; it is far above the vocabulary of any model.
pub const TOP_K_MAX: u64 = 10_000_000;
/// Longest name of a tool call. Providers take names of 64 or 128 characters.
pub const CALL_NAME_BYTES_MAX: usize = 128;
pub const TOP_LOGPROBS_MAX: u64 = 128;
pub const STOP_MAX: usize = 16;
pub const METADATA_PAIRS_MAX: usize = 16;
pub const METADATA_KEY_MAX: usize = 64;
pub const METADATA_VALUE_MAX: usize = 512;
pub const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// The mark of a cache, which Anthropic has and the clients of gateways send in any dialect.
pub const CACHE_CONTROL: &str = "cache_control";

/// `model`: a valid model name.
pub fn model(fields: &mut Fields<'_, '_>) -> Result<String, Refusal> {
    let path = fields.path().field("model");
    model_name(fields.raw("model").ok_or_else(|| path.refuse("is required"))?, &path)
}

pub fn model_name(value: &str, path: &Path<'_>) -> Result<String, Refusal> {
    let name = fields::string(value, path)?;
    match name.chars().count() {
        1..=Model::NAME_CHARS_MAX => Ok(name.into_owned()),
        _ => Err(path.refuse(format!("must have 1 to {} characters", Model::NAME_CHARS_MAX))),
    }
}

/// JSON text, kept as received.
pub fn raw(text: &str) -> Result<Box<RawValue>, Refusal> {
    RawValue::from_string(text.to_owned()).map_err(|_| Refusal::invalid("", "is not valid JSON"))
}

/// How tokens are drawn, in the names of OpenAI, and `top_k`.
pub fn sampling(fields: &mut Fields<'_, '_>) -> Result<Sampling, Refusal> {
    let mut number = |name| fields.number(name)?.map(raw).transpose();
    let [temperature, top_p, seed] = [number("temperature")?, number("top_p")?, number("seed")?];
    let penalties = [number("frequency_penalty")?, number("presence_penalty")?];
    let [frequency_penalty, presence_penalty] =
        penalties.map(|penalty| penalty.filter(|number| !is_zero(number.get())));
    let path = fields.path().field("logit_bias");
    let logit_bias = match fields.raw("logit_bias") {
        Some(bias) if json::kind(bias) != Kind::Object => return Err(path.refuse("must be an object of numbers")),
        Some(bias) => Some(bias).filter(|bias| json::members(bias).next().is_some()).map(raw).transpose()?,
        None => None,
    };
    let top_k = fields.count("top_k", TOP_K_MAX)?;
    Ok(Sampling { temperature, top_p, top_k, seed, frequency_penalty, presence_penalty, logit_bias })
}

/// True for the JSON number 0, however it is written.
fn is_zero(number: &str) -> bool {
    let digits = number.split(['e', 'E']).next().unwrap_or_default();
    digits.chars().all(|c| matches!(c, '0' | '.' | '-'))
}

/// `n`: the number of choices, 1 to 128.
pub fn choices(fields: &mut Fields<'_, '_>) -> Result<u64, Refusal> {
    Ok(fields.count("n", CHOICES_MAX)?.unwrap_or(1))
}

/// `logprobs`, and `top_logprobs`, which requires it.
pub fn logprobs(fields: &mut Fields<'_, '_>) -> Result<Option<Logprobs>, Refusal> {
    let wanted = fields.boolean("logprobs")?.unwrap_or(false);
    match (wanted, top_logprobs(fields)?) {
        (true, top) => Ok(Some(Logprobs { top })),
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => Err(fields.path().field("top_logprobs").refuse("requires logprobs")),
    }
}

/// `top_logprobs`: 0 to 128.
pub fn top_logprobs(fields: &mut Fields<'_, '_>) -> Result<Option<u64>, Refusal> {
    let path = fields.path().field("top_logprobs");
    let top = fields.raw("top_logprobs").map(|value| match json::integer(value) {
        Some(top) if top <= TOP_LOGPROBS_MAX => Ok(top),
        _ => Err(path.refuse(format!("must be an integer from 0 to {TOP_LOGPROBS_MAX}"))),
    });
    top.transpose()
}

/// `stop`: a string, or up to 16 of them.
pub fn stop(fields: &mut Fields<'_, '_>) -> Result<Vec<String>, Refusal> {
    let path = fields.path().field("stop");
    let Some(value) = fields.raw("stop") else { return Ok(Vec::new()) };
    if json::kind(value) == Kind::String {
        return Ok(vec![fields::string(value, &path)?.into_owned()]);
    }
    fields::list(value, &path, LengthMax { max: STOP_MAX, things: "sequences" }, |element, path| {
        Ok(fields::string(element, path)?.into_owned())
    })
}

/// `metadata`: at most 16 pairs of strings, names of at most 64 characters, values of at most 512.
pub fn metadata(value: Option<&str>, path: &Path<'_>) -> Result<BTreeMap<String, String>, Refusal> {
    let mut metadata = BTreeMap::new();
    let Some(value) = value else { return Ok(metadata) };
    if json::kind(value) != Kind::Object {
        return Err(path.refuse("must be an object of strings"));
    }
    for member in json::members(value) {
        let member = member.map_err(|fault| path.fault(fault))?;
        let value_path = path.field(member.name());
        let text = fields::string(member.value, &value_path)?;
        if member.name().chars().count() > METADATA_KEY_MAX || text.chars().count() > METADATA_VALUE_MAX {
            return Err(value_path.refuse("must have a name of at most 64 and a value of at most 512 characters"));
        }
        if metadata.insert(member.name().to_owned(), text.into_owned()).is_some() {
            return Err(value_path.refuse("is given twice"));
        }
        if metadata.len() > METADATA_PAIRS_MAX {
            return Err(path.refuse(format!("has more than {METADATA_PAIRS_MAX} pairs")));
        }
    }
    Ok(metadata)
}

/// `response_format`: `{"type":"text"}`, `{"type":"json_object"}` or
/// `{"type":"json_schema","json_schema":{"name","description","schema","strict"}}`.
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
    let description = output_description(&mut fields);
    let schema = schema(&mut fields, "schema")?.ok_or_else(|| path.field("schema").refuse("is required"))?;
    fields.finish()?;
    Ok(ResponseFormat::JsonSchema { name, description, schema, strict })
}

/// A JSON Schema: an object, kept as received.
pub fn schema(fields: &mut Fields<'_, '_>, name: &str) -> Result<Option<Box<RawValue>>, Refusal> {
    match fields.raw(name) {
        Some(value) if json::kind(value) != Kind::Object => {
            Err(fields.path().field(name).refuse("must be a JSON Schema object"))
        }
        value => value.map(raw).transpose(),
    }
}

/// The `description` of an output format. One that is no string says nothing; the first version took it all the same.
pub fn output_description(format: &mut Fields<'_, '_>) -> Option<String> {
    json::string(format.raw("description")?).map(Into::into)
}

/// `name`, `description`, `parameters`, `strict`.
pub fn tool(fields: &mut Fields<'_, '_>) -> Result<Tool, Refusal> {
    Ok(Tool {
        name: fields.required_string("name")?.into_owned(),
        description: fields.string("description")?.map(Into::into),
        parameters: schema(fields, "parameters")?,
        strict: fields.boolean("strict")?,
        cache_point: None,
        has_hints: false,
    })
}

/// The mark of an object as the end of a prefix that is cached, if it has one.
pub fn cache_lifetime(fields: &mut Fields<'_, '_>) -> Result<Option<CacheLifetime>, Refusal> {
    let path = fields.path().field(CACHE_CONTROL);
    let Some(value) = fields.raw(CACHE_CONTROL) else { return Ok(None) };
    let ttl = Fields::read(value, &path)?.string("ttl")?;
    Ok(Some(if ttl.as_deref() == Some("1h") { CacheLifetime::Long } else { CacheLifetime::Short }))
}

/// A reasoning effort: one of [`EFFORTS`].
pub fn effort_of(text: &str, path: &Path<'_>) -> Result<Reasoning, Refusal> {
    effort(text, path).map(|effort| Reasoning::effort(&effort))
}

/// The same for a dialect that says apart whether to think.
pub fn effort(text: &str, path: &Path<'_>) -> Result<String, Refusal> {
    match EFFORTS.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(path.refuse(format!("must be one of {}", EFFORTS.join(", ")))),
    }
}

/// Checks calls and results for dialects that write the name of a call again with its result. Errors: a name that is
/// longer than that of any tool, or a call with two results, by which the name would be written without end. A call of an
/// earlier turn has no more results once there is one with its id in a later turn: the dialects forget it.
pub fn check_calls(chat: &ChatRequest) -> Result<(), Refusal> {
    // By id, which some providers give to several calls: the last turn with such calls, and those without a result so far.
    let mut open: HashMap<&str, (usize, usize)> = HashMap::new();
    let (mut turn, mut is_answered) = (0, false);
    for (at, message) in chat.messages.iter().enumerate() {
        for block in &message.content {
            let reason = match block {
                Block::ToolCall(call) if call.name.len() > CALL_NAME_BYTES_MAX => {
                    format!("has a tool call whose name is longer than {CALL_NAME_BYTES_MAX} bytes")
                }
                // No result can be matched to it, and some dialects leave it out.
                Block::ToolCall(call) if call.id.is_empty() && call.name.is_empty() => continue,
                Block::ToolCall(call) => {
                    turn += usize::from(std::mem::take(&mut is_answered));
                    let (last_turn, calls) = open.entry(&call.id).or_default();
                    *calls = if *last_turn == turn { *calls + 1 } else { 1 };
                    *last_turn = turn;
                    continue;
                }
                Block::ToolResult(result) => {
                    is_answered = true;
                    match open.get_mut(result.id.as_str()) {
                        Some((_, 0)) => "has a second result of one tool call".to_owned(),
                        Some((_, calls)) => {
                            *calls -= 1;
                            continue;
                        }
                        // Dialects that need the call refuse it themselves.
                        None => continue,
                    }
                }
                _ => continue,
            };
            return Err(Path::Root.field("messages").element(at).refuse(reason));
        }
    }
    Ok(())
}

/// Number of blocks or parts read so far. It is bounded because one takes far more memory than its JSON.
#[derive(Default)]
pub struct BlockCount(usize);

impl BlockCount {
    /// Counts one more. `things` is what the refusal calls them: `blocks`, `parts`.
    pub fn one_more(&mut self, things: &str) -> Result<(), Refusal> {
        self.0 += 1;
        match self.0 > BLOCKS_MAX {
            true => Err(Path::Root.field("messages").refuse(format!("has more than {BLOCKS_MAX} {things}"))),
            false => Ok(()),
        }
    }
}

impl ImageSource {
    /// Reads `http://…`, `https://…` or `data:MEDIA_TYPE;base64,…`.
    pub fn of_url(url: &str, path: &Path<'_>) -> Result<Self, Refusal> {
        match ImageUrl::of(url) {
            Some(ImageUrl::Remote) => Ok(Self::Url(url.to_owned())),
            Some(ImageUrl::Inline { media_type, base64: Some(base64) }) => Ok(Self::inline(media_type, base64.into())),
            Some(ImageUrl::Inline { base64: None, .. }) | None => {
                Err(path.refuse("must be an http or https URL, or the base64 data: URL of an image"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Message, Role, ToolCall, ToolResult};

    #[test]
    fn a_call_of_an_earlier_turn_makes_no_room_for_results_of_a_later_one() {
        // In capitals the id of a call, in small letters that of a result; `-` is a call without id and name.
        let check = |story: &str| {
            let call = |id: &str, name: &str| ToolCall {
                id: id.to_owned(),
                name: name.to_owned(),
                arguments: String::new(),
                signature: None,
            };
            let block = |letter: char| match letter {
                '-' => Block::ToolCall(call("", "")),
                'A'..='Z' => Block::ToolCall(call(&letter.to_ascii_lowercase().to_string(), "f")),
                _ => Block::ToolResult(ToolResult { id: letter.to_string(), content: Vec::new(), is_error: false }),
            };
            let message = |letter| Message { role: Role::Assistant, content: vec![block(letter)] };
            let messages = story.chars().map(message).collect();
            check_calls(&ChatRequest { messages, ..ChatRequest::default() }).is_ok()
        };
        for (story, is_right) in [
            ("AaAaBb", true),
            ("AABaab", true),
            ("AAaa", true),
            ("Aaa", false),
            ("AAaAaa", false),
            ("AABbAaa", false),
            ("AABbAa", true),
            ("a", true),
        ] {
            assert_eq!(check(story), is_right, "{story}");
        }
    }

    #[test]
    fn the_type_of_an_image_has_no_parameters() {
        let image = ImageSource::of_url("data:image/png;charset=utf-8;base64,YQ==", &Path::Root);
        assert!(matches!(image, Ok(ImageSource::Inline { media_type, .. }) if media_type == "image/png"));
    }
}
