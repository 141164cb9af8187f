//! Reads a body of the Anthropic surface in one pass: its facts, and the positions that are edited later.

use std::borrow::Cow;
use std::ops::Range;

use events::abilities::Ability;
use events::refusal::Refusal;
use intermediate::chat::ChatRequest;
use intermediate::chat::read::{self, OUTPUT_TOKENS_MAX};
use intermediate::facts::{
    AllowedThoughts, Directives, Facts, RequestedCap, ReservedOutput, fitted_schema_tokens, needs_of_chat,
};
use intermediate::fields::{self, Fields, Path, refuse_misspelled};
use intermediate::json::{self, Kind, Member};

use super::canonical::canonical;
use super::content::Totals;
use super::known;
use super::priceable;
use crate::SurfaceRequest;
use crate::known::check;

const CAP_FIELD: &str = "max_tokens";

/// The positions in the client's body that are edited for a target.
pub struct AnthropicBodyPositions {
    pub model: Range<usize>,
    /// The value of `max_tokens`.
    pub cap: Range<usize>,
    pub system: SystemPosition,
    /// End of the last member, where another may be added.
    pub members_end: usize,
    pub has_foreign_thoughts: bool,
    pub has_unsigned_thoughts: bool,
    pub has_odd_call_ids: bool,
    pub has_billing_line: bool,
}

/// The position of the system prompt.
pub enum SystemPosition {
    Absent,
    Null(Range<usize>),
    /// After the quote that opens it.
    Text(usize),
    /// After the bracket that opens it.
    Blocks {
        inside: usize,
        is_empty: bool,
    },
}

impl SurfaceRequest for AnthropicBodyPositions {
    fn read(text: &str) -> Result<(Facts, Self), Refusal> {
        let members = top_level(text)?;
        let find = |name: &str| members.iter().find(|member| member.name() == name);
        let at = |name: &'static str| Path::Root.field(name);
        let required = |name| {
            let member = find(name).filter(|member| json::kind(member.value) != Kind::Null);
            member.ok_or_else(|| at(name).refuse("is required"))
        };
        let given = |name: &str| find(name).map(|member| member.value).filter(|value| json::kind(value) != Kind::Null);

        let model = required("model")?;
        let cap = required(CAP_FIELD)?;
        let cap_tokens = fields::count(cap.value, OUTPUT_TOKENS_MAX, &at(CAP_FIELD))?;
        let mut totals = Totals::default();
        totals.read_top(&members)?;
        if let Some(system) = given("system") {
            totals.read_system(system)?;
        }
        totals.read_messages(required("messages")?.value)?;
        check_thinking_budget(given("thinking"), cap_tokens)?;
        let Totals { has_foreign_thoughts, has_unsigned_thoughts, has_odd_call_ids, has_billing_line, .. } = totals;
        let has_inline_tools = !totals.inline_tools.is_empty();
        let streamed = given("stream").map_or(Ok(false), |value| fields::boolean(value, &at("stream")))?;
        let thoughts = thoughts(&members, totals.reserved_output);
        let is_format = |format: &str| json::kind(format) != Kind::Null;
        let in_config = given("output_config").and_then(|config| json::field(config, "format"));
        let format = in_config.or(given("output_format")).filter(|format| is_format(format));
        let has_format = format.is_some();
        let facts = Facts {
            model: read::model_name(model.value, &at("model"))?,
            streamed,
            include_usage: false,
            output_cap: Some(RequestedCap { field: CAP_FIELD, tokens: Some(cap_tokens) }),
            reserved_output: totals.reserved_output,
            thoughts,
            choices: 1,
            has_logprobs: false,
            images: totals.images,
            documents: totals.documents,
            has_tools: has_inline_tools
                || ["tools", "output_config", "output_format"].iter().any(|name| given(name).is_some()),
            needs: needs_of_chat(streamed, totals.images, totals.documents)
                .with_if(
                    Ability::Tools,
                    has_inline_tools
                        || given("tools").is_some_and(|tools| json::elements_if_array(tools).next().is_some()),
                )
                .with_if(Ability::StructuredOutput, has_format)
                .with_if(Ability::Reasoning, thoughts != AllowedThoughts::None),
            added_tokens: format.map_or(0, fitted_schema_tokens).saturating_add(totals.added_tokens(given("tools"))),
            unpriced: totals.unpriced,
            directives: Directives::default(),
        };
        let positions = Self {
            model: model.value_span.clone(),
            cap: cap.value_span.clone(),
            system: find("system").map_or(SystemPosition::Absent, system_position),
            members_end: members.last().map_or(0, |member| member.span.end),
            has_foreign_thoughts,
            has_unsigned_thoughts,
            has_odd_call_ids,
            has_billing_line,
        };
        Ok((facts, positions))
    }

    fn chat<'a>(&'a self, body: &[u8]) -> Result<Cow<'a, ChatRequest>, Refusal> {
        let text = std::str::from_utf8(body).map_err(|_| Path::Root.refuse("is not valid UTF-8"))?;
        canonical(text).map(Cow::Owned)
    }

    /// The system prompt is the first message of the intermediate form's. The output format has an older name, which counts if it is
    /// there alone.
    fn client_field(&self, field: &str, body: &[u8]) -> Option<String> {
        if field == "response_format" || field == "output_config.format" {
            let [config, old] = json::find(std::str::from_utf8(body).ok()?, ["output_config", "output_format"]);
            let is_old = old.is_some() && config.and_then(|config| json::field(config, "format")).is_none();
            return is_old.then(|| "output_format".to_owned());
        }
        let (index, rest) = match self.system {
            SystemPosition::Absent | SystemPosition::Null(_) => return None,
            SystemPosition::Text(_) | SystemPosition::Blocks { .. } => {
                field.strip_prefix("messages[")?.split_once(']')?
            }
        };
        Some(match index.parse::<usize>().ok()?.checked_sub(1) {
            Some(index) => format!("messages[{index}]{rest}"),
            None => format!("system{rest}"),
        })
    }
}

pub fn top_level(text: &str) -> Result<Vec<Member<'_>>, Refusal> {
    let members = fields::top_level(text)?;
    for member in &members {
        let others = priceable::names().chain(priceable::OF_OPENAI).chain(priceable::MINIMA);
        let known = known::TOP_LEVEL.into_iter().chain(others);
        refuse_misspelled(member.name(), known, &Path::Root)?;
        check(member.name(), member.value, known::OBJECTS, &Path::Root)?;
    }
    Ok(members)
}

pub fn system_position(member: &Member<'_>) -> SystemPosition {
    let inside = member.value_span.start + 1;
    match json::kind(member.value) {
        Kind::String => SystemPosition::Text(inside),
        Kind::Array => SystemPosition::Blocks { inside, is_empty: json::elements(member.value).next().is_none() },
        _ => SystemPosition::Null(member.value_span.clone()),
    }
}

/// The thoughts that the request allows. Claude's effort does not raise a thinking budget.
fn thoughts(members: &[Member<'_>], reserved: ReservedOutput) -> AllowedThoughts {
    let budget = reserved.thoughts();
    let is_open = |member: &Member<'_>| {
        let counts = budget == AllowedThoughts::None || member.name() != priceable::OUTPUT_CONFIG;
        counts && priceable::lets_think(member.name(), member.value)
    };
    if members.iter().any(is_open) { AllowedThoughts::Open } else { budget }
}

/// Errors: a thinking budget that is not below the cap. Some betas let it exceed the cap, which then bounds nothing.
fn check_thinking_budget(thinking: Option<&str>, cap: u64) -> Result<(), Refusal> {
    let path = Path::Root.field("thinking");
    let Some(value) = thinking else { return Ok(()) };
    let budget = Fields::read(value, &path)?.count("budget_tokens", OUTPUT_TOKENS_MAX)?.unwrap_or(0);
    if budget >= cap {
        return Err(path.field("budget_tokens").refuse("must be below max_tokens"));
    }
    Ok(())
}
