//! Writes the turns of a conversation.

use std::borrow::Cow;

use events::refusal::Refusal;
use intermediate::chat::{
    Block, ChatRequest, Document, DocumentSource, Image, ImageSource, Message, ReasoningBlock, Role, ToolCall,
    ToolResult,
};
use intermediate::fields::Path;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::calls::Calls;
use crate::gemini::SIGNED_BY_GEMINI;
use crate::lines::joined;

/// Google's word for a call that no Gemini model has made, or whose signature its client has lost. Gemini 3 refuses the
/// first call of a turn without a signature.
const UNSIGNED: &str = "skip_thought_signature_validator";

/// Media types by the end of a URL: Gemini takes a URL only with its media type.
const IMAGE_TYPES: [KnownMediaType; 8] = [
    KnownMediaType { extension: "png", mime_type: "image/png" },
    KnownMediaType { extension: "jpg", mime_type: "image/jpeg" },
    KnownMediaType { extension: "jpeg", mime_type: "image/jpeg" },
    KnownMediaType { extension: "webp", mime_type: "image/webp" },
    KnownMediaType { extension: "gif", mime_type: "image/gif" },
    KnownMediaType { extension: "heic", mime_type: "image/heic" },
    KnownMediaType { extension: "heif", mime_type: "image/heif" },
    KnownMediaType { extension: "avif", mime_type: "image/avif" },
];
const DOCUMENT_TYPES: [KnownMediaType; 6] = [
    KnownMediaType { extension: "pdf", mime_type: "application/pdf" },
    KnownMediaType { extension: "txt", mime_type: "text/plain" },
    KnownMediaType { extension: "md", mime_type: "text/markdown" },
    KnownMediaType { extension: "html", mime_type: "text/html" },
    KnownMediaType { extension: "csv", mime_type: "text/csv" },
    KnownMediaType { extension: "xml", mime_type: "text/xml" },
];

#[derive(Serialize)]
pub struct GeminiContent<'a> {
    role: &'static str,
    parts: Vec<GeminiPart<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GeminiPart<'a> {
    #[serde(flatten)]
    kind: PartKind<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    thought: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    thought_signature: Option<&'a str>,
    #[serde(skip)]
    place: Place,
}

/// The place of a part in its turn. Gemini wants the results of a turn before everything else, and older models, which
/// take no ids, match those of one tool by the order of its calls.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// A result, by the number of its call.
    Result(usize),
    /// The media that a result shows, by the number of its call.
    ShownByResult(usize),
    AsSent,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum PartKind<'a> {
    Text(Cow<'a, str>),
    InlineData(Blob<'a>),
    FileData(File<'a>),
    FunctionCall(GeminiCall<'a>),
    FunctionResponse(CallResult<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Blob<'a> {
    mime_type: &'a str,
    data: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    mime_type: &'static str,
    file_uri: &'a str,
}

#[derive(Serialize)]
struct GeminiCall<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    name: &'a str,
    args: Cow<'a, RawValue>,
}

#[derive(Serialize)]
struct CallResult<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    name: &'a str,
    response: Outcome<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parts: Vec<GeminiPart<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Outcome<'a> {
    Output(Cow<'a, str>),
    Error(Cow<'a, str>),
}

impl<'a> GeminiPart<'a> {
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::of(PartKind::Text(text.into()))
    }

    const fn of(kind: PartKind<'a>) -> Self {
        Self { kind, thought: false, thought_signature: None, place: Place::AsSent }
    }
}

/// The conversation as turns of `user` and `model`. Errors: `INVALID_REQUEST` for what cannot be expressed, and if there
/// is nothing to say.
pub fn contents(chat: &ChatRequest, is_third_generation: bool) -> Result<Vec<GeminiContent<'_>>, Refusal> {
    let mut conversation = GeminiConversation { contents: Vec::new(), calls: Calls::default(), is_third_generation };
    let path = Path::Root.field("messages");
    for (at, message) in chat.messages.iter().enumerate() {
        conversation.add(message, &path.element(at))?;
    }
    let mut contents = conversation.contents;
    contents.retain(|turn| !turn.parts.is_empty());
    for turn in &mut contents {
        turn.parts.sort_by_key(|part| part.place);
        if is_third_generation {
            mark_unsigned(turn);
        }
    }
    match contents.is_empty() {
        true => Err(path.refuse("must have one that is not a system message and not empty")),
        false => Ok(contents),
    }
}

/// Signs only the first of parallel calls.
fn mark_unsigned(turn: &mut GeminiContent<'_>) {
    let mut calls = turn.parts.iter_mut().filter(|part| matches!(part.kind, PartKind::FunctionCall(_)));
    if let Some(first) = calls.next() {
        first.thought_signature.get_or_insert(UNSIGNED);
    }
}

struct GeminiConversation<'a> {
    contents: Vec<GeminiContent<'a>>,
    calls: Calls<'a>,
    is_third_generation: bool,
}

impl<'a> GeminiConversation<'a> {
    fn add(&mut self, message: &'a Message, path: &Path<'_>) -> Result<(), Refusal> {
        let role = match message.role {
            Role::System => return Ok(()),
            Role::User | Role::Tool => "user",
            Role::Assistant => "model",
        };
        let mut parts = Vec::with_capacity(message.content.len());
        for block in &message.content {
            self.put(block, path, &mut parts)?;
        }
        match self.contents.last_mut() {
            Some(turn) if turn.role == role => turn.parts.append(&mut parts),
            _ => self.contents.push(GeminiContent { role, parts }),
        }
        Ok(())
    }

    fn put(&mut self, block: &'a Block, path: &Path<'_>, parts: &mut Vec<GeminiPart<'a>>) -> Result<(), Refusal> {
        match block {
            Block::Text(text) if text.is_empty() => {}
            Block::Text(text) => parts.push(GeminiPart::text(text)),
            Block::Image(image) => parts.push(picture(image, path)?),
            Block::Document(document) => put_document(document, path, parts)?,
            Block::ToolCall(call) => parts.extend(self.call(call)),
            Block::ToolResult(result) => self.put_result(result, path, parts)?,
            Block::Reasoning(reasoning) => parts.extend(signed(reasoning)),
            Block::CachePoint(_) => {}
        }
        Ok(())
    }

    fn call(&mut self, call: &'a ToolCall) -> Option<GeminiPart<'a>> {
        let ToolCall { id, name, signature, .. } = call;
        if id.is_empty() && name.is_empty() {
            return None;
        }
        self.calls.add(id, name);
        let call = GeminiCall { id: self.shown_id(id), name, args: call.arguments_object()? };
        Some(GeminiPart { thought_signature: signature.as_deref(), ..GeminiPart::of(PartKind::FunctionCall(call)) })
    }

    /// Older models refuse ids.
    fn shown_id(&self, id: &'a str) -> Option<&'a str> {
        Some(id).filter(|id| self.is_third_generation && !id.is_empty())
    }

    fn put_result(
        &mut self,
        result: &'a ToolResult,
        path: &Path<'_>,
        parts: &mut Vec<GeminiPart<'a>>,
    ) -> Result<(), Refusal> {
        let ToolResult { id, content, is_error } = result;
        let call = self.calls.of_result(id);
        let call = call.ok_or_else(|| path.refuse("has a tool result without its call"))?;
        let mut media = Vec::new();
        for block in content {
            match block {
                Block::Image(image) => media.push(picture(image, path)?),
                Block::Document(document) => put_document(document, path, &mut media)?,
                _ => {}
            }
        }
        // Results take data, and only newer models' do; the rest follows the results.
        let is_inside =
            |part: &GeminiPart<'_>| self.is_third_generation && matches!(part.kind, PartKind::InlineData(_));
        let (inside, after): (_, Vec<_>) = media.into_iter().partition(is_inside);
        let text = joined(content);
        let response = if *is_error { Outcome::Error(text) } else { Outcome::Output(text) };
        let result = CallResult { id: self.shown_id(id), name: call.name, response, parts: inside };
        let kind = PartKind::FunctionResponse(result);
        parts.push(GeminiPart { place: Place::Result(call.ordinal), ..GeminiPart::of(kind) });
        parts.extend(after.into_iter().map(|part| GeminiPart { place: Place::ShownByResult(call.ordinal), ..part }));
        Ok(())
    }
}

/// Thoughts, or the end of a text, with the signature of Gemini. Those of other dialects would be refused.
fn signed(reasoning: &ReasoningBlock) -> Option<GeminiPart<'_>> {
    let signature = reasoning.signature.as_deref()?.strip_prefix(SIGNED_BY_GEMINI)?;
    let text = reasoning.text.as_str();
    Some(GeminiPart { thought: !text.is_empty(), thought_signature: Some(signature), ..GeminiPart::text(text) })
}

fn picture<'a>(image: &'a Image, path: &Path<'_>) -> Result<GeminiPart<'a>, Refusal> {
    Ok(GeminiPart::of(match &image.source {
        ImageSource::Inline { media_type, base64 } => {
            PartKind::InlineData(Blob { mime_type: media_type, data: base64 })
        }
        ImageSource::Url(url) => PartKind::FileData(file(url, &IMAGE_TYPES, "an image", path)?),
    }))
}

fn put_document<'a>(document: &'a Document, path: &Path<'_>, parts: &mut Vec<GeminiPart<'a>>) -> Result<(), Refusal> {
    parts.extend(document.title.as_deref().filter(|title| !title.is_empty()).map(GeminiPart::text));
    parts.push(match &document.source {
        DocumentSource::Text(text) => GeminiPart::text(text),
        DocumentSource::Inline { media_type, .. } if !is_document(media_type) => {
            return Err(path.refuse("has a document that is neither a PDF nor text: others have prices of their own"));
        }
        DocumentSource::Inline { media_type, base64 } => {
            GeminiPart::of(PartKind::InlineData(Blob { mime_type: media_type, data: base64 }))
        }
        DocumentSource::Url(url) => GeminiPart::of(PartKind::FileData(file(url, &DOCUMENT_TYPES, "a document", path)?)),
    });
    Ok(())
}

/// True for what Gemini reads as pages or text. It reads others, too: audio and video, at other prices.
fn is_document(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/pdf" || essence.starts_with("text/")
}

/// A media type of files, which a URL shows by its extension.
struct KnownMediaType {
    extension: &'static str,
    mime_type: &'static str,
}

/// A URL with its media type. Without one, Gemini might fetch something else, whose tokens are not bounded.
fn file<'a>(url: &'a str, types: &[KnownMediaType], what: &str, path: &Path<'_>) -> Result<File<'a>, Refusal> {
    let file_name = url.split(['?', '#']).next().unwrap_or_default();
    let extension = file_name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let known = types.iter().find(|known| known.extension.eq_ignore_ascii_case(extension));
    known.map(|known| File { mime_type: known.mime_type, file_uri: url }).ok_or_else(|| {
        let ends: Vec<_> = types.iter().map(|known| format!(".{}", known.extension)).collect();
        path.refuse(format!(
            "has the URL of {what} that does not end in one of {}: send its data instead",
            ends.join(", ")
        ))
    })
}
