//! The thread that writes `views.db`. It follows the log, swaps in the rows of rebuilds, and recreates a damaged file.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use events::event::Recorded;
use events::time::from_micros;
use events_log::{Followed, Follower, Head, Reader};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::log_pages::{EVENTS_MAX, pages};
use super::rebuild::{BuiltRows, must_not_regress};
use super::store::{Compatibility, Store, StoreError};
use super::{Progress, View};

/// Time between the starts of two transactions, unless a reader waits: rows that several events change are then written
/// once. It is eight times what the last transaction took, so that the views take at most an eighth of a core between these
/// bounds. On a busy machine they fall behind instead, by the longest interval.
const BATCH_INTERVALS: RangeInclusive<Duration> = Duration::from_millis(20)..=Duration::from_millis(100);
const INTERVAL_PER_TIME_TAKEN: u32 = 8;
/// The interval if the last transaction had [`LOAD_EVENTS`]: in a longer one there could be more than [`EVENTS_MAX`].
const BATCH_INTERVAL_UNDER_LOAD: Duration = Duration::from_millis(50);
const LOAD_EVENTS: usize = EVENTS_MAX / 4;
/// Pause after a failure that may pass.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The cause that woke the views' thread.
enum Wakeup {
    /// `None` once the log is closed.
    Events(Option<Followed>),
    NewRows(Box<BuiltRows>),
}

/// Writes the views as the log grows.
pub struct ViewWriter {
    pub head: watch::Receiver<Head>,
    /// Brings new rows, which may be behind, up to date.
    pub reader: Box<dyn Reader>,
    pub log: Follower,
    /// Notified when a reader waits for a position.
    pub catch_up_requested: Arc<Notify>,
    /// Incremented when the file is replaced.
    pub epoch: Arc<AtomicU64>,
    pub stopped: watch::Receiver<bool>,
    /// New rows to swap in.
    pub built: mpsc::Receiver<BuiltRows>,
    pub state: FollowState,
}

/// The position of the views, and the channels that publish it.
pub struct FollowState {
    pub progress: Vec<(View, watch::Sender<Progress>)>,
    /// Position of the last event that was applied.
    pub position: u64,
    /// The log's head at the start, or when the file was created: up to there the views count as being rebuilt.
    pub answers_from: u64,
}

impl ViewWriter {
    /// Runs until it is stopped or the log is closed.
    pub async fn run(mut self, mut store: Store) {
        let mut is_damaged = false;
        loop {
            if is_damaged {
                match store.recreate() {
                    Ok(()) => {
                        is_damaged = false;
                        self.restart();
                    }
                    // Perhaps the disk is full. Meanwhile the checkpoints show that the views lag.
                    Err(error) => tracing::error!(%error, "the views' file cannot be recreated: trying again"),
                }
            }
            if !is_damaged {
                let Err(error) = self.follow(&mut store).await else { return };
                tracing::error!(error = %error, "the views cannot follow the log: trying again");
                is_damaged = error.is_damage();
            }
            if self.pause(RETRY_AFTER).await {
                return;
            }
        }
    }

    fn restart(&mut self) {
        self.epoch.fetch_add(1, Ordering::Release);
        self.state.answers_from = self.head.borrow().position;
        self.state.position = 0;
    }

    async fn follow(&mut self, store: &mut Store) -> Result<(), StoreError> {
        self.state.publish(store)?;
        self.log.go_to(self.state.position);
        let mut next_at = Instant::now();
        loop {
            let is_behind = self.log.is_behind();
            let wakeup = tokio::select! {
                followed = self.log.next() => Wakeup::Events(followed?),
                // Only once the old rows have caught up: they may be a few events away from the head.
                Some(built) = self.built.recv(), if !is_behind => Wakeup::NewRows(Box::new(built)),
                _ = self.stopped.wait_for(|stopped| *stopped) => return Ok(()),
            };
            let first = match wakeup {
                Wakeup::Events(Some(followed)) => followed,
                Wakeup::Events(None) => return Ok(()),
                Wakeup::NewRows(built) => {
                    self.take(store, *built)?;
                    continue;
                }
            };
            // A page means that there is more: waiting would only add to it.
            if first.is_new() {
                tokio::select! {
                    () = tokio::time::sleep_until(next_at) => {}
                    () = self.catch_up_requested.notified() => {}
                    _ = self.stopped.wait_for(|stopped| *stopped) => {}
                }
            }
            let began = Instant::now();
            let mut events = first.events().to_vec();
            while events.len() < EVENTS_MAX
                && let Some(next) = self.log.try_next()
            {
                events.extend_from_slice(next.events());
            }
            self.state.apply(store, &events)?;
            if matches!(first, Followed::CaughtUp) {
                store.begin_tracking(self.state.position)?;
                // A copier that has read them too early looks again.
                self.state.publish(store)?;
            }
            next_at = began + interval_after(events.len(), began.elapsed());
        }
    }

    /// Swaps in new rows after bringing them to the position of the old ones: no view goes back.
    /// Errors: the file in use is damaged, or cannot be read. All other failures go to the builder.
    fn take(&self, store: &mut Store, built: BuiltRows) -> Result<(), StoreError> {
        let BuiltRows { mut next, position, reply } = built;
        let behind = RowsBehind { at: position, until: self.state.position };
        let ended = match prepare_swap(&mut next, store, &*self.reader, behind)? {
            Ok(()) => store.swap_in(next),
            Err(reason) => {
                let _ = reply.send(Err(reason));
                return Ok(());
            }
        };
        self.state.publish(store)?;
        let outcome = ended.as_ref().copied().map_err(ToString::to_string);
        // The builder is gone if the gateway stops.
        let _ = reply.send(outcome);
        match ended {
            Err(error) if error.is_damage() => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Waits. Returns whether it was stopped meanwhile.
    async fn pause(&mut self, wait: Duration) -> bool {
        let stopped = self.stopped.wait_for(|stopped| *stopped);
        tokio::time::timeout(wait, stopped).await.is_ok()
    }
}

impl FollowState {
    fn apply(&mut self, store: &mut Store, events: &[Arc<Recorded>]) -> Result<(), StoreError> {
        let Some(last) = events.last() else { return Ok(()) };
        store.apply(events)?;
        self.position = last.position;
        self.publish(store)
    }

    /// Publishes the progress to waiting readers and `/v1/projections`.
    pub fn publish(&self, store: &Store) -> Result<(), StoreError> {
        for (view, progress) in &self.progress {
            let (checkpoint, compatibility) = (store.checkpoint(*view)?, store.compatibility(*view));
            // One that has stopped answers as of where it stands, and old rows as of what they reflect.
            let is_following = checkpoint.error.is_none() && compatibility == Compatibility::Current;
            let answers_from = Some(self.answers_from).filter(|from| is_following && checkpoint.position < *from);
            progress.send_replace(Progress {
                version: checkpoint.version,
                position: checkpoint.position,
                recorded_at: (checkpoint.position > 0).then(|| from_micros(checkpoint.recorded_at_micros)),
                rebuilding: answers_from.is_some() || compatibility != Compatibility::Current,
                is_unreadable: compatibility == Compatibility::Unreadable,
                answers_from,
                error: checkpoint.error,
            });
        }
        Ok(())
    }
}

fn interval_after(events: usize, time_taken: Duration) -> Duration {
    match events {
        0..LOAD_EVENTS => {
            (time_taken * INTERVAL_PER_TIME_TAKEN).clamp(*BATCH_INTERVALS.start(), *BATCH_INTERVALS.end())
        }
        LOAD_EVENTS..EVENTS_MAX => BATCH_INTERVAL_UNDER_LOAD,
        // A full batch means that there is more: waiting would only add to it.
        _ => Duration::ZERO,
    }
}

/// Brings new rows to the position of the old ones. The inner error concerns the new rows
/// alone: they are discarded, and the ones in use are unchanged.
/// Errors: the log cannot be read.
pub fn prepare_swap(
    next: &mut Store,
    current: &Store,
    reader: &dyn Reader,
    behind: RowsBehind,
) -> Result<Result<(), String>, StoreError> {
    match catch_up(next, reader, behind) {
        Ok(()) => Ok(must_not_regress(next, current)),
        Err(error @ StoreError::Log(_)) => Err(error),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// The position of new rows, and that of the old ones.
#[derive(Clone, Copy)]
pub struct RowsBehind {
    pub at: u64,
    pub until: u64,
}

/// Applies the events that new rows lack, at least up to the position of the old ones.
fn catch_up(next: &mut Store, reader: &dyn Reader, RowsBehind { at, until }: RowsBehind) -> Result<(), StoreError> {
    for page in pages(reader, at, until) {
        next.apply(&page?.1)?;
    }
    Ok(())
}
