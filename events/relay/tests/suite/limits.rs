//! Limits of the server: the length of a message, the size of the stream.

use relay::StreamLimits;

use crate::stored;
use crate::world::{NO_LIMIT, World, end};

/// Holds: nats.limits
#[tokio::test]
async fn an_event_that_is_too_long_for_the_server_stops_the_relay_at_its_position() {
    let mut world = World::with_settings(&["max_payload: 4096"]);
    world.record(40).await;
    world.record_long(5_000).await;
    world.record(3).await;
    let mut relaying = world.relay();
    relaying
        .must_fail_with(&["the event at position 41 needs messages of", "NATS accepts 4096: raise max_payload"])
        .await;
    assert_eq!(end(&world.jetstream().await).await, Some(40));
    world.nats.set(&["max_payload: 16384"]);
    world.nats.start_again();
    world.must_become_a_copy().await;
}

/// Holds: nats.limits
#[tokio::test]
async fn a_full_stream_forgets_nothing_and_continues_when_it_may_be_larger() {
    let world = World::new();
    world.record(2_000).await;
    let full = StreamLimits { replicas: 1, bytes_max: Some(100_000) };
    let mut relaying = world.relay_with(full);
    relaying.must_fail_with(&["does not accept position", "maximum bytes exceeded"]).await;
    let jetstream = world.jetstream().await;
    let reached = end(&jetstream).await.expect("a stream");
    assert!((50..1_000).contains(&reached), "{reached}");
    assert_eq!(stored::messages(&jetstream, 1).await.len() as u64, reached);
    relaying.kill().await;
    let _relaying = world.relay_with(NO_LIMIT);
    world.must_become_a_copy().await;
}
