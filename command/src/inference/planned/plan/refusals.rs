//! The refusals of requests that cannot be planned.

use chrono::{DateTime, Utc};
use dialects::{ClientRequest, no_embeddings};
use events::abilities::{Ability, AbilitySet};
use events::event::admin::Model;
use events::ids::TenantId;
use events::refusal::{CONTEXT_LENGTH_EXCEEDED, ErrorCode, Refusal};
use events::routing::left_out::{AbilityLacked, CapAbove, ContextWindow};
use events::routing::{LeftOut, RouteQuestion};
use events::terms::Requirements;
use projections::tables::Tables;

use super::{TargetOrder, maintenance, terms, unpriced_at};
use crate::inference::planned::model_mode::for_another_api;

/// The refusal of a request that no target can serve.
pub fn no_target(request: &ClientRequest, ordered: &TargetOrder<'_>, now: DateTime<Utc>) -> Refusal {
    let (model, order) = (&request.facts.model, &ordered.decision.order);
    // What is under maintenance meets the terms.
    if let Some(refusal) = maintenance::refusal(model, order, now) {
        return refusal;
    }
    let for_terms = order.left_out().find(|(_, why)| matches!(why, LeftOut::TermNotMet(_)));
    if let Some(left_out) = for_terms.and_then(|(at, _)| ordered.targets.get(at)) {
        return terms::refusal(ordered.required, left_out.inputs.terms, model);
    }
    // First: what the request lacks for the other targets says nothing about this one.
    if order.left_out().any(|(_, why)| matches!(why, LeftOut::KindUnknown(_))) {
        return kind_unknown();
    }
    let maximum = |why| if let LeftOut::CapAbove(CapAbove { maximum }) = why { Some(maximum) } else { None };
    let widest = order.left_out().filter_map(|(_, why)| maximum(why)).max();
    if let (Some(widest), Some(cap)) = (widest, request.facts.output_cap) {
        return cap.refuse(format!("must be at most {widest} for this model"));
    }
    let window = |why| if let LeftOut::ContextWindow(ContextWindow { window }) = why { Some(window) } else { None };
    if let Some(largest) = order.left_out().filter_map(|(_, why)| window(why)).max() {
        return prompt_too_long(request, largest);
    }
    let lacked = |why| if let LeftOut::AbilityLacked(AbilityLacked(abilities)) = why { Some(abilities) } else { None };
    if let Some(abilities) = order.left_out().filter_map(|(_, why)| lacked(why)).reduce(AbilitySet::union) {
        return ability_lacked(request, abilities);
    }
    let can_serve =
        |why: LeftOut| !matches!(why, LeftOut::NoSuchApi(_) | LeftOut::ForAnotherApi(_) | LeftOut::NotInRule(_));
    let offers =
        order.left_out().filter(|(_, why)| can_serve(*why)).filter_map(|(at, _)| ordered.targets.get(at)?.offer);
    let refused = offers.filter_map(|offer| unpriced_at(request, offer)).next();
    if let Some(refused) = refused {
        return refused;
    }
    if order.left_out().any(|(_, why)| matches!(why, LeftOut::ForAnotherApi(_))) {
        return for_another_api(request.api(), model);
    }
    if order.left_out().any(|(_, why)| matches!(why, LeftOut::NoSuchApi(_))) {
        return no_embeddings(model);
    }
    if order.left_out().any(|(_, why)| matches!(why, LeftOut::ContextUnknown(_))) {
        return context_unknown(model);
    }
    match ordered.source.by_rules() {
        Some((Some(rule), _)) => rule_without_target(model, rule),
        Some((None, _)) | None => unpriced(model),
    }
}

/// The refusal of a model that the key or its tenant may not use.
pub fn not_allowed(model: &str) -> Refusal {
    let shown = Model::bounded_name(model);
    let message =
        format!("the key, or its tenant, may not use the model {shown}: GET /v1/models lists those that it may use");
    Refusal::new(ErrorCode::ModelNotAllowed, message).with("model", model)
}

/// The refusal of a model, by the name that was requested, of which no target can serve the tenant.
pub fn no_offer(
    tables: &Tables,
    tenant: Option<TenantId>,
    requested: &str,
    model: &Model,
    now: DateTime<Utc>,
    required: Requirements<'_>,
) -> Refusal {
    let question = RouteQuestion::of_none(now, required);
    let known = model.targets.iter().map(|target| tables.known_target(tenant, model, target, now, required).inputs);
    let mut for_terms =
        known.filter(|target| matches!(LeftOut::judge(&question, target), Some(LeftOut::TermNotMet(_))));
    for_terms.next().map_or_else(|| unpriced(requested), |target| terms::refusal(required, target.terms, requested))
}

/// The refusal of a model without a target that can serve.
fn unpriced(model: &str) -> Refusal {
    let message = "no target of this model has both a live provider and a price in force, so its cost cannot be \
         bounded: create a price with POST /v1/admin/prices";
    Refusal::new(ErrorCode::ModelUnpriced, message).with("model", model)
}

/// The refusal of a request for which a rule holds, of whose targets none can serve.
fn rule_without_target(model: &str, rule: usize) -> Refusal {
    let message = format!(
        "rules[{rule}] of this model holds for the request, and none of the targets that it may use has both a live provider and a \
         price in force: see why with POST /v1/admin/models/{{id}}/explain"
    );
    Refusal::new(ErrorCode::ModelUnpriced, message).with("model", model)
}

/// The refusal of a prompt that fits into no window of the targets that could serve it otherwise.
fn prompt_too_long(request: &ClientRequest, largest: u64) -> Refusal {
    let reason =
        format!("does not fit into the largest context window of the targets that could serve it: {largest} tokens");
    let refusal = Refusal::invalid(request.surface().prompt_field(), reason);
    refusal.with("condition", CONTEXT_LENGTH_EXCEEDED).with("context_window", largest)
}

/// The refusal of a request that needs what is stated to be lacked.
fn ability_lacked(request: &ClientRequest, lacked: AbilitySet) -> Refusal {
    let reason = format!(
        "needs {lacked}, which targets of this model are stated to lack: leave it out, or ask for another model (GET /v1/models shows \
         abilities)"
    );
    let field = match lacked.iter().next() {
        Some(Ability::Tools | Ability::ParallelTools) => "tools",
        Some(Ability::Choices) => "n",
        Some(Ability::Logprobs) => "logprobs",
        Some(Ability::Streaming) => "stream",
        _ => request.surface().prompt_field(),
    };
    let words: Vec<_> = lacked.iter().map(Ability::as_str).collect();
    Refusal::invalid(field, reason).with("ability", words)
}

fn context_unknown(model: &str) -> Refusal {
    let message = "the request has a document, whose tokens cannot be counted before it is sent, and no target of this \
         model has a context_window, which bounds them: the operator sets it with PATCH /v1/admin/models/{id}, for a provider \
         that all tenants share in a model that they share";
    Refusal::new(ErrorCode::ModelUnpriced, message).with("model", model)
}

/// Tried again, the request may reach a node of the version that recorded the provider.
fn kind_unknown() -> Refusal {
    let message = "this version of the gateway cannot call the provider of this model, which a later version recorded: try \
         again, or ask the operator to upgrade the gateway";
    Refusal::new(ErrorCode::AllProvidersUnavailable, message).try_again()
}

/// The refusal of a request whose bound is beyond money.
pub fn beyond_counting(request: &ClientRequest) -> Refusal {
    let field = request.facts.output_cap.map_or("", |cap| cap.field);
    Refusal::invalid(field, "the cost of this request is beyond what money can count")
}
