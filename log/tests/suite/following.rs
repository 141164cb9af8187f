//! A follower of the log gets every event once, in order, whether from the tail or from the database.

use std::ops::RangeInclusive;
use std::time::Duration;

use events::event::{Stream, StreamKind};
use events_log::{Followed, Follower, Log, LogOptions, Note};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::facts::{budget, clock, context, id, opened};
use crate::test_log::{TestLog, TestWriter, on_both_engines};

const SOON: Duration = Duration::from_secs(20);
/// More batches than the tail keeps for followers that lag.
const MANY_BATCHES: u64 = 1_100;

on_both_engines! {
    what_was_recorded_comes_in_pages_and_what_is_recorded_in_its_batches,
    who_lags_reads_what_the_writer_has_forgotten_and_goes_on_with_its_batches,
    whoever_goes_back_is_given_everything_again,
    following_ends_with_the_log_once_everything_was_given,
}

struct World {
    log: Log,
    writer: TestWriter,
    // Declared last: it outlives the log in it.
    _test_log: TestLog,
}

impl World {
    fn new(test_log: TestLog) -> Self {
        let (log, writer) = test_log.stepped(LogOptions::new(clock()));
        if let TestWriter::Folder(writer) = &writer {
            writer.engine().connection().pragma_update(None, "synchronous", "OFF").expect("a pragma");
        }
        Self { log, writer, _test_log: test_log }
    }

    /// Records a batch of this many events.
    async fn record(&mut self, events: usize) {
        let scope = events::event::admin::Scope::Tenant(id(1));
        let event = opened(budget(1, scope, 1, events::time::Period::Total));
        let stream = Stream::new(StreamKind::Budget, id::<events::ids::BudgetId>(1));
        let notes = vec![Note { stream, context: context(1), event }; events];
        let (log, mut noting) = (self.log.clone(), JoinSet::new());
        noting.spawn(async move { log.note(notes).await });
        tokio::task::yield_now().await;
        self.writer.step(usize::MAX);
        noting.join_next().await.expect("a job").expect("an answer").expect("recorded");
    }
}

async fn next(follower: &mut Follower) -> Followed {
    timeout(SOON, follower.next()).await.expect("in time").expect("it reads").expect("the log is open")
}

fn positions(followed: &Followed) -> Vec<u64> {
    followed.events().iter().map(|recorded| recorded.position).collect()
}

fn must_be_batch(followed: &Followed, wanted: RangeInclusive<u64>) {
    assert!(matches!(followed, Followed::Batch(_)), "{followed:?}");
    assert_eq!(positions(followed), wanted.collect::<Vec<_>>());
}

fn must_be_page(followed: &Followed, wanted: RangeInclusive<u64>) {
    assert!(matches!(followed, Followed::Page(_)), "{followed:?}");
    assert_eq!(positions(followed), wanted.collect::<Vec<_>>());
}

async fn what_was_recorded_comes_in_pages_and_what_is_recorded_in_its_batches(test_log: TestLog) {
    let mut world = World::new(test_log);
    world.record(7).await;
    let mut follower = world.log.follow(2, 3);
    let mut from_now = world.log.follow_from_now(3);
    assert_eq!((follower.position(), from_now.position()), (2, 7));
    must_be_page(&next(&mut follower).await, 3..=5);
    must_be_page(&next(&mut follower).await, 6..=7);
    assert!(matches!(next(&mut follower).await, Followed::CaughtUp));
    assert!(follower.try_next().is_none() && from_now.try_next().is_none());
    world.record(2).await;
    world.record(1).await;
    for follower in [&mut follower, &mut from_now] {
        must_be_batch(&next(follower).await, 8..=9);
        must_be_batch(&follower.try_next().expect("it is there"), 10..=10);
        assert!(follower.try_next().is_none());
        assert_eq!(follower.position(), 10);
    }
}

async fn who_lags_reads_what_the_writer_has_forgotten_and_goes_on_with_its_batches(test_log: TestLog) {
    let mut world = World::new(test_log);
    let mut follower = world.log.follow_from_now(1_000);
    world.record(1).await;
    must_be_batch(&next(&mut follower).await, 1..=1);
    for _ in 0..MANY_BATCHES {
        world.record(1).await;
    }
    assert!(follower.try_next().is_none(), "what follows has to be read");
    must_be_page(&next(&mut follower).await, 2..=1_001);
    must_be_page(&next(&mut follower).await, 1_002..=1_101);
    assert!(matches!(next(&mut follower).await, Followed::CaughtUp));
    assert!(follower.try_next().is_none(), "what the writer still has of it was given");
    world.record(3).await;
    must_be_batch(&next(&mut follower).await, 1_102..=1_104);
}

async fn whoever_goes_back_is_given_everything_again(test_log: TestLog) {
    let mut world = World::new(test_log);
    let mut follower = world.log.follow_from_now(10);
    world.record(5).await;
    must_be_batch(&next(&mut follower).await, 1..=5);
    follower.go_to(3);
    must_be_page(&next(&mut follower).await, 4..=5);
    assert!(matches!(next(&mut follower).await, Followed::CaughtUp));
    world.record(1).await;
    must_be_batch(&next(&mut follower).await, 6..=6);
}

async fn following_ends_with_the_log_once_everything_was_given(test_log: TestLog) {
    let mut world = World::new(test_log);
    world.record(2).await;
    let mut follower = world.log.follow(0, 10);
    let World { log, writer, .. } = world;
    drop((log, writer));
    must_be_page(&next(&mut follower).await, 1..=2);
    assert!(matches!(next(&mut follower).await, Followed::CaughtUp));
    assert!(timeout(SOON, follower.next()).await.expect("in time").expect("it reads").is_none());
}
