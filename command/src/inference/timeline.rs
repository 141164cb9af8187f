//! What time one request takes in each of its stages, and its trace where traces are exported.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dialects::Metered;
use events::event::admin::Model;
use events::event::inference::InferenceEnded;
use events::ids::RequestId;
use events::refusal::ErrorCode;

use super::gateway::Gateway;
use super::target::PlannedTarget;
use crate::figures::{GaugeGuard, ProviderFigures, RequestFigures, Stage};
use crate::trace::{Attribute, Trace, TraceHeaders, TraceParent};

/// When a request came to the door, when it was let in, and of which trace it says that it is. An extension of the request.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub at: Instant,
    pub let_in: Instant,
    pub trace: Option<Arc<TraceParent>>,
}

/// Every stage is timed when it is over.
pub struct RequestTimeline {
    figures: Arc<RequestFigures>,
    /// When the stage before this one was over.
    since: Instant,
    /// Whether the answer has begun: what follows is relayed.
    relays: bool,
    /// What the gateway itself has spent.
    ours: Duration,
    /// The call that is under way or was answered.
    call: Option<Call>,
    trace: Trace,
}

/// A call to an upstream.
struct Call {
    began: Instant,
    provider_name: &'static str,
    figures: Arc<ProviderFigures>,
}

impl RequestTimeline {
    /// Of a request that was let in.
    pub fn begin(gateway: &Gateway, id: RequestId, surface: &str, arrival: Option<&Arrival>) -> Self {
        let now = Instant::now();
        let (at, let_in) = arrival.map_or((now, now), |arrival| (arrival.at, arrival.let_in));
        let client = arrival.and_then(|arrival| arrival.trace.clone());
        let mut timeline = Self {
            figures: Arc::clone(&gateway.figures),
            since: at,
            relays: false,
            ours: Duration::ZERO,
            call: None,
            trace: Trace::of(gateway.tracer.as_ref(), client, at),
        };
        timeline.passed_at(Stage::Authenticate, let_in);
        if let Some(recording) = timeline.trace.recording() {
            let root = recording.root();
            root.text("gen_ai.operation.name", "chat");
            root.text("ledgerway.request_id", id.to_string());
            root.text("ledgerway.surface", surface);
        }
        timeline
    }

    /// What is asked for; a name that a client made up is not longer than a model's can be.
    pub fn asks_for(&mut self, model: &str) {
        if let Some(recording) = self.trace.recording() {
            let model = Model::bounded_name(model);
            let root = recording.root();
            root.name = format!("chat {model}");
            root.text("gen_ai.request.model", model);
        }
    }

    /// This stage has just ended.
    pub fn passed(&mut self, stage: Stage) {
        self.passed_at(stage, Instant::now());
    }

    fn passed_at(&mut self, stage: Stage, now: Instant) {
        let time = now.saturating_duration_since(self.since);
        self.figures.observe_stage(stage, time);
        if stage.is_ours() {
            self.ours += time;
        }
        if let Stage::Admit | Stage::Settle = stage
            && let Some(recording) = self.trace.recording()
        {
            recording.add_child(stage.as_str(), self.since, now);
        }
        self.since = now;
    }

    /// The request was served: what the gateway added to it is known.
    pub fn served(&self) {
        self.figures.observe_added(self.ours);
    }

    pub fn stream_opens(&self) -> GaugeGuard {
        self.figures.count_stream()
    }

    pub fn call_begins(&mut self, target: &PlannedTarget) -> Instant {
        let began = Instant::now();
        let provider_name = target.upstream().telemetry_name;
        let figures = self.figures.provider(&target.provider);
        figures.calls.inc();
        self.call = Some(Call { began, provider_name, figures });
        if let Some(recording) = self.trace.recording() {
            let call = recording.begin_call(&format!("call {}", target.name));
            call.text("gen_ai.provider.name", provider_name);
            call.text("ledgerway.provider", &*target.backend.provider);
            call.text("ledgerway.backend_model", &*target.backend.model);
        }
        began
    }

    /// The provider that was called reports more than the request can have used.
    pub fn usage_is_implausible(&self) {
        if let Some(call) = &self.call {
            call.figures.implausible_usage.inc();
        }
    }

    /// The head of an answer is there.
    pub fn call_answered(&self) {
        if let Some(call) = &self.call {
            call.figures.first_byte.observe(call.began.elapsed().as_secs_f64());
        }
    }

    /// The first of the answer is there.
    pub fn answer_begins(&mut self) {
        self.passed(Stage::Dispatch);
        self.relays = true;
    }

    /// It gave nothing to relay.
    pub fn call_failed(&mut self, reason: &str, status: Option<u16>) {
        self.call = None;
        if let Some(recording) = self.trace.recording() {
            if let (Some(call), Some(status)) = (recording.call(), status) {
                call.number("http.response.status_code", u64::from(status));
            }
            recording.end_call(Some(reason));
        }
    }

    /// The upstream has said all, or as much as anybody will hear; `error` where it broke off.
    pub fn call_ends(&mut self, error: Option<&str>) {
        self.passed(if self.relays { Stage::Relay } else { Stage::Dispatch });
        if let Some(call) = &self.call {
            call.figures.whole.observe(call.began.elapsed().as_secs_f64());
        }
        if let Some(recording) = self.trace.recording() {
            recording.end_call(error);
        }
    }

    /// What is recorded of its end.
    pub fn ends_as(&mut self, ended: &InferenceEnded, metered: Option<&Metered>) {
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

    /// The client gets this instead of an answer.
    pub fn refused_as(&mut self, code: ErrorCode) {
        if let Some(recording) = self.trace.recording() {
            recording.root().failed(code.as_str());
        }
    }

    /// For log lines.
    pub fn trace_id(&self) -> Option<String> {
        self.trace.id()
    }

    /// For the call that is under way.
    pub fn trace_headers(&self) -> TraceHeaders {
        self.trace.headers()
    }
}
