//! Streams from which somebody removes messages.

use std::path::Path;
use std::process::Command;

use async_nats::header::{NATS_EXPECTED_LAST_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::jetstream::stream::Config;
use events::canonical;
use nats_relay::{STREAM, SUBJECTS};
use tempfile::TempDir;

use crate::logged::Logged;
use crate::stored;
use crate::world::{World, next_inspection};

/// Holds: nats.copy
#[tokio::test]
async fn a_stream_that_was_deleted_is_filled_again_with_the_same_sequences() {
    let world = World::new();
    world.record(500).await;
    let _relaying = world.relay();
    world.must_become_a_copy().await;
    let jetstream = world.jetstream().await;
    jetstream.delete_stream(STREAM).await.expect("deleted");
    world.record(3).await;
    world.must_become_a_copy().await;
}

#[tokio::test]
async fn nobody_can_purge_the_stream_or_delete_a_message() {
    let world = World::new();
    world.record(5).await;
    let _relaying = world.relay();
    world.must_become_a_copy().await;
    let stream = world.jetstream().await.get_stream(STREAM).await.expect("the stream");
    assert!(stream.purge().await.is_err());
    assert!(stream.delete_message(3).await.is_err());
    world.must_become_a_copy().await;
}

/// A power failure is like this: the messages acknowledged last had not come to the disk.
/// Holds: nats.said
#[tokio::test]
async fn a_stream_that_lost_what_was_acknowledged_a_moment_ago_is_said_to_be_cut() {
    let (logged, _guard) = Logged::start();
    let mut world = World::new();
    let relaying = world.relay();
    world.record(10).await;
    relaying.must_reach(10).await;
    world.nats.kill();
    let (store, older) = (world.nats.store(), TempDir::new().expect("a folder"));
    copy(&store, &older.path().join("store"));
    world.nats.start_again();
    world.record(20).await;
    relaying.must_reach(30).await;
    world.nats.kill();
    std::fs::remove_dir_all(&store).expect("removed");
    copy(&older.path().join("store"), &store);
    world.nats.start_again();
    world.must_become_a_copy().await;
    logged.must_have("was cut: it had reached 30, ends at 10, and is filled again").await;
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp");
    assert!(status.success(), "{status}");
}

/// Holds: nats.said
#[tokio::test]
async fn what_is_removed_and_changed_while_the_relay_is_connected_is_said_once() {
    let (logged, _guard) = Logged::start();
    let world = World::new();
    world.record(30).await;
    let relaying = world.relay();
    world.must_become_a_copy().await;
    relaying.must_reach(30).await;
    let jetstream = world.jetstream().await;
    let mut config = jetstream.get_stream(STREAM).await.expect("the stream").cached_info().config.clone();
    config.max_messages = 12;
    jetstream.update_stream(&config).await.expect("updated");
    next_inspection().await;
    logged.must_have("had other settings than the relay needs, which it has corrected: max_msgs").await;
    logged.must_have("was purged: it begins at 19").await;
    for _ in 0..2 {
        next_inspection().await;
        // The message that it adds is inspected as well.
        world.record(1).await;
        stored::must_reach(&world.log, &jetstream).await;
    }
    assert_eq!((logged.count("which it has corrected"), logged.count("was purged")), (1, 1));
}

/// A purge was possible while the stream had other settings.
/// Holds: nats.copy
#[tokio::test]
async fn after_a_purge_the_sequences_are_still_the_positions() {
    let world = World::new();
    let jetstream = world.jetstream().await;
    let subjects = vec![SUBJECTS.to_owned()];
    let config = Config { name: STREAM.to_owned(), subjects, ..Config::default() };
    let stream = jetstream.create_stream(config).await.expect("a stream");
    world.record(10).await;
    for event in stored::events(&world.log, 0) {
        let body = canonical::envelope(&event).expect("JSON");
        let published = jetstream.publish("ledgerway.events.access.access.denied.v1.-", body.into()).await;
        published.expect("published").await.expect("stored");
    }
    stream.purge().await.expect("purged");
    world.record(10).await;
    let _relaying = world.relay();
    stored::must_reach(&world.log, &jetstream).await;
    stored::must_be_copy(&world.log, &jetstream, 11).await;
    let first = stored::messages(&jetstream, 11).await.remove(0);
    assert_eq!(first.headers.get(NATS_EXPECTED_LAST_SEQUENCE).map(|value| value.as_str()), Some("10"));
    assert!(first.headers.get(NATS_MESSAGE_ID).is_some());
}
