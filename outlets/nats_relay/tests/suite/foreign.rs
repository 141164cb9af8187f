//! Streams and messages that are not the relay's.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, Source};
use nats_relay::{STREAM, SUBJECTS};
use testing::random::SplitMix64;
use tokio::time::sleep;

use crate::stored;
use crate::world::{World, end, record};

/// An empty log, and a NATS server with the twenty events of another one.
async fn world_with_the_stream_of_another() -> World {
    let other = World::new();
    other.record(20).await;
    let theirs = other.relay();
    other.must_become_a_copy().await;
    theirs.kill().await;
    let mut world = World::new();
    std::mem::swap(&mut world.nats, &mut { other }.nats);
    world
}

/// Holds: nats.foreign
#[tokio::test]
async fn the_stream_of_another_ledger_is_left_as_it_is_until_it_is_deleted() {
    let world = world_with_the_stream_of_another().await;
    world.record(30).await;
    let mut relaying = world.relay();
    let jetstream = world.jetstream().await;
    relaying.must_fail_with(&["the message 20 of the stream LEDGERWAY is not the event"]).await;
    assert_eq!(end(&jetstream).await, Some(20));
    jetstream.delete_stream(STREAM).await.expect("deleted");
    world.must_become_a_copy().await;
}

/// Holds: nats.foreign
#[tokio::test]
async fn a_stream_that_is_longer_than_the_log_stops_the_relay() {
    // As if the log were restored from a backup.
    let world = world_with_the_stream_of_another().await;
    world.record(7).await;
    let mut relaying = world.relay();
    relaying.must_fail_with(&["the stream LEDGERWAY ends at 20, and the log at 7"]).await;
    assert_eq!(end(&world.jetstream().await).await, Some(20));
}

/// Holds: nats.foreign
#[tokio::test]
async fn another_stream_with_its_subjects_keeps_the_relay_from_making_its_own() {
    let world = World::new();
    let jetstream = world.jetstream().await;
    let config = Config { name: "OTHER".to_owned(), subjects: vec!["ledgerway.>".to_owned()], ..Config::default() };
    jetstream.create_stream(config).await.expect("a stream");
    world.record(5).await;
    let mut relaying = world.relay();
    relaying.must_fail_with(&["the creation of the stream LEDGERWAY failed", "overlap"]).await;
    let mut other = jetstream.get_stream("OTHER").await.expect("the stream");
    assert_eq!(other.info().await.expect("its state").state.messages, 0);
    jetstream.delete_stream("OTHER").await.expect("deleted");
    world.must_become_a_copy().await;
}

/// Settings by which messages could get lost are corrected, others stay.
#[tokio::test]
async fn a_stream_that_was_made_by_hand_gets_the_settings_that_it_needs() {
    let world = World::new();
    let jetstream = world.jetstream().await;
    let config = Config {
        name: STREAM.to_owned(),
        subjects: vec!["ledgerway.events.>".to_owned(), "more".to_owned()],
        max_messages: 10,
        description: Some("of the operator".to_owned()),
        ..Config::default()
    };
    jetstream.create_stream(config).await.expect("a stream");
    world.record(30).await;
    let _relaying = world.relay();
    world.must_become_a_copy().await;
    let stream = jetstream.get_stream(STREAM).await.expect("the stream");
    let config = &stream.cached_info().config;
    assert_eq!((config.max_messages, config.deny_purge, config.deny_delete), (-1, true, true));
    assert_eq!(config.subjects, [SUBJECTS]);
    assert_eq!(config.description.as_deref(), Some("of the operator"));
}

/// Holds: nats.foreign
#[tokio::test]
async fn the_stream_gets_nothing_from_other_streams() {
    let world = World::new();
    let jetstream = world.jetstream().await;
    let other = Config { name: "OTHER".to_owned(), subjects: vec!["other".to_owned()], ..Config::default() };
    jetstream.create_stream(other).await.expect("a stream");
    let sources = Some(vec![Source { name: "OTHER".to_owned(), ..Source::default() }]);
    let config = Config { name: STREAM.to_owned(), subjects: vec![SUBJECTS.to_owned()], sources, ..Config::default() };
    jetstream.create_stream(config).await.expect("a stream");
    world.record(10).await;
    let _relaying = world.relay();
    world.must_become_a_copy().await;
    assert_eq!(jetstream.get_stream(STREAM).await.expect("the stream").cached_info().config.sources, None);
    for _ in 0..5 {
        jetstream.publish("other", "{}".into()).await.expect("published").await.expect("stored");
        world.record(1).await;
        world.must_become_a_copy().await;
    }
}

/// Holds: nats.foreign
#[tokio::test]
async fn a_copy_of_another_stream_is_not_used() {
    let world = World::new();
    let jetstream = world.jetstream().await;
    let other = Config { name: "OTHER".to_owned(), subjects: vec!["other".to_owned()], ..Config::default() };
    jetstream.create_stream(other).await.expect("a stream");
    let mirror = Some(Source { name: "OTHER".to_owned(), ..Source::default() });
    jetstream.create_stream(Config { name: STREAM.to_owned(), mirror, ..Config::default() }).await.expect("a stream");
    world.record(5).await;
    let mut relaying = world.relay();
    relaying.must_fail_with(&["other settings than the relay needs", "mirror", "cannot be changed"]).await;
    assert_eq!(end(&jetstream).await, Some(0));
}

/// Holds: nats.foreign
#[tokio::test]
async fn a_stream_in_memory_cannot_be_corrected() {
    let world = World::new();
    let jetstream = world.jetstream().await;
    let storage = async_nats::jetstream::stream::StorageType::Memory;
    let subjects = vec![SUBJECTS.to_owned()];
    let config = Config { name: STREAM.to_owned(), subjects, storage, ..Config::default() };
    jetstream.create_stream(config).await.expect("a stream");
    world.record(5).await;
    let mut relaying = world.relay();
    relaying.must_fail_with(&["other settings than the relay needs", "storage", "cannot be changed"]).await;
    assert_eq!(end(&jetstream).await, Some(0));
}

/// Somebody publishes under the relay's subjects while messages are on their way. Nothing may be stored after that message: it would
/// stand for an event that is missing.
/// Holds: nats.foreign
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_message_of_somebody_else_nothing_is_relayed() {
    let mut random = SplitMix64::new(7);
    for _ in 0..12 {
        let world = World::new();
        let mut relaying = world.relay();
        let log = world.log.clone();
        let mut recording = tokio::task::JoinSet::new();
        recording.spawn(async move {
            for _ in 0..60 {
                record(&log, 40).await;
            }
        });
        let jetstream = world.jetstream().await;
        while end(&jetstream).await.unwrap_or(0) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        sleep(Duration::from_micros(random.next_u64() % 60_000)).await;
        let published = jetstream.publish("ledgerway.events.ledger.budget.settled.v1.-", "{}".into()).await;
        let forged = published.expect("published").await.expect("stored").sequence;
        recording.join_next().await.expect("a task").expect("all recorded");
        if forged > world.log.head().position {
            relaying.must_fail_with(&["the log at"]).await;
        } else {
            relaying.must_fail_with(&[&format!("the message {forged} of the stream LEDGERWAY is not the event")]).await;
        }
        assert_eq!(end(&jetstream).await, Some(forged));
        let messages = stored::messages(&jetstream, 1).await;
        let events = stored::events(&world.log, 0);
        for (message, event) in messages[..messages.len() - 1].iter().zip(&events) {
            assert_eq!(message.payload, events::canonical::envelope(event).expect("JSON"));
        }
    }
}
