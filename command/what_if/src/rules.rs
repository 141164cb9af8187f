//! The rules file: JSON, in the words of the admin API. What it does not name stays as recorded.

mod fields;

use std::collections::HashSet;
use std::fmt::Display;
use std::hash::Hash;

use events::event::admin::{Budget, Enforcement, NarrowedScope, RateLimit, WhenShort};
use events::event::{Stream, StreamKind};
use events::ids::{BudgetId, LimitId, ProviderId, target_key};
use events::limit::{Bounds, Measure};
use events::money::{GivenRates, NanoUsd, Tariff, TokenRate};
use events::plain_json;
use serde_json::Value;
use uuid::Uuid;

use fields::Fields;

/// The rules that replace recorded ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    pub(crate) budgets: BudgetRules,
    pub(crate) rate_limits: LimitRules,
    pub(crate) prices: Vec<PriceRule>,
    pub(crate) routes: Vec<RouteRule>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct BudgetRules {
    pub(crate) change: Vec<BudgetChange>,
    /// Their ids are made from their numbers: see [`added_id`].
    pub(crate) add: Vec<Budget>,
    pub(crate) remove: Vec<BudgetId>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BudgetChange {
    pub(crate) budget_id: BudgetId,
    limit_usd: Option<NanoUsd>,
    when_short: Option<WhenShort>,
    enforcement: Option<Enforcement>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LimitRules {
    pub(crate) change: Vec<LimitChange>,
    /// Their ids are made from their numbers: see [`added_id`].
    pub(crate) add: Vec<RateLimit>,
    pub(crate) remove: Vec<LimitId>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LimitChange {
    pub(crate) limit_id: LimitId,
    /// The measures that change; `None` for one that no longer limits.
    pub(crate) bounds: Vec<(Measure, Option<u64>)>,
}

/// The price of a backend.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PriceRule {
    pub(crate) provider_id: ProviderId,
    pub(crate) model: String,
    pub(crate) tariff: Tariff,
}

/// The backend that serves a frontend model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RouteRule {
    pub(crate) model: String,
    pub(crate) provider_id: ProviderId,
    pub(crate) backend_model: String,
}

/// Why a text is not a file of rules. `path` is where, as in `budgets.change[0].limit_usd`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    #[error("it is not JSON: {0}")]
    NotJson(String),
    /// `hint` is the nearest known name as a question, or empty.
    #[error("{path} is not a field of rules{hint}")]
    UnknownField { path: String, hint: String },
    #[error("{path} is missing")]
    Missing { path: String },
    #[error("{path}: {reason}")]
    Invalid { path: String, reason: String },
    #[error("{path}: there is another rule for {what}")]
    Repeated { path: String, what: String },
}

/// The id of an added budget or limit by its number from 0. No recorded id is so small: theirs begin with the time.
pub(crate) fn added_id<I: From<Uuid>>(number: usize) -> I {
    I::from(Uuid::from_u128(number as u128 + 1))
}

/// The number of an added budget or limit, of so many.
pub(crate) fn added_number(id: Uuid, added: usize) -> Option<usize> {
    let number = usize::try_from(id.as_u128().checked_sub(1)?).ok()?;
    (number < added).then_some(number)
}

impl Rules {
    pub fn parse(json: &[u8]) -> Result<Self, RulesError> {
        let value = plain_json::parse_slice(json).map_err(|error| RulesError::NotJson(error.to_string()))?;
        let all = Fields::of(&value, "", &["budgets", "rate_limits", "prices", "routes"])?;
        let rules = Self {
            budgets: all.object("budgets", &CHANGES, BudgetRules::read)?.unwrap_or_default(),
            rate_limits: all.object("rate_limits", &CHANGES, LimitRules::read)?.unwrap_or_default(),
            prices: all.list("prices", PriceRule::read)?,
            routes: all.list("routes", RouteRule::read)?,
        };
        once("prices", rules.prices.iter().map(|rule| target_key(rule.provider_id, &rule.model)))?;
        once("routes", rules.routes.iter().map(|rule| &rule.model))?;
        Ok(rules)
    }

    /// The stream of every recorded resource that the rules name, each with its path.
    pub(crate) fn named_streams(&self) -> Vec<(String, Stream)> {
        let Self { budgets, rate_limits, prices, routes } = self;
        let mut named = Vec::new();
        let mut add = |path: &str, streams: &mut dyn Iterator<Item = Stream>| {
            named.extend(streams.enumerate().map(|(at, stream)| (format!("{path}[{at}]"), stream)));
        };
        let budget = |id: &BudgetId| Stream::new(StreamKind::Budget, id);
        let limit = |id: &LimitId| Stream::new(StreamKind::RateLimit, id);
        let scope = |scope: &NarrowedScope| Stream::new(scope.kind(), scope.owner);
        let provider = |id: ProviderId| Stream::new(StreamKind::Provider, id);
        add("budgets.change", &mut budgets.change.iter().map(|rule| budget(&rule.budget_id)));
        add("budgets.add", &mut budgets.add.iter().map(|budget| scope(&budget.scope)));
        add("budgets.remove", &mut budgets.remove.iter().map(budget));
        add("rate_limits.change", &mut rate_limits.change.iter().map(|rule| limit(&rule.limit_id)));
        add("rate_limits.add", &mut rate_limits.add.iter().map(|limit| scope(&limit.scope)));
        add("rate_limits.remove", &mut rate_limits.remove.iter().map(limit));
        add("prices", &mut prices.iter().map(|rule| provider(rule.provider_id)));
        add("routes", &mut routes.iter().map(|rule| provider(rule.provider_id)));
        named
    }
}

/// The members of `budgets` and `rate_limits`.
const CHANGES: [&str; 3] = ["change", "add", "remove"];

impl BudgetRules {
    fn read(all: &Fields<'_>) -> Result<Self, RulesError> {
        let mut add = all.list("add", added_budget)?;
        add.iter_mut().enumerate().for_each(|(number, budget)| budget.budget_id = added_id(number));
        let rules = Self { change: all.list("change", BudgetChange::read)?, add, remove: all.ids("remove")? };
        once("budgets", rules.change.iter().map(|rule| rule.budget_id).chain(rules.remove.iter().copied()))?;
        Ok(rules)
    }
}

impl BudgetChange {
    fn read(value: &Value, path: &str) -> Result<Self, RulesError> {
        let fields = Fields::of(value, path, &["budget_id", "limit_usd", "when_short", "enforcement"])?;
        let rule = Self {
            budget_id: fields.required("budget_id")?,
            limit_usd: fields.optional("limit_usd")?,
            when_short: fields.optional("when_short")?,
            enforcement: fields.optional("enforcement")?,
        };
        fields.must_not_be_negative("limit_usd", rule.limit_usd)?;
        if rule.limit_usd.is_none() && rule.when_short.is_none() && rule.enforcement.is_none() {
            return Err(fields.invalid("it changes nothing: give limit_usd, when_short or enforcement"));
        }
        Ok(rule)
    }

    /// The budget under this rule.
    pub(crate) fn applied_to(&self, budget: &Budget) -> Budget {
        Budget {
            limit_usd: self.limit_usd.unwrap_or(budget.limit_usd),
            when_short: self.when_short.unwrap_or(budget.when_short),
            enforcement: self.enforcement.unwrap_or(budget.enforcement),
            ..budget.clone()
        }
    }
}

fn added_budget(value: &Value, path: &str) -> Result<Budget, RulesError> {
    let fields = Fields::of(value, path, &["scope", "limit_usd", "period", "when_short", "enforcement"])?;
    let (limit, period) = (fields.required("limit_usd")?, fields.required("period")?);
    fields.must_not_be_negative("limit_usd", Some(limit))?;
    let scope: NarrowedScope = fields.required("scope")?;
    let budget = Budget::new(added_id(0), scope.owner, limit, period);
    Ok(Budget {
        scope,
        when_short: fields.optional("when_short")?.unwrap_or(budget.when_short),
        enforcement: fields.optional("enforcement")?.unwrap_or(budget.enforcement),
        ..budget
    })
}

impl LimitRules {
    fn read(all: &Fields<'_>) -> Result<Self, RulesError> {
        let mut add = all.list("add", added_limit)?;
        add.iter_mut().enumerate().for_each(|(number, limit)| limit.limit_id = added_id(number));
        let rules = Self { change: all.list("change", LimitChange::read)?, add, remove: all.ids("remove")? };
        once("rate_limits", rules.change.iter().map(|rule| rule.limit_id).chain(rules.remove.iter().copied()))?;
        Ok(rules)
    }
}

/// The measures that are given, as numbers or as null.
fn measures(fields: &Fields<'_>) -> Result<Vec<(Measure, Option<u64>)>, RulesError> {
    let given = Measure::ALL.iter().filter(|measure| fields.has(measure.as_str()));
    let given: Result<Vec<_>, _> = given.map(|measure| Ok((*measure, fields.optional(measure.as_str())?))).collect();
    match given? {
        none if none.is_empty() => {
            Err(fields.invalid(format!("give at least one of {}", Measure::words().collect::<Vec<_>>().join(", "))))
        }
        given => Ok(given),
    }
}

impl LimitChange {
    fn read(value: &Value, path: &str) -> Result<Self, RulesError> {
        let known: Vec<&str> = ["limit_id"].into_iter().chain(Measure::words()).collect();
        let fields = Fields::of(value, path, &known)?;
        Ok(Self { limit_id: fields.required("limit_id")?, bounds: measures(&fields)? })
    }

    /// Returns the bound of a measure under this rule, if it is recorded as `recorded`.
    pub(crate) fn bound(&self, measure: Measure, recorded: Option<u64>) -> Option<u64> {
        let given = self.bounds.iter().find(|(given, _)| *given == measure);
        given.map_or(recorded, |(_, bound)| *bound)
    }
}

fn added_limit(value: &Value, path: &str) -> Result<RateLimit, RulesError> {
    let known: Vec<&str> = ["scope"].into_iter().chain(Measure::words()).collect();
    let fields = Fields::of(value, path, &known)?;
    let mut bounds = Bounds::default();
    measures(&fields)?.into_iter().for_each(|(measure, bound)| bounds.set(measure, bound));
    let scope: NarrowedScope = fields.required("scope")?;
    Ok(RateLimit { scope: scope.clone(), ..RateLimit::new(added_id(0), scope.owner, bounds) })
}

impl PriceRule {
    fn read(value: &Value, path: &str) -> Result<Self, RulesError> {
        let known = ["provider_id", "model", "request_usd", "input_image_usd", "search_usd", "tiers"];
        let known: Vec<&str> = known.into_iter().chain(TokenRate::words()).collect();
        let fields = Fields::of(value, path, &known)?;
        let known: Vec<&str> = ["above_input_tokens", "service_tier"].into_iter().chain(TokenRate::words()).collect();
        fields.list("tiers", |tier, path| Fields::of(tier, path, &known).map(drop))?;
        for rate in [TokenRate::Input, TokenRate::Output] {
            fields.required::<Value>(rate.as_str())?;
        }
        let given: GivenRates = fields.whole()?;
        for (name, unit) in
            [("request_usd", given.request), ("input_image_usd", given.input_image), ("search_usd", given.search)]
        {
            fields.must_not_be_negative(name, unit)?;
        }
        Ok(Self {
            provider_id: fields.required("provider_id")?,
            model: fields.required("model")?,
            tariff: Tariff::new(given),
        })
    }
}

impl RouteRule {
    fn read(value: &Value, path: &str) -> Result<Self, RulesError> {
        let fields = Fields::of(value, path, &["model", "target"])?;
        let read = |target: &Fields<'_>| Ok((target.required("provider_id")?, target.required("model")?));
        let target = fields.object("target", &["provider_id", "model"], read)?;
        let (provider_id, backend_model) = target.ok_or_else(|| fields.missing("target"))?;
        Ok(Self { model: fields.required("model")?, provider_id, backend_model })
    }
}

/// Refuses two rules for one thing.
fn once<T: Eq + Hash + Display>(path: &str, named: impl Iterator<Item = T>) -> Result<(), RulesError> {
    let mut seen = HashSet::new();
    for what in named {
        let text = what.to_string();
        if !seen.insert(what) {
            return Err(RulesError::Repeated { path: path.to_owned(), what: text });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(json: &str, because: &str) {
        let error = Rules::parse(json.as_bytes()).expect_err(json).to_string();
        assert!(error.contains(because), "{json}: {error}");
    }

    const BUDGET: &str = "bud_00000000000000000000000000000007";
    const LIMIT: &str = "lim_00000000000000000000000000000007";
    const PROVIDER: &str = "prv_00000000000000000000000000000007";

    #[test]
    fn rules_are_read_in_the_words_of_the_admin_api() {
        let json = format!(
            r#"{{"budgets": {{"change": [{{"budget_id": "{BUDGET}", "limit_usd": "2.5", "enforcement": "observe"}}],
                              "add": [{{"scope": {{"tenant_id": "ten_00000000000000000000000000000001"}},
                                        "limit_usd": "10", "period": "month", "when_short": "shrink"}}]}},
                "rate_limits": {{"change": [{{"limit_id": "{LIMIT}", "requests_per_minute": 3, "tokens_per_day": null}}],
                                 "add": [{{"scope": {{"key_id": "key_00000000000000000000000000000002"}},
                                           "concurrent_requests": 1}}]}},
                "prices": [{{"provider_id": "{PROVIDER}", "model": "m", "input_usd_per_mtok": "1",
                             "output_usd_per_mtok": "2", "cache_read_usd_per_mtok": "0.1", "request_usd": "0.001",
                             "tiers": [{{"above_input_tokens": 9, "input_usd_per_mtok": "3"}}]}}],
                "routes": [{{"model": "a", "target": {{"provider_id": "{PROVIDER}", "model": "m"}}}}]}}"#
        );
        let rules = Rules::parse(json.as_bytes()).expect("rules");
        let [budget] = &rules.budgets.add[..] else { panic!("{rules:?}") };
        assert_eq!((budget.budget_id, budget.when_short), (added_id(0), WhenShort::Shrink));
        let [change] = &rules.rate_limits.change[..] else { panic!("{rules:?}") };
        let bound = |measure| change.bound(measure, Some(9));
        assert_eq!(bound(Measure::RequestsPerMinute), Some(3));
        assert_eq!((bound(Measure::TokensPerDay), bound(Measure::RequestsPerDay)), (None, Some(9)));
        let [price] = &rules.prices[..] else { panic!("{rules:?}") };
        assert_eq!(price.tariff.given().request, Some(NanoUsd::new(1_000_000)));
        assert_eq!(
            price.tariff.given().get(TokenRate::CacheRead).map(|rate| rate.of_a_million().nanos()),
            Some(100_000_000)
        );
        assert!(!price.tariff.given().tiers.is_empty());
        assert_eq!(rules.routes[0].backend_model, "m");
        assert_eq!(Rules::parse(b"{}"), Ok(Rules::default()));
    }

    #[test]
    fn what_is_not_a_rule_is_refused_where_it_is_and_with_the_nearest_name() {
        refused("[]", "must be an object");
        refused("{", "not JSON");
        refused(r#"{"budget": {}}"#, "budget is not a field of rules; did you mean budgets?");
        refused(r#"{"budgets": {"added": []}}"#, "budgets.added is not a field");
        refused(
            &format!(r#"{{"budgets": {{"change": [{{"budget_id": "{BUDGET}", "limt_usd": "1"}}]}}}}"#),
            "budgets.change[0].limt_usd is not a field of rules; did you mean limit_usd?",
        );
        refused(
            &format!(r#"{{"budgets": {{"change": [{{"budget_id": "{BUDGET}", "limit_usd": 1}}]}}}}"#),
            "budgets.change[0].limit_usd: invalid type: integer `1`, expected US dollars as a string",
        );
        refused(
            &format!(r#"{{"budgets": {{"change": [{{"budget_id": "{BUDGET}", "limit_usd": "-1"}}]}}}}"#),
            "limit_usd: must not be negative",
        );
        refused(&format!(r#"{{"budgets": {{"change": [{{"budget_id": "{BUDGET}"}}]}}}}"#), "it changes nothing");
        refused(
            &format!(
                r#"{{"budgets": {{"change": [{{"budget_id": "{BUDGET}", "limit_usd": "1"}}],
            "remove": ["{BUDGET}"]}}}}"#
            ),
            "another rule for bud_",
        );
        refused(r#"{"budgets": {"remove": ["ten_1"]}}"#, "budgets.remove[0]: ");
        refused(&format!(r#"{{"rate_limits": {{"change": [{{"limit_id": "{LIMIT}"}}]}}}}"#), "give at least one of");
        refused(
            &format!(r#"{{"rate_limits": {{"change": [{{"limit_id": "{LIMIT}", "request_per_minute": 1}}]}}}}"#),
            "did you mean requests_per_minute?",
        );
        refused(
            &format!(r#"{{"prices": [{{"provider_id": "{PROVIDER}", "model": "m", "input_usd_per_mtok": "1"}}]}}"#),
            "prices[0].output_usd_per_mtok is missing",
        );
        refused(
            &format!(
                r#"{{"prices": [{{"provider_id": "{PROVIDER}", "model": "m", "input_usd_per_mtok": "1",
            "output_usd_per_mtok": "1", "tiers": [{{"above_input_token": 3}}]}}]}}"#
            ),
            "prices[0].tiers[0].above_input_token is not a field of rules; did you mean above_input_tokens?",
        );
        refused(
            &format!(
                r#"{{"prices": [{{"provider_id": "{PROVIDER}", "model": "m", "input_usd_per_mtok": "1",
            "output_usd_per_mtok": "1", "request_usd": "-1"}}]}}"#
            ),
            "request_usd: must not be negative",
        );
        refused(r#"{"routes": [{"model": "a"}]}"#, "routes[0].target is missing");
    }
}
