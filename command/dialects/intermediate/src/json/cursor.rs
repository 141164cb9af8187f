//! The grammar of JSON: a position in a text that moves over whole values.

use std::borrow::Cow;
use std::ops::Range;

use super::{DEPTH_MAX, JsonFault, string};

/// How many 8-byte words of a string are searched one by one before it is skipped in blocks.
const SHORT_STRING_WORDS: usize = 8;

/// Progress through a container.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    Before,
    Inside,
    Done,
}

/// A key as it is written, with its quotes.
pub struct Key {
    span: Range<usize>,
    has_escapes: bool,
}

pub struct Cursor<'a> {
    text: &'a str,
    pub at: usize,
}

impl<'a> Cursor<'a> {
    pub const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub fn slice(&self, range: &Range<usize>) -> &'a str {
        self.text.get(range.clone()).unwrap_or_default()
    }

    pub fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    const fn syntax(&self) -> JsonFault {
        JsonFault::Syntax(self.at)
    }

    pub fn space(&mut self) {
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

    pub fn end(&mut self) -> Result<(), JsonFault> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { Err(self.syntax()) }
    }

    /// Moves to the next member or element of the outermost container; false after its end.
    pub fn enter(&mut self, state: &mut State, open: u8, close: u8) -> Result<bool, JsonFault> {
        let is_over = *state == State::Done;
        let is_inside = self.advance(state, open, close)?;
        if !is_inside && !is_over {
            self.end()?;
        }
        Ok(is_inside)
    }

    /// Does the same as [`Self::enter`], for any container: does not check what follows its end.
    pub fn advance(&mut self, state: &mut State, open: u8, close: u8) -> Result<bool, JsonFault> {
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
            return Ok(false);
        }
        if !first {
            self.expect(b',')?;
            self.space();
        }
        Ok(true)
    }

    /// A value in the outermost container.
    pub fn element(&mut self) -> Result<Range<usize>, JsonFault> {
        let start = self.at;
        self.value(1)?;
        Ok(start..self.at)
    }

    /// A key, its colon and white space: the cursor is then at the value.
    pub fn key(&mut self) -> Result<Key, JsonFault> {
        let start = self.at;
        let has_escapes = self.string()?;
        let key = Key { span: start..self.at, has_escapes };
        self.space();
        self.expect(b':')?;
        self.space();
        Ok(key)
    }

    /// The decoded name. Errors: half a surrogate pair.
    pub fn name(&self, key: &Key) -> Result<Cow<'a, str>, JsonFault> {
        if key.has_escapes {
            return string(self.slice(&key.span)).ok_or(JsonFault::Syntax(key.span.start));
        }
        Ok(Cow::Borrowed(self.slice(&(key.span.start + 1..key.span.end - 1))))
    }

    /// Skips one value, which is nested in `outside` containers. No recursion: one bit per open container tells objects
    /// from arrays.
    pub fn value(&mut self, outside: u32) -> Result<(), JsonFault> {
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
            // A value has ended: close the containers that end with it, and go to the next value.
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
            Some(b'"') => self.string().map(drop),
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

    /// True if it has escapes. Words of eight bytes find the end of a short string without them, as most are.
    fn string(&mut self) -> Result<bool, JsonFault> {
        self.expect(b'"')?;
        let bytes = self.text.as_bytes();
        let words = bytes.get(self.at..).unwrap_or_default().as_chunks().0;
        for word in words.iter().take(SHORT_STRING_WORDS) {
            let special = special_bits(u64::from_le_bytes(*word));
            if special != 0 {
                self.at += (special.trailing_zeros() / 8) as usize;
                if self.peek() == Some(b'"') {
                    self.at += 1;
                    return Ok(false);
                }
                break;
            }
            self.at += word.len();
        }
        self.rest_of_string()
    }

    /// Not inlined: most strings end before it, and are scanned in fewer instructions without its code around theirs.
    #[inline(never)]
    fn rest_of_string(&mut self) -> Result<bool, JsonFault> {
        let mut has_escapes = false;
        loop {
            self.at += plain_bytes(self.text.as_bytes().get(self.at..).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(has_escapes);
                }
                Some(b'\\') => self.escape()?,
                _ => return Err(self.syntax()),
            }
            has_escapes = true;
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

/// Bytes before the first quote, backslash or control character. Blocks, which a compiler turns into vectors, skip most of
/// a long string, as prompts and images are.
fn plain_bytes(bytes: &[u8]) -> usize {
    let is_plain = |block: &&[u8; 32]| !block.iter().fold(false, |found, byte| found | is_special(*byte));
    let plain = bytes.as_chunks().0.iter().take_while(is_plain).flatten().count();
    let rest = bytes.get(plain..).unwrap_or_default();
    plain + first_special(rest).unwrap_or(rest.len())
}

const fn is_special(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

fn first_special(bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks();
    for (number, word) in words.iter().enumerate() {
        let special = special_bits(u64::from_le_bytes(*word));
        if special != 0 {
            return Some(number * 8 + (special.trailing_zeros() / 8) as usize);
        }
    }
    let in_rest = rest.iter().position(|byte| is_special(*byte))?;
    Some(words.len() * 8 + in_rest)
}

/// Sets the highest bit of the first byte that is special, and none if there is no such byte. Bytes after it may be
/// marked wrongly, because a subtraction borrows from them.
const fn special_bits(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xFF;
    // With this bit flipped, a quote follows the control characters, and none of those leaves its range.
    let control_or_quote = (word ^ (ONES * 0x02)).wrapping_sub(ONES * 0x21);
    let backslash = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    (control_or_quote | backslash) & !word & (ONES * 0x80)
}
