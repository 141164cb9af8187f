//! Small changes to an input: one that is wrong everywhere is refused at its first byte.

use std::ops::Range;

use crate::corpus::Corpus;
use crate::dice::Dice;
use crate::tokens::Tokens;

const CHANGES_MAX: usize = 5;
/// The largest input; other tests check the time for inputs of a megabyte.
const BYTES_MAX: usize = 64 * 1024;

/// JSON strings that parsers read differently.
const STRINGS: [&str; 27] = [
    r#""\u12g4""#,
    r#""""#,
    r#"" ""#,
    r#""\u0000""#,
    r#""\ud800""#,
    r#""\udc00\ud800""#,
    r#""\ud83d\ude00""#,
    r#""\u00e9\n\t\"\\\/""#,
    r#""\x""#,
    "\"\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10ffff}\"",
    "\"\u{2028}\u{2029}\u{feff}\"",
    "\"a\nb\"",
    r#""[DONE]""#,
    r#""null""#,
    r#""1""#,
    r#""text""#,
    r#""image_url""#,
    r#""function""#,
    r#""tool_use""#,
    r#""user""#,
    r#""assistant""#,
    r#""tool""#,
    r#""stop""#,
    r#""https://example.com/x.png""#,
    r#""data:image/png;base64,AAAA""#,
    r#""DATA:application/pdf;base64,AAAA""#,
    r#""{\"a\":[1,{\"b\":null}]}""#,
];
const OTHERS: [&str; 10] = ["null", "true", "false", "{}", "[]", "[{}]", "[[]]", r#"{"a":{"a":1},"a":2}"#, "nul", ","];
/// Lines to insert into a stream.
const LINES: [&[u8]; 14] = [
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\r\n\r\n",
    b"\n\ndata: [DONE]\n\n",
    b"\nevent: error\n",
    b"\n: comment\n",
    b"\ndata:\n",
    b"\ndata\n",
    b"\nid: 1\nretry: 5\n",
    b"\xEF\xBB\xBF",
    b"\n\ndata: [DONE]\n\ndata: \xFF\n\n",
    b"\ndata: \xFF\n\n",
];

pub fn mutated(corpus: &Corpus, dice: &mut Dice<'_>) -> Vec<u8> {
    if dice.one_in(24) {
        return dice.rest().to_vec();
    }
    let mut text = corpus.seed(dice).to_vec();
    for _ in 0..dice.below(CHANGES_MAX) {
        change(&mut text, corpus, dice);
        text.truncate(BYTES_MAX);
    }
    text
}

fn change(text: &mut Vec<u8>, corpus: &Corpus, dice: &mut Dice<'_>) {
    let tokens = Tokens::of(text);
    match dice.below(16) {
        0 => change_bytes(text, dice),
        1 => {
            let line = LINES[dice.below(LINES.len())];
            let at = dice.below(text.len() + 1);
            put(text, at..at, line);
        }
        2 => {
            let other = corpus.seed(dice).to_vec();
            let (head, tail) = (dice.below(text.len() + 1), dice.below(other.len() + 1));
            text.truncate(head);
            text.extend(other.iter().skip(tail));
        }
        3 => {
            // White space is allowed around every token.
            let token = one(&tokens.values, dice);
            put(text, token.start..token.start, b" \r\n\t");
        }
        4 => wrapped(text, one(&tokens.values, dice), dice),
        5 => {
            let key = one(&tokens.keys, dice);
            spelled_otherwise(text, key, dice);
        }
        6..=8 => change_member(text, &tokens, corpus, dice),
        9 => {
            let (from, to) = (one(&tokens.values, dice), one(&tokens.values, dice));
            let copy = text.get(from).unwrap_or_default().to_vec();
            put(text, to, &copy);
        }
        _ => {
            let value = any_value(dice);
            put(text, one(&tokens.values, dice), value.as_bytes());
        }
    }
}

fn change_bytes(text: &mut Vec<u8>, dice: &mut Dice<'_>) {
    let at = dice.below(text.len() + 1);
    match dice.below(4) {
        0 => text.truncate(at),
        1 => put(text, at..at, dice.bytes(8)),
        2 => {
            let end = (at + dice.below(32)).min(text.len());
            put(text, at..end, b"");
        }
        _ => {
            if let Some(byte) = text.get_mut(at) {
                *byte ^= 1 << dice.below(8);
            }
        }
    }
}

fn change_member(text: &mut Vec<u8>, tokens: &Tokens, corpus: &Corpus, dice: &mut Dice<'_>) {
    let member = one(&tokens.members, dice);
    match dice.below(4) {
        0 => {
            // With the comma after it, if there is one.
            let comma = usize::from(text.get(member.end) == Some(&b','));
            put(text, member.start..member.end + comma, b"");
        }
        1 => {
            let mut twice = text.get(member.clone()).unwrap_or_default().to_vec();
            twice.push(b',');
            put(text, member.start..member.start, &twice);
        }
        _ => {
            let names: Vec<&str> = corpus.names.iter().map(String::as_str).collect();
            let added = format!("\"{}\":{},", dice.pick(&names).unwrap_or("x"), any_value(dice));
            put(text, member.start..member.start, added.as_bytes());
        }
    }
}

fn any_value(dice: &mut Dice<'_>) -> String {
    match dice.below(4) {
        0 => dice.number(),
        1 => dice.pick(&OTHERS).unwrap_or("null").to_owned(),
        2 => dice.pick(&STRINGS).unwrap_or("\"\"").to_owned(),
        _ => format!("\"{}\"", "long é ".repeat(dice.below(64))),
    }
}

/// The value, nested in that many lists or objects.
fn wrapped(text: &mut Vec<u8>, value: Range<usize>, dice: &mut Dice<'_>) {
    let (levels, in_objects) = (1 + dice.below(72), dice.one_in(2));
    let (open, close) = if in_objects { ("{\"a\":", "}") } else { ("[", "]") };
    let inside = text.get(value.clone()).unwrap_or_default();
    let whole = [open.repeat(levels).as_bytes(), inside, close.repeat(levels).as_bytes()].concat();
    put(text, value, &whole);
}

/// A key that some parsers take for the same: one letter in the other case, replaced by one that is equal under Unicode case
/// folding, escaped, or without the underscore before it.
fn spelled_otherwise(text: &mut Vec<u8>, key: Range<usize>, dice: &mut Dice<'_>) {
    let at = key.start + 1 + dice.below(key.len().saturating_sub(2));
    let Some(letter) = text.get(at).copied().filter(|byte| byte.is_ascii_alphabetic() || *byte == b'_') else { return };
    let other = match (dice.below(4), letter) {
        (_, b'_') => String::new(),
        (0, _) => format!("\\u{letter:04x}"),
        (1, b's') => "\u{17f}".to_owned(),
        (1, b'k') => "\u{212a}".to_owned(),
        (2, b's') => "\\u017f".to_owned(),
        (2, b'k') => "\\u212a".to_owned(),
        _ => char::from(letter ^ 0x20).to_string(),
    };
    put(text, at..at + 1, other.as_bytes());
}

fn one(ranges: &[Range<usize>], dice: &mut Dice<'_>) -> Range<usize> {
    ranges.get(dice.below(ranges.len())).cloned().unwrap_or(0..0)
}

fn put(text: &mut Vec<u8>, range: Range<usize>, new: &[u8]) {
    let end = range.end.min(text.len());
    text.splice(range.start.min(end)..end, new.iter().copied());
}
