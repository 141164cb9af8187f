//! The end of a request: what it has consumed, and the event that says so.

use access_control::limits::TokenAmounts;
use dialects::{FinishReason, Metered};
use events::event::inference::{Backend, InferenceEnded, Payer};
use events::ledger::{Charge, Outcome};
use events::money::NanoUsd;
use events::usage::UsageSource;
use events_log::OpenHold;

use super::failed_calls::FailedAttempt;
use super::measured::Measured;
use super::provider_usage::provider_usage;
use super::{Call, Running, millis};

/// The call that a request ends with: the one that is under way or has answered, otherwise the one that failed last. Empty without calls.
#[derive(Default)]
pub(super) struct LastCall {
    backend: Option<Backend>,
    payer: Option<Payer>,
    /// `None` if nothing of the call was sent, or it has failed.
    price_version: Option<u64>,
    first_token_ms: Option<u64>,
    upstream_request_id: Option<String>,
}

impl LastCall {
    /// A call that its target may have seen.
    pub(super) fn of_sent(call: &Call) -> Self {
        Self {
            backend: Some(call.backend()),
            payer: Some(call.payer()),
            price_version: Some(call.target.price_version),
            first_token_ms: call.first_token_ms,
            upstream_request_id: call.upstream_request_id.clone(),
        }
    }

    fn of_unsent(call: &Call) -> Self {
        Self { backend: Some(call.target.backend.clone()), payer: Some(call.payer()), ..Self::default() }
    }

    fn of_failed(failed: &FailedAttempt) -> Self {
        Self {
            backend: Some(failed.event.backend.clone()),
            payer: Some(failed.payer),
            upstream_request_id: failed.upstream_request_id.clone(),
            ..Self::default()
        }
    }
}

impl Running {
    pub(super) fn abort(&mut self, reason: &'static str, metered: Option<&Metered>) {
        let Some(mut hold) = self.hold.take() else { return };
        if let Some(call) = &mut self.call {
            call.caller_ends(reason, &self.request);
        }
        let (ended, charge) = self.end_incomplete(&mut hold, metered, FinishReason::Cancelled, None, reason);
        hold.end_unattended(self.failed_calls.take(), Outcome::Aborted(ended), charge);
    }

    /// The end of a request whose answer did not reach its client in full, and what is charged for it. A call whose request has not been
    /// sent yet is cancelled, and costs nothing.
    pub(super) fn end_incomplete(
        &mut self,
        hold: &mut OpenHold,
        metered: Option<&Metered>,
        finish_reason: FinishReason,
        code: Option<&str>,
        reason: &str,
    ) -> (Box<InferenceEnded>, Charge) {
        let mut call = self.call.take();
        let is_unsent = call.as_ref().is_some_and(|call| call.transmission.cancel());
        let last = match &call {
            Some(call) if is_unsent => LastCall::of_unsent(call),
            Some(call) => LastCall::of_sent(call),
            None => self.failed_calls.last().map(LastCall::of_failed).unwrap_or_default(),
        };
        let (measured, cost) = self.measure_incomplete(call.as_mut().filter(|_| !is_unsent), metered, hold);
        hold.own_charge = self.own_charge(hold, last.payer, measured.as_ref(), cost);
        self.keep_answer(hold, metered);
        let ended = self.ended(hold, last, metered, measured.as_ref(), cost, finish_reason);
        let ended = InferenceEnded { code: code.map(str::to_owned), reason: Some(reason.to_owned()), ..ended };
        self.timeline.call_ends(Some(reason));
        let timeline = call.as_ref().map(|call| &call.timeline);
        if let Some(timeline) = timeline {
            timeline.ended();
        }
        self.timeline.record_end(&ended, metered, timeline.map(|timeline| timeline.provider_name));
        (Box::new(ended), charge(measured.as_ref(), cost, reason))
    }

    /// Returns the usage metered of the stream that is being relayed, which is interrupted.
    pub(super) fn streamed_so_far(&mut self) -> Option<Metered> {
        self.call.as_mut().and_then(Call::streamed_so_far)
    }

    /// Measures an answer that did not reach its client in full, settles the token limits for it, and returns the usage
    /// with the cost of the whole request. For a stream, what went through counts, and the thoughts that were allowed. A
    /// whole answer is generated before any of it is seen, so that its usage is unknown without a report.
    fn measure_incomplete(
        &mut self,
        call: Option<&mut Call>,
        metered: Option<&Metered>,
        hold: &OpenHold,
    ) -> (Option<Measured>, NanoUsd) {
        let Some(call) = call else {
            if self.failed_calls.tokens().all > 0 {
                self.permit.settle(self.failed_calls.tokens());
            }
            return (None, self.failed_calls.cost_with(NanoUsd::ZERO));
        };
        let measured = call.measure_broken_off(metered, hold.held, &self.request, &self.meter);
        self.settle_rate_limits(&measured, call);
        let cost = self.cost_with_failed_calls(&measured, hold.held);
        (Some(measured), cost)
    }

    pub(super) fn ended(
        &self,
        hold: &OpenHold,
        last: LastCall,
        metered: Option<&Metered>,
        measured: Option<&Measured>,
        cost_usd: NanoUsd,
        finish_reason: FinishReason,
    ) -> InferenceEnded {
        InferenceEnded {
            model: hold.model.clone(),
            admitted_at: hold.admitted_at,
            backend: last.backend,
            payer: last.payer,
            usage: measured.map(|measured| measured.usage.clone()),
            provider_usage: metered.and_then(provider_usage),
            cost_usd,
            price_version: measured.and(last.price_version),
            finish_reason: Some(finish_reason),
            latency_ms: Some(millis(self.request.started.elapsed())),
            first_token_ms: last.first_token_ms,
            attempts: Some(self.calls),
            passed_over: self.passed_over.recorded(),
            queued_ms: self.queued.map(millis),
            hedge: self.hedge,
            // Some upstreams give their id only in the answer's body.
            upstream_request_id: last
                .upstream_request_id
                .or_else(|| metered.and_then(|metered| metered.upstream_id.clone())),
            answer_digest: metered.and_then(Metered::answer_digest),
            content_lost: self.content_lost.clone(),
            code: None,
            reason: None,
        }
    }

    /// Replaces the tokens reserved under the token limits by those consumed; without this the request counts for nothing
    /// there. An implausible report is counted and logged: the upstream is broken, or lies.
    pub(super) fn settle_rate_limits(&mut self, measured: &Measured, call: &mut Call) {
        let (usage, failed, is_own) = (&measured.usage, self.failed_calls.tokens(), call.target.is_own());
        match usage.source {
            UsageSource::Provider | UsageSource::Counted => {
                let tokens = usage.tokens.input().saturating_add(usage.tokens.output());
                call.turn.keys.settle(Some(tokens));
                let brokered = if is_own { 0 } else { tokens };
                self.permit.settle(TokenAmounts {
                    all: failed.all.saturating_add(tokens),
                    brokered: failed.brokered.saturating_add(brokered),
                    ..failed
                });
            }
            UsageSource::Unknown => {
                call.turn.keys.settle(None);
                if is_own {
                    self.permit.keep_own_reserved(failed.brokered);
                } else {
                    self.permit.keep_reserved();
                }
            }
        }
        let message = "a provider reported implausible usage: the most that the call can cost is charged instead";
        call.warn_of_implausible_usage(measured, &self.request, message);
    }

    /// The cost of the request with its failed calls. All calls of which nobody knows what they used cost no more than what is held.
    pub(super) fn cost_with_failed_calls(&mut self, measured: &Measured, held: NanoUsd) -> NanoUsd {
        if measured.usage.source == UsageSource::Unknown {
            self.failed_calls.limit_unknown(held.checked_sub(measured.cost).unwrap_or(NanoUsd::ZERO));
        }
        self.failed_calls.cost_with(measured.cost)
    }

    /// The part of the cost of the request that its tenant's own providers cost. What nobody knows of the others costs no more above the
    /// tenant than is held there.
    pub(super) fn own_charge(
        &self,
        hold: &OpenHold,
        payer: Option<Payer>,
        last: Option<&Measured>,
        cost: NanoUsd,
    ) -> NanoUsd {
        let Some(brokered_held) = hold.brokered_held else { return NanoUsd::ZERO };
        let without = |part| cost.checked_sub(part).unwrap_or(NanoUsd::ZERO).max(NanoUsd::ZERO);
        if payer == Some(Payer::Own) {
            return without(self.failed_calls.cost_for(Payer::Brokered));
        }
        let is_unknown = last.is_some_and(|measured| measured.usage.source == UsageSource::Unknown);
        let own = self.failed_calls.cost_for(Payer::Own);
        if is_unknown { own.max(without(brokered_held)) } else { own }
    }
}

/// Settles a known cost, and any cost above zero. Everything else is released: a call that cost nothing, and unknown usage
/// that the policy does not charge.
fn charge(measured: Option<&Measured>, cost: NanoUsd, reason: &str) -> Charge {
    let is_known = measured.is_some_and(|measured| !measured.is_released());
    if is_known || cost > NanoUsd::ZERO { Charge::Settle(cost) } else { Charge::Release { reason: reason.to_owned() } }
}
