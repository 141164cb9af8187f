//! Translates a client's Anthropic body into the intermediate form's request, for a target of another dialect.
//!
//! Refused, because the response would differ without them: tools that Anthropic defines or that only code may call,
//! citations, top-level fields that the intermediate form does not know, unless they are empty. Search results become text. Dropped on
//! purpose: [`HARMLESS`], and members of tools and blocks that only Anthropic's own tools have.

use std::borrow::Cow;
use std::collections::HashSet;

use events::refusal::Refusal;
use intermediate::chat::read::{self, MESSAGES_MAX, OUTPUT_TOKENS_MAX, STOP_MAX, TOOLS_MAX};
use intermediate::chat::{
    Block, ChatRequest, Document, DocumentSource, Image, ImageSource, Message, Reasoning, ReasoningBlock,
    ResponseFormat, Role, Sampling, Thinking, Tool, ToolCall, ToolChoice, ToolResult,
};
use intermediate::fields::{self, Fields, LengthMax, Path, is_empty};
use intermediate::json::{self, Kind, Member};

use super::billing_line::is_billing_line;
use super::content::{UNSIGNED, is_cited};
use super::priceable::is_search_of_tools;
use crate::documents;
use crate::priceable::asked_tier;

const NO_COUNTERPART: &str = "has no counterpart at this model's provider";

/// Fields without which the answer is a good one. Of `service_tier`, `speed` and `inference_geo`, only values without
/// effect get here; what `context_management` removes is not needed for a good answer. Without the verdicts that
/// `safeguards` asks for, Claude Code judges its tool calls by itself.
const HARMLESS: [&str; 7] =
    ["context_management", "diagnostics", "inference_geo", "max_tokens", "safeguards", "service_tier", "speed"];
/// Those of them that ask for something.
const LEFT_OUT: [&str; 3] = ["context_management", "diagnostics", "safeguards"];
/// A search among tools that are loaded later, by the name that these have.
const SEARCH: &str = "tools[]";

/// Translates a body that was read as a [`super::Request`] before.
pub fn canonical(text: &str) -> Result<ChatRequest, Refusal> {
    let mut fields = Fields::read(text, &Path::Root)?;
    let model = read::model(&mut fields)?;
    let mut messages = system(&mut fields)?;
    let prompts = messages.len();
    messages.extend(fields.list("messages", LengthMax { max: MESSAGES_MAX, things: "messages" }, message)?);
    if let Some(lifetime) = read::cache_lifetime(&mut fields)?
        && let Some(last) = messages.last_mut()
    {
        last.content.push(Block::CachePoint(lifetime));
    }
    let listed = fields.list("tools", LengthMax { max: TOOLS_MAX, things: "elements" }, tool)?;
    let has_search = listed.iter().any(Option::is_none);
    let has_instructions = messages.iter().skip(prompts).any(|message| message.role == Role::System);
    let inline = if has_instructions { inline_tools(text)? } else { Vec::new() };
    let mut number = |name| fields.number(name)?.map(read::raw).transpose();
    let [temperature, top_p] = [number("temperature")?, number("top_p")?];
    let top_k = fields.count("top_k", read::TOP_K_MAX)?;
    let (tool_choice, parallel_tool_calls) = tool_choice(&mut fields)?;
    let (response_format, effort) = output_config(&mut fields)?;
    let mut request = ChatRequest {
        model,
        messages,
        sampling: Sampling { temperature, top_p, top_k, ..Sampling::default() },
        choices: 1,
        logprobs: None,
        stop: fields.list("stop_sequences", LengthMax { max: STOP_MAX, things: "sequences" }, |element, path| {
            Ok(fields::string(element, path)?.into_owned())
        })?,
        stream: fields.boolean("stream")?.unwrap_or(false),
        tools: with_inline_tools(listed.into_iter().flatten().collect(), inline),
        tool_choice,
        parallel_tool_calls,
        response_format,
        reasoning: reasoning(&mut fields, effort)?,
        metadata: std::collections::BTreeMap::new(),
        user: user(&mut fields)?,
        service_tier: asked_tier(&mut fields),
        left_out: Vec::new(),
    };
    let is_asked_for = |name: &&str| fields.unread().any(|member| member.name() == *name && !is_empty(member.value));
    request.left_out = LEFT_OUT.into_iter().filter(is_asked_for).chain(has_search.then_some(SEARCH)).collect();
    let is_lost = |member: &&Member<'_>| !HARMLESS.contains(&member.name()) && !is_empty(member.value);
    match fields.unread().find(is_lost) {
        Some(lost) => Err(Path::Root.field(lost.name()).refuse(NO_COUNTERPART)),
        None => Ok(request),
    }
}

/// The system prompt as the first message, without what is for Anthropic alone; none if it is absent.
fn system(fields: &mut Fields<'_, '_>) -> Result<Vec<Message>, Refusal> {
    let path = fields.path().field("system");
    let Some(value) = fields.raw("system") else { return Ok(Vec::new()) };
    if json::kind(value) == Kind::String {
        return Ok(vec![Message { role: Role::System, content: content(value, &path)? }]);
    }
    let mut blocks = Vec::new();
    fields::elements(value, &path, |element, path| {
        let block = &mut Fields::read(element, path)?;
        add_block(block, &mut blocks)?;
        match blocks.pop_if(|block| block.text().is_some_and(is_billing_line)) {
            Some(_) => Ok(()),
            None => add_mark(block, &mut blocks),
        }
    })?;
    Ok(vec![Message { role: Role::System, content: blocks }])
}

fn message(text: &str, path: &Path<'_>) -> Result<Message, Refusal> {
    let fields = &mut Fields::read(text, path)?;
    let role = match &*fields.required_string("role")? {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => return Err(path.field("role").refuse(NO_COUNTERPART)),
    };
    let content_path = path.field("content");
    let value = fields.raw("content").ok_or_else(|| content_path.refuse("is required"))?;
    let content = content(value, &content_path)?;
    let is_input = |block: &Block| matches!(block, Block::Image(_) | Block::Document(_));
    if role == Role::Assistant && content.iter().any(is_input) {
        return Err(
            content_path.refuse("an image or a document of the assistant has no counterpart at this model's provider")
        );
    }
    Ok(Message { role, content })
}

/// A string, or blocks.
fn content(value: &str, path: &Path<'_>) -> Result<Vec<Block>, Refusal> {
    if json::kind(value) == Kind::String {
        return Ok(vec![Block::Text(fields::string(value, path)?.into_owned())]);
    }
    let mut blocks = Vec::new();
    fields::elements(value, path, |element, path| {
        let block = &mut Fields::read(element, path)?;
        add_block(block, &mut blocks)?;
        add_mark(block, &mut blocks)
    })?;
    Ok(blocks)
}

/// The mark of a cache after a block.
fn add_mark(block: &mut Fields<'_, '_>, blocks: &mut Vec<Block>) -> Result<(), Refusal> {
    blocks.extend(read::cache_lifetime(block)?.map(Block::CachePoint));
    Ok(())
}

/// Most blocks become one of the intermediate form's, a document with a context two.
fn add_block(block: &mut Fields<'_, '_>, blocks: &mut Vec<Block>) -> Result<(), Refusal> {
    let path = block.path();
    let read = match &*block.required_string("type")? {
        "text" => Block::Text(block.required_string("text")?.into_owned()),
        "image" => Block::Image(Image { source: image_source(block)?, detail: None }),
        "document" => {
            refuse_citations(block)?;
            blocks.extend(block.string("context")?.map(|context| Block::Text(context.into_owned())));
            return document(block, blocks);
        }
        "search_result" => return search_result(block, blocks),
        "tool_use" => Block::ToolCall(ToolCall {
            id: block.required_string("id")?.into_owned(),
            name: block.required_string("name")?.into_owned(),
            arguments: block.raw("input").unwrap_or("{}").to_owned(),
            signature: None,
        }),
        "tool_result" => Block::ToolResult(tool_result(block)?),
        // No longer than the block. A translation sends all tools at once.
        "tool_reference" => Block::Text(format!("Tool available: {}", block.required_string("tool_name")?)),
        "tool_addition" => Block::Text(tool_change(block, "Tool available")?),
        "tool_removal" => Block::Text(tool_change(block, "Tool withdrawn")?),
        "thinking" => Block::Reasoning(ReasoningBlock {
            text: block.required_string("thinking")?.into_owned(),
            signature: block
                .string("signature")?
                .filter(|signature| !matches!(&**signature, "" | UNSIGNED))
                .map(Into::into),
            redacted: None,
        }),
        "redacted_thinking" => Block::Reasoning(ReasoningBlock {
            text: String::new(),
            signature: None,
            redacted: Some(block.required_string("data")?.into_owned()),
        }),
        _ => return Err(path.field("type").refuse(NO_COUNTERPART)),
    };
    blocks.push(read);
    Ok(())
}

/// The text of a tool that a message offers or withdraws. One that is defined there is named in its definition alone, so that
/// the text is no longer than the block.
fn tool_change(block: &mut Fields<'_, '_>, change: &str) -> Result<String, Refusal> {
    let path = block.path().field("tool");
    let mut tool = Fields::read(block.raw("tool").ok_or_else(|| path.refuse("is required"))?, &path)?;
    match &*tool.required_string("type")? {
        "tool_reference" => Ok(format!("{change}: {}", tool.required_string("name")?)),
        "tool_definition" => Ok(change.to_owned()),
        _ => Err(path.field("type").refuse(NO_COUNTERPART)),
    }
}

/// The tools that messages of the role system define.
fn inline_tools(text: &str) -> Result<Vec<Tool>, Refusal> {
    let mut tools = Vec::new();
    let messages = json::field(text, "messages").unwrap_or("[]");
    fields::elements(messages, &Path::Root.field("messages"), |message, path| {
        let [role, content] = json::find(message, ["role", "content"]);
        let blocks = content.filter(|content| {
            json::kind(content) == Kind::Array && role.and_then(json::string).as_deref() == Some("system")
        });
        let Some(blocks) = blocks else { return Ok(()) };
        fields::elements(blocks, &path.field("content"), |block, path| {
            let [Some(changed)] = json::find(block, ["tool"]) else { return Ok(()) };
            let [definition] = json::find(changed, ["definition"]);
            let path = path.field("tool");
            tools.extend(
                definition.map(|definition| tool(definition, &path.field("definition"))).transpose()?.flatten(),
            );
            Ok(())
        })
    })?;
    Ok(tools)
}

/// All tools, of each name the last.
fn with_inline_tools(listed: Vec<Tool>, inline: Vec<Tool>) -> Vec<Tool> {
    if inline.is_empty() {
        return listed;
    }
    let mut names = HashSet::new();
    let newest_first = listed.into_iter().chain(inline).rev();
    let mut tools: Vec<_> = newest_first.filter(|tool| names.insert(tool.name.clone())).collect();
    tools.reverse();
    tools
}

fn refuse_citations(block: &mut Fields<'_, '_>) -> Result<(), Refusal> {
    let path = block.path().field("citations");
    if is_cited(block)? { Err(path.refuse(NO_COUNTERPART)) } else { Ok(()) }
}

fn tool_result(block: &mut Fields<'_, '_>) -> Result<ToolResult, Refusal> {
    let id = block.required_string("tool_use_id")?.into_owned();
    let is_error = block.boolean("is_error")?.unwrap_or(false);
    let path = block.path().field("content");
    let content = block.raw("content").map_or_else(|| Ok(Vec::new()), |value| content(value, &path))?;
    Ok(ToolResult { id, content, is_error })
}

fn image_source(block: &mut Fields<'_, '_>) -> Result<ImageSource, Refusal> {
    let path = block.path().field("source");
    let source = &mut Fields::read(block.raw("source").ok_or_else(|| path.refuse("is required"))?, &path)?;
    match &*source.required_string("type")? {
        "base64" => {
            let media_type = source.required_string("media_type")?;
            Ok(ImageSource::inline(&media_type, source.required_string("data")?))
        }
        "url" => Ok(ImageSource::Url(source.required_string("url")?.into_owned())),
        _ => Err(path.field("type").refuse(NO_COUNTERPART)),
    }
}

fn document(block: &mut Fields<'_, '_>, blocks: &mut Vec<Block>) -> Result<(), Refusal> {
    let title = block.string("title")?.map(Into::into);
    let path = block.path().field("source");
    let source = &mut Fields::read(block.raw("source").ok_or_else(|| path.refuse("is required"))?, &path)?;
    let source = match &*source.required_string("type")? {
        "base64" => {
            let (media_type, data) = (source.required_string("media_type")?, source.required_string("data")?);
            documents::of_base64(&media_type, &data, &path.field("media_type"))?.source()
        }
        "url" => DocumentSource::Url(source.required_string("url")?.into_owned()),
        "text" => DocumentSource::Text(source.required_string("data")?.into_owned()),
        "content" => {
            let content_path = path.field("content");
            let value = source.raw("content").ok_or_else(|| content_path.refuse("is required"))?;
            blocks.extend(title.map(Block::Text));
            blocks.extend(content(value, &content_path)?);
            return Ok(());
        }
        _ => return Err(path.field("type").refuse(NO_COUNTERPART)),
    };
    blocks.push(Block::Document(Document { source, title }));
    Ok(())
}

/// The title, the source and the texts of a search result, in lines, and its images after them.
fn search_result(block: &mut Fields<'_, '_>, blocks: &mut Vec<Block>) -> Result<(), Refusal> {
    refuse_citations(block)?;
    let mut lines = vec![block.required_string("title")?.into_owned(), block.required_string("source")?.into_owned()];
    let path = block.path().field("content");
    let content = block.raw("content").map_or_else(|| Ok(Vec::new()), |value| content(value, &path))?;
    let mut others = Vec::new();
    for block in content {
        match block {
            Block::Text(text) => lines.push(text),
            other => others.push(other),
        }
    }
    blocks.push(Block::Text(lines.join("\n")));
    blocks.append(&mut others);
    Ok(())
}

/// A tool; `None` for a search among tools that are loaded later, because a translation sends them at once.
fn tool(text: &str, path: &Path<'_>) -> Result<Option<Tool>, Refusal> {
    let mut fields = Fields::read(text, path)?;
    match fields.string("type")?.as_deref() {
        None | Some("custom") => {}
        Some(kind) if is_search_of_tools(kind) => return Ok(None),
        Some(_) => return Err(path.field("type").refuse(NO_COUNTERPART)),
    }
    refuse_indirect(&mut fields)?;
    // The answer is a good one if a tool comes without examples, and at once.
    let has_hints = ["input_examples", "defer_loading"]
        .into_iter()
        .any(|name| fields.raw(name).is_some_and(|value| value != "false" && !is_empty(value)));
    Ok(Some(Tool {
        name: fields.required_string("name")?.into_owned(),
        description: fields.string("description")?.map(Into::into),
        parameters: read::schema(&mut fields, "input_schema")?,
        strict: fields.boolean("strict")?,
        cache_point: read::cache_lifetime(&mut fields)?,
        has_hints,
    }))
}

/// `allowed_callers`: refused if the model itself may not call the tool.
fn refuse_indirect(fields: &mut Fields<'_, '_>) -> Result<(), Refusal> {
    let path = fields.path().field("allowed_callers");
    let Some(value) = fields.raw("allowed_callers").filter(|value| !is_empty(value)) else { return Ok(()) };
    let mut is_direct = false;
    fields::elements(value, &path, |caller, path| {
        is_direct |= fields::string(caller, path)? == "direct";
        Ok(())
    })?;
    if is_direct { Ok(()) } else { Err(path.refuse(NO_COUNTERPART)) }
}

/// The choice, and whether several calls are allowed.
fn tool_choice(fields: &mut Fields<'_, '_>) -> Result<(Option<ToolChoice>, Option<bool>), Refusal> {
    let path = Path::Root.field("tool_choice");
    let Some(value) = fields.raw("tool_choice") else { return Ok((None, None)) };
    let mut choice = Fields::read(value, &path)?;
    let read = match &*choice.required_string("type")? {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Named(choice.required_string("name")?.into_owned()),
        _ => return Err(path.field("type").refuse("must be auto, any, none or tool")),
    };
    let is_single = choice.boolean("disable_parallel_tool_use")?;
    Ok((Some(read), is_single.filter(|is_single| *is_single).map(|_| false)))
}

/// The output format, which was a field of its own before, and the effort.
fn output_config(fields: &mut Fields<'_, '_>) -> Result<(Option<ResponseFormat>, Option<String>), Refusal> {
    let old = fields.raw("output_format").map(|value| format(value, &Path::Root.field("output_format"))).transpose()?;
    let path = Path::Root.field("output_config");
    let Some(value) = fields.raw("output_config") else { return Ok((old, None)) };
    let mut config = Fields::read(value, &path)?;
    let effort = config.string("effort")?.map(|text| read::effort(&text, &path.field("effort"))).transpose()?;
    let given = config.raw("format").map(|value| format(value, &path.field("format"))).transpose()?;
    match config.unread().find(|member| !is_empty(member.value)) {
        Some(lost) => Err(path.field(lost.name()).refuse(NO_COUNTERPART)),
        None => Ok((given.or(old), effort)),
    }
}

fn format(value: &str, path: &Path<'_>) -> Result<ResponseFormat, Refusal> {
    let mut format = Fields::read(value, path)?;
    if format.required_string("type")? != "json_schema" {
        return Err(path.field("type").refuse("must be json_schema"));
    }
    let schema = read::schema(&mut format, "schema")?.ok_or_else(|| path.field("schema").refuse("is required"))?;
    Ok(ResponseFormat::JsonSchema { name: None, description: None, schema, strict: Some(true) })
}

/// Whether and how hard to think. Without `thinking` some of the models think, and others do not.
fn reasoning(fields: &mut Fields<'_, '_>, effort: Option<String>) -> Result<Option<Reasoning>, Refusal> {
    let path = Path::Root.field("thinking");
    let Some(value) = fields.raw("thinking") else {
        return Ok(effort.map(|effort| Reasoning { effort: Some(effort), ..Reasoning::default() }));
    };
    let mut thinking = Fields::read(value, &path)?;
    let kind: Cow<'_, str> = thinking.required_string("type")?;
    let mode = match &*kind {
        "enabled" => {
            let budget = thinking.count("budget_tokens", OUTPUT_TOKENS_MAX)?;
            let budget = budget.ok_or_else(|| path.field("budget_tokens").refuse("is required"))?;
            Thinking::BudgetTokens(budget)
        }
        "adaptive" => Thinking::Adaptive,
        "disabled" => Thinking::Off,
        _ => return Err(path.field("type").refuse("must be enabled, adaptive or disabled")),
    };
    Ok(Some(Reasoning { thinking: Some(mode), effort, display: thinking.string("display")?.map(Into::into) }))
}

fn user(fields: &mut Fields<'_, '_>) -> Result<Option<String>, Refusal> {
    let path = Path::Root.field("metadata");
    let Some(value) = fields.raw("metadata") else { return Ok(None) };
    Ok(Fields::read(value, &path)?.string("user_id")?.map(Into::into))
}
