//! A second call of a request, beside its first one. It is a request without a hold: it ends nothing, and what it costs is recorded with
//! the request that has the hold.

use std::mem::swap;
use std::sync::Arc;

use access_control::limits::RateLimitPermit;
use events::event::inference::{AttemptFailed, Payer, ReportedByFailedCall};
use events::money::NanoUsd;
use events::usage::UsageSource;
use events_log::OpenHold;

use super::call_under_way::CallUnderWay;
use super::{Running, millis, provider_usage};
use crate::inference::failed_calls::FailedCalls;
use crate::inference::measured::Measured;
use crate::inference::passed_over::PassedOver;
use crate::inference::target::PlannedTarget;
use crate::inference::target_places::HeldPlace;
use crate::inference::upstream_calls::UpstreamCalls;

impl Running {
    /// A call beside the one that is under way.
    pub fn beside(&self) -> Box<Self> {
        Box::new(Self {
            request: self.request.clone(),
            hold: None,
            permit: RateLimitPermit::default(),
            call_place: None,
            meter: self.meter.clone(),
            failed_calls: FailedCalls::default(),
            call: CallUnderWay::none(),
            calls: self.calls,
            hedge: None,
            place: HeldPlace::default(),
            passed_over: PassedOver::default(),
            content: self.content.clone(),
            content_lost: Vec::new(),
            after_served: None,
            timeline: self.timeline.beside(),
        })
    }

    /// Takes a place among all calls, unless it has one. Returns false if there is none.
    pub fn takes_call_place(&mut self, calls: &UpstreamCalls) -> bool {
        if self.call_place.is_none() {
            self.call_place = calls.take(self.request.body_owner).ok();
        }
        self.call_place.is_some()
    }

    /// Gives its place among all calls back, before its end.
    pub fn give_call_place_back(&mut self) {
        self.call_place = None;
    }

    /// Whether a call of it has been recorded as failed.
    pub fn has_failed(&self) -> bool {
        !self.failed_calls.is_empty()
    }

    /// Goes on with the call of `other`, which gets the one that was this request's.
    pub fn swap_calls(&mut self, other: &mut Self) {
        swap(&mut self.call, &mut other.call);
        self.place.swap_places(&mut other.place);
        self.timeline.go_on_with(&mut other.timeline);
    }

    /// Takes over what is to be recorded of another call of this request. If it is under way, it is cancelled for this reason; returns its
    /// target if nothing was sent to it yet.
    pub fn absorb(&mut self, other: &mut Self, reason: &str) -> Option<Arc<PlannedTarget>> {
        self.calls = self.calls.max(other.calls);
        self.failed_calls.append(&mut other.failed_calls);
        let target = other.call.target.take()?;
        let bound = self.hold.as_ref().map_or(NanoUsd::ZERO, |hold| other.bound_of_call(held_for(hold, &target)));
        let is_unsent = other.call.transmission.cancel();
        let reported =
            if is_unsent { ReportedByFailedCall::default() } else { other.consumed_by_cancelled(&target, bound) };
        other.ended_silent_call(reason);
        let attempt = AttemptFailed {
            backend: other.call.backend_of(&target),
            attempt: other.call.number,
            reason: reason.to_owned(),
            status: None,
            upstream_code: None,
            latency_ms: millis(other.call.began.elapsed()),
            reported,
        };
        self.failed_calls.push(attempt, Payer::of(&target.provider));
        is_unsent.then_some(target)
    }

    /// The most that the call that is under way can cost: all that is held, unless that is for two calls.
    pub(super) fn bound_of_call(&self, held: NanoUsd) -> NanoUsd {
        self.call.cost_bound.map_or(held, |bound| bound.min(held))
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
    pub(super) fn own_charge(&self, hold: &OpenHold, last: Option<&Measured>, cost: NanoUsd) -> NanoUsd {
        let Some(brokered_held) = hold.brokered_held else { return NanoUsd::ZERO };
        let without = |part| cost.checked_sub(part).unwrap_or(NanoUsd::ZERO).max(NanoUsd::ZERO);
        if self.call.payer == Some(Payer::Own) {
            return without(self.failed_calls.cost_for(Payer::Brokered));
        }
        let is_unknown = last.is_some_and(|measured| measured.usage.source == UsageSource::Unknown);
        let own = self.failed_calls.cost_for(Payer::Own);
        if is_unknown { own.max(without(brokered_held)) } else { own }
    }

    /// Returns the usage of a call that is cancelled, measured as an answer that broke off: of a stream, what its
    /// provider reported and what went through; of a whole answer, nobody knows, and the policy for unknown usage says
    /// whether it costs its bound.
    fn consumed_by_cancelled(&mut self, target: &Arc<PlannedTarget>, bound: NanoUsd) -> ReportedByFailedCall {
        let failed_answer = self.call.failed_answer.take().map(|metered| *metered);
        let metered = self.metered_so_far().or(failed_answer);
        let measured = self.measure_broken_off(target, metered.as_ref(), bound);
        let usage = &measured.usage;
        let is_known = usage.source != UsageSource::Unknown;
        self.call.keys.settle(is_known.then(|| usage.tokens.input().saturating_add(usage.tokens.output())));
        let message = "a cancelled call reported implausible usage: the most that it can cost is charged instead";
        self.warn_of_implausible_usage(&measured, target, message);
        ReportedByFailedCall {
            price_version: is_known.then_some(target.price_version),
            usage: Some(measured.usage),
            provider_usage: metered.as_ref().and_then(provider_usage),
            cost_usd: Some(measured.cost),
        }
    }
}

/// The amount that is held for calls to a target: of one that is not the tenant's own, what is held above the tenant.
fn held_for(hold: &OpenHold, target: &PlannedTarget) -> NanoUsd {
    hold.brokered_held.filter(|_| !target.is_own()).unwrap_or(hold.held)
}
