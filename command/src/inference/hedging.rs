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

use dialects::WrittenBody;
use events::event::inference::{CLIENT_CLOSED, HEDGED, Hedge};
use events::routing::PassedOverFor;
use projections::figures::GaugeGuard;
use provider_client::{Owner, Transmission};
use tokio_util::sync::CancellationToken;

use super::breakers::IfOpen;
use super::failure::{CallFailure, Cause};
use super::gateway::Gateway;
use super::last_look::{LastLook, NotToBeCalled};
use super::request_source::RequestSource;
use super::retry_budget::Retry;
use super::running::Running;
use super::target::PlannedTarget;
use super::target_call::{TargetAnswer, TargetCall, WrittenCall, log_failure};

/// The hedge that a first call may have, and what came of it.
pub struct AllowedHedge<'t> {
    pub after: Duration,
    /// The targets that come after the first one, in their order.
    pub others: &'t [Arc<PlannedTarget>],
    /// The second call; `None` if there was none.
    pub second: Option<SecondCall>,
}

/// A second call of a request, which has ended or has answered.
pub struct SecondCall {
    /// Its target's place among the others.
    pub at: usize,
    /// Whether the result of both is its own: it has answered first, or failed last.
    pub ended_last: bool,
    /// If both calls have failed, the failure of the one that failed first.
    pub earlier_failure: Option<CallFailure>,
}

/// Makes the call that `running` has begun, with a hedge if it takes too long. A failure without a second call is still to be recorded;
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
    let (owner, transmission) = (running.request.owner, running.call.transmission.clone());
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
            first_transmission: transmission,
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
    second: Option<SecondCall>,
}

/// The first event in the time in which the first call is alone.
enum Alone {
    Ended(Box<Result<TargetAnswer, CallFailure>>),
    ClientLeft,
    /// Its time is over, and a second call has begun at this place among the others; `None` if none could be called.
    TimeOver(Option<(usize, TargetCall)>),
}

/// The call that has ended first.
enum EndedFirst {
    First(Result<TargetAnswer, CallFailure>),
    Second(Result<TargetAnswer, CallFailure>),
}

impl Race {
    async fn run(self, mut running: Box<Running>) -> RaceEnd {
        let Self { gateway, mut source, mut look, first, others, after, client_left, second_transmission } = self;
        let request_id = Arc::clone(&running.request.id_text);
        let first_target = Arc::clone(&first.target);
        let mut pair = CallPair::of(&gateway, &mut running);
        let CallPair { first: one, second: two, hedge, .. } = &mut pair;
        let recorder = Recorder { gateway: &gateway, request_id: &request_id, client_left: &client_left };
        let transmission = one.call.transmission.clone();
        let mut first_call = Box::pin(to_its_end(first.make(&gateway, &request_id, one), transmission, &client_left));
        let hedged = async {
            tokio::time::sleep(after).await;
            begin_second(&gateway, source.as_ref()?, &mut look, &others, &request_id, two).await
        };
        let alone = tokio::select! {
            biased;
            answer = &mut first_call => Alone::Ended(Box::new(answer)),
            () = client_left.cancelled() => Alone::ClientLeft,
            begun = hedged => Alone::TimeOver(begun),
        };
        let (begun, answer) = match alone {
            Alone::Ended(answer) => (None, Some(*answer)),
            Alone::ClientLeft => {
                source = None;
                (None, None)
            }
            Alone::TimeOver(begun) => {
                if begun.is_none() {
                    gateway.figures.hedge_was_not_called();
                }
                (begun, None)
            }
        };
        let Some((at, second)) = begun else {
            let answer = match answer {
                Some(answer) => answer,
                None => (&mut first_call).await,
            };
            drop(first_call);
            drop(pair);
            return RaceEnd { running, source, answer, second: None };
        };
        // As long as neither has answered.
        *hedge = Some((Hedge::Unfinished, CLIENT_CLOSED));
        // It is empty: a race has one second call.
        let transmission = two.call.transmission.clone();
        let _ = second_transmission.set(transmission.clone());
        let second_target = Arc::clone(&second.target);
        let mut second_call = Box::pin(to_its_end(second.make(&gateway, &request_id, two), transmission, &client_left));
        let ended = tokio::select! {
            biased;
            answer = &mut first_call => EndedFirst::First(answer),
            answer = &mut second_call => EndedFirst::Second(answer),
        };
        let (answer, ended_last, earlier_failure) = match ended {
            EndedFirst::First(Ok(answer)) => {
                drop((first_call, second_call));
                *hedge = Some((Hedge::Lost, HEDGED));
                (Ok(answer), false, None)
            }
            EndedFirst::Second(Ok(answer)) => {
                drop((first_call, second_call));
                *hedge = Some((Hedge::Answered, HEDGED));
                pair.go_on_with_second();
                (Ok(answer), true, None)
            }
            EndedFirst::First(Err(failure)) => {
                drop(first_call);
                let failed_as = recorder.failed(&failure, &first_target, one);
                if failed_as == FailedAs::End {
                    // The second call ends with it.
                    drop(second_call);
                    *hedge = Some((Hedge::Unfinished, failure.reason()));
                    (Err(failure), false, None)
                } else {
                    let answer = (&mut second_call).await;
                    drop(second_call);
                    let outcome = if answer.is_ok() { Hedge::Answered } else { Hedge::Failed };
                    *hedge = Some((outcome, failure.reason()));
                    if let Err(failure) = &answer {
                        recorder.second_failed(failure, &second_target, two);
                    }
                    pair.go_on_with_second();
                    let earlier = answer.is_err().then_some(failure);
                    (answer, true, earlier)
                }
            }
            EndedFirst::Second(Err(failure)) => {
                drop(second_call);
                recorder.second_failed(&failure, &second_target, two);
                two.give_call_place_back();
                *hedge = Some((Hedge::Failed, failure.reason()));
                let answer = (&mut first_call).await;
                drop(first_call);
                if let Err(failure) = &answer {
                    recorder.failed(failure, &first_target, one);
                }
                let earlier = answer.is_err().then_some(failure);
                (answer, false, earlier)
            }
        };
        drop(pair);
        RaceEnd { running, source, answer, second: Some(SecondCall { at, ended_last, earlier_failure }) }
    }
}

/// Begins the second call at the first target that may be called, and returns its place with the call.
async fn begin_second(
    gateway: &Gateway,
    source: &RequestSource,
    look: &mut LastLook,
    others: &[Arc<PlannedTarget>],
    request_id: &str,
    second: &mut Running,
) -> Option<(usize, TargetCall)> {
    for (at, target) in others.iter().enumerate() {
        if second.is_out_of_time() {
            return None;
        }
        let why = match look.before_call(gateway, &source.request, &source.plan, target, false).await {
            Ok(()) => match begin_second_at(gateway, source, target, request_id, second) {
                Ok(call) => return Some((at, call)),
                Err(why) => {
                    second.give_call_place_back();
                    why
                }
            },
            Err(NotToBeCalled::PassedOver(why, _)) => Some(why),
            // The call that is under way goes on.
            Err(NotToBeCalled::NoLongerAllowed(_)) => return None,
        };
        if let Some(why) = why {
            second.passed_over.add(&target.backend, why);
        }
    }
    None
}

/// Begins the second call at this target. It takes from the retry budget of the target's provider.
///
/// Errors: why the target is passed over; `None` if its dialect cannot express the request.
fn begin_second_at(
    gateway: &Gateway,
    source: &RequestSource,
    target: &Arc<PlannedTarget>,
    request_id: &str,
    second: &mut Running,
) -> Result<TargetCall, Option<PassedOverFor>> {
    if !second.takes_call_place(&gateway.calls) {
        return Err(Some(PassedOverFor::NoRoom));
    }
    let owner = second.request.owner;
    let breaker = gateway.breakers.begin(target, owner, IfOpen::Skip).ok_or(PassedOverFor::BreakerOpen)?;
    let limit = target.limit_in_force(&gateway.tables.load(), owner, source.plan.model_id(), gateway.now());
    if let Some(limit) = limit
        && !second.place.take(&gateway.places, target.limited_to(limit), owner)
    {
        return Err(Some(PassedOverFor::NoRoom));
    }
    if !gateway.allows_retry(target, owner, Retry::Hedge) {
        second.place.give_back();
        return Err(Some(PassedOverFor::RetryBudget));
    }
    let Some(WrittenBody { bytes, ignored, calls }) = source.further_body(target) else {
        second.place.give_back();
        gateway.retry_was_not_sent(target, owner);
        return Err(None);
    };
    let request = &source.request;
    gateway.figures.ignored.count(target.kind, &ignored);
    second.call.observers.breaker = Some(breaker);
    second.call_begins(&gateway.health, target, request, &ignored);
    second.call.cost_bound = source.plan.share_of_hold(request, target);
    if source.plan.is_measured {
        let figures = gateway.observed.begin(target.backend.provider_id, &target.backend.model);
        second.call.observers.figures = Some(figures);
    }
    Ok(TargetCall::of(gateway, request, target, WrittenCall { body: bytes, kept_calls: calls }, request_id))
}

/// The meaning of a failed call for its request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FailedAs {
    /// Recorded as a failed call.
    Recorded,
    /// Ended after its client had left, and may have been answered: it is the request's call, or the one that is left
    /// over, and its effect is unknown and not free.
    Unknown,
    /// The same as [`Self::Unknown`], and the request ends with it: its time is over, or the gateway lost the answer.
    End,
}

/// The inputs for the records of failed calls.
struct Recorder<'r> {
    gateway: &'r Gateway,
    request_id: &'r str,
    client_left: &'r CancellationToken,
}

impl Recorder<'_> {
    /// The call has failed, and its place is free.
    fn failed(&self, failure: &CallFailure, target: &PlannedTarget, running: &mut Running) -> FailedAs {
        running.place.give_back();
        log_failure(failure, target, self.request_id, running);
        if failure.is_timeout() && running.is_out_of_time() || failure.is_lost_here() {
            return FailedAs::End;
        }
        let may_be_billed =
            self.client_left.is_cancelled() && !failure.was_refused() && !running.call.transmission.cancel();
        if may_be_billed {
            running.keep_what_is_known(failure);
            running.judge(failure);
            return FailedAs::Unknown;
        }
        running.call_failed(failure);
        // Neither call is made again, not even with another key.
        let _ = running.call.keys.failed(failure.of_key());
        running.judge(failure);
        FailedAs::Recorded
    }

    /// Does the same as [`Self::failed`], for the second call. A call that was not sent takes nothing from the retry
    /// budget.
    fn second_failed(&self, failure: &CallFailure, target: &PlannedTarget, second: &mut Running) -> FailedAs {
        if failure.found_no_room() || failure.is_of_client_that_left() {
            self.gateway.retry_was_not_sent(target, second.request.owner);
        }
        self.failed(failure, target, second)
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

/// A request with its call, and a second call beside it. Dropped, it leaves the second one's record with the request: a call that has
/// neither answered nor failed is cancelled.
struct CallPair<'r> {
    gateway: &'r Gateway,
    first: &'r mut Running,
    second: Box<Running>,
    /// The outcome of the second call, with the reason for which the call that is left over is cancelled; `None` if it
    /// has not begun.
    hedge: Option<(Hedge, &'static str)>,
}

impl<'r> CallPair<'r> {
    fn of(gateway: &'r Gateway, first: &'r mut Running) -> Self {
        let second = first.beside();
        Self { gateway, first, second, hedge: None }
    }

    /// The second call is the request's from here on, and the first one is the one that is left over.
    fn go_on_with_second(&mut self) {
        self.first.swap_calls(&mut self.second);
    }
}

impl Drop for CallPair<'_> {
    fn drop(&mut self) {
        self.first.passed_over.absorb(&mut self.second.passed_over);
        let Some((mut hedge, reason)) = self.hedge else { return };
        // Its client has left while the first call was still under way.
        if hedge == Hedge::Unfinished && self.second.has_failed() {
            hedge = Hedge::Failed;
        }
        self.gateway.figures.hedged(hedge);
        self.first.hedge = Some(hedge);
        let unsent = self.first.absorb(&mut self.second, reason);
        if let Some(target) = unsent.filter(|_| hedge != Hedge::Answered) {
            self.gateway.retry_was_not_sent(&target, self.first.request.owner);
        }
    }
}

/// A race while its client waits for it. Dropped, it is handed over to [`super::abandoned::AbandonedCalls`], unless nothing of it was
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
                Ok(TargetAnswer::Streamed { .. }) => running.give_up(CLIENT_CLOSED),
                Err(failure) => running.end_abandoned(Err(failure)),
            }
        };
        self.gateway.abandoned.spawn(self.owner, count, to_its_end);
    }
}
