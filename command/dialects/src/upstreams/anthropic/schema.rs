//! Schemas of answers as Anthropic takes them: each object has to say that it has no other members.

use std::borrow::Cow;

use events::refusal::Refusal;
use serde_json::value::RawValue;

use crate::fields::Path;
use crate::json::{self, Cursor, JsonFault, State};
use crate::work;

/// OpenAI takes 120,000 characters of names and values together
/// (<https://platform.openai.com/docs/guides/structured-outputs#supported-schemas>).
const BYTES_MAX: usize = 128 * 1024;

/// The schema with `additionalProperties: false` on every object that does not say. The order of its members stays: it
/// is the order in which models answer. Branches of `allOf` stay open, since each sees the members of its own alone.
/// Errors: `INVALID_REQUEST` for objects that are to have other members, and for more than 128 KiB.
pub fn closed(schema: &RawValue) -> Result<Cow<'_, RawValue>, Refusal> {
    if schema.get().len() > BYTES_MAX {
        return Err(
            path().refuse("has a schema of more than 128 KiB, which is not translated for this model's provider")
        );
    }
    let mut out = String::with_capacity(schema.get().len() + 64);
    close(&mut Cursor::new(schema.get()), &mut out).map_err(refused)?;
    RawValue::from_string(out).map(Cow::Owned).map_err(|_| refused(Open))
}

/// An object has to be open.
struct Open;

/// What is no JSON has been refused before.
impl From<JsonFault> for Open {
    fn from(_: JsonFault) -> Self {
        Self
    }
}

const fn path() -> Path<'static> {
    Path::Root.field("response_format")
}

fn refused(_: Open) -> Refusal {
    path().refuse("has a schema with additionalProperties, which this model's provider takes as false alone")
}

/// Copies the schema that stands at the cursor.
fn close(schema: &mut Cursor<'_>, out: &mut String) -> Result<(), Open> {
    if schema.peek() != Some(b'{') {
        copy(schema, out)?;
        return Ok(());
    }
    let (mut is_object, mut says) = (false, false);
    each_member(schema, out, |name, value, out| {
        match (name, value.peek()) {
            ("additionalProperties", _) => {
                says = true;
                return if copy(value, out)? == "false" { Ok(()) } else { Err(Open) };
            }
            ("type", _) => {
                is_object |= copy(value, out)?.contains("\"object\"");
                return Ok(());
            }
            ("properties", _) => is_object = true,
            _ => {}
        }
        match (name, value.peek()) {
            ("properties" | "$defs" | "definitions", Some(b'{')) => {
                each_member(value, out, |_, schema, out| close(schema, out))?;
                out.push('}');
                Ok(())
            }
            ("anyOf" | "oneOf" | "prefixItems", Some(b'[')) => close_each(value, out),
            ("items", _) => close(value, out),
            _ => copy(value, out).map(|_| ()),
        }
    })?;
    out.push_str(if is_object && !says { r#","additionalProperties":false}"# } else { "}" });
    Ok(())
}

/// Copies one value as it is.
fn copy<'a>(value: &mut Cursor<'a>, out: &mut String) -> Result<&'a str, Open> {
    let span = value.element()?;
    work::steps(2 * span.len());
    let text = value.slice(&span);
    out.push_str(text);
    Ok(text)
}

/// Writes the members of an object, their names as they came, without the brace that ends it.
fn each_member(
    object: &mut Cursor<'_>,
    out: &mut String,
    mut write: impl FnMut(&str, &mut Cursor<'_>, &mut String) -> Result<(), Open>,
) -> Result<(), Open> {
    let mut state = State::Before;
    out.push('{');
    while object.advance(&mut state, b'{', b'}')? {
        out.push_str(if out.ends_with('{') { "" } else { "," });
        let start = object.at;
        let name = object.key()?;
        out.push_str(object.slice(&(start..object.at)));
        let name = json::string(object.slice(&name)).ok_or(Open)?;
        write(&name, object, out)?;
    }
    Ok(())
}

fn close_each(schemas: &mut Cursor<'_>, out: &mut String) -> Result<(), Open> {
    let mut state = State::Before;
    out.push('[');
    while schemas.advance(&mut state, b'[', b']')? {
        out.push_str(if out.ends_with('[') { "" } else { "," });
        close(schemas, out)?;
    }
    out.push(']');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close_text(schema: &str) -> Result<String, String> {
        let schema = RawValue::from_string(schema.to_owned()).unwrap();
        closed(&schema).map(|closed| closed.get().to_owned()).map_err(|refusal| refusal.message)
    }

    /// Holds: inf.structured
    #[test]
    fn every_object_of_a_schema_is_closed_and_nothing_else_changes() {
        for (given, wanted) in [
            ("true", "true"),
            (r#"{"type":"string"}"#, r#"{"type":"string"}"#),
            (r#"{"type":"object"}"#, r#"{"type":"object","additionalProperties":false}"#),
            (r#"{"type": ["object", "null"]}"#, r#"{"type": ["object", "null"],"additionalProperties":false}"#),
            (r#"{"additionalProperties":false,"type":"object"}"#, r#"{"additionalProperties":false,"type":"object"}"#),
            (
                r#"{"properties": {"z": {"type":"object"}, "a": {"items":{"properties":{}}}}}"#,
                r#"{"properties": {"z": {"type":"object","additionalProperties":false},"a": {"items":{"properties":{},"additionalProperties":false}}},"additionalProperties":false}"#,
            ),
            (
                r#"{"anyOf":[{"$ref":"p"},{"type":"null"}],"$defs":{"p":{"type":"object"}}}"#,
                r#"{"anyOf":[{"$ref":"p"},{"type":"null"}],"$defs":{"p":{"type":"object","additionalProperties":false}}}"#,
            ),
            (r#"{"allOf":[{"type":"object"}]}"#, r#"{"allOf":[{"type":"object"}]}"#),
            // A member's name is no keyword, and an example no schema.
            (
                r#"{"properties":{"additionalProperties":{"type":"boolean"}},"default":{"type":"object"}}"#,
                r#"{"properties":{"additionalProperties":{"type":"boolean"}},"default":{"type":"object"},"additionalProperties":false}"#,
            ),
        ] {
            assert_eq!(close_text(given).as_deref(), Ok(wanted), "{given}");
        }
    }

    #[test]
    fn a_schema_that_is_longer_than_any_provider_takes_is_refused() {
        let schema = |bytes: usize| format!(r#"{{"title":"{}"}}"#, "x".repeat(bytes - 12));
        assert!(close_text(&schema(BYTES_MAX)).is_ok());
        let message = close_text(&schema(BYTES_MAX + 1)).expect_err("one byte more");
        assert!(message.contains("more than 128 KiB"), "{message}");
    }

    #[test]
    fn an_object_that_is_to_have_other_members_is_refused() {
        for schema in [
            r#"{"type":"object","additionalProperties":true}"#,
            r#"{"items":{"type":"object","additionalProperties":{"type":"string"}}}"#,
        ] {
            let message = close_text(schema).expect_err(schema);
            assert!(message.starts_with("response_format: has a schema"), "{message}");
        }
    }
}
