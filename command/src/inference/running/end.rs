//! The end of a request: what it has consumed, and the event that says so.

use std::sync::Arc;

use access_control::limits::TokenAmounts;
use dialects::{FinishReason, Metered};
use events::event::inference::{CLIENT_CLOSED, HEDGED, InferenceEnded};
use events::ledger::{Charge, Outcome};
use events::money::NanoUsd;
use events::plain_json;
use events::usage::UsageSource;
use events_log::OpenHold;
use serde_json::Value;

use super::{LONG_WAIT, Running, millis};
use crate::inference::measured::Measured;
use crate::inference::target::PlannedTarget;

/// How deep a provider's report of usage may be nested: an event in which it stands is read with a limit of 128.
const REPORT_DEPTH_MAX: usize = 32;
/// The failure of a call that lost to its hedge, for the target's breaker and health.
const UNANSWERED: &str = "unanswered";

impl Running {
    pub(super) fn abort(&mut self, reason: &'static str, metered: Option<&Metered>) {
        let Some(mut hold) = self.hold.take() else { return };
        self.ended_silent_call(reason);
        let (ended, charge) = self.end_incomplete(&mut hold, metered, FinishReason::Cancelled, None, reason);
        hold.end_unattended(self.failed_calls.take(), Outcome::Aborted(ended), charge);
    }

    /// Tells the observers if the call that ends for this reason was silent for long, and its caller has ended it. What the gateway ends
    /// itself says nothing of the target: a whole answer, for one, would go on without its client.
    pub(super) fn ended_silent_call(&mut self, reason: &str) {
        let reason = match reason {
            HEDGED => UNANSWERED,
            CLIENT_CLOSED if self.request.streamed => CLIENT_CLOSED,
            _ => return,
        };
        if self.call.first_token_ms.is_none() && self.call.began.elapsed() >= LONG_WAIT {
            self.call.observers.unanswered(reason);
        }
    }

    /// The end of a request whose answer did not reach its client in full, and what is charged for it.
    pub(super) fn end_incomplete(
        &mut self,
        hold: &mut OpenHold,
        metered: Option<&Metered>,
        finish_reason: FinishReason,
        code: Option<&str>,
        reason: &str,
    ) -> (Box<InferenceEnded>, Charge) {
        let target = self.take_target();
        let (measured, cost) = self.measure_incomplete(target.as_deref(), metered, hold);
        hold.own_charge = self.own_charge(hold, measured.as_ref(), cost);
        self.keep_answer(hold, metered);
        let ended = self.ended(hold, target.as_deref(), metered, measured.as_ref(), cost, finish_reason);
        let ended = InferenceEnded { code: code.map(str::to_owned), reason: Some(reason.to_owned()), ..ended };
        self.timeline.call_ends(Some(reason));
        self.timeline.record_end(&ended, metered);
        (Box::new(ended), charge(measured.as_ref(), cost, reason))
    }

    /// Returns the usage metered of the stream that is being relayed, which is interrupted.
    pub(super) fn metered_so_far(&mut self) -> Option<Metered> {
        self.call.relay.take().map(|relay| relay.metered().for_interrupted())
    }

    /// The target that may be working on this request. A call whose request has not been sent yet is cancelled, and costs
    /// nothing.
    pub(super) fn take_target(&mut self) -> Option<Arc<PlannedTarget>> {
        self.call.target.take().filter(|_| !self.call.transmission.cancel())
    }

    /// Measures an answer that did not reach its client in full, settles the token limits for it, and returns the usage
    /// with the cost of the whole request. For a stream, what went through counts, and the thoughts that were allowed. A
    /// whole answer is generated before any of it is seen, so that its usage is unknown without a report.
    pub(super) fn measure_incomplete(
        &mut self,
        target: Option<&PlannedTarget>,
        metered: Option<&Metered>,
        hold: &OpenHold,
    ) -> (Option<Measured>, NanoUsd) {
        let Some(target) = target else {
            if self.failed_calls.tokens().all > 0 {
                self.permit.settle(self.failed_calls.tokens());
            }
            return (None, self.failed_calls.cost_with(NanoUsd::ZERO));
        };
        let bound = self.bound_of_call(hold.held);
        let measured = self.measure_broken_off(target, metered, bound);
        self.settle_rate_limits(&measured, target);
        let cost = self.cost_with_failed_calls(&measured, hold.held);
        (Some(measured), cost)
    }

    /// Measures an answer that broke off. The usage of a whole one is unknown unless something of it was read.
    pub(super) fn measure_broken_off(
        &self,
        target: &PlannedTarget,
        metered: Option<&Metered>,
        bound: NanoUsd,
    ) -> Measured {
        let terms = target.usage_terms();
        match metered {
            Some(metered) if self.request.streamed => self.meter.measure_broken_off(terms, metered, bound),
            Some(metered) => self.meter.measure(terms, metered, bound),
            None if self.request.streamed => self.meter.measure_broken_off(terms, &Metered::default(), bound),
            None => self.meter.unknown(bound),
        }
    }

    pub(super) fn ended(
        &self,
        hold: &OpenHold,
        target: Option<&PlannedTarget>,
        metered: Option<&Metered>,
        measured: Option<&Measured>,
        cost_usd: NanoUsd,
        finish_reason: FinishReason,
    ) -> InferenceEnded {
        InferenceEnded {
            model: hold.model.clone(),
            admitted_at: hold.admitted_at,
            backend: target.map(|target| self.call.backend_of(target)).or_else(|| self.call.backend.clone()),
            payer: self.call.payer,
            usage: measured.map(|measured| measured.usage.clone()),
            provider_usage: metered.and_then(provider_usage),
            cost_usd,
            price_version: measured.and(target).map(|target| target.price_version),
            finish_reason: Some(finish_reason),
            latency_ms: Some(millis(self.request.started.elapsed())),
            first_token_ms: self.call.first_token_ms,
            attempts: Some(self.calls),
            passed_over: self.passed_over.recorded(),
            queued_ms: self.place.waited().map(millis),
            hedge: self.hedge,
            upstream_request_id: self
                .call
                .upstream_request_id
                .clone()
                // Some upstreams give their id only in the answer's body.
                .or_else(|| metered.and_then(|metered| metered.upstream_id.clone())),
            answer_digest: metered.and_then(Metered::answer_digest),
            content_lost: self.content_lost.clone(),
            code: None,
            reason: None,
        }
    }

    /// Replaces the tokens reserved under the token limits by those consumed; without this the request counts for nothing
    /// there. An implausible report is counted and logged: the upstream is broken, or lies.
    pub(super) fn settle_rate_limits(&mut self, measured: &Measured, target: &PlannedTarget) {
        let (usage, failed, is_own) = (&measured.usage, self.failed_calls.tokens(), target.is_own());
        match usage.source {
            UsageSource::Provider | UsageSource::Counted => {
                let tokens = usage.tokens.input().saturating_add(usage.tokens.output());
                self.call.keys.settle(Some(tokens));
                let brokered = if is_own { 0 } else { tokens };
                self.permit.settle(TokenAmounts {
                    all: failed.all.saturating_add(tokens),
                    brokered: failed.brokered.saturating_add(brokered),
                    ..failed
                });
            }
            UsageSource::Unknown => {
                self.call.keys.settle(None);
                if is_own {
                    self.permit.keep_own_reserved(failed.brokered);
                } else {
                    self.permit.keep_reserved();
                }
            }
        }
        let message = "a provider reported implausible usage: the most that the call can cost is charged instead";
        self.warn_of_implausible_usage(measured, target, message);
    }

    pub(super) fn warn_of_implausible_usage(&self, measured: &Measured, target: &PlannedTarget, message: &str) {
        let Some(reported) = &measured.implausible else { return };
        self.timeline.usage_is_implausible();
        tracing::warn!(
            request_id = %self.request.id,
            trace_id = self.timeline.trace_id(),
            backend = target.name,
            input_tokens = reported.input(),
            output_tokens = reported.output(),
            "{message}"
        );
    }
}

/// Settles a known cost, and any cost above zero. Everything else is released: a call that cost nothing, and unknown usage
/// that the policy does not charge.
fn charge(measured: Option<&Measured>, cost: NanoUsd, reason: &str) -> Charge {
    let is_known = measured.is_some_and(|measured| !measured.is_released());
    if is_known || cost > NanoUsd::ZERO { Charge::Settle(cost) } else { Charge::Release { reason: reason.to_owned() } }
}

pub(super) fn provider_usage(metered: &Metered) -> Option<Value> {
    let verbatim = metered.provider_usage.as_ref()?.get();
    // A number that fits no double cannot be read as a value, and what is nested too deep could not be read again inside of an
    // event: the report is then kept as text.
    let value = plain_json::parse(verbatim).ok().filter(|value| plain_json::depth(value) <= REPORT_DEPTH_MAX);
    Some(value.unwrap_or_else(|| Value::String(verbatim.to_owned())))
}
