//! Writes the messages of an OpenAI body.

use std::borrow::Cow;

use events::refusal::Refusal;
use intermediate::chat::{
    Block, ChatRequest, Document, DocumentSource, Message, ReasoningBlock, Role, ToolCall, ToolResult,
};
use intermediate::fields::Path;
use serde::Serialize;

use crate::lines::in_lines;
use crate::openai::server::{Deviations, deviations};
use crate::openai_parts::{Function, Picture, function};
use crate::{CallIdRule, OutboundTarget, Server};

/// Longest id of a result, in bytes, that its images are labelled with.
const SHOWN_ID_BYTES_MAX: usize = 40;

#[derive(Serialize)]
pub struct OutboundMessage<'a> {
    role: &'static str,
    content: Option<OpenAiContent<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<OutboundCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum OpenAiContent<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<OpenAiPart<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum OpenAiPart<'a> {
    Text { text: Cow<'a, str> },
    ImageUrl { image_url: Picture<'a> },
    File { file: InlineFile<'a> },
}

#[derive(Serialize)]
struct InlineFile<'a> {
    filename: &'a str,
    file_data: String,
}

#[derive(Serialize)]
struct OutboundCall<'a> {
    id: Cow<'a, str>,
    #[serde(flatten)]
    function: Function<OutboundFunction<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<ExtraContent<'a>>,
}

/// The signature of a call, where Google's OpenAI endpoints take it. Nobody else signs calls.
#[derive(Serialize)]
struct ExtraContent<'a> {
    google: GoogleContent<'a>,
}

#[derive(Serialize)]
struct GoogleContent<'a> {
    thought_signature: &'a str,
}

#[derive(Serialize)]
struct OutboundFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

/// The messages, after the target's system prefix. Errors: `INVALID_REQUEST` if all of them are empty.
/// Errors, too: a document by URL, which chat completions do not take.
pub fn messages<'a>(
    chat: &'a ChatRequest,
    target: &OutboundTarget<'a>,
    call_ids: CallIdRule,
) -> Result<Vec<OutboundMessage<'a>>, Refusal> {
    refuse_document_urls(chat)?;
    let mut conversation = OpenAiConversation {
        messages: Vec::with_capacity(chat.messages.len() + 1),
        tool_images: Vec::new(),
        deviations: deviations(target.server.unwrap_or(Server::Other)),
        call_ids,
    };
    if let Some(prefix) = target.system_prefix {
        conversation.messages.push(plain("system", OpenAiContent::Text(prefix.into())));
    }
    let prefixed = conversation.messages.len();
    for message in &chat.messages {
        conversation.add(message);
    }
    conversation.flush_tool_images();
    match conversation.messages.len() > prefixed {
        true => Ok(conversation.messages),
        false => Err(Path::Root.field("messages").refuse("must have at least one message that is not empty")),
    }
}

struct OpenAiConversation<'a> {
    messages: Vec<OutboundMessage<'a>>,
    /// Images of tool results. They wait for the end of the results, because nothing may stand between those of one
    /// turn.
    tool_images: Vec<OpenAiPart<'a>>,
    deviations: &'static Deviations,
    call_ids: CallIdRule,
}

impl<'a> OpenAiConversation<'a> {
    /// Adds a message, tool results first, because they must follow their calls.
    fn add(&mut self, message: &'a Message) {
        for block in &message.content {
            if let Block::ToolResult(result) = block {
                self.add_result(result);
            }
        }
        match message.role {
            Role::System => {
                self.flush_tool_images();
                self.messages.push(plain("system", OpenAiContent::Text(joined(&message.content))));
            }
            Role::Assistant => {
                self.flush_tool_images();
                self.messages.push(self.assistant(&message.content));
            }
            Role::User if message.content.iter().any(is_said) => {
                let content = self.with_tool_images(&message.content);
                self.messages.push(plain("user", content));
            }
            Role::User | Role::Tool => {}
        }
    }

    fn assistant(&self, content: &'a [Block]) -> OutboundMessage<'a> {
        let calls = content.iter().filter_map(|block| match block {
            Block::ToolCall(ToolCall { id, name, arguments, signature }) => {
                let signature = signature.as_deref().filter(|_| self.deviations.takes_call_signatures);
                let google = signature.map(|thought_signature| GoogleContent { thought_signature });
                Some(OutboundCall {
                    id: self.call_ids.fitted(id),
                    function: function(OutboundFunction { name, arguments }),
                    extra_content: google.map(|google| ExtraContent { google }),
                })
            }
            _ => None,
        });
        let tool_calls: Vec<_> = calls.collect();
        let has_calls = !tool_calls.is_empty();
        let has_calls_only = has_calls && texts(content).next().is_none();
        let takes_reasoning = has_calls && self.deviations.takes_reasoning;
        let reasoning_content = Some(in_lines(reasoning(content))).filter(|text| takes_reasoning && !text.is_empty());
        let content = (!has_calls_only).then(|| OpenAiContent::Text(joined(content)));
        OutboundMessage { role: "assistant", content, reasoning_content, tool_calls, tool_call_id: None }
    }

    fn add_result(&mut self, result: &'a ToolResult) {
        let content = OpenAiContent::Text(joined(&result.content));
        self.messages
            .push(OutboundMessage { tool_call_id: Some(self.call_ids.fitted(&result.id)), ..plain("tool", content) });
        // Text documents are in the result's own text.
        let is_shown = |block: &&Block| match block {
            Block::Image(_) => true,
            Block::Document(document) => matches!(document.source, DocumentSource::Inline { .. }),
            _ => false,
        };
        let mut images = result.content.iter().filter(is_shown).peekable();
        if images.peek().is_some() {
            // Shorter than the JSON of the result, so that the bound of the input still holds.
            let shown_by = if result.id.len() <= SHOWN_ID_BYTES_MAX { result.id.as_str() } else { "a tool" };
            self.tool_images.push(OpenAiPart::Text { text: format!("Shown by {shown_by}:").into() });
            self.tool_images.extend(images.filter_map(part));
        }
    }

    fn flush_tool_images(&mut self) {
        if !self.tool_images.is_empty() {
            self.messages.push(plain("user", OpenAiContent::Parts(std::mem::take(&mut self.tool_images))));
        }
    }

    fn with_tool_images(&mut self, content: &'a [Block]) -> OpenAiContent<'a> {
        match content {
            [Block::Text(text)] if self.tool_images.is_empty() => OpenAiContent::Text(Cow::Borrowed(text)),
            _ => {
                let mut parts = std::mem::take(&mut self.tool_images);
                parts.extend(content.iter().filter_map(part));
                OpenAiContent::Parts(parts)
            }
        }
    }
}

/// True for what a user's message is made of besides results of tools.
const fn is_said(block: &Block) -> bool {
    !matches!(block, Block::ToolResult(_) | Block::CachePoint(_))
}

const fn plain<'a>(role: &'static str, content: OpenAiContent<'a>) -> OutboundMessage<'a> {
    OutboundMessage {
        role,
        content: Some(content),
        reasoning_content: None,
        tool_calls: Vec::new(),
        tool_call_id: None,
    }
}

/// The texts, those of text documents included: their title, if they have one, and then the text.
fn texts(content: &[Block]) -> impl Iterator<Item = &str> {
    content
        .iter()
        .flat_map(|block| match block {
            Block::Text(text) => [None, Some(text.as_str())],
            Block::Document(Document { source: DocumentSource::Text(text), title }) => [title.as_deref(), Some(text)],
            _ => [None, None],
        })
        .flatten()
}

fn refuse_document_urls(chat: &ChatRequest) -> Result<(), Refusal> {
    let is_url = |block: &Block| matches!(block, Block::Document(Document { source: DocumentSource::Url(_), .. }));
    let has_url = |block: &Block| match block {
        Block::ToolResult(result) => result.content.iter().any(is_url),
        block => is_url(block),
    };
    match chat.messages.iter().flat_map(|message| &message.content).any(has_url) {
        true => {
            let reason = "has a document by URL, which has no counterpart in the dialect of the model's provider, openai: \
                          send its data";
            Err(Path::Root.field("messages").refuse(reason))
        }
        false => Ok(()),
    }
}

fn joined(content: &[Block]) -> Cow<'_, str> {
    in_lines(texts(content))
}

fn part(block: &Block) -> Option<OpenAiPart<'_>> {
    match block {
        Block::Text(text) => Some(OpenAiPart::Text { text: Cow::Borrowed(text) }),
        Block::Image(image) => Some(OpenAiPart::ImageUrl { image_url: Picture::of(image) }),
        Block::Document(document) => part_of_document(document),
        Block::ToolCall(_) | Block::ToolResult(_) | Block::Reasoning(_) | Block::CachePoint(_) => None,
    }
}

fn part_of_document(Document { source, title }: &Document) -> Option<OpenAiPart<'_>> {
    let title = title.as_deref();
    match source {
        DocumentSource::Inline { media_type, base64 } => {
            let file_data = format!("data:{media_type};base64,{base64}");
            Some(OpenAiPart::File { file: InlineFile { filename: title.unwrap_or("document"), file_data } })
        }
        DocumentSource::Text(text) => {
            let text = title.map_or(Cow::Borrowed(text.as_str()), |title| format!("{title}\n{text}").into());
            Some(OpenAiPart::Text { text })
        }
        DocumentSource::Url(_) => None,
    }
}

fn reasoning(content: &[Block]) -> impl Iterator<Item = &str> {
    content.iter().filter_map(|block| match block {
        Block::Reasoning(ReasoningBlock { text, signature: None, redacted: None }) => Some(text.as_str()),
        _ => None,
    })
}
