//! The route: the targets of the model as its admission knew it, in the order that its strategy gives for this request, and the
//! calls that were made.

use super::evidence::Evidence;
use super::verdict::Verdict;
use crate::event::inference::{AttemptFailed, Backend, InferenceAdmitted};
use crate::event::{Event, Inference, Recorded};
use crate::ids::ProviderId;
use crate::routing::{Candidate, Features, LeftOut, Order, Reason, Strategy, choose};

/// The targets and the calls of a request, and whether the calls follow the order.
#[derive(Clone, Debug)]
pub struct RouteCheck {
    pub verdict: Verdict,
    /// `None` if the log does not have the version of the model.
    pub strategy: Option<Strategy>,
    /// The targets that could serve in the order in which they are tried, then the others.
    pub targets: Vec<RouteTarget>,
    pub calls: Vec<RouteCall>,
}

/// A target of the model.
#[derive(Clone, Debug)]
pub struct RouteTarget {
    pub provider_id: ProviderId,
    pub model: String,
    /// Its place in the order, from 1. `None` if it could not serve the request: the log does not say why.
    pub rank: Option<usize>,
    /// What its place follows from.
    pub reason: Reason,
    pub price_version: Option<u64>,
    pub was_called: bool,
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

pub(super) fn check(evidence: &Evidence, recorded: &Recorded, admitted: &InferenceAdmitted) -> RouteCheck {
    let mut check =
        RouteCheck { verdict: Verdict::default(), strategy: None, targets: Vec::new(), calls: calls(&evidence.life) };
    let Some(model) = evidence.model(admitted.versions.model) else {
        check.verdict.differ(recorded.position, "versions.model", admitted.versions.model, NO_MODEL);
        return check;
    };
    check.strategy = Some(model.strategy);
    let version = |at: usize| {
        let target = model.targets.get(at)?;
        admitted.versions.prices.get(&format!("{}/{}", target.provider_id, target.model)).copied()
    };
    let candidates = model.targets.iter().enumerate().map(|(at, target)| Candidate {
        priority: target.priority,
        weight: target.weight,
        tariff: None,
        // Of a target that is not among the prices, the log does not have the reason.
        left_out: version(at).is_none().then_some(LeftOut::NoPrice),
    });
    let order =
        choose(model.strategy, candidates, &Features { request: Some(evidence.request), ..Features::default() });
    for (at, rank) in ranks(&order) {
        let (Some(target), Some(reason)) = (model.targets.get(at), order.reason(at)) else { continue };
        let is_it =
            |call: &RouteCall| call.backend().provider_id == target.provider_id && call.backend().model == target.model;
        check.targets.push(RouteTarget {
            provider_id: target.provider_id,
            model: target.model.clone(),
            rank,
            reason,
            price_version: version(at),
            was_called: check.calls.iter().any(is_it),
        });
    }
    for backend in admitted.versions.prices.keys() {
        let is_target = |target: &RouteTarget| format!("{}/{}", target.provider_id, target.model) == *backend;
        if !check.targets.iter().any(is_target) {
            check.verdict.differ(recorded.position, "versions.prices", backend, "it is not a target of the model");
        }
    }
    must_follow(&mut check);
    check
}

/// The indexes of the targets: first those that could serve, with their ranks.
fn ranks(order: &Order<'_>) -> Vec<(usize, Option<usize>)> {
    let tried = order.tried().enumerate().map(|(rank, at)| (at, Some(rank + 1)));
    tried.chain(order.left_out().map(|(at, _)| (at, None))).collect()
}

/// No call goes back in the order. A target that was passed over could not be sent the request: the log does not say why.
fn must_follow(check: &mut RouteCheck) {
    let mut last = 1;
    for call in &check.calls {
        let backend = call.backend();
        let name = format!("{}/{}", backend.provider_id, backend.model);
        let ranks = check.targets.iter().filter(|target| {
            target.provider_id == backend.provider_id && target.model == backend.model && target.rank.is_some()
        });
        let ranks: Vec<usize> = ranks.filter_map(|target| target.rank).collect();
        match ranks.iter().find(|rank| **rank >= last) {
            Some(rank) => last = *rank,
            None if ranks.is_empty() => {
                check.verdict.differ(
                    call.position(),
                    "backend",
                    name,
                    "it is not a target that could serve the request",
                );
            }
            None => {
                let follows = format!("a target from place {last} of the order on");
                check.verdict.differ(call.position(), "backend", name, follows);
            }
        }
    }
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
