//! Outages of a node, its starts and its returns.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_without_requests_is_seen() {
    let mut redis = redis();
    let node = LimitedNode::start("a", &redis, &[]).await;
    node.wait_until(Sharing::Shared).await;
    tokio::task::block_in_place(|| redis.kill());
    node.wait_until(Sharing::Local).await;
    tokio::task::block_in_place(|| redis.start_again());
    node.wait_until(Sharing::Shared).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_until_its_node_has_a_share() {
    let (redis, began_at) = (redis(), SystemClock::new().now());
    let local =
        AccessLimitsLocal { node: "x".to_owned(), nodes: vec!["x".to_owned()], began_at, reason: String::new() };
    let limits = [(of_key(), Bounds::of(Measure::RequestsPerMinute, 9))];
    let start = Start { recorded: Some(local), ..Start::with(&redis) };
    let node = LimitedNode::start_with("a", start, &limits).await;
    let limits = node.limits(&chain());
    let begins = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        node.begin();
    };
    let (admitted, ()) = tokio::join!(node.limiter.acquire(&limits), begins);
    assert!(admitted.is_ok());
}

/// A node that has done nothing yet when the others share their counts again.
struct Unbegun {
    node: LimitedNode,
    proxy: Proxy,
    _redis: RedisServer,
}

impl Unbegun {
    /// It starts with the proxy like this.
    async fn start(mode: ProxyMode) -> Self {
        let (redis, began_at) = (redis(), SystemClock::new().now());
        let (proxy, x) = (proxy_of(&redis), "x".to_owned());
        proxy.set(mode);
        let local = AccessLimitsLocal { node: x.clone(), nodes: vec![x.clone()], began_at, reason: String::new() };
        let limits = [(of_key(), Bounds::of(Measure::RequestsPerMinute, 9))];
        let start = Start { recorded: Some(local), ..Start::behind(&proxy, &redis) };
        let node = LimitedNode::start_with("a", start, &limits).await;
        let ends = node.shared().modes.mode().turn();
        let shared = AccessLimitsShared { node: x, ends, began_at, ended_at: began_at, admitted: 0, refused: 0 };
        record_mode(&node.log, shared.into()).await;
        Self { node, proxy, _redis: redis }
    }

    /// Begins, and asks as soon as counts are shared.
    async fn begin_and_ask(&self) -> bool {
        let limits = self.node.limits(&chain());
        let asked = async {
            self.node.shared().modes.wait_for(|known| known.mode.is_shared(), SOON).await;
            self.node.limiter.acquire(&limits).await.is_ok()
        };
        let (is_admitted, ()) = tokio::join!(asked, async { self.node.begin() });
        is_admitted
    }

    async fn recorded(&self) -> Vec<Recorded> {
        self.node.log.read(|reader| reader.stream(&Access::limits_stream())).await.expect("an answer")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_could_not_connect_at_its_start_connects_and_ends_nothing() {
    let unbegun = Unbegun::start(ProxyMode::Refused).await;
    unbegun.proxy.set(ProxyMode::Open);
    assert!(unbegun.begin_and_ask().await, "it waits for the connection");
    assert_eq!(unbegun.recorded().await.len(), 2, "it has recorded no outage");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_during_the_start_is_made_again_and_ends_nothing() {
    let unbegun = Unbegun::start(ProxyMode::Open).await;
    unbegun.proxy.set(ProxyMode::Refused);
    tokio::time::sleep(Duration::from_millis(100)).await;
    unbegun.proxy.set(ProxyMode::Open);
    assert!(unbegun.begin_and_ask().await, "it waits for the connection");
    assert_eq!(unbegun.recorded().await.len(), 2, "it has recorded no outage");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_takes_longer_than_requests_wait_ends_the_turn_before_they_are_refused() {
    let unbegun = Unbegun::start(ProxyMode::Refused).await;
    unbegun.proxy.set(ProxyMode::Slow(Duration::from_millis(400)));
    assert!(unbegun.begin_and_ask().await, "it is admitted by the node's share");
    let recorded = unbegun.recorded().await;
    let Some(Event::Access(Access::LimitsLocal(local))) = recorded.get(2).map(|recorded| &recorded.event) else {
        panic!("no outage: {recorded:?}");
    };
    assert!(local.reason.contains("within 1500 ms"), "{}", local.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_ready_half_a_second_after_it_began_to_put_and_a_second_after_an_outage_that_follows_its_start() {
    for (shared_for, ready_after) in [(61, Duration::from_millis(500)), (1, Duration::from_secs(1))] {
        let (redis, clock) = (redis(), manual_clock());
        let node = node_with_clock(&clock, Start::with(&redis), &[]).await;
        // By then it has noted since when counts are shared.
        tokio::time::sleep(Duration::from_secs(1)).await;
        clock.advance(Duration::from_secs(shared_for));
        node.shared().fail(0, "an outage");
        node.wait_until(Sharing::Local).await;
        let is_putting = |phase: &Phase| matches!(phase, Phase::Putting { .. });
        node.shared().link.watch_phase().wait_for(is_putting).await.expect("it is watched");
        // Its clock stands still from here on; it looks at it four times a second.
        tokio::time::sleep(Duration::from_millis(600)).await;
        clock.advance(ready_after - Duration::from_millis(1));
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(node.limiter.sharing(), Sharing::Local, "after {shared_for} seconds");
        clock.advance(Duration::from_millis(1));
        node.wait_until(Sharing::Shared).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_ended_while_redis_was_away_has_no_place_any_more() {
    let mut redis = tokio::task::block_in_place(|| RedisServer::start(Durability::Keeps));
    let node = LimitedNode::start("a", &redis, &[(of_key(), Bounds::of(Measure::ConcurrentRequests, 1))]).await;
    let running = node.ask(&chain()).await.expect("it fits");
    tokio::task::block_in_place(|| redis.kill());
    node.wait_until(Sharing::Local).await;
    drop(running);
    node.forget_idle_slot(id(1));
    tokio::task::block_in_place(|| redis.start_again());
    node.wait_until(Sharing::Shared).await;
    assert!(node.ask(&chain()).await.is_some());
}

/// Redis has lost what the node had put into it, and nobody asks again for what it counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_others_did_not_wait_for_puts_what_it_counts_once_more() {
    let (redis, clock, limits) = (redis(), manual_clock(), [(of_key(), Bounds::of(Measure::RequestsPerMinute, 9))]);
    let a = node_with_clock(&clock, Start::with(&redis), &limits).await;
    let b = LimitedNode::start("b", &redis, &limits).await;
    for _ in 0..6 {
        assert!(a.ask(&chain()).await.is_some());
    }
    let key = ask(&redis, &["--scan", "--pattern", "lw:*:lim_*"]);
    a.shared().link.set_connection(None);
    // The outage follows its start so soon that it waits before it says that it is ready, and its clock stands still.
    let started = Instant::now();
    while a.shared().figures.restored.get() == 0 {
        assert!(started.elapsed() < SOON, "it puts nothing");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    ask(&redis, &["FLUSHALL"]);
    let (ends, at) = (a.shared().modes.mode().turn(), clock.now());
    let shared = AccessLimitsShared { node: "b".to_owned(), ends, began_at: at, ended_at: at, admitted: 0, refused: 0 };
    record_mode(&a.log, shared.into()).await;
    while ask(&redis, &["EXISTS", &key]) == "0" {
        assert!(started.elapsed() < SOON, "Redis lacks what it counts");
        clock.advance(Duration::from_millis(50));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for fits in [true, true, true, false] {
        assert_eq!(b.ask(&chain()).await.is_some(), fits);
    }
}

/// The one place of a limit is free after an outage that begins with the end of its request, and in which `returns` happens.
async fn a_place_is_free_after(returns: impl AsyncFnOnce(&RedisServer, &Proxy)) {
    let redis = redis();
    let (proxy, limits) = (proxy_of(&redis), [(of_key(), Bounds::of(Measure::ConcurrentRequests, 1))]);
    let node = LimitedNode::start_with("a", Start::behind(&proxy, &redis), &limits).await;
    let running = node.ask(&chain()).await.expect("it fits");
    proxy.set(ProxyMode::Refused);
    drop(running);
    node.wait_until(Sharing::Local).await;
    node.forget_idle_slot(id(1));
    returns(&redis, &proxy).await;
    node.wait_until(Sharing::Shared).await;
    assert!(node.ask(&chain()).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_end_is_the_first_that_redis_does_not_hear_has_no_place_any_more() {
    a_place_is_free_after(async |_, proxy| proxy.set(ProxyMode::Open)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_cannot_be_put_at_first_is_put_again() {
    a_place_is_free_after(async |redis, proxy| {
        // The limits of no partner can be put.
        ask(redis, &["ACL", "SETUSER", "default", "resetkeys", "~lw:{operator}:*"]);
        proxy.set(ProxyMode::Open);
        let started = Instant::now();
        while !ask(redis, &["INFO", "errorstats"]).contains("errorstat_NOPERM:") {
            assert!(started.elapsed() < SOON, "nothing is put");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        ask(redis, &["ACL", "SETUSER", "default", "allkeys"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_counted_without_an_answer_has_no_place() {
    let redis = redis();
    let (proxy, bounds) = (proxy_of(&redis), Bounds::of(Measure::ConcurrentRequests, 1));
    let of_partner = [(Scope::Partner(id(2)), Bounds::of(Measure::RequestsPerMinute, 9))];
    let mut node = LimitedNode::start_with("a", Start::behind(&proxy, &redis), &of_partner).await;
    assert!(node.ask(&chain_in_another_tenant()).await.is_some(), "Redis has the script");
    let limit = RateLimit { when_unshared: WhenUnshared::Closed, ..RateLimit::new(id(3), of_key(), bounds) };
    node.happens(Change::created(limit).into());
    proxy.cut_off_after_answer_to(b"concurrent_requests");
    assert!(node.ask(&chain()).await.is_none(), "nobody can count it");
    node.wait_until(Sharing::Local).await;
    node.forget_idle_slot(id(3));
    proxy.set(ProxyMode::Open);
    node.wait_until(Sharing::Shared).await;
    assert!(node.ask(&chain()).await.is_some());
}
