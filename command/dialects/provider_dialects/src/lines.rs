//! Several texts as one, where a dialect has one string and the intermediate form a list of blocks.

use std::borrow::Cow;

use intermediate::chat::Block;

/// The texts of these blocks, one per line.
pub fn joined(content: &[Block]) -> Cow<'_, str> {
    in_lines(content.iter().filter_map(Block::text))
}

/// The texts, one per line. A single one is not copied.
pub fn in_lines<'a>(mut texts: impl Iterator<Item = &'a str>) -> Cow<'a, str> {
    match (texts.next(), texts.next()) {
        (only, None) => Cow::Borrowed(only.unwrap_or_default()),
        (first, second) => first.into_iter().chain(second).chain(texts).collect::<Vec<_>>().join("\n").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_lines_and_a_single_one_is_not_copied() {
        for (texts, wanted) in [(&[][..], ""), (&["a"], "a"), (&["a", "", "b"], "a\n\nb")] {
            let joined = in_lines(texts.iter().copied());
            assert_eq!(joined, wanted);
            assert_eq!(matches!(joined, Cow::Borrowed(_)), texts.len() < 2);
        }
    }
}
