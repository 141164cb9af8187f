//! Clients that ask one request after the other, and what they were told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, Lost, Stream};
use crate::cluster::nodes::{Cluster, NODES, NodeKills};
use crate::tenant::{NATIVE, OPENAI, Tenant};

/// The least time between an answer that served nothing and the next request of a connection.
const PAUSE: Duration = Duration::from_millis(50);

pub struct Load {
    left: AtomicU64,
    /// Between an answer and the next request of a connection.
    pause: Duration,
    is_stopped: AtomicBool,
    record: Mutex<Vec<Told>>,
}

/// One connection's requests.
pub struct Ask {
    app: Client,
    kills: Arc<NodeKills>,
    body: Value,
    streams: bool,
    /// Each request has a name, which is in its events.
    label: Option<String>,
}

/// The outcome of one request as its client saw it.
pub struct Told {
    pub label: String,
    pub kills: Arc<NodeKills>,
    pub asked_at: Instant,
    pub at: Instant,
    pub outcome: Outcome,
}

#[derive(Debug)]
pub enum Outcome {
    /// The request, and the position that was said.
    Answered(String, u64),
    /// A whole stream; the position is that of its admission.
    Streamed(String, u64),
    Refused(String, Option<u64>),
    /// 503, or a stream that ended with an error.
    Unavailable,
    /// The node was killed meanwhile.
    Lost,
    /// An answer that no client should get.
    Wrong(String),
}

pub struct Record(Vec<Told>);

impl Load {
    pub fn up_to(requests: u64) -> Arc<Self> {
        Self::paced(requests, Duration::ZERO)
    }

    /// For what has to happen beside requests, and does not depend on how many there are in a second.
    pub fn until_stopped_with(pause: Duration) -> Arc<Self> {
        Self::paced(u64::MAX, pause)
    }

    fn paced(requests: u64, pause: Duration) -> Arc<Self> {
        let left = AtomicU64::new(requests);
        Arc::new(Self { left, pause, is_stopped: AtomicBool::new(false), record: Mutex::default() })
    }

    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::SeqCst);
    }

    /// Takes the answers; none of them is left here.
    pub fn record(&self) -> Record {
        Record(std::mem::take(&mut *self.record.lock().expect("the record")))
    }

    pub async fn run(self: Arc<Self>, ask: Ask) {
        for number in 0_u64.. {
            let is_over = self.is_stopped.load(Ordering::SeqCst);
            let left = self.left.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            if is_over || left.is_err() {
                return;
            }
            let told = ask.once(number).await;
            let is_served = matches!(told.outcome, Outcome::Answered(..) | Outcome::Streamed(..));
            self.record.lock().expect("the record").push(told);
            let pause = if is_served { self.pause } else { PAUSE.max(self.pause) };
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    }
}

impl Ask {
    pub fn new(connection: usize, cluster: &Cluster, tenant: &Tenant, secret: &str, model: &str) -> Self {
        let node = connection % NODES;
        let streams = model.starts_with("paced");
        let mut body = tenant.ask(model);
        body["stream"] = json!(streams);
        let (app, kills) = (cluster.node(node).client(Some(secret)), Arc::clone(cluster.kills_of(node)));
        Self { app, kills, body, streams, label: None }
    }

    pub fn labelled(self, connection: usize) -> Self {
        Self { label: Some(format!("c{connection}")), ..self }
    }

    async fn once(&self, number: u64) -> Told {
        let (mut body, mut label) = (self.body.clone(), String::new());
        if let Some(connection) = &self.label {
            label = format!("{connection}-{number}");
            body["metadata"] = json!({ "label": label });
        }
        let (before, asked_at) = (self.kills.count_if_running(), Instant::now());
        let told = if self.streams { self.streamed(&body).await } else { self.whole(&body).await };
        let outcome = told.unwrap_or_else(|Lost| {
            let was_killed = before.is_none() || self.kills.count_if_running() != before;
            if was_killed { Outcome::Lost } else { Outcome::Wrong("a connection of a living node ended".to_owned()) }
        });
        Told { label, kills: Arc::clone(&self.kills), asked_at, at: Instant::now(), outcome }
    }

    async fn whole(&self, body: &Value) -> Result<Outcome, Lost> {
        let reply = self.app.try_post(NATIVE, body).await?;
        let position = || reply.header("x-ledgerway-position").parse().ok();
        Ok(match (reply.status, reply.code().as_str()) {
            (200, _) => Outcome::Answered(reply.request_id(), reply.position()),
            (429, "BUDGET_EXCEEDED") => Outcome::Refused(reply.request_id(), position()),
            (503, "LEDGER_UNAVAILABLE") => Outcome::Unavailable,
            (status, _) => Outcome::Wrong(format!("{status}: {}", String::from_utf8_lossy(&reply.body))),
        })
    }

    async fn streamed(&self, body: &Value) -> Result<Outcome, Lost> {
        let stream = self.app.stream(OPENAI, body).await?;
        let (status, request, position) = (stream.status, stream.request_id(), position_of(&stream));
        if status != 200 {
            return Ok(match status {
                429 => Outcome::Refused(request, position),
                503 => Outcome::Unavailable,
                _ => Outcome::Wrong(format!("{status} for a stream")),
            });
        }
        let (events, is_whole) = stream.rest().await;
        match events.last() {
            Some(last) if last.is_done() => {
                Ok(position
                    .map_or_else(|| Outcome::Wrong("no position".to_owned()), |at| Outcome::Streamed(request, at)))
            }
            Some(last) if is_whole && last.json()["error"].is_object() => Ok(Outcome::Unavailable),
            _ if is_whole => Ok(Outcome::Wrong(format!("a stream that ends with {:?}", events.last()))),
            _ => Err(Lost),
        }
    }
}

fn position_of(stream: &Stream) -> Option<u64> {
    stream.headers.get("x-ledgerway-position")?.to_str().ok()?.parse().ok()
}

impl Record {
    pub fn all(&self) -> &[Told] {
        &self.0
    }

    pub fn count(&self, counts: impl Fn(&Outcome) -> bool) -> usize {
        self.0.iter().filter(|told| counts(&told.outcome)).count()
    }

    /// Returns the answers that no client should get.
    pub fn wrong(&self) -> BTreeMap<&str, usize> {
        let mut wrong = BTreeMap::new();
        for told in &self.0 {
            if let Outcome::Wrong(what) = &told.outcome {
                *wrong.entry(what.as_str()).or_default() += 1;
            }
        }
        wrong
    }
}
