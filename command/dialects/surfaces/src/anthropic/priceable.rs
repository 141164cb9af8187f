//! Fields that change the cost of a request, on this surface. What compatible servers take at the top level is the same
//! as on OpenAI's surface, whose table is used; here are the fields that are Anthropic's own, or have values of their own.
//!
//! A tool of the client's own has no `type`, or `custom`. Of the tools that Anthropic defines, those that the client runs
//! add a prompt of bounded length ([`CLIENT_TOOLS`]); all others run at the provider, which bills them, and so may one with
//! the name of another provider's.

use events::refusal::{ErrorCode, Refusal};
use intermediate::chat::read::TOOLS_MAX;
use intermediate::facts::{Unpriced, fitted_schema_tokens};
use intermediate::fields::{self, Fields, LengthMax, Path};
use intermediate::json::{self, Kind};

use super::known;
use crate::priceable as shared;

pub use shared::{CACHE_CONTROL, MINIMA, OUTPUT_CONFIG, TOOLS, lets_think, reserve, unpriced};

pub const BETAS: &str = "anthropic_beta";
pub const CONTAINER: &str = "container";
pub const CONTEXT_MANAGEMENT: &str = "context_management";
pub const FILES: &str = "file_ids";
pub const MCP_SERVERS: &str = "mcp_servers";

const BILLING_POLICY: &str = "billing_policy";
const COMPACTION: &str = "compaction";
const INFERENCE_GEO: &str = "inference_geo";
const THREAD: &str = "thread";

/// Beginnings of the types of tools that Anthropic defines and the client runs, dates follow.
const CLIENT_TOOLS: [&str; 4] = ["bash_20", "text_editor_20", "computer_20", "memory_20"];

/// Upper bound of the prompt for one of these tools. Published are 245 tokens for `bash`, 700 for `text_editor`, and 735
/// for `computer` with up to 499 more; that of `memory` is a page of text.
const CLIENT_TOOL_TOKENS_MAX: u64 = 2_048;

/// The fields that the OpenAI surface reads itself: more choices, and another cap.
pub const OF_OPENAI: [&str; 2] = ["max_completion_tokens", "n"];
/// Edits that only remove earlier input. Others, such as compaction, run the model once more.
const HARMLESS_EDITS: [&str; 2] = ["clear_tool_uses_20250919", "clear_thinking_20251015"];

/// Every field that can be allowed, in no particular order.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    shared::names().chain([BILLING_POLICY, COMPACTION, THREAD])
}

/// The top-level member, other than tools and `cache_control`, as an unpriced field; `None` if it does not change the cost.
/// Errors: `INVALID_REQUEST` if it cannot be read.
pub fn unpriced_field(name: &str, value: &str) -> Result<Option<Unpriced>, Refusal> {
    let path = Path::Root.field(name);
    if OF_OPENAI.contains(&name) && !matches!(value, "null" | "1") {
        return Err(path.refuse("is a field of OpenAI's API, which a lenient server would act on"));
    }
    let reason = match name {
        INFERENCE_GEO => (json::string(value).as_deref() != Some("global")).then_some("may choose another price"),
        CONTEXT_MANAGEMENT => (!only_clears(value)).then_some("may run the model more than once"),
        BILLING_POLICY => Some("may choose another price"),
        COMPACTION => Some("may bring more output than the output cap allows"),
        THREAD => Some("may add input that is not in the request"),
        _ => return shared::unpriced_field(name, value),
    };
    let reason = reason.filter(|_| json::kind(value) != Kind::Null && !fields::is_empty(value));
    Ok(reason.and_then(|reason| field(name, unpriced(&path, reason))))
}

/// An unpriced field of this name; `None` if no provider can allow it.
pub fn field(name: &str, refusal: Refusal) -> Option<Unpriced> {
    debug_assert_eq!(refusal.code, ErrorCode::ModelUnpriced);
    let name = names().find(|known| *known == name)?;
    Some(Unpriced::new(name, refusal))
}

/// True for `{"edits":[…]}` whose edits only remove earlier input. Of several types, none may be another.
fn only_clears(value: &str) -> bool {
    let is_harmless = |edit: &str| {
        let members: Vec<_> = json::members(edit).map_while(Result::ok).collect();
        let mut types = members.iter().filter(|member| member.name().eq_ignore_ascii_case("type")).peekable();
        let is_known = |value: &str| json::string(value).is_some_and(|kind| HARMLESS_EDITS.contains(&&*kind));
        types.peek().is_some() && types.all(|member| is_known(member.value))
    };
    let mut members = json::members(value);
    json::kind(value) == Kind::Object
        && members.all(|member| {
            member.is_ok_and(|member| {
                member.name() == "edits"
                    && json::kind(member.value) == Kind::Array
                    && json::elements(member.value).all(|edit| edit.is_ok_and(is_harmless))
            })
        })
}

/// The tools of a request.
#[derive(Default)]
pub struct ToolTotals {
    /// Upper bound of the tokens of tools that Anthropic defines and the client runs, and of those that are added to the
    /// schemas of strict tools; see [`fitted_schema_tokens`].
    pub added_tokens: u64,
    /// A tool that the provider runs.
    pub unpriced: Option<Unpriced>,
    /// A tool that is marked to be cached for longer than five minutes, see [`shared::note_long_cache`].
    pub cached_long: Option<Unpriced>,
}

/// Reads `tools`.
pub fn tools(value: &str, path: &Path<'_>) -> Result<ToolTotals, Refusal> {
    let mut totals = ToolTotals::default();
    let max = LengthMax { max: TOOLS_MAX, things: "elements" };
    fields::list(value, path, max, |element, path| totals.read(element, path))?;
    Ok(totals)
}

impl ToolTotals {
    /// Reads the definition of one tool.
    pub fn read(&mut self, definition: &str, path: &Path<'_>) -> Result<(), Refusal> {
        let mut tool = Fields::read(definition, path)?;
        tool.refuse_misspelled(known::TOOL)?;
        let built_in = shared::names_built_in(&tool);
        let kind = tool.string("type")?;
        match kind.as_deref() {
            None | Some("custom") => {
                tool.required_string("name")?;
            }
            Some(kind) if CLIENT_TOOLS.iter().any(|client| kind.starts_with(client)) => {
                self.added_tokens = self.added_tokens.saturating_add(CLIENT_TOOL_TOKENS_MAX);
            }
            Some(kind) => {
                let what = format!("a tool of type {kind:.100}, which the provider runs, has no price");
                let found = field(TOOLS, unpriced(path, &what));
                let found = found.map(|found| Unpriced { is_lost_in_translation: is_search_of_tools(kind), ..found });
                self.note(found);
            }
        }
        self.note(built_in.and_then(|refusal| field(TOOLS, refusal)));
        if tool.raw("strict") == Some("true") {
            self.added_tokens = self.added_tokens.saturating_add(fitted_schema_tokens(definition));
        }
        if let Some(cache) = long_cache(tool.raw(CACHE_CONTROL), path)? {
            shared::note_long_cache(&mut self.cached_long, cache);
        }
        Ok(())
    }

    /// Notes the first such tool, or the first that counts in translations too.
    fn note(&mut self, found: Option<Unpriced>) {
        if self.unpriced.as_ref().is_none_or(|noted| noted.is_lost_in_translation) {
            self.unpriced = found.or_else(|| self.unpriced.take());
        }
    }
}

/// True for Anthropic's tool that searches among those of the request which are loaded later. Elsewhere all are there at once.
pub fn is_search_of_tools(kind: &str) -> bool {
    kind.starts_with("tool_search_tool_")
}

/// A `cache_control` of more than five minutes, as a field that a provider can allow. `path` is that of its object.
pub fn long_cache(value: Option<&str>, path: &Path<'_>) -> Result<Option<Unpriced>, Refusal> {
    let path = path.field(CACHE_CONTROL);
    let Some(value) = value else { return Ok(None) };
    let mut control = Fields::read(value, &path)?;
    let cache = shared::long_ttl(&mut control)?;
    control.required_string("type")?;
    Ok(cache)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_unpriced_by_its_value() {
        for (name, value, is_refused) in [
            ("service_tier", r#""auto""#, false),
            ("service_tier", r#""standard_only""#, false),
            ("service_tier", r#""priority""#, true),
            ("speed", r#""standard""#, false),
            ("speed", r#""fast""#, true),
            ("inference_geo", r#""global""#, false),
            ("inference_geo", "null", false),
            ("inference_geo", r#""us""#, true),
            ("container", r#""container_1""#, true),
            ("mcp_servers", "[]", false),
            ("mcp_servers", r#"[{"type":"url"}]"#, true),
            ("context_management", "{}", false),
            ("context_management", r#"{"edits":[{"type":"clear_tool_uses_20250919"}]}"#, false),
            ("context_management", r#"{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]}"#, false),
            ("context_management", r#"{"edits":[{"type":"compact_20260112"}]}"#, true),
            ("context_management", r#"{"edits":[],"more":1}"#, true),
            ("context_management", r#"{"edits":{}}"#, true),
            ("compaction", r#"{"type":"x"}"#, true),
            ("fallbacks", r#"["claude-x"]"#, true),
            ("thread", r#"{"id":"x"}"#, true),
            ("diagnostics", "{}", false),
            ("anything_else", "7", false),
        ] {
            let found = unpriced_field(name, value).expect("it can be read");
            assert_eq!(found.is_some(), is_refused, "{name}: {value}");
        }
    }

    #[test]
    fn tools_are_the_clients_or_add_a_bounded_prompt_or_have_no_price() {
        let read = |tools: &str| super::tools(tools, &Path::Root.field("tools"));
        for (tool, client_tools, is_refused) in [
            (r#"{"name":"f","input_schema":{"type":"object"}}"#, 0, false),
            (r#"{"type":"custom","name":"f"}"#, 0, false),
            (r#"{"type":"bash_20250124","name":"bash"}"#, 1, false),
            (r#"{"type":"text_editor_20250728","name":"str_replace_based_edit_tool"}"#, 1, false),
            (r#"{"type":"computer_20251124","name":"computer"}"#, 1, false),
            (r#"{"type":"memory_20250818","name":"memory"}"#, 1, false),
            (r#"{"type":"web_search_20250305","name":"web_search"}"#, 0, true),
            (r#"{"type":"code_execution_20250825","name":"code_execution"}"#, 0, true),
            (r#"{"type":"computer_toolset_20260801"}"#, 0, true),
            (r#"{"type":"mcp_toolset"}"#, 0, true),
            (r#"{"type":"of_tomorrow"}"#, 0, true),
        ] {
            let totals = read(&format!("[{tool}]")).expect("tools");
            let added = client_tools * CLIENT_TOOL_TOKENS_MAX;
            assert_eq!((totals.added_tokens, totals.unpriced.is_some()), (added, is_refused), "{tool}");
        }
        for bad in [r#"{"Type":"custom","name":"f"}"#, r#"{"type":7}"#, r#"{"input_schema":{}}"#, "7"] {
            assert!(read(&format!("[{bad}]")).is_err(), "{bad}");
        }
        let cached = |ttl: &str| format!(r#"[{{"name":"f","cache_control":{{"type":"ephemeral"{ttl}}}}}]"#);
        assert!(read(&cached("")).expect("tools").cached_long.is_none());
        assert!(read(&cached(r#","ttl":"5m""#)).expect("tools").cached_long.is_none());
        assert!(read(&cached(r#","ttl":"1h""#)).expect("tools").cached_long.is_some());
    }
}
