//! Canonical JSON (RFC 8785): one text per value, so that anybody can hash what `/v1/events` serves. Keys are in the order
//! of their UTF-16 code units, numbers are written as in ECMAScript, and there is no white space.

use std::fmt::Write;

use serde_json::{Map, Number, Value};

use crate::event::Recorded;
use crate::time::rfc3339;

/// The largest integer that a double holds exactly; larger ones are written as strings (RFC 8785, appendix D).
const LARGEST_EXACT_INTEGER: u64 = (1 << 53) - 1;

/// The canonical text of a value.
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    write_value(&mut out, value);
    out
}

/// The canonical envelope of an event, as `/v1/events` serves it and as it is hashed.
pub fn envelope(recorded: &Recorded) -> Result<String, CanonicalError> {
    let data = serde_json::from_str(&recorded.event.payload()?)?;
    let mut envelope = match serde_json::to_value(&recorded.context)? {
        Value::Object(context) => context,
        _ => Map::new(),
    };
    envelope.insert("position".into(), recorded.position.into());
    envelope.insert("recorded_at".into(), rfc3339(recorded.recorded_at).into());
    envelope.insert("stream".into(), recorded.stream.to_string().into());
    envelope.insert("sequence".into(), recorded.sequence.into());
    envelope.insert("type".into(), format!("{}.v{}", recorded.event.name(), recorded.event.version()).into());
    envelope.insert("data".into(), data);
    Ok(to_string(&Value::Object(envelope)))
}

/// The error for an event without a JSON form; no event read from a log is one.
#[derive(Debug, thiserror::Error)]
#[error("canonical form of an event: {0}")]
pub struct CanonicalError(#[from] serde_json::Error);

fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(out, number),
        Value::String(text) => write_string(out, text),
        Value::Array(items) => write_array(out, items),
        Value::Object(members) => write_object(out, members),
    }
}

fn write_number(out: &mut String, number: &Number) {
    let exact = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
    match (exact, number.as_f64()) {
        (Some(size), _) if size > LARGEST_EXACT_INTEGER => write_string(out, &number.to_string()),
        (Some(_), _) => {
            let _ = write!(out, "{number}");
        }
        (None, Some(float)) => out.push_str(ryu_js::Buffer::new().format(float)),
        (None, None) => write_string(out, &number.to_string()),
    }
}

fn write_array(out: &mut String, items: &[Value]) {
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_value(out, item);
    }
    out.push(']');
}

fn write_object(out: &mut String, members: &Map<String, Value>) {
    let mut members: Vec<_> = members.iter().collect();
    members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    out.push('{');
    for (index, (name, value)) in members.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_string(out, name);
        out.push(':');
        write_value(out, value);
    }
    out.push('}');
}

/// Escapes what JSON requires, in the shortest form, and nothing else.
fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            control if u32::from(control) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 8785, section 3.2.3 and 3.2.2, in parts.
    #[test]
    fn keys_numbers_and_strings_are_written_as_in_the_rfc() {
        let value: Value = serde_json::from_str(
            r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"literals":[null,true,false],
                "\u20ac":"Euro","\r":"CR","\ufb33":"Hebrew","1":"One","\ud83d\ude00":"Smiley","\u0080":"Control","\u00f6":"o"}"#,
        )
        .expect("valid JSON");
        assert_eq!(
            to_string(&value),
            "{\"\\r\":\"CR\",\"1\":\"One\",\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,\
             1e-27],\"\u{80}\":\"Control\",\"ö\":\"o\",\"€\":\"Euro\",\"😀\":\"Smiley\",\"\u{fb33}\":\"Hebrew\"}"
        );
    }

    #[test]
    fn an_integer_that_no_double_holds_becomes_a_string() {
        let value: Value = serde_json::from_str("[9007199254740991,9007199254740993,-9007199254740993]").expect("JSON");
        assert_eq!(to_string(&value), r#"[9007199254740991,"9007199254740993","-9007199254740993"]"#);
    }
}
