//! A request that was admitted, until its end stands in the log. Exactly one of [`Running::complete`],
//! [`Running::fail`], [`Running::give_up`], [`Running::end_abandoned`] and being dropped ends it: dropped means that the
//! client has gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use access::limits::RateLimitPermit;
use dialects::{ClientRequest, FinishReason, Metered, Receipt, Relay, WholeAnswer};
use events::event::inference::{AttemptFailed, Backend, InferenceEnded, ReportedByFailedCall};
use events::ids::RequestId;
use events::ledger::{Charge, Outcome};
use events::log::{LogError, OpenHold};
use events::money::NanoUsd;
use events::refusal::{ErrorCode, Refusal};
use events::usage::UsageSource;
use serde_json::Value;
use upstream::Transmission;

use super::abandoned::Owner;
use super::failed_calls::FailedCalls;
use super::failure::CallFailure;
use super::gateway::Gateway;
use super::measured::{Measured, Meter};
use super::plan::Plan;
use super::target::PlannedTarget;
use super::timeline::RequestTimeline;
use crate::body::memory::BodyOwner;
use crate::figures::{GaugeGuard, Stage};
use crate::trace::TraceHeaders;

/// The reason of a request whose client has left.
const CLIENT_CLOSED: &str = "client_closed";

/// The facts of a completed request, durable.
pub struct Settled {
    pub request_id: String,
    pub model: String,
    pub target: Arc<PlannedTarget>,
    pub measured: Measured,
    pub finish_reason: FinishReason,
    pub admitted_position: u64,
    pub settled_position: u64,
    pub held: NanoUsd,
    /// The request is being answered until this is dropped.
    pub let_in: RateLimitPermit,
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
        }
    }
}

/// A request before it has its hold: its place under the rate limits, and its time so far.
pub struct RequestInFlight {
    pub permit: RateLimitPermit,
    pub timeline: RequestTimeline,
}

pub struct Running {
    hold: Option<OpenHold>,
    /// Ends before the last byte leaves, so that who has read it finds its place free.
    let_in: RateLimitPermit,
    started: Instant,
    /// When it must have ended, before its hold expires.
    pub deadline: tokio::time::Instant,
    meter: Meter,
    streamed: bool,
    failed_calls: FailedCalls,
    calls: u32,
    /// The target that is being asked.
    target: Option<Arc<PlannedTarget>>,
    /// Of the call to it: whether it may have seen the request.
    transmission: Transmission,
    call_began: Instant,
    last_backend: Option<Backend>,
    upstream_request_id: Option<String>,
    first_token_ms: Option<u64>,
    /// The stream that is being relayed.
    pub relay: Option<Relay>,
    /// What was read of a whole answer that is none.
    failed_answer: Option<Box<Metered>>,
    timeline: RequestTimeline,
}

impl Running {
    pub fn new(
        gateway: &Gateway,
        hold: OpenHold,
        in_flight: RequestInFlight,
        plan: &Plan,
        asked: &ClientRequest,
    ) -> Box<Self> {
        let now = Instant::now();
        Box::new(Self {
            hold: Some(hold),
            let_in: in_flight.permit,
            started: now,
            deadline: tokio::time::Instant::now() + gateway.deadline(),
            meter: Meter::new(plan, asked.choices(), gateway.log.unknown_usage()),
            streamed: asked.streamed(),
            failed_calls: FailedCalls::default(),
            calls: 0,
            target: None,
            transmission: Transmission::default(),
            call_began: now,
            last_backend: None,
            upstream_request_id: None,
            first_token_ms: None,
            relay: None,
            failed_answer: None,
            timeline: in_flight.timeline,
        })
    }

    /// Whether its client asked for a stream.
    pub const fn is_streamed(&self) -> bool {
        self.streamed
    }

    pub fn is_out_of_time(&self) -> bool {
        tokio::time::Instant::now() >= self.deadline
    }

    /// Whose it is.
    pub fn owner(&self) -> Owner {
        self.hold.as_ref().and_then(|hold| hold.context.tenant_id)
    }

    /// In whose share of the memory its answer is counted.
    pub fn body_owner(&self) -> BodyOwner {
        let context = self.hold.as_ref().map(|hold| &hold.context);
        BodyOwner::of(self.owner(), context.and_then(|context| context.key_id))
    }

    pub fn call_begins(&mut self, target: &Arc<PlannedTarget>) {
        self.calls += 1;
        self.target = Some(Arc::clone(target));
        self.transmission = Transmission::default();
        self.last_backend = Some(target.backend.clone());
        self.upstream_request_id = None;
        self.call_began = self.timeline.call_begins(target);
    }

    /// Of the call that is under way.
    pub const fn transmission(&self) -> &Transmission {
        &self.transmission
    }

    /// The whole answer that came is none; what its provider says it used is kept for [`Running::call_failed`].
    pub fn answer_failed(&mut self, metered: Box<Metered>) {
        self.failed_answer = Some(metered);
    }

    /// A call that failed costs what its provider had reported by then, and nothing where that is nothing: it was not at
    /// work for this request, or does not say so.
    pub fn call_failed(&mut self, failure: &CallFailure) {
        self.timeline.call_failed(failure.reason(), failure.status);
        let Some(target) = self.target.take() else { return };
        let streamed = self.relay.take().map(|relay| Box::new(relay.metered()));
        let reported = match streamed.or_else(|| self.failed_answer.take()) {
            Some(metered) => self.reported_by_failed_call(&target, &metered),
            None => ReportedByFailedCall::default(),
        };
        self.failed_calls.push(AttemptFailed {
            backend: target.backend.clone(),
            attempt: self.calls,
            reason: failure.reason().to_owned(),
            status: failure.status,
            upstream_code: failure.upstream_code().map(str::to_owned),
            latency_ms: millis(self.call_began.elapsed()),
            reported,
        });
    }

    fn reported_by_failed_call(&mut self, target: &PlannedTarget, metered: &Metered) -> ReportedByFailedCall {
        let Some(measured) = self.meter.measure_failed(&target.rates, metered) else {
            return ReportedByFailedCall::default();
        };
        if let Some(hold) = &self.hold
            && measured.implausible.is_some()
        {
            self.tell_of_implausible(
                &measured,
                target,
                hold.request_id,
                "a failed call's usage is not plausible: not charged",
            );
        }
        ReportedByFailedCall {
            price_version: (measured.usage.source == UsageSource::Provider).then_some(target.price_version),
            usage: Some(measured.usage),
            provider_usage: provider_usage(metered),
            cost_usd: Some(measured.cost),
        }
    }

    pub fn answered_by(&mut self, upstream_request_id: Option<String>) {
        self.upstream_request_id = upstream_request_id;
        self.timeline.call_answered();
    }

    pub fn first_token(&mut self) {
        self.timeline.answer_begins();
        self.first_token_ms.get_or_insert_with(|| millis(self.started.elapsed()));
    }

    /// From here on the answer goes to the client as it comes.
    pub fn stream_opens(&self) -> GaugeGuard {
        self.timeline.stream_opens()
    }

    /// What the call that is under way says of the trace that it belongs to.
    pub fn trace_headers(&self) -> TraceHeaders {
        self.timeline.trace_headers()
    }

    /// For log lines.
    pub fn trace_id(&self) -> Option<String> {
        self.timeline.trace_id()
    }

    pub fn request_id(&self) -> String {
        self.hold.as_ref().map(|hold| hold.request_id.to_string()).unwrap_or_default()
    }

    pub fn admitted_position(&self) -> u64 {
        self.hold.as_ref().map_or(0, |hold| hold.admitted_position)
    }

    /// Settles what the answer cost; durable when it returns.
    pub async fn complete(mut self: Box<Self>, metered: &Metered) -> Result<Settled, LogError> {
        let (Some(hold), Some(target)) = (self.hold.take(), self.target.take()) else { return Err(LogError::Closed) };
        self.timeline.call_ends(None);
        let mut measured = self.meter.measure(&target.rates, metered, hold.held);
        self.take_in(&measured, &target, hold.request_id);
        measured.cost = self.failed_calls.cost_with(measured.cost);
        let finish_reason = metered.finish_reason.unwrap_or(FinishReason::Stop);
        let ended = self.ended(&hold, Some(&target), Some(metered), (Some(&measured), measured.cost), None, None);
        let ended = InferenceEnded { finish_reason: Some(finish_reason), ..ended };
        self.timeline.ends_as(&ended, Some(metered));
        let (request_id, model) = (hold.request_id.to_string(), hold.model.clone());
        let (admitted_position, held) = (hold.admitted_position, hold.held);
        let attempts = self.failed_calls.take();
        let settled = hold.end(attempts, Outcome::Completed(Box::new(ended)), Charge::Settle(measured.cost)).await;
        let settled = settled.inspect_err(|_| self.timeline.refused_as(ErrorCode::LedgerUnavailable))?;
        self.timeline.passed(Stage::Settle);
        self.timeline.served();
        let settled_position = settled.position;
        let let_in = std::mem::take(&mut self.let_in);
        Ok(Settled {
            request_id,
            model,
            target,
            measured,
            finish_reason,
            admitted_position,
            settled_position,
            held,
            let_in,
        })
    }

    /// Records the failure; the position at which it is a fact. What a call that is still under way may have consumed is
    /// charged.
    pub async fn fail(mut self: Box<Self>, refusal: &Refusal, reason: &str) -> Result<u64, LogError> {
        let Some(hold) = self.hold.take() else { return Err(LogError::Closed) };
        let (target, relay) = (self.take_target(), self.relay.take());
        let metered = relay.as_ref().map(|relay| relay.metered().of_what_was_cut_off());
        let (measured, cost) = self.cut_off(target.as_deref(), metered.as_ref(), &hold);
        let code = Some(refusal.code.as_str());
        let ended =
            self.ended(&hold, target.as_deref(), metered.as_ref(), (measured.as_ref(), cost), code, Some(reason));
        let ended = InferenceEnded { finish_reason: Some(FinishReason::Error), ..ended };
        self.timeline.call_ends(Some(reason));
        self.timeline.ends_as(&ended, metered.as_ref());
        let charge = charge(measured.as_ref(), cost, reason);
        let attempts = self.failed_calls.take();
        let position = hold.end(attempts, Outcome::Failed(Box::new(ended)), charge).await?.position;
        self.timeline.passed(Stage::Settle);
        Ok(position)
    }

    /// Nobody takes the answer any more, and the upstream is cancelled with it: what went through is counted and
    /// settled as soon as the ledger can.
    pub fn give_up(mut self: Box<Self>, reason: &str) {
        let relay = self.relay.take();
        self.abort(reason, relay.as_ref().map(|relay| relay.metered().of_what_was_cut_off()).as_ref());
    }

    /// The client has left, and the call of a whole answer went on to its end: what the provider says is charged.
    pub fn end_abandoned(mut self: Box<Self>, answer: Result<WholeAnswer, CallFailure>) {
        match answer {
            Ok(answer) => self.abort(CLIENT_CLOSED, Some(&answer.metered)),
            Err(failure) => {
                tracing::warn!(
                    request_id = self.request_id(),
                    trace_id = self.timeline.trace_id(),
                    backend = self.target.as_ref().map(|target| &*target.name),
                    reason = failure.reason(),
                    status = failure.status,
                    "a call to an upstream failed, whose client has left"
                );
                if failure.was_refused() {
                    self.call_failed(&failure);
                }
                // What its provider has said it used is known, whatever else it did.
                let answer = self.failed_answer.take().filter(|answer| answer.has_report());
                self.abort(CLIENT_CLOSED, answer.as_deref());
            }
        }
    }

    fn abort(&mut self, reason: &str, metered: Option<&Metered>) {
        let Some(hold) = self.hold.take() else { return };
        let target = self.take_target();
        let (measured, cost) = self.cut_off(target.as_deref(), metered, &hold);
        let ended = self.ended(&hold, target.as_deref(), metered, (measured.as_ref(), cost), None, Some(reason));
        let ended = InferenceEnded { finish_reason: Some(FinishReason::Cancelled), ..ended };
        self.timeline.call_ends(Some(reason));
        self.timeline.ends_as(&ended, metered);
        let charge = charge(measured.as_ref(), cost, reason);
        hold.end_unattended(self.failed_calls.take(), Outcome::Aborted(Box::new(ended)), charge);
    }

    /// The target that may be at work for this request. One that the request has not left for is not asked any more: it
    /// cost nothing.
    fn take_target(&mut self) -> Option<Arc<PlannedTarget>> {
        self.target.take().filter(|_| !self.transmission.cancel())
    }

    /// What was consumed of an answer that nobody got to its end, what the limits of tokens count for it, and what the
    /// request costs. Of a stream that is what went through; a whole answer is generated before any of it is seen.
    fn cut_off(
        &mut self,
        target: Option<&PlannedTarget>,
        metered: Option<&Metered>,
        hold: &OpenHold,
    ) -> (Option<Measured>, NanoUsd) {
        let Some(target) = target else {
            if self.failed_calls.tokens() > 0 {
                self.let_in.settle(self.failed_calls.tokens());
            }
            return (None, self.failed_calls.cost_with(NanoUsd::ZERO));
        };
        let measured = match metered {
            Some(metered) => self.meter.measure(&target.rates, metered, hold.held),
            None if self.streamed => self.meter.measure(&target.rates, &Metered::default(), hold.held),
            None => self.meter.unknown(hold.held),
        };
        self.take_in(&measured, target, hold.request_id);
        let cost = self.failed_calls.cost_with(measured.cost);
        (Some(measured), cost)
    }

    fn ended(
        &self,
        hold: &OpenHold,
        target: Option<&PlannedTarget>,
        metered: Option<&Metered>,
        (measured, cost_usd): (Option<&Measured>, NanoUsd),
        code: Option<&str>,
        reason: Option<&str>,
    ) -> InferenceEnded {
        InferenceEnded {
            model: hold.model.clone(),
            admitted_at: hold.admitted_at,
            backend: target.map(|target| target.backend.clone()).or_else(|| self.last_backend.clone()),
            usage: measured.map(|measured| measured.usage.clone()),
            provider_usage: metered.and_then(provider_usage),
            cost_usd,
            price_version: measured.and(target).map(|target| target.price_version),
            finish_reason: None,
            latency_ms: Some(millis(self.started.elapsed())),
            first_token_ms: self.first_token_ms,
            attempts: Some(self.calls),
            upstream_request_id: self
                .upstream_request_id
                .clone()
                // Some say it in the answer alone.
                .or_else(|| metered.and_then(|metered| metered.upstream_id.clone())),
            code: code.map(str::to_owned),
            reason: reason.map(str::to_owned),
        }
    }

    /// What the limits of tokens count from now on; without this they count nothing of the request. A report that was not
    /// believed is counted and told: an upstream is broken, or lies.
    fn take_in(&mut self, measured: &Measured, target: &PlannedTarget, request_id: RequestId) {
        let usage = &measured.usage;
        match usage.source {
            UsageSource::Provider | UsageSource::Counted => {
                let tokens = usage.tokens.input().saturating_add(usage.tokens.output());
                self.let_in.settle(tokens.saturating_add(self.failed_calls.tokens()));
            }
            UsageSource::Unknown => self.let_in.keep_reserved(),
        }
        self.tell_of_implausible(
            measured,
            target,
            request_id,
            "a provider's usage is not plausible: charged at the hold",
        );
    }

    fn tell_of_implausible(&self, measured: &Measured, target: &PlannedTarget, request_id: RequestId, message: &str) {
        let Some(reported) = &measured.implausible else { return };
        self.timeline.usage_is_implausible();
        tracing::warn!(
            %request_id,
            trace_id = self.timeline.trace_id(),
            backend = target.name,
            input_tokens = reported.input(),
            output_tokens = reported.output(),
            "{message}"
        );
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let relay = self.relay.take();
        self.abort(CLIENT_CLOSED, relay.as_ref().map(|relay| relay.metered().of_what_was_cut_off()).as_ref());
    }
}

/// What nobody knows and the policy gives back is released like what cost nothing, where no call that failed cost anything.
fn charge(measured: Option<&Measured>, cost: NanoUsd, reason: &str) -> Charge {
    let is_known = measured.is_some_and(|measured| !measured.is_given_back());
    if is_known || cost > NanoUsd::ZERO { Charge::Settle(cost) } else { Charge::Release { reason: reason.to_owned() } }
}

fn provider_usage(metered: &Metered) -> Option<Value> {
    let verbatim = metered.provider_usage.as_ref()?.get();
    // A number that no double holds makes it unreadable as a value; then it is kept as the text that it was.
    Some(serde_json::from_str(verbatim).unwrap_or_else(|_| Value::String(verbatim.to_owned())))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
