//! Detection of a request's purpose, by words of its last message. If several apply, the first one of this list counts:
//! a request for the translation of a program is a translation.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use events::routing::RequestType;

/// Bytes read of the beginning and of the end of a longer text, where instructions stand.
const BEGINNING_BYTES: usize = 2048;
const END_BYTES: usize = 512;

/// The case of letters makes no difference where they are of ASCII.
const WORDS: [(RequestType, &[&str]); 5] = [
    (
        RequestType::Translation,
        &[
            "translate", "translation", "übersetz", "Übersetz", "tradui", "traduc", "traduz", "vertaal", "переведи",
            "翻译", "翻訳", "번역",
        ],
    ),
    (
        RequestType::Summary,
        &[
            "summar", "tl;dr", "zusammenfass", "fasse zusammen", "résum", "resum", "riassum", "samenvat", "总结",
            "要約", "요약",
        ],
    ),
    (
        RequestType::Extraction,
        &[
            "extract", "extrahier", "extrae", "extrai", "estrai", "classify", "klassifizier", "clasific", "抽出",
            "提取", "추출",
        ],
    ),
    (
        RequestType::Code,
        &[
            "```", "write a function", "write code", "source code", "refactor", "debug", "unit test", "stack trace",
            "traceback", "#include", "public class", "fn main", "def main", "console.log", "select * from",
            "sql query", "regex", "python", "javascript", "typescript", "golang", "bash script",
        ],
    ),
    (
        RequestType::Reasoning,
        &[
            "step by step", "schritt für schritt", "pas à pas", "paso a paso", "prove that", "proof", "beweise",
            "démontre", "demuestra", "solve ", "derive ", "explain why", "reason about", "一步一步", "証明",
        ],
    ),
];

static SEARCH: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let words = WORDS.iter().flat_map(|(_, words)| words.iter());
    AhoCorasick::builder().ascii_case_insensitive(true).build(words).ok()
});

/// `None` if the text has none of the words.
pub fn of(text: &str) -> Option<RequestType> {
    let beginning = &text[..text.floor_char_boundary(BEGINNING_BYTES)];
    let rest = &text[beginning.len()..];
    let end = &rest[rest.ceil_char_boundary(rest.len().saturating_sub(END_BYTES))..];
    let first =
        |text| SEARCH.as_ref()?.find_overlapping_iter(text).map(|found| place(found.pattern().as_usize())).min();
    let place = [beginning, end].into_iter().filter_map(first).min()?;
    WORDS.get(place).map(|(request_type, _)| *request_type)
}

/// The place in the table of the type that has the word of this number.
fn place(word: usize) -> usize {
    let mut words = 0;
    WORDS
        .iter()
        .take_while(|(_, of_type)| {
            words += of_type.len();
            words <= word
        })
        .count()
}
