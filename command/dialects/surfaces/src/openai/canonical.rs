//! Translates a client's OpenAI body into the intermediate form's request, for a target of another dialect.
//!
//! Refused, because the response would differ without them: the deprecated `functions` and their calls, custom tools, tool
//! lists in `tool_choice`, the beginning of an answer (`prefix`, `partial`), references, and top-level fields that the intermediate form
//! does not know, unless they are empty. Dropped on purpose: [`HARMLESS`], names of participants, and unknown members of
//! messages. `cache_control` is read where the clients of gateways have it: in parts, calls, messages and tools, and at
//! the top.

use std::borrow::Cow;

use events::refusal::Refusal;
use intermediate::chat::read::{self, BLOCKS_MAX, MESSAGES_MAX, OUTPUT_TOKENS_MAX, TOOLS_MAX};
use intermediate::chat::{
    Block, ChatRequest, Document, Image, ImageSource, Message, NO_EFFORT, Reasoning, ReasoningBlock, Role, Thinking,
    Tool, ToolCall, ToolChoice, ToolResult,
};
use intermediate::fields::{self, Fields, LengthMax, Path};
use intermediate::json::{self, Kind, Member};

use crate::documents;
use crate::priceable::asked_tier;

const NO_COUNTERPART: &str = "has no counterpart at this model's provider";

/// Fields without which the answer is a good one. The cap, `metadata` and `stream_options` have been read already; of
/// `modalities` and `service_tier`, only values without effect get here.
const HARMLESS: [&str; 11] = [
    "max_completion_tokens", "max_tokens", "metadata", "modalities", "prompt_cache_key", "prompt_cache_retention",
    "safety_identifier", "service_tier", "store", "stream_options", "verbosity",
];

/// Those of them that ask for something.
const LEFT_OUT: [&str; 5] = ["prompt_cache_key", "prompt_cache_retention", "safety_identifier", "store", "verbosity"];
const NAMES: &str = "messages[].name";

/// Translates a body that was read as a [`super::Request`] before.
pub fn canonical(text: &str) -> Result<ChatRequest, Refusal> {
    let mut fields = Fields::read(text, &Path::Root)?;
    refuse_untranslatable(&mut fields)?;
    let mut left_out = Vec::new();
    let mut messages = fields.list("messages", LengthMax { max: MESSAGES_MAX, things: "messages" }, |text, path| {
        message(text, path, &mut left_out)
    })?;
    if let Some(lifetime) = read::cache_lifetime(&mut fields)?
        && let Some(last) = messages.last_mut()
    {
        last.content.push(Block::CachePoint(lifetime));
    }
    let mut request = ChatRequest {
        model: read::model(&mut fields)?,
        messages,
        sampling: read::sampling(&mut fields)?,
        choices: read::choices(&mut fields)?,
        logprobs: read::logprobs(&mut fields)?,
        stop: read::stop(&mut fields)?,
        stream: fields.boolean("stream")?.unwrap_or(false),
        tools: fields.list("tools", LengthMax { max: TOOLS_MAX, things: "elements" }, tool)?,
        tool_choice: tool_choice(&mut fields)?,
        parallel_tool_calls: fields.boolean("parallel_tool_calls")?,
        response_format: read::response_format(&mut fields)?,
        reasoning: reasoning(&mut fields)?,
        metadata: std::collections::BTreeMap::new(),
        user: fields.string("user")?.map(Into::into),
        service_tier: asked_tier(&mut fields),
        left_out: Vec::new(),
    };
    let is_asked_for =
        |name: &&str| fields.unread().any(|member| member.name() == *name && !fields::is_empty(member.value));
    left_out.extend(LEFT_OUT.into_iter().filter(is_asked_for));
    request.left_out = left_out;
    let is_lost = |member: &&Member<'_>| !HARMLESS.contains(&member.name()) && !fields::is_empty(member.value);
    match fields.unread().find(is_lost) {
        Some(lost) => Err(Path::Root.field(lost.name()).refuse(NO_COUNTERPART)),
        None => Ok(request),
    }
}

/// `reasoning_effort`, or what compatible servers have for it: OpenRouter's `reasoning` (`effort` or `max_tokens`), and
/// `thinking` (`type` and `budget_tokens`).
fn reasoning(fields: &mut Fields<'_, '_>) -> Result<Option<Reasoning>, Refusal> {
    let mut found: Option<Reasoning> = None;
    for name in ["reasoning_effort", "reasoning", "thinking"] {
        let path = Path::Root.field(name);
        let Some(value) = fields.raw(name) else { continue };
        let read = match json::kind(value) {
            Kind::Object => reasoning_object(value, &path)?,
            _ if name == "reasoning_effort" => Some(read::effort_of(&fields::string(value, &path)?, &path)?),
            _ => return Err(path.refuse("must be an object")),
        };
        if let (Some(_), Some(_)) = (&read, &found) {
            return Err(path.refuse("cannot be given beside another field for reasoning"));
        }
        found = found.or(read);
    }
    Ok(found)
}

fn reasoning_object(value: &str, path: &Path<'_>) -> Result<Option<Reasoning>, Refusal> {
    let mut fields = Fields::read(value, path)?;
    let effort = fields.string("effort")?.map(|text| read::effort_of(&text, &path.field("effort"))).transpose()?;
    let tokens = [fields.count("budget_tokens", OUTPUT_TOKENS_MAX)?, fields.count("max_tokens", OUTPUT_TOKENS_MAX)?];
    let (enabled, kind) = (fields.boolean("enabled")?, fields.string("type")?);
    let is_on = enabled == Some(true) || kind.as_deref() == Some("enabled");
    let is_adaptive = kind.as_deref() == Some("adaptive");
    fields.finish()?;
    let thinking = |mode| Reasoning { thinking: Some(mode), ..Reasoning::default() };
    match (effort, tokens) {
        _ if kind.as_deref() == Some("disabled") => Ok(Some(thinking(Thinking::Off))),
        _ if enabled == Some(false) => Ok(Some(Reasoning::effort(NO_EFFORT))),
        (Some(effort), [None, None]) => Ok(Some(effort)),
        (None, [Some(tokens), None] | [None, Some(tokens)]) => Ok(Some(Reasoning::budget(tokens))),
        (None, [None, None]) if is_adaptive => Ok(Some(thinking(Thinking::Adaptive))),
        // As OpenRouter documents it.
        (None, [None, None]) if is_on => Ok(Some(Reasoning::effort("medium"))),
        (None, [None, None]) => Ok(None),
        _ => Err(path.refuse("must have one of effort, budget_tokens and max_tokens")),
    }
}

fn refuse_untranslatable(fields: &mut Fields<'_, '_>) -> Result<(), Refusal> {
    for (name, harmless) in [("functions", &["[]"] as &[&str]), ("function_call", &[r#""auto""#, r#""none""#])] {
        if fields.raw(name).is_some_and(|value| !harmless.contains(&value)) {
            return Err(Path::Root.field(name).refuse(NO_COUNTERPART));
        }
    }
    Ok(())
}

/// Errors: a member of a message without which the conversation is another one.
fn refuse_untranslatable_member(fields: &mut Fields<'_, '_>) -> Result<(), Refusal> {
    for name in ["function_call", "prefix", "partial"] {
        if fields.raw(name).is_some_and(|value| value != "false") {
            return Err(fields.path().field(name).refuse(NO_COUNTERPART));
        }
    }
    Ok(())
}

fn message(text: &str, path: &Path<'_>, left_out: &mut Vec<&'static str>) -> Result<Message, Refusal> {
    let fields = &mut Fields::read(text, path)?;
    let role = match &*fields.required_string("role")? {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        _ => return Err(path.field("role").refuse(NO_COUNTERPART)),
    };
    refuse_untranslatable_member(fields)?;
    let mut content = content(fields)?;
    if role != Role::Assistant && content.iter().any(|block| matches!(block, Block::Reasoning(_))) {
        return Err(path.field("content").refuse("has thoughts, which only the assistant has"));
    }
    // A result's name is that of its function, which its call has.
    if role != Role::Tool && !left_out.contains(&NAMES) && fields.string("name")?.is_some_and(|name| !name.is_empty()) {
        left_out.push(NAMES);
    }
    match role {
        Role::Tool => {
            let id = fields.required_string("tool_call_id")?.into_owned();
            // A mark of a part is one of the result, which is cached as a whole.
            let mark = content.extract_if(.., |block| matches!(block, Block::CachePoint(_))).last();
            content = vec![Block::ToolResult(ToolResult { id, content, is_error: false })];
            content.extend(mark);
        }
        Role::Assistant => {
            if let Some(refusal) = fields.string("refusal")?.filter(|refusal| !refusal.is_empty()) {
                content.push(Block::Text(refusal.into_owned()));
            }
            // Before the text and the calls, as it was said.
            let thoughts = fields.string("reasoning_content")?.or(fields.string("reasoning")?);
            if let Some(text) = thoughts.filter(|text| !text.is_empty()) {
                let text = text.into_owned();
                content.insert(0, Block::Reasoning(ReasoningBlock { text, signature: None, redacted: None }));
            }
            content.extend(
                fields
                    .list("tool_calls", LengthMax { max: BLOCKS_MAX, things: "parts" }, tool_call)?
                    .into_iter()
                    .flatten()
                    .flatten(),
            );
        }
        Role::System | Role::User => {}
    }
    if matches!(role, Role::System | Role::Assistant) && content.iter().any(|block| matches!(block, Block::Document(_)))
    {
        return Err(path.field("content").refuse("a file of this role has no counterpart at this model's provider"));
    }
    content.extend(read::cache_lifetime(fields)?.map(Block::CachePoint));
    Ok(Message { role, content })
}

fn content(fields: &mut Fields<'_, '_>) -> Result<Vec<Block>, Refusal> {
    let path = fields.path().field("content");
    let Some(value) = fields.raw("content") else { return Ok(Vec::new()) };
    if json::kind(value) == Kind::String {
        return Ok(vec![Block::Text(fields::string(value, &path)?.into_owned())]);
    }
    let mut blocks = Vec::new();
    fields::elements(value, &path, |element, path| {
        if json::kind(element) == Kind::String {
            blocks.push(Block::Text(fields::string(element, path)?.into_owned()));
            return Ok(());
        }
        let mut part = Fields::read(element, path)?;
        match &*part.required_string("type")? {
            kind @ ("text" | "refusal") => blocks.push(Block::Text(part.required_string(kind)?.into_owned())),
            "image_url" => blocks.push(Block::Image(image(&mut part)?)),
            "thinking" | "reasoning" => blocks.extend(thoughts(&mut part)?),
            "file" => blocks.push(Block::Document(document(&mut part)?)),
            _ => return Err(path.field("type").refuse(NO_COUNTERPART)),
        }
        blocks.extend(read::cache_lifetime(&mut part)?.map(Block::CachePoint));
        Ok(())
    })?;
    Ok(blocks)
}

/// The text of a thought: a string, or Mistral's list of texts.
fn thoughts(part: &mut Fields<'_, '_>) -> Result<Option<Block>, Refusal> {
    let mut text = String::new();
    for name in ["text", "thinking", "reasoning"] {
        let path = part.path().field(name);
        match part.raw(name) {
            Some(value) if json::kind(value) == Kind::Array => fields::elements(value, &path, |element, path| {
                text.push_str(&Fields::read(element, path)?.string("text")?.unwrap_or_default());
                Ok(())
            })?,
            Some(value) => text.push_str(&fields::string(value, &path)?),
            None => {}
        }
    }
    let block = ReasoningBlock { text, signature: None, redacted: None };
    Ok(Some(block).filter(|block| !block.text.is_empty()).map(Block::Reasoning))
}

/// `file`: `file_data`, a `data:` URL, and `filename`.
fn document(part: &mut Fields<'_, '_>) -> Result<Document, Refusal> {
    let path = part.path().field("file");
    let mut file = Fields::read(part.raw("file").ok_or_else(|| path.refuse("is required"))?, &path)?;
    let data = file.required_string("file_data")?;
    let source = documents::of_data_url(&data, &path.field("file_data"))?.source();
    Ok(Document { source, title: file.string("filename")?.map(Into::into) })
}

fn image(part: &mut Fields<'_, '_>) -> Result<Image, Refusal> {
    let path = part.path().field("image_url");
    let value = part.raw("image_url").ok_or_else(|| path.refuse("is required"))?;
    if json::kind(value) == Kind::String {
        return Ok(Image { source: ImageSource::of_url(&fields::string(value, &path)?, &path)?, detail: None });
    }
    let mut fields = Fields::read(value, &path)?;
    let source = ImageSource::of_url(&fields.required_string("url")?, &path.field("url"))?;
    Ok(Image { source, detail: fields.string("detail")?.map(Into::into) })
}

/// The call, and the mark for caching behind it.
fn tool_call(text: &str, path: &Path<'_>) -> Result<[Option<Block>; 2], Refusal> {
    let mut call = Fields::read(text, path)?;
    let id = call.required_string("id")?.into_owned();
    let function_path = path.field("function");
    let mut function = Fields::read(function_of(&mut call)?, &function_path)?;
    let (mark, inner) = (read::cache_lifetime(&mut call)?, read::cache_lifetime(&mut function)?);
    let block = Block::ToolCall(ToolCall {
        id,
        name: function.required_string("name")?.into_owned(),
        arguments: function.string("arguments")?.unwrap_or_default().into_owned(),
        signature: signature(&mut call)?,
    });
    Ok([Some(block), mark.or(inner).map(Block::CachePoint)])
}

/// `extra_content.google.thought_signature`, where Google's own OpenAI endpoint has it.
fn signature(call: &mut Fields<'_, '_>) -> Result<Option<String>, Refusal> {
    let path = call.path().field("extra_content");
    let Some(extra) = call.raw("extra_content") else { return Ok(None) };
    let google_path = path.field("google");
    let Some(google) = Fields::read(extra, &path)?.raw("google") else { return Ok(None) };
    let signature = Fields::read(google, &google_path)?.string("thought_signature")?;
    Ok(signature.filter(|signature| !signature.is_empty()).map(Into::into))
}

/// The `function` of a tool, a call or a choice whose type is `function` or absent.
fn function_of<'a>(fields: &mut Fields<'a, '_>) -> Result<&'a str, Refusal> {
    match fields.string("type")? {
        Some(kind) if kind != "function" => Err(fields.path().field("type").refuse(NO_COUNTERPART)),
        _ => fields.raw("function").ok_or_else(|| fields.path().field("function").refuse("is required")),
    }
}

fn tool(text: &str, path: &Path<'_>) -> Result<Tool, Refusal> {
    let mut fields = Fields::read(text, path)?;
    let function_path = path.field("function");
    let mut function = Fields::read(function_of(&mut fields)?, &function_path)?;
    let tool = read::tool(&mut function)?;
    let (mark, inner) = (read::cache_lifetime(&mut fields)?, read::cache_lifetime(&mut function)?);
    Ok(Tool { cache_point: mark.or(inner), ..tool })
}

fn tool_choice(fields: &mut Fields<'_, '_>) -> Result<Option<ToolChoice>, Refusal> {
    let path = Path::Root.field("tool_choice");
    let Some(value) = fields.raw("tool_choice") else { return Ok(None) };
    if json::kind(value) == Kind::Object {
        let function_path = path.field("function");
        let function = function_of(&mut Fields::read(value, &path)?)?;
        let name: Cow<'_, str> = Fields::read(function, &function_path)?.required_string("name")?;
        return Ok(Some(ToolChoice::Named(name.into_owned())));
    }
    match &*fields::string(value, &path)? {
        "auto" => Ok(Some(ToolChoice::Auto)),
        "none" => Ok(Some(ToolChoice::None)),
        "required" | "any" => Ok(Some(ToolChoice::Required)),
        _ => Err(path.refuse("must be auto, none, required or a function")),
    }
}
