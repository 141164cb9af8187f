//! An admitted request, from its hold until its end is in the log.
//!
//! It guarantees that every hold ends, and ends once. [`Running::complete`], [`Running::fail`], [`Running::give_up`],
//! [`Running::end_left`] and [`Running::end_abandoned`] each consume the request; `Drop` covers every other way out, such as a
//! client that has gone or a task that was cancelled. Each takes the hold out of its `Option` first, so that a second end finds none.
//!
//! The first two wait for the ledger, because a client waits for their outcome. The others hand the end to the log's
//! writer and return: nobody is left to tell, and `Drop` cannot wait.
//!
//! It charges what is known to have been consumed: the provider's report if it is plausible, otherwise what went through,
//! otherwise what the policy for unknown usage says. A call that never left the gateway costs nothing. It does not choose
//! targets, retry or render: those are `dispatch` and `stream`.
//!
//! The failed calls of a request are recorded with its end, and cost what their providers had reported (`failed_calls.rs`). If
//! the client of a non-streaming response disconnects when the upstream may have seen the request, the call continues without
//! the client, and what the provider reports is settled (`whole.rs`, `abandoned.rs`). A stream is read on for a short time
//! (`stream.rs`). A request whose first target is slow may have two [`Call`]s at a time (`hedging.rs`): it goes on with one of them, and
//! the other one is cancelled and recorded among those that failed.
//!
//! An end that could not be made durable is kept and retried, and recorded as failed, because its client was told so. A process
//! that dies leaves holds behind; the sweeper expires them after their deadline, which is later than that of any request.
//! Figures that arrive after that are recorded as a signed `budget.adjusted`. A settled request is corrected in the same way if
//! the price that it was charged by is corrected (`command::revaluation`).

mod call;
pub mod call_observers;
mod end;
pub mod failed_calls;
pub mod measured;
pub mod passed_over;
mod provider_usage;
mod started_request;

use std::sync::Arc;
use std::time::Duration;

use access_control::limits::RateLimitPermit;
use bytes::Bytes;
use dialects::{ClientRequest, FinishReason, Metered, Receipt, WholeAnswer};
use events::content::ContentPart;
use events::event::Recorded;
use events::event::inference::{CLIENT_CLOSED, Hedge};
use events::ledger::{Charge, Outcome};
use events::money::NanoUsd;
use events::refusal::{ErrorCode, Refusal};
use events_log::{LogError, OpenHold};

use crate::figures::Stage;
use crate::inference::keys::provider_keys::KeyAttempts;
use crate::inference::node::content::RequestContent;
use crate::inference::node::copies::AfterServed;
use crate::inference::node::gateway::Gateway;
use crate::inference::planned::plan::Plan;
use crate::inference::received::RequestState;
use crate::inference::received::timeline::RequestTimeline;
use crate::inference::targets::target::PlannedTarget;
use crate::inference::targets::target_places::HeldPlace;
use crate::inference::targets::upstream_calls::CallPlace;
use crate::inference::upstream::failure::{CallFailure, Cause};
pub use call::{Call, CallUnderWay, FailedEnd, NewCall, TargetTurn};
use failed_calls::FailedCalls;
use measured::{Measured, Meter};
use passed_over::PassedOver;
pub use started_request::StartedRequest;

use end::LastCall;

/// A client that leaves after so long without a token has waited for the target.
const LONG_WAIT: Duration = Duration::from_secs(10);

/// A completed request whose settlement is durable.
pub struct Settled {
    pub request_id: Arc<str>,
    pub model: String,
    pub target: Arc<PlannedTarget>,
    pub measured: Measured,
    pub finish_reason: FinishReason,
    pub admitted_position: u64,
    pub settled_position: u64,
    /// The settlement, if it was recorded just now.
    pub settlement: Option<Arc<Recorded>>,
    pub held: NanoUsd,
    /// The part of the request that the answer repeats.
    pub echo: Bytes,
    /// Counts the request as being answered until it is dropped.
    pub permit: RateLimitPermit,
}

impl Settled {
    pub fn receipt(&self) -> Receipt<'_> {
        Receipt {
            request_id: &self.request_id,
            frontend_model: &self.model,
            provider: &self.target.backend.provider,
            backend_model: &self.target.backend.model,
            usage: &self.measured.usage,
            cost_usd: self.measured.cost,
            price_version: self.target.price_version,
            admitted_position: self.admitted_position,
            settled_position: self.settled_position,
            held_usd: self.held,
            finish_reason: self.finish_reason,
            echo: &self.echo,
        }
    }
}

pub struct Running {
    pub request: StartedRequest,
    /// `None` once it has ended.
    hold: Option<OpenHold>,
    /// Dropped before the last byte leaves, so that a client that has read it finds its place free.
    permit: RateLimitPermit,
    /// Its place among all calls, until it has ended.
    _call_place: Option<CallPlace>,
    pub meter: Meter,
    pub failed_calls: FailedCalls,
    /// The call that is under way or has answered, or whose effect is unknown. `None` before the first one, and once one is recorded as
    /// failed.
    pub call: Option<Call>,
    /// How many calls it has made.
    pub calls: u32,
    /// The keys that it was sent with in the turns before.
    keys: KeyAttempts,
    /// The outcome of its hedge.
    pub hedge: Option<Hedge>,
    /// How long it has waited for places at targets; `None` if it did not.
    queued: Option<Duration>,
    /// The targets that were not called when it was their turn.
    pub passed_over: PassedOver,
    content_lost: Vec<ContentPart>,
    /// The function run once its answer is complete and settled; nothing otherwise.
    pub after_served: Option<AfterServed>,
    pub timeline: RequestTimeline,
}

impl Running {
    pub fn new(
        gateway: &Gateway,
        hold: OpenHold,
        state: RequestState,
        plan: &Plan,
        request: &ClientRequest,
        content: RequestContent,
        content_lost: Option<ContentPart>,
    ) -> Box<Self> {
        Box::new(Self {
            request: StartedRequest::new(gateway, &hold, plan, request, content, &state.timeline),
            hold: Some(hold),
            permit: state.permit,
            _call_place: state.call_place,
            meter: Meter::new(plan, &request.facts, gateway.log.unknown_usage()),
            failed_calls: FailedCalls::default(),
            call: None,
            calls: 0,
            keys: KeyAttempts::new(),
            hedge: None,
            queued: None,
            passed_over: PassedOver::default(),
            content_lost: content_lost.into_iter().collect(),
            after_served: None,
            timeline: state.timeline,
        })
    }

    /// Keeps the text of the answer before its end is recorded, which says if it is lost.
    fn keep_answer(&mut self, hold: &OpenHold, metered: Option<&Metered>) {
        let lost = metered.and_then(|metered| self.request.content.keep_answer(hold.admitted_at, metered));
        self.content_lost.extend(lost);
    }

    /// True if a call has begun, so that something may have been sent to a provider.
    pub const fn has_called(&self) -> bool {
        self.calls > 0
    }

    /// Whether a target may have got the request by a call that failed, also if it was called again in vain.
    pub const fn may_have_been_sent(&self) -> bool {
        self.failed_calls.may_have_been_sent()
    }

    /// Adds a wait for a place, if there was one.
    pub fn has_queued(&mut self, waited: Option<Duration>) {
        if let Some(waited) = waited {
            self.queued = Some(self.queued.unwrap_or_default().saturating_add(waited));
        }
    }

    pub const fn has_waited_for_place(&self) -> bool {
        self.queued.is_some()
    }

    /// Begins the turn of a target. The keys go from each turn to the next one.
    pub fn begin_turn(&mut self, place: HeldPlace) -> TargetTurn {
        TargetTurn::begin(place, std::mem::replace(&mut self.keys, KeyAttempts::new()))
    }

    /// The turn has brought no answer.
    pub fn end_turn(&mut self, turn: TargetTurn) {
        self.keys = turn.keys;
    }

    /// The call that is under way, or has answered.
    ///
    /// Errors: there is none.
    pub fn under_way(&mut self) -> Result<CallUnderWay<'_>, CallFailure> {
        let Self { request, call, .. } = self;
        let call = call.as_mut().ok_or_else(|| CallFailure::of(Cause::Untranslatable))?;
        Ok(CallUnderWay { request, call })
    }

    /// Records a failed call, and returns the turn of its target.
    pub fn call_failed(&mut self, call: Call, failure: &CallFailure) -> TargetTurn {
        self.timeline.call_failed(failure.reason(), failure.status);
        let FailedEnd { attempt, turn } = call.fail(failure, &self.request, &self.meter);
        self.failed_calls.push(attempt);
        turn
    }

    /// Tells the observers of the call that is under way of its failure.
    pub fn judge(&mut self, failure: &CallFailure) {
        if let Some(call) = &mut self.call {
            call.turn.observers.failed(failure, self.request.is_out_of_time());
        }
    }

    /// The first part of the answer has arrived.
    pub fn answer_begins(&mut self) {
        self.timeline.answer_begins();
    }

    /// Goes on with a call that was made beside its own; `None` if that has failed. Returns its own, if that was not recorded as failed.
    pub fn go_on_with(&mut self, call: Option<Call>) -> Option<Call> {
        self.timeline.go_on_with(call.as_ref().map(|call| &call.timeline));
        std::mem::replace(&mut self.call, call)
    }

    /// Cancels a call that the request does not go on with, and records it. Returns whether nothing of it had been sent.
    pub fn cancel(&mut self, call: Call, reason: &str) -> bool {
        let held = self.hold.as_ref().map_or(NanoUsd::ZERO, |hold| held_for(hold, &call.target));
        let cancelled = call.cancel(reason, held, &self.request, &self.meter);
        let is_unsent = !cancelled.may_have_been_sent;
        self.failed_calls.push(cancelled);
        is_unsent
    }

    /// Settles what the answer cost. The settlement is durable when this returns.
    pub async fn complete(mut self: Box<Self>, metered: &Metered) -> Result<Settled, LogError> {
        let (Some(mut hold), Some(mut call)) = (self.hold.take(), self.call.take()) else {
            return Err(LogError::Closed);
        };
        call.timeline.ended();
        self.timeline.call_ends(None);
        let mut measured = self.meter.measure(call.target.usage_terms(), metered, call.bound(hold.held));
        call.turn.observers.answered(measured.usage.tokens.output());
        self.settle_rate_limits(&measured, &mut call);
        call.turn.place.give_back();
        measured.cost = self.cost_with_failed_calls(&measured, hold.held);
        hold.own_charge = self.own_charge(&hold, Some(call.payer()), Some(&measured), measured.cost);
        let finish_reason = metered.finish_reason.unwrap_or(FinishReason::Stop);
        self.keep_answer(&hold, Some(metered));
        let last = LastCall::of_sent(&call);
        let ended = self.ended(&hold, last, Some(metered), Some(&measured), measured.cost, finish_reason);
        self.timeline.record_end(&ended, Some(metered), Some(call.timeline.provider_name));
        let target = Arc::clone(&call.target);
        drop(call);
        let (model, held) = (hold.model.clone(), hold.held);
        let attempts = self.failed_calls.take();
        let settled = hold.end(attempts, Outcome::Completed(Box::new(ended)), Charge::Settle(measured.cost)).await;
        let settled = settled.inspect_err(|_| self.timeline.set_error(ErrorCode::LedgerUnavailable))?;
        self.timeline.end_stage(Stage::Settle);
        self.timeline.served();
        if let Some(after_served) = self.after_served.take() {
            after_served();
        }
        let settled_position = settled.position;
        let permit = std::mem::take(&mut self.permit);
        Ok(Settled {
            request_id: Arc::clone(&self.request.id_text),
            model,
            target,
            measured,
            finish_reason,
            admitted_position: self.request.admitted_position,
            settled_position,
            settlement: settled.event,
            held,
            echo: std::mem::take(&mut self.request.echo),
            permit,
        })
    }

    /// Records the failure and returns its log position. What a call that is still under way may have consumed is charged.
    pub async fn fail(mut self: Box<Self>, refusal: &Refusal, reason: &str) -> Result<u64, LogError> {
        let Some(mut hold) = self.hold.take() else { return Err(LogError::Closed) };
        let metered = self.streamed_so_far().or_else(|| self.call.as_mut().and_then(Call::take_failed_answer));
        let code = Some(refusal.code.as_str());
        let (ended, charge) = self.end_incomplete(&mut hold, metered.as_ref(), FinishReason::Error, code, reason);
        let attempts = self.failed_calls.take();
        let position = hold.end(attempts, Outcome::Failed(ended), charge).await?.position;
        self.timeline.end_stage(Stage::Settle);
        Ok(position)
    }

    /// Ends a request whose answer nobody takes any more. What went through is counted, and settled as soon as the ledger
    /// can.
    pub fn give_up(mut self: Box<Self>, reason: &'static str) {
        let metered = self.streamed_so_far();
        self.abort(reason, metered.as_ref());
    }

    /// Ends a request whose client left during a stream that was read to its end without it: what the provider reports is charged.
    pub fn end_left(mut self: Box<Self>) {
        let relay = self.call.as_mut().and_then(|call| call.relay.take());
        if let Some(relay) = relay {
            self.end_answered(&relay.metered());
        }
    }

    /// Ends a request whose answer is complete, and whose client has left.
    fn end_answered(&mut self, metered: &Metered) {
        if let Some(call) = &mut self.call {
            let measured = self.meter.measure(call.target.usage_terms(), metered, NanoUsd::ZERO);
            call.turn.observers.answered(measured.usage.tokens.output());
        }
        self.meter.answer_is_complete();
        self.abort(CLIENT_CLOSED, Some(metered));
    }

    /// Ends a request whose client left during the call for a whole answer, which ran to its end without it: what the
    /// provider reports is charged.
    pub fn end_abandoned(mut self: Box<Self>, answer: Result<WholeAnswer, CallFailure>) {
        match answer {
            Ok(answer) => self.end_answered(&answer.metered),
            Err(failure) => self.end_abandoned_in_vain(&failure),
        }
    }

    fn end_abandoned_in_vain(&mut self, failure: &CallFailure) {
        self.warn_of_abandoned(failure);
        self.judge(failure);
        if failure.was_refused()
            && let Some(call) = self.call.take()
        {
            self.call_failed(call, failure);
        }
        let answer = self.call.as_mut().and_then(|call| {
            call.keep_what_is_known(failure);
            call.take_failed_answer()
        });
        self.abort(CLIENT_CLOSED, answer.as_ref());
    }

    /// The failure of a provider that is known to fail is no news.
    fn warn_of_abandoned(&self, failure: &CallFailure) {
        let backend = self.call.as_ref().map(|call| &*call.target.name);
        let (request_id, trace_id) = (&*self.request.id_text, self.request.trace_id.map(tracing::field::display));
        let (reason, status) = (failure.reason(), failure.status);
        let message = "a call to an upstream failed after its client had left";
        if self.call.as_ref().is_some_and(|call| call.turn.observers.know_of_failing_provider()) {
            tracing::debug!(request_id, trace_id, backend, reason, status, "{message}");
        } else {
            tracing::warn!(request_id, trace_id, backend, reason, status, "{message}");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let metered = self.streamed_so_far();
        self.abort(CLIENT_CLOSED, metered.as_ref());
    }
}

/// The amount that is held for calls to a target: of one that is not the tenant's own, what is held above the tenant.
fn held_for(hold: &OpenHold, target: &PlannedTarget) -> NanoUsd {
    hold.brokered_held.filter(|_| !target.is_own()).unwrap_or(hold.held)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
