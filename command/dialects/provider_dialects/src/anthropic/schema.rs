//! Response schemas for Anthropic, which requires `additionalProperties: false` on each object.

use std::borrow::Cow;

use events::refusal::Refusal;
use intermediate::fields::Path;
use intermediate::json::{Cursor, JsonFault, State};
use intermediate::work;
use serde_json::value::RawValue;

/// Longest schema that is translated. OpenAI takes 120,000 characters of names and values together
/// (<https://platform.openai.com/docs/guides/structured-outputs#supported-schemas>).
const BYTES_MAX: usize = 128 * 1024;

/// The schema with `additionalProperties: false` on every object without it. The order of members is kept, because
/// models follow it. Branches of `allOf` stay open, because each branch lists only some of the members. Errors:
/// `INVALID_REQUEST` for objects that allow other members, and for more than 128 KiB.
pub fn closed(schema: &RawValue) -> Result<Cow<'_, RawValue>, Refusal> {
    if schema.get().len() > BYTES_MAX {
        return Err(
            path().refuse("has a schema of more than 128 KiB, which is not translated for this model's provider")
        );
    }
    let mut out = String::with_capacity(schema.get().len() + 64);
    close(&mut Cursor::new(schema.get()), &mut out).map_err(refused)?;
    RawValue::from_string(out).map(Cow::Owned).map_err(|_| refused(OpenObject))
}

/// Error: an object of the schema must stay open.
struct OpenObject;

/// Unreachable in practice: the schema was checked as JSON before.
impl From<JsonFault> for OpenObject {
    fn from(_: JsonFault) -> Self {
        Self
    }
}

const fn path() -> Path<'static> {
    Path::Root.field("response_format")
}

fn refused(_: OpenObject) -> Refusal {
    path().refuse("has a schema with additionalProperties, which this model's provider takes as false alone")
}

/// Copies the schema at the cursor, closed.
fn close(schema: &mut Cursor<'_>, out: &mut String) -> Result<(), OpenObject> {
    if schema.peek() != Some(b'{') {
        copy(schema, out)?;
        return Ok(());
    }
    let (mut is_object, mut is_closed) = (false, false);
    each_member(schema, out, |name, value, out| {
        match (name, value.peek()) {
            ("additionalProperties", _) => {
                is_closed = true;
                return if copy(value, out)? == "false" { Ok(()) } else { Err(OpenObject) };
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
    out.push_str(if is_object && !is_closed { r#","additionalProperties":false}"# } else { "}" });
    Ok(())
}

/// Copies one value unchanged.
fn copy<'a>(value: &mut Cursor<'a>, out: &mut String) -> Result<&'a str, OpenObject> {
    let span = value.element()?;
    work::steps(2 * span.len());
    let text = value.slice(&span);
    out.push_str(text);
    Ok(text)
}

/// Writes the members of an object with their names unchanged, without the closing brace.
fn each_member(
    object: &mut Cursor<'_>,
    out: &mut String,
    mut write: impl FnMut(&str, &mut Cursor<'_>, &mut String) -> Result<(), OpenObject>,
) -> Result<(), OpenObject> {
    let mut state = State::Before;
    out.push('{');
    while object.advance(&mut state, b'{', b'}')? {
        out.push_str(if out.ends_with('{') { "" } else { "," });
        let start = object.at;
        let key = object.key()?;
        out.push_str(object.slice(&(start..object.at)));
        let name = object.name(&key)?;
        write(&name, object, out)?;
    }
    Ok(())
}

fn close_each(schemas: &mut Cursor<'_>, out: &mut String) -> Result<(), OpenObject> {
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
            // The name of a property is not a keyword, and an example is not a schema.
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
