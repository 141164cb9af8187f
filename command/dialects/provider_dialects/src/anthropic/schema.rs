//! Schemas in the part of JSON Schema that Claude's structured outputs take, for output formats and for strict tools.
//!
//! Keywords that they refuse are moved as Anthropic's own SDKs do (`transform_schema` in `anthropic/lib/_parse/_transform.py`): a
//! keyword becomes a line of the `description`, `{minimum: 1, maximum: 10}`, which the model follows in most cases; `oneOf`
//! becomes `anyOf`; nothing is beside `$ref`; and each object has `additionalProperties: false`. Other keywords, the order
//! of members among them, are kept, because models follow it.
//!
//! The source of what is taken: <https://docs.claude.com/en/docs/build-with-claude/structured-outputs#json-schema-limitations>.
//! Refusals name more: "For 'integer' type, properties maximum, minimum are not supported".
//!
//! A line has no more bytes than the keywords that it stands for. The text around it and `additionalProperties` are
//! counted by [`intermediate::facts::fitted_schema_tokens`].

use std::borrow::Cow;
use std::fmt::Write;

use events::refusal::Refusal;
use intermediate::chat::Tool;
use intermediate::fields::Path;
use intermediate::json::{self, JsonFault, Kind, Member};
use intermediate::work;
use serde_json::value::RawValue;

use super::pattern::is_taken_pattern;

/// Longest schema that is translated. OpenAI takes 120,000 characters of names and values together
/// (<https://platform.openai.com/docs/guides/structured-outputs#supported-schemas>).
const BYTES_MAX: usize = 128 * 1024;

/// The schema of a tool without parameters.
const NO_PARAMETERS: &str = r#"{"type":"object"}"#;

/// Formats of strings that are taken.
const FORMATS: [&str; 10] =
    ["date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"];

/// The schema as Claude takes it. Branches of `allOf` stay open, because each branch lists only some of the members.
/// Errors: `INVALID_REQUEST` at this path for objects that allow other members, and for more than 128 KiB.
pub fn fitted<'a>(schema: &RawValue, path: &Path<'_>) -> Result<Cow<'a, RawValue>, Refusal> {
    if schema.get().len() > BYTES_MAX {
        return Err(path.refuse("has a schema of more than 128 KiB, which is not translated for this model's provider"));
    }
    let refused = |_: OpenObject| {
        path.refuse("has a schema with additionalProperties, which this model's provider takes as false alone")
    };
    let mut out = String::with_capacity(schema.get().len() + 64);
    push_schema(schema.get(), Openness::Closed, &mut out).map_err(refused)?;
    RawValue::from_string(out).map(Cow::Owned).map_err(|_| refused(OpenObject))
}

/// The schema of tool number `at`, fitted if the tool is strict. Errors: likewise.
pub fn of_tool(tool: &Tool, at: usize) -> Result<Option<Cow<'_, RawValue>>, Refusal> {
    match tool.parameters.as_deref() {
        Some(schema) if tool.strict == Some(true) => fitted(schema, &Path::Root.field("tools").element(at)).map(Some),
        Some(schema) => Ok(Some(Cow::Borrowed(schema))),
        None => Ok(serde_json::from_str(NO_PARAMETERS).ok().map(Cow::Borrowed)),
    }
}

/// The path of the schema of an output format.
pub const fn output_path() -> Path<'static> {
    Path::Root.field("response_format")
}

/// Error: an object of the schema must stay open.
struct OpenObject;

/// Unreachable in practice: the schema was checked as JSON before.
impl From<JsonFault> for OpenObject {
    fn from(_: JsonFault) -> Self {
        Self
    }
}

/// Whether an object without `additionalProperties` gets it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Openness {
    Closed,
    Open,
}

/// The treatment of a keyword.
enum Treated {
    Kept,
    /// A schema.
    Schema,
    /// An object of schemas.
    Schemas,
    /// A list of schemas under this name.
    Branches(&'static str, Openness),
    /// Moved into the description.
    Described,
    /// Left out: nothing in it is for a model.
    Dropped,
}

/// Keywords of an object beside which others are treated in another way.
#[derive(Clone, Copy)]
struct Neighbours {
    has_ref: bool,
    has_any_of: bool,
}

fn treated(member: &Member<'_>, beside: Neighbours) -> Treated {
    let value = member.value;
    let kept_if = |is_taken: bool| if is_taken { Treated::Kept } else { Treated::Described };
    match (member.name(), json::kind(value)) {
        ("$defs" | "definitions", Kind::Object) => Treated::Schemas,
        ("$ref", _) => Treated::Kept,
        ("$schema" | "$id" | "$comment" | "$anchor" | "$vocabulary", _) => Treated::Dropped,
        _ if beside.has_ref => Treated::Dropped,
        ("properties", Kind::Object) => Treated::Schemas,
        ("items", Kind::Object) => Treated::Schema,
        ("anyOf", Kind::Array) => Treated::Branches("anyOf", Openness::Closed),
        ("oneOf", Kind::Array) if !beside.has_any_of => Treated::Branches("anyOf", Openness::Closed),
        ("allOf", Kind::Array) => Treated::Branches("allOf", Openness::Open),
        ("enum", Kind::Array) => kept_if(json::elements_if_array(value).all(is_scalar)),
        ("format", Kind::String) => kept_if(json::string(value).is_some_and(|format| FORMATS.contains(&&*format))),
        ("pattern", Kind::String) => kept_if(json::string(value).is_some_and(|pattern| is_taken_pattern(&pattern))),
        ("minItems", _) => kept_if(matches!(value, "0" | "1")),
        ("description", Kind::String) => Treated::Kept,
        ("description", _) => Treated::Dropped,
        ("additionalProperties" | "const" | "default" | "required" | "title" | "type", _) => Treated::Kept,
        _ => Treated::Described,
    }
}

fn is_scalar(value: &str) -> bool {
    !matches!(json::kind(value), Kind::Array | Kind::Object)
}

/// Writes one schema, which is `true`, `false` or an object.
fn push_schema(text: &str, openness: Openness, out: &mut String) -> Result<(), OpenObject> {
    if json::kind(text) != Kind::Object {
        out.push_str(text);
        return Ok(());
    }
    let members: Vec<_> = json::members(text).collect::<Result<_, _>>()?;
    let has = |name: &str| members.iter().any(|member| member.name() == name);
    let beside = Neighbours { has_ref: has("$ref"), has_any_of: has("anyOf") };
    let (mut is_object, mut is_closed) = (false, openness == Openness::Open);
    // The end of the description in what is written.
    let (mut described_at, mut line) = (None, DescribedKeywords::default());
    out.push('{');
    for member in &members {
        match treated(member, beside) {
            Treated::Kept => {
                push_name(out, text, member);
                out.push_str(member.value);
                match member.name() {
                    "additionalProperties" if member.value != "false" => return Err(OpenObject),
                    "additionalProperties" => is_closed = true,
                    "type" => is_object |= member.value.contains("\"object\""),
                    "description" => described_at = Some(out.len() - 1),
                    _ => {}
                }
            }
            Treated::Schema => {
                push_name(out, text, member);
                push_schema(member.value, Openness::Closed, out)?;
            }
            Treated::Schemas => {
                is_object |= member.name() == "properties";
                push_name(out, text, member);
                push_schemas(member.value, out)?;
            }
            Treated::Branches(name, openness) => {
                separate(out);
                let _ = write!(out, "\"{name}\":");
                push_branches(member.value, openness, out)?;
            }
            Treated::Described => line.add(member),
            Treated::Dropped => {}
        }
    }
    line.write(described_at, out);
    if is_object && !is_closed {
        separate(out);
        out.push_str(r#""additionalProperties":false"#);
    }
    out.push('}');
    work::steps(text.len());
    Ok(())
}

/// Writes a comma, unless nothing is before it in its object or list.
fn separate(out: &mut String) {
    if !out.ends_with(['{', '[']) {
        out.push(',');
    }
}

/// Writes the name of a member as it was received, with the colon.
fn push_name(out: &mut String, object: &str, member: &Member<'_>) {
    separate(out);
    out.push_str(object.get(member.span.start..member.value_span.start).unwrap_or_default());
}

fn push_schemas(text: &str, out: &mut String) -> Result<(), OpenObject> {
    out.push('{');
    for member in json::members(text) {
        let member = member?;
        push_name(out, text, &member);
        push_schema(member.value, Openness::Closed, out)?;
    }
    out.push('}');
    Ok(())
}

fn push_branches(text: &str, openness: Openness, out: &mut String) -> Result<(), OpenObject> {
    out.push('[');
    for branch in json::elements(text) {
        separate(out);
        push_schema(branch?, openness, out)?;
    }
    out.push(']');
    Ok(())
}

/// Keywords of one object that become a part of its description.
#[derive(Default)]
struct DescribedKeywords(String);

impl DescribedKeywords {
    /// Adds a keyword. One whose value would be longer in a string than it was is lost: lists and objects with escapes.
    fn add(&mut self, keyword: &Member<'_>) {
        let value = match json::kind(keyword.value) {
            Kind::String => json::string(keyword.value),
            Kind::Array | Kind::Object if keyword.value.contains('\\') => None,
            Kind::Array | Kind::Object => Some(keyword.value.replace('"', "'").replace(['\n', '\r', '\t'], " ").into()),
            _ => Some(Cow::Borrowed(keyword.value)),
        };
        if let Some(value) = value {
            let comma = if self.0.is_empty() { "" } else { ", " };
            let _ = write!(self.0, "{comma}{}: {value}", keyword.name());
        }
    }

    /// Writes them at the end of the description, or else as the description.
    fn write(self, described_at: Option<usize>, out: &mut String) {
        if self.0.is_empty() {
            return;
        }
        let quoted = serde_json::Value::String(format!("{{{}}}", self.0)).to_string();
        match described_at {
            Some(at) => {
                work::steps(out.len() - at);
                let is_empty = out.get(..at).is_some_and(|before| before.ends_with(":\""));
                let text = quoted.get(1..quoted.len() - 1).unwrap_or_default();
                let paragraph = if is_empty { text.to_owned() } else { format!("\\n\\n{text}") };
                out.insert_str(at, &paragraph);
            }
            None => {
                separate(out);
                let _ = write!(out, "\"description\":{quoted}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use intermediate::facts::fitted_schema_tokens;

    use super::*;

    fn close_text(schema: &str) -> Result<String, String> {
        let schema = RawValue::from_string(schema.to_owned()).unwrap();
        fitted(&schema, &output_path()).map(|fitted| fitted.get().to_owned()).map_err(|refusal| refusal.message)
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
    fn what_is_not_taken_goes_into_the_description_in_its_order() {
        for (given, wanted) in [
            (
                r#"{"type":"integer","minimum":1,"maximum":10,"description":"A number"}"#,
                r#"{"type":"integer","description":"A number\n\n{minimum: 1, maximum: 10}"}"#,
            ),
            (
                r#"{"description":"","multipleOf":0.5,"type":"number"}"#,
                r#"{"description":"{multipleOf: 0.5}","type":"number"}"#,
            ),
            (
                r#"{"type":"string","minLength":2,"maxLength":5,"format":"email"}"#,
                r#"{"type":"string","format":"email","description":"{minLength: 2, maxLength: 5}"}"#,
            ),
            (r#"{"type":"string","format":"binary"}"#, r#"{"type":"string","description":"{format: binary}"}"#),
            (
                r#"{"type":"array","items":{"type":"string","maxLength":9},"minItems":3,"maxItems":4,"uniqueItems":true}"#,
                r#"{"type":"array","items":{"type":"string","description":"{maxLength: 9}"},"description":"{minItems: 3, maxItems: 4, uniqueItems: true}"}"#,
            ),
            (r#"{"type":"array","minItems":1}"#, r#"{"type":"array","minItems":1}"#),
            (r#"{"type":"string","pattern":"^[a-z]+$"}"#, r#"{"type":"string","pattern":"^[a-z]+$"}"#),
            (
                r#"{"type":"string","pattern":"^(?=.*\\d).+\"$"}"#,
                r#"{"type":"string","description":"{pattern: ^(?=.*\\d).+\"$}"}"#,
            ),
            (
                r#"{"oneOf":[{"type":"string","minLength":1},{"type":"null"}]}"#,
                r#"{"anyOf":[{"type":"string","description":"{minLength: 1}"},{"type":"null"}]}"#,
            ),
            (
                r#"{"anyOf":[{"type":"null"}],"oneOf":[{"type":"string"}]}"#,
                r#"{"anyOf":[{"type":"null"}],"description":"{oneOf: [{'type':'string'}]}"}"#,
            ),
            (r##"{"$ref":"#/$defs/p","description":"A place."}"##, r##"{"$ref":"#/$defs/p"}"##),
            (
                r##"{"$defs":{"p":{"type":"integer","minimum":0}},"$ref":"#/$defs/p"}"##,
                r##"{"$defs":{"p":{"type":"integer","description":"{minimum: 0}"}},"$ref":"#/$defs/p"}"##,
            ),
            (r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","const":1}"#, r#"{"const":1}"#),
            (r#"{"allOf":[{"maximum":3}]}"#, r#"{"allOf":[{"description":"{maximum: 3}"}]}"#),
            // The name of a property is none of a keyword.
            (
                r#"{"properties":{"minimum":{"type":"string"},"$ref":{"type":"string"}}}"#,
                r#"{"properties":{"minimum":{"type":"string"},"$ref":{"type":"string"}},"additionalProperties":false}"#,
            ),
            // A value that would be longer in a string than it was is lost.
            (r#"{"type":"string","not":{"const":"\n"}}"#, r#"{"type":"string"}"#),
            (r#"{"enum":[1,{"a":2}]}"#, r#"{"description":"{enum: [1,{'a':2}]}"}"#),
        ] {
            assert_eq!(close_text(given).as_deref(), Ok(wanted), "{given}");
        }
    }

    #[test]
    fn a_fitted_schema_is_not_longer_than_what_is_counted() {
        let hostile = r#"{"a":1}"#;
        let nested = format!("{}{hostile}{}", r#"{"items":"#.repeat(60), "}".repeat(60));
        let wide = format!(r#"{{"properties":{{{}}}}}"#, vec![r#""x":{"type":"object","b":"\\\"\/"}"#; 900].join(","));
        for given in [
            hostile,
            &nested,
            &wide,
            r#"{"description":"","":""}"#,
            r#"{"not":{"a":[ 1,
            2]}}"#,
        ] {
            let counted = given.len() + usize::try_from(2 * fitted_schema_tokens(given)).unwrap();
            let written = close_text(given).expect("a schema");
            assert!(written.len() <= counted, "{} of {counted}: {written:.200}", written.len());
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
