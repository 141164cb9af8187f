//! The stream is a copy of the log.

use async_nats::jetstream::consumer::pull;
use futures_util::StreamExt;
use nats_relay::STREAM;

use crate::world::World;

/// Holds: nats.copy
#[tokio::test]
async fn every_event_is_at_its_position_whether_it_was_recorded_before_the_relay_or_after() {
    let world = World::new();
    world.record(3_000).await;
    let relaying = world.relay();
    for _ in 0..100 {
        world.record(2).await;
    }
    world.must_become_a_copy().await;
    assert_eq!(relaying.status.read().position, world.log.head().position);
    world.log.close();
    relaying.ended().await;
}

#[tokio::test]
async fn an_empty_log_is_an_empty_stream_until_its_first_event() {
    let world = World::new();
    let _relaying = world.relay();
    world.must_become_a_copy().await;
    world.record(1).await;
    world.must_become_a_copy().await;
}

/// Windows end at a megabyte.
/// Holds: nats.copy
#[tokio::test]
async fn long_events_are_relayed_as_well() {
    let world = World::new();
    for _ in 0..12 {
        world.record_long(300_000).await;
        world.record(5).await;
    }
    let _relaying = world.relay();
    world.must_become_a_copy().await;
}

/// Holds: nats.subjects
#[tokio::test]
async fn consumers_can_filter_by_family_type_and_tenant() {
    let world = World::new();
    world.record(8).await;
    world.record_long(10).await;
    let _relaying = world.relay();
    world.must_become_a_copy().await;
    let stream = world.jetstream().await.get_stream(STREAM).await.expect("the stream");
    let tenant = format!("ten_{:032x}", 1);
    for (filter, count) in [
        ("ledgerway.events.access.>".to_owned(), 8),
        ("ledgerway.events.admin.partner.created.v1.*".to_owned(), 1),
        (format!("ledgerway.events.*.*.*.*.{tenant}"), 3),
        ("ledgerway.events.*.*.*.*.-".to_owned(), 2),
    ] {
        let config = pull::Config { filter_subject: filter.clone(), ..Default::default() };
        let consumer = stream.create_consumer(config).await.expect("a consumer");
        let batch = consumer.fetch().max_messages(100).messages().await.expect("a batch");
        assert_eq!(batch.count().await, count, "{filter}");
    }
}
