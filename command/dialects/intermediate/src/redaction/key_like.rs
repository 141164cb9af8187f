//! Words that look like a key, a token or a password. Names of models, dates and paths of fields are not found: clients
//! need them to fix their requests.

use std::ops::Range;

/// Well-known prefixes of keys, in any case. Any letter or digit after one makes the word a key.
const PREFIXES: [&str; 21] = [
    "sk-", "sk_", "pk_", "rk_", "sgk_", "gsk_", "csk-", "xai-", "hf_", "r8_", "tgp_", "pplx-", "nvapi-", "sess-",
    "ya29.", "ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "xoxb-",
];
/// Case-sensitive prefixes, and the letters and digits that must follow: AWS, Google, JSON in base64.
const EXACT_PREFIXES: [(&str, usize); 6] =
    [("AKIA", 12), ("ASIA", 12), ("ABIA", 12), ("ABSK", 12), ("AIza", 8), ("eyJ", 8)];
/// Words after `bearer` that are not a token.
const NOT_TOKENS: [&str; 12] = [
    "redacted", "token", "tokens", "auth", "authentication", "authorization", "scheme", "header", "prefix", "key",
    "is", "or",
];
/// Letters and digits in a row that are not a word.
const RANDOM_CHARS_MIN: usize = 16;
/// Letters and digits in mixed parts with marks between them.
const MIXED_CHARS_MIN: usize = 18;
const MIXED_PART_CHARS_MIN: usize = 4;
const RESTLESS_PART_CHARS_MIN: usize = 10;
/// Digits in a row.
const DIGITS_MIN: usize = 32;

/// The positions of such words, in one pass over the text.
pub fn find(chars: &[char]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let (mut before, mut start) = (String::new(), 0);
    // `chunk_by` also yields the text between words.
    for chunk in chars.chunk_by(|left, right| is_word_char(*left) == is_word_char(*right)) {
        let end = start + chunk.len();
        if chunk.first().copied().is_some_and(is_word_char) {
            let word: String = chunk.iter().collect();
            if is_announced(&before, &word) || looks_like_a_key(&word) {
                found.push(start..end);
            } else if let Some(from) = named_value(&word).or_else(|| query_of(&word)) {
                found.push(start + from..end);
            }
            before = word;
        }
        start = end;
    }
    found
}

/// True if a word of the text is a credential by its form or by what is before it: `sk-…`, `Bearer …`, `password=…`.
pub fn has_credential(text: &str) -> bool {
    let mut before = "";
    words(text).any(|word| {
        let is_named = is_announced(before, word) || named_value(word).is_some();
        before = word;
        is_named || has_prefix(word) || has_user_info(word)
    })
}

/// True if a word of the text looks random, as many ids do too.
pub fn looks_random(text: &str) -> bool {
    words(text).any(|word| has_uuid(word) || is_random(word))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !is_word_char(letter)).filter(|word| !word.is_empty())
}

/// True for the characters of words. They are ASCII, so that one character is one byte.
const fn is_word_char(letter: char) -> bool {
    letter.is_ascii_alphanumeric()
        || matches!(letter, '_' | '-' | '.' | '+' | '/' | '=' | '~' | '%' | '*' | '@' | ':' | '&' | '?' | '#')
}

/// True if the word before says that this one is a credential: `Bearer x`, `Authorization: Basic x`, `api_key: x`.
fn is_announced(before: &str, word: &str) -> bool {
    let before = before.to_ascii_lowercase();
    let name = before.trim_end_matches([':', '=']);
    match name.rsplit([':', '=']).next() {
        Some("bearer") => !NOT_TOKENS.contains(&&*word.to_ascii_lowercase()),
        // Not `a basic plan`: credentials are not a word in lower case.
        Some("basic") => word.len() >= 4 && !word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'.'),
        _ => name.len() < before.len() && is_secret_name(name) && word != "redacted",
    }
}

/// The position of the value in `api_key=x`, `x-api-key:x`.
fn named_value(word: &str) -> Option<usize> {
    let (name, value) = word.split_once(['=', ':'])?;
    (is_secret_name(&name.to_ascii_lowercase()) && !value.is_empty()).then_some(name.len() + 1)
}

/// True for `api_key`, `x-api-key`, `access_token`, `password`; not for `max_tokens`, `monkey` or a bare `key`.
fn is_secret_name(name: &str) -> bool {
    let mut parts = name.rsplit(['_', '-', '.', '/']);
    match (parts.next(), parts.next()) {
        (Some("apikey" | "authorization" | "password" | "passwd" | "secret" | "credentials"), _) => true,
        (Some("key" | "token"), Some(whose)) => {
            ["api", "access", "auth", "bearer", "client", "private", "refresh", "secret", "session"].contains(&whose)
        }
        _ => false,
    }
}

/// The position of the query or fragment of a URL.
fn query_of(word: &str) -> Option<usize> {
    let scheme = word.find("://")?;
    let query = word.get(scheme..)?.find(['?', '#'])? + scheme + 1;
    (query < word.len()).then_some(query)
}

fn looks_like_a_key(word: &str) -> bool {
    has_prefix(word) || has_user_info(word) || has_uuid(word) || is_random(word)
}

fn has_prefix(word: &str) -> bool {
    let bytes = word.as_bytes();
    let begins =
        |at: usize| at.checked_sub(1).and_then(|before| bytes.get(before)).is_none_or(|b| !b.is_ascii_alphanumeric());
    (0..word.len()).filter(|at| begins(*at)).filter_map(|at| word.get(at..)).any(|rest| {
        let after = |prefix: &str| rest.bytes().skip(prefix.len());
        let is_known = PREFIXES.iter().any(|prefix| {
            let begins = rest.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
            begins && after(prefix).any(|byte| byte.is_ascii_alphanumeric())
        });
        is_known
            || EXACT_PREFIXES.iter().any(|(prefix, more)| {
                rest.starts_with(prefix) && after(prefix).take_while(u8::is_ascii_alphanumeric).count() >= *more
            })
    })
}

/// True for `https://user:password@host`.
fn has_user_info(word: &str) -> bool {
    let authority = word.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
    authority.is_some_and(|authority| authority.contains('@'))
}

fn has_uuid(word: &str) -> bool {
    word.split(|letter: char| !letter.is_ascii_hexdigit() && letter != '-').any(|part| {
        let lengths: Vec<usize> = part.split('-').map(str::len).collect();
        lengths.windows(5).any(|five| matches!(five, [first, 4, 4, 4, last] if *first >= 8 && *last >= 12))
    })
}

/// True for long words that look random: letters mixed with digits, or letters whose case changes often.
fn is_random(word: &str) -> bool {
    let mut mixed = 0;
    for part in word.split(|letter: char| !letter.is_ascii_alphanumeric()) {
        let digits = part.bytes().filter(u8::is_ascii_digit).count();
        let is_mixed = digits > 0 && digits < part.len();
        let pairs = part.bytes().zip(part.bytes().skip(1));
        let changes = pairs.filter(|(left, right)| left.is_ascii_uppercase() != right.is_ascii_uppercase()).count();
        let is_restless = changes * 3 >= part.len();
        if part.len() >= RANDOM_CHARS_MIN && (is_mixed || is_restless || digits >= DIGITS_MIN) {
            return true;
        }
        if (is_mixed && part.len() >= MIXED_PART_CHARS_MIN) || (is_restless && part.len() >= RESTLESS_PART_CHARS_MIN) {
            mixed += part.len();
        }
    }
    mixed >= MIXED_CHARS_MIN
}
