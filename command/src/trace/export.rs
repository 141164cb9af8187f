//! Exports spans to a collector, from a bounded queue, twice a second. Spans that find no room, or that the collector does not
//! accept, are dropped and counted: no request waits for the export or fails because of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use events::ids::IdMaker;
use events::time::Clock;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Uri};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use projections::figures::registered;
use prometheus::{IntCounter, Registry};
use provider_client::{TlsSetupError, tls_config};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Tracer;
use super::otlp::{RequestSpans, request};

/// Requests whose spans can wait, with a few kilobytes each.
const QUEUE_LEN_MAX: usize = 2048;
/// Requests in one message to the collector.
const BATCH_MAX: usize = 256;
/// How long spans wait for more spans to be sent together.
const GATHER_MAX: Duration = Duration::from_millis(500);
/// How long the collector may take to respond.
const RESPONSE_WAIT_MAX: Duration = Duration::from_secs(5);
/// The pauses before further attempts after a temporary failure.
const RETRY_AFTER: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];
/// How long a shutdown waits for the last spans.
const FLUSH_MAX: Duration = Duration::from_secs(2);
/// The least time between two warnings about the collector.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// The collector that spans are exported to.
pub struct TraceTarget {
    /// The full address, with the path `/v1/traces`.
    pub url: Uri,
    /// May include credentials.
    pub headers: HeaderMap,
    pub service: String,
}

/// Counts of exported and dropped spans. Cheap to clone.
#[derive(Clone)]
pub struct TraceFigures {
    exported: IntCounter,
    dropped: IntCounter,
}

impl TraceFigures {
    /// Errors: the registry already has metrics of these names.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| registered(registry, IntCounter::new(name, help)?);
        Ok(Self {
            exported: counter("ledgerway_spans_exported_total", "Spans that the collector accepted")?,
            dropped: counter(
                "ledgerway_spans_dropped_total",
                "Spans that found no room in the queue, or that the collector did not accept",
            )?,
        })
    }
}

/// The queue of spans that wait for export.
pub(super) struct SpanQueue {
    spans: mpsc::Sender<RequestSpans>,
    figures: TraceFigures,
}

impl SpanQueue {
    pub(super) fn put(&self, request: RequestSpans) {
        let spans = request.spans.len() as u64;
        if self.spans.try_send(request).is_err() {
            self.figures.dropped.inc_by(spans);
        }
    }
}

/// The task that exports spans. It ends with [`Exporting::close`], or when this is dropped.
pub struct Exporting {
    task: JoinSet<()>,
    closing: CancellationToken,
}

impl Exporting {
    /// Starts the task. Must be called inside a runtime.
    pub fn start(
        target: TraceTarget,
        figures: TraceFigures,
        ids: IdMaker,
        clock: Arc<dyn Clock>,
    ) -> Result<(Arc<Tracer>, Self), TlsSetupError> {
        let https = HttpsConnectorBuilder::new().with_tls_config(tls_config()?).https_or_http().enable_http1().build();
        let client =
            Client::builder(TokioExecutor::new()).timer(TokioTimer::new()).pool_timer(TokioTimer::new()).build(https);
        let (spans, queue) = mpsc::channel(QUEUE_LEN_MAX);
        let closing = CancellationToken::new();
        let exporter = Exporter { client, target, figures: figures.clone(), warned_at: None };
        let mut task = JoinSet::new();
        task.spawn(exporter.run(queue, closing.clone()));
        Ok((Arc::new(Tracer { ids, clock, queue: SpanQueue { spans, figures } }), Self { task, closing }))
    }

    /// Exports the spans in the queue, for two seconds at most.
    pub async fn close(mut self) {
        self.closing.cancel();
        let ended = async { while self.task.join_next().await.is_some() {} };
        if timeout(FLUSH_MAX, ended).await.is_err() {
            tracing::warn!("the last spans were not exported before the shutdown");
        }
    }
}

struct Exporter {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    target: TraceTarget,
    figures: TraceFigures,
    warned_at: Option<Instant>,
}

impl Exporter {
    async fn run(mut self, mut queue: mpsc::Receiver<RequestSpans>, closing: CancellationToken) {
        loop {
            let first = tokio::select! {
                biased;
                first = queue.recv() => first,
                () = closing.cancelled() => return,
            };
            let Some(first) = first else { return };
            let mut batch = vec![first];
            let until = Instant::now() + GATHER_MAX;
            while batch.len() < BATCH_MAX {
                let more = tokio::select! {
                    biased;
                    more = timeout_at(until, queue.recv()) => more.ok().flatten(),
                    // A shutdown still exports what is in the queue, but does not wait for more.
                    () = closing.cancelled() => queue.try_recv().ok(),
                };
                match more {
                    Some(more) => batch.push(more),
                    None => break,
                }
            }
            self.export(&batch).await;
        }
    }

    async fn export(&mut self, batch: &[RequestSpans]) {
        let spans = batch.iter().map(|request| request.spans.len() as u64).sum();
        let body = Bytes::from(request(&self.target.service, batch).to_string());
        for wait in RETRY_AFTER.into_iter().map(Some).chain([None]) {
            match self.send(body.clone()).await {
                Ok(()) => return self.figures.exported.inc_by(spans),
                Err(Failure { is_temporary: true, .. }) if wait.is_some() => {
                    tokio::time::sleep(wait.unwrap_or_default()).await;
                }
                Err(failure) => {
                    self.figures.dropped.inc_by(spans);
                    return self.warn(&failure);
                }
            }
        }
    }

    async fn send(&self, body: Bytes) -> Result<(), Failure> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.target.url.clone();
        *request.headers_mut() = self.target.headers.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let agent = HeaderValue::from_static(concat!("ledgerway/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        let response = timeout(RESPONSE_WAIT_MAX, self.client.request(request)).await;
        match response {
            Err(_) => Err(Failure { why: "it did not respond in time", status: None, is_temporary: true }),
            Ok(Err(_)) => Err(Failure { why: "it cannot be reached", status: None, is_temporary: true }),
            Ok(Ok(response)) => match response.status().as_u16() {
                200..=299 => Ok(()),
                status => {
                    let is_temporary = matches!(status, 429 | 502 | 503 | 504);
                    Err(Failure { why: "it refused them", status: Some(status), is_temporary })
                }
            },
        }
    }

    fn warn(&mut self, failure: &Failure) {
        if self.warned_at.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            self.warned_at = Some(Instant::now());
            tracing::warn!(
                why = failure.why,
                status = failure.status,
                "the collector does not accept spans; they are dropped"
            );
        }
    }
}

struct Failure {
    why: &'static str,
    status: Option<u16>,
    is_temporary: bool,
}
