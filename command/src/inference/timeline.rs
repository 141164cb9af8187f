//! The time that one request spends in each of its stages, and its trace if traces are exported.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dialects::{Metered, Surface};
use events::event::admin::Model;
use events::event::inference::{HEDGED, InferenceEnded};
use events::ids::RequestId;
use events::refusal::ErrorCode;
use projections::figures::GaugeGuard;
use provider_client::LoopEntries;

use super::gateway::Gateway;
use super::target::PlannedTarget;
use crate::figures::{ProviderFigures, RequestFigures, Stage};
use crate::trace::{Attribute, Trace, TraceHeaders, TraceParent};

/// When a request arrived and when it was authenticated, and the trace that it names. An extension of the request.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub at: Instant,
    pub authenticated_at: Instant,
    pub trace: Option<Arc<TraceParent>>,
    /// The gateways that the request has passed; `None` if it comes from a client.
    pub passed: Option<LoopEntries>,
}

/// The timeline of a request: every stage is timed when it ends.
pub struct RequestTimeline {
    figures: Arc<RequestFigures>,
    /// When the current stage began.
    stage_began: Instant,
    /// True once the answer has begun: the rest is relayed.
    is_relaying: bool,
    /// The time that the gateway itself has taken.
    own_time: Duration,
    /// The call that is under way or has been answered.
    call: Option<CallTimeline>,
    trace: Trace,
    passed: Option<LoopEntries>,
    /// The name of what it asks for.
    operation: &'static str,
}

/// A call to an upstream.
struct CallTimeline {
    began: Instant,
    provider_name: &'static str,
    figures: Arc<ProviderFigures>,
}

impl RequestTimeline {
    /// Begins the timeline of an authenticated request.
    pub fn begin(gateway: &Gateway, id: RequestId, surface: Surface, arrival: Option<&Arrival>) -> Self {
        let now = Instant::now();
        let (at, authenticated_at) = arrival.map_or((now, now), |arrival| (arrival.at, arrival.authenticated_at));
        let client = arrival.and_then(|arrival| arrival.trace.clone());
        let mut timeline = Self {
            figures: Arc::clone(&gateway.figures),
            stage_began: at,
            is_relaying: false,
            own_time: Duration::ZERO,
            call: None,
            trace: Trace::of(gateway.tracer.as_ref(), client, at),
            passed: arrival.and_then(|arrival| arrival.passed.clone()),
            operation: surface.api().as_str(),
        };
        timeline.end_stage_at(Stage::Authenticate, authenticated_at);
        if let Some(recording) = timeline.trace.recording() {
            let root = recording.root();
            root.text("gen_ai.operation.name", timeline.operation);
            root.text("ledgerway.request_id", id.to_string());
            root.text("ledgerway.surface", surface.spec().name);
        }
        timeline
    }

    /// The timeline of a second call of the request.
    pub fn beside(&self) -> Self {
        Self {
            figures: Arc::clone(&self.figures),
            stage_began: self.stage_began,
            is_relaying: false,
            own_time: Duration::ZERO,
            call: None,
            trace: self.trace.beside(),
            passed: self.passed.clone(),
            operation: self.operation,
        }
    }

    /// Goes on with the call of `other`, which was made beside its own.
    pub fn go_on_with(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.call, &mut other.call);
        (self.stage_began, self.is_relaying) = (other.stage_began, other.is_relaying);
        if let Some(recording) = self.trace.recording() {
            recording.end_call(Some(HEDGED));
        }
        if let (Some(recording), Some(call)) = (self.trace.recording(), &self.call) {
            recording.add_child("hedge", call.began, Instant::now());
        }
    }

    /// Names the requested model in the trace, cut to the length that a model's name may have.
    pub fn set_requested_model(&mut self, model: &str) {
        if let Some(recording) = self.trace.recording() {
            let model = Model::bounded_name(model);
            let root = recording.root();
            root.name = format!("{} {model}", self.operation);
            root.text("gen_ai.request.model", model);
        }
    }

    /// The gateways that the request has passed.
    pub const fn passed(&self) -> Option<&LoopEntries> {
        self.passed.as_ref()
    }

    /// Ends a stage.
    pub fn end_stage(&mut self, stage: Stage) {
        self.end_stage_at(stage, Instant::now());
    }

    fn end_stage_at(&mut self, stage: Stage, now: Instant) {
        let time = now.saturating_duration_since(self.stage_began);
        self.figures.observe_stage(stage, time);
        if stage.is_ours() {
            self.own_time += time;
        }
        if let Stage::Admit | Stage::Settle = stage
            && let Some(recording) = self.trace.recording()
        {
            recording.add_child(stage.as_str(), self.stage_began, now);
        }
        self.stage_began = now;
    }

    /// The request was served: observes the time that the gateway added to it.
    pub fn served(&self) {
        self.figures.added.observe(self.own_time.as_secs_f64());
    }

    pub fn stream_opens(&self) -> GaugeGuard {
        GaugeGuard::of(&self.figures.open_streams)
    }

    pub fn call_begins(&mut self, target: &PlannedTarget) -> Instant {
        let began = Instant::now();
        let provider_name = target.upstream().telemetry_name;
        let figures = self.figures.providers.of(&target.provider);
        figures.call_begins();
        self.call = Some(CallTimeline { began, provider_name, figures });
        if let Some(recording) = self.trace.recording() {
            let call = recording.begin_call(&format!("call {}", target.name));
            call.text("gen_ai.provider.name", provider_name);
            call.text("ledgerway.provider", &*target.backend.provider);
            call.text("ledgerway.backend_model", &*target.backend.model);
        }
        began
    }

    /// Counts a report of more usage than the request can have had.
    pub fn usage_is_implausible(&self) {
        if let Some(call) = &self.call {
            call.figures.implausible_usage.inc();
        }
    }

    /// The head of the upstream's answer has arrived. Returns how long that took; `None` without a call.
    pub fn call_answered(&self) -> Option<Duration> {
        let call = self.call.as_ref()?;
        let took = call.began.elapsed();
        call.figures.first_byte.observe(took.as_secs_f64());
        Some(took)
    }

    /// The first part of the answer has arrived.
    pub fn answer_begins(&mut self) {
        self.end_stage(Stage::Dispatch);
        self.is_relaying = true;
    }

    /// The call failed and gave nothing to relay.
    pub fn call_failed(&mut self, reason: &str, status: Option<u16>) {
        self.call = None;
        if let Some(recording) = self.trace.recording() {
            if let (Some(call), Some(status)) = (recording.call(), status) {
                call.number("http.response.status_code", u64::from(status));
            }
            recording.end_call(Some(reason));
        }
    }

    /// The call is over; `error` if it ended early. Returns how long it took; `None` without a call.
    pub fn call_ends(&mut self, error: Option<&str>) -> Option<Duration> {
        self.end_stage(if self.is_relaying { Stage::Relay } else { Stage::Dispatch });
        let took = self.call.as_ref().map(|call| {
            let took = call.began.elapsed();
            call.figures.whole.observe(took.as_secs_f64());
            took
        });
        if let Some(recording) = self.trace.recording() {
            recording.end_call(error);
        }
        took
    }

    /// Puts the recorded end of the request into its trace.
    pub fn record_end(&mut self, ended: &InferenceEnded, metered: Option<&Metered>) {
        let Some(recording) = self.trace.recording() else { return };
        let root = recording.root();
        if let Some(call) = &self.call {
            root.text("gen_ai.provider.name", call.provider_name);
        }
        if let Some(backend) = &ended.backend {
            root.text("ledgerway.backend", format!("{}/{}", backend.provider, backend.model));
        }
        if let Some(usage) = &ended.usage {
            root.number("gen_ai.usage.input_tokens", usage.tokens.input());
            root.number("gen_ai.usage.output_tokens", usage.tokens.output());
        }
        if let Some(reason) = &ended.finish_reason {
            root.attributes
                .push(("gen_ai.response.finish_reasons", Attribute::Texts(vec![reason.as_str().to_owned()])));
        }
        for (name, value) in [
            ("gen_ai.response.model", metered.and_then(|metered| metered.upstream_model.as_ref())),
            ("gen_ai.response.id", metered.and_then(|metered| metered.upstream_id.as_ref())),
        ] {
            if let Some(value) = value {
                root.text(name, value);
            }
        }
        root.text("ledgerway.cost_usd", ended.cost_usd.to_string());
        root.number("ledgerway.attempts", u64::from(ended.attempts.unwrap_or_default()));
        if let Some(error) = ended.code.as_ref().or(ended.reason.as_ref()) {
            root.failed(error);
        }
    }

    /// Marks the trace with the error that the client gets instead of an answer.
    pub fn set_error(&mut self, code: ErrorCode) {
        if let Some(recording) = self.trace.recording() {
            recording.root().failed(code.as_str());
        }
    }

    /// The trace's id, for log lines.
    pub fn trace_id(&self) -> Option<String> {
        self.trace.id()
    }

    /// The trace headers for the call that is under way.
    pub fn trace_headers(&self) -> TraceHeaders {
        self.trace.headers()
    }
}
