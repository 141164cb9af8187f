//! Ids of tool calls, as each vendor takes them. A history may have calls of another provider, whose ids are longer or have
//! other letters. Calls and results change alike, and always in the same way: they still match, and the prompt can still be
//! read from a cache.

use std::borrow::Cow;

/// The ids that a vendor takes. The table is the constants below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallIdRule {
    /// Any text, or nothing is known.
    Any,
    /// At most so many characters.
    Chars(usize),
    /// At most so many letters, digits, `_`, `-` and these.
    Letters { chars_max: usize, more: &'static str },
    /// Nine letters and digits.
    Nine,
}

impl CallIdRule {
    /// OpenAI's refusal: "Invalid 'messages[4].tool_calls[0].id': string too long. Expected a string with maximum length 64".
    pub const OPENAI: Self = Self::Chars(64);
    /// Azure's refusal, which has OpenAI's older limit: "Expected a string with maximum length 40".
    pub const AZURE: Self = Self::Chars(40);
    /// Claude's refusal, wherever it runs: "String should match pattern '^[a-zA-Z0-9_-]+$'". Clients that send ids to it keep
    /// to 64 characters, which is the limit of its names (<https://docs.claude.com/en/api/messages>).
    pub const CLAUDE: Self = Self::Letters { chars_max: 64, more: "" };
    /// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolUseBlock.html>
    pub const CONVERSE: Self = Self::Letters { chars_max: 64, more: ".:" };
    /// Mistral's refusal: "Tool call id was … but must be a-z, A-Z, 0-9, with a length of 9."
    pub const MISTRAL: Self = Self::Nine;

    /// True if it refuses ids that all others take; see [`intermediate::chat::is_plain_call_id`].
    pub const fn refuses_plain_ids(self) -> bool {
        matches!(self, Self::Nine)
    }

    /// The id in the vendor's form. The same id is always sent the same, and different ids stay different.
    pub fn fitted(self, id: &str) -> Cow<'_, str> {
        match self {
            Self::Any => Cow::Borrowed(id),
            Self::Chars(chars_max) if id.len() <= chars_max => Cow::Borrowed(id),
            Self::Chars(chars_max) => shortened(id, chars_max, is_name_letter),
            Self::Letters { .. } if id.is_empty() => Cow::Borrowed("_"),
            Self::Letters { chars_max, more } => {
                let is_allowed = |letter| is_name_letter(letter) || more.contains(letter);
                match id.len() <= chars_max && id.chars().all(is_allowed) {
                    true => Cow::Borrowed(id),
                    false => shortened(id, chars_max, is_allowed),
                }
            }
            Self::Nine if id.len() == NINE && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) => Cow::Borrowed(id),
            Self::Nine => nine(id).into(),
        }
    }
}

/// Characters of the checksum, and what is before it.
const MARK_CHARS: usize = 9;
const NINE: usize = 9;

const fn is_name_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-')
}

/// The beginning of an id with `_` for other letters, and the checksum of all of it, so that different ids stay different.
fn shortened(id: &str, chars_max: usize, is_allowed: impl Fn(char) -> bool) -> Cow<'_, str> {
    let safe = id.chars().map(|letter| if is_allowed(letter) { letter } else { '_' });
    let beginning: String = safe.take(chars_max.saturating_sub(MARK_CHARS)).collect();
    format!("{beginning}_{:08x}", crc32fast::hash(id.as_bytes())).into()
}

/// Nine letters and digits from a hash (64-bit FNV-1a). Ids of one request that met in one would only mix up the calls of
/// the client that chose them.
fn nine(id: &str) -> String {
    const LETTERS: [u8; 62] = *b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut hash = id.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    let mut short = String::with_capacity(NINE);
    for _ in 0..NINE {
        let letter = usize::try_from(hash % 62).ok().and_then(|at| LETTERS.get(at));
        short.push(char::from(letter.copied().unwrap_or(b'0')));
        hash /= 62;
    }
    short
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const RULES: [CallIdRule; 5] =
        [CallIdRule::OPENAI, CallIdRule::AZURE, CallIdRule::CLAUDE, CallIdRule::CONVERSE, CallIdRule::MISTRAL];

    #[test]
    fn different_ids_stay_different_and_fit() {
        let long = "x".repeat(64);
        let ids = ["a_b", "a|b", "a/b", "a_b_", "é", "è", &long, &format!("{long}1"), &format!("{long}2|fc:3")];
        for rule in RULES {
            let fitted = ids.map(|id| rule.fitted(id));
            let (chars_max, is_allowed): (usize, fn(char) -> bool) = match rule {
                CallIdRule::Any => (usize::MAX, |_| true),
                CallIdRule::Chars(chars_max) => (chars_max, |_| true),
                CallIdRule::Letters { chars_max, .. } => (chars_max, is_name_letter),
                CallIdRule::Nine => (9, |letter| letter.is_ascii_alphanumeric()),
            };
            for id in &fitted {
                assert!((1..=chars_max).contains(&id.len()) && id.chars().all(is_allowed), "{rule:?} {id}");
                assert_eq!(rule.fitted(id), *id, "what fits stays: {rule:?}");
            }
            assert_eq!(fitted.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{fitted:?}");
        }
    }

    #[test]
    fn an_id_that_fits_is_sent_as_it_is() {
        let long = "x".repeat(64);
        for (rule, id) in [
            (CallIdRule::Any, "any|thing"),
            (CallIdRule::OPENAI, &*long),
            (CallIdRule::OPENAI, "functions.f:0|é"),
            (CallIdRule::AZURE, "call_a|b"),
            (CallIdRule::CLAUDE, &long),
            (CallIdRule::CONVERSE, "tooluse_a-B9.:x"),
            (CallIdRule::MISTRAL, "D681PevKs"),
        ] {
            assert_eq!(rule.fitted(id), id, "{rule:?}");
        }
        assert_eq!(CallIdRule::CLAUDE.fitted("functions.f:0"), "functions_f_0_b9a7d792");
        assert_eq!(CallIdRule::CLAUDE.fitted(""), "_");
    }

    #[test]
    fn ids_become_nine_letters_and_digits() {
        let ids = ["", "call_1", "call_2", "toolu_01A09q90qw90lq917835lq9", "é", "D681PevK-", "D681PevKs0"];
        let sent: BTreeSet<_> = ids.iter().map(|id| CallIdRule::MISTRAL.fitted(id)).collect();
        assert_eq!(sent.len(), ids.len());
        assert!(sent.iter().all(|id| id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())), "{sent:?}");
    }
}
