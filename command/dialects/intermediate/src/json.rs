//! JSON read in one pass, without a tree. The scanner checks grammar, depth and U+0000, and yields the members of one
//! object, or the elements of one array, as slices of the text. Values that are not needed are never decoded.
//!
//! Guarantees: each scan takes time linear in the text, does not recurse, and copies nothing but names with escapes.
//! Not checked: the range of numbers and surrogate pairs in values, which show only when a value is decoded. Nested
//! objects are not kept either: a caller that descends scans the nested slice again, at most [`DEPTH_MAX`] times.
//!
//! Rejected: a tree of values, which takes many times the memory of a 32 MiB body and loses the spelling of what is
//! passed on; and typed structs for each dialect, which lose unknown fields. Slices keep their positions, so [`splice`]
//! can edit a body in place.

mod cursor;
mod truncated;
mod write;

use std::borrow::Cow;
use std::ops::Range;

pub use cursor::{Cursor, State};
pub use truncated::complete;
pub use write::{Edit, push, splice, written};

use super::work;

/// Levels of nested containers, the outermost included. Deeper text is refused, because whoever reads it later may
/// recurse.
pub const DEPTH_MAX: u32 = 64;

/// Members of an object that is read by name. Objects that are only passed on may have any number.
pub const MEMBERS_MAX: usize = 256;

/// A fault in JSON text. Offsets are bytes from the beginning of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    #[error("is not valid JSON at byte {0}")]
    Syntax(usize),
    #[error("is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    #[error("contains U+0000 at byte {0}")]
    Nul(usize),
    #[error("has more than {MEMBERS_MAX} fields")]
    TooManyMembers,
}

/// The kind of a JSON value, known from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

/// The kind of a value that a scan has yielded.
pub fn kind(value: &str) -> Kind {
    match value.as_bytes().first() {
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::Array,
        Some(b'"') => Kind::String,
        Some(b't' | b'f') => Kind::Boolean,
        Some(b'n') | None => Kind::Null,
        Some(_) => Kind::Number,
    }
}

/// One member of an object. Ranges are offsets into the scanned text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    name: Cow<'a, str>,
    pub value: &'a str,
    /// From the quote that opens the name to the end of the value.
    pub span: Range<usize>,
    pub value_span: Range<usize>,
}

impl Member<'_> {
    /// The decoded name: `"m\u006fdel"` is `model`.
    pub fn name(&self) -> &str {
        // Counts the comparisons of callers that search the members repeatedly.
        work::steps(1);
        &self.name
    }
}

/// The members of the object in `text`, in order. Only white space may surround the object. A fault ends the iteration.
pub fn members(text: &str) -> Members<'_> {
    Members { cursor: Cursor::new(text), state: State::Before, left: usize::MAX }
}

/// The members of an object that is read by name: more than [`MEMBERS_MAX`] are a fault.
pub fn known_members(text: &str) -> Members<'_> {
    Members { left: MEMBERS_MAX, ..members(text) }
}

/// The elements of the array in `text`, in order. A fault ends the iteration.
pub fn elements(text: &str) -> Elements<'_> {
    Elements { cursor: Cursor::new(text), state: State::Before }
}

/// The elements of a value up to the first fault; none if it is not an array.
pub fn elements_if_array(value: &str) -> impl Iterator<Item = &str> {
    let is_one = kind(value) == Kind::Array;
    is_one.then(|| elements(value).map_while(Result::ok)).into_iter().flatten()
}

/// The position of a slice of the text.
pub fn span(text: &str, slice: &str) -> Range<usize> {
    let start = slice.as_ptr().addr().saturating_sub(text.as_ptr().addr());
    start..start + slice.len()
}

/// Checks that the text is one value with nothing but white space around it.
pub fn check(text: &str) -> Result<(), JsonFault> {
    work::steps(text.len());
    let mut cursor = Cursor::new(text);
    cursor.space();
    cursor.value(0)?;
    cursor.end()
}

/// The first value under each of these names in the object in `text`. `None` if absent or null, or if the text is not
/// an object. The text is scanned once, however many names there are. Errors: those of [`known_members`].
pub fn pick<'a, const N: usize>(text: &'a str, names: [&str; N]) -> Result<[Option<&'a str>; N], JsonFault> {
    let mut found = [None; N];
    if kind(text.trim_ascii_start()) != Kind::Object {
        return Ok(found);
    }
    for member in known_members(text) {
        record_first(&member?, names, &mut found);
    }
    Ok(without_nulls(found))
}

/// Does the same as [`pick`], for an object that may be truncated and may have any number of members. Members after a
/// fault are not found.
pub fn find<'a, const N: usize>(text: &'a str, names: [&str; N]) -> [Option<&'a str>; N] {
    let mut found = [None; N];
    for member in members(text).map_while(Result::ok) {
        record_first(&member, names, &mut found);
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    without_nulls(found)
}

/// Finds members as [`find`] does, and binds each to the variable beside its name.
#[macro_export]
macro_rules! find_members {
    ($text:expr => $($value:ident = $name:literal),+ $(,)?) => {
        let [$($value),+] = $crate::json::find($text, [$($name),+]);
    };
}
pub use find_members;

/// Records the value of a member unless an earlier one has the same name.
fn record_first<'a, const N: usize>(member: &Member<'a>, names: [&str; N], found: &mut [Option<&'a str>; N]) {
    let name = member.name();
    if let Some(slot) = names.iter().position(|wanted| *wanted == name).and_then(|at| found.get_mut(at)) {
        slot.get_or_insert(member.value);
    }
}

fn without_nulls<const N: usize>(found: [Option<&str>; N]) -> [Option<&str>; N] {
    found.map(|value| value.filter(|value| kind(value) != Kind::Null))
}

/// The first value under this name in the object in `text`. `None` if absent or null, or if the text is not an object.
/// Scans up to that member; for several names use [`pick`] or [`find`].
pub fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let [value] = find(text, [name]);
    value
}

/// The decoded string; `None` for any other kind, and for half a surrogate pair.
pub fn string(value: &str) -> Option<Cow<'_, str>> {
    let inside = value.strip_prefix('"')?.strip_suffix('"')?;
    work::steps(value.len());
    if memchr::memchr(b'\\', inside.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inside));
    }
    serde_json::from_str(value).ok().map(Cow::Owned)
}

/// UTF-8 bytes of the decoded string; 0 for any other kind. Half a surrogate pair counts as three.
pub fn string_bytes(value: &str) -> u64 {
    let Some(inside) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return 0 };
    work::steps(value.len());
    let (bytes, mut at, mut count) = (inside.as_bytes(), 0, 0);
    while let Some(found) = memchr::memchr(b'\\', bytes.get(at..).unwrap_or_default()) {
        let escape = at + found;
        let (taken, decoded) = escape_bytes(bytes.get(escape..).unwrap_or_default());
        count += found + decoded;
        at = escape + taken;
    }
    count += bytes.len().saturating_sub(at);
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Bytes of the escape at the beginning of `bytes`, and of the character that it encodes.
fn escape_bytes(bytes: &[u8]) -> (usize, usize) {
    let Some(unit) = code_unit(bytes) else { return (2, 1) };
    match unit {
        0..0x80 => (6, 1),
        0x80..0x800 => (6, 2),
        0xD800..0xDC00 if matches!(code_unit(bytes.get(6..).unwrap_or_default()), Some(0xDC00..0xE000)) => (12, 4),
        _ => (6, 3),
    }
}

/// The code unit at the beginning of `bytes`, written as `\u` and four hexadecimal digits.
fn code_unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// A non-negative integer without fraction or exponent; `None` for anything else, and beyond 64 bits.
pub fn integer(value: &str) -> Option<u64> {
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok())?
}

/// `true` and `false`; `None` for anything else.
pub fn boolean(value: &str) -> Option<bool> {
    match value {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// See [`members`].
pub struct Members<'a> {
    cursor: Cursor<'a>,
    state: State,
    /// Members that may still follow.
    left: usize,
}

impl<'a> Members<'a> {
    fn step(&mut self) -> Result<Option<Member<'a>>, JsonFault> {
        let before = self.cursor.at;
        if !self.cursor.enter(&mut self.state, b'{', b'}')? {
            return Ok(None);
        }
        self.left = self.left.checked_sub(1).ok_or(JsonFault::TooManyMembers)?;
        let start = self.cursor.at;
        let key = self.cursor.key()?;
        let value_span = self.cursor.element()?;
        work::steps(self.cursor.at - before);
        let (name, value) = (self.cursor.name(&key)?, self.cursor.slice(&value_span));
        Ok(Some(Member { name, value, span: start..value_span.end, value_span }))
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<Member<'a>, JsonFault>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.state = State::Done;
        }
        step.transpose()
    }
}

/// See [`elements`].
pub struct Elements<'a> {
    cursor: Cursor<'a>,
    state: State,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<&'a str, JsonFault>;

    fn next(&mut self) -> Option<Self::Item> {
        let before = self.cursor.at;
        let step = match self.cursor.enter(&mut self.state, b'[', b']') {
            Ok(false) => return None,
            Ok(true) => self.cursor.element().map(|span| self.cursor.slice(&span)),
            Err(fault) => Err(fault),
        };
        work::steps(self.cursor.at - before);
        if step.is_err() {
            self.state = State::Done;
        }
        Some(step)
    }
}

#[cfg(test)]
mod tests;
