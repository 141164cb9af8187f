//! Tells from the pieces of a call's arguments whether more can follow.

use intermediate::work;

/// The arguments of a call so far: one JSON object.
#[derive(Clone, Copy, Default)]
pub struct ArgumentsEnd {
    depth: u32,
    has_begun: bool,
    is_in_string: bool,
    is_escaped: bool,
}

impl ArgumentsEnd {
    /// Reads the next piece.
    pub fn read(&mut self, piece: &str) {
        work::steps(piece.len());
        for byte in piece.bytes() {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.is_in_string => self.is_escaped = true,
                b'"' => self.is_in_string = !self.is_in_string,
                _ if self.is_in_string => {}
                b'{' | b'[' => {
                    self.has_begun = true;
                    self.depth = self.depth.saturating_add(1);
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// True if the object has ended. What is no JSON never ends.
    pub const fn is_complete(self) -> bool {
        self.has_begun && self.depth == 0 && !self.is_in_string
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_complete_once_their_object_is() {
        let whole = r#"{"a":{"b":["}\"",{}]},"c\\":"{"}"#;
        for cut in 0..=whole.len() {
            let (before, after) = whole.split_at(cut);
            let mut end = ArgumentsEnd::default();
            end.read(before);
            assert_eq!(end.is_complete(), cut == whole.len(), "{before}");
            end.read(after);
            assert!(end.is_complete(), "{before}|{after}");
        }
        for (text, wanted) in [("", false), ("{}", true), (" {} ", true), ("null", false), ("\"{}", false)] {
            let mut end = ArgumentsEnd::default();
            end.read(text);
            assert_eq!(end.is_complete(), wanted, "{text}");
        }
    }
}
