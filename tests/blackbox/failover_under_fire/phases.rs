//! Phases: in each, one target or two of a model fail in one way, and the others answer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::net::TcpSocket;
use tokio::sync::Mutex;

use super::books::Tariff;
use super::clients::{Answered, ask};
use super::faults::{Behaviour, FAULTS, Fault, Patience};
use super::upstream::FaultyProvider;
use crate::gateway::Gateway;
use crate::tenant::{Setup, Tenant, made};

/// Requests of one phase that are under way at a time.
pub const AT_ONCE: usize = 4;
/// Phases at a time.
const LANES: usize = 6;
/// How long the gateway waits for targets that say nothing.
const SHORT_MS: u64 = 400;
/// How long it waits for the others, on a busy machine.
const LONG_MS: u64 = 20_000;
/// How long a target takes that answers too late, while the gateway waits.
const LATE_FOR: Duration = Duration::from_secs(20);
/// One request in so many goes by weight.
const WEIGHTED_EVERY: usize = 4;
/// The model of targets that answer.
pub const GOOD: &str = "good";

/// Three providers, and a tenant with models of them.
pub struct House {
    pub tenant: Tenant,
    pub providers: [FaultyProvider; 3],
    /// The records of the first and the second one for targets that fail, by how long the gateway waits.
    failing: [Failing; 2],
    /// Those of the second and the third one for targets that answer.
    good: [String; 2],
    /// A provider of whose port nobody listens.
    closed: Closed,
}

struct Failing {
    short: String,
    short_between_bytes: String,
    long: String,
}

struct Closed {
    provider: String,
    /// Bound, so that nobody else gets the port.
    _socket: TcpSocket,
}

/// One phase.
pub struct Phase {
    pub number: usize,
    /// The targets that fail, in their order.
    pub dead: Vec<Dead>,
    /// The models by priority and by weight.
    models: [String; 2],
    requests: usize,
    pub took: Duration,
}

/// A target that fails.
pub struct Dead {
    pub model: String,
    pub fault: &'static Fault,
}

/// The results of all phases.
pub struct Run {
    pub phases: Vec<Phase>,
    pub answered: Vec<Answered>,
}

impl House {
    pub async fn new(gateway: &Gateway) -> Self {
        // It has no models of this one.
        let setup = Setup { limit_usd: "100000", ..Setup::default() };
        let tenant = Tenant::with(gateway, &MockUpstream::start().await, &[], setup).await;
        let [first, second, third] = ["first", "second", "third"].map(|name| FaultyProvider::start(name, LATE_FOR));
        let providers = [first.await, second.await, third.await];
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let nowhere = format!("http://{}/v1", socket.local_addr().expect("its address"));
        let record = async |name: String, base_url: &str, timeout_ms: u64, idle_timeout_ms: u64| {
            let provider = json!({
                "name": name, "kind": "openai", "base_url": base_url, "api_key": "k", "allow_private_network": true,
                "timeout_ms": timeout_ms, "idle_timeout_ms": idle_timeout_ms,
            });
            made(gateway.operator(), "/providers", provider).await
        };
        let failing = async |provider: &FaultyProvider| {
            let (name, url) = (provider.name, provider.base_url());
            Failing {
                short: record(format!("{name}-silent"), &url, SHORT_MS, SHORT_MS).await,
                short_between_bytes: record(format!("{name}-stalling"), &url, LONG_MS, SHORT_MS).await,
                long: record(format!("{name}-failing"), &url, LONG_MS, LONG_MS).await,
            }
        };
        let good = async |provider: &FaultyProvider| {
            record(format!("{}-good", provider.name), &provider.base_url(), LONG_MS, LONG_MS).await
        };
        let [first, second, third] = &providers;
        let failing = [failing(first).await, failing(second).await];
        let good = [good(second).await, good(third).await];
        let closed =
            Closed { provider: record("closed".to_owned(), &nowhere, LONG_MS, LONG_MS).await, _socket: socket };
        for (provider, name) in good.iter().zip(["second", "third"]) {
            price(gateway, provider, GOOD, Tariff::of(name)).await;
        }
        Self { tenant, providers, failing, good, closed }
    }

    /// Two phases of each fault: one in which it is the only one, and one in which a second target has another fault. The
    /// first has twice as many requests.
    pub async fn phases(&self, gateway: &Gateway, requests: usize) -> Vec<Phase> {
        let share = requests.div_ceil(3 * FAULTS.len());
        let phases = FAULTS.iter().enumerate().flat_map(|(at, fault)| {
            let other = &FAULTS[(at + FAULTS.len() / 3) % FAULTS.len()];
            [(vec![fault], 2 * share), (vec![fault, other], share)]
        });
        let phases = phases.enumerate();
        let made = phases.map(|(number, (dead, requests))| self.phase(gateway, number, dead, requests));
        stream::iter(made).buffered(LANES).collect().await
    }

    async fn phase(&self, gateway: &Gateway, number: usize, faults: Vec<&'static Fault>, requests: usize) -> Phase {
        let (mut dead, mut targets) = (Vec::new(), Vec::new());
        for (rank, fault) in faults.into_iter().enumerate() {
            let model = format!("{}.{number}-{rank}", fault.name);
            let failing = &self.failing[rank];
            let provider = match (fault.behaviour, fault.patience()) {
                (Behaviour::Refused, _) => &self.closed.provider,
                (_, Patience::Short) => &failing.short,
                (_, Patience::ShortBetweenBytes) => &failing.short_between_bytes,
                (_, Patience::Long) => &failing.long,
            };
            price(gateway, provider, &model, Tariff::of(["first", "second"][rank])).await;
            targets.push((provider, model.clone()));
            dead.push(Dead { model, fault });
        }
        let good = &self.good[dead.len() - 1..];
        targets.extend(good.iter().map(|provider| (provider, GOOD.to_owned())));
        let name = |strategy: &str| format!("{strategy}-{number}");
        for strategy in ["priority", "weighted"] {
            let target = |(rank, (provider, model)): (usize, &(&String, String))| -> Value {
                let priority = if strategy == "priority" { rank } else { 0 };
                json!({ "provider_id": provider, "model": model, "priority": priority, "weight": 1,
                        "max_output_tokens": 1024, "default_max_output_tokens": 256 })
            };
            let targets: Vec<Value> = targets.iter().enumerate().map(target).collect();
            let model = json!({ "name": self.tenant.model(&name(strategy)), "strategy": strategy, "targets": targets });
            made(gateway.operator(), "/models", model).await;
        }
        Phase { number, dead, models: [name("priority"), name("weighted")], requests, took: Duration::ZERO }
    }
}

async fn price(gateway: &Gateway, provider: &str, model: &str, tariff: Tariff) {
    let mut price = tariff.as_price();
    price["provider_id"] = json!(provider);
    price["model"] = json!(model);
    made(gateway.operator(), "/prices", price).await;
}

/// Sends the requests of all phases, a few at a time.
pub async fn run(house: &House, phases: Vec<Phase>) -> Run {
    let run = Mutex::new(Run { phases: Vec::new(), answered: Vec::new() });
    let waiting = Mutex::new(phases.into_iter());
    let lane = async || {
        loop {
            let Some(mut phase) = waiting.lock().await.next() else { return };
            let began = Instant::now();
            let answered = run_phase(house, &phase).await;
            phase.took = began.elapsed();
            let mut run = run.lock().await;
            run.answered.extend(answered);
            run.phases.push(phase);
        }
    };
    join_all((0..LANES).map(|_| lane())).await;
    run.into_inner()
}

async fn run_phase(house: &House, phase: &Phase) -> Vec<Answered> {
    let next = AtomicUsize::new(0);
    let worker = async || {
        let mut answered = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::SeqCst);
            if number >= phase.requests {
                return answered;
            }
            let is_weighted = number % WEIGHTED_EVERY == WEIGHTED_EVERY - 1;
            let model = &phase.models[usize::from(is_weighted)];
            answered.push(ask(&house.tenant, model, phase.number, is_weighted, number).await);
        }
    };
    join_all((0..AT_ONCE).map(|_| worker())).await.concat()
}
