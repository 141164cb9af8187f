//! Tails whose clients do not read, and when they end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ::events::event::admin::Permission;
use ::events::event::{Change, Event, Recorded, Resource, Stream, StreamKind};
use ::events::refusal::ErrorCode;
use ::projections::caller::Caller;
use events_log::concurrency::NoRoom;
use futures_util::StreamExt;
use tokio::time::{Instant, advance, sleep, timeout};

use super::world::{OURS, World, operator};
use crate::error::QueryError;
use crate::{EventTail, Extent, TailEnd, TailFormat, event_tail};

const SOON: Duration = Duration::from_secs(5);

/// Events one by one, by their positions. Each takes a byte, as far as anybody counts.
struct Positions;

impl TailFormat for Positions {
    type Item = u64;

    fn add(chunk: &mut Vec<u64>, event: &Recorded) -> Result<usize, QueryError> {
        chunk.push(event.position);
        Ok(1)
    }

    fn bytes(_: &u64) -> usize {
        1
    }

    fn quiet() -> Option<u64> {
        None
    }
}

/// The same events, of which the third has more than a key may leave unread.
struct LargeThird;

impl TailFormat for LargeThird {
    type Item = u64;

    fn add(chunk: &mut Vec<u64>, event: &Recorded) -> Result<usize, QueryError> {
        chunk.push(event.position);
        Ok(Self::bytes(&event.position))
    }

    fn bytes(position: &u64) -> usize {
        if *position == 3 { 5 << 20 } else { 1 }
    }

    fn quiet() -> Option<u64> {
        None
    }
}

async fn follow<F: TailFormat>(world: &World, caller: Caller) -> EventTail<F> {
    event_tail(world.state.clone(), Arc::new(caller), Vec::new(), Extent::Following).await.expect("a tail")
}

async fn next<F: TailFormat>(tail: &mut EventTail<F>) -> Option<Result<F::Item, TailEnd>> {
    timeout(SOON, tail.next()).await.expect("something in time")
}

fn reader() -> Caller {
    OURS.caller(&[Permission::EventsRead])
}

async fn revoke(world: &World) {
    let revoked = Event::Resource(Resource::Key(Change::Ended(OURS.key())));
    let position = world.append(Stream::new(StreamKind::Key, OURS.key()), OURS.chain(), revoked, vec![]).await;
    assert!(world.state.tables.wait_for(position, SOON).await, "the tables have it");
}

/// Holds: query.events-end
#[tokio::test]
async fn a_revoked_key_gets_nothing_more_of_what_was_read_for_it() {
    let world = World::new().await;
    let mut tail: EventTail<Positions> = follow(&world, reader()).await;
    assert!(matches!(next(&mut tail).await, Some(Ok(2))));
    revoke(&world).await;
    let end = next(&mut tail).await;
    assert!(matches!(&end, Some(Err(TailEnd::NotPermitted(why))) if why.code == ErrorCode::Unauthenticated), "{end:?}");
    assert!(next(&mut tail).await.is_none());
    world.close().await;
}

/// Holds: query.events-end
#[tokio::test]
async fn a_revoked_key_gives_its_streams_back_though_nobody_reads_them() {
    let world = World::new().await;
    let mut tails: Vec<EventTail<Positions>> = Vec::new();
    for _ in 0..4 {
        let mut tail = follow(&world, reader()).await;
        assert!(matches!(next(&mut tail).await, Some(Ok(2))));
        tails.push(tail);
    }
    let requester = reader().requester();
    assert!(matches!(world.state.concurrency.open_stream(requester).await, Err(NoRoom::Limited { .. })));
    revoke(&world).await;
    let open = async { while world.state.concurrency.open_stream(requester).await.is_err() {} };
    timeout(SOON, open).await.expect("the streams are free");
    world.close().await;
}

/// Holds: query.events-end
#[tokio::test]
async fn a_tail_ends_with_the_gateway_at_once() {
    let world = World::new().await;
    let mut tail: EventTail<Positions> = follow(&world, reader()).await;
    while !matches!(next(&mut tail).await, Some(Ok(5))) {}
    let close = async {
        sleep(Duration::from_millis(20)).await;
        world.closing.send_replace(true);
        Instant::now()
    };
    let (end, closed_at) = tokio::join!(next(&mut tail), close);
    assert!(closed_at.elapsed() < Duration::from_millis(300), "{:?}", closed_at.elapsed());
    assert!(matches!(end, Some(Err(TailEnd::Closing))), "{end:?}");
    world.close().await;
}

/// Holds: query.events-end
#[tokio::test]
async fn a_tail_ends_when_its_key_cannot_be_checked() {
    let world = World::new().await;
    let mut tail: EventTail<Positions> = follow(&world, reader()).await;
    assert!(matches!(next(&mut tail).await, Some(Ok(2))));
    world.is_current.store(false, Ordering::Relaxed);
    let end = next(&mut tail).await;
    assert!(
        matches!(&end, Some(Err(TailEnd::NotPermitted(why))) if why.code == ErrorCode::LedgerUnavailable),
        "{end:?}"
    );
    world.close().await;
}

/// Holds: query.events-end
#[tokio::test]
async fn a_client_that_reads_nothing_for_a_minute_counts_as_gone() {
    let world = World::new().await;
    let (mut unread, mut read): (EventTail<Positions>, EventTail<Positions>) =
        (follow(&world, operator()).await, follow(&world, operator()).await);
    assert!(matches!(next(&mut unread).await, Some(Ok(1))));
    while !matches!(next(&mut read).await, Some(Ok(10))) {}
    tokio::time::pause();
    for _ in 0..61 {
        advance(Duration::from_secs(1)).await;
        assert!(timeout(Duration::ZERO, read.next()).await.is_err(), "nothing new, and no end");
    }
    let end = unread.next().await;
    assert!(matches!(end, Some(Err(TailEnd::Stalled))), "{end:?}");
    tokio::time::resume();
    world.close().await;
}

/// Holds: query.fair
#[tokio::test]
async fn what_was_read_for_a_tail_and_not_handed_out_is_little_and_counts_as_unread() {
    let world = World::new().await;
    let mut tail: EventTail<LargeThird> = follow(&world, reader()).await;
    let requester = reader().requester();
    assert!(matches!(next(&mut tail).await, Some(Ok(2))));
    let full = world.state.concurrency.admit_query(requester).await.err();
    assert!(matches!(full, Some(NoRoom::Limited { .. })), "{full:?}");
    assert!(matches!(next(&mut tail).await, Some(Ok(3))));
    // The events after it are in the next chunk.
    assert!(world.state.concurrency.admit_query(requester).await.is_ok());
    assert!(matches!(next(&mut tail).await, Some(Ok(4))));
    world.close().await;
}
