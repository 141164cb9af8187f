//! Canonical JSON (RFC 8785): one text per value, so that anybody can hash what `/v1/events` serves. Keys are in the order
//! of their UTF-16 code units, numbers are written as in ECMAScript, and there is no white space.

mod read;
mod text;

use std::io;

use ring::digest::{SHA256, digest};
use serde::Serialize;
use serde::ser::Error;
use serde_json::ser::{Formatter, Serializer};
use serde_json::{Number, Value};

use crate::compact_json;
use crate::event::Recorded;
use crate::time::rfc3339;
use crate::{hex, plain_json};

pub use read::{ReadError, recorded};

/// The largest integer that a double holds exactly; larger ones are written as strings (RFC 8785, appendix D).
const LARGEST_EXACT_INTEGER: u64 = (1 << 53) - 1;

/// The member that a shortened envelope has instead of `data`.
const DATA_SHA256: &str = "data_sha256";
/// A size that most envelopes fit in.
const ENVELOPE_BYTES: usize = 1024;

/// The canonical text of a value.
pub fn to_string(value: &Value) -> Result<String, CanonicalError> {
    let mut out = Vec::new();
    Canonical(value).serialize(&mut Serializer::with_formatter(&mut out, EcmaScript))?;
    Ok(String::from_utf8(out).map_err(serde_json::Error::custom)?)
}

/// The canonical envelope of an event, as `/v1/events` serves it and as it is hashed.
pub fn envelope(recorded: &Recorded) -> Result<String, CanonicalError> {
    let mut out = Vec::new();
    push_envelope(&mut out, recorded)?;
    Ok(String::from_utf8(out).map_err(serde_json::Error::custom)?)
}

/// Appends the canonical envelope of an event to a buffer, which can be reused.
pub fn push_envelope(out: &mut Vec<u8>, recorded: &Recorded) -> Result<(), CanonicalError> {
    let Recorded { position, recorded_at, stream, sequence, context, event } = recorded;
    let mut json = Vec::with_capacity(ENVELOPE_BYTES);
    // A context has an actor at least, so that the other members follow it after a comma.
    compact_json::write(&mut json, context)?;
    json.pop();
    let (recorded_at, name, version) = (rfc3339(*recorded_at), event.name(), event.version());
    let members = format!(
        r#","position":{position},"recorded_at":"{recorded_at}","sequence":{sequence},"type":"{name}.v{version}","stream":"#
    );
    json.extend_from_slice(members.as_bytes());
    compact_json::write(&mut json, &stream.to_string())?;
    json.extend_from_slice(br#","data":"#);
    event.write_payload(&mut json)?;
    json.push(b'}');
    text::push(out, std::str::from_utf8(&json).map_err(serde_json::Error::custom)?)
}

/// A canonical envelope without its data, for places that it is too long for: `data_sha256`, the SHA-256 of the canonical data, stands
/// for it.
pub fn without_data(envelope: &[u8]) -> Result<String, CanonicalError> {
    let mut envelope = plain_json::parse_slice(envelope)?;
    if let Some(members) = envelope.as_object_mut()
        && let Some(data) = members.remove("data")
    {
        let sha256 = digest(&SHA256, to_string(&data)?.as_bytes());
        members.insert(DATA_SHA256.to_owned(), hex::lower(sha256.as_ref()).into());
    }
    to_string(&envelope)
}

/// The error for an event without a JSON form; no event read from a log is one.
#[derive(Debug, thiserror::Error)]
#[error("canonical form of an event: {0}")]
pub struct CanonicalError(#[from] serde_json::Error);

/// A value with its keys in order, and without integers that no double holds. `serde_json` escapes in a string what JSON
/// requires, in the shortest form, and nothing else, as the RFC does.
struct Canonical<'a>(&'a Value);

impl Serialize for Canonical<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Array(items) => serializer.collect_seq(items.iter().map(Canonical)),
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
                serializer.collect_map(members.into_iter().map(|(name, value)| (name, Canonical(value))))
            }
            Value::Number(number) if !number.is_f64() && !is_exact(number) => serializer.collect_str(number),
            other => other.serialize(serializer),
        }
    }
}

/// True for an integer that a double holds exactly.
fn is_exact(number: &Number) -> bool {
    let size = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
    size.is_some_and(|size| size <= LARGEST_EXACT_INTEGER)
}

/// Writes floats as ECMAScript does.
struct EcmaScript;

impl Formatter for EcmaScript {
    fn write_f64<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(ryu_js::Buffer::new().format(value).as_bytes())
    }
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
            to_string(&value).expect("a text"),
            "{\"\\r\":\"CR\",\"1\":\"One\",\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,\
             1e-27],\"\u{80}\":\"Control\",\"ö\":\"o\",\"€\":\"Euro\",\"😀\":\"Smiley\",\"\u{fb33}\":\"Hebrew\"}"
        );
    }

    #[test]
    fn a_string_escapes_what_it_must_in_the_shortest_form() {
        let controls: String = (0..0x20).filter_map(char::from_u32).collect();
        let escaped = [
            r"\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\b\t\n\u000b\f\r\u000e\u000f",
            r"\u0010\u0011\u0012\u0013\u0014\u0015\u0016\u0017\u0018\u0019\u001a\u001b\u001c\u001d\u001e\u001f",
        ]
        .concat();
        assert_eq!(to_string(&controls.into()).expect("a text"), format!("\"{escaped}\""));
        assert_eq!(to_string(&"\"\\/\u{7f}\u{2028}ö".into()).expect("a text"), "\"\\\"\\\\/\u{7f}\u{2028}ö\"");
    }

    #[test]
    fn an_integer_that_no_double_holds_becomes_a_string() {
        let value: Value = serde_json::from_str("[9007199254740991,9007199254740993,-9007199254740993]").expect("JSON");
        assert_eq!(to_string(&value).expect("a text"), r#"[9007199254740991,"9007199254740993","-9007199254740993"]"#);
    }
}
