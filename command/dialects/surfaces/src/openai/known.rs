//! The known objects of a request and their known names.

use crate::known::{FUNCTION, FUNCTIONS, KnownMember, KnownObject, member, object};

const TOOL_CHOICE: KnownObject = object(&["allowed_tools", "custom", "function", "mode", "tools", "type"], FUNCTIONS);
const JSON_SCHEMA: KnownObject = object(&["description", "name", "schema", "strict"], &[]);
const RESPONSE_FORMAT: KnownObject = object(&["json_schema", "type"], &[member("json_schema", &JSON_SCHEMA)]);
const STREAM_OPTIONS: KnownObject = object(&["include_usage"], &[]);
const REASONING: KnownObject = object(&["budget_tokens", "effort", "enabled", "max_tokens", "type"], &[]);

/// Known objects of the top level. Messages and tools are checked elsewhere.
pub const TOP_LEVEL: &[KnownMember] = &[
    member("functions", &FUNCTION),
    member("function_call", &FUNCTION),
    member("reasoning", &REASONING),
    member("response_format", &RESPONSE_FORMAT),
    member("stream_options", &STREAM_OPTIONS),
    member("thinking", &REASONING),
    member("tool_choice", &TOOL_CHOICE),
];

/// Known objects of a message. Its tool calls are checked elsewhere.
pub const MESSAGE: &[KnownMember] = &[member("function_call", &FUNCTION)];
