//! Writes the intermediate form's messages as Converse's.
//!
//! Consecutive messages of one role become one message, with the results of tools first. Cache points go where the model takes them.
//!
//! Without definitions of tools, Converse refuses calls and results in the conversation, and it cannot be told to call
//! none. Then they become text: `[call ID of NAME: ARGUMENTS]` and `[result of call ID]`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use events::refusal::Refusal;
use intermediate::chat::{
    Block, CacheLifetime, ChatRequest, Document, DocumentSource, Image, ImageSource, ReasoningBlock, Role, ToolCall,
    ToolResult,
};
use intermediate::fields::Path;
use serde::Serialize;
use serde_json::value::RawValue;

use super::family::Family;
use super::names;
use crate::turns::{self, ConversationTurn, unless_blank};

/// A message of Converse.
#[derive(Serialize)]
pub struct ConverseMessage<'a> {
    role: &'static str,
    content: Vec<BedrockContentBlock<'a>>,
}

/// A block of a message, of a tool's result, or of the system prompt.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub enum BedrockContentBlock<'a> {
    Text(Cow<'a, str>),
    Image(ImageBlock<'a>),
    Document(DocumentBlock<'a>),
    #[serde(rename_all = "camelCase")]
    ToolUse {
        tool_use_id: Cow<'a, str>,
        name: Cow<'a, str>,
        input: Cow<'a, RawValue>,
    },
    #[serde(rename_all = "camelCase")]
    ToolResult {
        tool_use_id: Cow<'a, str>,
        content: Vec<BedrockContentBlock<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<&'static str>,
    },
    ReasoningContent(ReasoningContent<'a>),
    CachePoint(CachePoint),
}

#[derive(Serialize)]
pub struct ImageBlock<'a> {
    format: &'static str,
    source: Source<'a>,
}

#[derive(Serialize)]
pub struct DocumentBlock<'a> {
    format: &'static str,
    name: String,
    source: Source<'a>,
}

#[derive(Serialize)]
struct Source<'a> {
    /// In base64.
    bytes: Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ReasoningContent<'a> {
    ReasoningText {
        text: &'a str,
        signature: &'a str,
    },
    /// In base64, as the response had it.
    RedactedContent(&'a str),
}

#[derive(Serialize)]
pub struct CachePoint {
    r#type: &'static str,
    /// Absent for five minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'static str>,
}

impl CachePoint {
    pub fn of(lifetime: CacheLifetime, family: Family) -> Self {
        let ttl = Some("1h").filter(|_| lifetime == CacheLifetime::Long && family.caches_tools());
        Self { r#type: "default", ttl }
    }
}

/// The system prompt: the target's prefix, and the system messages in order.
pub fn system<'a>(chat: &'a ChatRequest, prefix: Option<&'a str>, family: Family) -> Vec<BedrockContentBlock<'a>> {
    let mut system = Vec::new();
    add_text(prefix.unwrap_or_default(), &mut system);
    let messages = chat.messages.iter().filter(|message| message.role == Role::System);
    for block in messages.flat_map(|message| &message.content) {
        match block {
            Block::Text(text) => add_text(text, &mut system),
            Block::CachePoint(lifetime) => add_cache_point(*lifetime, family, &mut system),
            // No surface puts anything else there.
            _ => {}
        }
    }
    system
}

/// All other messages. `as_text`: no tools are sent, so that calls and results must be text.
pub fn messages(chat: &ChatRequest, family: Family, as_text: bool) -> Result<Vec<ConverseMessage<'_>>, Refusal> {
    let mut writer = BlockWriter { family, as_text, documents: 0 };
    let mut written: Vec<ConverseMessage<'_>> = Vec::with_capacity(chat.messages.len());
    for (at, message) in chat.messages.iter().enumerate() {
        let role = match message.role {
            Role::System => continue,
            Role::User | Role::Tool => turns::USER,
            Role::Assistant => turns::ASSISTANT,
        };
        let Some(turn) = turns::turn_of(&mut written, role, message.content.len()) else { continue };
        for block in &message.content {
            writer.add(block, at, &mut turn.content)?;
        }
    }
    turns::end(&mut written);
    begin_with_the_user(&mut written);
    written.iter_mut().for_each(ConverseMessage::put_results_first);
    match written.is_empty() {
        true => Err(Path::Root.field("messages").refuse("must have one that is not a system message and not empty")),
        false => Ok(written),
    }
}

/// Converse refuses a conversation that the assistant begins, as a greeting does. The turn that is added has fewer tokens
/// than the JSON of any message has beyond those of its template.
fn begin_with_the_user(written: &mut Vec<ConverseMessage<'_>>) {
    if written.first().is_some_and(|first| first.role != turns::USER) {
        let mut first = ConverseMessage::new(turns::USER, 1);
        first.push_text(turns::PLACEHOLDER_TEXT);
        written.insert(0, first);
    }
}

impl ConversationTurn for ConverseMessage<'_> {
    fn new(role: &'static str, blocks: usize) -> Self {
        Self { role, content: Vec::with_capacity(blocks) }
    }

    fn role(&self) -> &'static str {
        self.role
    }

    fn is_empty(&self) -> bool {
        self.content.is_empty()
    }

    fn push_text(&mut self, text: &'static str) {
        self.content.push(BedrockContentBlock::Text(text.into()));
    }

    fn trim_end(&mut self) {
        if let Some(BedrockContentBlock::Text(Cow::Borrowed(text))) = self.content.last_mut() {
            *text = text.trim_end();
        }
    }
}

impl ConverseMessage<'_> {
    /// A cache point stays behind the block that it follows.
    fn put_results_first(&mut self) {
        let (mut results, mut others, mut is_result) = (Vec::new(), Vec::new(), false);
        for block in std::mem::take(&mut self.content) {
            match block {
                BedrockContentBlock::ToolResult { .. } => is_result = true,
                BedrockContentBlock::CachePoint(_) => {}
                _ => is_result = false,
            }
            if is_result { results.push(block) } else { others.push(block) }
        }
        results.append(&mut others);
        self.content = results;
    }
}

struct BlockWriter {
    family: Family,
    as_text: bool,
    /// Documents so far.
    documents: usize,
}

impl BlockWriter {
    /// Adds a block of message number `at`.
    fn add<'a>(
        &mut self,
        block: &'a Block,
        at: usize,
        content: &mut Vec<BedrockContentBlock<'a>>,
    ) -> Result<(), Refusal> {
        match block {
            Block::Text(text) => add_text(text, content),
            Block::Image(image) => content.push(BedrockContentBlock::Image(image_block(image, at)?)),
            Block::Document(document) => {
                content.push(BedrockContentBlock::Document(self.document_block(document, at)?))
            }
            Block::ToolCall(ToolCall { id, name, .. }) if id.is_empty() && name.is_empty() => {}
            Block::ToolCall(ToolCall { id, name, arguments, .. }) if self.as_text => {
                content.push(BedrockContentBlock::Text(format!("[call {id} of {name}: {arguments}]").into()));
            }
            Block::ToolCall(call) => {
                content.extend(call.arguments_object().map(|input| BedrockContentBlock::ToolUse {
                    tool_use_id: self.family.call_ids().fitted(&call.id),
                    name: names::tool_name(&call.name),
                    input,
                }))
            }
            Block::ToolResult(result) => self.add_result(result, at, content)?,
            Block::Reasoning(reasoning) if self.family.takes_reasoning() => {
                content.extend(reasoning_content(reasoning).map(BedrockContentBlock::ReasoningContent));
            }
            Block::Reasoning(_) => {}
            Block::CachePoint(lifetime) => add_cache_point(*lifetime, self.family, content),
        }
        Ok(())
    }

    fn add_result<'a>(
        &mut self,
        result: &'a ToolResult,
        at: usize,
        content: &mut Vec<BedrockContentBlock<'a>>,
    ) -> Result<(), Refusal> {
        let ToolResult { id, content: blocks, is_error } = result;
        if self.as_text {
            let what = if *is_error { "error" } else { "result" };
            content.push(BedrockContentBlock::Text(format!("[{what} of call {id}]").into()));
            return blocks.iter().try_for_each(|block| self.add(block, at, content));
        }
        let mut inside = Vec::with_capacity(blocks.len());
        for block in blocks.iter().filter(|block| !matches!(block, Block::CachePoint(_))) {
            self.add(block, at, &mut inside)?;
        }
        let status = if *is_error { Some("error") } else { None };
        let tool_use_id = self.family.call_ids().fitted(id);
        content.push(BedrockContentBlock::ToolResult { tool_use_id, content: inside, status });
        // Converse takes none within a result.
        for block in blocks {
            if let Block::CachePoint(lifetime) = block {
                add_cache_point(*lifetime, self.family, content);
            }
        }
        Ok(())
    }

    fn document_block<'a>(&mut self, document: &'a Document, at: usize) -> Result<DocumentBlock<'a>, Refusal> {
        self.documents += 1;
        let (format, bytes) = match &document.source {
            DocumentSource::Text(text) => ("txt", STANDARD.encode(text).into()),
            DocumentSource::Inline { media_type, base64 } => match document_format(media_type) {
                Some(format) => (format, Cow::Borrowed(base64.as_str())),
                None => {
                    return Err(refused(
                        at,
                        "has a document of another type than Bedrock takes: PDF, CSV, Word, Excel, HTML, Markdown or plain text",
                    ));
                }
            },
            DocumentSource::Url(_) => {
                return Err(refused(at, "has a document by URL, which Bedrock does not fetch: send its content"));
            }
        };
        let name = names::document_name(document.title.as_deref(), self.documents);
        Ok(DocumentBlock { format, name, source: Source { bytes } })
    }
}

fn refused(at: usize, reason: &str) -> Refusal {
    Path::Root.field("messages").element(at).refuse(reason)
}

/// Leaves out blank text.
fn add_text<'a>(text: &'a str, content: &mut Vec<BedrockContentBlock<'a>>) {
    content.extend(unless_blank(text).map(|text| BedrockContentBlock::Text(text.into())));
}

/// Leaves out a cache point with nothing new before it, and those for models that take none.
fn add_cache_point(lifetime: CacheLifetime, family: Family, content: &mut Vec<BedrockContentBlock<'_>>) {
    let has_new = content.last().is_some_and(|last| !matches!(last, BedrockContentBlock::CachePoint(_)));
    if has_new && family.caches_prompts() {
        content.push(BedrockContentBlock::CachePoint(CachePoint::of(lifetime, family)));
    }
}

fn reasoning_content(reasoning: &ReasoningBlock) -> Option<ReasoningContent<'_>> {
    if let Some(redacted) = &reasoning.redacted {
        return Some(ReasoningContent::RedactedContent(redacted));
    }
    let signature = reasoning.unmarked_signature()?;
    Some(ReasoningContent::ReasoningText { text: &reasoning.text, signature })
}

fn image_block(image: &Image, at: usize) -> Result<ImageBlock<'_>, Refusal> {
    let ImageSource::Inline { media_type, base64 } = &image.source else {
        return Err(refused(at, "has an image by URL, which Bedrock does not fetch: send its content"));
    };
    let format = match media_type.as_str() {
        "image/png" => "png",
        "image/jpeg" => "jpeg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        _ => return Err(refused(at, "has an image of another type than Bedrock takes: PNG, JPEG, GIF or WebP")),
    };
    Ok(ImageBlock { format, source: Source { bytes: base64.into() } })
}

fn document_format(media_type: &str) -> Option<&'static str> {
    Some(match media_type {
        "application/pdf" => "pdf",
        "text/csv" => "csv",
        "application/msword" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/vnd.ms-excel" => "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        "text/html" => "html",
        "text/plain" => "txt",
        "text/markdown" => "md",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
