//! Documents in base64: which there are, and which of them are text.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::media_types::{normal_base64, registered};
use super::{Block, ChatRequest, Document, DocumentSource};
use crate::work;

/// Types of documents that providers bill by their text and pages, besides those of text. Others that they take, such as
/// audio and video, have prices of their own.
const DOCUMENTS: [&str; 13] = [
    "application/csv",
    "application/msword",
    "application/pdf",
    "application/rtf",
    "application/vnd.ms-excel",
    "application/vnd.ms-powerpoint",
    "application/vnd.oasis.opendocument.presentation",
    "application/vnd.oasis.opendocument.spreadsheet",
    "application/vnd.oasis.opendocument.text",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/x-iif",
];
/// OpenAI adds a summary, written by a model, to tables.
const TABLES: [&str; 9] = [
    "application/csv",
    "application/x-iif",
    "text/comma-separated-values",
    "text/csv",
    "text/tab-separated-values",
    "text/tsv",
    "text/x-comma-separated-values",
    "text/x-csv",
    "text/x-iif",
];
/// Extensions of tables, whatever the type of the file is said to be.
const TABLE_EXTENSIONS: [&str; 5] = ["csv", "iif", "tsv", "xls", "xlsx"];
/// Types under `application/` that are text, besides those that end in `+json`, `+xml` or `+yaml`.
const TEXTS: [&str; 16] = [
    "ecmascript", "graphql", "javascript", "json", "json5", "sql", "toml", "typescript", "x-httpd-php", "x-ndjson",
    "x-php", "x-sh", "x-sql", "x-yaml", "xml", "yaml",
];
/// Bytes among which readers look for the beginning of a PDF, whatever it is said to be.
const PDF_BEGINS_WITHIN: usize = 1024;
/// Texts such as logs with colours have a control character in so many bytes.
const BYTES_PER_CONTROL_MIN: usize = 16;
const BASE64_WITH_ANY_PADDING: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A document in base64, as a client gave it.
#[derive(Clone, Copy, Debug)]
pub struct InlineDocument<'a> {
    /// Without parameters, by its registered name.
    media_type: &'a str,
    base64: &'a str,
    is_table: bool,
}

impl<'a> InlineDocument<'a> {
    /// `None` if documents of this type have no price.
    pub fn of(media_type: &'a str, base64: &'a str) -> Option<Self> {
        let media_type = registered(media_type);
        let is_known = is_text(media_type) || is_one_of(media_type, &DOCUMENTS);
        is_known.then_some(Self { media_type, base64, is_table: is_one_of(media_type, &TABLES) })
    }

    /// The document as a file of this name.
    pub fn named(self, file_name: &str) -> Self {
        let extension = file_name.trim_end().rsplit_once('.').map_or("", |(_, extension)| extension);
        Self { is_table: self.is_table || is_one_of(extension, &TABLE_EXTENSIONS), ..self }
    }

    pub const fn base64(&self) -> &'a str {
        self.base64
    }

    /// True if its tokens are not more than the bytes of its base64, also at a provider that is sent the file as it is.
    pub fn is_bounded_by_bytes(&self) -> bool {
        // A PDF may be written in letters, and its pages have more tokens than it has bytes.
        let is_pdf = |text: &str| {
            let head = text.as_bytes().get(..PDF_BEGINS_WITHIN).unwrap_or(text.as_bytes());
            head.windows(4).any(|bytes| bytes == b"%PDF")
        };
        !self.is_table && self.text().is_some_and(|text| !is_pdf(&text))
    }

    /// Its text, or else its data.
    pub fn source(&self) -> DocumentSource {
        match self.text() {
            Some(text) => DocumentSource::Text(text),
            None => DocumentSource::Inline {
                media_type: self.media_type.to_ascii_lowercase(),
                base64: normal_base64(self.base64.into()),
            },
        }
    }

    /// `None` if it is not text, or in another encoding than UTF-8.
    fn text(&self) -> Option<String> {
        if !is_text(self.media_type) {
            return None;
        }
        work::steps(self.base64.len());
        let text = String::from_utf8(decoded(self.base64)?).ok()?;
        // UTF-16 has zeros. JSON has six bytes for a control character, so that a body of them would be far longer than what
        // was received.
        let controls = text.bytes().filter(|byte| *byte < b' ' && !b"\t\n\r".contains(byte)).count();
        (!text.contains('\0') && controls <= text.len() / BYTES_PER_CONTROL_MIN).then_some(text)
    }
}

/// The bytes, also of base64 that is broken into lines or has no padding.
fn decoded(base64: &str) -> Option<Vec<u8>> {
    if !base64.bytes().any(|byte| byte.is_ascii_whitespace()) {
        return BASE64_WITH_ANY_PADDING.decode(base64).ok();
    }
    let joined: Vec<u8> = base64.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    BASE64_WITH_ANY_PADDING.decode(joined).ok()
}

fn is_one_of(media_type: &str, known: &[&str]) -> bool {
    known.iter().any(|known| known.eq_ignore_ascii_case(media_type))
}

fn is_text(media_type: &str) -> bool {
    let (top, subtype) = media_type.split_once('/').unwrap_or_default();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".+-_".contains(&byte);
    let is_built_on_text =
        || subtype.rsplit_once('+').is_some_and(|(_, kind)| is_one_of(kind, &["json", "xml", "yaml"]));
    match top.to_ascii_lowercase().as_str() {
        "text" => !subtype.is_empty() && subtype.bytes().all(is_name),
        "application" => is_one_of(subtype, &TEXTS) || subtype.bytes().all(is_name) && is_built_on_text(),
        "message" => subtype.eq_ignore_ascii_case("rfc822"),
        _ => false,
    }
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
        let base64 = BASE64_WITH_ANY_PADDING.encode(data);
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
            ("application/X-YAML", true),
            ("application/ld+json", true),
            ("message/rfc822", true),
            ("text/csv", false),
            ("text/tsv", false),
            ("text/x-csv", false),
            ("text/comma-separated-values", false),
        ] {
            let found = source(media_type, "é".as_bytes());
            assert!(
                matches!(found, Some((DocumentSource::Text(text), bounded)) if text == "é" && bounded == is_bounded)
            );
        }
    }

    #[test]
    fn a_table_is_one_by_its_name_too() {
        for (name, is_table) in [
            ("x.csv", true),
            ("a.b.TSV ", true),
            ("x.xlsx", true),
            ("x.txt", false),
            ("csv", false),
            ("x.csv.txt", false),
            ("", false),
        ] {
            let document = InlineDocument::of("text/plain", "YSxi").expect("text").named(name);
            assert_eq!(document.is_bounded_by_bytes(), !is_table, "{name}");
        }
    }

    #[test]
    fn what_is_called_text_and_is_none_stays_data_of_unknown_length() {
        // JSON needs six bytes for each of the control characters.
        for data in [&b"\xff"[..], b"a\0b\0", b"two \x01\x02"] {
            let found = source("Text/Plain;charset=x", data);
            let is_data = |source: &DocumentSource| matches!(source, DocumentSource::Inline { media_type, .. } if media_type == "text/plain");
            assert!(matches!(found, Some((source, false)) if is_data(&source)), "{data:?}");
        }
        let broken = InlineDocument::of("text/plain", "no+base64!").expect("text");
        assert!(!broken.is_bounded_by_bytes());
    }

    #[test]
    fn a_text_about_pdfs_is_text_but_may_be_read_as_one() {
        assert!(matches!(source("text/plain", b"x%PDF-1.7"), Some((DocumentSource::Text(_), false))));
    }

    #[test]
    fn base64_may_be_broken_into_lines_and_have_no_padding() {
        for base64 in ["dHdvIGxp\r\nbmVz", "YQ==", "YQ", " YQ"] {
            assert!(
                InlineDocument::of("text/plain", base64).is_some_and(|document| document.is_bounded_by_bytes()),
                "{base64}"
            );
        }
    }

    #[test]
    fn only_documents_have_a_price() {
        for known in DOCUMENTS.iter().chain(&TABLES) {
            assert!(source(known, b"x").is_some(), "{known}");
        }
        for unknown in
            ["", "text", "text/", "text/plain,audio/wav", "audio/wav", "video/mp4", "image/svg+xml", "application/zip"]
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
