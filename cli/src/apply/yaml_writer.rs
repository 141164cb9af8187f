//! Writes values as YAML that any reader of version 1.1 or 1.2 takes for the same values: words are quoted unless they can be
//! nothing else, and texts of several lines are blocks.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// The words that some reader takes for something else than a text.
const RESERVED: [&str; 10] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "~"];
const PLAIN_CHARS_MAX: usize = 200;

/// A field of a mapping, in whose order it comes.
#[derive(Clone, Debug)]
pub struct NamedField {
    pub name: String,
    pub value: Value,
}

/// A list with the name of a section: each item a mapping, whose fields come in the given order.
pub fn section(name: &str, items: &[Vec<NamedField>]) -> String {
    let mut text = format!("{name}:\n");
    for fields in items {
        let mut lines = String::new();
        for NamedField { name, value } in fields {
            member(name, value, 4, &mut lines);
        }
        text.push_str("  - ");
        text.push_str(lines.trim_start_matches(' '));
    }
    text
}

fn member(name: &str, value: &Value, indent: usize, out: &mut String) {
    let _ = write!(out, "{:indent$}{}:", "", word(name));
    match value {
        Value::Object(members) if is_short(members) => {
            let inside: Vec<String> =
                members.iter().map(|(name, value)| format!("{}: {}", word(name), scalar(value))).collect();
            let _ = writeln!(out, " {{{}}}", inside.join(", "));
        }
        Value::Object(members) if !members.is_empty() => {
            out.push('\n');
            members.iter().for_each(|(name, value)| member(name, value, indent + 2, out));
        }
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            let inside: Vec<String> = items.iter().map(scalar).collect();
            let _ = writeln!(out, " [{}]", inside.join(", "));
        }
        Value::Array(items) => {
            out.push('\n');
            for item in items {
                let mut lines = String::new();
                match item {
                    Value::Object(members) if !members.is_empty() => {
                        members.iter().for_each(|(name, value)| member(name, value, indent + 4, &mut lines));
                    }
                    other => {
                        let _ = writeln!(lines, "{}", scalar(other));
                    }
                }
                let _ = write!(out, "{:indent$}  - {}", "", lines.trim_start_matches(' '));
            }
        }
        Value::String(text) if is_block(text) => block(text, indent, out),
        other => {
            let _ = writeln!(out, " {}", scalar(other));
        }
    }
}

/// True for a mapping that fits on the line of its name, such as a scope.
fn is_short(members: &Map<String, Value>) -> bool {
    members.len() == 1 && members.values().all(|value| value.as_str().is_some_and(|text| !text.contains('\n')))
}

pub fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => word(text),
        // Empty ones alone, and JSON is YAML.
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// A text on one line.
fn word(text: &str) -> String {
    let is_plain_char = |character: char| character.is_ascii_alphanumeric() || "_-./".contains(character);
    let is_plain = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(is_plain_char)
        && text.len() <= PLAIN_CHARS_MAX
        && !RESERVED.contains(&&*text.to_lowercase());
    if is_plain { text.to_owned() } else { quoted(text) }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            printable if is_printable(printable) => quoted.push(printable),
            other => {
                let _ = write!(quoted, "\\U{:08x}", u32::from(other));
            }
        }
    }
    quoted.push('"');
    quoted
}

/// True for what YAML takes as it is, and what no reader takes for the end of a line.
const fn is_printable(character: char) -> bool {
    match character {
        '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => false,
        ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}' => true,
        _ => false,
    }
}

/// True for a text of several lines that a block has without change.
fn is_block(text: &str) -> bool {
    let is_plain = |character: char| character == '\n' || is_printable(character);
    text.trim_end_matches('\n').contains('\n')
        && !text.starts_with([' ', '\n'])
        && !text.ends_with("\n\n")
        && text.chars().all(is_plain)
        && text.lines().all(|line| !line.ends_with(' '))
}

fn block(text: &str, indent: usize, out: &mut String) {
    out.push_str(if text.ends_with('\n') { " |\n" } else { " |-\n" });
    for line in text.lines() {
        if line.is_empty() {
            out.push('\n');
        } else {
            let _ = writeln!(out, "{:indent$}  {line}", "");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::yaml::{Node, NodeValue, documents};
    use super::*;

    fn value(node: &Node) -> Value {
        match &node.value {
            NodeValue::Null => Value::Null,
            NodeValue::Boolean(boolean) => json!(boolean),
            NodeValue::Number(number) => json!(number),
            NodeValue::Text(text) => json!(text),
            NodeValue::List(items) => items.iter().map(value).collect(),
            NodeValue::Map(members) => {
                members.iter().map(|member| (member.name.clone(), value(&member.node))).collect()
            }
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same_values() {
        let texts = [
            "plain",
            "a/b-c_d.e",
            "5",
            "5.0",
            "1e3",
            "yes",
            "No",
            "null",
            "~",
            "",
            " ",
            "a: b",
            "# c",
            "- d",
            "'",
            "\"",
            "\\n",
            "ä é 漢字 😀",
            "a\u{85}b\u{2028}c\u{feff}d",
            "tab\there",
            "\u{1b}[31m",
            "two\nlines",
            "two\nlines\n",
            "\nleading",
            "trailing\n\n",
            " indented\nline",
            "a\n  b\n\nc",
            "space \nat the end",
            "2026-11-20T08:15:30Z",
            "0x1F",
            "{a}",
            "&a",
            "*a",
            "!a",
            "@a",
            "%a",
            "|",
            ">",
            "a #b",
            "=",
            "<<",
        ];
        let fields: Vec<NamedField> =
            texts.iter().map(|text| NamedField { name: (*text).to_owned(), value: json!(text) }).collect();
        let others = json!({
            "list": ["a", "5", true], "empty": [], "none": {}, "number": 5, "boolean": false,
            "targets": [{ "provider": "p", "weight": 1 }, { "provider": { "name": "q", "tenant": "a/b" } }, {}],
            "roles": [{ "role": "analyst", "scope": { "tenant": "a/b" } }], "headers": { "x-a": "1", "x-b": "2" },
            "nested": [[1]],
        });
        let others = others.as_object().expect("fields").clone();
        let others: Vec<_> = others.into_iter().map(|(name, value)| NamedField { name, value }).collect();
        let written = section("models", &[fields.clone(), others.clone()]);
        let read = documents(&written).unwrap_or_else(|error| panic!("{error:?}\n{written}"));
        let wanted = [fields, others]
            .map(|fields| Value::Object(fields.into_iter().map(|field| (field.name, field.value)).collect()));
        assert_eq!(value(&read[0])["models"], json!(wanted), "{written}");
    }

    #[test]
    fn short_mappings_and_lists_are_on_one_line_and_texts_of_several_lines_are_blocks() {
        let fields = [("scope", json!({ "tenant": "a/b" })), ("alert_at", json!(["0.5"])), ("prefix", json!("a\nb\n"))];
        let fields = fields.map(|(name, value)| NamedField { name: name.to_owned(), value }).to_vec();
        let wanted = "x:\n  - scope: {tenant: a/b}\n    alert_at: [\"0.5\"]\n    prefix: |\n      a\n      b\n";
        assert_eq!(section("x", &[fields]), wanted);
    }
}
