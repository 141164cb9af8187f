//! Observers of a call: the figures that orders go by, the breaker of its target, and the health of its provider. Each
//! is told once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use events::event::inference::Backend;

use crate::inference::node::gateway::Gateway;
use crate::inference::received::call_timeline::CallTimeline;
use crate::inference::targets::breakers::BreakerCall;
use crate::inference::targets::health::{CallError, MeasuredCall};
use crate::inference::targets::observed_targets::ObservedCall;
use crate::inference::targets::target::PlannedTarget;
use crate::inference::upstream::failure::{Answered, Blame, CallFailure};

#[derive(Default)]
pub struct CallObservers {
    /// Measures the call for the order of targets.
    pub figures: Option<ObservedCall>,
    /// Reports the call to the target's breaker.
    pub breaker: Option<BreakerCall>,
    /// Measures the call for the health of its provider.
    pub health: Option<MeasuredCall>,
    /// When the call began.
    pub began: Option<Instant>,
}

impl CallObservers {
    /// A call begins. If it is measured, the strategy of its model goes by its figures.
    pub fn begin(
        &mut self,
        gateway: &Gateway,
        target: &Arc<PlannedTarget>,
        timeline: &CallTimeline,
        is_measured: bool,
    ) {
        let Backend { provider_id, model, .. } = &target.backend;
        self.began = Some(timeline.began);
        self.health = gateway.targets.health.begin(target, timeline.began);
        self.figures = is_measured.then(|| gateway.targets.observed.begin(*provider_id, model));
    }

    /// The target has given a whole answer of so many tokens.
    pub fn answered(&mut self, tokens: u64) {
        let took = self.took();
        if let Some(figures) = self.figures.take() {
            figures.completed(tokens);
        }
        if let Some(breaker) = self.breaker.take() {
            breaker.succeeded();
        }
        if let Some(health) = self.health.take() {
            health.served(took);
        }
    }

    /// Tells the observers of a failure of the called target. If `is_out_of_time`, the gateway itself has ended the
    /// call, because all the time of the request was over.
    pub fn failed(&mut self, failure: &CallFailure, is_out_of_time: bool) {
        let took = self.took();
        let Self { figures, breaker, health, .. } = std::mem::take(self);
        let is_ended_here = failure.is_timeout() && is_out_of_time;
        let error = CallError { reason: failure.reason(), status: failure.status };
        if let Some(health) = health.filter(|_| !is_ended_here) {
            match failure.answered() {
                Answered::Request => health.served(took),
                Answered::Failed => health.failed(error),
                Answered::Unasked => {}
            }
        }
        let blame = if is_ended_here { Blame::Nobody } else { failure.blame() };
        if let Some(figures) = figures.filter(|_| blame != Blame::Nobody) {
            figures.failed();
        }
        if let Some(breaker) = breaker.filter(|_| blame == Blame::Target) {
            breaker.failed(error);
        }
    }

    /// The caller has ended the call, after it had waited long for an answer.
    pub fn unanswered(&mut self, reason: &'static str) {
        let (breaker, health) = (self.breaker.take(), self.health.take());
        let is_failure = breaker.is_some_and(|breaker| breaker.unanswered(reason));
        if let Some(health) = health.filter(|_| is_failure) {
            health.failed(CallError { reason, status: None });
        }
    }

    fn took(&self) -> Duration {
        self.began.map(|began| began.elapsed()).unwrap_or_default()
    }

    /// Whether the call that is under way is one of many that its provider has failed, which was said once.
    pub fn know_of_failing_provider(&self) -> bool {
        self.health.as_ref().is_some_and(MeasuredCall::is_of_failing_provider)
    }
}
