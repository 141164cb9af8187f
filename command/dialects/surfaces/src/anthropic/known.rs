//! The known names of a request. A misspelled one is refused, because a lenient server would take it for the known one
//! and act on a value that the gateway has not read.

use crate::known::{KnownMember, KnownObject, member, object};

/// Known top-level fields, besides those that change the cost.
#[rustfmt::skip]
pub const TOP_LEVEL: [&str; 18] = [
    "cache_control", "diagnostics", "max_tokens", "messages", "metadata", "model", "output_config", "output_format",
    "stop_sequences", "stream", "system", "temperature", "thinking", "tool_choice", "tools", "top_k", "top_p",
    "user_profile_id",
];

pub const MESSAGE: [&str; 2] = ["content", "role"];

/// Known members of a block of any type.
#[rustfmt::skip]
pub const BLOCK: [&str; 21] = [
    // The most frequent first: blocks are many.
    "text", "type", "cache_control", "id", "input", "name", "tool_use_id", "content", "source", "is_error", "thinking",
    "signature", "data", "caller", "citations", "context", "title", "tool", "tool_name", "toolset_name",
    "transformations",
];

/// Known members of the source of an image or a document.
pub const SOURCE: [&str; 6] = ["content", "data", "file_id", "media_type", "type", "url"];

/// Known members of the tool that a message offers or withdraws.
pub const CHANGED_TOOL: [&str; 3] = ["definition", "name", "type"];

/// Known members of a tool.
#[rustfmt::skip]
pub const TOOL: [&str; 17] = [
    "allowed_callers", "cache_control", "defer_loading", "description", "display_height_px", "display_number",
    "display_width_px", "eager_input_streaming", "enable_zoom", "input_examples", "input_schema", "max_characters",
    "max_uses", "name", "strict", "toolset_name", "type",
];

const THINKING: KnownObject = object(&["budget_tokens", "display", "type"], &[]);
const TOOL_CHOICE: KnownObject = object(&["disable_parallel_tool_use", "name", "type"], &[]);
const FORMAT: KnownObject = object(&["schema", "type"], &[]);
const OUTPUT_CONFIG: KnownObject = object(&["effort", "format", "task_budget"], &[member("format", &FORMAT)]);
const METADATA: KnownObject = object(&["user_id"], &[]);

/// Known objects of the top level. Messages, the system prompt and tools are checked where they are read.
pub const OBJECTS: &[KnownMember] = &[
    member("metadata", &METADATA),
    member("output_config", &OUTPUT_CONFIG),
    member("output_format", &FORMAT),
    member("thinking", &THINKING),
    member("tool_choice", &TOOL_CHOICE),
];
