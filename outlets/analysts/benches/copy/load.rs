//! Requests of twenty customers, admitted and settled at a fixed rate.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use events::event::admin::{Budget, Key, Scope};
use events::event::inference::{Backend, FinishReason, InferenceAdmitted, InferenceEnded, Versions};
use events::event::{Actor, Chain, Change, Context, Event, Stream, StreamKind};
use events::ids::{IdMaker, KeyId, ProviderId, SystemRandom, TenantId, UserId};
use events::ledger::{Admission, AdmissionBounds, Charge, IfShort, Outcome};
use events::money::NanoUsd;
use events::time::{Period, SystemClock};
use events::usage::{TokenClasses, Usage, UsageSource};
use events_log::{Admitted, Append, Basis, Log};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

pub const EVENTS_A_REQUEST: u64 = 4;
const CUSTOMERS: u64 = 20;
const TICK: Duration = Duration::from_millis(10);
/// More than are ever in flight at a rate that the ledger keeps up with.
const IN_FLIGHT_MAX: usize = 4_000;

/// The positions of settlements, each with the time at which its commit was known.
#[derive(Clone, Default)]
pub struct Commits {
    new: Arc<Mutex<Vec<(u64, Instant)>>>,
    has_ended: Arc<AtomicBool>,
}

impl Commits {
    fn add(&self, position: u64) {
        let at = Instant::now();
        self.new.lock().unwrap_or_else(PoisonError::into_inner).push((position, at));
    }

    /// Moves the new ones to others. Returns whether there will be no more.
    pub fn take(&self, to: &mut Vec<(u64, Instant)>) -> bool {
        let has_ended = self.has_ended.load(Ordering::SeqCst);
        to.append(&mut self.new.lock().unwrap_or_else(PoisonError::into_inner));
        has_ended
    }
}

#[derive(Clone)]
pub struct Load {
    log: Log,
    ids: IdMaker,
    provider: ProviderId,
    chains: Arc<Vec<Chain>>,
}

impl Load {
    pub async fn begin(log: Log) -> Self {
        let ids = IdMaker::new(Arc::new(SystemClock::new()), Arc::new(SystemRandom));
        let mut chains = Vec::new();
        for _ in 0..CUSTOMERS {
            chains.push(welcome(&log, &ids).await);
        }
        Self { log, provider: ids.make(), ids, chains: Arc::new(chains) }
    }

    /// Begins so many requests a second, for this long.
    pub async fn run(&self, rate: u64, time: Duration, commits: &Commits) {
        let (mut running, mut number, began) = (JoinSet::new(), 0_u64, Instant::now());
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while began.elapsed() < time {
            ticks.tick().await;
            let due = u128::from(rate) * began.elapsed().as_micros() / 1_000_000;
            while u128::from(number) < due && running.len() < IN_FLIGHT_MAX {
                number += 1;
                running.spawn(request(self.clone(), number, commits.clone()));
            }
            while let Some(ended) = running.try_join_next() {
                ended.expect("a request does not panic");
            }
        }
        while let Some(ended) = running.join_next().await {
            ended.expect("a request does not panic");
        }
        commits.has_ended.store(true, Ordering::SeqCst);
    }
}

/// A customer with a key and a budget.
async fn welcome(log: &Log, ids: &IdMaker) -> Chain {
    let (tenant, user, key): (TenantId, UserId, KeyId) = (ids.make(), ids.make(), ids.make());
    let made = Key::new(key, user, "app");
    create(log, Stream::new(StreamKind::Key, key), Change::created(made).into()).await;
    let budget = Budget::new(ids.make(), Scope::Tenant(tenant), NanoUsd::MAX, Period::Month);
    create(log, Stream::new(StreamKind::Budget, budget.budget_id), Change::created(budget).into()).await;
    Chain { partner: Some(ids.make()), tenant: Some(tenant), user: Some(user), key: Some(key) }
}

async fn create(log: &Log, stream: Stream, event: Event) {
    let append = Append {
        stream,
        expected_sequence: 0,
        events: vec![event],
        context: Context::of(Actor::Operator),
        side: Vec::new(),
        idempotency: None,
        basis: Basis::default(),
    };
    log.append(append).await.expect("a resource is created");
}

async fn request(load: Load, number: u64, commits: Commits) {
    let chain = load.chains[usize::try_from(number % CUSTOMERS).unwrap_or(0)];
    let request_id = load.ids.make();
    let admitted = InferenceAdmitted {
        model: "small".into(),
        dialect: "openai".into(),
        streamed: false,
        max_output_tokens: 4096,
        requested_max_output_tokens: None,
        output_tokens_beyond_cap: None,
        rate_limited_tokens: None,
        hedge_after_ms: None,
        route: None,
        shadow_of: None,
        hold_shares: Default::default(),
        input_tokens_bound: 1200,
        body_sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
        prompt_digest: None,
        content_policy: events::content::ContentPolicy::default(),
        metadata: Default::default(),
        versions: Versions::default(),
        would_have_refused: Vec::new(),
    };
    let admission = Admission {
        request_id,
        context: Context::about(chain.key.map_or(Actor::Operator, Actor::Key), chain).in_request(request_id),
        planned_at: u64::MAX,
        held: NanoUsd::new(640_000),
        ttl: Duration::from_secs(900),
        if_short: IfShort::AskAgain,
        bounds: AdmissionBounds::NONE,
        admitted: Box::new(admitted),
        brokered: None,
    };
    let Admitted::Hold(hold) = load.log.admit(admission, None).await.expect("the ledger answers") else { return };
    let tokens = TokenClasses { input_uncached_tokens: 900, output_text_tokens: number % 997, ..Default::default() };
    let cost = NanoUsd::new(150_000);
    let ended = InferenceEnded {
        backend: Some(Backend {
            provider_id: load.provider,
            provider: "sim".into(),
            model: "echo".into(),
            provider_key_id: None,
        }),
        usage: Some(Usage::new(tokens, UsageSource::Provider)),
        price_version: Some(1),
        finish_reason: Some(FinishReason::Stop),
        latency_ms: Some(300 + number * 7919 % 4001),
        attempts: Some(1),
        ..InferenceEnded::new(hold.model.clone(), hold.admitted_at, cost)
    };
    let ended = hold.end(vec![], Outcome::Completed(Box::new(ended)), Charge::Settle(cost)).await;
    commits.add(ended.expect("the end is recorded").position);
}
