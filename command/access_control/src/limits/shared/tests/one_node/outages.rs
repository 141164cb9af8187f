//! Outages of a node, its starts and its returns.

use super::*;

/// The reasons of the local periods, and the numbers of nodes among which limits are divided in them.
fn local_periods(recorded: &[Recorded]) -> Vec<(String, usize)> {
    let local = |recorded: &Recorded| match &recorded.event {
        Event::Access(Access::LimitsLocal(local)) => Some((local.reason.clone(), local.nodes.len())),
        _ => None,
    };
    recorded.iter().filter_map(local).collect()
}

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

/// Counts made in Redis before the outage take from a node's share, and requests admitted by its share are counted in
/// Redis afterwards, whether that has kept its data or not, and also for a node that asks again later.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_admit_their_shares_while_redis_is_away_and_count_together_when_it_is_back() {
    for durability in [Durability::Forgets, Durability::Keeps] {
        let mut redis = tokio::task::block_in_place(|| RedisServer::start(durability));
        let limits = [(of_key(), Bounds::of(Measure::RequestsPerMinute, 30))];
        let (a, b) = (LimitedNode::start("a", &redis, &limits).await, LimitedNode::start("b", &redis, &limits).await);
        assert_eq!((a.admitted(10).await, b.admitted(2).await), (10, 2));
        tokio::task::block_in_place(|| redis.kill());
        for node in [&a, &b] {
            node.wait_until(Sharing::Local).await;
            node.sees(2);
        }
        assert_eq!((a.admitted(30).await, b.admitted(5).await), (5, 5), "fifteen each");
        tokio::task::block_in_place(|| redis.start_again());
        for node in [&a, &b] {
            node.wait_until(Sharing::Shared).await;
        }
        // By then, both have told all that they count.
        wait_until_told(&redis, 2).await;
        assert_eq!((b.admitted(30).await, a.admitted(30).await), (8, 0), "{durability:?}: thirty in all");
    }
}

/// Waits until so many nodes have told Redis what they count of the only limit.
async fn wait_until_told(redis: &RedisServer, nodes: usize) {
    let started = Instant::now();
    loop {
        let key = ask(redis, &["--scan", "--pattern", "lw:*:lim_*"]);
        let windows = if key.is_empty() { String::new() } else { ask(redis, &["HKEYS", &key]) };
        if windows.lines().filter(|field| field.starts_with("w:")).count() == nodes {
            return;
        }
        assert!(started.elapsed() < SOON, "a node does not say what it counts");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_period_is_recorded_with_its_cause_and_the_nodes_of_its_shares() {
    let redis = redis();
    let (proxy, limits) = (proxy_of(&redis), [(of_key(), Bounds::of(Measure::RequestsPerMinute, 4))]);
    let node = LimitedNode::start_with("a", Start::behind(&proxy, &redis), &limits).await;
    proxy.set(ProxyMode::Refused);
    node.wait_until(Sharing::Local).await;
    wait_for_events(&node, 1).await;
    assert_eq!(node.admitted(6).await, 4, "alone, it has the whole limit");
    proxy.set(ProxyMode::Open);
    wait_for_events(&node, 2).await;
    let recorded = node.recorded().await;
    let [(reason, 1)] = &local_periods(&recorded)[..] else { panic!("{recorded:?}") };
    assert!(reason.contains(&format!("127.0.0.1:{}", proxy.port)), "{reason}");
    let Event::Access(Access::LimitsShared(shared)) = &recorded[1].event else { panic!("{recorded:?}") };
    assert_eq!((shared.ends, shared.admitted, shared.refused), (recorded[0].position, 4, 2));
    assert!(shared.began_at <= shared.ended_at && shared.node == "a");
}

async fn wait_for_events(node: &LimitedNode, count: usize) {
    let started = Instant::now();
    while node.recorded().await.len() < count {
        assert!(started.elapsed() < SOON, "nothing is recorded");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_half_a_second_for_redis_and_the_next_one_does_not_wait() {
    let redis = redis();
    let (proxy, limits) = (proxy_of(&redis), [(of_key(), Bounds::of(Measure::RequestsPerMinute, 9))]);
    let node = LimitedNode::start_with("a", Start::behind(&proxy, &redis), &limits).await;
    assert!(node.ask(&chain()).await.is_some());
    proxy.set(ProxyMode::Silent);
    let mut waits = Vec::new();
    for _ in 0..2 {
        let began = Instant::now();
        assert!(node.ask(&chain()).await.is_some(), "it is admitted by the share");
        waits.push(began.elapsed());
    }
    assert!(waits[0] < Duration::from_secs(2) && waits[1] < Duration::from_millis(250), "{waits:?}");
    // The late call changes nothing: three are counted, and not four.
    proxy.set(ProxyMode::Open);
    node.wait_until(Sharing::Shared).await;
    assert_eq!(node.admitted(9).await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_could_not_connect_at_its_start_serves_by_its_share_until_it_can() {
    let redis = redis();
    let (proxy, limits) = (proxy_of(&redis), [(of_key(), Bounds::of(Measure::RequestsPerMinute, 9))]);
    proxy.set(ProxyMode::Refused);
    let node = LimitedNode::start_with("a", Start::behind(&proxy, &redis), &limits).await;
    assert_eq!((node.limiter.sharing(), node.admitted(5).await), (Sharing::Local, 5));
    proxy.set(ProxyMode::Open);
    node.wait_until(Sharing::Shared).await;
    assert_eq!(node.admitted(9).await, 4);
    let of_redis = |reason: &str| reason.contains("127.0.0.1");
    assert!(matches!(&local_periods(&node.recorded().await)[..], [(reason, 1)] if of_redis(reason)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_has_lost_its_counts_without_a_word_is_told_them_although_nobody_asks() {
    let (redis, limits) = (redis(), [(of_key(), Bounds::of(Measure::RequestsPerMinute, 9))]);
    let (a, b) = (LimitedNode::start("a", &redis, &limits).await, LimitedNode::start("b", &redis, &limits).await);
    assert_eq!(a.admitted(6).await, 6);
    ask(&redis, &["FLUSHALL"]);
    for node in [&a, &b] {
        wait_for_events(node, 2).await;
    }
    wait_until_told(&redis, 1).await;
    assert_eq!(b.admitted(9).await, 3);
    assert!(local_periods(&a.recorded().await)[0].0.contains("lost its counts"));
}

#[tokio::test(flavor = "multi_thread")]
async fn running_requests_are_divided_while_redis_is_away_and_counted_together_afterwards() {
    let (mut redis, limits) = (redis(), [(of_key(), Bounds::of(Measure::ConcurrentRequests, 4))]);
    let (a, b) = (LimitedNode::start("a", &redis, &limits).await, LimitedNode::start("b", &redis, &limits).await);
    let mut of_a = vec![a.ask(&chain()).await.expect("it fits")];
    tokio::task::block_in_place(|| redis.kill());
    for node in [&a, &b] {
        node.wait_until(Sharing::Local).await;
        node.sees(2);
    }
    of_a.extend(a.ask(&chain()).await);
    assert!(of_a.len() == 2 && a.ask(&chain()).await.is_none());
    let of_b = [b.ask(&chain()).await.expect("its share"), b.ask(&chain()).await.expect("its share")];
    assert!(b.ask(&chain()).await.is_none());
    tokio::task::block_in_place(|| redis.start_again());
    for node in [&a, &b] {
        node.wait_until(Sharing::Shared).await;
    }
    let key = format!("lw:{{{}}}:{}", id::<events::ids::PartnerId>(1), id::<LimitId>(1));
    let started = Instant::now();
    while ask(&redis, &["HVALS", &key]).lines().filter(|running| *running == "2").count() < 2 {
        assert!(started.elapsed() < SOON, "Redis is not told what runs");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(a.ask(&chain()).await.is_none() && b.ask(&chain()).await.is_none());
    drop(of_b);
    let mut again = None;
    while again.is_none() && started.elapsed() < SOON {
        again = a.ask(&chain()).await;
    }
    assert!(again.is_some(), "the places of the other node are free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_ended_while_redis_was_away_has_no_place_any_more() {
    let mut redis = tokio::task::block_in_place(|| RedisServer::start(Durability::Keeps));
    let node = LimitedNode::start("a", &redis, &[(of_key(), Bounds::of(Measure::ConcurrentRequests, 1))]).await;
    let running = node.ask(&chain()).await.expect("it fits");
    tokio::task::block_in_place(|| redis.kill());
    node.wait_until(Sharing::Local).await;
    drop(running);
    tokio::task::block_in_place(|| redis.start_again());
    node.wait_until(Sharing::Shared).await;
    node.wait_until_a_place_is_free().await;
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
    returns(&redis, &proxy).await;
    node.wait_until(Sharing::Shared).await;
    node.wait_until_a_place_is_free().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_end_is_the_first_that_redis_does_not_hear_has_no_place_any_more() {
    a_place_is_free_after(async |_, proxy| proxy.set(ProxyMode::Open)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_cannot_be_told_at_first_is_told_again() {
    a_place_is_free_after(async |redis, proxy| {
        // The limits of no partner can be told.
        ask(redis, &["ACL", "SETUSER", "default", "resetkeys", "~lw:{trial}:*"]);
        proxy.set(ProxyMode::Open);
        let started = Instant::now();
        while !ask(redis, &["INFO", "errorstats"]).contains("errorstat_NOPERM:") {
            assert!(started.elapsed() < SOON, "nothing is told");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        ask(redis, &["ACL", "SETUSER", "default", "allkeys"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_redis_has_to_be_told_of_is_kept() {
    let redis = redis();
    let (proxy, limits) = (proxy_of(&redis), [(of_key(), Bounds::of(Measure::ConcurrentRequests, 1))]);
    let node = LimitedNode::start_with("a", Start::behind(&proxy, &redis), &limits).await;
    let running = node.ask(&chain()).await.expect("it fits");
    proxy.set(ProxyMode::Refused);
    node.wait_until(Sharing::Local).await;
    drop(running);
    node.forget_idle_slots();
    assert!(node.shared().slots.get(SlotKey::Limit(id(1))).is_some());
    proxy.set(ProxyMode::Open);
    node.wait_until(Sharing::Shared).await;
    node.wait_until_a_place_is_free().await;
    let started = Instant::now();
    while node.shared().slots.get(SlotKey::Limit(id(1))).is_some() {
        assert!(started.elapsed() < SOON, "it is kept although Redis was told");
        tokio::time::sleep(Duration::from_millis(10)).await;
        node.forget_idle_slots();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_counted_without_an_answer_has_no_place() {
    let redis = redis();
    let (proxy, bounds) = (proxy_of(&redis), Bounds::of(Measure::ConcurrentRequests, 1));
    let mut node = LimitedNode::start_with("a", Start::behind(&proxy, &redis), &[]).await;
    let limit = RateLimit { when_unshared: WhenUnshared::Closed, ..RateLimit::new(id(3), of_key(), bounds) };
    node.happens(Change::created(limit).into());
    proxy.cut_off_after_answer_to(b"concurrent_requests");
    assert!(node.ask(&chain()).await.is_none(), "the limit is closed");
    node.wait_until(Sharing::Local).await;
    proxy.set(ProxyMode::Open);
    node.wait_until(Sharing::Shared).await;
    node.wait_until_a_place_is_free().await;
}
