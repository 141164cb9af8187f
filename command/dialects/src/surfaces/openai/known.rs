//! The objects that a request is made of, and the names in them that mean something. A name that is almost one of them is
//! refused: a server that minds spelling less than we do would take it for the same, and act on what we have not read.
//! Objects whose names are the client's own (schemas, `metadata`, `logit_bias`, arguments) may have any, and so may those
//! that we do not know.

use events::refusal::Refusal;

use crate::fields::{self, Fields, Path, must_be_spelled};
use crate::json::{self, Kind, Member};

/// An object, or a list of such.
pub struct Known {
    names: &'static [&'static str],
    inside: &'static [(&'static str, &'static Known)],
}

const fn object(names: &'static [&'static str], inside: &'static [(&'static str, &'static Known)]) -> Known {
    Known { names, inside }
}

const FUNCTION: Known = object(&["arguments", "description", "name", "parameters", "strict"], &[]);
const CUSTOM: Known = object(&["description", "format", "input", "name"], &[]);
const FUNCTIONS: &[(&str, &Known)] = &[("function", &FUNCTION), ("custom", &CUSTOM)];
const TOOL: Known = object(&["custom", "function", "id", "index", "type"], FUNCTIONS);
const TOOL_CHOICE: Known = object(&["allowed_tools", "custom", "function", "mode", "tools", "type"], FUNCTIONS);
const JSON_SCHEMA: Known = object(&["description", "name", "schema", "strict"], &[]);
const RESPONSE_FORMAT: Known = object(&["json_schema", "type"], &[("json_schema", &JSON_SCHEMA)]);
const STREAM_OPTIONS: Known = object(&["include_usage"], &[]);
const REASONING: Known = object(&["budget_tokens", "effort", "enabled", "max_tokens", "type"], &[]);

/// Values of the top level, by their names. Messages and tools are read elsewhere.
pub const TOP_LEVEL: &[(&str, &Known)] = &[
    ("functions", &FUNCTION),
    ("function_call", &FUNCTION),
    ("reasoning", &REASONING),
    ("response_format", &RESPONSE_FORMAT),
    ("stream_options", &STREAM_OPTIONS),
    ("thinking", &REASONING),
    ("tool_choice", &TOOL_CHOICE),
];

/// The same of a message.
pub const MESSAGE: &[(&str, &Known)] = &[("function_call", &FUNCTION), ("tool_calls", &TOOL)];

/// Reads the value under a name if it is known, and everything known in it. What is of another kind is for others to
/// refuse.
pub fn check(name: &str, value: &str, known: &[(&str, &Known)], path: &Path<'_>) -> Result<(), Refusal> {
    let Some((_, known)) = known.iter().find(|(known, _)| *known == name) else { return Ok(()) };
    let path = path.field(name);
    match json::kind(value) {
        Kind::Object => known.check(value, &path),
        Kind::Array => fields::elements(value, &path, |index, element| match json::kind(element) {
            Kind::Object => known.check(element, &path.element(index)),
            _ => Ok(()),
        }),
        _ => Ok(()),
    }
}

/// The same for a tool that has been read: definitions are long.
pub fn check_tool(tool: &Fields<'_, '_>) -> Result<(), Refusal> {
    tool.left().try_for_each(|member| TOOL.check_member(member, tool.path()))
}

impl Known {
    fn check(&self, text: &str, path: &Path<'_>) -> Result<(), Refusal> {
        fields::members(text, path)?.iter().try_for_each(|member| self.check_member(member, path))
    }

    fn check_member(&self, member: &Member<'_>, path: &Path<'_>) -> Result<(), Refusal> {
        must_be_spelled(member.name(), self.names.iter().copied(), path)?;
        check(member.name(), member.value, self.inside, path)
    }
}
