//! The calls to one target: one, a second one if that may help, and more with other keys that may be accepted where one was not.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use dialects::WrittenBody;
use events::refusal::Refusal;
use events::routing::PassedOverFor;
use tokio::sync::oneshot;

use super::breakers::IfOpen;
use super::failure::{Blame, CallFailure, CallsSoFar, Cause};
use super::gateway::Gateway;
use super::hedging::{self, AllowedHedge};
use super::last_look::{LastLook, NotToBeCalled};
use super::provider_keys::NextKey;
use super::request_source::RequestSource;
use super::retry_budget::Retry;
use super::running::Running;
use super::target::PlannedTarget;
use super::target_call::{TargetAnswer, TargetCall, WrittenCall, begin_stream, log_failure, relay};
use super::whole;

/// Why a target has not answered.
pub enum NoAnswer {
    /// The call was made, and failed.
    Failed(CallFailure),
    /// The call was not made. The refusal is for the case that every target is passed over, if it says more than that.
    PassedOver(Option<Box<Refusal>>),
    /// The call was not made, because the target's breaker is open.
    BreakerOpen,
    /// The request may not be sent to any target any more.
    NoLongerAllowed(Refusal),
}

/// How one target is called among the others.
#[derive(Clone, Copy)]
pub struct CallPosition {
    /// No other target comes.
    pub is_last: bool,
    /// No other target comes, not counting those that are left out for their open breakers once this one may have got the request.
    pub is_last_to_be_called: bool,
    pub if_open: IfOpen,
    /// The strategy of its model goes by what is measured of the call.
    pub is_measured: bool,
}

/// The calls to one target for a request, and what they share.
pub struct CallsAtTarget<'c> {
    pub gateway: &'c Arc<Gateway>,
    /// `None` as soon as no further call can need it.
    pub source: &'c mut Option<RequestSource>,
    pub look: &'c mut LastLook,
    pub target: &'c Arc<PlannedTarget>,
    pub position: CallPosition,
    pub request_id: &'c str,
}

/// How often a target has been tried for a request. With another key, it is still the same try.
#[derive(Clone, Copy)]
struct Tries {
    calls: u32,
    /// Whether another target was called before.
    is_failover: bool,
}

impl CallsAtTarget<'_> {
    pub async fn make(
        mut self,
        mut hedge: Option<&mut AllowedHedge<'_>>,
        mut running: Box<Running>,
    ) -> (Box<Running>, Result<TargetAnswer, NoAnswer>) {
        running.call.keys.begin_target();
        running.call.observers.breaker = None;
        let mut tries = Tries { calls: 0, is_failover: running.has_called() };
        if tries.is_failover && !self.allows_retry(Retry::Failover, &mut running) {
            return (running, Err(NoAnswer::PassedOver(None)));
        }
        let mut last_failure = None;
        loop {
            if let Err(no_answer) = self.check_before_call(&mut running).await {
                if matches!(no_answer, NoAnswer::BreakerOpen) && last_failure.is_some() {
                    running.passed_over.add(&self.target.backend, PassedOverFor::BreakerOpen);
                }
                return (running, Err(no_answer.or_failed(last_failure)));
            }
            let written = match self.begin_call(&mut running).await {
                Ok(written) => written,
                Err(failure) => return (running, Err(NoAnswer::Failed(failure))),
            };
            tries.calls += 1;
            let answer;
            (running, answer) = match hedge.take() {
                Some(hedge) => {
                    let (running, answer) = Box::pin(self.hedged(written, hedge, running)).await;
                    if hedge.second.is_some() {
                        return (running, answer.map_err(NoAnswer::Failed));
                    }
                    (running, answer)
                }
                None => self.alone(written, running).await,
            };
            let failure = match answer {
                Ok(answer) => return (running, Ok(answer)),
                Err(failure) => failure,
            };
            log_failure(&failure, self.target, self.request_id, &running);
            if failure.is_timeout() && running.is_out_of_time() || failure.is_lost_here() {
                // The upstream did not fail: what it did for this request is unknown, and not free.
                return (running, Err(NoAnswer::Failed(failure)));
            }
            match self.record_failure(&failure, tries, &mut running) {
                // The same try goes on.
                NextKey::Another if !running.is_out_of_time() => tries.calls -= 1,
                NextKey::AtLimit(wait) => {
                    return (running, Err(NoAnswer::Failed(CallFailure::of(Cause::KeysAtLimit(wait)))));
                }
                NextKey::Another | NextKey::None => match self.wait_before_retry(&failure, tries, &mut running) {
                    Some(wait) => {
                        tokio::time::sleep(wait).await;
                        running.call.keys.again();
                    }
                    None => return (running, Err(NoAnswer::Failed(failure))),
                },
            }
            last_failure = Some(failure);
        }
    }

    /// Whether the retry budget allows it; otherwise the target is passed over.
    fn allows_retry(&self, retry: Retry, running: &mut Running) -> bool {
        let is_allowed = self.gateway.allows_retry(self.target, running.request.owner, retry);
        if !is_allowed {
            running.passed_over.add(&self.target.backend, PassedOverFor::RetryBudget);
        }
        is_allowed
    }

    /// Errors: the target is not to be called, or not any more.
    async fn check_before_call(&mut self, running: &mut Running) -> Result<(), NoAnswer> {
        if let Some(RequestSource { request, plan, .. }) = self.source {
            let has_waited = running.place.waited().is_some();
            match self.look.before_call(self.gateway, request, plan, self.target, has_waited).await {
                Ok(()) => {}
                Err(NotToBeCalled::PassedOver(why, refusal)) => {
                    running.passed_over.add(&self.target.backend, why);
                    return Err(NoAnswer::PassedOver(Some(refusal)));
                }
                Err(NotToBeCalled::NoLongerAllowed(refusal)) => return Err(NoAnswer::NoLongerAllowed(refusal)),
            }
        }
        if running.call.observers.breaker.is_none() {
            let breaker = self.gateway.breakers.begin(self.target, running.request.owner, self.position.if_open);
            running.call.observers.breaker = breaker;
        }
        if running.call.observers.breaker.is_none() {
            return Err(NoAnswer::BreakerOpen);
        }
        Ok(())
    }

    /// Begins a call, and returns its body.
    async fn begin_call(&mut self, running: &mut Running) -> Result<WrittenCall, CallFailure> {
        let Self { gateway, target, .. } = self;
        let taken = RequestSource::take_body(self.source, &gateway.large_bodies, target, running).await;
        let WrittenBody { bytes, ignored, calls } =
            taken.inspect_err(|failure| log_failure(failure, target, self.request_id, running))?;
        let Some(RequestSource { request, plan, .. }) = &self.source else {
            return Err(CallFailure::of(Cause::Untranslatable));
        };
        gateway.figures.ignored.count(target.kind, &ignored);
        running.call_begins(&gateway.health, target, request, &ignored);
        running.call.cost_bound = plan.share_of_hold(request, target);
        if self.position.is_measured {
            running.call.observers.figures =
                Some(gateway.observed.begin(target.backend.provider_id, &target.backend.model));
        }
        Ok(WrittenCall { body: bytes, kept_calls: calls })
    }

    /// Makes the call that `running` has begun, beside which another target may be called.
    async fn hedged(
        &mut self,
        written: WrittenCall,
        hedge: &mut AllowedHedge<'_>,
        running: Box<Running>,
    ) -> (Box<Running>, Result<TargetAnswer, CallFailure>) {
        let Some(RequestSource { request, .. }) = &self.source else {
            return (running, Err(CallFailure::of(Cause::Untranslatable)));
        };
        let first = TargetCall::of(self.gateway, request, self.target, written, self.request_id);
        hedging::call(self.gateway, self.source, self.look, first, hedge, running).await
    }

    /// Makes the call that `running` has begun.
    async fn alone(
        &mut self,
        WrittenCall { body, kept_calls }: WrittenCall,
        mut running: Box<Running>,
    ) -> (Box<Running>, Result<TargetAnswer, CallFailure>) {
        let Self { gateway, target, request_id, .. } = *self;
        let Some(RequestSource { request, .. }) = &self.source else {
            return (running, Err(CallFailure::of(Cause::Untranslatable)));
        };
        if request.facts.streamed {
            let relay = || relay(gateway, request, target, request_id).keeping(kept_calls);
            let answer = begin_stream(gateway, relay, target, body, request_id, &mut running).await;
            return (running, answer);
        }
        let (begins, has_begun) = oneshot::channel();
        let reader = request.answer_reader().keeping(kept_calls);
        let mut call = pin!(whole::call_whole(gateway, reader, target, body, running, begins));
        let (running, answer) = tokio::select! {
            biased;
            ended = &mut call => ended,
            // A call whose answer has begun is not repeated at the same target.
            Ok(()) = has_begun, if self.position.is_last => {
                *self.source = None;
                call.await
            }
        };
        (running, answer.map(TargetAnswer::Whole))
    }

    /// Records a failed call, and says whether another key may be accepted.
    fn record_failure(&self, failure: &CallFailure, tries: Tries, running: &mut Running) -> NextKey {
        let (gateway, target) = (self.gateway, self.target);
        running.call_failed(failure);
        let next_key = running.call.keys.failed(failure.of_key());
        if next_key == NextKey::Another {
            return next_key;
        }
        running.judge(failure);
        if tries.calls > 1 && failure.found_no_room() {
            gateway.retry_was_not_sent(target, running.request.owner);
        }
        let is_failed_failover = tries.is_failover && tries.calls == 1;
        if is_failed_failover && failure.blame() != Blame::Nobody && !failure.found_no_room() {
            gateway.failover_failed(target, running.request.owner);
        }
        next_key
    }

    /// How long to wait before the target is called again; `None` if it is not.
    fn wait_before_retry(&self, failure: &CallFailure, tries: Tries, running: &mut Running) -> Option<Duration> {
        if self.position.if_open == IfOpen::CallOnce {
            return None;
        }
        let [jitter] = self.gateway.ids.bytes::<1>();
        let calls = CallsSoFar { calls: tries.calls, is_last: self.position.is_last_to_be_called };
        let wait = failure.retry_after(calls, jitter)?;
        let has_time = !running.is_out_of_time_after(wait);
        (has_time && self.allows_retry(Retry::SameTarget, running)).then_some(wait)
    }
}

impl NoAnswer {
    /// A target that was called before it was passed over has failed.
    fn or_failed(self, last_failure: Option<CallFailure>) -> Self {
        match (self, last_failure) {
            (Self::PassedOver(_) | Self::BreakerOpen, Some(failure)) => Self::Failed(failure),
            (no_answer, _) => no_answer,
        }
    }
}
