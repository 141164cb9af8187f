//! Makes an input long in ways that make parsers slow or their output large: one part repeated, or one part very long.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;

use crate::dice::Dice;
use crate::tokens::Tokens;

/// The most ways of growth that are combined; bugs often need two.
const WAYS_MAX: usize = 3;

/// The input with some of its members, values, strings or events repeated, up to `bytes_max`.
pub fn grown(input: &[u8], bytes_max: usize, dice: &mut Dice<'_>) -> Vec<u8> {
    let mut text = input.to_vec();
    let ways = 1 + dice.below(WAYS_MAX);
    for way in 0..ways {
        let room = bytes_max.saturating_sub(text.len()) / (ways - way);
        grow(&mut text, room, dice);
    }
    text.truncate(bytes_max);
    text
}

fn grow(text: &mut Vec<u8>, room: usize, dice: &mut Dice<'_>) {
    let tokens = Tokens::of(text);
    match dice.below(9) {
        // An event with its line ends.
        0..=2 => {
            let event = event(text, dice);
            again(text, event, b"", room);
        }
        3 | 4 => {
            let member = one_by_name(text, &tokens, dice);
            again(text, member, b",", room);
        }
        5 => again(text, one(&tokens.values, dice), b",", room),
        6 => {
            let member = one_by_name(text, &tokens, dice);
            numbered(text, member, room);
        }
        _ => {
            let all = tokens.values.iter().chain(&tokens.keys);
            let strings: Vec<_> = all.filter(|range| is_string(text, range)).collect();
            let string = dice.pick(&strings).cloned().unwrap_or(0..0);
            let piece = ["n", "é", "\\u0001", "\\\"", "[", "\\n"][dice.below(6)];
            let at = (string.start + 1).min(text.len());
            text.splice(at..at, piece.repeat(room / piece.len()).into_bytes());
        }
    }
}

/// The text between two blank lines; all of it if there are none.
fn event(text: &[u8], dice: &mut Dice<'_>) -> Range<usize> {
    let ends: Vec<usize> =
        (1..text.len()).filter(|at| text.get(at - 1..=*at) == Some(b"\n\n")).map(|at| at + 1).collect();
    let which = dice.below(ends.len().max(1));
    let start = which.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
    start..ends.get(which).copied().unwrap_or(text.len())
}

/// Inserts copies of a part before it.
fn again(text: &mut Vec<u8>, part: Range<usize>, between: &[u8], room: usize) {
    let Some(copy) = text.get(part.clone()).filter(|part| !part.is_empty()) else { return };
    let copy = [copy, between].concat();
    let copies = copy.repeat(room / copy.len());
    text.splice(part.start..part.start, copies);
}

/// Inserts copies of a member before it, each with a different name.
fn numbered(text: &mut Vec<u8>, member: Range<usize>, room: usize) {
    let whole = String::from_utf8_lossy(text.get(member.clone()).unwrap_or_default()).into_owned();
    let Some((_, value)) = whole.split_once(':') else { return };
    let mut copies = String::with_capacity(room);
    for number in 0_u32.. {
        let before = copies.len();
        let _ = write!(copies, "\"n{number}\":{value},");
        if copies.len() > room {
            copies.truncate(before);
            break;
        }
    }
    text.splice(member.start..member.start, copies.into_bytes());
}

/// A member; each name is equally likely, however often it occurs.
fn one_by_name(text: &[u8], tokens: &Tokens, dice: &mut Dice<'_>) -> Range<usize> {
    let mut named: BTreeMap<&[u8], Vec<Range<usize>>> = BTreeMap::new();
    for member in &tokens.members {
        let name = tokens.keys.binary_search_by_key(&member.start, |key| key.start).ok();
        let name = name.and_then(|at| text.get(tokens.keys.get(at)?.clone())).unwrap_or_default();
        named.entry(name).or_default().push(member.clone());
    }
    let names: Vec<&Vec<Range<usize>>> = named.values().collect();
    dice.pick(&names).map_or(0..0, |members| one(members, dice))
}

fn is_string(text: &[u8], range: &Range<usize>) -> bool {
    text.get(range.start) == Some(&b'"')
}

fn one(ranges: &[Range<usize>], dice: &mut Dice<'_>) -> Range<usize> {
    ranges.get(dice.below(ranges.len())).cloned().unwrap_or(0..0)
}
