//! The route: the targets of the model as its admission knew it, in the order that its strategy gives for this request, and the
//! calls that were made.

use std::collections::BTreeMap;

use events::event::admin::Model;
use events::event::inference::{AttemptFailed, Backend};
use events::event::{Event, Inference, Recorded};
use events::ids::{ProviderId, target_key};
use events::routing::{
    ChosenBy, Order, PassedOverFor, Reason, RecordedLeftOut, RequestFeatures, Strategy, decide_again,
};
use events::terms::AdmittedTerms;

use super::evidence::AdmissionEvidence;
use super::route_inputs::LoggedTargets;
use super::verdict::Verdict;
use super::{alias, decision_time, hedges, route_decision, route_inputs, shadow, terms};

/// The targets and the calls of a request, and whether the calls follow the order.
#[derive(Clone, Debug)]
pub struct RouteCheck {
    pub verdict: Verdict,
    /// The version that the admission names; `None` if the log does not have it.
    pub model: Option<Model>,
    /// `None` if the log does not have the version of the model.
    pub strategy: Option<Strategy>,
    /// The party that chose the strategy, as the admission says.
    pub chosen_by: Option<ChosenBy>,
    /// The rule of the model that held, from 0, and what its rules went by, as the admission says.
    pub rule: Option<u64>,
    pub features: Option<RequestFeatures>,
    /// The terms required of each target; `None` if there were none.
    pub terms: Option<AdmittedTerms>,
    /// The targets that could serve in the order in which they are tried, then the others.
    pub targets: Vec<RouteTarget>,
    pub calls: Vec<RouteCall>,
}

/// A target of the model.
#[derive(Clone, Debug)]
pub struct RouteTarget {
    pub provider_id: ProviderId,
    pub model: String,
    /// Its place in the order, from 1. `None` if it could not serve the request.
    pub rank: Option<usize>,
    /// Why it was left out of the order, if the admission says so: one whose breaker was open was to be called only if no other one could
    /// be.
    pub left_out: Option<RecordedLeftOut>,
    /// The reason for its place.
    pub reason: Reason,
    pub price_version: Option<u64>,
    pub was_called: bool,
    /// Why it was not called, or not once more, when it was its turn, as the end of the request says; empty if it does not.
    pub passed_over: Vec<PassedOverFor>,
}

/// A call to a target.
#[derive(Clone, Debug)]
pub enum RouteCall {
    Failed {
        position: u64,
        call: Box<AttemptFailed>,
    },
    /// The call that the request ended with.
    Last {
        position: u64,
        backend: Backend,
    },
}

impl RouteCall {
    const fn position(&self) -> u64 {
        match self {
            Self::Failed { position, .. } | Self::Last { position, .. } => *position,
        }
    }

    pub const fn backend(&self) -> &Backend {
        match self {
            Self::Failed { call, .. } => &call.backend,
            Self::Last { backend, .. } => backend,
        }
    }
}

const NO_MODEL: &str = "the log does not have the version of the model that its admission names";

pub(super) fn check(of: AdmissionEvidence<'_>) -> RouteCheck {
    let AdmissionEvidence { evidence, recorded, admitted } = of;
    let recorded_route = admitted.route.as_deref();
    let mut check = RouteCheck {
        verdict: Verdict::default(),
        model: None,
        strategy: None,
        chosen_by: None,
        rule: recorded_route.and_then(|route| route.rule),
        features: recorded_route.and_then(|route| route.features.clone()),
        terms: recorded_route.and_then(|route| route.terms.clone()),
        targets: Vec::new(),
        calls: calls(&evidence.life),
    };
    let Some(model) = evidence.model(admitted.versions.model) else {
        check.verdict.differ(recorded.position, "versions.model", admitted.versions.model, NO_MODEL);
        return check;
    };
    for (what, version) in
        [("versions.model", Some(admitted.versions.model)), ("versions.alias", admitted.versions.alias)]
    {
        if let Some(version) = version.filter(|version| !evidence.was_in_force(*version)) {
            check.verdict.differ(recorded.position, what, version, "a version that was in force");
        }
    }
    let at = decision_time::decided_at(recorded, admitted, &mut check.verdict);
    alias::check(of, at, &mut check.verdict);
    decision_time::must_not_be_retired(recorded, &model, at, &mut check.verdict);
    terms::check(&evidence.terms, recorded, admitted, &mut check.verdict);
    shadow::check(evidence.copied.as_ref(), recorded, admitted, &mut check.verdict);
    let version = |at: usize| {
        let target = model.targets.get(at)?;
        admitted.versions.prices.get(&target.key()).copied()
    };
    let logged = LoggedTargets::of(of, &model);
    let inputs = route_inputs::gather(of, &model, &logged, at, &mut check.verdict);
    let is_other_strategy = recorded_route.is_some_and(|route| route.strategy != inputs.strategy);
    // Figures of another strategy say nothing.
    let figures = if is_other_strategy { Vec::new() } else { logged.figures() };
    let decision = decide_again(inputs, &figures);
    route_decision::compare(of, &model, &decision, &mut check.verdict);
    let order = decision.order;
    let passed_over = passed_over(&evidence.life);
    check.strategy = Some(recorded_route.map_or(order.strategy, |route| route.strategy));
    check.chosen_by = Some(recorded_route.map_or(ChosenBy::Model, |route| route.chosen_by));
    for (at, rank) in ranks(&order, |at| version(at).is_some()) {
        let (Some(target), Some(reason)) = (model.targets.get(at), order.reason(at)) else { continue };
        let was_called = check.calls.iter().any(|call| call.backend().is_of(target.provider_id, &target.model));
        check.targets.push(RouteTarget {
            provider_id: target.provider_id,
            model: target.model.clone(),
            rank,
            left_out: recorded_route.and_then(|route| route.left_out.get(&target.key()).cloned()),
            reason,
            price_version: version(at),
            was_called,
            passed_over: passed_over
                .and_then(|passed_over| passed_over.get(&target.key()).cloned())
                .unwrap_or_default(),
        });
    }
    for backend in admitted.versions.prices.keys() {
        let is_target = |target: &RouteTarget| target_key(target.provider_id, &target.model) == *backend;
        if !check.targets.iter().any(is_target) {
            check.verdict.differ(recorded.position, "versions.prices", backend, "it is not a target of the model");
        }
    }
    let hedge = hedges::check(of, &model, &mut check.verdict);
    must_follow(&mut check, hedge.is_some());
    if hedge.is_some() {
        hedge_must_come_later(&check.calls, &check.targets, &mut check.verdict);
    }
    check.model = Some(model);
    check
}

/// The indexes of the targets: first those that could serve, with their ranks.
fn ranks(order: &Order<'_>, could_serve: impl Fn(usize) -> bool) -> Vec<(usize, Option<usize>)> {
    let (able, unable): (Vec<_>, Vec<_>) = order.all().partition(|at| could_serve(*at));
    let able = able.into_iter().enumerate().map(|(rank, at)| (at, Some(rank + 1)));
    able.chain(unable.into_iter().map(|at| (at, None))).collect()
}

impl RouteTarget {
    fn had_open_breaker(&self) -> bool {
        self.left_out.as_ref().is_some_and(RecordedLeftOut::is_breaker_open)
    }

    /// Whether it had no room when it was its turn, or an open breaker by then, so that it may have been called after the others.
    fn may_come_later(&self) -> bool {
        self.passed_over.iter().any(|why| matches!(why, PassedOverFor::NoRoom | PassedOverFor::BreakerOpen))
    }
}

/// No call goes back in the order, except to a target that had no room before, or whose breaker was open: those come after all others, in
/// an order of their own. A target without a call could not be sent the request, or was passed over.
fn must_follow(check: &mut RouteCheck, is_hedged: bool) {
    let (mut last, mut is_last_resort) = (1, false);
    for call in &check.calls {
        // Made beside the first one, to whichever target could be called then: the others keep their places.
        let is_hedge = is_hedged && matches!(call, RouteCall::Failed { call, .. } if call.attempt == hedges::ATTEMPT);
        let backend = call.backend();
        let is_it = |target: &&RouteTarget| target.rank.is_some() && backend.is_of(target.provider_id, &target.model);
        let called: Vec<&RouteTarget> = check.targets.iter().filter(is_it).collect();
        if called.iter().any(|target| target.had_open_breaker()) {
            is_last_resort |= !is_hedge;
            continue;
        }
        let comes_later = called.iter().any(|target| target.may_come_later());
        let mut ranks = called.iter().filter_map(|target| target.rank);
        let follows = if called.is_empty() {
            "a target that could serve the request".to_owned()
        // Its own breaker may have opened since the plan, so that it came after those.
        } else if is_last_resort && !is_hedge && !comes_later {
            "a target whose breaker was open: once one of these is called, no other target is".to_owned()
        } else if let Some(rank) = ranks.find(|rank| *rank >= last) {
            last = if is_hedge { last } else { rank };
            continue;
        } else if comes_later {
            continue;
        } else {
            format!("a target from place {last} of the order on")
        };
        check.verdict.differ(call.position(), "backend", backend.key(), follows);
    }
}

/// The key by which targets are ordered when they are called: those with open breakers come after all others.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct CallOrderKey {
    had_open_breaker: bool,
    rank: usize,
}

/// The hedge went to a target that comes later in the order than that of the first call.
fn hedge_must_come_later(calls: &[RouteCall], targets: &[RouteTarget], verdict: &mut Verdict) {
    let failed = |attempt: u32| {
        calls.iter().find(|call| matches!(call, RouteCall::Failed { call, .. } if call.attempt == attempt))
    };
    let last = calls.iter().find(|call| matches!(call, RouteCall::Last { .. }));
    let (Some(first), Some(hedge)) = (failed(1).or(last), failed(hedges::ATTEMPT).or(last)) else { return };
    let order_key = |backend: &Backend| {
        let target = targets.iter().find(|target| backend.is_of(target.provider_id, &target.model))?;
        Some(CallOrderKey { had_open_breaker: target.had_open_breaker(), rank: target.rank? })
    };
    // What could not serve the request at all is told of each call.
    let (Some(of_first), Some(of_hedge)) = (order_key(first.backend()), order_key(hedge.backend())) else { return };
    // The order of targets with open breakers is not recorded. All that can be checked is that the hedge went to another target.
    let order_is_unknown = of_first.had_open_breaker && of_hedge.had_open_breaker && of_first != of_hedge;
    if of_hedge <= of_first && !order_is_unknown {
        let follows =
            format!("a hedge goes to a target after place {} of the order, where the first call went", of_first.rank);
        verdict.differ(hedge.position(), "backend", hedge.backend().key(), follows);
    }
}

/// The targets that the end of the request names as passed over.
fn passed_over(life: &[Recorded]) -> Option<&BTreeMap<String, Vec<PassedOverFor>>> {
    life.iter().find_map(|recorded| Some(&recorded.event.outcome()?.passed_over))
}

fn calls(life: &[Recorded]) -> Vec<RouteCall> {
    let mut calls = Vec::new();
    for recorded in life {
        let position = recorded.position;
        match &recorded.event {
            Event::Inference(Inference::AttemptFailed(call)) => {
                calls.push(RouteCall::Failed { position, call: call.clone() });
            }
            Event::Inference(Inference::Completed(ended) | Inference::Failed(ended) | Inference::Aborted(ended)) => {
                let backend = ended.backend.clone();
                calls.extend(backend.map(|backend| RouteCall::Last { position, backend }));
            }
            _ => {}
        }
    }
    calls
}
