//! The positions of values and members in text that is, was or contains JSON. Accepts any input.

use std::ops::Range;

#[derive(Default)]
pub struct Tokens {
    /// Scalars and containers.
    pub values: Vec<Range<usize>>,
    /// From the quote before the key to the end of the value.
    pub members: Vec<Range<usize>>,
    /// Strings before a colon, quotes included.
    pub keys: Vec<Range<usize>>,
}

#[derive(Default)]
struct Level {
    start: usize,
    /// The start of the key whose value comes next.
    key: Option<usize>,
}

impl Tokens {
    pub fn of(text: &[u8]) -> Self {
        let (mut tokens, mut levels, mut at) = (Self::default(), vec![Level::default()], 0);
        while let Some(byte) = text.get(at) {
            let start = at;
            at += 1;
            match byte {
                b'{' | b'[' => levels.push(Level { start, key: None }),
                b'}' | b']' if levels.len() > 1 => {
                    let begun = levels.pop().map_or(start, |level| level.start);
                    tokens.value(begun..at, levels.last_mut());
                }
                b'"' => {
                    at = end_of_string(text, at);
                    let rest = text.get(at..).unwrap_or_default();
                    if rest.trim_ascii_start().first() == Some(&b':') {
                        tokens.keys.push(start..at);
                        if let Some(level) = levels.last_mut() {
                            level.key = Some(start);
                        }
                    } else {
                        tokens.value(start..at, levels.last_mut());
                    }
                }
                byte if is_scalar(*byte) => {
                    at += text.iter().skip(at).take_while(|byte| is_scalar(**byte)).count();
                    tokens.value(start..at, levels.last_mut());
                }
                _ => {}
            }
        }
        tokens
    }

    fn value(&mut self, range: Range<usize>, level: Option<&mut Level>) {
        if let Some(key) = level.and_then(|level| level.key.take()) {
            self.members.push(key..range.end);
        }
        self.values.push(range);
    }
}

fn end_of_string(text: &[u8], mut at: usize) -> usize {
    while let Some(byte) = text.get(at) {
        at += match byte {
            b'"' => return at + 1,
            b'\\' => 2,
            _ => 1,
        };
    }
    text.len()
}

const fn is_scalar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}
