//! The calls to one target: one, a second one if that may help, and more with other keys that may be accepted where one was not.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use dialects::WrittenBody;
use events::refusal::Refusal;
use events::routing::PassedOverFor;
use tokio::sync::oneshot;

use super::begin_call::{BegunCall, CallOf, WrittenCall, begin_call};
use super::hedging::{self, AllowedHedge};
use super::last_look::{LastLook, NotToBeCalled};
use super::request_source::RequestSource;
use super::target_call::{TargetAnswer, TargetCall, begin_stream, log_failure, relay};
use super::whole;
use crate::inference::keys::provider_keys::NextKey;
use crate::inference::node::gateway::Gateway;
use crate::inference::running::{Running, TargetTurn};
use crate::inference::targets::breakers::IfOpen;
use crate::inference::targets::retry_budget::Retry;
use crate::inference::targets::target::PlannedTarget;
use crate::inference::upstream::failure::{Blame, CallFailure, CallsSoFar, Cause};

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
}

/// The calls to one target for a request, and what they share.
pub struct CallsAtTarget<'c> {
    pub gateway: &'c Arc<Gateway>,
    /// `None` as soon as no further call can need it.
    pub source: &'c mut Option<RequestSource>,
    pub look: &'c mut LastLook,
    pub target: &'c Arc<PlannedTarget>,
    pub position: CallPosition,
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
        turn: TargetTurn,
        hedge: Option<&mut AllowedHedge<'_>>,
        running: Box<Running>,
    ) -> (Box<Running>, Result<TargetAnswer, NoAnswer>) {
        let (mut running, end) = self.calls(turn, hedge, running).await;
        let TurnEnd { turn, answer } = end;
        if let Some(turn) = turn {
            running.end_turn(turn);
        }
        (running, answer)
    }

    async fn calls(
        &mut self,
        mut turn: TargetTurn,
        mut hedge: Option<&mut AllowedHedge<'_>>,
        mut running: Box<Running>,
    ) -> (Box<Running>, TurnEnd) {
        let mut tries = Tries { calls: 0, is_failover: running.has_called() };
        if tries.is_failover && !self.allows_retry(Retry::Failover, &mut running) {
            return (running, turn.ends_with(NoAnswer::PassedOver(None)));
        }
        let mut last_failure = None;
        loop {
            if let Err(no_answer) = self.check_before_call(&mut turn, &mut running).await {
                if matches!(no_answer, NoAnswer::BreakerOpen) && last_failure.is_some() {
                    running.passed_over.add(&self.target.backend, PassedOverFor::BreakerOpen);
                }
                return (running, turn.ends_with(no_answer.or_failed(last_failure)));
            }
            let written = match self.write_body(&turn, &running).await {
                Ok(written) => written,
                Err(failure) => return (running, turn.ends_with(NoAnswer::Failed(failure))),
            };
            let Some(source) = self.source.as_ref() else {
                return (running, turn.ends_with(NoAnswer::Failed(CallFailure::of(Cause::Untranslatable))));
            };
            running.calls += 1;
            tries.calls += 1;
            let of = CallOf { target: self.target, number: running.calls };
            let timeline = running.timeline.call_begins(self.target);
            let BegunCall { call, written } = begin_call(self.gateway, source, of, turn, timeline, written);
            running.call = Some(call);
            let answer;
            (running, answer) = match hedge.take() {
                Some(hedge) => {
                    let (running, answer) = Box::pin(self.hedged(written, hedge, running)).await;
                    if hedge.second.is_some() {
                        return (running, TurnEnd { turn: None, answer: answer.map_err(NoAnswer::Failed) });
                    }
                    (running, answer)
                }
                None => self.alone(written, running).await,
            };
            let failure = match answer {
                Ok(answer) => return (running, TurnEnd { turn: None, answer: Ok(answer) }),
                Err(failure) => failure,
            };
            if let Some(call) = &running.call {
                log_failure(&failure, self.target, &call.turn, &running.request);
            }
            let is_unknown = failure.is_timeout() && running.request.is_out_of_time() || failure.is_lost_here();
            // The upstream did not fail: what it did for this request is unknown, and not free.
            let Some(call) = running.call.take_if(|_| !is_unknown) else {
                return (running, TurnEnd { turn: None, answer: Err(NoAnswer::Failed(failure)) });
            };
            turn = running.call_failed(call, &failure);
            match self.learn_from(&failure, tries, &mut turn, &running) {
                // The same try goes on.
                NextKey::Another if !running.request.is_out_of_time() => tries.calls -= 1,
                NextKey::AtLimit(wait) => {
                    let failure = CallFailure::of(Cause::KeysAtLimit(wait));
                    return (running, turn.ends_with(NoAnswer::Failed(failure)));
                }
                NextKey::Another | NextKey::None => match self.wait_before_retry(&failure, tries, &mut running) {
                    Some(wait) => {
                        tokio::time::sleep(wait).await;
                        turn.keys.again();
                    }
                    None => return (running, turn.ends_with(NoAnswer::Failed(failure))),
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
    async fn check_before_call(&mut self, turn: &mut TargetTurn, running: &mut Running) -> Result<(), NoAnswer> {
        if let Some(RequestSource { request, plan, .. }) = self.source {
            let has_waited = running.has_waited_for_place();
            match self.look.before_call(self.gateway, request, plan, self.target, has_waited).await {
                Ok(()) => {}
                Err(NotToBeCalled::PassedOver(why, refusal)) => {
                    running.passed_over.add(&self.target.backend, why);
                    return Err(NoAnswer::PassedOver(Some(refusal)));
                }
                Err(NotToBeCalled::NoLongerAllowed(refusal)) => return Err(NoAnswer::NoLongerAllowed(refusal)),
            }
        }
        if turn.observers.breaker.is_none() {
            turn.observers.breaker =
                self.gateway.targets.breakers.begin(self.target, running.request.owner, self.position.if_open);
        }
        if turn.observers.breaker.is_none() {
            return Err(NoAnswer::BreakerOpen);
        }
        Ok(())
    }

    async fn write_body(&mut self, turn: &TargetTurn, running: &Running) -> Result<WrittenBody, CallFailure> {
        let Self { gateway, target, .. } = self;
        let taken = RequestSource::take_body(self.source, &gateway.memory.large_bodies, target, running).await;
        taken.inspect_err(|failure| log_failure(failure, target, turn, &running.request))
    }

    /// Makes the call that is under way, beside which another target may be called.
    async fn hedged(
        &mut self,
        written: WrittenCall,
        hedge: &mut AllowedHedge<'_>,
        running: Box<Running>,
    ) -> (Box<Running>, Result<TargetAnswer, CallFailure>) {
        let Some(RequestSource { request, .. }) = &self.source else {
            return (running, Err(CallFailure::of(Cause::Untranslatable)));
        };
        let first = TargetCall::of(self.gateway, request, self.target, written, &running.request.id_text);
        hedging::call(self.gateway, self.source, self.look, first, hedge, running).await
    }

    /// Makes the call that is under way.
    async fn alone(
        &mut self,
        WrittenCall { body, kept_calls }: WrittenCall,
        mut running: Box<Running>,
    ) -> (Box<Running>, Result<TargetAnswer, CallFailure>) {
        let Self { gateway, target, .. } = *self;
        let Some(RequestSource { request, .. }) = &self.source else {
            return (running, Err(CallFailure::of(Cause::Untranslatable)));
        };
        if request.facts.streamed {
            let request_id = Arc::clone(&running.request.id_text);
            let relay = || relay(gateway, request, target, &request_id).keeping(kept_calls);
            let answer = match running.under_way() {
                Ok(mut under_way) => begin_stream(gateway, relay, body, &mut under_way).await,
                Err(failure) => Err(failure),
            };
            if answer.is_ok() {
                running.answer_begins();
            }
            return (running, answer);
        }
        let (begins, has_begun) = oneshot::channel();
        let reader = request.answer_reader().keeping(kept_calls);
        let mut call = pin!(whole::call_whole(gateway, reader, body, running, begins));
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

    /// Learns from a failed call, and says whether another key may be accepted.
    fn learn_from(&self, failure: &CallFailure, tries: Tries, turn: &mut TargetTurn, running: &Running) -> NextKey {
        let (gateway, target) = (self.gateway, self.target);
        let next_key = turn.keys.failed(failure.of_key());
        if next_key == NextKey::Another {
            return next_key;
        }
        turn.observers.failed(failure, running.request.is_out_of_time());
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
        let has_time = !running.request.is_out_of_time_after(wait);
        (has_time && self.allows_retry(Retry::SameTarget, running)).then_some(wait)
    }
}

/// The end of a target's turn.
struct TurnEnd {
    /// The parts that the calls shared; `None` if they are in a call that is the request's.
    turn: Option<TargetTurn>,
    answer: Result<TargetAnswer, NoAnswer>,
}

impl TargetTurn {
    fn ends_with(self, no_answer: NoAnswer) -> TurnEnd {
        TurnEnd { turn: Some(self), answer: Err(no_answer) }
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
