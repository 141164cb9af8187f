//! The messages of an OpenAI body.

use std::borrow::Cow;

use events::refusal::Refusal;
use serde::Serialize;

use super::{Function, function};
use crate::OutboundTarget;
use crate::chat::{Block, ChatRequest, Image, ImageSource, Message, ReasoningBlock, Role, ToolCall, ToolResult};
use crate::fields::Path;

#[derive(Serialize)]
pub struct OutboundMessage<'a> {
    role: &'static str,
    content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text { text: Cow<'a, str> },
    ImageUrl { image_url: Picture<'a> },
}

#[derive(Serialize)]
struct Picture<'a> {
    url: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Serialize)]
struct Call<'a> {
    id: &'a str,
    #[serde(flatten)]
    function: Function<Called<'a>>,
}

#[derive(Serialize)]
struct Called<'a> {
    name: &'a str,
    arguments: &'a str,
}

/// Errors: `INVALID_REQUEST` where nothing is left to say.
pub fn messages<'a>(chat: &'a ChatRequest, target: &OutboundTarget<'a>) -> Result<Vec<OutboundMessage<'a>>, Refusal> {
    let mut conversation = Conversation { messages: Vec::with_capacity(chat.messages.len() + 1), shown: Vec::new() };
    if let Some(prefix) = target.system_prefix {
        conversation.messages.push(plain("system", Content::Text(prefix.into())));
    }
    let ours = conversation.messages.len();
    for message in &chat.messages {
        conversation.add(message);
    }
    conversation.show();
    match conversation.messages.len() > ours {
        true => Ok(conversation.messages),
        false => Err(Path::Root.field("messages").refuse("must have one that is not empty")),
    }
}

struct Conversation<'a> {
    messages: Vec<OutboundMessage<'a>>,
    /// What tools showed. Nothing may stand between the results of one turn, so that it waits for their end.
    shown: Vec<Part<'a>>,
}

impl<'a> Conversation<'a> {
    /// Tool results come first: they have to follow the calls that they answer.
    fn add(&mut self, message: &'a Message) {
        for block in &message.content {
            if let Block::ToolResult(result) = block {
                self.add_result(result);
            }
        }
        match message.role {
            Role::System => {
                self.show();
                self.messages.push(plain("system", Content::Text(joined(&message.content))));
            }
            Role::Assistant => {
                self.show();
                self.messages.push(assistant(&message.content));
            }
            Role::User if message.content.iter().any(|block| !matches!(block, Block::ToolResult(_))) => {
                let content = self.after_what_was_shown(&message.content);
                self.messages.push(plain("user", content));
            }
            Role::User | Role::Tool => {}
        }
    }

    fn add_result(&mut self, result: &'a ToolResult) {
        let content = Content::Text(joined(&result.content));
        self.messages.push(OutboundMessage { tool_call_id: Some(&result.id), ..plain("tool", content) });
        let mut images = result.content.iter().filter(|block| matches!(block, Block::Image(_))).peekable();
        if images.peek().is_some() {
            // Shorter than the JSON that the result came in, so that the bound of the input still holds.
            self.shown.push(Part::Text { text: format!("Shown by {}:", result.id).into() });
            self.shown.extend(images.filter_map(part));
        }
    }

    fn show(&mut self) {
        if !self.shown.is_empty() {
            self.messages.push(plain("user", Content::Parts(std::mem::take(&mut self.shown))));
        }
    }

    fn after_what_was_shown(&mut self, content: &'a [Block]) -> Content<'a> {
        match content {
            [Block::Text(text)] if self.shown.is_empty() => Content::Text(Cow::Borrowed(text)),
            _ => {
                let mut parts = std::mem::take(&mut self.shown);
                parts.extend(content.iter().filter_map(part));
                Content::Parts(parts)
            }
        }
    }
}

const fn plain<'a>(role: &'static str, content: Content<'a>) -> OutboundMessage<'a> {
    OutboundMessage {
        role,
        content: Some(content),
        reasoning_content: None,
        tool_calls: Vec::new(),
        tool_call_id: None,
    }
}

fn texts(content: &[Block]) -> impl Iterator<Item = &str> {
    content.iter().filter_map(Block::text)
}

fn joined(content: &[Block]) -> Cow<'_, str> {
    in_lines(texts(content))
}

fn in_lines<'a>(mut texts: impl Iterator<Item = &'a str>) -> Cow<'a, str> {
    match (texts.next(), texts.next()) {
        (only, None) => Cow::Borrowed(only.unwrap_or_default()),
        (first, second) => first.into_iter().chain(second).chain(texts).collect::<Vec<_>>().join("\n").into(),
    }
}

fn part(block: &Block) -> Option<Part<'_>> {
    match block {
        Block::Text(text) => Some(Part::Text { text: Cow::Borrowed(text) }),
        Block::Image(image) => Some(Part::ImageUrl { image_url: picture(image) }),
        Block::ToolCall(_) | Block::ToolResult(_) | Block::Reasoning(_) => None,
    }
}

fn picture(image: &Image) -> Picture<'_> {
    let url = match &image.source {
        ImageSource::Url(url) => Cow::Borrowed(url.as_str()),
        ImageSource::Inline { media_type, base64 } => format!("data:{media_type};base64,{base64}").into(),
    };
    Picture { url, detail: image.detail.as_deref() }
}

fn assistant(content: &[Block]) -> OutboundMessage<'_> {
    let calls = content.iter().filter_map(|block| match block {
        Block::ToolCall(ToolCall { id, name, arguments }) => {
            Some(Call { id, function: function(Called { name, arguments }) })
        }
        Block::Text(_) | Block::Image(_) | Block::ToolResult(_) | Block::Reasoning(_) => None,
    });
    let tool_calls: Vec<_> = calls.collect();
    let calls = !tool_calls.is_empty();
    let silent = calls && texts(content).next().is_none();
    let content_said = (!silent).then(|| Content::Text(joined(content)));
    let reasoning_content = Some(in_lines(thoughts(content))).filter(|text| calls && !text.is_empty());
    OutboundMessage { role: "assistant", content: content_said, reasoning_content, tool_calls, tool_call_id: None }
}

fn thoughts(content: &[Block]) -> impl Iterator<Item = &str> {
    content.iter().filter_map(|block| match block {
        Block::Reasoning(ReasoningBlock { text, signature: None, redacted: None }) => Some(text.as_str()),
        Block::Text(_) | Block::Image(_) | Block::ToolCall(_) | Block::ToolResult(_) | Block::Reasoning(_) => None,
    })
}
