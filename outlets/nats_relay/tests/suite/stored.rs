//! The messages of the stream, compared with the log.

use std::time::{Duration, Instant};

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::Context as JetStream;
use async_nats::jetstream::message::StreamMessage;
use events::canonical;
use events::event::Recorded;
use events::log::Log;
use futures_util::{StreamExt, TryStreamExt};
use nats_relay::STREAM;
use tokio::time::sleep;

use crate::world::{SOON, end};

const AT_ONCE: usize = 32;

/// All messages from a sequence on.
pub async fn messages(jetstream: &JetStream, from: u64) -> Vec<StreamMessage> {
    let stream = jetstream.get_stream(STREAM).await.expect("the stream");
    let last = stream.cached_info().state.last_sequence;
    let read = |sequence| stream.get_raw_message(sequence);
    futures_util::stream::iter(from..=last).map(read).buffered(AT_ONCE).try_collect().await.expect("all messages")
}

pub fn events(log: &Log, after: u64) -> Vec<Recorded> {
    log.reader().expect("a reader").after(after, 1_000_000).expect("the log")
}

/// Waits until the stream ends where the log does.
pub async fn must_reach(log: &Log, jetstream: &JetStream) {
    let began = Instant::now();
    while end(jetstream).await != Some(log.head().position) {
        assert!(began.elapsed() < SOON, "{:?} of {}", end(jetstream).await, log.head().position);
        sleep(Duration::from_millis(20)).await;
    }
}

/// Every message from a sequence on is the event at that position, byte for byte.
pub async fn must_be_copy(log: &Log, jetstream: &JetStream, from: u64) {
    let (messages, events) = (messages(jetstream, from).await, events(log, from - 1));
    assert_eq!(messages.len(), events.len());
    for (message, event) in messages.iter().zip(&events) {
        assert_eq!(message.sequence, event.position);
        let (body, wanted) = (String::from_utf8_lossy(&message.payload), canonical::envelope(event).expect("JSON"));
        assert_eq!(body, wanted);
        let tenant = event.context.tenant_id.map_or_else(|| "-".to_owned(), |tenant| tenant.to_string());
        assert!(message.subject.ends_with(&format!(".{}.v1.{tenant}", event.event.name())), "{}", message.subject);
        let id = message.headers.get(NATS_MESSAGE_ID).expect("an id").as_str();
        assert!(id.starts_with(&format!("{}-", event.position)), "{id}");
    }
}
