//! Load: so many connections, each of them one request after another, bounded in number and in time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::upstream::Upstream;

const WARM_UP: usize = 1000;
const REQUESTS_MAX: usize = 30_000;
const TIME_MAX: Duration = Duration::from_secs(10);

/// Where requests go and what is in them.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    pub headers: HeaderMap,
    pub body: Bytes,
}

pub struct Measured {
    pub requests: usize,
    pub p50: Duration,
    pub p99: Duration,
    /// Requests a second, rounded down.
    pub per_second: u128,
    /// 0 where nobody measured it.
    pub cpu_micros_a_request: u64,
}

impl Target {
    /// The upstream without anything in between.
    pub fn direct(upstream: &Upstream) -> Self {
        Self { address: upstream.address, headers: headers(), body: body("fast") }
    }
}

pub fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("host", HeaderValue::from_static("localhost"));
    headers
}

pub fn body(model: &str) -> Bytes {
    let text = "Say something about foxes and dogs. ".repeat(8);
    let messages = serde_json::json!([{ "role": "user", "content": text }]);
    serde_json::json!({ "model": model, "messages": messages, "max_tokens": 64 }).to_string().into()
}

/// `cpu_micros`: CPU that the measured process has used so far.
pub fn run(target: &Target, connections: usize, cpu_micros: impl Fn() -> u64) -> Measured {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        spend(target, connections, WARM_UP).await;
        let (started, cpu_before) = (Instant::now(), cpu_micros());
        let mut latencies = spend(target, connections, REQUESTS_MAX).await;
        let (took, cpu) = (started.elapsed(), cpu_micros().saturating_sub(cpu_before));
        latencies.sort_unstable();
        let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied().unwrap_or_default();
        Measured {
            requests: latencies.len(),
            p50: at(50),
            p99: at(99),
            per_second: latencies.len() as u128 * 1_000_000 / took.as_micros().max(1),
            cpu_micros_a_request: cpu / u64::try_from(latencies.len().max(1)).unwrap_or(1),
        }
    })
}

async fn spend(target: &Target, connections: usize, requests: usize) -> Vec<Duration> {
    let (left, until) = (Arc::new(AtomicUsize::new(requests)), Instant::now() + TIME_MAX);
    let mut workers = JoinSet::new();
    for _ in 0..connections {
        workers.spawn(ask_again_and_again(target.clone(), Arc::clone(&left), until));
    }
    workers.join_all().await.concat()
}

async fn ask_again_and_again(target: Target, left: Arc<AtomicUsize>, until: Instant) -> Vec<Duration> {
    let stream = TcpStream::connect(target.address).await.expect("a connection");
    stream.set_nodelay(true).expect("an option of TCP");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("a connection of HTTP");
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let mut latencies = Vec::new();
    while Instant::now() < until && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
    {
        let mut request =
            Request::post("/v1/chat/completions").body(Full::new(target.body.clone())).expect("a request");
        *request.headers_mut() = target.headers.clone();
        let asked = Instant::now();
        let answer = sender.send_request(request).await.expect("an answer");
        let status = answer.status();
        let body = answer.into_body().collect().await.expect("a whole body").to_bytes();
        latencies.push(asked.elapsed());
        assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
    }
    latencies
}
