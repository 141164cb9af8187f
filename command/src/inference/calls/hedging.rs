//! Hedges: if the first target has sent no content after the time that its model allows, the next target is called beside it. The first
//! one that answers is relayed, and the other one is cancelled.
//!
//! Both calls are charged: the hold is made for two, and what was cancelled is measured as an answer that broke off is. Only the first
//! call of a request has a hedge, and a request has one at most. Neither of the two is repeated at its target; if both fail, the
//! request goes on with the targets that are left, one at a time.
//!
//! A hedge waits for nothing: a target that has no room, whose breaker is open, whose provider's retry budget is used up, or that does
//! not pass the [`LastLook`] is passed over. If none is left, the first call goes on alone.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use events::event::inference::{CLIENT_CLOSED, HEDGED, Hedge};
use events::routing::PassedOverFor;
use projections::figures::GaugeGuard;
use provider_client::{Owner, Transmission};
use tokio_util::sync::CancellationToken;

use super::begin_call::{BegunCall, CallOf, begin_call};
use super::last_look::{LastLook, NotToBeCalled};
use super::request_source::RequestSource;
use super::target_call::{TargetAnswer, TargetCall, log_failure};
use crate::inference::keys::provider_keys::KeyAttempts;
use crate::inference::node::gateway::Gateway;
use crate::inference::received::timeline::RequestTimeline;
use crate::inference::running::failed_calls::FailedCalls;
use crate::inference::running::measured::Meter;
use crate::inference::running::passed_over::PassedOver;
use crate::inference::running::{Call, CallUnderWay, FailedEnd, Running, StartedRequest, TargetTurn};
use crate::inference::targets::breakers::IfOpen;
use crate::inference::targets::retry_budget::Retry;
use crate::inference::targets::target::PlannedTarget;
use crate::inference::targets::target_places::HeldPlace;
use crate::inference::targets::upstream_calls::CallPlace;
use crate::inference::upstream::failure::{CallFailure, Cause};

/// The hedge that a first call may have, and what came of it.
pub struct AllowedHedge<'t> {
    pub after: Duration,
    /// The targets that come after the first one, in their order.
    pub others: &'t [Arc<PlannedTarget>],
    /// The second call; `None` if there was none.
    pub second: Option<HedgeResult>,
}

/// A second call of a request, which has ended or has answered.
pub struct HedgeResult {
    /// Its target's place among the others.
    pub at: usize,
    /// Whether the result of both is its own: it has answered first, or failed last.
    pub ended_last: bool,
    /// If both calls have failed, the failure of the one that failed first.
    pub earlier_failure: Option<CallFailure>,
}

/// Makes the call that is under way, with a hedge if it takes too long. A failure without a second call is still to be recorded;
/// with one, all failures are.
pub async fn call(
    gateway: &Arc<Gateway>,
    source: &mut Option<RequestSource>,
    look: &LastLook,
    first: TargetCall,
    allowed: &mut AllowedHedge<'_>,
    running: Box<Running>,
) -> (Box<Running>, Result<TargetAnswer, CallFailure>) {
    let streamed = running.request.streamed;
    let owner = running.request.owner;
    let first_transmission = match running.call.as_ref() {
        Some(call) => call.transmission.clone(),
        None => return (running, Err(CallFailure::of(Cause::Untranslatable))),
    };
    let race = Race {
        gateway: Arc::clone(gateway),
        source: source.take(),
        look: look.clone(),
        first,
        others: allowed.others.to_vec(),
        after: allowed.after,
        client_left: CancellationToken::new(),
        second_transmission: Arc::default(),
    };
    // A stream ends with its client; a whole answer is generated whether its client waits for it or not.
    let ended = if streamed {
        race.run(running).await
    } else {
        let (client_left, second_transmission) = (race.client_left.clone(), Arc::clone(&race.second_transmission));
        let awaited = AwaitedRace {
            race: Some(Box::pin(race.run(running))),
            gateway: Arc::clone(gateway),
            owner,
            first_transmission,
            second_transmission,
            client_left,
        };
        awaited.await
    };
    let RaceEnd { running, source: left, answer, second } = ended;
    *source = left;
    allowed.second = second;
    (running, answer)
}

/// The two calls of a request, from the first one's beginning on.
struct Race {
    gateway: Arc<Gateway>,
    source: Option<RequestSource>,
    look: LastLook,
    first: TargetCall,
    others: Vec<Arc<PlannedTarget>>,
    after: Duration,
    /// Cancelled when nobody waits for the answer any more.
    client_left: CancellationToken,
    /// The transmission of the second call, once it has begun.
    second_transmission: Arc<OnceLock<Transmission>>,
}

struct RaceEnd {
    running: Box<Running>,
    source: Option<RequestSource>,
    answer: Result<TargetAnswer, CallFailure>,
    second: Option<HedgeResult>,
}

/// A second call that has begun.
struct BegunHedge {
    /// Its target's place among the others.
    at: usize,
    call: Call,
    exchange: TargetCall,
    /// Its place among all calls.
    call_place: CallPlace,
}

/// The first event in the time in which the first call is alone.
enum BeforeHedge {
    Ended(Box<Result<TargetAnswer, CallFailure>>),
    ClientLeft,
    /// Its time is over, and a second call has begun; `None` if none could be made.
    TimeOver(Option<Box<BegunHedge>>),
}

/// The call that has ended first.
enum EndedFirst {
    First(Result<TargetAnswer, CallFailure>),
    Second(Result<TargetAnswer, CallFailure>),
}

impl Race {
    async fn run(self, mut running: Box<Running>) -> RaceEnd {
        let Self { gateway, mut source, mut look, first, others, after, client_left, second_transmission } = self;
        let mut pair = CallPair { gateway: &gateway, running: &mut running, second: None, hedge: None };
        let CallPair { running: of_pair, second, hedge, .. } = &mut pair;
        let Running { request, call: first_slot, meter, failed_calls, calls, passed_over, timeline, .. } =
            &mut **of_pair;
        let recorder = Recorder { gateway: &gateway, client_left: &client_left, request, meter };
        let Some(call) = first_slot.as_mut() else {
            drop(pair);
            let answer = Err(CallFailure::of(Cause::Untranslatable));
            return RaceEnd { running, source, answer, second: None };
        };
        let transmission = call.transmission.clone();
        let under_way = CallUnderWay { request, call };
        let mut first_call = Box::pin(to_its_end(first.make(&gateway, under_way), transmission, &client_left));
        let hedged = async {
            tokio::time::sleep(after).await;
            let start =
                HedgeStart { gateway: &gateway, source: source.as_ref()?, request, timeline, number: *calls + 1 };
            start.begin(&mut look, &others, passed_over).await.map(Box::new)
        };
        let alone = tokio::select! {
            biased;
            answer = &mut first_call => BeforeHedge::Ended(Box::new(answer)),
            () = client_left.cancelled() => BeforeHedge::ClientLeft,
            begun = hedged => BeforeHedge::TimeOver(begun),
        };
        let (begun, answer) = match alone {
            BeforeHedge::Ended(answer) => (None, Some(*answer)),
            BeforeHedge::ClientLeft => {
                source = None;
                (None, None)
            }
            BeforeHedge::TimeOver(begun) => {
                if begun.is_none() {
                    gateway.figures.hedge_was_not_called();
                }
                (begun, None)
            }
        };
        let Some(begun) = begun else {
            let answer = match answer {
                Some(answer) => answer,
                None => (&mut first_call).await,
            };
            drop(first_call);
            drop(pair);
            return RaceEnd::of(running, source, answer, None);
        };
        let BegunHedge { at, call, exchange, call_place } = *begun;
        // As long as neither has answered.
        *hedge = Some(HedgeState { outcome: Hedge::Unfinished, cancel_reason: CLIENT_CLOSED });
        *calls += 1;
        // It is empty: a race has one second call.
        let transmission = call.transmission.clone();
        let _ = second_transmission.set(transmission.clone());
        let under_way = CallUnderWay { request, call: second.insert(call) };
        let mut second_call = Box::pin(to_its_end(exchange.make(&gateway, under_way), transmission, &client_left));
        let ended = tokio::select! {
            biased;
            answer = &mut first_call => EndedFirst::First(answer),
            answer = &mut second_call => EndedFirst::Second(answer),
        };
        let mut turn = None;
        let (answer, ended_last, earlier_failure) = match ended {
            EndedFirst::First(Ok(answer)) => {
                drop((first_call, second_call));
                *hedge = Some(HedgeState { outcome: Hedge::Lost, cancel_reason: HEDGED });
                (Ok(answer), false, None)
            }
            EndedFirst::Second(Ok(answer)) => {
                drop((first_call, second_call));
                *hedge = Some(HedgeState { outcome: Hedge::Answered, cancel_reason: HEDGED });
                pair.go_on_with_second();
                (Ok(answer), true, None)
            }
            EndedFirst::First(Err(failure)) => {
                drop(first_call);
                match recorder.first_failed(&failure, first_slot, failed_calls, timeline) {
                    FailureEffect::End => {
                        // The second call ends with it.
                        drop(second_call);
                        *hedge = Some(HedgeState { outcome: Hedge::Unfinished, cancel_reason: failure.reason() });
                        (Err(failure), false, None)
                    }
                    effect => {
                        turn = effect.turn();
                        let answer = (&mut second_call).await;
                        drop(second_call);
                        let outcome = if answer.is_ok() { Hedge::Answered } else { Hedge::Failed };
                        *hedge = Some(HedgeState { outcome, cancel_reason: failure.reason() });
                        if let Err(failure) = &answer {
                            turn = recorder.second_failed(failure, second, failed_calls).turn().or(turn);
                        }
                        pair.go_on_with_second();
                        let earlier = answer.is_err().then_some(failure);
                        (answer, true, earlier)
                    }
                }
            }
            EndedFirst::Second(Err(failure)) => {
                drop(second_call);
                turn = recorder.second_failed(&failure, second, failed_calls).turn();
                drop(call_place);
                *hedge = Some(HedgeState { outcome: Hedge::Failed, cancel_reason: failure.reason() });
                let answer = (&mut first_call).await;
                drop(first_call);
                if let Err(failure) = &answer {
                    turn = recorder.first_failed(failure, first_slot, failed_calls, timeline).turn().or(turn);
                }
                let earlier = answer.is_err().then_some(failure);
                (answer, false, earlier)
            }
        };
        drop(pair);
        if let Some(turn) = turn {
            running.end_turn(turn);
        }
        RaceEnd::of(running, source, answer, Some(HedgeResult { at, ended_last, earlier_failure }))
    }
}

impl RaceEnd {
    fn of(
        mut running: Box<Running>,
        source: Option<RequestSource>,
        answer: Result<TargetAnswer, CallFailure>,
        second: Option<HedgeResult>,
    ) -> Self {
        if answer.is_ok() {
            running.answer_begins();
        }
        Self { running, source, answer, second }
    }
}

/// A call beside the first one of a request, before it begins.
struct HedgeStart<'b> {
    gateway: &'b Gateway,
    source: &'b RequestSource,
    request: &'b StartedRequest,
    timeline: &'b RequestTimeline,
    number: u32,
}

impl HedgeStart<'_> {
    /// Begins it at the first of these targets that may be called.
    async fn begin(
        &self,
        look: &mut LastLook,
        targets: &[Arc<PlannedTarget>],
        passed_over: &mut PassedOver,
    ) -> Option<BegunHedge> {
        let RequestSource { request, plan, .. } = self.source;
        for (at, target) in targets.iter().enumerate() {
            if self.request.is_out_of_time() {
                return None;
            }
            let why = match look.before_call(self.gateway, request, plan, target, false).await {
                Ok(()) => match self.begin_at(at, target) {
                    Ok(begun) => return Some(begun),
                    Err(why) => why,
                },
                Err(NotToBeCalled::PassedOver(why, _)) => Some(why),
                // The call that is under way goes on.
                Err(NotToBeCalled::NoLongerAllowed(_)) => return None,
            };
            if let Some(why) = why {
                passed_over.add_beside(&target.backend, why);
            }
        }
        None
    }

    /// Begins it at this target. It takes from the retry budget of the target's provider.
    ///
    /// Errors: why the target is passed over; `None` if its dialect cannot express the request.
    fn begin_at(&self, at: usize, target: &Arc<PlannedTarget>) -> Result<BegunHedge, Option<PassedOverFor>> {
        let Self { gateway, source: RequestSource { request, plan, .. }, .. } = self;
        let owner = self.request.owner;
        let call_place =
            gateway.targets.call_places.take(self.request.body_owner).map_err(|_| Some(PassedOverFor::NoRoom))?;
        let breaker = gateway.targets.breakers.begin(target, owner, IfOpen::Skip).ok_or(PassedOverFor::BreakerOpen)?;
        let limit = target.limit_in_force(&gateway.tables.load(), owner, plan.model_id(), gateway.now());
        let mut place = HeldPlace::default();
        if let Some(limit) = limit
            && !place.take(&gateway.targets.places, target.limited_to(limit), owner)
        {
            return Err(Some(PassedOverFor::NoRoom));
        }
        if !gateway.allows_retry(target, owner, Retry::Hedge) {
            return Err(Some(PassedOverFor::RetryBudget));
        }
        let Some(written) = self.source.further_body(target) else {
            gateway.retry_was_not_sent(target, owner);
            return Err(None);
        };
        let timeline = self.timeline.call_begins_beside(target);
        let mut turn = TargetTurn::begin(place, KeyAttempts::new());
        turn.observers.breaker = Some(breaker);
        let BegunCall { call, written } =
            begin_call(gateway, self.source, CallOf { target, number: self.number }, turn, timeline, written);
        let exchange = TargetCall::of(gateway, request, target, written, &self.request.id_text);
        Ok(BegunHedge { at, call, exchange, call_place })
    }
}

/// The meaning of a failed call for its request.
enum FailureEffect {
    /// Recorded as a failed call.
    Recorded(Box<TargetTurn>),
    /// Ended after its client had left, and may have been answered: it is the request's call, or the one that is left
    /// over, and its effect is unknown and not free.
    Unknown,
    /// The same as [`Self::Unknown`], and the request ends with it: its time is over, or the gateway lost the answer.
    End,
}

impl FailureEffect {
    /// The turn that it has ended.
    fn turn(self) -> Option<TargetTurn> {
        match self {
            Self::Recorded(turn) => Some(*turn),
            Self::Unknown | Self::End => None,
        }
    }
}

/// The inputs for the records of failed calls.
struct Recorder<'r> {
    gateway: &'r Gateway,
    client_left: &'r CancellationToken,
    request: &'r StartedRequest,
    meter: &'r Meter,
}

impl Recorder<'_> {
    /// The call has failed, and its place is free. It stays under way unless it is recorded as a failed one.
    fn failed(&self, failure: &CallFailure, call: &mut Option<Call>, failed_calls: &mut FailedCalls) -> FailureEffect {
        let Some(mut ended) = call.take() else { return FailureEffect::Unknown };
        let is_out_of_time = self.request.is_out_of_time();
        ended.turn.place.give_back();
        log_failure(failure, &ended.target, &ended.turn, self.request);
        if failure.is_timeout() && is_out_of_time || failure.is_lost_here() {
            *call = Some(ended);
            return FailureEffect::End;
        }
        let may_be_billed = self.client_left.is_cancelled() && !failure.was_refused() && !ended.transmission.cancel();
        if may_be_billed {
            ended.keep_what_is_known(failure);
            ended.turn.observers.failed(failure, is_out_of_time);
            *call = Some(ended);
            return FailureEffect::Unknown;
        }
        let FailedEnd { attempt, mut turn } = ended.fail(failure, self.request, self.meter);
        failed_calls.push(attempt);
        // Neither call is made again, not even with another key.
        let _ = turn.keys.failed(failure.of_key());
        turn.observers.failed(failure, is_out_of_time);
        FailureEffect::Recorded(Box::new(turn))
    }

    /// Does the same as [`Self::failed`], for the first call, which has the span.
    fn first_failed(
        &self,
        failure: &CallFailure,
        first: &mut Option<Call>,
        failed_calls: &mut FailedCalls,
        timeline: &mut RequestTimeline,
    ) -> FailureEffect {
        let effect = self.failed(failure, first, failed_calls);
        if matches!(effect, FailureEffect::Recorded(_)) {
            timeline.call_failed(failure.reason(), failure.status);
        }
        effect
    }

    /// Does the same as [`Self::failed`], for the second call. A call that was not sent takes nothing from the retry
    /// budget.
    fn second_failed(
        &self,
        failure: &CallFailure,
        second: &mut Option<Call>,
        failed_calls: &mut FailedCalls,
    ) -> FailureEffect {
        if let Some(second) = second.as_ref().filter(|_| failure.found_no_room() || failure.is_of_client_that_left()) {
            self.gateway.retry_was_not_sent(&second.target, self.request.owner);
        }
        self.failed(failure, second, failed_calls)
    }
}

/// The call to its end, whether its client waits for it or not. If the client leaves before any of it was sent, it is never sent.
async fn to_its_end(
    call: impl Future<Output = Result<TargetAnswer, CallFailure>>,
    transmission: Transmission,
    client_left: &CancellationToken,
) -> Result<TargetAnswer, CallFailure> {
    let mut call = pin!(call);
    tokio::select! {
        // Polled after that, the call would fail as if its target had.
        biased;
        () = client_left.cancelled() => {}
        answer = &mut call => return answer,
    }
    if transmission.cancel() { Err(CallFailure::of(Cause::ClientLeft)) } else { call.await }
}

/// The outcome of the second call so far.
#[derive(Clone, Copy)]
struct HedgeState {
    outcome: Hedge,
    /// Why the call that is left over is cancelled.
    cancel_reason: &'static str,
}

/// A request with its call, and a second call beside it. Dropped, it leaves the second one's record with the request: a call that has
/// neither answered nor failed is cancelled.
struct CallPair<'r> {
    gateway: &'r Gateway,
    running: &'r mut Running,
    /// The second call, or the one that is left over. `None` before it begins, and once it is recorded as failed.
    second: Option<Call>,
    /// `None` if the second call has not begun.
    hedge: Option<HedgeState>,
}

impl CallPair<'_> {
    /// The second call is the request's from here on, also if it has failed, and the first one is the one that is left over.
    fn go_on_with_second(&mut self) {
        let second = self.second.take();
        self.second = self.running.go_on_with(second);
    }
}

impl Drop for CallPair<'_> {
    fn drop(&mut self) {
        let Some(HedgeState { outcome, cancel_reason }) = self.hedge else { return };
        // Its client may have left while the first call was still under way.
        let has_failed = outcome == Hedge::Unfinished && self.second.is_none();
        let outcome = if has_failed { Hedge::Failed } else { outcome };
        self.gateway.figures.hedged(outcome);
        self.running.hedge = Some(outcome);
        let Some(left_over) = self.second.take() else { return };
        let target = Arc::clone(&left_over.target);
        if self.running.cancel(left_over, cancel_reason) && outcome != Hedge::Answered {
            self.gateway.retry_was_not_sent(&target, self.running.request.owner);
        }
    }
}

/// A race while its client waits for it. Dropped, it is handed over to [`crate::inference::node::abandoned::AbandonedCalls`], unless nothing of it was
/// sent.
struct AwaitedRace {
    race: Option<Pin<Box<dyn Future<Output = RaceEnd> + Send>>>,
    gateway: Arc<Gateway>,
    owner: Owner,
    first_transmission: Transmission,
    second_transmission: Arc<OnceLock<Transmission>>,
    client_left: CancellationToken,
}

impl Future for AwaitedRace {
    type Output = RaceEnd;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<RaceEnd> {
        let Some(race) = &mut self.race else { return Poll::Pending };
        let ended = ready!(race.as_mut().poll(context));
        self.race = None;
        Poll::Ready(ended)
    }
}

impl Drop for AwaitedRace {
    fn drop(&mut self) {
        let Some(race) = self.race.take() else { return };
        let is_first_unsent = self.first_transmission.cancel();
        let is_second_unsent = self.second_transmission.get().is_none_or(Transmission::cancel);
        if is_first_unsent && is_second_unsent {
            return;
        }
        self.client_left.cancel();
        let count = GaugeGuard::of(&self.gateway.figures.abandoned_calls);
        let to_its_end = async move {
            let RaceEnd { running, answer, .. } = race.await;
            match answer {
                Ok(TargetAnswer::Whole(held)) => running.end_abandoned(Ok(held.answer)),
                Ok(TargetAnswer::Streamed(_)) => running.give_up(CLIENT_CLOSED),
                Err(failure) => running.end_abandoned(Err(failure)),
            }
        };
        self.gateway.background.abandoned.spawn(self.owner, count, to_its_end);
    }
}
