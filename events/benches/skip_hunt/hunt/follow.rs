//! Readers, which check that each position follows the one before it, and the watch that sees how far they are behind.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use events::event::Recorded;
use events::ids::RequestId;
use events::log::{Log, open_shared_reader};

use super::disturb::Disturbances;
use super::{END_MAX, HuntState};

/// Events that are read at a time.
const PAGE: usize = 1000;
/// Between two questions of a reader that has seen everything.
const POLL: Duration = Duration::from_millis(20);
/// Between two looks of the watch.
const LOOK: Duration = Duration::from_millis(20);
/// How long after a disturbance a reader may be behind.
const CALM: Duration = Duration::from_secs(1);

/// The progress of one reader.
#[derive(Default)]
pub(super) struct ReaderProgress {
    position: AtomicU64,
    log: Mutex<LogRead>,
}

#[derive(Default)]
struct LogRead {
    /// A hash of all events in their order.
    hash: DefaultHasher,
    /// The request and the name of each event.
    events: Vec<(Option<RequestId>, &'static str)>,
}

impl ReaderProgress {
    /// Follows a node.
    pub(super) async fn follow(&self, log: &Log, state: &HuntState) {
        let (mut follower, mut deadline) = (log.follow(0, PAGE), EndDeadline::default());
        while !self.is_done(state) && !state.is_over() {
            deadline.check(state);
            match tokio::time::timeout(POLL, follower.next()).await {
                Ok(Ok(next)) => self.add(next.expect("the log is open").events().iter().map(|event| &**event)),
                // The database is away; the next call tries again.
                Ok(Err(_)) => tokio::time::sleep(POLL).await,
                Err(_) => {}
            }
        }
    }

    /// Asks for what follows, on a connection of its own.
    pub(super) fn read(&self, state: &HuntState) {
        let (mut reader, mut deadline) = (None, EndDeadline::default());
        while !self.is_done(state) && !state.is_over() {
            deadline.check(state);
            let kept = reader.take().map_or_else(|| open_shared_reader(&state.database), Ok);
            let page = kept.and_then(|kept| {
                let page = kept.after(self.position(), PAGE);
                reader = Some(kept);
                page
            });
            match page {
                Ok(page) if !page.is_empty() => self.add(page.iter()),
                _ => std::thread::sleep(POLL),
            }
        }
    }

    fn position(&self) -> u64 {
        self.position.load(Ordering::SeqCst)
    }

    fn is_done(&self, state: &HuntState) -> bool {
        state.end().is_some_and(|end| self.position() >= end)
    }

    fn add<'a>(&self, events: impl Iterator<Item = &'a Recorded>) {
        let mut log = self.log.lock().expect("no panic");
        for recorded in events {
            let position = self.position() + 1;
            assert_eq!(recorded.position, position, "a reader skipped events, or saw one twice");
            hash(recorded, &mut log.hash);
            log.events.push((recorded.context.request_id, recorded.event.name()));
            self.position.store(position, Ordering::SeqCst);
        }
    }

    /// A hash of all events in their order.
    pub(super) fn hash(&self) -> u64 {
        self.log.lock().expect("no panic").hash.finish()
    }

    pub(super) fn events(&self) -> Vec<(Option<RequestId>, &'static str)> {
        self.log.lock().expect("no panic").events.clone()
    }
}

fn hash(recorded: &Recorded, hasher: &mut DefaultHasher) {
    let Recorded { position, recorded_at, stream, sequence, event, .. } = recorded;
    (position, recorded_at.timestamp_micros(), &*stream.id, stream.kind.as_str(), sequence, event.name()).hash(hasher);
}

/// The time by which a reader must have reached the end of the log.
#[derive(Default)]
struct EndDeadline {
    writing_ended: Option<Instant>,
}

impl EndDeadline {
    fn check(&mut self, state: &HuntState) {
        if state.end().is_some() {
            let ended = *self.writing_ended.get_or_insert_with(Instant::now);
            assert!(ended.elapsed() < END_MAX, "a reader does not reach the end");
        }
    }
}

/// Sees how far the readers are behind.
#[derive(Default)]
pub(super) struct Watch {
    /// The highest acknowledged position at each instant.
    heads: VecDeque<(Instant, u64)>,
    behind: Behind,
}

/// How far somebody was behind at most, from a second after each disturbance on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Behind {
    /// Those who follow a node, which follows the log.
    pub followers: Duration,
    /// Those who ask the database.
    pub plain: Duration,
}

impl Watch {
    pub(super) fn run(
        mut self,
        (followers, plain): (&[ReaderProgress], &[ReaderProgress]),
        state: &HuntState,
        disturbances: &Disturbances,
    ) -> Behind {
        while state.end().is_none() && !state.is_over() {
            let now = Instant::now();
            self.heads.push_back((now, state.acknowledged.load(Ordering::SeqCst)));
            let slowest = |readers: &[ReaderProgress]| readers.iter().map(ReaderProgress::position).min();
            let [followers, plain] = [followers, plain].map(|readers| slowest(readers).unwrap_or(0));
            while self.heads.front().is_some_and(|(_, head)| *head <= followers.min(plain)) {
                self.heads.pop_front();
            }
            let behind = |position: u64| {
                let missing = self.heads.iter().find(|(_, head)| *head > position);
                missing.map_or(Duration::ZERO, |(since, _)| now - *since)
            };
            if disturbances.since_last() >= CALM {
                let (followers, plain) = (behind(followers), behind(plain));
                self.behind.followers = self.behind.followers.max(followers);
                self.behind.plain = self.behind.plain.max(plain);
            }
            std::thread::sleep(LOOK);
        }
        self.behind
    }
}
