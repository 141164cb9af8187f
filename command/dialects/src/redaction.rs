//! What of an upstream's words may be shown to a client. Upstreams repeat what they were sent, credentials included, as
//! it came or encoded; nothing leaves here that shares eight characters in a row with a secret of ours (a shorter secret:
//! that has it), or that looks like anybody's key.

mod key_like;
mod numbers;
mod runs;
#[cfg(test)]
mod tests;

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use runs::{Escapes, JOINT, RUN_CHARS, Runs, decoded, folded};
use secrets::hex;

/// Characters of a text that is shown.
pub const TEXT_CHARS_MAX: usize = 1000;
/// Characters of a text that are looked at. What is hidden makes room for what stands behind it.
const READ_CHARS_MAX: usize = 2 * TEXT_CHARS_MAX;
/// A shorter secret cannot be told from an ordinary word.
const SECRET_CHARS_MIN: usize = 4;
/// Characters of a code.
const CODE_CHARS_MAX: usize = 64;
/// Characters of the path of a parameter.
const PARAM_CHARS_MAX: usize = 128;
const HIDDEN: &str = "[redacted]";

/// Knows the secrets that an upstream was sent.
#[derive(Default)]
pub struct Redactor {
    /// As they are.
    plain: Runs,
    /// Their letters and digits alone, as they are and in the encodings that upstreams and their proxies use.
    folded: Runs,
}

impl Redactor {
    pub fn new<'s>(secrets: impl IntoIterator<Item = &'s str>) -> Self {
        let mut redactor = Self::default();
        for secret in secrets {
            redactor.add(secret.trim());
        }
        redactor
    }

    fn add(&mut self, secret: &str) {
        if secret.chars().count() < SECRET_CHARS_MIN {
            return;
        }
        self.plain.add(secret.chars().map(lower));
        self.add_forms(secret);
        let parts: Vec<&str> = secret.split_whitespace().collect();
        // `Basic dXNlcjpwYXNzd29yZA==`: the credentials are the part behind the scheme.
        let is_scheme = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
        match *parts.as_slice() {
            [scheme, credentials] if is_scheme(scheme) && credentials.len() < RUN_CHARS => self.add_forms(credentials),
            _ => {}
        }
        for part in parts.into_iter().filter(|part| (RUN_CHARS..secret.len()).contains(&part.len())) {
            self.add_forms(part);
        }
    }

    fn add_forms(&mut self, secret: &str) {
        let mut add = |form: &str| {
            // A form of few letters and digits would hide ordinary words.
            if form.chars().filter(char::is_ascii_alphanumeric).count() >= SECRET_CHARS_MIN {
                for escapes in Escapes::all_of(form) {
                    self.folded.add(folded(form, escapes).map(|(letter, _)| letter));
                }
            }
        };
        add(secret);
        add(&hex::lower(secret.as_bytes()));
        // What stands before the secret shifts its digits: there are three ways. Digits that are in part of what stands
        // around it are left out.
        for before in 0..3 {
            let shifted = [&vec![0; before][..], secret.as_bytes()].concat();
            let whole = (before * 8).div_ceil(6)..shifted.len() * 8 / 6;
            add(STANDARD_NO_PAD.encode(shifted).get(whole).unwrap_or_default());
        }
        let decoders = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE_NO_PAD];
        let decoded = decoders.into_iter().find_map(|decoder| String::from_utf8(decoder.decode(secret).ok()?).ok());
        let Some(decoded) = decoded else { return };
        if decoded.len() >= RUN_CHARS {
            add(&decoded);
        }
        if let Some((_, password)) = decoded.split_once(':').filter(|(_, password)| password.len() < RUN_CHARS) {
            add(password);
        }
    }

    /// `text` on one line, without what must not be shown, and cut. `None` where nothing is left, or where what is left
    /// cannot be vouched for.
    pub fn text(&self, text: &str) -> Option<String> {
        let chars = printable(text);
        let (mut shown, mut at, mut says_something) = (String::new(), 0, false);
        for span in merged(self.hidden_in(&chars)) {
            let before = chars.get(at..span.start).unwrap_or_default();
            says_something |= before.iter().any(|letter| letter.is_alphanumeric());
            shown.extend(before);
            shown.push_str(HIDDEN);
            at = span.end;
        }
        let rest = chars.get(at..).unwrap_or_default();
        says_something |= rest.iter().any(|letter| letter.is_alphanumeric());
        shown.extend(rest);
        let shown = cut(shown);
        // Hiding brings together what stood apart, and the mark itself may be a part of a secret.
        let is_clean = says_something && self.hidden_in(&shown.chars().collect::<Vec<_>>()).is_empty();
        is_clean.then_some(shown)
    }

    /// A code, `None` where it is not like one: nothing of it is ever hidden.
    pub fn code(&self, code: &str) -> Option<String> {
        let begins = code.starts_with(|first: char| first.is_ascii_alphabetic());
        self.name(code, CODE_CHARS_MAX, "_-.").filter(|_| begins)
    }

    /// The path of a parameter, likewise: `messages[0].content`, `tools.0.function`.
    pub fn param(&self, param: &str) -> Option<String> {
        self.name(param, PARAM_CHARS_MAX, "_-.[]$/")
    }

    fn name(&self, name: &str, chars_max: usize, marks: &str) -> Option<String> {
        let is_one = |letter: char| letter.is_ascii_alphanumeric() || marks.contains(letter);
        let is_name = (1..=chars_max).contains(&name.len()) && name.chars().all(is_one);
        (is_name && self.hidden_in(&name.chars().collect::<Vec<_>>()).is_empty()).then(|| name.to_owned())
    }

    /// Whether several texts that are shown side by side have a secret together that none of them has alone: whoever
    /// reads them can put them together in any order.
    pub fn is_split_over(&self, [one, two, three]: [&str; 3]) -> bool {
        // Every order of the three stands in this row.
        let row = [one, two, three, one, two, one, three, two, one];
        let chars: Vec<char> = row.join(JOINT.encode_utf8(&mut [0; 4])).chars().collect();
        !self.secrets_in(&chars).is_empty()
    }

    /// What must not be shown of a text; in any order, and it may overlap.
    fn hidden_in(&self, chars: &[char]) -> Vec<Range<usize>> {
        let mut hidden = self.secrets_in(chars);
        hidden.extend(key_like::find(chars));
        hidden
    }

    /// The same of our own secrets alone.
    fn secrets_in(&self, chars: &[char]) -> Vec<Range<usize>> {
        let mut secrets = Vec::new();
        let text: String = chars.iter().collect();
        for escapes in Escapes::all_of(&text) {
            secrets.extend(found(&self.plain, decoded(&text, escapes)));
            secrets.extend(found(&self.folded, folded(&text, escapes)));
        }
        for radix in numbers::RADICES {
            let told = numbers::characters(chars, radix);
            // All of them, or every other one: between the bytes may stand their places, as in `{"0":103,"1":119}`.
            for (first, step) in [(0, 1), (0, 2), (1, 2)] {
                let told = || told.iter().skip(first).step_by(step).cloned();
                secrets.extend(found(&self.plain, told()));
                secrets.extend(found(&self.folded, told().filter(|(letter, _)| letter.is_ascii_alphanumeric())));
            }
        }
        secrets
    }
}

/// Where in a text these runs stand that were found in what it stands for.
fn found(runs: &Runs, letters: impl Iterator<Item = (char, Range<usize>)>) -> Vec<Range<usize>> {
    let (letters, at): (Vec<char>, Vec<Range<usize>>) = letters.unzip();
    let in_text = |run: Range<usize>| Some(at.get(run.start)?.start..at.get(run.end.checked_sub(1)?)?.end);
    runs.find(&letters).into_iter().filter_map(in_text).collect()
}

/// The same in order, without overlaps; neighbours are one.
fn merged(mut spans: Vec<Range<usize>>) -> Vec<Range<usize>> {
    spans.sort_unstable_by_key(|span| span.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => merged.push(span),
        }
    }
    merged
}

/// The case that all spellings of a letter share; full-width forms are their ordinary letters.
fn lower(letter: char) -> char {
    let letter = match letter {
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(letter) - 0xFEE0).unwrap_or(letter),
        _ => letter,
    };
    letter.to_lowercase().next().unwrap_or(letter)
}

/// The beginning of a text on one line, without what cannot be seen: control characters and invisible ones could break
/// up what must be found, and would do as they please on a terminal.
fn printable(text: &str) -> Vec<char> {
    let mut chars: Vec<char> = Vec::with_capacity(text.len().min(READ_CHARS_MAX));
    for letter in text.chars() {
        let letter = if letter.is_control() || letter.is_whitespace() { ' ' } else { letter };
        let is_doubled = letter == ' ' && chars.last().is_none_or(|last| *last == ' ');
        if !is_doubled && !is_invisible(letter) {
            chars.push(letter);
        }
        if chars.len() == READ_CHARS_MAX {
            break;
        }
    }
    if chars.last() == Some(&' ') {
        chars.pop();
    }
    chars
}

/// Format characters, fillers and selectors: Unicode's `Default_Ignorable_Code_Point`, and what orders text.
const fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}'
        | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

fn cut(text: String) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        None => text,
        Some(_) => text.chars().take(TEXT_CHARS_MAX - 1).chain(['…']).collect(),
    }
}

/// Whether the value of a header that a provider's row adds may be a secret: all but those that never are, and those too
/// short to be one.
pub fn may_be_secret(name: &str, value: &str) -> bool {
    const NEVER: [&str; 10] = [
        "accept",
        "accept-language",
        "anthropic-beta",
        "anthropic-version",
        "content-type",
        "http-referer",
        "openai-beta",
        "referer",
        "user-agent",
        "x-title",
    ];
    value.trim().chars().count() >= SECRET_CHARS_MIN && !NEVER.iter().any(|never| name.eq_ignore_ascii_case(never))
}
