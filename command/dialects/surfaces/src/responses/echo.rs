//! The fields of the request that a response repeats. OpenAI's packages require some of them.

use bytes::Bytes;
use intermediate::fields::Fields;
use intermediate::json::{self, Kind};

/// Bytes of all repeated values together. A stream repeats them three times, and they are held as long as the response,
/// so that long ones are left out: instructions, tools, schemas.
const ECHO_BYTES_MAX: usize = 16 * 1024;

/// The repeated fields, in the order in which they are fitted in, each with the value that it has if it was not given or
/// is too long. `None` leaves it out.
const FIELDS: [(&str, Option<&str>); 16] = [
    ("parallel_tool_calls", Some("true")),
    ("max_output_tokens", Some("null")),
    ("temperature", Some("null")),
    ("top_p", Some("null")),
    ("top_logprobs", Some("null")),
    ("truncation", Some(r#""disabled""#)),
    ("service_tier", None),
    ("tool_choice", Some(r#""auto""#)),
    ("reasoning", Some("null")),
    ("user", None),
    ("safety_identifier", None),
    ("prompt_cache_key", None),
    ("metadata", Some("{}")),
    ("text", Some(r#"{"format":{"type":"text"}}"#)),
    ("instructions", Some("null")),
    ("tools", Some("[]")),
];

/// The values of the fields that a response may repeat, as JSON text.
#[derive(Default)]
pub struct Given<'a>([Option<&'a str>; FIELDS.len()]);

impl<'a> Given<'a> {
    /// Looks at the members before they are read.
    pub fn of(fields: &Fields<'a, '_>) -> Self {
        let mut given = Self::default();
        for member in fields.unread().filter(|member| json::kind(member.value) != Kind::Null) {
            let slots = given.0.iter_mut().zip(FIELDS);
            for (slot, _) in slots.filter(|(_, (name, _))| *name == member.name()) {
                *slot = Some(member.value);
            }
        }
        given
    }

    /// The members, each after a comma, on one line.
    pub fn written(&self) -> Bytes {
        let mut out = Vec::with_capacity(512);
        for ((name, absent), given) in FIELDS.iter().zip(self.0) {
            let fits = |value: &&str| out.len() + name.len() + value.len() <= ECHO_BYTES_MAX;
            // A schema or a tool that is left out is not replaced by another.
            let other = if given.is_some() && *name == "text" { None } else { *absent };
            let Some(value) = given.filter(fits).or(other) else { continue };
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            // Line ends are white space in JSON, and would end the line of an event.
            out.extend(value.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
        }
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use intermediate::fields::Path;
    use serde_json::Value;

    use super::*;

    fn echo(body: &str) -> Value {
        let written = Given::of(&Fields::read(body, &Path::Root).expect("an object")).written();
        assert!(written.len() < ECHO_BYTES_MAX + 512);
        serde_json::from_slice(&[b"{\"x\":0", &*written, b"}"].concat()).expect("members")
    }

    #[test]
    fn what_is_too_long_is_not_repeated_and_what_is_required_is_there() {
        let absent = echo("{}");
        assert_eq!((&absent["tools"], &absent["tool_choice"]), (&Value::Array(Vec::new()), &"auto".into()));
        assert_eq!((&absent["parallel_tool_calls"], &absent["user"]), (&true.into(), &Value::Null));
        let short = echo("{\"instructions\":\"Be\\nbrief.\",\r\n\"tools\":[\n{}\r]}");
        assert_eq!((&short["instructions"], &short["tools"]), (&"Be\nbrief.".into(), &serde_json::json!([{}])));
        let long = "x".repeat(ECHO_BYTES_MAX);
        let long =
            echo(&format!(r#"{{"tools":["{long}"],"instructions":"{long}","text":{{"a":"{long}"}},"temperature":1}}"#));
        assert_eq!((&long["tools"], &long["instructions"]), (&Value::Array(Vec::new()), &Value::Null));
        assert_eq!((long.get("text"), &long["temperature"]), (None, &1.into()));
    }
}
