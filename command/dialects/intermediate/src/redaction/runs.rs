//! Runs of characters that a text shares with a secret, whatever their case, separators and escapes.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::ops::Range;

use rustc_hash::{FxBuildHasher, FxHashSet};

use super::lower;
use crate::work;

/// Characters of a run. A shorter secret is one run.
pub const RUN_CHARS: usize = 8;

/// Separates texts that are searched together, and is ignored. Texts do not contain it, since it is invisible.
pub const SEPARATOR: char = '\u{2063}';

/// The hashes of every run of the secrets, by length. The runs themselves would take twenty times the memory of the
/// secret. A hash collision hides a word too many, never one too few. A search takes one step for each character and
/// length, of which there are at most five.
#[derive(Default)]
pub struct Runs(BTreeMap<usize, FxHashSet<u64>>);

impl Runs {
    pub fn add(&mut self, secret: impl Iterator<Item = char>) {
        let secret: Vec<char> = secret.collect();
        if secret.is_empty() {
            return;
        }
        let length = secret.len().min(RUN_CHARS);
        work::steps(secret.len() * length);
        self.0.entry(length).or_default().extend(secret.windows(length).map(hash));
    }

    /// Bytes of memory taken.
    #[cfg(test)]
    pub fn held_bytes(&self) -> usize {
        self.0.values().map(|runs| runs.capacity() * (size_of::<u64>() + 1)).sum()
    }

    /// The positions of runs in a text.
    pub fn find(&self, letters: &[char]) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        for (length, runs) in &self.0 {
            work::steps(letters.len() * length);
            for (at, window) in letters.windows(*length).enumerate() {
                if !runs.contains(&hash(window)) {
                    continue;
                }
                match found.last_mut() {
                    Some(last) if last.start <= at && at <= last.end => last.end = at + length,
                    _ => found.push(at..at + length),
                }
            }
        }
        found
    }
}

fn hash(run: &[char]) -> u64 {
    FxBuildHasher.hash_one(run)
}

/// The escapes that are decoded. What looks like an escape may also be literal text.
#[derive(Clone, Copy, Debug)]
pub struct Escapes {
    url: UrlEscapes,
    json: bool,
    html: bool,
}

/// How often to decode: `%2541` may be itself, `%41` or `A`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UrlEscapes {
    Never,
    Once,
    /// The percent sign may be escaped itself.
    AnyTimes,
}

impl Escapes {
    /// Every combination that can matter for a text; only one if it has no escapes.
    pub fn all_of(text: &str) -> impl Iterator<Item = Self> {
        let has = |sign: char, ways: usize| if text.contains(sign) { ways } else { 1 };
        let urls = [UrlEscapes::Never, UrlEscapes::Once, UrlEscapes::AnyTimes].into_iter().take(has('%', 3));
        let (json, html) = (has('\\', 2), has('&', 2));
        urls.flat_map(move |url| {
            let flags = [(false, false), (true, false), (false, true), (true, true)].into_iter();
            let flags = flags.filter(move |(is_json, is_html)| (!is_json || json > 1) && (!is_html || html > 1));
            flags.map(move |(json, html)| Self { url, json, html })
        })
    }
}

/// The decoded text in lower case, with the position of each character. Decodes escapes of URLs, JSON and HTML.
pub fn decoded(text: &str, escapes: Escapes) -> impl Iterator<Item = (char, Range<usize>)> {
    let (mut rest, mut at) = (text, 0);
    std::iter::from_fn(move || {
        loop {
            let (letter, taken) = next(rest, escapes)?;
            let start = at;
            let mut chars = rest.chars();
            at += chars.by_ref().take(taken).count();
            rest = chars.as_str();
            if let Some(letter) = letter.map(lower) {
                return Some((letter, start..at));
            }
        }
    })
}

/// The ASCII letters and digits of the decoded text, so that nothing between them can hide a run.
pub fn folded(text: &str, escapes: Escapes) -> impl Iterator<Item = (char, Range<usize>)> {
    decoded(text, escapes).filter(|(letter, _)| letter.is_ascii_alphanumeric())
}

/// The next character, if there is one, and the characters of the text that encode it.
fn next(text: &str, escapes: Escapes) -> Option<(Option<char>, usize)> {
    let first = text.chars().next()?;
    let escape = match first {
        '%' if escapes.url == UrlEscapes::Once => code_of(text, 1, 2),
        '%' if escapes.url == UrlEscapes::AnyTimes => percent(text),
        '\\' if escapes.json => backslash(text),
        '&' if escapes.html => entity(text),
        SEPARATOR => Some((None, 1)),
        _ => None,
    };
    Some(escape.unwrap_or((Some(first), 1)))
}

/// The character whose number is written at `from` in so many hexadecimal digits.
fn code_of(text: &str, from: usize, digits: usize) -> Option<(Option<char>, usize)> {
    let code = text.get(from..from + digits).filter(|code| code.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    Some((u32::from_str_radix(code, 16).ok().and_then(char::from_u32), from + digits))
}

/// `%41`, `%2541`, `%252541`.
fn percent(text: &str) -> Option<(Option<char>, usize)> {
    let mut at = 1;
    while text.get(at..at + 2) == Some("25") && code_of(text, at + 2, 2).is_some() {
        at += 2;
    }
    code_of(text, at, 2)
}

/// `\n`, `\x41`, `\u0041`; also where the backslash is escaped itself.
fn backslash(text: &str) -> Option<(Option<char>, usize)> {
    match text.as_bytes().get(1)? {
        b'u' => code_of(text, 2, 4),
        b'x' => code_of(text, 2, 2),
        b'n' | b'r' | b't' | b'b' | b'f' => Some((None, 2)),
        mark @ (b'"' | b'\'' | b'/') => Some((Some(char::from(*mark)), 2)),
        _ => None,
    }
}

/// `&#65;`, `&#x41;`, `&amp;`.
fn entity(text: &str) -> Option<(Option<char>, usize)> {
    const LONGEST: usize = 9;
    let end = text.bytes().take(LONGEST).position(|byte| byte == b';')?;
    let name = text.get(1..end)?;
    let code = match name.strip_prefix('#') {
        None => {
            let mark = match name {
                "amp" => Some('&'),
                "lt" => Some('<'),
                "gt" => Some('>'),
                "quot" => Some('"'),
                "apos" => Some('\''),
                _ => None,
            };
            return name.bytes().all(|byte| byte.is_ascii_alphabetic()).then_some((mark, end + 1));
        }
        Some(number) => match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16).ok()?,
            None => number.parse().ok()?,
        },
    };
    Some((char::from_u32(code), end + 1))
}
