//! One call of a request to a target: it begins, and ends as failed or cancelled, or with its request. The calls to one target share a
//! [`TargetTurn`], which each hands on to the next one.

use std::sync::Arc;

use dialects::{ClientRequest, Ignored, Metered, Relay};
use events::event::inference::{AttemptFailed, Backend, CLIENT_CLOSED, HEDGED, Payer, ReportedByFailedCall};
use events::money::NanoUsd;
use events::usage::UsageSource;
use http::{HeaderName, HeaderValue};
use provider_client::Transmission;

use super::call_observers::CallObservers;
use super::failed_calls::FailedAttempt;
use super::measured::{Measured, Meter};
use super::provider_usage::provider_usage;
use super::started_request::StartedRequest;
use super::{LONG_WAIT, millis};
use crate::inference::keys::provider_keys::KeyAttempts;
use crate::inference::planned::too_much::TooMuch;
use crate::inference::received::call_timeline::CallTimeline;
use crate::inference::targets::target::PlannedTarget;
use crate::inference::targets::target_places::HeldPlace;
use crate::inference::upstream::failure::CallFailure;

/// The failure of a call that lost to its hedge, for the target's breaker and health.
const UNANSWERED: &str = "unanswered";

/// The place, the keys and the observers that all calls to one target share.
pub struct TargetTurn {
    /// The place at the target, if its calls are limited.
    pub place: HeldPlace,
    /// The keys that the request has been sent with, if the target's provider has several.
    pub keys: KeyAttempts,
    /// Told of the end of each call.
    pub observers: CallObservers,
}

impl TargetTurn {
    /// The turn of another target than before.
    pub fn begin(place: HeldPlace, mut keys: KeyAttempts) -> Self {
        keys.begin_target();
        Self { place, keys, observers: CallObservers::default() }
    }
}

/// A call that is under way, that has answered, or of which nobody knows what it did.
pub struct Call {
    pub turn: TargetTurn,
    /// Its number among the calls of the request, from 1.
    number: u32,
    pub target: Arc<PlannedTarget>,
    /// The most that it can cost, if the hold is for two.
    cost_bound: Option<NanoUsd>,
    /// Says whether the target may have seen the request.
    pub transmission: Transmission,
    pub timeline: CallTimeline,
    /// Whether its body asks for no thoughts because the target's model refuses an effort.
    asks_for_no_thoughts: bool,
    /// The client's headers that go on to the target.
    pub forwarded_headers: Vec<(HeaderName, HeaderValue)>,
    /// The header that tells the client which features the body leaves out; `None` if none.
    pub ignored: Option<HeaderValue>,
    pub(super) upstream_request_id: Option<String>,
    pub(super) first_token_ms: Option<u64>,
    /// The stream that is being relayed. Boxed, since calls are handed on by value.
    pub relay: Option<Box<Relay>>,
    /// The usage metered from a whole answer that turned out to be an error, or too large.
    failed_answer: Option<Box<Metered>>,
}

/// A call that begins.
pub struct NewCall<'c> {
    pub turn: TargetTurn,
    pub target: &'c Arc<PlannedTarget>,
    /// Its number among the calls of the request, from 1.
    pub number: u32,
    /// The most that it can cost, if the hold is for two.
    pub cost_bound: Option<NanoUsd>,
    pub timeline: CallTimeline,
    /// Whether its body asks for no thoughts because the target's model refuses an effort.
    pub asks_for_no_thoughts: bool,
}

/// The end of a call that failed.
pub struct FailedEnd {
    pub attempt: FailedAttempt,
    /// For the next call to the target.
    pub turn: TargetTurn,
}

impl Call {
    pub fn begin(new: NewCall<'_>, request: &ClientRequest, ignored: &Ignored) -> Self {
        let NewCall { turn, target, number, cost_bound, timeline, asks_for_no_thoughts } = new;
        Self {
            turn,
            number,
            target: Arc::clone(target),
            cost_bound,
            transmission: Transmission::default(),
            timeline,
            asks_for_no_thoughts,
            forwarded_headers: request.headers_for(target.kind, target.allowed_fields()),
            ignored: ignored.in_words_of(request.surface()).and_then(|names| HeaderValue::try_from(names).ok()),
            upstream_request_id: None,
            first_token_ms: None,
            relay: None,
            failed_answer: None,
        }
    }

    /// Ends it as failed. It costs what its provider has reported so far, and nothing without a report: the provider did no work for this
    /// request, or does not say so.
    pub fn fail(mut self, failure: &CallFailure, request: &StartedRequest, meter: &Meter) -> FailedEnd {
        // A time limit can be over before the connection is made.
        let ended_unsent = failure.is_timeout() && self.transmission.cancel();
        let streamed = self.relay.take().map(|relay| Box::new(relay.metered()));
        let reported = match streamed.or_else(|| self.failed_answer.take()) {
            Some(metered) => self.reported_as_failed(&metered, request, meter),
            None => ReportedByFailedCall::default(),
        };
        let attempt = AttemptFailed {
            status: failure.status,
            upstream_code: failure.upstream_code().map(str::to_owned),
            ..self.attempt(failure.reason(), reported)
        };
        let may_have_been_sent = failure.may_have_been_sent() && !ended_unsent;
        FailedEnd { attempt: self.ended_as(attempt, may_have_been_sent), turn: self.turn }
    }

    /// Cancels it for this reason. It costs what it may have consumed, at most what is held.
    pub(super) fn cancel(
        mut self,
        reason: &str,
        held: NanoUsd,
        request: &StartedRequest,
        meter: &Meter,
    ) -> FailedAttempt {
        let is_unsent = self.transmission.cancel();
        let reported =
            if is_unsent { ReportedByFailedCall::default() } else { self.consumed_as_cancelled(held, request, meter) };
        self.caller_ends(reason, request);
        FailedAttempt { is_cancelled: true, ..self.ended_as(self.attempt(reason, reported), !is_unsent) }
    }

    fn attempt(&self, reason: &str, reported: ReportedByFailedCall) -> AttemptFailed {
        AttemptFailed {
            backend: self.backend(),
            attempt: self.number,
            reason: reason.to_owned(),
            status: None,
            upstream_code: None,
            latency_ms: millis(self.timeline.began.elapsed()),
            reported,
        }
    }

    fn ended_as(&self, event: AttemptFailed, may_have_been_sent: bool) -> FailedAttempt {
        let upstream_request_id = self.upstream_request_id.clone();
        FailedAttempt { event, payer: self.payer(), upstream_request_id, may_have_been_sent, is_cancelled: false }
    }

    /// The target, with the key that it was called with.
    pub(super) fn backend(&self) -> Backend {
        Backend { provider_key_id: self.turn.keys.provider_key_id(), ..self.target.backend.clone() }
    }

    pub(super) fn payer(&self) -> Payer {
        Payer::of(&self.target.provider)
    }

    /// The most that it can cost: all that is held, unless that is for two calls.
    pub(super) fn bound(&self, held: NanoUsd) -> NanoUsd {
        self.cost_bound.map_or(held, |bound| bound.min(held))
    }

    /// Returns the usage metered of the stream that is being relayed, which is interrupted.
    pub(super) fn streamed_so_far(&mut self) -> Option<Metered> {
        self.relay.take().map(|relay| relay.metered().for_interrupted())
    }

    /// The usage metered from a whole answer that failed.
    pub(super) fn take_failed_answer(&mut self) -> Option<Metered> {
        self.failed_answer.take().map(|metered| *metered)
    }

    /// Keeps of a whole answer that failed after its client had left what is known. Reported usage is, however the call ended, and so is
    /// the input of an answer that was lost here.
    pub fn keep_what_is_known(&mut self, failure: &CallFailure) {
        self.failed_answer.take_if(|answer| !answer.has_report() && !failure.is_lost_here());
    }

    /// Tells the observers if it was silent for long when its caller ends it for this reason. What the gateway ends itself says nothing
    /// of the target: a whole answer, for one, would go on without its client.
    pub(super) fn caller_ends(&mut self, reason: &str, request: &StartedRequest) {
        let reason = match reason {
            HEDGED => UNANSWERED,
            CLIENT_CLOSED if request.streamed => CLIENT_CLOSED,
            _ => return,
        };
        if self.first_token_ms.is_none() && self.timeline.began.elapsed() >= LONG_WAIT {
            self.turn.observers.unanswered(reason);
        }
    }

    /// Measures an answer that broke off. The usage of a whole one is unknown unless something of it was read.
    pub(super) fn measure_broken_off(
        &self,
        metered: Option<&Metered>,
        held: NanoUsd,
        request: &StartedRequest,
        meter: &Meter,
    ) -> Measured {
        let (terms, bound) = (self.target.usage_terms(), self.bound(held));
        let nothing = Metered::default();
        match metered {
            None if !request.streamed => meter.unknown(bound),
            Some(metered) if !request.streamed => meter.measure(terms, metered, bound),
            metered if self.asks_for_no_thoughts => meter.measure(terms, metered.unwrap_or(&nothing), bound),
            metered => meter.measure_broken_off(terms, metered.unwrap_or(&nothing), bound),
        }
    }

    fn reported_as_failed(&self, metered: &Metered, request: &StartedRequest, meter: &Meter) -> ReportedByFailedCall {
        let Some(measured) = meter.measure_failed(self.target.usage_terms(), metered) else {
            return ReportedByFailedCall::default();
        };
        let message = "a failed call reported implausible usage, which is not charged";
        self.warn_of_implausible_usage(&measured, request, message);
        ReportedByFailedCall {
            price_version: (measured.usage.source == UsageSource::Provider).then_some(self.target.price_version),
            usage: Some(measured.usage),
            provider_usage: provider_usage(metered),
            cost_usd: Some(measured.cost),
        }
    }

    /// Returns the usage of a call that is cancelled, measured as an answer that broke off: of a stream, what its
    /// provider reported and what went through; of a whole answer, nobody knows, and the policy for unknown usage says
    /// whether it costs its bound.
    fn consumed_as_cancelled(
        &mut self,
        held: NanoUsd,
        request: &StartedRequest,
        meter: &Meter,
    ) -> ReportedByFailedCall {
        let metered = self.streamed_so_far().or_else(|| self.take_failed_answer());
        let measured = self.measure_broken_off(metered.as_ref(), held, request, meter);
        let usage = &measured.usage;
        let is_known = usage.source != UsageSource::Unknown;
        self.turn.keys.settle(is_known.then(|| usage.tokens.input().saturating_add(usage.tokens.output())));
        let message = "a cancelled call reported implausible usage: the most that it can cost is charged instead";
        self.warn_of_implausible_usage(&measured, request, message);
        ReportedByFailedCall {
            price_version: is_known.then_some(self.target.price_version),
            usage: Some(measured.usage),
            provider_usage: metered.as_ref().and_then(provider_usage),
            cost_usd: Some(measured.cost),
        }
    }

    /// An implausible report is counted and logged: the upstream is broken, or lies.
    pub(super) fn warn_of_implausible_usage(&self, measured: &Measured, request: &StartedRequest, message: &str) {
        let Some(reported) = &measured.implausible else { return };
        self.timeline.usage_is_implausible();
        tracing::warn!(
            request_id = &*request.id_text,
            trace_id = request.trace_id.map(tracing::field::display),
            backend = self.target.name,
            input_tokens = reported.input(),
            output_tokens = reported.output(),
            "{message}"
        );
    }
}

/// The call that is under way, with its request.
pub struct CallUnderWay<'r> {
    pub request: &'r StartedRequest,
    pub call: &'r mut Call,
}

impl CallUnderWay<'_> {
    /// The head of the answer has arrived.
    pub fn answered(&mut self, upstream_request_id: Option<String>) {
        self.call.upstream_request_id = upstream_request_id;
        let took = self.call.timeline.answered();
        if let Some(measured_call) = &mut self.call.turn.observers.health {
            measured_call.head(took);
        }
    }

    pub fn first_token(&mut self) {
        // Of a whole answer, all of it has come.
        if let Some(observed) = self.call.turn.observers.figures.as_mut().filter(|_| self.request.streamed) {
            observed.first_token();
        }
        self.call.first_token_ms = Some(millis(self.request.started.elapsed()));
    }

    /// Keeps the usage that a failed whole answer reports, for the end of the call.
    pub fn answer_failed(&mut self, metered: Box<Metered>) {
        self.call.failed_answer = Some(metered);
    }

    /// Has the input counted if that is all that an answer costs: one of vectors. It was read in full, or there would not
    /// be more of them than the gateway takes.
    pub fn asked_too_much(&mut self, too_much: TooMuch) {
        self.call.failed_answer = (too_much == TooMuch::Vectors).then(Box::default);
    }
}
