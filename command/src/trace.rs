//! Traces. A client's `traceparent` goes on to the upstream; where traces are exported each request becomes a span of its
//! client's trace, or of a new one, and the upstream becomes our child.

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
pub use parent::TraceParent;
pub use span::{Attribute, Kind, Span, SpanId, TraceId};

use export::Queue;

/// The flag of a trace that is recorded.
const SAMPLED: u8 = 1;

/// Makes spans and hands them to the exporter, which never makes anybody wait. One for the whole process.
pub struct Tracer {
    ids: IdMaker,
    clock: Arc<dyn Clock>,
    queue: Queue,
}

/// What an upstream is told of the trace.
#[derive(Clone, Debug, Default)]
pub struct TraceHeaders {
    pub parent: Option<HeaderValue>,
    pub state: Option<HeaderValue>,
}

/// The trace of one request.
pub enum Trace {
    /// Ours to pass on unchanged, where the client sent one.
    Passed(Option<Arc<TraceParent>>),
    Recorded(Box<Recording>),
}

/// One request that becomes a span with children. Dropped, it is exported.
pub struct Recording {
    tracer: Arc<Tracer>,
    trace: TraceId,
    client: Option<Arc<TraceParent>>,
    /// For times of the wall clock.
    began: Instant,
    began_unix_nanos: u64,
    root: Span,
    children: Vec<Span>,
    call: Option<Span>,
}

impl Trace {
    /// Of a request that came at `began`. A client whose trace is not recorded gets none here either.
    pub fn of(tracer: Option<&Arc<Tracer>>, client: Option<Arc<TraceParent>>, began: Instant) -> Self {
        match tracer {
            Some(tracer) if client.as_ref().is_none_or(|client| client.is_sampled()) => {
                Self::Recorded(Box::new(Recording::begin(tracer, client, began)))
            }
            _ => Self::Passed(client),
        }
    }

    pub fn recording(&mut self) -> Option<&mut Recording> {
        match self {
            Self::Passed(_) => None,
            Self::Recorded(recording) => Some(recording),
        }
    }

    /// For log lines.
    pub fn id(&self) -> Option<String> {
        match self {
            Self::Passed(client) => client.as_ref().map(|client| client.trace.to_string()),
            Self::Recorded(recording) => Some(recording.trace.to_string()),
        }
    }

    /// For the call that is under way.
    pub fn headers(&self) -> TraceHeaders {
        match self {
            Self::Passed(None) => TraceHeaders::default(),
            Self::Passed(Some(client)) => {
                TraceHeaders { parent: Some(client.header.clone()), state: client.state.clone() }
            }
            Self::Recorded(recording) => recording.headers(),
        }
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

    /// A part of the request that is over.
    pub fn child(&mut self, name: &str, from: Instant, to: Instant) {
        let (from, to) = (self.unix_nanos(from), self.unix_nanos(to));
        let mut child = self.span(name, Kind::Internal, from);
        child.end_unix_nanos = to;
        self.children.push(child);
    }

    /// An upstream is called. One call is under way at a time.
    pub fn call_begins(&mut self, name: &str) -> &mut Span {
        self.call_ends(None);
        let now = self.unix_nanos(Instant::now());
        let call = self.span(name, Kind::Client, now);
        self.call.insert(call)
    }

    pub fn call(&mut self) -> Option<&mut Span> {
        self.call.as_mut()
    }

    /// The call that is under way is over; `error` where it failed.
    pub fn call_ends(&mut self, error: Option<&str>) {
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
        self.call_ends(None);
        self.root.end_unix_nanos = self.unix_nanos(Instant::now());
        let root = std::mem::take(&mut self.root);
        let mut spans = std::mem::take(&mut self.children);
        spans.push(root);
        let state = self.client.as_ref().and_then(|client| client.state.clone());
        self.tracer.queue.put(otlp::Traced { trace: self.trace, state, spans });
    }
}
