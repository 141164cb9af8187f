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
//! (`stream.rs`). A request whose first target is slow may
//! have two calls at a time (`hedging.rs`). The second one is a [`Running`] without a hold: it ends nothing, and when one of the
//! two has answered, failed or lost its client, its record goes to the [`Running`] that has the hold.
//!
//! An end that could not be made durable is kept and retried, and recorded as failed, because its client was told so. A process
//! that dies leaves holds behind; the sweeper expires them after their deadline, which is later than that of any request.
//! Figures that arrive after that are recorded as a signed `budget.adjusted`. A settled request is corrected in the same way if
//! the price that it was charged by is corrected (`command::revaluation`).

mod call_under_way;
mod end;
mod second_call;
mod started_request;

use std::sync::Arc;
use std::time::Duration;

use access_control::limits::RateLimitPermit;
use bytes::Bytes;
use dialects::{ClientRequest, FinishReason, Ignored, Metered, Receipt, WholeAnswer};
use events::content::{AnswerText, ContentPart};
use events::event::Recorded;
use events::event::inference::{AttemptFailed, CLIENT_CLOSED, Hedge, Payer, ReportedByFailedCall};
use events::ledger::{Charge, Outcome};
use events::money::NanoUsd;
use events::refusal::{ErrorCode, Refusal};
use events::usage::UsageSource;
use events_log::{LogError, OpenHold};

use super::content::RequestContent;
use super::copies::AfterServed;
use super::failed_calls::FailedCalls;
use super::failure::CallFailure;
use super::gateway::Gateway;
use super::health::ProviderHealth;
use super::measured::{Measured, Meter};
use super::passed_over::PassedOver;
use super::plan::Plan;
use super::target::PlannedTarget;
use super::target_places::HeldPlace;
use super::timeline::RequestTimeline;
use super::too_much::TooMuch;
use super::upstream_calls::CallPlace;
use crate::figures::Stage;
use call_under_way::CallUnderWay;
use end::provider_usage;
use started_request::StartedRequest;

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

/// A request without a hold: its permit under the rate limits, and its timeline so far.
pub struct UnheldRequest {
    pub permit: RateLimitPermit,
    pub timeline: RequestTimeline,
    /// `None` until its body has arrived.
    pub call_place: Option<CallPlace>,
}

pub struct Running {
    pub request: StartedRequest,
    /// `None` once it has ended, and for a second call beside that of a request.
    hold: Option<OpenHold>,
    /// Dropped before the last byte leaves, so that a client that has read it finds its place free.
    permit: RateLimitPermit,
    /// `None` for a second call that has not begun.
    call_place: Option<CallPlace>,
    meter: Meter,
    failed_calls: FailedCalls,
    /// The call that is under way, or the last one.
    pub call: CallUnderWay,
    calls: u32,
    /// The outcome of its hedge.
    pub hedge: Option<Hedge>,
    /// At the target of the call that is under way.
    pub place: HeldPlace,
    /// The targets that were not called when it was their turn.
    pub passed_over: PassedOver,
    /// The kept content; what of it is lost is in `content_lost`.
    content: RequestContent,
    content_lost: Vec<ContentPart>,
    /// The function run once its answer is complete and settled; nothing otherwise.
    pub after_served: Option<AfterServed>,
    pub timeline: RequestTimeline,
}

impl Running {
    pub fn new(
        gateway: &Gateway,
        hold: OpenHold,
        unheld: UnheldRequest,
        plan: &Plan,
        request: &ClientRequest,
        content: RequestContent,
        content_lost: Option<ContentPart>,
    ) -> Box<Self> {
        Box::new(Self {
            request: StartedRequest::new(gateway, &hold, plan, request),
            hold: Some(hold),
            permit: unheld.permit,
            call_place: unheld.call_place,
            meter: Meter::new(plan, &request.facts, gateway.log.unknown_usage()),
            failed_calls: FailedCalls::default(),
            call: CallUnderWay::none(),
            calls: 0,
            hedge: None,
            place: HeldPlace::default(),
            passed_over: PassedOver::default(),
            content,
            content_lost: content_lost.into_iter().collect(),
            after_served: None,
            timeline: unheld.timeline,
        })
    }

    /// Returns the collector of the next answer's text; `None` if no text is kept.
    pub fn answer_text(&self) -> Option<Box<AnswerText>> {
        self.content.answer_text()
    }

    /// Keeps the text of the answer before its end is recorded, which says if it is lost.
    fn keep_answer(&mut self, hold: &OpenHold, metered: Option<&Metered>) {
        let lost = metered.and_then(|metered| self.content.keep_answer(hold.admitted_at, metered));
        self.content_lost.extend(lost);
    }

    pub fn is_out_of_time(&self) -> bool {
        self.is_out_of_time_after(Duration::ZERO)
    }

    /// Whether its time is over when it has waited for so long.
    pub fn is_out_of_time_after(&self, wait: Duration) -> bool {
        tokio::time::Instant::now() + wait >= self.request.deadline
    }

    /// The target of the call that is under way.
    pub fn target(&self) -> Option<&PlannedTarget> {
        self.call.target.as_deref()
    }

    /// True if a call has begun, so that something may have been sent to a provider.
    pub const fn has_called(&self) -> bool {
        self.calls > 0
    }

    /// Whether a target may have got the request by a call that failed, also if it was called again in vain.
    pub const fn may_have_been_sent(&self) -> bool {
        self.failed_calls.may_have_been_sent()
    }

    pub fn call_begins(
        &mut self,
        health: &ProviderHealth,
        target: &Arc<PlannedTarget>,
        request: &ClientRequest,
        ignored: &Ignored,
    ) {
        self.calls += 1;
        let began = self.timeline.call_begins(target);
        self.call.begin(self.calls, began, target, request, ignored);
        self.call.observers.health = health.begin(target, began);
    }

    /// Keeps the usage that a failed whole answer reports, for [`Running::call_failed`].
    pub fn answer_failed(&mut self, metered: Box<Metered>) {
        self.call.failed_answer = Some(metered);
    }

    /// Has the input counted if that is all that an answer costs: one of vectors. It was read in full, or there would not
    /// be more of them than the gateway takes.
    pub fn asked_too_much(&mut self, too_much: TooMuch) {
        self.call.failed_answer = (too_much == TooMuch::Vectors).then(Box::default);
    }

    /// Records a failed call. It costs what its provider has reported so far, and nothing without a report: the provider
    /// did no work for this request, or does not say so.
    pub fn call_failed(&mut self, failure: &CallFailure) {
        self.timeline.call_failed(failure.reason(), failure.status);
        // A time limit can be over before the connection is made.
        let ended_unsent = failure.is_timeout() && self.call.transmission.cancel();
        if failure.may_have_been_sent() && !ended_unsent {
            self.failed_calls.mark_sent();
        }
        let Some(target) = self.call.target.take() else { return };
        let streamed = self.call.relay.take().map(|relay| Box::new(relay.metered()));
        let reported = match streamed.or_else(|| self.call.failed_answer.take()) {
            Some(metered) => self.reported_by_failed_call(&target, &metered),
            None => ReportedByFailedCall::default(),
        };
        let backend = self.call.backend_of(&target);
        self.call.backend = Some(backend.clone());
        let attempt = AttemptFailed {
            backend,
            attempt: self.call.number,
            reason: failure.reason().to_owned(),
            status: failure.status,
            upstream_code: failure.upstream_code().map(str::to_owned),
            latency_ms: millis(self.call.began.elapsed()),
            reported,
        };
        self.failed_calls.push(attempt, Payer::of(&target.provider));
    }

    /// Keeps of a whole answer that failed after its client had left what is known. Reported usage is, however the call ended, and so is
    /// the input of an answer that was lost here.
    pub fn keep_what_is_known(&mut self, failure: &CallFailure) {
        self.call.failed_answer.take_if(|answer| !answer.has_report() && !failure.is_lost_here());
    }

    /// Tells the observers of a failure of the called target.
    pub fn judge(&mut self, failure: &CallFailure) {
        self.call.observers.failed(failure, self.is_out_of_time(), self.call.began.elapsed());
    }

    /// The estimate of the prompt's tokens.
    pub const fn prompt_tokens_estimate(&self) -> u64 {
        self.meter.prompt_tokens_estimate()
    }

    fn reported_by_failed_call(&mut self, target: &PlannedTarget, metered: &Metered) -> ReportedByFailedCall {
        let Some(measured) = self.meter.measure_failed(target.usage_terms(), metered) else {
            return ReportedByFailedCall::default();
        };
        let message = "a failed call reported implausible usage, which is not charged";
        self.warn_of_implausible_usage(&measured, target, message);
        ReportedByFailedCall {
            price_version: (measured.usage.source == UsageSource::Provider).then_some(target.price_version),
            usage: Some(measured.usage),
            provider_usage: provider_usage(metered),
            cost_usd: Some(measured.cost),
        }
    }

    pub fn answered_by(&mut self, upstream_request_id: Option<String>) {
        self.call.upstream_request_id = upstream_request_id;
        if let (Some(took), Some(measured_call)) = (self.timeline.call_answered(), &mut self.call.observers.health) {
            measured_call.head(took);
        }
    }

    pub fn first_token(&mut self) {
        self.timeline.answer_begins();
        // Of a whole answer, all of it has come.
        if let Some(observed) = self.call.observers.figures.as_mut().filter(|_| self.request.streamed) {
            observed.first_token();
        }
        self.call.first_token_ms.get_or_insert_with(|| millis(self.request.started.elapsed()));
    }

    /// Settles what the answer cost. The settlement is durable when this returns.
    pub async fn complete(mut self: Box<Self>, metered: &Metered) -> Result<Settled, LogError> {
        let (Some(mut hold), Some(target)) = (self.hold.take(), self.call.target.take()) else {
            return Err(LogError::Closed);
        };
        let took = self.timeline.call_ends(None).unwrap_or_default();
        let mut measured = self.meter.measure(target.usage_terms(), metered, self.bound_of_call(hold.held));
        self.call.observers.answered(measured.usage.tokens.output(), took);
        self.place.give_back();
        self.settle_rate_limits(&measured, &target);
        measured.cost = self.cost_with_failed_calls(&measured, hold.held);
        hold.own_charge = self.own_charge(&hold, Some(&measured), measured.cost);
        let finish_reason = metered.finish_reason.unwrap_or(FinishReason::Stop);
        self.keep_answer(&hold, Some(metered));
        let ended = self.ended(&hold, Some(&target), Some(metered), Some(&measured), measured.cost, finish_reason);
        self.timeline.record_end(&ended, Some(metered));
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
        let failed_answer = self.call.failed_answer.take().map(|metered| *metered);
        let metered = self.metered_so_far().or(failed_answer);
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
        let metered = self.metered_so_far();
        self.abort(reason, metered.as_ref());
    }

    /// Ends a request whose client left during a stream that was read to its end without it: what the provider reports is charged.
    pub fn end_left(mut self: Box<Self>) {
        let relay = self.call.relay.take();
        if let Some(relay) = relay {
            self.end_answered(&relay.metered());
        }
    }

    /// Ends a request whose answer is complete, and whose client has left.
    fn end_answered(&mut self, metered: &Metered) {
        let tokens = self
            .target()
            .map(|target| self.meter.measure(target.usage_terms(), metered, NanoUsd::ZERO).usage.tokens.output());
        self.call.observers.answered(tokens.unwrap_or(0), self.call.began.elapsed());
        self.meter.answer_is_complete();
        self.abort(CLIENT_CLOSED, Some(metered));
    }

    /// Ends a request whose client left during the call for a whole answer, which ran to its end without it: what the
    /// provider reports is charged.
    pub fn end_abandoned(mut self: Box<Self>, answer: Result<WholeAnswer, CallFailure>) {
        match answer {
            Ok(answer) => self.end_answered(&answer.metered),
            Err(failure) => {
                let backend = self.call.target.as_ref().map(|target| &*target.name);
                let (request_id, trace_id) = (self.request.id, self.timeline.trace_id());
                let (reason, status) = (failure.reason(), failure.status);
                let message = "a call to an upstream failed after its client had left";
                if self.call.observers.know_of_failing_provider() {
                    tracing::debug!(%request_id, trace_id, backend, reason, status, "{message}");
                } else {
                    tracing::warn!(%request_id, trace_id, backend, reason, status, "{message}");
                }
                self.judge(&failure);
                if failure.was_refused() {
                    self.call_failed(&failure);
                }
                self.keep_what_is_known(&failure);
                let answer = self.call.failed_answer.take();
                self.abort(CLIENT_CLOSED, answer.as_deref());
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let metered = self.metered_so_far();
        self.abort(CLIENT_CLOSED, metered.as_ref());
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
