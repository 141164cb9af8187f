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

use super::call_timeline::CallTimeline;
use crate::figures::{RequestFigures, Stage};
use crate::inference::node::gateway::Gateway;
use crate::inference::targets::target::PlannedTarget;
use crate::trace::{Attribute, Trace, TraceId, TraceParent};

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
    trace: Trace,
    passed: Option<LoopEntries>,
    /// The name of what it asks for.
    operation: &'static str,
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

    /// Begins a call to a target, with a span of its own.
    pub fn call_begins(&mut self, target: &PlannedTarget) -> CallTimeline {
        if let Some(recording) = self.trace.recording() {
            let call = recording.begin_call(&format!("call {}", target.name));
            call.text("gen_ai.provider.name", target.upstream().telemetry_name);
            call.text("ledgerway.provider", &*target.backend.provider);
            call.text("ledgerway.backend_model", &*target.backend.model);
        }
        CallTimeline::begin(&self.figures, target, self.trace.headers())
    }

    /// Begins a call beside the one that has the span: it gets one once the request goes on with it.
    pub fn call_begins_beside(&self, target: &PlannedTarget) -> CallTimeline {
        CallTimeline::begin(&self.figures, target, self.trace.client_headers())
    }

    /// Goes on with a call that was made beside the one that had the span; `None` if that has failed.
    pub fn go_on_with(&mut self, call: Option<&CallTimeline>) {
        if let Some(recording) = self.trace.recording() {
            recording.end_call(Some(HEDGED));
            if let Some(call) = call {
                recording.add_child("hedge", call.began, Instant::now());
            }
        }
    }

    /// The first part of the answer has arrived.
    pub fn answer_begins(&mut self) {
        self.end_stage(Stage::Dispatch);
        self.is_relaying = true;
    }

    /// The call that has the span failed and gave nothing to relay.
    pub fn call_failed(&mut self, reason: &str, status: Option<u16>) {
        if let Some(recording) = self.trace.recording() {
            if let (Some(call), Some(status)) = (recording.call(), status) {
                call.number("http.response.status_code", u64::from(status));
            }
            recording.end_call(Some(reason));
        }
    }

    /// The last call is over; `error` if it ended early.
    pub fn call_ends(&mut self, error: Option<&str>) {
        self.end_stage(if self.is_relaying { Stage::Relay } else { Stage::Dispatch });
        if let Some(recording) = self.trace.recording() {
            recording.end_call(error);
        }
    }

    /// Puts the recorded end of the request into its trace.
    pub fn record_end(
        &mut self,
        ended: &InferenceEnded,
        metered: Option<&Metered>,
        provider_name: Option<&'static str>,
    ) {
        let Some(recording) = self.trace.recording() else { return };
        let root = recording.root();
        if let Some(name) = provider_name {
            root.text("gen_ai.provider.name", name);
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
    pub fn trace_id(&self) -> Option<TraceId> {
        self.trace.id()
    }
}
