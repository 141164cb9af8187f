//! Canonical JSON from JSON text, without a tree of values: most events need no more than their members put in order.
//!
//! What is rare is left to the tree, which is the reference: names of members with an escape or outside of ASCII, names that
//! come twice, and text that is not JSON. The result is the same either way.

use serde::Serialize;
use serde_json::{Number, Value};

use super::{Canonical, CanonicalError, LARGEST_EXACT_INTEGER, to_string};
use crate::plain_json;

/// How deep objects and arrays are read here. `serde_json` refuses what is deeper than 128.
const DEPTH_MAX: usize = 64;

/// Appends the canonical form of a JSON text.
///
/// Errors: it is not JSON.
pub(super) fn push(out: &mut Vec<u8>, json: &str) -> Result<(), CanonicalError> {
    let before = out.len();
    let mut text = Text { json, at: 0, out, members: Vec::new(), moved: Vec::new() };
    if text.value(0).is_some() && text.is_at_end() {
        return Ok(());
    }
    out.truncate(before);
    let value = plain_json::parse(json)?;
    out.extend_from_slice(to_string(&value)?.as_bytes());
    Ok(())
}

/// A JSON text that is read once, from left to right. `None` stands for everything that the tree has to decide.
struct Text<'a> {
    json: &'a str,
    at: usize,
    out: &'a mut Vec<u8>,
    /// The members of all open objects, those of the innermost one last.
    members: Vec<Member<'a>>,
    /// Members while they are put in order.
    moved: Vec<u8>,
}

/// A member of an object, and where it was written.
#[derive(Clone, Copy)]
struct Member<'a> {
    name: &'a str,
    begin: usize,
    end: usize,
}

impl<'a> Text<'a> {
    fn value(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            b'{' if depth < DEPTH_MAX => self.object(depth + 1),
            b'[' if depth < DEPTH_MAX => self.array(depth + 1),
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => None,
        }
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        self.out.push(b'{');
        let (first, begin) = (self.members.len(), self.out.len());
        if self.peek()? == b'}' {
            self.at += 1;
            self.out.push(b'}');
            return Some(());
        }
        loop {
            let member = self.out.len();
            if self.peek()? != b'"' {
                return None;
            }
            let name = self.plain_string().filter(|name| name.is_ascii())?;
            self.out.push(b':');
            self.take(b':')?;
            self.value(depth)?;
            self.members.push(Member { name, begin: member, end: self.out.len() });
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => break,
                _ => return None,
            }
            self.out.push(b',');
        }
        self.at += 1;
        self.order(first, begin)?;
        self.members.truncate(first);
        self.out.push(b'}');
        Some(())
    }

    /// Puts the members of an object in order that was written from `begin` on. The order of ASCII is that of UTF-16.
    fn order(&mut self, first: usize, begin: usize) -> Option<()> {
        let members = &mut self.members[first..];
        if members.is_sorted_by(|one, next| one.name < next.name) {
            return Some(());
        }
        members.sort_unstable_by_key(|member| member.name);
        // Of a name that comes twice, the last one counts, but this order does not say which that was.
        if !members.is_sorted_by(|one, next| one.name < next.name) {
            return None;
        }
        self.moved.clear();
        for member in members {
            self.moved.extend_from_slice(&self.out[member.begin..member.end]);
            self.moved.push(b',');
        }
        self.moved.pop();
        self.out.truncate(begin);
        self.out.extend_from_slice(&self.moved);
        Some(())
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        self.out.push(b'[');
        if self.peek()? == b']' {
            self.at += 1;
            self.out.push(b']');
            return Some(());
        }
        loop {
            self.value(depth)?;
            match self.peek()? {
                b',' => self.at += 1,
                b']' => break,
                _ => return None,
            }
            self.out.push(b',');
        }
        self.at += 1;
        self.out.push(b']');
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        let begin = self.at;
        if self.plain_string().is_some() {
            return Some(());
        }
        // With escapes: read and written again, in the shortest form. The end is the first quote that is not escaped.
        let mut end = begin + 1;
        loop {
            end += memchr::memchr2(b'"', b'\\', self.json.as_bytes().get(end..)?)?;
            if self.json.as_bytes()[end] == b'"' {
                break;
            }
            end += 2;
        }
        let read: String = serde_json::from_str(self.json.get(begin..=end)?).ok()?;
        serde_json::to_writer(&mut *self.out, &read).ok()?;
        self.at = end + 1;
        Some(())
    }

    /// A string that is written as it is, without its quotes; `None`, and nothing written, if it has an escape.
    fn plain_string(&mut self) -> Option<&'a str> {
        let inside = self.json.get(self.at + 1..)?;
        let is_special = |byte: u8| byte == b'"' || byte == b'\\' || byte < 0x20;
        let length = inside.bytes().position(is_special)?;
        if inside.as_bytes()[length] != b'"' {
            return None;
        }
        let quoted = self.json.get(self.at..self.at + length + 2)?;
        self.out.extend_from_slice(quoted.as_bytes());
        self.at += quoted.len();
        inside.get(..length)
    }

    fn number(&mut self) -> Option<()> {
        let rest = &self.json[self.at..];
        let length = rest.bytes().position(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
        let number = &rest[..length.unwrap_or(rest.len())];
        self.at += number.len();
        let digits = number.strip_prefix('-').unwrap_or(number);
        let is_plain = digits.len() <= 16 && digits.bytes().all(|digit| digit.is_ascii_digit());
        let is_canonical = is_plain && (number == "0" || !digits.is_empty() && !digits.starts_with('0'));
        if is_canonical && digits.parse::<u64>().ok()? <= LARGEST_EXACT_INTEGER {
            self.out.extend_from_slice(number.as_bytes());
            return Some(());
        }
        let number: Number = serde_json::from_str(number).ok()?;
        let mut writer = serde_json::Serializer::with_formatter(&mut *self.out, super::EcmaScript);
        Canonical(&Value::Number(number)).serialize(&mut writer).ok()
    }

    fn literal(&mut self, literal: &str) -> Option<()> {
        self.json[self.at..].starts_with(literal).then(|| {
            self.at += literal.len();
            self.out.extend_from_slice(literal.as_bytes());
        })
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.json.as_bytes().get(self.at)? {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    fn is_at_end(&mut self) -> bool {
        self.peek().is_none()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pushed(json: &str) -> Option<String> {
        let mut out = Vec::new();
        push(&mut out, json).ok()?;
        String::from_utf8(out).ok()
    }

    /// Without the tree; `None` if it is needed.
    fn read_alone(json: &str) -> Option<String> {
        let mut out = Vec::new();
        let mut text = Text { json, at: 0, out: &mut out, members: Vec::new(), moved: Vec::new() };
        (text.value(0).is_some() && text.is_at_end()).then_some(())?;
        String::from_utf8(out).ok()
    }

    fn by_tree(json: &str) -> Option<String> {
        to_string(&plain_json::parse(json).ok()?).ok()
    }

    #[test]
    fn members_are_put_in_order_at_every_depth_without_the_tree() {
        let json = r#"{"b":[{"z":1,"a":"x"},{}],"a":{"c":-7,"b":{"y":[],"x":null}},"aa":true}"#;
        let expected = r#"{"a":{"b":{"x":null,"y":[]},"c":-7},"aa":true,"b":[{"a":"x","z":1},{}]}"#;
        assert_eq!(read_alone(json).as_deref(), Some(expected));
    }

    #[test]
    fn what_is_rare_is_as_the_tree_has_it() {
        for json in [
            r#"{"a":1,"a":2}"#,
            r#"{"b":1,"a":1,"b":3}"#,
            r#"{"ü":1,"a":2}"#,
            r#"{"\u0061":1,"B":2}"#,
            r#"["\u00e9\/\n\u001f","\ud83d\ude00","\\\""]"#,
            r#"{"$serde_json::private::RawValue":"[1]"}"#,
            r#"{"$serde_json::private::RawValue":"x","ü":[{"$serde_json::private::RawValue":"{"}]}"#,
            "[-0,0,00,1.50,1E3,9007199254740991,9007199254740992,-9007199254740993,12345678901234567890123]",
            "[-0,0,1.50,1E3,9007199254740991,9007199254740992,-9007199254740993,12345678901234567890123]",
            " { \"a\" : [ 1 , 2 ] } ",
            "",
            "{",
            "[1,]",
            "[1] 2",
            "{\"a\"}",
            "tru",
            "\"\u{1}\"",
            "-",
            "[\"\\u00",
        ] {
            assert_eq!(pushed(json), by_tree(json), "{json}");
        }
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(pushed(&deep).as_deref(), Some(&*deep));
    }

    fn json() -> impl Strategy<Value = Value> {
        let number = prop_oneof![
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from)
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            number,
            any::<String>().prop_map(Value::from)
        ];
        leaf.prop_recursive(5, 60, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map("[a-c\"\\\\é\u{10000}]{0,3}|[$]serde_json::private::RawValue", inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_json_text_is_as_the_tree_has_it(value in json()) {
            let text = value.to_string();
            prop_assert_eq!(pushed(&text), by_tree(&text));
        }

        #[test]
        fn every_text_is_as_the_tree_has_it(text in r#"[\[\]{},:"\\a-e0-9.\-+u ]{0,40}"#) {
            prop_assert_eq!(pushed(&text), by_tree(&text));
        }
    }
}
