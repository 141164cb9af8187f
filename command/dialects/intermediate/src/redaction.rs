//! Redaction of upstreams' error messages before a client reads them. Upstreams repeat what they were sent, credentials
//! included, verbatim or encoded.
//!
//! Guarantee: no shown text shares eight characters in a row with a secret that was sent (a shorter secret is hidden
//! whole, one under four characters not at all), in any case, split by marks, or in the encodings that upstreams and
//! proxies use: escapes of URLs, JSON and HTML, base64, hexadecimal, and lists of character codes. Words that look like
//! anybody's key are hidden too, but only by their form: a password that looks like an ordinary word is not found
//! unless it was sent or is named (`password=…`).
//!
//! Codes and parameters are shown whole or not at all. If the result still has a secret, nothing is shown: a missing
//! message is safe. Rejected: a search for whole secrets, which misses partial copies; and runs of secrets kept as
//! text, which take twenty times the memory of the secret.

mod key_like;
mod numbers;
mod runs;
#[cfg(test)]
mod tests;

use events::hex;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

pub use key_like::{has_credential, looks_random};
use runs::{Escapes, RUN_CHARS, Runs, SEPARATOR, decoded, folded};

/// Longest shown text, in characters.
pub const TEXT_CHARS_MAX: usize = 1000;
/// Characters of a text that are read: more than are shown, because hidden parts make room for later ones.
const READ_CHARS_MAX: usize = 2 * TEXT_CHARS_MAX;
/// Shortest secret that is looked for: a shorter one could be any word.
const SECRET_CHARS_MIN: usize = 4;
/// Longest error code, in characters.
const CODE_CHARS_MAX: usize = 64;
/// Longest path of a parameter, in characters.
const PARAM_CHARS_MAX: usize = 128;
const HIDDEN: &str = "[redacted]";

/// Redacts the secrets that were sent to an upstream, and other words that look like keys.
#[derive(Default)]
pub struct Redactor {
    /// Runs of the secrets, verbatim.
    plain: Runs,
    /// Runs of their letters and digits, verbatim and in the encodings that upstreams and proxies use.
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
        // `Basic dXNlcjpwYXNzd29yZA==`: the credentials follow the scheme.
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
            // A form with few letters and digits would hide ordinary words.
            if form.chars().filter(char::is_ascii_alphanumeric).count() >= SECRET_CHARS_MIN {
                for escapes in Escapes::all_of(form) {
                    self.folded.add(folded(form, escapes).map(|(letter, _)| letter));
                }
            }
        };
        add(secret);
        add(&hex::lower(secret.as_bytes()));
        // Text before the secret shifts its base64 digits, in one of three ways. Digits that also encode bits of the
        // text around it are left out.
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

    /// The text on one line, redacted and truncated. `None` if nothing readable is left, or if the result is still not
    /// clean.
    pub fn text(&self, text: &str) -> Option<String> {
        let chars = printable(text);
        let (mut shown, mut at, mut has_text) = (String::new(), 0, false);
        for span in merged(self.hidden_in(&chars)) {
            let before = chars.get(at..span.start).unwrap_or_default();
            has_text |= before.iter().any(|letter| letter.is_alphanumeric());
            shown.extend(before);
            shown.push_str(HIDDEN);
            at = span.end;
        }
        let rest = chars.get(at..).unwrap_or_default();
        has_text |= rest.iter().any(|letter| letter.is_alphanumeric());
        shown.extend(rest);
        let shown = truncated(shown);
        // Hiding can join text into a new run, and the mark itself may be part of a secret.
        let is_clean = has_text && self.hidden_in(&shown.chars().collect::<Vec<_>>()).is_empty();
        is_clean.then_some(shown)
    }

    /// An error code, whole; `None` if it has a secret or is not shaped like a code.
    pub fn code(&self, code: &str) -> Option<String> {
        let begins = code.starts_with(|first: char| first.is_ascii_alphabetic());
        self.name(code, CODE_CHARS_MAX, "_-.").filter(|_| begins)
    }

    /// The path of a parameter, whole: `messages[0].content`, `tools.0.function`. `None` as for [`Self::code`].
    pub fn param(&self, param: &str) -> Option<String> {
        self.name(param, PARAM_CHARS_MAX, "_-.[]$/")
    }

    fn name(&self, name: &str, chars_max: usize, marks: &str) -> Option<String> {
        let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || marks.contains(letter);
        let is_name = (1..=chars_max).contains(&name.len()) && name.chars().all(is_allowed);
        (is_name && self.hidden_in(&name.chars().collect::<Vec<_>>()).is_empty()).then(|| name.to_owned())
    }

    /// True if a secret is split over texts that are shown together, whose reader could join them in any order.
    pub fn is_split_over(&self, [one, two, three]: [&str; 3]) -> bool {
        // This sequence contains every order of the three.
        let row = [one, two, three, one, two, one, three, two, one];
        let chars: Vec<char> = row.join(SEPARATOR.encode_utf8(&mut [0; 4])).chars().collect();
        !self.secrets_in(&chars).is_empty()
    }

    /// The spans of a text that must be hidden, unordered and possibly overlapping.
    fn hidden_in(&self, chars: &[char]) -> Vec<Range<usize>> {
        let mut hidden = self.secrets_in(chars);
        hidden.extend(key_like::find(chars));
        hidden
    }

    /// The spans of the known secrets alone.
    fn secrets_in(&self, chars: &[char]) -> Vec<Range<usize>> {
        let mut secrets = Vec::new();
        let text: String = chars.iter().collect();
        for escapes in Escapes::all_of(&text) {
            secrets.extend(positions(&self.plain, decoded(&text, escapes)));
            secrets.extend(positions(&self.folded, folded(&text, escapes)));
        }
        for radix in numbers::RADICES {
            let characters = numbers::characters(chars, radix);
            // All of them, and every other one: indices may stand between the bytes, as in `{"0":103,"1":119}`.
            for (first, step) in [(0, 1), (0, 2), (1, 2)] {
                let selected = || characters.iter().skip(first).step_by(step).cloned();
                secrets.extend(positions(&self.plain, selected()));
                secrets
                    .extend(positions(&self.folded, selected().filter(|(letter, _)| letter.is_ascii_alphanumeric())));
            }
        }
        secrets
    }
}

/// The positions of the runs in the original text; `letters` is its decoded form with the position of each character.
fn positions(runs: &Runs, letters: impl Iterator<Item = (char, Range<usize>)>) -> Vec<Range<usize>> {
    let (letters, at): (Vec<char>, Vec<Range<usize>>) = letters.unzip();
    let in_text = |run: Range<usize>| Some(at.get(run.start)?.start..at.get(run.end.checked_sub(1)?)?.end);
    runs.find(&letters).into_iter().filter_map(in_text).collect()
}

/// Sorts the spans, and joins those that overlap or touch.
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

/// The lower case of a letter; of a full-width form, that of the ordinary letter.
fn lower(letter: char) -> char {
    let letter = match letter {
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(letter) - 0xFEE0).unwrap_or(letter),
        _ => letter,
    };
    letter.to_lowercase().next().unwrap_or(letter)
}

/// The beginning of a text on one line, without control and invisible characters, which could split a secret or control
/// a terminal.
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

/// Format characters, fillers and selectors: Unicode's `Default_Ignorable_Code_Point` and the bidirectional controls.
const fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}'
        | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

fn truncated(text: String) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        None => text,
        Some(_) => text.chars().take(TEXT_CHARS_MAX - 1).chain(['…']).collect(),
    }
}

/// True if the value of a header in a provider's row may be a secret: every one but those of well-known headers and
/// those too short to be one.
pub fn may_be_secret(name: &str, value: &str) -> bool {
    const NEVER: [&str; 10] = [
        "accept", "accept-language", "anthropic-beta", "anthropic-version", "content-type", "http-referer",
        "openai-beta", "referer", "user-agent", "x-title",
    ];
    value.trim().chars().count() >= SECRET_CHARS_MIN && !NEVER.iter().any(|never| name.eq_ignore_ascii_case(never))
}
