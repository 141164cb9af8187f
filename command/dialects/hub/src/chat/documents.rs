//! Documents in base64, and documents that are text, for dialects without documents.

use super::{Block, ChatRequest, Document, DocumentSource};

/// Types of documents that providers bill by their text and pages, besides those of text. Others that they take, such as
/// audio and video, have prices of their own.
const DOCUMENTS: [&str; 9] = [
    "application/msword",
    "application/pdf",
    "application/rtf",
    "application/vnd.ms-excel",
    "application/vnd.ms-powerpoint",
    "application/vnd.oasis.opendocument.text",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
];

/// A document in base64, as a client gave it.
#[derive(Clone, Copy, Debug)]
pub struct InlineDocument<'a> {
    /// Without parameters.
    media_type: &'a str,
    base64: &'a str,
}

impl<'a> InlineDocument<'a> {
    /// `None` if documents of this type have no price.
    pub fn of(media_type: &'a str, base64: &'a str) -> Option<Self> {
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        let is_known = is_text(media_type) || DOCUMENTS.iter().any(|known| known.eq_ignore_ascii_case(media_type));
        is_known.then_some(Self { media_type, base64 })
    }

    pub const fn base64(&self) -> &'a str {
        self.base64
    }

    /// It in the form of the hub.
    pub fn source(&self) -> DocumentSource {
        DocumentSource::Inline { media_type: self.media_type.to_ascii_lowercase(), base64: self.base64.to_owned() }
    }
}

fn is_text(media_type: &str) -> bool {
    let (top, subtype) = media_type.split_once('/').unwrap_or_default();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".+-_".contains(&byte);
    media_type.eq_ignore_ascii_case("application/json")
        || top.eq_ignore_ascii_case("text") && !subtype.is_empty() && subtype.bytes().all(is_name)
}

/// The media type of a `data:` URL, with its parameters, and its data; and whether that is base64. Scheme and `;base64`
/// ignore case.
pub fn data_url(url: &str) -> Option<(&str, &str, bool)> {
    let (head, data) = without_prefix(url, "data:")?.split_once(',')?;
    let in_base64 = head.len().checked_sub(BASE64.len()).and_then(|at| head.split_at_checked(at));
    match in_base64.filter(|(_, mark)| mark.eq_ignore_ascii_case(BASE64)) {
        Some((media_type, _)) => Some((media_type, data, true)),
        None => Some((head, data, false)),
    }
}

const BASE64: &str = ";base64";

pub fn without_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (begins, rest) = text.split_at_checked(prefix.len())?;
    begins.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// The request with the text of each document, after its title, in the document's place; `None` if one is not text.
pub fn with_texts_for_documents(chat: &ChatRequest) -> Option<ChatRequest> {
    let mut chat = chat.clone();
    chat.messages.iter_mut().all(|message| put_texts(&mut message.content)).then_some(chat)
}

fn put_texts(blocks: &mut [Block]) -> bool {
    blocks.iter_mut().all(|block| match block {
        Block::Document(Document { source: DocumentSource::Text(text), title }) => {
            let lines: Vec<_> = title.take().into_iter().chain([std::mem::take(text)]).collect();
            *block = Block::Text(lines.join("\n"));
            true
        }
        Block::Document(_) => false,
        Block::ToolResult(result) => put_texts(&mut result.content),
        Block::Text(_) | Block::Image(_) | Block::ToolCall(_) | Block::Reasoning(_) | Block::CachePoint(_) => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_documents_have_a_price() {
        for known in DOCUMENTS.iter().chain(&["text/csv", "TEXT/x-rust; charset=utf-8"]) {
            assert!(InlineDocument::of(known, "AAAA").is_some(), "{known}");
        }
        for unknown in
            ["", "text", "text/", "text/plain,audio/wav", "audio/wav", "video/mp4", "image/png", "application/zip"]
        {
            assert!(InlineDocument::of(unknown, "AAAA").is_none(), "{unknown}");
        }
    }

    #[test]
    fn a_data_url_is_one_however_it_is_written() {
        assert_eq!(data_url("DATA:text/plain;charset=x;Base64,YQ=="), Some(("text/plain;charset=x", "YQ==", true)));
        assert_eq!(data_url("data:,a,b"), Some(("", "a,b", false)));
        assert_eq!(data_url("data:;base64"), None);
        assert_eq!(data_url("https://x.y/,"), None);
    }
}
