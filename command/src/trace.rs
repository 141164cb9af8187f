//! Traces. A client's `traceparent` is forwarded to the upstream. If traces are exported, each request is a span of its
//! client's trace, or of a new trace, and the upstream gets the span of its call as parent (ADR-0005).

mod export;
#[cfg(test)]
mod fuzz;
mod otlp;
mod parent;
mod span;

use std::sync::Arc;
use std::time::Instant;

use events::ids::IdMaker;
use events::time::Clock;
use http::HeaderValue;

pub use export::{Exporting, TraceFigures, TraceTarget};
pub use parent::{TRACEPARENT, TRACESTATE, TraceParent};
pub use span::{Attribute, Kind, Span, SpanId, TraceId};

use export::SpanQueue;

/// The `traceparent` flag of a sampled trace.
const SAMPLED: u8 = 1;

/// Creates spans and queues them for the exporter, without waiting. One per process.
pub struct Tracer {
    ids: IdMaker,
    clock: Arc<dyn Clock>,
    queue: SpanQueue,
}

/// The trace headers of a call to an upstream.
#[derive(Clone, Debug, Default)]
pub struct TraceHeaders {
    pub parent: Option<HeaderValue>,
    pub state: Option<HeaderValue>,
}

/// The trace of one request.
pub enum Trace {
    /// Not recorded here; the client's context, if any, is forwarded unchanged.
    Forwarded(Option<Arc<TraceParent>>),
    Recorded(Box<Recording>),
}

/// The span of one request and its children. Dropping it exports them.
pub struct Recording {
    tracer: Arc<Tracer>,
    trace: TraceId,
    client: Option<Arc<TraceParent>>,
    began: Instant,
    /// `began` by the wall clock, from which other times are computed.
    began_unix_nanos: u64,
    root: Span,
    children: Vec<Span>,
    call: Option<Span>,
}

impl Trace {
    /// The trace of a request that arrived at `began`. Not recorded if the client's trace is not sampled.
    pub fn of(tracer: Option<&Arc<Tracer>>, client: Option<Arc<TraceParent>>, began: Instant) -> Self {
        match tracer {
            Some(tracer) if client.as_ref().is_none_or(|client| client.is_sampled()) => {
                Self::Recorded(Box::new(Recording::begin(tracer, client, began)))
            }
            _ => Self::Forwarded(client),
        }
    }

    pub fn recording(&mut self) -> Option<&mut Recording> {
        match self {
            Self::Forwarded(_) => None,
            Self::Recorded(recording) => Some(recording),
        }
    }

    /// The trace's id, for log lines.
    pub fn id(&self) -> Option<TraceId> {
        match self {
            Self::Forwarded(None) => None,
            Self::Forwarded(Some(client)) => Some(client.trace),
            Self::Recorded(recording) => Some(recording.trace),
        }
    }

    /// The headers for the current call.
    pub fn headers(&self) -> TraceHeaders {
        match self {
            Self::Forwarded(_) => self.client_headers(),
            Self::Recorded(recording) => recording.headers(),
        }
    }

    /// The headers for a call without a span of its own: those of the client.
    pub fn client_headers(&self) -> TraceHeaders {
        let client = match self {
            Self::Forwarded(client) => client,
            Self::Recorded(recording) => &recording.client,
        };
        let headers = |client: &Arc<TraceParent>| TraceHeaders {
            parent: Some(client.header.clone()),
            state: client.state.clone(),
        };
        client.as_ref().map(headers).unwrap_or_default()
    }
}

impl Recording {
    fn begin(tracer: &Arc<Tracer>, client: Option<Arc<TraceParent>>, began: Instant) -> Self {
        let trace = client.as_ref().map_or_else(|| TraceId(tracer.ids.bytes()), |client| client.trace);
        let now = tracer.clock.now().timestamp_nanos_opt().and_then(|nanos| u64::try_from(nanos).ok());
        let since = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let began_unix_nanos = now.unwrap_or_default().saturating_sub(since);
        let parent = client.as_ref().map(|client| client.parent);
        let root = Span::begin(SpanId(tracer.ids.bytes()), parent, "chat", Kind::Server, began_unix_nanos);
        Self {
            tracer: Arc::clone(tracer),
            trace,
            client,
            began,
            began_unix_nanos,
            root,
            children: Vec::new(),
            call: None,
        }
    }

    /// The request's own span.
    pub fn root(&mut self) -> &mut Span {
        &mut self.root
    }

    /// Adds a part of the request that has ended.
    pub fn add_child(&mut self, name: &str, from: Instant, to: Instant) {
        let (from, to) = (self.unix_nanos(from), self.unix_nanos(to));
        let mut child = self.span(name, Kind::Internal, from);
        child.end_unix_nanos = to;
        self.children.push(child);
    }

    /// Begins the span of a call to an upstream, and ends the one before: one call at a time has a span: a hedge is a child of its own.
    pub fn begin_call(&mut self, name: &str) -> &mut Span {
        self.end_call(None);
        let now = self.unix_nanos(Instant::now());
        let call = self.span(name, Kind::Client, now);
        self.call.insert(call)
    }

    pub fn call(&mut self) -> Option<&mut Span> {
        self.call.as_mut()
    }

    /// Ends the span of the current call, with the error if it failed.
    pub fn end_call(&mut self, error: Option<&str>) {
        let now = self.unix_nanos(Instant::now());
        if let Some(mut call) = self.call.take() {
            call.end_unix_nanos = now;
            if let Some(error) = error {
                call.failed(error);
            }
            self.children.push(call);
        }
    }

    fn span(&self, name: &str, kind: Kind, begin: u64) -> Span {
        Span::begin(SpanId(self.tracer.ids.bytes()), Some(self.root.id), name, kind, begin)
    }

    fn headers(&self) -> TraceHeaders {
        let parent = self.call.as_ref().unwrap_or(&self.root).id;
        TraceHeaders {
            parent: HeaderValue::try_from(format!("00-{}-{parent}-{SAMPLED:02x}", self.trace)).ok(),
            state: self.client.as_ref().and_then(|client| client.state.clone()),
        }
    }

    fn unix_nanos(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.began);
        self.began_unix_nanos.saturating_add(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.end_call(None);
        self.root.end_unix_nanos = self.unix_nanos(Instant::now());
        let root = std::mem::take(&mut self.root);
        let mut spans = std::mem::take(&mut self.children);
        spans.push(root);
        let state = self.client.as_ref().and_then(|client| client.state.clone());
        self.tracer.queue.put(otlp::RequestSpans { trace: self.trace, state, spans });
    }
}
