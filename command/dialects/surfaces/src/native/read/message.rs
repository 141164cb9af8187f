//! Messages of a native request, and their blocks.

use events::refusal::Refusal;
use intermediate::chat::read::{BlockCount, MESSAGES_MAX};
use intermediate::chat::{Block, Image, ImageSource, Message, ReasoningBlock, Role, ToolCall, ToolResult, is_image};
use intermediate::fields::{self, Fields, LengthMax, Path};
use intermediate::json::{self, Kind};

pub fn read_all(fields: &mut Fields<'_, '_>) -> Result<Vec<Message>, Refusal> {
    let path = fields.path().field("messages");
    let value = fields.raw("messages").ok_or_else(|| path.refuse("is required"))?;
    let mut count = BlockCount::default();
    let read = |element, path: &Path<'_>| message(element, path, &mut count);
    let messages = fields::list(value, &path, LengthMax { max: MESSAGES_MAX, things: "messages" }, read)?;
    if messages.is_empty() {
        return Err(path.refuse("must not be empty"));
    }
    Ok(messages)
}

fn message(text: &str, path: &Path<'_>, count: &mut BlockCount) -> Result<Message, Refusal> {
    let mut fields = Fields::read(text, path)?.refuse_unknown(&["role", "content"], &[])?;
    let role = role(&mut fields)?;
    let content_path = path.field("content");
    let value = fields.raw("content").ok_or_else(|| content_path.refuse("is required"))?;
    let content = content(value, &content_path, count)?;
    for (index, block) in content.iter().enumerate() {
        if !may_contain(role, block) {
            let at = if json::kind(value) == Kind::Array { content_path.element(index) } else { content_path };
            return Err(at.refuse(allowed_content(role)));
        }
    }
    Ok(Message { role, content })
}

fn role(fields: &mut Fields<'_, '_>) -> Result<Role, Refusal> {
    match &*fields.required_string("role")? {
        "system" => Ok(Role::System),
        "user" => Ok(Role::User),
        "assistant" => Ok(Role::Assistant),
        "tool" => Ok(Role::Tool),
        _ => Err(fields.path().field("role").refuse("must be system, user, assistant or tool")),
    }
}

const fn may_contain(role: Role, block: &Block) -> bool {
    match block {
        Block::Text(_) => !matches!(role, Role::Tool),
        Block::Image(_) => matches!(role, Role::User),
        Block::ToolCall(_) | Block::Reasoning(_) => matches!(role, Role::Assistant),
        Block::Document(_) | Block::CachePoint(_) => false,
        Block::ToolResult(_) => matches!(role, Role::Tool | Role::User),
    }
}

const fn allowed_content(role: Role) -> &'static str {
    match role {
        Role::System => "a system message takes text",
        Role::User => "a user message takes text, images and tool results",
        Role::Assistant => "an assistant message takes text, tool calls and reasoning",
        Role::Tool => "a tool message takes blocks of type tool_result",
    }
}

/// A string, or blocks.
fn content(value: &str, path: &Path<'_>, count: &mut BlockCount) -> Result<Vec<Block>, Refusal> {
    if json::kind(value) == Kind::String {
        return Ok(vec![Block::Text(fields::string(value, path)?.into_owned())]);
    }
    if json::kind(value) != Kind::Array {
        return Err(path.refuse("must be a string or an array of blocks"));
    }
    let mut blocks = Vec::new();
    fields::elements(value, path, |element, path| {
        count.one_more("blocks")?;
        blocks.push(block(element, path, count)?);
        Ok(())
    })?;
    Ok(blocks)
}

/// Fields of a block besides its `type`.
const BLOCK_FIELDS: [(&str, &[&str]); 5] = [
    ("text", &["text"]),
    ("image", &["url", "data", "media_type", "detail"]),
    ("tool_call", &["id", "name", "arguments", "arguments_raw", "signature"]),
    ("tool_result", &["id", "content", "is_error"]),
    ("reasoning", &["text", "signature", "redacted"]),
];

fn block(text: &str, path: &Path<'_>, count: &mut BlockCount) -> Result<Block, Refusal> {
    let mut fields = Fields::read(text, path)?;
    let kind = fields.required_string("type")?;
    if let Some((_, names)) = BLOCK_FIELDS.iter().find(|(of, _)| *of == kind) {
        fields = fields.refuse_unknown(names, &[])?;
    }
    Ok(match &*kind {
        "text" => Block::Text(fields.required_string("text")?.into_owned()),
        "image" => Block::Image(image(&mut fields)?),
        "tool_call" => Block::ToolCall(tool_call(&mut fields)?),
        "tool_result" => Block::ToolResult(tool_result(&mut fields, count)?),
        "reasoning" => Block::Reasoning(reasoning(&mut fields)?),
        _ => return Err(path.field("type").refuse("must be text, image, tool_call, tool_result or reasoning")),
    })
}

/// `url` (`http`, `https` or `data:`), or `media_type` and `data` in base64; optionally `detail`.
fn image(fields: &mut Fields<'_, '_>) -> Result<Image, Refusal> {
    let url = fields.string("url")?;
    let data = fields.string("data")?;
    let media_type = fields.string("media_type")?;
    let detail = fields.string("detail")?.map(Into::into);
    let source = match (url, media_type, data) {
        (Some(url), None, None) => ImageSource::of_url(&url, &fields.path().field("url"))?,
        (None, Some(media_type), Some(data)) if is_image(&media_type) => ImageSource::inline(&media_type, data),
        (None, Some(_), Some(_)) => return Err(fields.path().field("media_type").refuse("must be image/…")),
        _ => return Err(fields.path().refuse("must have either url, or media_type and data")),
    };
    Ok(Image { source, detail })
}

/// `id`, `name`, and `arguments` (JSON) or `arguments_raw` (text that does not parse); `signature` as the response had it.
fn tool_call(fields: &mut Fields<'_, '_>) -> Result<ToolCall, Refusal> {
    let id = fields.required_string("id")?.into_owned();
    let name = fields.required_string("name")?.into_owned();
    let arguments = match (fields.raw("arguments"), fields.string("arguments_raw")?) {
        (Some(arguments), None) => arguments.to_owned(),
        (None, Some(raw)) => raw.into_owned(),
        (None, None) => "{}".to_owned(),
        (Some(_), Some(_)) => return Err(fields.path().refuse("must not have both arguments and arguments_raw")),
    };
    let signature = fields.string("signature")?.map(Into::into);
    Ok(ToolCall { id, name, arguments, signature })
}

/// `id`, `content` (a string, text and image blocks, or JSON), `is_error`.
fn tool_result(fields: &mut Fields<'_, '_>, count: &mut BlockCount) -> Result<ToolResult, Refusal> {
    let id = fields.required_string("id")?.into_owned();
    let is_error = fields.boolean("is_error")?.unwrap_or(false);
    let path = fields.path().field("content");
    let content = match fields.raw("content") {
        None => Vec::new(),
        Some(value) if json::kind(value) == Kind::String || is_blocks(value) => content(value, &path, count)?,
        Some(value) => vec![Block::Text(value.to_owned())],
    };
    Ok(ToolResult { id, content, is_error })
}

/// True for an array whose elements all have the type of a block. A tool's result may also be an array of other JSON.
fn is_blocks(value: &str) -> bool {
    let is_block = |element: &str| {
        matches!(json::field(element, "type").and_then(json::string).as_deref(), Some("text" | "image"))
    };
    json::kind(value) == Kind::Array && json::elements(value).all(|element| element.is_ok_and(is_block))
}

/// `text`, and `signature` or `redacted` as the response had them.
fn reasoning(fields: &mut Fields<'_, '_>) -> Result<ReasoningBlock, Refusal> {
    Ok(ReasoningBlock {
        text: fields.string("text")?.unwrap_or_default().into_owned(),
        signature: fields.string("signature")?.map(Into::into),
        redacted: fields.string("redacted")?.map(Into::into),
    })
}
