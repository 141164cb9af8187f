//! The decision about a route: one pure function of what is known of the request and of each target.

use std::cmp::Reverse;

use super::inputs::{RouteInputs, TargetInputs};
use super::left_out::LeftOut;
use super::{CanaryPlace, Candidate, Order, RankFigures, Strategy, Target, choose_by_recorded};

/// The order in which the targets of a model are tried for one request.
#[derive(Debug)]
pub struct RouteDecision<'a> {
    pub order: Order<'a>,
    /// Where the model's canary stands; `None` without one.
    pub canary: Option<CanaryPlace>,
    /// The targets whose breakers are open, which are tried after all others, in this order.
    pub last_resorts: Vec<usize>,
    /// The digest of the session that was gone by.
    pub session: Option<String>,
}

/// Decides which targets serve a request, and in which order they are tried. For no request in particular, the order is that of most
/// requests.
pub fn decide<'a>(inputs: RouteInputs<'a>) -> RouteDecision<'a> {
    decide_again(inputs, &[])
}

/// Decides a recorded request again. `recorded` has the figures that were recorded of each target, in the order of the inputs: those that
/// were measured then are taken from it, and all others follow from the inputs.
pub fn decide_again<'a>(inputs: RouteInputs<'a>, recorded: &[Option<RankFigures>]) -> RouteDecision<'a> {
    let RouteInputs { model_id, canary, tenant, strategy, features, session, question, targets } = &inputs;
    let judged = |target: &TargetInputs<'a>| LeftOut::judge(question, target);
    let candidates = targets.iter().map(|target| inputs.candidate(target, judged(target)));
    let mut order = choose_by_recorded(*strategy, candidates, features, recorded);
    let canary_at = inputs.canary_index();
    let canary = canary.zip(canary_at).map(|(canary, at)| {
        let is_able = order.left_out().all(|(left_out, _)| left_out != at);
        let draws = |request| canary.draws(*model_id, request, *tenant);
        let is_first = is_able && features.request.is_some_and(draws);
        let place = if is_first { CanaryPlace::First } else { CanaryPlace::Last };
        order.place_canary(at, place);
        place
    });
    if let Some(session) = session {
        order.put_session_target_first(session, |at| targets.get(at).map(|inputs| inputs.target.key()));
    }
    let last_resorts = inputs.last_resorts(&order, canary_at);
    RouteDecision { order, canary, last_resorts, session: inputs.session }
}

impl RouteDecision<'_> {
    /// Indexes of the targets that may be called: those that are tried, then the last resorts.
    pub fn called(&self) -> impl Iterator<Item = usize> {
        self.order.tried().chain(self.last_resorts.iter().copied())
    }
}

impl<'a> RouteInputs<'a> {
    fn canary_index(&self) -> Option<usize> {
        let canary = self.canary?;
        self.targets.iter().position(|inputs| canary.is(inputs.target))
    }

    /// A target as the strategy sees it.
    fn candidate(&self, target: &TargetInputs<'a>, left_out: Option<LeftOut>) -> Candidate<'a> {
        let row = target.target;
        Candidate {
            priority: self.place_in_rule(row).unwrap_or(row.priority),
            weight: row.weight,
            quality: row.quality.unwrap_or_default(),
            tariff: target.tariff,
            observed: target.observed,
            left_out,
        }
    }

    /// The place of a target in the rule, if the rule has an order of its own.
    fn place_in_rule(&self, target: &Target) -> Option<u32> {
        let is_by_place = self.strategy == Strategy::Rules;
        let rule = self.question.rule.filter(|rule| is_by_place && !rule.targets.is_empty())?;
        // One that is not named is left out, wherever it stands.
        Some(rule.place_of(&target.key()).and_then(|place| u32::try_from(place).ok()).unwrap_or(u32::MAX))
    }

    /// The targets that are left out for their open breakers alone, in the order in which they are tried if no other one can be called:
    /// first those that answered while open, then by when their time is over, and last the canary.
    fn last_resorts(&self, order: &Order<'_>, canary: Option<usize>) -> Vec<usize> {
        let open = order.left_out().filter(|(_, why)| matches!(why, LeftOut::BreakerOpen(_)));
        let open = open.filter_map(|(at, _)| Some((at, self.targets.get(at)?.open_breaker?)));
        let mut open: Vec<_> =
            open.map(|(at, breaker)| (canary == Some(at), Reverse(breaker.has_answered), breaker.until, at)).collect();
        open.sort_unstable();
        open.into_iter().map(|(_, _, _, at)| at).collect()
    }
}

#[cfg(test)]
mod tests;
