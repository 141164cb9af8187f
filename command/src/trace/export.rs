//! Hands spans to a collector, a few times a second, from a bounded queue. What finds no room there, or no collector, is
//! dropped and counted: a request neither waits for it nor fails by it.

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
use prometheus::{IntCounter, Registry};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use upstream::{TlsSetupError, tls_config};

use super::Tracer;
use super::otlp::{Traced, request};

/// Requests whose spans wait. A few kilobytes each.
const QUEUE_LEN_MAX: usize = 2048;
/// Requests in one message to the collector.
const BATCH_MAX: usize = 256;
/// How long spans wait for others to go with.
const GATHER_MAX: Duration = Duration::from_millis(500);
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// After a failure that may pass; it is tried again so often.
const RETRY_AFTER: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];
/// How long a shutdown waits for the last of them.
const FLUSH_MAX: Duration = Duration::from_secs(2);
/// Between two lines about a collector that does not take them.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// Where spans go.
pub struct TraceTarget {
    /// With its path, `/v1/traces`.
    pub url: Uri,
    /// Credentials may be among them.
    pub headers: HeaderMap,
    pub service: String,
}

/// What became of spans. Cheap to clone.
#[derive(Clone)]
pub struct TraceFigures {
    exported: IntCounter,
    dropped: IntCounter,
}

impl TraceFigures {
    /// Errors: the registry has families of these names already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        Ok(Self {
            exported: counter("ledgerway_spans_exported_total", "Spans that the collector took")?,
            dropped: counter("ledgerway_spans_dropped_total", "Spans that found no room or no collector")?,
        })
    }
}

/// Where spans wait.
pub(super) struct Queue {
    spans: mpsc::Sender<Traced>,
    figures: TraceFigures,
}

impl Queue {
    pub(super) fn put(&self, traced: Traced) {
        let spans = traced.spans.len() as u64;
        if self.spans.try_send(traced).is_err() {
            self.figures.dropped.inc_by(spans);
        }
    }
}

/// The task that exports. Ends with [`Exporting::close`], or when it is dropped.
pub struct Exporting {
    task: JoinSet<()>,
    closing: CancellationToken,
}

impl Exporting {
    /// Starts it. Needs a tokio runtime.
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
        let exporter = Exporter { client, target, figures: figures.clone(), complained: None };
        let mut task = JoinSet::new();
        task.spawn(exporter.run(queue, closing.clone()));
        Ok((Arc::new(Tracer { ids, clock, queue: Queue { spans, figures } }), Self { task, closing }))
    }

    /// Sends what is there, for two seconds at most.
    pub async fn close(mut self) {
        self.closing.cancel();
        let ended = async { while self.task.join_next().await.is_some() {} };
        if timeout(FLUSH_MAX, ended).await.is_err() {
            tracing::warn!("the last spans could not be handed to the collector");
        }
    }
}

struct Exporter {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    target: TraceTarget,
    figures: TraceFigures,
    complained: Option<Instant>,
}

impl Exporter {
    async fn run(mut self, mut queue: mpsc::Receiver<Traced>, closing: CancellationToken) {
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
                    // What is in the queue is taken all the same, without waiting for more.
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

    async fn export(&mut self, batch: &[Traced]) {
        let spans = batch.iter().map(|traced| traced.spans.len() as u64).sum();
        let body = Bytes::from(request(&self.target.service, batch).to_string());
        for wait in RETRY_AFTER.into_iter().map(Some).chain([None]) {
            match self.send(body.clone()).await {
                Ok(()) => return self.figures.exported.inc_by(spans),
                Err(Failure { may_pass: true, .. }) if wait.is_some() => {
                    tokio::time::sleep(wait.unwrap_or_default()).await;
                }
                Err(failure) => {
                    self.figures.dropped.inc_by(spans);
                    return self.complain(&failure);
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
        let answer = timeout(ANSWER_MAX, self.client.request(request)).await;
        match answer {
            Err(_) => Err(Failure { why: "it did not answer in time", status: None, may_pass: true }),
            Ok(Err(_)) => Err(Failure { why: "it cannot be reached", status: None, may_pass: true }),
            Ok(Ok(answer)) => match answer.status().as_u16() {
                200..=299 => Ok(()),
                status => {
                    let may_pass = matches!(status, 429 | 502 | 503 | 504);
                    Err(Failure { why: "it refused", status: Some(status), may_pass })
                }
            },
        }
    }

    fn complain(&mut self, failure: &Failure) {
        if self.complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
            self.complained = Some(Instant::now());
            tracing::warn!(
                why = failure.why,
                status = failure.status,
                "the collector does not take spans; they are dropped"
            );
        }
    }
}

struct Failure {
    why: &'static str,
    status: Option<u16>,
    may_pass: bool,
}
