//! Streams from which somebody removes messages.

use async_nats::header::{NATS_EXPECTED_LAST_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::jetstream::stream::Config;
use events::canonical;
use relay::{STREAM, SUBJECTS};

use crate::stored;
use crate::world::{World, end};

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

/// It was possible while the stream had other settings.
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
    while end(&jetstream).await != Some(20) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    stored::must_be_copy(&world.log, &jetstream, 11).await;
    let first = stored::messages(&jetstream, 11).await.remove(0);
    assert_eq!(first.headers.get(NATS_EXPECTED_LAST_SEQUENCE).map(|value| value.as_str()), Some("10"));
    assert!(first.headers.get(NATS_MESSAGE_ID).is_some());
}
