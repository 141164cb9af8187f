//! Ids of tool calls, in the letters that an upstream takes. Calls and results change alike, so they still match.

use std::borrow::Cow;

/// Characters of the checksum, and what is before it.
const MARK_CHARS: usize = 9;

/// The id with `_` for other letters, at most `chars_max` of them. A changed one gets its checksum, so that different ids
/// stay different.
pub fn fitted(id: &str, chars_max: usize, is_allowed: impl Fn(char) -> bool) -> Cow<'_, str> {
    if id.is_empty() {
        return Cow::Borrowed("_");
    }
    if id.len() <= chars_max && id.chars().all(&is_allowed) {
        return Cow::Borrowed(id);
    }
    let safe = id.chars().map(|letter| if is_allowed(letter) { letter } else { '_' });
    let beginning: String = safe.take(chars_max.saturating_sub(MARK_CHARS)).collect();
    format!("{beginning}_{:08x}", crc32fast::hash(id.as_bytes())).into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn different_ids_stay_different() {
        let long = "x".repeat(64);
        let ids = ["", "a_b", "a|b", "a/b", "a_b_", "é", "è", &long, &format!("{long}1"), &format!("{long}2")];
        for chars_max in [64, usize::MAX] {
            let fitted = ids.map(|id| fitted(id, chars_max, |letter| letter.is_ascii_alphanumeric() || letter == '_'));
            assert!(fitted.iter().all(|id| !id.is_empty() && id.len() <= 73), "{fitted:?}");
            assert!(chars_max > 64 || fitted.iter().all(|id| id.len() <= 64), "{fitted:?}");
            assert_eq!(fitted.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{fitted:?}");
            assert_eq!((&*fitted[1], &*fitted[7]), ("a_b", &*long));
        }
    }
}
