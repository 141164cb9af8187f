//! Fields that change the cost of a request. A hold must bound that cost, which follows from the body's bytes, the
//! output cap and the price of one model, and from what fields ask for beyond that cap (see [`reserve`]). A field that
//! chooses another model or price, runs billed tools, adds input from elsewhere or replaces the cap would break the bound,
//! so it is refused as `MODEL_UNPRICED`.
//!
//! The operator can let a field through with the provider's `allowed_fields`, and then vouches for its price. Values
//! without effect (null, false, a known default) are never refused.
//!
//! The table lists refused fields. Rejected: a list of permitted ones, because clients of the OpenAI API expect that
//! unknown fields are passed on. So a new billed field goes through until it is listed here: the gateway then charges
//! the reported tokens at the target's price, and what exceeds the hold is an overrun.

mod reserving;
mod table;
mod tier;

use events::money::TokenRate;
use events::refusal::{ErrorCode, Refusal};
use intermediate::chat::Tool;
use intermediate::chat::read::{self, TOOLS_MAX};
use intermediate::facts::{Unpriced, fitted_schema_tokens};
use intermediate::fields::{self, Fields, LengthMax, Path, Spelling, is_empty};
use intermediate::json::{self, Kind, Member};

use crate::known::{self, check_tool};
use table::{Effect, FIELDS, cost_field};
use tier::named_tier;

pub use read::CACHE_CONTROL;
pub use reserving::{MINIMA, OUTPUT_CONFIG, asks_for_thoughts, lets_think, reserve};
pub use tier::{SERVICE_TIER, TIERS, TIERS_MEANING, asked_tier, service_tier, tier_of_chat};

pub const TOOLS: &str = "tools";

const CHAT_TEMPLATE_KWARGS: &str = "chat_template_kwargs";
pub const FUNCTIONS: &str = "functions";
const MODALITIES: &str = "modalities";
const PROMPT_CACHE_OPTIONS: &str = "prompt_cache_options";

/// Input of a chat template, and the template itself, which may repeat its input any number of times.
const TEMPLATE_INPUT: [&str; 6] = ["chat_template", "conversation", "documents", "messages", "tokenize", "tools"];
/// Members that a client's tool may have besides its definition. In others Gemini's servers take their built-in tools.
const TOOL_MEMBERS: [&str; 9] =
    [CACHE_CONTROL, "description", "format", "id", "index", "input_schema", "name", "parameters", "strict"];

/// Every field that can be allowed, in no particular order.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    FIELDS
        .iter()
        .map(|field| field.name)
        .chain([CACHE_CONTROL, CHAT_TEMPLATE_KWARGS, FUNCTIONS, MODALITIES, PROMPT_CACHE_OPTIONS, TOOLS])
        .chain(reserving::BUDGETS)
}

/// The top-level member as an unpriced field; `None` if it does not change the cost. Of tools and functions,
/// [`unpriced_tools`] and [`unpriced_functions`] say more.
/// Errors: `INVALID_REQUEST` if it cannot be read.
pub fn unpriced_field(name: &str, value: &str) -> Result<Option<Unpriced>, Refusal> {
    let path = Path::Root.field(name);
    if json::kind(value) == Kind::Null || value == "false" {
        return Ok(None);
    }
    if name == CACHE_CONTROL {
        return long_cache(value, &path);
    }
    let read = match name {
        CHAT_TEMPLATE_KWARGS => template_arguments(value, &path),
        FUNCTIONS => functions(value, &path).and_then(|functions| functions.built_in.map_or(Ok(()), Err)),
        MODALITIES => modalities(value, &path),
        PROMPT_CACHE_OPTIONS => cache_options(value, &path),
        TOOLS => tools(value, &path).and_then(|tools| tools.built_in.map_or(Ok(()), Err)),
        _ => match cost_field(name) {
            Some(field) if !field.harmless.contains(&value) => Err(unpriced(&path, field.effect.reason())),
            _ => Ok(()),
        },
    };
    match read {
        Err(refusal) if refusal.code == ErrorCode::ModelUnpriced => {
            let service_tier = (name == SERVICE_TIER).then(|| named_tier(value)).flatten();
            let known = names().find(|known| *known == name);
            Ok(known.map(|name| Unpriced { service_tier, ..Unpriced::new(name, refusal) }))
        }
        other => other.map(|()| None),
    }
}

/// The facts of a list of tools that its cost depends on.
#[derive(Default)]
pub struct ToolFacts {
    pub unpriced: [Option<Unpriced>; 2],
    /// See [`fitted_schema_tokens`].
    pub added_tokens: u64,
}

/// Like [`unpriced_field`], for the member `tools`: tools that run at the provider, and caches.
pub fn unpriced_tools(value: &str) -> Result<ToolFacts, Refusal> {
    if json::kind(value) == Kind::Null || value == "false" {
        return Ok(ToolFacts::default());
    }
    Ok(tools(value, &Path::Root.field(TOOLS))?.facts(TOOLS))
}

/// The same of the member `functions`.
pub fn unpriced_functions(value: &str) -> Result<ToolFacts, Refusal> {
    Ok(functions(value, &Path::Root.field(FUNCTIONS))?.facts(FUNCTIONS))
}

/// Notes a long cache, see [`long_cache`]: the first one, or the first whose lifetime no price can have.
pub fn note_long_cache(noted: &mut Option<Unpriced>, cache: Unpriced) {
    if noted.as_ref().is_none_or(|noted| noted.cache_write.is_some() && cache.cache_write.is_none()) {
        *noted = Some(cache);
    }
}

/// A 422 that names the path.
pub fn unpriced(path: &Path<'_>, what: &str) -> Refusal {
    let (field, reason) = (path.to_string(), format!("{what}, so its cost cannot be bounded"));
    Refusal::new(ErrorCode::ModelUnpriced, format!("{field}: {reason}")).with("field", field).with("reason", reason)
}

fn is_one_of(value: &str, allowed: &[&str]) -> bool {
    json::string(value).is_some_and(|text| allowed.contains(&&*text))
}

fn modalities(value: &str, path: &Path<'_>) -> Result<(), Refusal> {
    fields::elements(value, path, |element, path| match is_one_of(element, &["text"]) {
        true => Ok(()),
        false => Err(unpriced(path, "a modality other than text has no price")),
    })
}

/// OpenAI's lifetime of a cache. The default is thirty minutes, and twelve hours cost more.
fn cache_options(value: &str, path: &Path<'_>) -> Result<(), Refusal> {
    let mut options = Fields::read(value, path)?;
    options.refuse_misspelled(["ttl"])?;
    match options.string("ttl")? {
        Some(ttl) if ttl != "30m" => {
            Err(unpriced(&path.field("ttl"), "a cache of more than thirty minutes has another price"))
        }
        _ => Ok(()),
    }
}

/// A value that is not an object is passed on: it has no names.
fn template_arguments(value: &str, path: &Path<'_>) -> Result<(), Refusal> {
    for member in json::members(value).take_while(|_| json::kind(value) == Kind::Object) {
        let member = member.map_err(|fault| path.fault(fault))?;
        let spelling = Spelling::of(member.name());
        let is_input = TEMPLATE_INPUT.iter().any(|input| spelling.as_ref().is_some_and(|name| name.matches(input)));
        if is_input && !is_empty(member.value) {
            return Err(unpriced(&path.field(member.name()), Effect::Input.reason()));
        }
    }
    Ok(())
}

/// The first refusal of each kind among the tools of a request.
#[derive(Default)]
struct ToolRefusals {
    /// The first refusal of a tool that runs at the provider.
    built_in: Option<Refusal>,
    /// A tool that is cached for longer than five minutes, see [`note_long_cache`].
    cached_long: Option<Unpriced>,
    /// See [`fitted_schema_tokens`].
    added_tokens: u64,
}

impl ToolRefusals {
    /// Returns the refusals as fields; `name` is that of the member that has the tools.
    fn facts(self, name: &'static str) -> ToolFacts {
        let unpriced = [self.built_in.map(|refusal| Unpriced::new(name, refusal)), self.cached_long];
        ToolFacts { unpriced, added_tokens: self.added_tokens }
    }

    /// Notes a member of a tool, or of its definition. `path` is that of the object that has it.
    fn note(&mut self, tool: &str, member: &Member<'_>, path: &Path<'_>) -> Result<(), Refusal> {
        match (member.name(), member.value) {
            (CACHE_CONTROL, value) => self.note_cache(value, path),
            ("strict", "true") => {
                self.added_tokens = self.added_tokens.saturating_add(fitted_schema_tokens(tool));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Notes a `cache_control` that has another price. `path` is that of its object.
    fn note_cache(&mut self, value: &str, path: &Path<'_>) -> Result<(), Refusal> {
        if let Some(cache) = long_cache(value, &path.field(CACHE_CONTROL))? {
            note_long_cache(&mut self.cached_long, cache);
        }
        Ok(())
    }
}

/// Functions and custom tools run at the client; every other kind runs at the provider, and is billed by it.
fn tools(value: &str, path: &Path<'_>) -> Result<ToolRefusals, Refusal> {
    let mut refused = ToolRefusals::default();
    fields::list(value, path, LengthMax { max: TOOLS_MAX, things: "elements" }, |element, path| {
        let mut tool = Fields::read(element, path)?;
        // Servers that pass it on to Anthropic take it in the tool and in its definition.
        check_tool(&tool, &mut |member, path| refused.note(element, member, path))?;
        if let Some(what) = reason_against_tool(&mut tool) {
            refused.built_in.get_or_insert_with(|| unpriced(path, what));
        }
        Ok(())
    })?;
    Ok(refused)
}

/// A `cache_control` of more than five minutes, as a field that a provider can allow. `path` is its own.
pub fn long_cache(value: &str, path: &Path<'_>) -> Result<Option<Unpriced>, Refusal> {
    if json::kind(value) == Kind::Null {
        return Ok(None);
    }
    long_ttl(&mut Fields::read(value, path)?)
}

/// Like [`long_cache`], for its members.
pub fn long_ttl(control: &mut Fields<'_, '_>) -> Result<Option<Unpriced>, Refusal> {
    control.refuse_misspelled(known::CACHE_CONTROL)?;
    Ok(match control.string("ttl")? {
        None => None,
        Some(ttl) if ttl == "5m" => None,
        Some(ttl) => {
            let path = control.path().field("ttl");
            let refusal = unpriced(&path, "a cache of more than five minutes has another price");
            // No vendor takes a third lifetime.
            let cache_write = TokenRate::of_cache(&ttl).filter(|rate| *rate == TokenRate::CacheWrite1h);
            Some(Unpriced { cache_write, ..Unpriced::new(CACHE_CONTROL, refusal) })
        }
    })
}

const RUN_BY_PROVIDER: &str = "a tool that the provider runs has no price";

/// Reads a tool of the client's, on a surface that passes nothing on. Errors: also `MODEL_UNPRICED` for the name of a tool
/// that the provider runs.
pub fn tool(tool: &mut Fields<'_, '_>) -> Result<Tool, Refusal> {
    match names_built_in(tool) {
        Some(refusal) => Err(refusal),
        None => read::tool(tool),
    }
}

/// The refusal of a tool that has not been read, and whose name is that of one that the provider runs.
pub fn names_built_in(tool: &Fields<'_, '_>) -> Option<Refusal> {
    has_unread_name_of_built_in(tool).then(|| unpriced(tool.path(), RUN_BY_PROVIDER))
}

fn has_unread_name_of_built_in(tool: &Fields<'_, '_>) -> bool {
    tool.unread().any(|member| member.name() == "name" && is_name_of_built_in(member.value))
}

/// The reason why a tool may run at the provider; `None` for a tool of the client's.
fn reason_against_tool(tool: &mut Fields<'_, '_>) -> Option<&'static str> {
    let (kind, definitions) = (tool.raw("type"), [tool.raw("function"), tool.raw("custom")]);
    let is_clients = match kind {
        Some(kind) => is_one_of(kind, &["function", "custom"]),
        None => definitions.iter().any(Option::is_some),
    };
    let is_built_in = definitions.into_iter().flatten().any(has_name_of_built_in) || has_unread_name_of_built_in(tool);
    let asks_for_more = |name: &str, value: &str| {
        // An empty object switches Google's tools on.
        !TOOL_MEMBERS.contains(&name) && json::kind(value) != Kind::Null && value != "false"
    };
    if !is_clients || is_built_in {
        Some(RUN_BY_PROVIDER)
    } else if tool.unread().any(|member| asks_for_more(member.name(), member.value)) {
        Some("a tool with a field beside its own definition has no price")
    } else {
        None
    }
}

/// Reads the deprecated form of tools: a list of definitions.
fn functions(value: &str, path: &Path<'_>) -> Result<ToolRefusals, Refusal> {
    let mut refused = ToolRefusals::default();
    if json::kind(value) != Kind::Array {
        return Ok(refused);
    }
    fields::elements(value, path, |element, path| {
        if has_name_of_built_in(element) {
            let what = "a function that the provider runs has no price";
            refused.built_in.get_or_insert_with(|| unpriced(path, what));
        }
        let [cache, strict] = json::find(element, [CACHE_CONTROL, "strict"]);
        if strict == Some("true") {
            refused.added_tokens = refused.added_tokens.saturating_add(fitted_schema_tokens(element));
        }
        cache.map_or(Ok(()), |cache| refused.note_cache(cache, path))
    })?;
    Ok(refused)
}

fn has_name_of_built_in(definition: &str) -> bool {
    json::field(definition, "name").is_some_and(is_name_of_built_in)
}

/// True for names such as Moonshot's `$web_search`.
fn is_name_of_built_in(name: &str) -> bool {
    json::string(name).is_some_and(|name| name.trim_start().starts_with('$'))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use events::usage::ServiceTier;

    use super::*;

    /// Google takes both spellings of some of its names, so that each can be allowed.
    #[test]
    fn every_name_is_there_once_also_to_readers_who_do_not_mind_spelling() {
        let folded = |name: &str| name.replace(['_', '-'], "").to_ascii_lowercase();
        let (mut once, mut twice) = (BTreeSet::new(), BTreeSet::new());
        for name in names() {
            if !once.insert(folded(name)) {
                twice.insert(folded(name));
            }
        }
        assert_eq!(twice.iter().map(String::as_str).collect::<Vec<_>>(), ["candidatecount", "responsemodalities"]);
        assert_eq!(names().collect::<BTreeSet<_>>().len(), names().count());
    }

    #[test]
    fn no_name_is_too_long_to_be_compared() {
        assert!(names().all(|name| Spelling::of(name).is_some()));
    }

    /// Holds: admin.allowed-fields
    #[test]
    fn the_page_names_every_field_that_can_be_allowed() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/provider.md");
        let page = std::fs::read_to_string(page).expect("the page of providers");
        let list = page.split_once("These can be allowed:").and_then(|(_, rest)| rest.split_once(". "));
        let found: BTreeSet<&str> = list.expect("the list").0.split('`').skip(1).step_by(2).collect();
        assert_eq!(found, crate::unpriced_fields().collect());
    }

    /// Holds: inf.service-tiers
    #[test]
    fn a_service_tier_that_a_price_can_have_is_told_with_its_refusal() {
        for (name, value, tier) in [
            (SERVICE_TIER, r#""flex""#, Some(ServiceTier::Flex)),
            (SERVICE_TIER, r#""priority""#, Some(ServiceTier::Priority)),
            // Of another API, unknown, no word, and another field.
            (SERVICE_TIER, r#""batch""#, None),
            (SERVICE_TIER, r#""scale""#, None),
            (SERVICE_TIER, r#""Flex""#, None),
            (SERVICE_TIER, "7", None),
            ("speed", r#""priority""#, None),
        ] {
            let refused = unpriced_field(name, value).expect("it can be read").expect("it has another price");
            assert_eq!((refused.name, refused.service_tier), (name, tier), "{value}");
        }
    }

    #[test]
    fn what_says_nothing_costs_nothing() {
        let refused = |name: &str, value: &str| unpriced_field(name, value).expect("it can be read").is_some();
        for name in names() {
            assert!(!refused(name, "null") && !refused(name, "false"), "{name}");
        }
        for (name, value, is_refused) in [
            ("transforms", "[]", false),
            ("provider", "{}", false),
            ("web_search_options", "{}", true),
            ("search_parameters", "{}", true),
            ("best_of", "1", false),
            ("best_of", "2", true),
            ("n_cmpl", "1", false),
            ("n_cmpl", "128", true),
            ("service_tier", r#""auto""#, false),
            ("service_tier", r#""priority""#, true),
            ("enable_thinking", "true", true),
            ("prompt_cache_options", r#"{"mode":"explicit","ttl":"30m"}"#, false),
            ("prompt_cache_options", r#"{"ttl":"12h"}"#, true),
            ("prompt_cache_options", r#"{"ttl":null}"#, false),
            ("anything_else", "7", false),
        ] {
            assert_eq!(refused(name, value), is_refused, "{name}: {value}");
        }
    }
}
