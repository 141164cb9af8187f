//! Relays that are dropped at any moment, servers that are killed, connections that fall silent.

use std::time::Duration;

use testing::proxy::{Proxy, ProxyMode};
use testing::random::SplitMix64;
use tokio::time::sleep;

use crate::world::{NO_LIMIT, Relaying, World, record};

const SEED: u64 = 16;

fn up_to_millis(random: &mut SplitMix64, max: u64) -> Duration {
    Duration::from_millis(random.next_u64() % max)
}

/// Holds: nats.copy
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relays_that_are_dropped_at_any_moment_leave_no_gap_and_no_duplicate() {
    let world = World::new();
    let mut random = SplitMix64::new(SEED);
    let log = world.log.clone();
    let mut recording = tokio::task::JoinSet::new();
    recording.spawn(async move {
        for round in 0..400 {
            record(&log, round % 23 + 1).await;
            sleep(Duration::from_millis(2)).await;
        }
    });
    // The embedded log gives both the lease: one that works for another that has lost it and does not know yet.
    let mut relays = [world.relay(), world.relay()];
    for _ in 0..50 {
        sleep(up_to_millis(&mut random, 40)).await;
        let one = &mut relays[usize::from(random.next_u64().is_multiple_of(2))];
        std::mem::replace(one, world.relay()).kill().await;
    }
    recording.join_next().await.expect("a task").expect("all recorded");
    world.must_become_a_copy().await;
}

/// Holds: nats.copy
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_under_load_gets_the_rest_when_it_is_back() {
    let mut world = World::new();
    let mut random = SplitMix64::new(SEED);
    let mut relaying = world.relay();
    for round in 0..6 {
        for _ in 0..50 {
            world.record(random.next_u64() % 40 + 1).await;
        }
        sleep(up_to_millis(&mut random, 30)).await;
        world.nats.kill();
        world.record(20).await;
        if round == 0 {
            relaying.must_fail_with(&["connect to nats://127.0.0.1:"]).await;
        }
        world.nats.start_again();
    }
    world.must_become_a_copy().await;
    assert_eq!(crate::world::why_failing(&relaying.status), None);
}

/// Holds: nats.said
#[tokio::test]
async fn a_connection_that_falls_silent_is_given_up() {
    let world = World::new();
    let proxy = Proxy::start(world.nats.socket());
    let mut relaying = Relaying::start(&world.log, &format!("nats://127.0.0.1:{}", proxy.port), NO_LIMIT);
    world.record(10).await;
    world.must_become_a_copy().await;
    proxy.set(ProxyMode::Silent);
    world.record(10).await;
    relaying.must_fail_with(&["NATS did not answer in time"]).await;
    proxy.set(ProxyMode::Open);
    world.record(10).await;
    world.must_become_a_copy().await;
}
