//! A day or a month of a gateway: a few customers with their budgets, a priced model, and requests with every kind of end.
//! Shared by all benchmarks that need a log.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::event::admin::{Budget, Key, Model, Price, Scope, Target};
use events::event::inference::{
    AttemptFailed, Backend, FinishReason, InferenceAdmitted, InferenceEnded, ReportedByFailedCall, Versions,
};
use events::event::{Actor, Chain, Change, Context, Event, Stream, StreamKind};
use events::ids::{IdMaker, KeyId, PartnerId, ProviderId, SystemRandom, TenantId, UserId};
use events::ledger::{Admission, AdmissionBounds, Charge, IfShort, Outcome, RefusedRequest};
use events::money::{GivenRates, NanoUsd, NanoUsdPerMtok};
use events::refusal::{ErrorCode, Refusal};
use events::time::{Clock, Period, SystemClock};
use events::usage::{TokenClasses, Usage, UsageSource};
use events_log::{Admitted, Append, Basis, Log, LogOptions, OpenHold};
use tokio::task::JoinSet;

const CUSTOMERS: usize = 20;
/// Concurrent requests: enough to fill the writer's batches.
const IN_FLIGHT: u64 = 2_000;
const NANOS_A_TOKEN: i64 = 150;
const HELD: NanoUsd = NanoUsd::new(640_000);
const EVENTS_A_REQUEST: u64 = 4;
/// Longer than any request of the story takes by the story's clock.
const TTL: Duration = Duration::from_secs(900);

struct World {
    log: Log,
    clock: Arc<StoryClock>,
    /// The time that the clock advances per request.
    step: Duration,
    /// The lifetime of a hold.
    ttl: Duration,
    ids: IdMaker,
    chains: Vec<Chain>,
    keys: Vec<u64>,
    provider: ProviderId,
    price: u64,
    model: u64,
}

/// Records about this many events, over this time by the story's clock, which ends at the present. Returns their number.
/// `begin` is called with the log before the first of them.
pub fn record(folder: &Path, events: u64, span: Duration, begin: impl FnOnce(&Log)) -> u64 {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let clock = Arc::new(StoryClock::ago(span));
        let log = Log::open(folder, LogOptions::new(clock.clone())).expect("the log opens");
        begin(&log);
        let requests = u32::try_from(events / EVENTS_A_REQUEST).expect("fewer requests than 2^32").max(1);
        let world = Arc::new(World::begin(log, clock, span / requests, TTL + span).await);
        let mut running = JoinSet::new();
        let mut number = 0;
        while world.log.head().position + IN_FLIGHT * EVENTS_A_REQUEST < events || !running.is_empty() {
            while (running.len() as u64) < IN_FLIGHT
                && world.log.head().position + IN_FLIGHT * EVENTS_A_REQUEST < events
            {
                number += 1;
                world.clock.advance(world.step);
                running.spawn(request(Arc::clone(&world), number));
            }
            running.join_next().await.transpose().expect("a request does not panic");
        }
        world.log.close();
        world.log.head().position
    })
}

/// A clock that runs with the machine's, some time behind it, and catches up in steps.
struct StoryClock {
    machine: SystemClock,
    behind: Duration,
    caught_up_micros: AtomicU64,
}

thread_local! {
    /// This thread's last reading of the wall clock. The monotonic clock returns the same, even if another thread has moved the
    /// clock in between: the log would take that for a step of the wall clock.
    static SEEN: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

impl StoryClock {
    fn ago(behind: Duration) -> Self {
        Self { machine: SystemClock::new(), behind, caught_up_micros: AtomicU64::new(0) }
    }

    fn advance(&self, by: Duration) {
        self.caught_up_micros.fetch_add(u64::try_from(by.as_micros()).unwrap_or(0), Ordering::SeqCst);
    }

    fn caught_up(&self) -> Duration {
        Duration::from_micros(self.caught_up_micros.load(Ordering::SeqCst)).min(self.behind)
    }
}

impl Clock for StoryClock {
    fn now(&self) -> DateTime<Utc> {
        let caught_up = self.caught_up();
        SEEN.set(caught_up);
        self.machine.now() - (self.behind - caught_up)
    }

    fn monotonic(&self) -> Duration {
        self.machine.monotonic() + SEEN.get()
    }
}

impl World {
    async fn begin(log: Log, clock: Arc<StoryClock>, step: Duration, ttl: Duration) -> Self {
        let now = clock.now();
        let ids = IdMaker::new(clock.clone(), Arc::new(SystemRandom));
        let (provider, tokens) = (ids.make::<ProviderId>(), NanoUsd::new(NANOS_A_TOKEN * 1_000_000));
        let per_mtok = NanoUsdPerMtok::new(tokens).expect("not negative");
        let given = GivenRates::new(per_mtok, per_mtok);
        let price = Price::new(ids.make(), provider, "echo", given, now);
        let target = Target::new(provider, "echo");
        let model = Model::new(ids.make(), "sim-small", vec![target]);
        let price = create(&log, StreamKind::Price, price.price_id, Change::created(price).into()).await;
        let model = create(&log, StreamKind::Model, model.model_id, Change::created(model).into()).await;
        let mut world =
            Self { log, clock, step, ttl, ids, chains: Vec::new(), keys: Vec::new(), provider, price, model };
        for _ in 0..CUSTOMERS {
            world.welcome().await;
        }
        world
    }

    /// A customer with a key and a budget at each of its four levels.
    async fn welcome(&mut self) {
        let (partner, tenant): (PartnerId, TenantId) = (self.ids.make(), self.ids.make());
        let (user, key): (UserId, KeyId) = (self.ids.make(), self.ids.make());
        let made = Key::new(key, user, "app");
        self.keys.push(create(&self.log, StreamKind::Key, key, Change::created(made).into()).await);
        self.chains.push(Chain { partner: Some(partner), tenant: Some(tenant), user: Some(user), key: Some(key) });
        let scopes = [
            (Scope::Partner(partner), Period::Month),
            (Scope::Tenant(tenant), Period::Month),
            (Scope::User(user), Period::Week),
            (Scope::Key(key), Period::Day),
        ];
        for (scope, period) in scopes {
            let budget = Budget::new(self.ids.make(), scope, NanoUsd::MAX, period);
            let opened = Change::created(budget.clone()).into();
            create(&self.log, StreamKind::Budget, budget.budget_id, opened).await;
        }
    }

    fn backend(&self) -> Backend {
        Backend { provider_id: self.provider, provider: "sim".into(), model: "echo".into(), provider_key_id: None }
    }

    fn admission(&self, number: u64) -> Admission {
        let customer = usize::try_from(number).unwrap_or(0) % CUSTOMERS;
        let (chain, request_id) = (self.chains[customer], self.ids.make());
        let actor = chain.key.map_or(Actor::Operator, Actor::Key);
        let versions = Versions {
            model: self.model,
            alias: None,
            key: Some(self.keys[customer]),
            prices: [(format!("{}/echo", self.provider), self.price)].into(),
            budgets: Default::default(),
            providers: Default::default(),
            teams: Default::default(),
        };
        Admission {
            request_id,
            context: Context::about(actor, chain).in_request(request_id),
            planned_at: u64::MAX,
            held: HELD,
            ttl: self.ttl,
            if_short: IfShort::AskAgain,
            bounds: AdmissionBounds::NONE,
            admitted: Box::new(InferenceAdmitted {
                model: "sim-small".into(),
                dialect: "openai".into(),
                streamed: number.is_multiple_of(2),
                max_output_tokens: 4096,
                requested_max_output_tokens: None,
                output_tokens_beyond_cap: None,
                input_tokens_bound: 1200,
                body_sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
                prompt_digest: None,
                content_policy: events::content::ContentPolicy::default(),
                metadata: [("team".to_owned(), "search".to_owned())].into(),
                versions,
                would_have_refused: Vec::new(),
                rate_limited_tokens: None,
                hedge_after_ms: None,
                route: None,
                shadow_of: None,
                hold_shares: Default::default(),
            }),
            brokered: None,
        }
    }

    fn ended(&self, number: u64, hold: &OpenHold, usage: Option<Usage>) -> Box<InferenceEnded> {
        let tokens = usage.as_ref().map_or(0, |usage| usage.tokens.input() + usage.tokens.output());
        let provider_usage = usage.as_ref().map(|usage| {
            serde_json::json!({
                "prompt_tokens": usage.tokens.input(), "completion_tokens": usage.tokens.output(),
                "total_tokens": tokens, "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
            })
        });
        let cost = NanoUsd::new(NANOS_A_TOKEN * i64::try_from(tokens).unwrap_or(0));
        Box::new(InferenceEnded {
            backend: Some(self.backend()),
            provider_usage,
            price_version: usage.as_ref().map(|_| self.price),
            usage,
            finish_reason: Some(FinishReason::Stop),
            latency_ms: Some(300 + number * 7919 % 4001),
            first_token_ms: Some(214),
            attempts: Some(1),
            upstream_request_id: Some("chatcmpl-9f86d081884c7d65".into()),
            answer_digest: Some("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into()),
            content_lost: Vec::new(),
            ..InferenceEnded::new(hold.model.clone(), hold.admitted_at, cost)
        })
    }
}

/// Records one request. Of a hundred, one is refused, one fails, one is cancelled, one needs two attempts, and the rest are answered.
async fn request(world: Arc<World>, number: u64) {
    if number % 100 == 3 {
        let refusal = Refusal::new(ErrorCode::ModelNotFound, "there is no such model");
        let refused = RefusedRequest::of(&world.admission(number), refusal);
        world.log.refuse(refused).await.expect("the refusal is recorded");
        return;
    }
    let Admitted::Hold(hold) = world.log.admit(world.admission(number), None).await.expect("the ledger answers") else {
        return;
    };
    let tokens = TokenClasses { input_uncached_tokens: 900, output_text_tokens: number % 997, ..Default::default() };
    let usage = Usage::new(tokens, UsageSource::Provider);
    let ended = match number % 100 {
        0 => {
            let ended = world.ended(number, &hold, None);
            let charge = Charge::Release { reason: "status".into() };
            hold.end(vec![attempt(&world)], Outcome::Failed(ended), charge).await
        }
        1 => return drop(hold),
        tried => {
            let ended = world.ended(number, &hold, Some(usage));
            let charge = Charge::Settle(ended.cost_usd);
            let attempts = if tried == 2 { vec![attempt(&world)] } else { Vec::new() };
            let ended = Box::new(InferenceEnded { attempts: Some(1 + u32::from(tried == 2)), ..*ended });
            hold.end(attempts, Outcome::Completed(ended), charge).await
        }
    };
    ended.expect("the end is recorded");
}

fn attempt(world: &World) -> AttemptFailed {
    let reason = "status".to_owned();
    AttemptFailed {
        backend: world.backend(),
        attempt: 1,
        reason,
        status: Some(503),
        upstream_code: None,
        latency_ms: 41,
        reported: ReportedByFailedCall::default(),
    }
}

/// Records the first event of a resource, and returns its position.
async fn create(log: &Log, kind: StreamKind, id: impl std::fmt::Display, event: Event) -> u64 {
    let append = Append {
        stream: Stream::new(kind, id),
        expected_sequence: 0,
        events: vec![event],
        context: Context::of(Actor::Operator),
        side: Vec::new(),
        idempotency: None,
        basis: Basis::default(),
    };
    log.append(append).await.expect("a resource is created").last
}
