//! One key's view of the gateway over HTTP. Follows the gateway over restarts.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::time::timeout;

/// Longer than anything that a test waits for on purpose.
const ANSWER_MAX: Duration = Duration::from_secs(40);

/// The gateway went away before the answer was whole.
#[derive(Debug)]
pub struct Lost;

#[derive(Clone)]
pub struct Client {
    http: HyperClient<HttpConnector, Full<Bytes>>,
    port: Arc<AtomicU16>,
    headers: HeaderMap,
    heard: PositionStatus,
}

/// Every answer that a gateway gave to its clients, heads and bodies, where somebody asked for it to be kept.
#[derive(Clone, Default)]
pub struct PositionStatus(Arc<Mutex<Option<Vec<u8>>>>);

impl PositionStatus {
    /// Keeps what is heard from now on.
    pub fn begin(&self) {
        *self.0.lock().expect("what was heard") = Some(Vec::new());
    }

    pub fn so_far(&self) -> Vec<u8> {
        self.0.lock().expect("what was heard").clone().unwrap_or_default()
    }

    fn add(&self, bytes: &[u8]) {
        if let Some(heard) = self.0.lock().expect("what was heard").as_mut() {
            heard.extend_from_slice(bytes);
        }
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// One server-sent event.
#[derive(Clone, Debug, PartialEq)]
pub struct Sse {
    /// `message` where none was named.
    pub event: String,
    pub data: String,
}

impl Sse {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or(Value::Null)
    }

    pub fn is_done(&self) -> bool {
        self.data == "[DONE]"
    }
}

impl Client {
    pub fn new(port: Arc<AtomicU16>, heard: PositionStatus, key: Option<&str>) -> Self {
        let http = HyperClient::builder(TokioExecutor::new()).build(HttpConnector::new());
        let client = Self { http, port, headers: HeaderMap::new(), heard }.with("content-type", "application/json");
        match key {
            Some(key) => client.with("authorization", &format!("Bearer {key}")),
            None => client,
        }
    }

    /// The same client, speaking HTTP/2.
    pub fn over_http2(mut self) -> Self {
        self.http = HyperClient::builder(TokioExecutor::new()).http2_only(true).build(HttpConnector::new());
        self
    }

    /// The same client, sending this header with every request (instead of one of the same name).
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().expect("a header value"));
        self
    }

    /// The same client, without this header.
    pub fn without(mut self, name: &'static str) -> Self {
        self.headers.remove(name);
        self
    }

    pub async fn open(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Result<Response<Incoming>, Lost> {
        let uri = format!("http://127.0.0.1:{}{path}", self.port.load(Ordering::SeqCst));
        let mut request = Request::new(Full::new(body.into()));
        *request.method_mut() = method;
        *request.uri_mut() = uri.parse().expect("a URI");
        *request.headers_mut() = self.headers.clone();
        let answer = timeout(ANSWER_MAX, self.http.request(request)).await.expect("an answer in time");
        let answer = answer.map_err(|_| Lost)?;
        self.heard.add(format!("{:?}\n", answer.headers()).as_bytes());
        Ok(answer)
    }

    pub async fn send(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Result<Reply, Lost> {
        let (head, body) = self.open(method, path, body).await?.into_parts();
        let body = timeout(ANSWER_MAX, body.collect()).await.expect("a body in time").map_err(|_| Lost)?.to_bytes();
        self.heard.add(&body);
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, Bytes::new()).await.expect("an answer")
    }

    pub async fn try_post(&self, path: &str, body: &Value) -> Result<Reply, Lost> {
        self.send(Method::POST, path, body.to_string()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.try_post(path, body).await.expect("an answer")
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Reply {
        self.send(Method::PATCH, path, body.to_string()).await.expect("an answer")
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, Bytes::new()).await.expect("an answer")
    }

    /// A streamed answer, event by event.
    pub async fn stream(&self, path: &str, body: &Value) -> Result<Stream, Lost> {
        let (head, body) = self.open(Method::POST, path, body.to_string()).await?.into_parts();
        Ok(Stream {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            pending: BytesMut::new(),
            heard: self.heard.clone(),
        })
    }
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The code of the error, on our own surfaces and on OpenAI's alike; empty where there is none.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub fn request_id(&self) -> String {
        self.header("x-request-id").to_owned()
    }

    pub fn position(&self) -> u64 {
        self.header("x-ledgerway-position").parse().expect("x-ledgerway-position")
    }

    #[track_caller]
    pub fn must(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    #[track_caller]
    pub fn must_be(self, status: u16, code: &str) -> Self {
        let got = (self.status, self.code());
        assert_eq!(got, (status, code.to_owned()), "{}", String::from_utf8_lossy(&self.body));
        self
    }
}

pub struct Stream {
    pub status: u16,
    pub headers: HeaderMap,
    body: Incoming,
    pending: BytesMut,
    heard: PositionStatus,
}

impl Stream {
    pub fn request_id(&self) -> String {
        self.headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned()
    }

    /// The next event; `None` when the stream ended, `Lost` when it was cut.
    pub async fn next(&mut self) -> Option<Result<Sse, Lost>> {
        loop {
            if let Some(event) = self.take_event() {
                return Some(Ok(event));
            }
            match timeout(ANSWER_MAX, self.body.frame()).await.expect("an event in time")? {
                Ok(frame) => {
                    let data = frame.data_ref().map_or(&[][..], |data| data);
                    self.heard.add(data);
                    self.pending.extend_from_slice(data);
                }
                Err(_) => return Some(Err(Lost)),
            }
        }
    }

    /// Everything until the end, and whether the end was a proper one of HTTP.
    pub async fn rest(mut self) -> (Vec<Sse>, bool) {
        let mut events = Vec::new();
        loop {
            match self.next().await {
                Some(Ok(event)) => events.push(event),
                Some(Err(Lost)) => return (events, false),
                None => return (events, true),
            }
        }
    }

    /// Everything until the end as it came, comments too.
    pub async fn raw(mut self) -> String {
        let mut raw = std::mem::take(&mut self.pending).to_vec();
        while let Some(frame) = timeout(ANSWER_MAX, self.body.frame()).await.expect("a frame in time") {
            raw.extend_from_slice(frame.expect("a whole stream").data_ref().map_or(&[][..], |data| data));
        }
        String::from_utf8(raw).expect("UTF-8")
    }

    fn take_event(&mut self) -> Option<Sse> {
        loop {
            let end = self.pending.windows(2).position(|pair| pair == b"\n\n")?;
            let block = self.pending.split_to(end + 2);
            let (mut event, mut data) = ("message".to_owned(), Vec::new());
            for line in String::from_utf8_lossy(&block).lines() {
                if let Some(name) = line.strip_prefix("event: ") {
                    event = name.to_owned();
                } else if let Some(text) = line.strip_prefix("data: ") {
                    data.push(text.to_owned());
                }
            }
            // Comments are no events.
            if !data.is_empty() {
                return Some(Sse { event, data: data.join("\n") });
            }
        }
    }
}
