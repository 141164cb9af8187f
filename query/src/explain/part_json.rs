//! The parts of an explanation as JSON. Figures that the caller may not see elsewhere are null.

use ::events::ids::{BudgetId, LimitId, ProviderId};
use ::events::money::{CostItem, ItemPrice};
use ::events::recorded_route::RouteDetail;
use ::events::routing::ChosenBy;
use ::events::time::rfc3339;
use events_log::explain::{
    About, AdmissionCheck, BindingBudget, BindingLimit, BoundCheck, BoundTarget, CallCost, Decision, Difference,
    RouteCall, RouteCheck, RouteTarget, SettlementCheck, Verdict,
};
use openapi::refusals;
use openapi::schema::{self, Fields, Shape, object};
use serde_json::{Value, json};

use crate::described::{nullable_id, nullable_time};
use crate::request_rights::RequestRights;

pub fn admission(of: &AdmissionCheck, rights: RequestRights) -> Value {
    let code = match of.decision {
        Decision::Admitted => None,
        Decision::Refused(code) => Some(code.as_str()),
    };
    let part = json!({
        "decision": if code.is_none() { "admitted" } else { "refused" },
        "code": code,
        "decided_before": of.decided_before,
        "wanted_usd": of.wanted.map(|wanted| wanted.to_string()),
        "budgets": of.budgets.iter().map(|budget| binding_budget(budget, of, rights)).collect::<Vec<_>>(),
        "rate_limits": of.limits.iter().map(|limit| binding_limit(limit, rights)).collect::<Vec<_>>(),
        "rate_limited_tokens": of.rate_limited_tokens,
    });
    let hidden = of.budgets.iter().filter(|budget| !rights.includes_budgets_of(&budget.owners));
    let hidden: Vec<BudgetId> = hidden.map(|budget| budget.room.window.budget_id).collect();
    put_verdict(part, &of.verdict, &hidden)
}

pub fn admission_shape() -> Shape {
    let budget = object()
        .required("budget_id", schema::id(BudgetId::PREFIX))
        .required("scope", refusals::scope())
        .required("window_start", nullable_time())
        .required("is_visible", schema::boolean())
        .required("fits", schema::nullable(schema::boolean()))
        .required("version", schema::count())
        .required("period", schema::nullable(schema::string()))
        .required("resets_at", nullable_time())
        .required_each(["enforcement", "when_short"], schema::nullable(schema::string()))
        .required_each(["limit_usd", "settled_usd", "held_usd", "left_usd"], schema::nullable(schema::money()))
        .open();
    let limit = object()
        .required("limit_id", schema::id(LimitId::PREFIX))
        .required("scope", refusals::scope())
        .required("is_visible", schema::boolean())
        .required("version", schema::nullable(schema::count()))
        .required("measures", schema::nullable(schema::map(schema::count(), None)))
        .required_as("follows", schema::nullable(schema::boolean()), "Always null: the log has no counts")
        .open();
    let before = "The decision was made on the events before this position";
    verdict(object())
        .required("decision", schema::one_of(["admitted", "refused"]))
        .required("code", schema::nullable(schema::string()))
        .required_as("decided_before", schema::count(), before)
        .required("wanted_usd", schema::nullable(schema::money()))
        .required("budgets", schema::list(budget, None))
        .required("rate_limits", schema::list(limit, None))
        .required("rate_limited_tokens", schema::nullable(schema::count()))
        .open()
}

/// Whether a refused request would have fit into a budget that the caller cannot see would tell what that budget had. Of the
/// budget that refused it, the client was told the amounts, and so `/v1/inferences` has them.
fn binding_budget(of: &BindingBudget, part: &AdmissionCheck, rights: RequestRights) -> Value {
    let BindingBudget { room, is_known, owners } = of;
    let is_visible = rights.includes_budgets_of(owners);
    let was_told = part.refused_by == Some(room.window.budget_id) && part.verdict.follows() == Some(true);
    let has_fit = is_visible || was_told || part.decision == Decision::Admitted;
    let has_amounts = is_visible || was_told;
    let budget = &room.in_force.budget;
    let known = |amount: String| (has_amounts && *is_known).then_some(amount);
    json!({
        "budget_id": room.window.budget_id.to_string(),
        "scope": budget.scope,
        "window_start": room.window.window_start.map(rfc3339),
        "is_visible": is_visible,
        "fits": (*is_known && has_fit).then_some(room.fits),
        "version": room.in_force.version,
        "period": is_visible.then_some(budget.period.as_str()),
        "resets_at": room.resets_at.filter(|_| has_amounts).map(rfc3339),
        "enforcement": is_visible.then_some(budget.enforcement.as_str()),
        "when_short": is_visible.then_some(budget.when_short.as_str()),
        "limit_usd": has_amounts.then(|| budget.limit_usd.to_string()),
        "settled_usd": known(room.amounts.settled.to_string()),
        "held_usd": known(room.amounts.held.to_string()),
        "left_usd": known(room.left.to_string()),
    })
}

fn binding_limit(of: &BindingLimit, rights: RequestRights) -> Value {
    let is_visible = rights.includes_settings_of(&of.owners);
    let measures = of.limit.bounds.iter().map(|(measure, bound)| (measure.as_str().to_owned(), bound.into()));
    json!({
        "limit_id": of.limit.limit_id.to_string(),
        "scope": of.limit.scope,
        "is_visible": is_visible,
        "version": is_visible.then_some(of.version),
        "measures": is_visible.then(|| Value::Object(measures.collect())),
        "follows": null,
    })
}

pub fn bound(of: &BoundCheck, rights: RequestRights) -> Value {
    let part = json!({
        "held_usd": of.held.map(|held| held.to_string()),
        "computed_usd": of.computed.map(|computed| computed.to_string()),
        "input_tokens": of.input_tokens,
        "max_output_tokens": of.output_tokens_max,
        "output_tokens_beyond_cap": of.output_tokens_beyond_cap,
        "choices": of.choices,
        "service_tier": of.service_tier.map(|tier| tier.as_str()),
        "targets": of.targets.iter().map(|target| bound_target(target, rights)).collect::<Vec<_>>(),
    });
    put_verdict(part, &of.verdict, &[])
}

pub fn bound_shape() -> Shape {
    let target = object()
        .required_as("backend", schema::string(), "`provider_id/model`")
        .required("price_version", schema::count())
        .required_as("is_visible", schema::boolean(), "Whether the caller sees the price")
        .required_each(["input_usd_per_mtok", "output_usd_per_mtok"], schema::nullable(schema::money()))
        .required_each(["request_usd", "computed_usd"], schema::nullable(schema::money()))
        .open();
    verdict(object())
        .required_each(["held_usd", "computed_usd"], schema::nullable(schema::money()))
        .required_each(["input_tokens", "max_output_tokens", "output_tokens_beyond_cap", "choices"], schema::count())
        .required("service_tier", schema::nullable(schema::string()))
        .required("targets", schema::list(target, None))
        .open()
}

fn bound_target(of: &BoundTarget, rights: RequestRights) -> Value {
    let is_visible = rights.includes_settings_of(&of.owners);
    json!({
        "backend": of.backend,
        "price_version": of.price_version,
        "is_visible": is_visible,
        "input_usd_per_mtok": is_visible.then(|| of.terms.input_per_mtok.to_string()),
        "output_usd_per_mtok": is_visible.then(|| of.terms.output_per_mtok.to_string()),
        "request_usd": is_visible.then(|| of.request_usd.to_string()),
        "computed_usd": of.computed.filter(|_| is_visible).map(|computed| computed.to_string()),
    })
}

/// Only those who see the model are told of the targets that were not called, and why.
pub fn route(of: &RouteCheck, told: RouteDetail) -> Value {
    let is_whole = told == RouteDetail::Full;
    // What the client itself asked for is no secret of the model.
    let has_strategy = is_whole || of.chosen_by == Some(ChosenBy::Request);
    let targets = of.targets.iter().filter(|target| is_whole || target.was_called);
    let part = json!({
        "is_visible": is_whole,
        "strategy": of.strategy.filter(|_| has_strategy).map(|strategy| strategy.as_str()),
        "chosen_by": of.chosen_by.filter(|_| has_strategy).map(|by| by.as_str()),
        "rule": of.rule.filter(|_| is_whole),
        "features": of.features,
        "terms": of.terms.as_ref().map(|terms| json!({ "tenant": terms.tenant, "request": terms.request })),
        "targets": targets.map(|target| route_target(target, is_whole)).collect::<Vec<_>>(),
        "calls": of.calls.iter().map(route_call).collect::<Vec<_>>(),
    });
    put_verdict(part, &of.verdict, &[])
}

pub fn route_shape() -> Shape {
    let target = object()
        .required("provider_id", schema::id(ProviderId::PREFIX))
        .required("model", schema::string())
        .required("rank", schema::nullable(schema::count()))
        .required_as("left_out", schema::left_out(), "Why it was left out, or came after all others")
        .required("reason", schema::nullable(schema::string()))
        .required("price_version", schema::nullable(schema::count()))
        .required("was_called", schema::boolean())
        .optional_as(
            "passed_over",
            schema::list(schema::string(), None),
            "Why it was not called, or not once more, when it was its turn: the first reason first",
        )
        .open();
    let call = object()
        .required("position", schema::count())
        .required("attempt", schema::nullable(schema::count()))
        .required("provider_id", schema::id(ProviderId::PREFIX))
        .required_each(["provider", "model"], schema::string())
        .required("reason", schema::nullable(schema::string()))
        .required("status", schema::nullable(schema::count()))
        .required("upstream_code", schema::nullable(schema::string()))
        .open();
    verdict(object())
        .required_as("is_visible", schema::boolean(), "Whether the caller sees the model")
        .required("strategy", schema::nullable(schema::string()))
        .required_as(
            "chosen_by",
            schema::nullable(schema::string()),
            "Who chose the strategy: `model`, `tenant` or `request`",
        )
        .required_as(
            "rule",
            schema::nullable(schema::count()),
            "The rule that held, from 0, where the model's strategy is rules",
        )
        .required_as("features", schema::nullable(object().open()), "What the rules went by")
        .required_as(
            "terms",
            schema::nullable(object().open()),
            "What the tenant and the request required of each target",
        )
        .required("targets", schema::list(target, None))
        .required("calls", schema::list(call, None))
        .open()
}

fn route_target(of: &RouteTarget, has_reason: bool) -> Value {
    let mut target = json!({
        "provider_id": of.provider_id.to_string(),
        "model": of.model,
        "rank": of.rank,
        "left_out": of.left_out,
        "reason": has_reason.then(|| of.reason.to_string()),
        "price_version": of.price_version,
        "was_called": of.was_called,
    });
    if !of.passed_over.is_empty() {
        target["passed_over"] = of.passed_over.iter().map(|why| why.as_str()).collect();
    }
    target
}

fn route_call(of: &RouteCall) -> Value {
    let backend = of.backend();
    let (position, failed) = match of {
        RouteCall::Failed { position, call } => (*position, Some(call)),
        RouteCall::Last { position, .. } => (*position, None),
    };
    json!({
        "position": position,
        "attempt": failed.map(|call| call.attempt),
        "provider_id": backend.provider_id.to_string(),
        "provider": backend.provider,
        "model": backend.model,
        "reason": failed.map(|call| &call.reason),
        "status": failed.and_then(|call| call.status),
        "upstream_code": failed.and_then(|call| call.upstream_code.as_ref()),
    })
}

pub fn settlement(of: &SettlementCheck, rights: RequestRights) -> Value {
    let charged = of.charged.as_ref();
    let adjustment = |(position, delta): &(u64, _)| json!({ "position": position, "delta_usd": delta });
    let part = json!({
        "cost_usd": of.cost.to_string(),
        "type": charged.map(|(recorded, _)| recorded.event.name()),
        "position": charged.map(|(recorded, _)| recorded.position),
        "charged_usd": charged.map(|(_, charged)| charged.to_string()),
        "calls": of.calls.iter().map(|call| call_cost(call, rights)).collect::<Vec<_>>(),
        "adjustments": of.adjustments.iter().map(adjustment).collect::<Vec<_>>(),
    });
    put_verdict(part, &of.verdict, &[])
}

pub fn settlement_shape() -> Shape {
    let item = object()
        .required("name", schema::string())
        .required("count", schema::count())
        .optional("usd_per_mtok", schema::money())
        .optional("usd_each", schema::money())
        .open();
    let call = object()
        .required("position", schema::count())
        .required("attempt", schema::nullable(schema::count()))
        .required("provider_id", nullable_id(ProviderId::PREFIX))
        .required_each(["model", "usage_source", "service_tier"], schema::nullable(schema::string()))
        .required("price_version", schema::nullable(schema::count()))
        .required("recorded_usd", schema::money())
        .required("computed_usd", schema::nullable(schema::money()))
        .required_as("is_visible", schema::boolean(), "Whether the caller sees the price")
        .required("items", schema::nullable(schema::list(item, None)))
        .open();
    let adjustment = object().required("position", schema::count()).required("delta_usd", schema::money()).open();
    verdict(object())
        .required("cost_usd", schema::money())
        .required("type", schema::nullable(schema::string()))
        .required("position", schema::nullable(schema::count()))
        .required("charged_usd", schema::nullable(schema::money()))
        .required("calls", schema::list(call, None))
        .required("adjustments", schema::list(adjustment, None))
        .open()
}

fn call_cost(of: &CallCost, rights: RequestRights) -> Value {
    // The items name the price.
    let is_visible = of.owners.as_ref().is_none_or(|owners| rights.includes_settings_of(owners));
    json!({
        "position": of.position,
        "attempt": of.attempt,
        "provider_id": of.backend.as_ref().map(|backend| backend.provider_id.to_string()),
        "model": of.backend.as_ref().map(|backend| &backend.model),
        "usage_source": of.usage.as_ref().map(|usage| usage.source.as_str()),
        "service_tier": of.usage.as_ref().and_then(|usage| usage.service_tier).map(|tier| tier.as_str()),
        "price_version": of.price_version,
        "recorded_usd": of.recorded.to_string(),
        "computed_usd": of.computed.map(|computed| computed.to_string()),
        "is_visible": is_visible,
        "items": is_visible.then(|| of.items.iter().map(cost_item).collect::<Vec<_>>()),
    })
}

fn cost_item(of: &CostItem) -> Value {
    let (name, price) = match of.price {
        ItemPrice::PerMtok(price) => ("usd_per_mtok", price.of_a_million()),
        ItemPrice::Each(price) => ("usd_each", price),
    };
    json!({ "name": of.name, "count": of.count, name: price.to_string() })
}

/// The part with what it says. Of the budgets in `hidden`, the figures are left out.
pub fn put_verdict(mut part: Value, verdict: &Verdict, hidden: &[BudgetId]) -> Value {
    part["follows"] = verdict.follows().into();
    part["differences"] = verdict.differences.iter().map(|one| difference(one, hidden)).collect::<Vec<_>>().into();
    part["undecided"] = verdict.undecided.clone().into();
    part
}

/// The members that every part has.
pub fn verdict(part: Fields) -> Fields {
    let difference = object()
        .required("position", schema::count())
        .required("what", schema::string())
        .required_each(["recorded", "follows"], schema::nullable(schema::string()))
        .open();
    part.required("follows", schema::nullable(schema::boolean()))
        .required("differences", schema::list(difference, None))
        .required("undecided", schema::list(schema::string(), None))
}

fn difference(of: &Difference, hidden: &[BudgetId]) -> Value {
    let is_hidden = matches!(of.about, About::Budget(id) if hidden.contains(&id));
    let told = |value: &Option<String>| value.clone().filter(|_| !is_hidden);
    json!({
        "position": of.position,
        "what": of.what,
        "recorded": told(&of.recorded),
        "follows": told(&of.follows),
    })
}
