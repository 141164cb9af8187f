//! One pass over JSON text without building a tree: grammar, depth and U+0000 are checked while the members of one
//! object, or the elements of one array, are handed out as slices of the text. What is not looked at stays bytes.

use std::borrow::Cow;
use std::ops::Range;

use serde::Serialize;

/// Containers that may stand inside each other, the outermost included. Deeper text is refused: what reads it later
/// may recurse.
pub const DEPTH_MAX: u32 = 64;

/// What is wrong with a text that should be JSON. Offsets are bytes from the text's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    #[error("is not valid JSON at byte {0}")]
    Syntax(usize),
    #[error("is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    #[error("contains U+0000 at byte {0}")]
    Nul(usize),
}

/// What a JSON value is, told by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

/// Kind of a value that a scan has handed out.
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

/// One member of an object. Ranges are offsets into the text that was scanned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// Decoded: `"m\u006fdel"` is `model`.
    pub key: Cow<'a, str>,
    pub value: &'a str,
    /// From the quote that opens the key to the end of the value.
    pub span: Range<usize>,
    pub value_span: Range<usize>,
}

/// The members of the object that `text` is, in order; the text must hold nothing else but white space around it.
/// After a fault nothing more comes.
pub fn members(text: &str) -> Members<'_> {
    Members { cursor: Cursor::new(text), state: State::Before }
}

/// The elements of the array that `text` is, in order. After a fault nothing more comes.
pub fn elements(text: &str) -> Elements<'_> {
    Elements { cursor: Cursor::new(text), state: State::Before }
}

/// Checks the whole text: one value and white space around it.
pub fn check(text: &str) -> Result<(), JsonFault> {
    let mut cursor = Cursor::new(text);
    cursor.space();
    cursor.value(0)?;
    cursor.end()
}

/// The first value of a member of that name in the object that `text` is; `None` where there is none, or it is null,
/// or the text is no object.
pub fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let member = members(text).map_while(Result::ok).find(|member| member.key == name)?;
    (kind(member.value) != Kind::Null).then_some(member.value)
}

/// A string value decoded; `None` for any other kind, and for half a surrogate pair.
pub fn string(value: &str) -> Option<Cow<'_, str>> {
    let inside = value.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inside.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inside));
    }
    serde_json::from_str(value).ok().map(Cow::Owned)
}

/// UTF-8 bytes that a string value has once it is decoded; 0 for any other kind. Half a surrogate pair counts as three.
pub fn string_bytes(value: &str) -> u64 {
    let Some(inside) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return 0 };
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

/// Length of the escape at the beginning of `bytes`, and of what it stands for.
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

/// A non-negative whole number without fraction or exponent; `None` for anything else, also for what needs more than
/// 64 bits.
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

/// Appends `text` as a JSON string, quotes included.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    push(out, text);
}

/// Appends a value as JSON.
pub fn push(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    // Writing into memory cannot fail, and no type of ours has keys that are not strings.
    let written = serde_json::to_writer(&mut *out, value);
    debug_assert!(written.is_ok(), "a value of ours that is not JSON");
}

/// One replacement in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    pub range: Range<usize>,
    pub replacement: Vec<u8>,
}

/// The text with every edit made. Edits must not overlap; their order does not matter. One that lies outside of the
/// text is left out.
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
    out
}

/// Two objects as one: what both have is taken from `later`, unless that is null; objects inside are merged likewise.
/// Numbers keep the digits they came with. What is not an object is replaced whole.
pub fn merged(earlier: &str, later: &str) -> String {
    if kind(later) == Kind::Null {
        return earlier.to_owned();
    }
    if kind(earlier) != Kind::Object || kind(later) != Kind::Object {
        return later.to_owned();
    }
    let newer: Vec<Member<'_>> = members(later).map_while(Result::ok).collect();
    let older: Vec<Member<'_>> = members(earlier).map_while(Result::ok).collect();
    let mut out = String::with_capacity(earlier.len() + later.len());
    for member in &older {
        let value = match newer.iter().find(|newer| newer.key == member.key) {
            Some(newer) => Cow::Owned(merged(member.value, newer.value)),
            None => Cow::Borrowed(member.value),
        };
        push_member(&mut out, &member.key, &value);
    }
    for member in newer.iter().filter(|newer| older.iter().all(|older| older.key != newer.key)) {
        push_member(&mut out, &member.key, member.value);
    }
    out.push_str(if out.is_empty() { "{}" } else { "}" });
    out
}

fn push_member(out: &mut String, key: &str, value: &str) {
    out.push(if out.is_empty() { '{' } else { ',' });
    out.push_str(&serde_json::Value::from(key).to_string());
    out.push(':');
    out.push_str(value);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Before,
    Inside,
    Done,
}

/// See [`members`].
pub struct Members<'a> {
    cursor: Cursor<'a>,
    state: State,
}

impl<'a> Members<'a> {
    fn step(&mut self) -> Result<Option<Member<'a>>, JsonFault> {
        if !self.cursor.enter(&mut self.state, b'{', b'}')? {
            return Ok(None);
        }
        let start = self.cursor.at;
        let key = self.cursor.key()?;
        let value_span = self.cursor.element()?;
        let (key, value) = (self.cursor.slice(&key), self.cursor.slice(&value_span));
        let key = string(key).ok_or(JsonFault::Syntax(start))?;
        Ok(Some(Member { key, value, span: start..value_span.end, value_span }))
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
        let step = match self.cursor.enter(&mut self.state, b'[', b']') {
            Ok(false) => return None,
            Ok(true) => self.cursor.element().map(|span| self.cursor.slice(&span)),
            Err(fault) => Err(fault),
        };
        if step.is_err() {
            self.state = State::Done;
        }
        Some(step)
    }
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn slice(&self, range: &Range<usize>) -> &'a str {
        self.text.get(range.clone()).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    const fn syntax(&self) -> JsonFault {
        JsonFault::Syntax(self.at)
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonFault> {
        if self.peek() != Some(byte) {
            return Err(self.syntax());
        }
        self.at += 1;
        Ok(())
    }

    fn end(&mut self) -> Result<(), JsonFault> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { Err(self.syntax()) }
    }

    /// Goes to the next member or element of the outermost container; false behind its end.
    fn enter(&mut self, state: &mut State, open: u8, close: u8) -> Result<bool, JsonFault> {
        self.space();
        let first = match state {
            State::Done => return Ok(false),
            State::Before => {
                self.expect(open)?;
                self.space();
                *state = State::Inside;
                true
            }
            State::Inside => false,
        };
        if self.peek() == Some(close) {
            self.at += 1;
            *state = State::Done;
            return self.end().map(|()| false);
        }
        if !first {
            self.expect(b',')?;
            self.space();
        }
        Ok(true)
    }

    /// A value inside of the outermost container.
    fn element(&mut self) -> Result<Range<usize>, JsonFault> {
        let start = self.at;
        self.value(1)?;
        Ok(start..self.at)
    }

    /// A key, its colon, and the white space behind it: the cursor then stands on the value.
    fn key(&mut self) -> Result<Range<usize>, JsonFault> {
        let start = self.at;
        self.string()?;
        let key = start..self.at;
        self.space();
        self.expect(b':')?;
        self.space();
        Ok(key)
    }

    /// One value with everything in it, at `outside` containers' depth. No recursion: which containers are objects is
    /// kept as bits.
    fn value(&mut self, outside: u32) -> Result<(), JsonFault> {
        let (mut objects, mut open) = (0_u64, 0_u32);
        loop {
            match self.peek() {
                Some(byte @ (b'{' | b'[')) => {
                    open += 1;
                    if open + outside > DEPTH_MAX {
                        return Err(JsonFault::TooDeep);
                    }
                    objects = (objects << 1) | u64::from(byte == b'{');
                    self.at += 1;
                    self.space();
                    let closes = if byte == b'{' { b'}' } else { b']' };
                    if self.peek() != Some(closes) {
                        if byte == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                    self.at += 1;
                    open -= 1;
                    objects >>= 1;
                }
                _ => self.scalar()?,
            }
            // A value has ended: close what ends with it, and go to the next.
            loop {
                if open == 0 {
                    return Ok(());
                }
                self.space();
                let in_object = objects & 1 == 1;
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        self.space();
                        if in_object {
                            self.key()?;
                        }
                        break;
                    }
                    Some(b'}') if in_object => {}
                    Some(b']') if !in_object => {}
                    _ => return Err(self.syntax()),
                }
                self.at += 1;
                open -= 1;
                objects >>= 1;
            }
        }
    }

    fn scalar(&mut self) -> Result<(), JsonFault> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            _ => self.number(),
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), JsonFault> {
        let end = self.at + word.len();
        if self.text.as_bytes().get(self.at..end) != Some(word.as_bytes()) {
            return Err(self.syntax());
        }
        self.at = end;
        Ok(())
    }

    fn number(&mut self) -> Result<(), JsonFault> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonFault> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.syntax()) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<(), JsonFault> {
        self.expect(b'"')?;
        loop {
            self.plain();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                _ => return Err(self.syntax()),
            }
        }
    }

    /// Goes to the next byte that means something in a string. Sixteen at a time: prompts and images are long.
    fn plain(&mut self) {
        const BLOCK: usize = 16;
        let special = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
        let bytes = self.text.as_bytes();
        while let Some(block) = bytes.get(self.at..self.at + BLOCK) {
            if block.iter().fold(false, |found, byte| found | special(*byte)) {
                break;
            }
            self.at += BLOCK;
        }
        while self.peek().is_some_and(|byte| !special(byte)) {
            self.at += 1;
        }
    }

    fn escape(&mut self) -> Result<(), JsonFault> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        match bytes.get(start + 1) {
            Some(b'u') => {
                let digits = bytes.get(start + 2..start + 6).ok_or(self.syntax())?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(self.syntax());
                }
                if digits == b"0000" {
                    return Err(JsonFault::Nul(start));
                }
                self.at += 6;
            }
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            _ => return Err(self.syntax()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
