//! A mock provider with OpenAI's and Anthropic's APIs, and OpenAI's embeddings; the model's name selects its behaviour. It is also
//! [Vertex AI](google).
//!
//! | model                      | behaviour                                                            |
//! |----------------------------|----------------------------------------------------------------------|
//! | `ok`                       | answers [`TEXT`]                                                     |
//! | `gate`                     | waits until the gate is open                                         |
//! | `slow-MS`, `paced-MS`      | waits before the answer; waits before each word                      |
//! | `hang`                     | never answers                                                        |
//! | `e500`                     | fails with an error of the provider                                  |
//! | `e429`, `e429-S`           | is busy, with `Retry-After` of one second or S                       |
//! | `html`, `halfjson`, `empty`| status 200 with a page, half an answer, nothing                      |
//! | `close`                    | closes the connection without a response                             |
//! | `cut`                      | breaks off in the middle of the response                             |
//! | `brokensse`                | a stream of events that are not JSON                                 |
//! | `usage-IN-OUT-TOTAL`       | reports these token counts                                           |
//! | `leaky`                    | 401, repeating the credentials that it was sent                      |
//! | `redirect`                 | redirects                                                            |
//! | `flood`                    | streams words without an end, as fast as they are read               |
//! | `reject-STATUS`            | rejects the request as too long, with this status                    |
//! | `rejectlong`               | the same with 400 and a message of a megabyte                        |
//! | `rejectleak`               | 400, repeating the credentials that it was sent, in several forms    |
//! | `rejectinside`             | the same inside of a response with status 200                        |
//! | `rejectlate`               | the same after a few words                                           |
//! | `e503`, `stall`            | is overloaded; begins a response and then stalls                     |
//! | `said`                     | the response that the test has set ([`MockUpstream::says`])          |
//! | `chaos-N`                  | one of these at random, see [`chaos`]; N makes names unique          |

mod answer;
mod chaos;
pub mod google;
mod keys;
mod rejection;
mod responses;
pub(crate) mod tls;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub use answer::TEXT;
use answer::{Answer, Dialect, Reported, inputs_of};
pub use chaos::Chaos;
pub use rejection::{CODE, MESSAGE, PARAM};
use responses::{BEFORE_THE_CUT, flooding, leak, redirect, stalled, streamed_frames, too_many, whole_answer};
pub(super) use responses::{Pieces, closed, in_pieces, whole};
pub use tls::{CERTIFICATE, stream_acceptor};

/// The longest wait for a request.
const SEEN_MAX: Duration = Duration::from_secs(20);

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Seen {
    pub fn model(&self) -> &str {
        self.body["model"].as_str().unwrap_or_default()
    }

    /// The API key that it was sent with.
    pub fn key(&self) -> Option<&str> {
        let header = |name| self.headers.get(name)?.to_str().ok();
        let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        bearer.or_else(|| header("x-api-key")).or_else(|| header("x-goog-api-key"))
    }
}

type Hook = Arc<dyn Fn(Seen) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

pub struct MockUpstream {
    scheme: &'static str,
    port: u16,
    state: Arc<State>,
    _server: JoinSet<()>,
}

struct State {
    seen: Mutex<Vec<Seen>>,
    gate: watch::Sender<bool>,
    on_request: Mutex<Option<Hook>>,
    set_response: Mutex<(&'static str, Bytes)>,
    chaos: Chaos,
    keys: keys::Keys,
}

impl MockUpstream {
    pub async fn start() -> Self {
        Self::start_with(Chaos::of(0)).await
    }

    pub async fn start_with(chaos: Chaos) -> Self {
        Self::start_on("http", Builder::new(TokioExecutor::new()), None, chaos).await
    }

    /// A mock with HTTP/2 over TLS and at most `streams_max` streams per connection. Its callers must trust [`CERTIFICATE`].
    pub async fn start_http2(streams_max: u32) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http2().max_concurrent_streams(streams_max);
        Self::start_on("https", builder, Some(tls::acceptor()), Chaos::of(0)).await
    }

    async fn start_on(
        scheme: &'static str,
        builder: Builder<TokioExecutor>,
        tls: Option<TlsAcceptor>,
        chaos: Chaos,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let state = Arc::new(State {
            seen: Mutex::default(),
            gate: watch::Sender::new(false),
            on_request: Mutex::default(),
            set_response: Mutex::default(),
            chaos,
            keys: keys::Keys::default(),
        });
        let mut server = JoinSet::new();
        server.spawn(serve(listener, builder, tls, Arc::clone(&state)));
        Self { scheme, port, state, _server: server }
    }

    pub fn origin(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    pub fn base_url(&self, kind: &str) -> String {
        self.origin() + if kind == "openai" { "/v1" } else { "" }
    }

    pub fn open_gate(&self) {
        self.state.gate.send_replace(true);
    }

    pub fn close_gate(&self) {
        self.state.gate.send_replace(false);
    }

    /// Sets the response of the model `said`, with status 200.
    pub fn says(&self, content_type: &'static str, body: impl Into<Bytes>) {
        *self.state.set_response.lock().expect("the response") = (content_type, body.into());
    }

    /// Refuses this API key from now on.
    pub fn refuses_key(&self, key: &str, status: u16, body: &'static str, headers: &[(&'static str, &'static str)]) {
        self.state.keys.set(key, Some((status, body)), headers);
    }

    /// Accepts this API key from now on, with these headers.
    pub fn accepts_key(&self, key: &str, headers: &[(&'static str, &'static str)]) {
        self.state.keys.set(key, None, headers);
    }

    pub fn seen_with(&self, key: &str) -> usize {
        self.seen().iter().filter(|seen| seen.key() == Some(key)).count()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().expect("the requests").clone()
    }

    pub fn chaos(&self) -> &Chaos {
        &self.state.chaos
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.state.seen.lock().expect("the requests").clear();
    }

    pub fn seen_of(&self, model: &str) -> usize {
        self.seen().iter().filter(|seen| seen.model() == model).count()
    }

    /// Waits until a model has been asked for so often.
    ///
    /// Panics if that takes more than twenty seconds.
    pub async fn until_seen(&self, model: &str, times: usize) {
        let began = Instant::now();
        while self.seen_of(model) < times {
            assert!(began.elapsed() < SEEN_MAX, "{model} was asked {} times of {times}", self.seen_of(model));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sets a function that runs before each response.
    pub fn on_request<F: Future<Output = ()> + Send + 'static>(
        &self,
        hook: impl Fn(Seen) -> F + Send + Sync + 'static,
    ) {
        let hook: Hook = Arc::new(move |seen| Box::pin(hook(seen)));
        *self.state.on_request.lock().expect("the hook") = Some(hook);
    }
}

async fn serve(listener: TcpListener, builder: Builder<TokioExecutor>, tls: Option<TlsAcceptor>, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (builder, tls, state) = (builder.clone(), tls.clone(), Arc::clone(&state));
        connections.spawn(async move {
            let service = service_fn(move |request| answer_one(request, Arc::clone(&state)));
            // Some tests cut connections on purpose.
            let _ = match tls {
                None => builder.serve_connection(TokioIo::new(stream), service).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => builder.serve_connection(TokioIo::new(stream), service).await,
                    Err(error) => Err(error.into()),
                },
            };
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer_one(request: Request<Incoming>, state: Arc<State>) -> io::Result<Response<Pieces>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let seen = Seen {
        path: head.uri.path().to_owned(),
        headers: head.headers,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    };
    state.seen.lock().expect("the requests").push(seen.clone());
    let hook = state.on_request.lock().expect("the hook").clone();
    if let Some(hook) = hook {
        hook(seen.clone()).await;
    }
    if let Some(refusal) = state.keys.refusal(&seen) {
        return Ok(refusal);
    }
    Ok(state.keys.complete(&seen, behave(&seen, &state).await?))
}

async fn behave(seen: &Seen, state: &State) -> io::Result<Response<Pieces>> {
    let count = state.seen.lock().expect("the requests").iter().filter(|other| other.path == seen.path).count();
    if let Some(response) = google::respond(seen, count) {
        return response;
    }
    let model = match seen.model() {
        chaotic if chaotic.starts_with("chaos-") => state.chaos.draw(seen).to_owned(),
        other => other.to_owned(),
    };
    let (kind, number) = model.split_once('-').unwrap_or((&model, "0"));
    let pause = Duration::from_millis(number.parse().unwrap_or(0));
    let mut between_words = Duration::ZERO;
    let dialect = match &seen.path {
        path if path.ends_with("/messages") => Dialect::Anthropic,
        path if path.ends_with("/embeddings") => Dialect::Embeddings { inputs: inputs_of(&seen.body) },
        _ => Dialect::OpenAi,
    };
    let streamed = seen.body["stream"] == Value::Bool(true);
    match kind {
        "e500" => return Ok(whole(500, "application/json", r#"{"error":{"message":"boom","type":"server_error"}}"#)),
        "e429" => return Ok(too_many(if number == "0" { "1" } else { number })),
        "e503" => return Ok(whole(503, "application/json", r#"{"error":{"message":"later","type":"overloaded"}}"#)),
        "html" => return Ok(whole(200, "text/html", "<html><body>Welcome to nginx</body></html>")),
        "halfjson" => return Ok(whole(200, "application/json", r#"{"id":"x","choices":[{"index":0,"mess"#)),
        "empty" => return Ok(whole(200, "application/json", "")),
        "leaky" => return Ok(leak(seen)),
        "redirect" => return Ok(redirect()),
        "reject" => return Ok(whole(number.parse().expect("a status"), "application/json", rejection::body(dialect))),
        "rejectlong" => return Ok(whole(400, "application/json", rejection::long())),
        "rejectleak" => return Ok(whole(400, "application/json", rejection::leaking(&seen.headers))),
        "rejectinside" | "rejectlate" if !streamed => {
            return Ok(whole(200, "application/json", rejection::inside(dialect)));
        }
        "rejectinside" => return Ok(whole(200, "text/event-stream", rejection::event(dialect))),
        "brokensse" => return Ok(whole(200, "text/event-stream", "data: {\"id\": broken\n\ndata: <b>\n\n")),
        "close" => return Err(closed()),
        "hang" => std::future::pending().await,
        "slow" => tokio::time::sleep(pause).await,
        "paced" => between_words = pause,
        "stall" => return Ok(stalled()),
        "flood" => return Ok(flooding()),
        "said" => {
            let (content_type, body) = state.set_response.lock().expect("the response").clone();
            return Ok(whole(200, content_type, body));
        }
        "gate" => state.wait_for_gate().await,
        _ => {}
    }
    let usage = if kind == "usage" { Reported::of(number) } else { Reported::default() };
    let answer = Answer { dialect, model: model.clone(), usage };
    let cut = kind == "cut";
    if !streamed {
        return Ok(whole_answer(&answer.whole().to_string(), cut));
    }
    let include_usage = seen.body["stream_options"]["include_usage"] == Value::Bool(true);
    let mut frames = answer.stream(include_usage);
    if kind == "rejectlate" {
        frames.truncate(BEFORE_THE_CUT);
        frames.push(rejection::event(dialect));
    }
    Ok(streamed_frames(frames, between_words, cut))
}

impl State {
    async fn wait_for_gate(&self) {
        // The sender lives as long as the state.
        let _ = self.gate.subscribe().wait_for(|open| *open).await;
    }
}
