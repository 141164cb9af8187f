//! Writes JSON, and edits JSON text in place.

use std::ops::Range;

use serde::Serialize;

use crate::work;

/// A value as JSON.
pub fn written(value: &(impl Serialize + ?Sized)) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    push(&mut out, value);
    out
}

/// Appends a value as JSON; a string in quotes.
pub fn push(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let before = out.len();
    // Writing to memory cannot fail, and all maps that are written have string keys.
    let written = serde_json::to_writer(&mut *out, value);
    debug_assert!(written.is_ok(), "the value cannot be written as JSON");
    work::steps(out.len() - before);
}

/// One replacement in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    pub range: Range<usize>,
    pub replacement: Vec<u8>,
}

/// Applies the edits to the text. They must not overlap, and may be in any order. One outside of the text is skipped.
pub fn splice(text: &str, edits: &mut [Edit]) -> Vec<u8> {
    edits.sort_by_key(|edit| edit.range.start);
    let added: usize = edits.iter().map(|edit| edit.replacement.len()).sum();
    let (bytes, mut at) = (text.as_bytes(), 0);
    let mut out = Vec::with_capacity(bytes.len() + added);
    for edit in edits.iter() {
        let Some(kept) = bytes.get(at..edit.range.start) else { continue };
        out.extend_from_slice(kept);
        out.extend_from_slice(&edit.replacement);
        at = edit.range.end;
    }
    out.extend_from_slice(bytes.get(at..).unwrap_or_default());
    work::steps(out.len());
    out
}
