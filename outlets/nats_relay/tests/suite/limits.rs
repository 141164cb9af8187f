//! Limits of the server: the length of a message, the size of the stream.

use async_nats::jetstream::stream::{Config, DiscardPolicy};
use nats_relay::{STREAM, SUBJECTS, StreamLimits};

use crate::stored;
use crate::world::{NO_LIMIT, World, end};

const FULL: [&str; 2] = ["does not accept position", "maximum bytes exceeded"];
/// More than the longest event takes in these tests.
const EVENT_MAX: u64 = 4_000;

const fn up_to(bytes_max: u64) -> StreamLimits {
    StreamLimits { replicas: 1, bytes_max: Some(bytes_max) }
}

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
    for round in 0..80 {
        world.record(round % 5 + 1).await;
        world.record_long(usize::try_from(round * 997 % 3_000).expect("a length")).await;
    }
    let jetstream = world.jetstream().await;
    // Raised in small steps, so that each length of the next message is less than what is left, and almost less; then lowered.
    let (mut reached, mut bytes) = (0, 0);
    for bytes_max in (60_000..63_000).step_by(90).chain([80_000, 79_000, 30_000]) {
        let mut relaying = world.relay_with(up_to(bytes_max));
        relaying.must_fail_with(&FULL).await;
        relaying.kill().await;
        let state = jetstream.get_stream(STREAM).await.expect("the stream").cached_info().state.clone();
        assert_eq!((state.first_sequence, state.messages), (1, state.last_sequence), "{bytes_max}: {state:?}");
        assert_eq!(stored::messages(&jetstream, 1).await.len() as u64, state.last_sequence);
        if bytes_max > bytes {
            assert!((bytes_max - EVENT_MAX..=bytes_max).contains(&state.bytes), "{bytes_max}: {state:?}");
            assert!(state.last_sequence >= reached, "{bytes_max}: {state:?}");
        } else {
            assert_eq!((state.last_sequence, state.bytes), (reached, bytes), "{bytes_max}: {state:?}");
        }
        (reached, bytes) = (state.last_sequence, state.bytes);
    }
    let _relaying = world.relay_with(NO_LIMIT);
    world.must_become_a_copy().await;
}

/// Gateways before this one made the stream with this limit.
/// Holds: nats.limits
#[tokio::test]
async fn a_limit_that_the_server_keeps_is_taken_from_it() {
    let world = World::new();
    world.record(100).await;
    let jetstream = world.jetstream().await;
    let (subjects, discard) = (vec![SUBJECTS.to_owned()], DiscardPolicy::New);
    let config = Config { name: STREAM.to_owned(), subjects, discard, max_bytes: 100_000, ..Config::default() };
    jetstream.create_stream(config).await.expect("a stream");
    let mut relaying = world.relay_with(up_to(10_000));
    relaying.must_fail_with(&FULL).await;
    relaying.must_keep_failing().await;
    let stream = jetstream.get_stream(STREAM).await.expect("the stream");
    assert_eq!(stream.cached_info().config.max_bytes, -1);
    assert!((9_000..=10_000).contains(&stream.cached_info().state.bytes), "{:?}", stream.cached_info().state);
}
