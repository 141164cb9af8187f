//! Nodes with a Redis, each with a log of its own: so they know of each other by Redis alone.

mod outages;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use events::event::admin::{Key, Partner, RateLimit, Scope, Tenant, User, WhenUnshared};
use events::event::{Access, Actor, Chain, Change, Context, Event, Recorded, Stream, StreamKind};
use events::ids::{KeyId, LimitId};
use events::limit::{Bounds, Measure};
use events::time::{Clock, ManualClock, SystemClock};
use events_log::{LimitSharingSign, Log, LogOptions};
use projections::tables::Tables;
use prometheus::Registry;
use tempfile::TempDir;
use testing::proxy::{Proxy, ProxyMode};
use testing::redis::{Durability, RedisServer};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::limits::shared::counts::SharedCounts;
use crate::limits::slots::SlotKey;
use crate::limits::{
    BindingLimits, BindingLimitsOf, Counting, DefaultLimits, RateLimitPermit, RateLimiter, SharedLimiter,
    SharedLimiterParts, Sharing, TokenAmounts,
};

/// How long anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(30);
/// Slow enough that two requests wait for Redis at a time, and not for an outage.
const SLOW: ProxyMode = ProxyMode::Slow(Duration::from_millis(20));

fn id<I: From<Uuid>>(number: u128) -> I {
    I::from(Uuid::from_u128(number))
}

/// The chain of partner and tenant 1.
fn chain() -> Chain {
    Chain { partner: Some(id(1)), tenant: Some(id(1)), user: Some(id(1)), key: Some(id(1)) }
}

/// The same key in a tenant of partner 2.
fn chain_in_another_tenant() -> Chain {
    Chain { partner: Some(id(2)), tenant: Some(id(2)), ..chain() }
}

fn redis() -> RedisServer {
    tokio::task::block_in_place(|| RedisServer::start(Durability::Forgets))
}

fn ask(redis: &RedisServer, words: &[&str]) -> String {
    tokio::task::block_in_place(|| redis.ask(words))
}

/// The settings that a node starts with.
struct Start {
    redis: String,
    clock: Arc<dyn Clock>,
}

impl Start {
    fn with(redis: &RedisServer) -> Self {
        Self { redis: redis.url(), clock: Arc::new(SystemClock::new()) }
    }

    fn behind(proxy: &Proxy, redis: &RedisServer) -> Self {
        Self { redis: format!("redis://127.0.0.1:{}", proxy.port), ..Self::with(redis) }
    }
}

fn proxy_of(redis: &RedisServer) -> Proxy {
    Proxy::start(([127, 0, 0, 1], redis.port()).into())
}

struct LimitedNode {
    limiter: RateLimiter,
    tables: Tables,
    log: Log,
    /// Among how many nodes it divides limits; 0 if as its own log says.
    seen: AtomicUsize,
    _work: JoinSet<()>,
    _folder: TempDir,
}

impl LimitedNode {
    /// Limits are numbered from 1.
    async fn start(name: &str, redis: &RedisServer, limits: &[(Scope, Bounds)]) -> Self {
        Self::start_with(name, Start::with(redis), limits).await
    }

    async fn start_with(name: &str, start: Start, limits: &[(Scope, Bounds)]) -> Self {
        let (folder, Start { redis, clock }) = (tempfile::tempdir().expect("a folder"), start);
        let log = Log::open(folder.path(), LogOptions::new(Arc::clone(&clock))).expect("a log");
        let parts = SharedLimiterParts {
            node: name.to_owned(),
            address: redis.parse().expect("an address"),
            sign: LimitSharingSign::default(),
            log: log.clone(),
            clock: Arc::clone(&clock),
        };
        let (limiter, task) = SharedLimiter::start(parts, &Registry::new()).await.expect("a limiter");
        let limiter = RateLimiter::shared(clock, DefaultLimits::default(), limiter);
        let mut work = JoinSet::new();
        task.end_start().await;
        work.spawn(task.run());
        let mut node =
            Self { limiter, tables: Tables::default(), log, seen: AtomicUsize::new(0), _work: work, _folder: folder };
        for number in [1, 2] {
            node.happens(Change::created(Partner::new(id(number), "partner")).into());
            node.happens(Change::created(Tenant::new(id(number), id(number), "tenant")).into());
        }
        node.happens(Change::created(User::new(id(1), id(1), "digest")).into());
        node.happens(Change::created(Key { permissions: vec![], ..Key::new(id(1), id(1), "app") }).into());
        for (number, (scope, bounds)) in (1..).zip(limits) {
            node.happens(Change::created(RateLimit::new(id(number), *scope, *bounds)).into());
        }
        node
    }

    fn happens(&mut self, event: Event) {
        let recorded = Recorded {
            position: self.tables.position + 1,
            recorded_at: SystemClock::new().now(),
            stream: Stream::new(StreamKind::RateLimit, "lim"),
            sequence: 1,
            context: Context::of(Actor::Operator),
            event,
        };
        self.tables.fold(&recorded);
    }

    fn limits(&self, chain: &Chain) -> BindingLimits {
        self.limiter.binding(&self.tables, chain, self.tables.teams_of(chain))
    }

    fn shared(&self) -> &SharedLimiter {
        let Counting::Shared(limiter) = &self.limiter.counting else { panic!("it counts in one process") };
        limiter
    }

    /// Drops idle slots, as requests under other limits do in the course of time.
    fn forget_idle_slots(&self) {
        let limiter = self.shared();
        // Of each shard, and later each time: a shard does it once a minute.
        let later = i64::MAX / 2 + limiter.now_micros().saturating_mul(100_000);
        for number in 1_000..1_200 {
            let make = || SharedCounts::new(limiter.groups.of(None));
            limiter.slots.get_or_make(SlotKey::Limit(id(number)), &self.tables, later, make);
        }
    }

    /// Redis hears of an end a little later.
    async fn wait_until_a_place_is_free(&self) {
        let started = Instant::now();
        while self.ask(&chain()).await.is_none() {
            assert!(started.elapsed() < SOON, "no place is free");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// `None` if it is refused.
    async fn ask(&self, chain: &Chain) -> Option<RateLimitPermit> {
        let seen = self.seen.load(Ordering::Relaxed);
        if seen > 0 {
            // It looks into its log once a second, which has itself alone.
            self.shared().nodes.send_replace((0..seen).map(|number| number.to_string()).collect());
        }
        self.limiter.acquire(&self.limits(chain)).await.ok()
    }

    /// Reads the node's events about how it counts limits.
    async fn recorded(&self) -> Vec<Recorded> {
        self.log.read(|reader| reader.stream(&Access::limits_stream())).await.expect("an answer")
    }

    /// Divides limits among so many nodes, of which it knows nothing else.
    fn sees(&self, nodes: usize) {
        self.seen.store(nodes, Ordering::Relaxed);
    }

    async fn admitted(&self, asks: usize) -> usize {
        let mut admitted = 0;
        for _ in 0..asks {
            admitted += usize::from(self.ask(&chain()).await.is_some());
        }
        admitted
    }

    /// Waits until a node counts in this way.
    async fn wait_until(&self, sharing: Sharing) {
        let started = Instant::now();
        while self.limiter.sharing() != sharing {
            assert!(started.elapsed() < SOON, "it does not count so: {sharing:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for LimitedNode {
    fn drop(&mut self) {
        self.log.close();
    }
}

/// A node whose clock a test moves.
async fn node_with_clock(clock: &Arc<ManualClock>, start: Start, limits: &[(Scope, Bounds)]) -> LimitedNode {
    let start = Start { clock: Arc::clone(clock) as Arc<dyn Clock>, ..start };
    LimitedNode::start_with("a", start, limits).await
}

fn manual_clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(SystemClock::new().now()))
}

fn of_key() -> Scope {
    Scope::Key(id::<KeyId>(1))
}

/// Limits are numbered in the order of their scopes, and counted by their ids.
#[tokio::test(flavor = "multi_thread")]
async fn many_limits_are_counted_in_parts_and_what_the_second_part_refuses_counts_under_none() {
    let redis = redis();
    let scopes = [Scope::Partner(id(1)), Scope::Tenant(id(1)), Scope::User(id(1)), of_key()];
    let mut limits: Vec<_> = scopes
        .into_iter()
        .flat_map(|scope| std::iter::repeat_n((scope, Bounds::of(Measure::RequestsPerMinute, 3)), 16))
        .collect();
    limits[63].1 = Bounds::of(Measure::ConcurrentRequests, 1);
    let node = LimitedNode::start("a", &redis, &limits).await;
    let BindingLimitsOf::Shared(bound) = node.limits(&chain()).whole else { panic!("they are shared") };
    let parts: Vec<usize> = bound.parts().into_iter().map(|(_, part)| part.len()).collect();
    assert_eq!(parts, [32, 32]);

    let running = node.ask(&chain()).await.expect("three may begin in a minute");
    assert_eq!(node.admitted(5).await, 0, "one runs, and no more may");
    drop(running);
    node.wait_until_a_place_is_free().await;
    node.wait_until_a_place_is_free().await;
    assert_eq!(node.limiter.sharing(), Sharing::Shared);
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(node.ask(&chain()).await.is_none(), "three have begun");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_just_before_redis_answers_or_accepts_writes_asks_again() {
    let (redis, replica, limits) = (redis(), redis(), [(of_key(), Bounds::of(Measure::RequestsPerMinute, 9))]);
    ask(&replica, &["REPLICAOF", "127.0.0.1", &redis.port().to_string()]);
    let proxy = proxy_of(&redis);
    proxy.set(ProxyMode::Refused);
    let soon = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        proxy.set(ProxyMode::Open);
        ask(&replica, &["REPLICAOF", "NO", "ONE"]);
    };
    let behind_proxy = LimitedNode::start_with("a", Start::behind(&proxy, &redis), &limits);
    let (a, b, ()) = tokio::join!(behind_proxy, LimitedNode::start("b", &replica, &limits), soon);
    for node in [a, b] {
        assert!(node.ask(&chain()).await.is_some());
        assert_eq!(node.recorded().await, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_limit_of_running_requests_has_any_in_redis() {
    let redis = redis();
    let mut node = LimitedNode::start("a", &redis, &[(of_key(), Bounds::of(Measure::RequestsPerMinute, 99))]).await;
    let running = node.ask(&chain()).await.expect("it fits");
    ask(&redis, &["FLUSHALL"]);
    assert!(node.ask(&chain()).await.is_some(), "it is counted anew");
    node.wait_until(Sharing::Shared).await;
    drop(running);
    node.happens(
        Change::changed(RateLimit::new(
            id(1),
            of_key(),
            Bounds { concurrent_requests: Some(1), ..Bounds::of(Measure::RequestsPerMinute, 99) },
        ))
        .into(),
    );
    assert!(node.ask(&chain()).await.is_some(), "nothing runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_a_key_is_one_in_whatever_tenant_the_key_asks() {
    let (redis, limits) = (redis(), [(of_key(), Bounds::of(Measure::RequestsPerMinute, 5))]);
    let (a, b) = (LimitedNode::start("a", &redis, &limits).await, LimitedNode::start("b", &redis, &limits).await);
    for _ in 0..3 {
        assert!(a.ask(&chain()).await.is_some());
    }
    for fits in [true, true, false] {
        assert_eq!(b.ask(&chain_in_another_tenant()).await.is_some(), fits);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_one_partners_limit_refuses_counts_under_no_other() {
    let of_key_bounds = Bounds { concurrent_requests: Some(2), ..Bounds::of(Measure::RequestsPerMinute, 9) };
    let of_partner = (Scope::Partner(id(2)), Bounds::of(Measure::RequestsPerMinute, 1));
    let (redis, limits) = (redis(), [(of_key(), of_key_bounds), of_partner]);
    let (a, b) = (LimitedNode::start("a", &redis, &limits).await, LimitedNode::start("b", &redis, &limits).await);
    assert!(b.ask(&chain_in_another_tenant()).await.is_some());
    for _ in 0..3 {
        assert!(a.ask(&chain_in_another_tenant()).await.is_none(), "the limit of the partner is used up");
    }
    let (started, mut admitted) = (Instant::now(), 0);
    // Redis learns a little later what is taken back.
    while admitted < 8 && started.elapsed() < SOON {
        match b.ask(&chain()).await {
            Some(_) => admitted += 1,
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    assert_eq!((admitted, b.ask(&chain()).await.is_some()), (8, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_one_partners_limit_loses_no_correction_of_another() {
    let (redis, clock) = (redis(), manual_clock());
    let of_partner = (Scope::Partner(id(2)), Bounds::of(Measure::RequestsPerMinute, 2));
    let limits = |of_a_key| [(of_key(), Bounds::of(Measure::RequestsPerMinute, of_a_key)), of_partner];
    let a = node_with_clock(&clock, Start::with(&redis), &limits(1)).await;
    // It has not read yet that the limit of the key was lowered.
    let b = LimitedNode::start("b", &redis, &limits(9)).await;
    let mut slow = a.ask(&chain_in_another_tenant()).await.expect("it fits");
    assert!(b.ask(&chain()).await.is_some());
    clock.advance(Duration::from_secs(1));
    assert!(
        a.limiter.reserve_tokens(&mut slow, TokenAmounts::of(0)).await.is_err(),
        "counted again, it fits no longer"
    );
    let (started, mut admitted) = (Instant::now(), 0);
    while admitted < 2 && started.elapsed() < SOON {
        match b.ask(&chain_in_another_tenant()).await {
            Some(_) => admitted += 1,
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    assert_eq!(admitted, 2, "the limit of the partner has nothing of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_for_redis_leaves_others_what_it_may_not_get() {
    let (redis, bounds) = (redis(), Bounds::of(Measure::TokensPerMinute, 10));
    let limits = [(of_key(), bounds), (Scope::Partner(id(2)), bounds)];
    let (proxy, b) = (proxy_of(&redis), LimitedNode::start("b", &redis, &limits).await);
    let node = LimitedNode::start_with("a", Start::behind(&proxy, &redis), &limits).await;
    let mut of_b = b.ask(&chain()).await.expect("it takes no tokens yet");
    assert!(b.limiter.reserve_tokens(&mut of_b, TokenAmounts::of(6)).await.is_ok());
    let of_partner_alone = Chain { user: None, key: None, ..chain_in_another_tenant() };
    let mut refused = node.ask(&chain_in_another_tenant()).await.expect("it takes no tokens yet");
    let mut fits = node.ask(&of_partner_alone).await.expect("it takes no tokens yet");
    // The limit of the key refuses the first; it is counted under that of the partner until its node knows that.
    proxy.set(SLOW);
    let (refused, fits) = tokio::join!(
        node.limiter.reserve_tokens(&mut refused, TokenAmounts::of(6)),
        node.limiter.reserve_tokens(&mut fits, TokenAmounts::of(6))
    );
    assert_eq!((refused.is_ok(), fits.is_ok()), (false, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_redis_has_dropped_is_put_again() {
    let (redis, limits) = (redis(), [(of_key(), Bounds::of(Measure::RequestsPerMinute, 9))]);
    let (a, b) = (LimitedNode::start("a", &redis, &limits).await, LimitedNode::start("b", &redis, &limits).await);
    for _ in 0..5 {
        assert!(a.ask(&chain()).await.is_some());
    }
    let key = ask(&redis, &["--scan", "--pattern", "lw:*:lim_*"]);
    ask(&redis, &["DEL", &key]);
    assert!(a.ask(&chain()).await.is_some());
    a.wait_until(Sharing::Shared).await;
    assert_eq!(b.admitted(9).await, 3, "six of nine are counted");
    assert_eq!(a.recorded().await, [], "it is no outage");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_ends_after_its_window_has_left_is_no_outage() {
    let (redis, clock) = (redis(), manual_clock());
    let limits = [(of_key(), Bounds::of(Measure::TokensPerMinute, 99))];
    let node = node_with_clock(&clock, Start::with(&redis), &limits).await;
    let mut running = node.ask(&chain()).await.expect("it fits");
    assert!(node.limiter.reserve_tokens(&mut running, TokenAmounts::of(9)).await.is_ok());
    clock.advance(Duration::from_secs(61));
    let key = ask(&redis, &["--scan", "--pattern", "lw:*:lim_*"]);
    // As the script does when another node asks, after the lease of this one.
    ask(&redis, &["DEL", &key]);
    running.settle(TokenAmounts::of(5));
    let started = Instant::now();
    while ask(&redis, &["EXISTS", &key]) == "0" {
        assert!(started.elapsed() < SOON, "Redis is not told what the request used");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(node.shared().figures.outages.get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_has_refused_is_not_missed_there() {
    let (redis, clock) = (redis(), manual_clock());
    let bounds = Bounds { concurrent_requests: Some(1), ..Bounds::of(Measure::RequestsPerMinute, 9) };
    let node = node_with_clock(&clock, Start::with(&redis), &[(of_key(), bounds)]).await;
    let running = node.ask(&chain()).await.expect("it fits");
    clock.advance(Duration::from_millis(900));
    assert!(node.ask(&chain()).await.is_none(), "one is running");
    drop(running);
    // The node keeps the bucket until the second one has left, and Redis, which has the first alone, does not; both for a second
    // more, in which their clocks may differ.
    clock.advance(Duration::from_millis(59_600));
    let key = ask(&redis, &["--scan", "--pattern", "lw:*:lim_*"]);
    // As the script does when another node asks, after the lease of this one.
    ask(&redis, &["DEL", &key]);
    assert!(node.ask(&chain()).await.is_some());
    assert_eq!(node.limiter.sharing(), Sharing::Shared);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_counted_again_counts_no_longer() {
    let (mut redis, clock) = (redis(), manual_clock());
    let mut node = node_with_clock(&clock, Start::with(&redis), &[]).await;
    let bounds = Bounds::of(Measure::RequestsPerMinute, 3);
    let limit = RateLimit { when_unshared: WhenUnshared::Closed, ..RateLimit::new(id(3), of_key(), bounds) };
    node.happens(Change::created(limit).into());
    let mut slow = node.ask(&chain()).await.expect("it fits");
    tokio::task::block_in_place(|| redis.kill());
    node.wait_until(Sharing::Local).await;
    assert!(node.limiter.reserve_tokens(&mut slow, TokenAmounts::of(0)).await.is_err(), "the limit is closed");
    tokio::task::block_in_place(|| redis.start_again());
    node.wait_until(Sharing::Shared).await;
    for fits in [true, true, true, false] {
        assert_eq!(node.ask(&chain()).await.is_some(), fits);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_counted_again_as_redis_goes_counts_once() {
    let (redis, clock) = (redis(), manual_clock());
    let limits = [(of_key(), Bounds::of(Measure::RequestsPerMinute, 2))];
    let node = node_with_clock(&clock, Start::with(&redis), &limits).await;
    let mut slow = node.ask(&chain()).await.expect("it fits");
    clock.advance(Duration::from_secs(1));
    node.shared().fail(node.shared().link.number().expect("a connection"), "an outage");
    node.limiter.admitted(&mut slow).await;
    node.wait_until(Sharing::Shared).await;
    assert_eq!((node.ask(&chain()).await.is_some(), node.ask(&chain()).await.is_some()), (true, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admitted_request_counts_although_its_client_leaves() {
    let (redis, clock) = (redis(), manual_clock());
    let limits = [(of_key(), Bounds::of(Measure::RequestsPerMinute, 2))];
    let proxy = proxy_of(&redis);
    let node = node_with_clock(&clock, Start::behind(&proxy, &redis), &limits).await;
    let mut slow = node.ask(&chain()).await.expect("it fits");
    clock.advance(Duration::from_secs(1));
    proxy.set(SLOW);
    let waiting = tokio::time::timeout(Duration::from_millis(1), node.limiter.admitted(&mut slow)).await;
    assert!(waiting.is_err(), "its client leaves before Redis has answered");
    drop(slow);
    // Until Redis knows of it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((node.ask(&chain()).await.is_some(), node.ask(&chain()).await.is_some()), (true, false));
}

/// Each partner has a call of its own, and a place is kept for five seconds.
#[tokio::test(flavor = "multi_thread")]
async fn the_places_of_many_partners_are_kept_where_redis_takes_its_time() {
    const PARTNERS: u128 = 64;
    let (redis, running) = (redis(), Bounds::of(Measure::ConcurrentRequests, 1));
    let proxy = proxy_of(&redis);
    let limits: Vec<(Scope, Bounds)> = (1..=PARTNERS).map(|partner| (Scope::Partner(id(partner)), running)).collect();
    let node = LimitedNode::start_with("a", Start::behind(&proxy, &redis), &limits).await;
    let mut permits = Vec::new();
    for partner in 1..=PARTNERS {
        permits.push(node.ask(&Chain { partner: Some(id(partner)), ..chain() }).await.expect("it fits"));
    }
    // One after the other, they would take longer than five seconds.
    proxy.set(ProxyMode::Slow(Duration::from_millis(50)));
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(node.recorded().await, []);
}
