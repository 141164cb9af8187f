//! Limits of the server: the length of a message, the size of the stream.

use async_nats::jetstream::stream::{Config, DiscardPolicy};
use events::{canonical, hex};
use nats_relay::{STREAM, SUBJECTS, StreamLimits};
use ring::digest::{SHA256, digest};
use serde_json::Value;

use crate::stored;
use crate::world::{NO_LIMIT, World};

const FULL: [&str; 2] = ["does not accept position", "maximum bytes exceeded"];
/// More than the longest event takes in these tests.
const EVENT_MAX: u64 = 4_000;

const fn up_to(bytes_max: u64) -> StreamLimits {
    StreamLimits { replicas: 1, bytes_max: Some(bytes_max) }
}

/// Holds: nats.limits
#[tokio::test]
async fn an_event_that_is_too_long_for_the_server_is_relayed_without_its_data() {
    let mut world = World::with_settings(&["max_payload: 4096"]);
    world.record(40).await;
    world.record_long(5_000).await;
    let relaying = world.relay();
    relaying.must_reach(41).await;
    // The next relay compares the message with the event, and the one after a restart with a longer `max_payload` too.
    relaying.kill().await;
    world.record(2).await;
    let relaying = world.relay();
    relaying.must_reach(43).await;
    world.record_long(6_000).await;
    relaying.must_reach(44).await;
    relaying.kill().await;
    world.nats.set(&["max_payload: 16384"]);
    world.nats.start_again();
    world.record_long(5_000).await;
    let relaying = world.relay();
    relaying.must_reach(45).await;

    let messages = stored::messages(&world.jetstream().await, 1).await;
    let events = stored::events(&world.log, 0);
    assert_eq!(messages.len(), events.len());
    for (message, event) in messages.iter().zip(&events) {
        let envelope = canonical::envelope(event).expect("JSON");
        let body = String::from_utf8_lossy(&message.payload);
        if ![41, 44].contains(&message.sequence) {
            assert_eq!(body, envelope);
            continue;
        }
        let mut wanted: Value = serde_json::from_str(&envelope).expect("JSON");
        let data = wanted.as_object_mut().and_then(|members| members.remove("data")).expect("data");
        let sha256 = digest(&SHA256, canonical::to_string(&data).expect("JSON").as_bytes());
        wanted["data_sha256"] = hex::lower(sha256.as_ref()).into();
        assert_eq!(body, canonical::to_string(&wanted).expect("JSON"));
    }
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
