//! Documents in base64: which there are, and which of them are text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Block, ChatRequest, Document, DocumentSource};
use crate::work;

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
/// OpenAI adds a summary, written by a model, to tables.
const TABLES: [&str; 2] = ["text/csv", "text/tab-separated-values"];
/// Bytes among which readers look for the beginning of a PDF, whatever it is said to be.
const PDF_BEGINS_WITHIN: usize = 1024;

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

    /// True if its tokens are not more than the bytes of its base64, also at a provider that is sent the file as it is.
    pub fn is_bounded_by_bytes(&self) -> bool {
        !TABLES.iter().any(|table| table.eq_ignore_ascii_case(self.media_type)) && self.text().is_some()
    }

    /// Its text, or else its data.
    pub fn source(&self) -> DocumentSource {
        match self.text() {
            Some(text) => DocumentSource::Text(text),
            None => DocumentSource::Inline {
                media_type: self.media_type.to_ascii_lowercase(),
                base64: self.base64.to_owned(),
            },
        }
    }

    /// `None` if it is not text, or in another encoding than UTF-8.
    fn text(&self) -> Option<String> {
        if !is_text(self.media_type) {
            return None;
        }
        work::steps(self.base64.len());
        let text = String::from_utf8(STANDARD.decode(self.base64).ok()?).ok()?;
        // UTF-16 has zeros. A PDF may be written in letters, and its pages have more tokens than it has bytes.
        let head = text.as_bytes().get(..PDF_BEGINS_WITHIN).unwrap_or(text.as_bytes());
        let is_other = text.contains('\0') || head.windows(4).any(|bytes| bytes == b"%PDF");
        (!is_other).then_some(text)
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

    fn source(media_type: &str, data: &[u8]) -> Option<(DocumentSource, bool)> {
        let base64 = STANDARD.encode(data);
        let document = InlineDocument::of(media_type, &base64)?;
        Some((document.source(), document.is_bounded_by_bytes()))
    }

    #[test]
    fn text_in_base64_is_its_text_and_bounded_by_its_bytes() {
        for (media_type, is_bounded) in [
            ("text/plain", true),
            ("TEXT/plain; charset=utf-8", true),
            ("text/x-rust", true),
            ("application/json", true),
            ("text/csv", false),
        ] {
            let found = source(media_type, "é".as_bytes());
            assert!(
                matches!(found, Some((DocumentSource::Text(text), bounded)) if text == "é" && bounded == is_bounded)
            );
        }
    }

    #[test]
    fn what_is_called_text_and_is_none_stays_data_of_unknown_length() {
        for data in [&b"\xff"[..], b"a\0b\0", b"x%PDF-1.7"] {
            let found = source("Text/Plain;charset=x", data);
            let is_data = |source: &DocumentSource| matches!(source, DocumentSource::Inline { media_type, .. } if media_type == "text/plain");
            assert!(matches!(found, Some((source, false)) if is_data(&source)), "{data:?}");
        }
        let broken = InlineDocument::of("text/plain", "no base64").expect("text");
        assert!(!broken.is_bounded_by_bytes());
    }

    #[test]
    fn only_documents_have_a_price() {
        for known in DOCUMENTS.iter().chain(&TABLES) {
            assert!(source(known, b"x").is_some(), "{known}");
        }
        for unknown in
            ["", "text", "text/", "text/plain,audio/wav", "audio/wav", "video/mp4", "image/png", "application/zip"]
        {
            assert!(source(unknown, b"x").is_none(), "{unknown}");
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
