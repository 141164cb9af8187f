//! Characters written as numbers: `[103, 119]`, `0x67 0x77`, `\u{67}`, `U+0067`, `\147`.

use std::ops::Range;

use super::lower;
use crate::work;

/// The bases in which bytes and characters are written.
pub const RADICES: [u32; 4] = [2, 8, 10, 16];
/// The first visible character.
const FIRST_CHARACTER: u32 = 0x20;

/// The characters whose numbers stand in a text, with their positions. Everything else is skipped.
pub fn characters(chars: &[char], radix: u32) -> Vec<(char, Range<usize>)> {
    work::steps(chars.len());
    let (mut found, mut start) = (Vec::new(), 0);
    // `chunk_by` also yields the text between numbers.
    for chunk in chars.chunk_by(|left, right| left.is_digit(radix) == right.is_digit(radix)) {
        let at = start..start + chunk.len();
        start = at.end;
        // In `0x670x77` the last digit before the letter belongs to the next number.
        let is_prefixed = chars.get(at.end).is_some_and(|next| matches!(next, 'x' | 'X' | 'o' | 'O' | 'b' | 'B'));
        let digits = chunk.strip_suffix(&['0']).filter(|_| is_prefixed).unwrap_or(chunk);
        if let Some(letter) = character(digits, radix) {
            found.push((lower(letter), at.start..at.start + digits.len()));
        }
    }
    found
}

/// The character of a number. Leading zeros are ignored.
fn character(digits: &[char], radix: u32) -> Option<char> {
    let number =
        digits.iter().try_fold(0_u32, |number, digit| number.checked_mul(radix)?.checked_add(digit.to_digit(radix)?));
    char::from_u32(number.filter(|number| *number >= FIRST_CHARACTER)?)
}
