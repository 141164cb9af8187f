//! The decision on a route that follows from the log, compared with what is recorded of it. This is the one place that says what differs.

use events::event::admin::{Canary, Model};
use events::event::inference::{InferenceAdmitted, Route};
use events::routing::left_out::NoPrice;
use events::routing::{CanaryPlace, ChosenBy, LeftOut, RecordedLeftOut, RouteDecision, Strategy};

use super::evidence::AdmissionEvidence;
use super::route_inputs::{figures_are_absent, recorded_reason};
use super::verdict::Verdict;

pub(super) fn compare(of: AdmissionEvidence<'_>, model: &Model, decision: &RouteDecision<'_>, verdict: &mut Verdict) {
    let AdmissionEvidence { recorded, admitted, .. } = of;
    let (position, route) = (recorded.position, admitted.route.as_deref());
    if let Some(route) = route {
        verdict.compare(position, "route.strategy", route.strategy, decision.order.strategy);
    }
    for (at, target) in model.targets.iter().enumerate() {
        let follows = decision.order.left_out().find(|(left_out, _)| *left_out == at).map(|(_, why)| why);
        compare_left_out(position, admitted, &target.key(), follows, verdict);
    }
    compare_figures(position, admitted, model, decision, verdict);
    if let Some(session) = route.and_then(|route| route.session.as_deref()).filter(|_| decision.session.is_none()) {
        verdict.differ(position, "route.session", session, "nothing: the model has no affinity");
    }
    compare_canary(position, route, model, decision, verdict);
}

/// Compares whether and why a target was left out.
fn compare_left_out(
    position: u64,
    admitted: &InferenceAdmitted,
    backend: &str,
    follows: Option<LeftOut>,
    verdict: &mut Verdict,
) {
    let has_price = admitted.versions.prices.contains_key(backend);
    let (reason, follows) = (recorded_reason(admitted, backend), follows.map(LeftOut::recorded));
    let shown = |reason: Option<&RecordedLeftOut>| match reason {
        Some(reason) => format!("{backend}: {reason}"),
        None => "nothing".to_owned(),
    };
    // Stands for a reason that is not known here, and so excuses nothing that the log proves of a target that can serve.
    let is_stand_in = |follows: &RecordedLeftOut| *follows == LeftOut::NoPrice(NoPrice).recorded();
    let is_same = match (reason, &follows) {
        (Some(reason), Some(follows)) => {
            reason == follows || !reason.is_of_this_version() && (!has_price || is_stand_in(follows))
        }
        // An earlier version did not always say why a target could not serve. The inputs then have no price of it either.
        (None, Some(follows)) => !has_price && is_stand_in(follows),
        (Some(_), None) => false,
        (None, None) => true,
    };
    // One with an open breaker can serve nevertheless.
    let cannot_serve = |reason: &&RecordedLeftOut| reason.is_of_this_version() && !reason.is_breaker_open();
    if !is_same {
        verdict.differ(position, "route.left_out", shown(reason), shown(follows.as_ref()));
    } else if let Some(reason) = reason.filter(|_| has_price).filter(cannot_serve) {
        let follows = format!("nothing: a price of {backend} is named, so that it can serve");
        verdict.differ(position, "route.left_out", shown(Some(reason)), follows);
    }
}

/// Compares the figures of each target. Those that were measured are as recorded, so that what differs is of the model's row.
fn compare_figures(
    position: u64,
    admitted: &InferenceAdmitted,
    model: &Model,
    RouteDecision { order, .. }: &RouteDecision<'_>,
    verdict: &mut Verdict,
) {
    let route = admitted.route.as_deref();
    let strategy = order.strategy;
    // Those of another strategy cannot be compared.
    let is_other_strategy = route.is_some_and(|route| route.strategy != strategy);
    if is_other_strategy || (figures_are_absent(admitted) && may_be_absent(model, route, strategy)) {
        return;
    }
    for (at, target) in model.targets.iter().enumerate() {
        let backend = target.key();
        let recorded = route.and_then(|route| route.figures.get(&backend).copied());
        let (Some(recorded), Some(follows)) = (recorded, order.figures(at)) else {
            verdict.differ(position, "route.figures", "nothing", backend);
            continue;
        };
        verdict.compare(position, "route.figures", recorded.first, follows.first);
        verdict.compare(position, "route.figures", recorded.second, follows.second);
    }
}

/// Whether an admission has no figures if all of them follow from the model's row, and the model chose the strategy.
fn may_be_absent(model: &Model, route: Option<&Route>, strategy: Strategy) -> bool {
    let is_of_model = route.is_none_or(|route| route.chosen_by == ChosenBy::Model);
    is_of_model && model.strategy != Strategy::Rules && matches!(strategy, Strategy::Priority | Strategy::Weighted)
}

/// Compares which target came first because it is a canary.
fn compare_canary(
    position: u64,
    route: Option<&Route>,
    model: &Model,
    decision: &RouteDecision<'_>,
    verdict: &mut Verdict,
) {
    let is_left_out = || decision.order.left_out().any(|(at, _)| Some(at) == model.canary_index());
    let (first, why_not) = match decision.canary {
        Some(CanaryPlace::First) => (model.canary.as_ref().map(Canary::key), ""),
        Some(CanaryPlace::Last) if is_left_out() => (None, "nothing: it was left out"),
        Some(CanaryPlace::Last) => (None, "nothing: the request is not in its share"),
        None => (None, "nothing: no target of the model is its canary"),
    };
    let recorded = route.and_then(|route| route.canary.as_deref());
    if recorded != first.as_deref() {
        let follows = first.as_deref().unwrap_or(why_not);
        verdict.differ(position, "route.canary", recorded.unwrap_or("nothing"), follows);
    }
}
