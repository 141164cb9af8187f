//! Fields that ask for output whatever the output cap: thinking budgets and minimum lengths. A hold follows from the cap, so
//! what such a field can bring beyond it is held, too.

use events::refusal::Refusal;
use intermediate::chat::NO_EFFORT;
use intermediate::chat::read::OUTPUT_TOKENS_MAX;
use intermediate::facts::{AllowedThoughts, ReservedOutput, Unpriced};
use intermediate::fields::{Path, Spelling};
use intermediate::json::{self, Kind};

use super::{CHAT_TEMPLATE_KWARGS, is_one_of, unpriced};

/// How servers count the tokens that a field asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counted {
    /// They are output under the cap, if the cap is above them.
    WithinCap,
    /// Beside the output under the cap, at least on some servers.
    BesideCap,
    /// They are the shortest output.
    Minimum,
}

/// A field that asks for output tokens.
struct ReservingField {
    /// Its name at the top level.
    name: &'static str,
    /// The member of it that has the number; `None` if it is the number itself.
    member: Option<&'static str>,
    counted: Counted,
}

const fn field(name: &'static str, member: Option<&'static str>, counted: Counted) -> ReservingField {
    ReservingField { name, member, counted }
}

/// Anthropic's, in which an effort is.
pub const OUTPUT_CONFIG: &str = "output_config";
const REASONING: &str = "reasoning";
const REASONING_BUDGET: &str = "reasoning_budget";
const THINKING: &str = "thinking";
const THINKING_BUDGET: &str = "thinking_budget";

/// Grouped by the servers that take them.
#[rustfmt::skip]
const FIELDS: &[ReservingField] = &[
    // Anthropic, and servers that have its form
    field(THINKING, Some("budget_tokens"), Counted::WithinCap),
    field(THINKING, Some("max_tokens"), Counted::WithinCap),
    // OpenRouter, which raises a cap that is too low for it
    field(REASONING, Some("budget_tokens"), Counted::WithinCap),
    field(REASONING, Some("max_tokens"), Counted::WithinCap),
    // vLLM
    field("thinking_token_budget", None, Counted::WithinCap),
    field("min_tokens", None, Counted::Minimum),
    // Alibaba, whose cap bounds the answer alone
    field(THINKING_BUDGET, None, Counted::BesideCap),
    // llama.cpp
    field(REASONING_BUDGET, None, Counted::BesideCap),
    // NVIDIA
    field("max_thinking_tokens", None, Counted::BesideCap),
    field("min_thinking_tokens", None, Counted::Minimum),
    field(CHAT_TEMPLATE_KWARGS, Some(REASONING_BUDGET), Counted::BesideCap),
    field(CHAT_TEMPLATE_KWARGS, Some(THINKING_BUDGET), Counted::BesideCap),
];

/// The top-level fields with a thinking budget that can be allowed without a bound, besides the arguments of templates.
pub(super) const BUDGETS: [&str; 6] =
    ["max_thinking_tokens", REASONING, REASONING_BUDGET, THINKING, THINKING_BUDGET, "thinking_token_budget"];

/// The top-level fields with a minimum length. They have a bound, so that they need not be allowed.
pub const MINIMA: [&str; 2] = ["min_thinking_tokens", "min_tokens"];

/// Adds what a top-level member asks for, and returns it as an unpriced field if it sets no bound to the thoughts.
/// Errors: `INVALID_REQUEST` if a number of tokens cannot be read.
pub fn reserve(reserved: &mut ReservedOutput, name: &str, value: &str) -> Result<Option<Unpriced>, Refusal> {
    let path = Path::Root.field(name);
    let mut unbounded = None;
    for field in FIELDS.iter().filter(|field| field.name == name) {
        let Some(wanted) = field.member else {
            let found = field.reserve(reserved, value, &path)?;
            unbounded = unbounded.or(found);
            continue;
        };
        if json::kind(value) != Kind::Object {
            continue;
        }
        for member in json::members(value) {
            let member = member.map_err(|fault| path.fault(fault))?;
            if Spelling::of(member.name()).is_some_and(|spelling| spelling.matches(wanted)) {
                let found = field.reserve(reserved, member.value, &path.field(member.name()))?;
                unbounded = unbounded.or(found);
            }
        }
    }
    Ok(unbounded)
}

/// Whether a top-level member lets the model think as much as it likes.
pub fn lets_think(name: &str, value: &str) -> bool {
    match name {
        "reasoning_effort" => is_effort(value),
        "enable_thinking" => value == "true",
        REASONING | THINKING | CHAT_TEMPLATE_KWARGS | OUTPUT_CONFIG if json::kind(value) == Kind::Object => {
            let (mut has_effort, mut is_on, mut least_budget) = (false, false, None::<u64>);
            for member in json::members(value).map_while(Result::ok) {
                match member.name() {
                    "budget_tokens" | "max_tokens" if [REASONING, THINKING].contains(&name) => {
                        let budget = json::integer(member.value);
                        least_budget = least_budget.into_iter().chain(budget).min();
                    }
                    "effort" | "reasoning_effort" => has_effort |= is_effort(member.value),
                    "type" => is_on |= is_one_of(member.value, &["adaptive", "enabled"]),
                    "enabled" | "enable_thinking" | "thinking" => is_on |= member.value == "true",
                    _ => {}
                }
            }
            // A budget bounds thoughts that are switched on, and none that an effort asks for.
            has_effort || is_on && least_budget.is_none_or(|budget| budget == 0)
        }
        _ => false,
    }
}

/// Whether a top-level member asks the model to think, freely or within a budget.
pub fn asks_for_thoughts(name: &str, value: &str) -> bool {
    let mut reserved = ReservedOutput::default();
    let is_unbounded = reserve(&mut reserved, name, value).is_ok_and(|unbounded| unbounded.is_some());
    is_unbounded || lets_think(name, value) || reserved.thoughts() != AllowedThoughts::None
}

fn is_effort(value: &str) -> bool {
    json::string(value).is_some_and(|effort| effort != NO_EFFORT)
}

impl ReservingField {
    fn reserve(
        &self,
        reserved: &mut ReservedOutput,
        value: &str,
        path: &Path<'_>,
    ) -> Result<Option<Unpriced>, Refusal> {
        if json::kind(value) == Kind::Null || value == "false" {
            return Ok(None);
        }
        let is_negative = value.strip_prefix('-').is_some_and(|digits| json::integer(digits).is_some());
        if is_negative && self.counted != Counted::Minimum {
            let refusal = unpriced(path, "a thinking budget below 0 sets no bound to the thoughts");
            return Ok(Some(Unpriced::new(self.name, refusal)));
        }
        let tokens = json::integer(value).filter(|tokens| *tokens <= OUTPUT_TOKENS_MAX);
        let tokens =
            tokens.ok_or_else(|| path.refuse(format!("must be a whole number of at most {OUTPUT_TOKENS_MAX}")))?;
        let most = match self.counted {
            Counted::WithinCap => &mut reserved.within_cap,
            Counted::BesideCap => &mut reserved.beside_cap,
            Counted::Minimum => &mut reserved.minimum,
        };
        *most = tokens.max(*most);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use events::refusal::ErrorCode;

    use super::super::names;
    use super::*;

    fn reserve_one(field: &ReservingField, tokens: &str) -> Result<(ReservedOutput, Option<Unpriced>), Refusal> {
        let value = field.member.map_or_else(|| tokens.to_owned(), |member| format!(r#"{{"{member}":{tokens}}}"#));
        let mut reserved = ReservedOutput::default();
        let unbounded = reserve(&mut reserved, field.name, &value)?;
        Ok((reserved, unbounded))
    }

    /// Holds: event.reserved-output
    #[test]
    fn every_field_of_the_table_reserves_its_tokens_or_is_refused_by_name() {
        for field in FIELDS {
            let path = field.member.map_or_else(|| field.name.to_owned(), |member| format!("{}.{member}", field.name));
            let (reserved, unbounded) = reserve_one(field, "1234").expect("a number");
            assert!(reserved.needed() == 1234 && unbounded.is_none(), "{path}");
            for nothing in ["0", "null", "false"] {
                let (reserved, unbounded) = reserve_one(field, nothing).expect("nothing");
                assert!(reserved == ReservedOutput::default() && unbounded.is_none(), "{path}: {nothing}");
            }
            for unreadable in [r#""100000""#, "1e5", "1.5", "-1.5", "true", "[]", "{}", "99999999999999999999"] {
                let refusal = reserve_one(field, unreadable).expect_err(unreadable);
                assert_eq!(refusal.code, ErrorCode::InvalidRequest, "{path}: {unreadable}");
                assert_eq!(refusal.details["field"], path.as_str(), "{unreadable}");
            }
            match reserve_one(field, "-1") {
                Ok((_, unbounded)) => {
                    let unbounded = unbounded.expect("no bound");
                    assert!(field.counted != Counted::Minimum && unbounded.name == field.name, "{path}");
                    assert_eq!(unbounded.refusal.details["field"], path.as_str());
                }
                Err(refusal) => assert!(field.counted == Counted::Minimum, "{path}: {}", refusal.message),
            }
        }
    }

    #[test]
    fn every_field_of_the_table_has_a_known_name() {
        for field in FIELDS {
            let is_known = match field.counted {
                Counted::Minimum => MINIMA.contains(&field.name),
                Counted::WithinCap | Counted::BesideCap => names().any(|name| name == field.name),
            };
            assert!(is_known, "{}", field.name);
        }
    }

    #[test]
    fn an_effort_or_a_switch_lets_the_model_think_as_much_as_it_likes_and_a_budget_does_not() {
        for (name, value, is_open) in [
            ("reasoning_effort", r#""high""#, true),
            ("reasoning_effort", r#""none""#, false),
            ("reasoning_effort", "null", false),
            ("reasoning", r#"{"effort":"low"}"#, true),
            ("reasoning", r#"{"enabled":true}"#, true),
            ("reasoning", r#"{"enabled":true,"max_tokens":9}"#, false),
            ("reasoning", r#"{"enabled":false}"#, false),
            ("thinking", r#"{"type":"adaptive"}"#, true),
            ("thinking", r#"{"type":"disabled"}"#, false),
            ("thinking", r#"{"type":"enabled","budget_tokens":9}"#, false),
            ("thinking", r#"{"type":"enabled","budget_tokens":0}"#, true),
            ("thinking", r#"{"type":"enabled","budget_tokens":null}"#, true),
            ("thinking", r#"{"type":"enabled","budget_tokens":9,"max_tokens":0}"#, true),
            ("reasoning", r#"{"max_tokens":1,"effort":"high"}"#, true),
            ("reasoning", r#"{"effort":"none","max_tokens":1}"#, false),
            ("thinking", r#"{"budget_tokens":1,"effort":"high"}"#, true),
            ("output_config", r#"{"effort":"high","max_tokens":1}"#, true),
            ("chat_template_kwargs", r#"{"enable_thinking":true,"max_tokens":1}"#, true),
            ("chat_template_kwargs", r#"{"budget_tokens":1,"reasoning_effort":"high"}"#, true),
            ("output_config", r#"{"effort":"high","format":{}}"#, true),
            ("output_config", r#"{"format":{}}"#, false),
            ("chat_template_kwargs", r#"{"enable_thinking":true}"#, true),
            ("chat_template_kwargs", r#"{"enable_thinking":false}"#, false),
            ("enable_thinking", "true", true),
            ("temperature", "1", false),
        ] {
            assert_eq!(lets_think(name, value), is_open, "{name}: {value}");
        }
    }

    #[test]
    fn the_most_of_each_kind_counts_and_other_spellings_of_members_do_too() {
        let mut reserved = ReservedOutput::default();
        for (name, value) in [
            ("thinking", r#"{"budget_tokens":10,"max_tokens":30}"#),
            ("reasoning", r#"{"max_tokens":20}"#),
            ("thinking", r#""enabled""#),
            ("chat_template_kwargs", r#"{"thinkingBudget":7,"enable_thinking":true}"#),
            ("thinking_budget", "5"),
            ("min_tokens", "3"),
            ("temperature", "1"),
        ] {
            assert!(reserve(&mut reserved, name, value).expect("it can be read").is_none(), "{name}");
        }
        assert_eq!(reserved, ReservedOutput { within_cap: 30, beside_cap: 7, minimum: 3 });
    }
}
