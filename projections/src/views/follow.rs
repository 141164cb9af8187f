//! The views' own thread: the one that writes `views.db`. Follows the log, and begins the file anew when it is damaged.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use events::event::Recorded;
use events::log::{Followed, Follower, Head, LogError, Reader};
use events::time::from_micros;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::rebuild::{Built, must_be_better};
use super::store::{Fitness, Store, StoreError};
use super::{Progress, Unreadable, View};

/// Events in one transaction: the more, the fewer rows are written twice.
pub const EVENTS_MAX: usize = 4096;
/// From the beginning of one transaction to that of the next, unless somebody waits: rows that several events change are
/// then written once. With many events a request lives longer, and so does this.
const PACE: Duration = Duration::from_millis(20);
const PACE_WITH_MANY: Duration = Duration::from_millis(50);
/// Events in a transaction that are many.
const MANY: usize = 256;
/// After a failure that may pass.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Why following was interrupted.
#[derive(Debug, thiserror::Error)]
pub enum Interrupted {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("read the log: {0}")]
    Log(#[from] LogError),
}

/// What the views were woken by.
enum Came {
    /// None once the log is closed.
    Events(Option<Followed>),
    Rows(Built),
}

/// What keeps the views at the log.
pub struct Upkeep {
    pub dir: PathBuf,
    pub head: watch::Receiver<Head>,
    /// For new rows, which may be behind.
    pub reader: Box<dyn Reader>,
    pub log: Follower,
    /// Somebody waits for a position.
    pub wanted: Arc<Notify>,
    /// Rises when the file is replaced.
    pub epoch: Arc<AtomicU64>,
    pub stopped: watch::Receiver<bool>,
    /// New rows, to take the place of old ones.
    pub built: mpsc::Receiver<Built>,
    pub standing: Standing,
}

/// How far the views are, and who is told.
pub struct Standing {
    pub progress: Vec<(View, watch::Sender<Progress>)>,
    /// Last position given to the views.
    pub position: u64,
    /// Where the log stood when the file was begun; until then the views are being rebuilt.
    pub rebuilt_at: u64,
    /// Views that have no rows which can be read.
    pub unreadable: Arc<Unreadable>,
}

impl Upkeep {
    /// Until it is stopped or the log is closed.
    pub async fn run(mut self, mut store: Store) {
        let mut is_damaged = false;
        loop {
            if is_damaged {
                match store.recreate(&self.dir) {
                    Ok(()) => {
                        is_damaged = false;
                        self.begin_anew();
                    }
                    // No room, perhaps: the checkpoints stay behind meanwhile, and say so.
                    Err(error) => tracing::error!(%error, "the views cannot be begun anew"),
                }
            }
            if !is_damaged {
                let Err(interrupted) = self.follow(&mut store).await else { return };
                tracing::error!(error = %interrupted, "the views were interrupted");
                is_damaged = matches!(&interrupted, Interrupted::Store(error) if error.is_damage());
            }
            if self.pause(RETRY_AFTER).await {
                return;
            }
        }
    }

    fn begin_anew(&mut self) {
        self.epoch.fetch_add(1, Ordering::Release);
        self.standing.rebuilt_at = self.head.borrow().position;
        self.standing.position = 0;
    }

    async fn follow(&mut self, store: &mut Store) -> Result<(), Interrupted> {
        self.standing.show(store)?;
        self.log.go_to(self.standing.position);
        let mut next_at = Instant::now();
        loop {
            let is_behind = self.log.is_behind();
            let came = tokio::select! {
                followed = self.log.next() => Came::Events(followed?),
                // Not before the old ones are at the log: they may be few events away from it.
                Some(built) = self.built.recv(), if !is_behind => Came::Rows(built),
                _ = self.stopped.wait_for(|stopped| *stopped) => return Ok(()),
            };
            let first = match came {
                Came::Events(Some(followed)) => followed,
                Came::Events(None) => return Ok(()),
                Came::Rows(built) => {
                    self.take(store, built)?;
                    continue;
                }
            };
            // Where there is more, waiting would only let it grow.
            if matches!(first, Followed::Batch(_)) {
                tokio::select! {
                    () = tokio::time::sleep_until(next_at) => {}
                    () = self.wanted.notified() => {}
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
            self.standing.apply(store, &events)?;
            next_at = began + pace_after(events.len());
        }
    }

    /// Puts new rows in the place of the old ones. They are brought to where the old ones are first: no view goes back.
    /// Errors: the file in use is damaged, or cannot be read; what else goes wrong is told to who built them.
    fn take(&self, store: &mut Store, built: Built) -> Result<(), Interrupted> {
        let Built { mut next, position, taken } = built;
        let ended = match make_ready(&mut next, store, &*self.reader, (position, self.standing.position))? {
            Ok(()) => store.take_over(next, &self.dir),
            Err(unfit) => {
                let _ = taken.send(Err(unfit));
                return Ok(());
            }
        };
        self.standing.show(store)?;
        let told = ended.as_ref().copied().map_err(ToString::to_string);
        // Who built them has gone where the gateway stops.
        let _ = taken.send(told);
        match ended {
            Err(error) if error.is_damage() => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Whether it was stopped meanwhile.
    async fn pause(&mut self, wait: Duration) -> bool {
        let stopped = self.stopped.wait_for(|stopped| *stopped);
        tokio::time::timeout(wait, stopped).await.is_ok()
    }
}

impl Standing {
    fn apply(&mut self, store: &mut Store, events: &[Arc<Recorded>]) -> Result<(), Interrupted> {
        let Some(last) = events.last() else { return Ok(()) };
        store.apply(events)?;
        self.position = last.position;
        self.show(store)?;
        Ok(())
    }

    /// Tells those who wait, and `/v1/projections`.
    pub fn show(&self, store: &Store) -> Result<(), StoreError> {
        for (view, progress) in &self.progress {
            let (checkpoint, fitness) = (store.checkpoint(*view)?, store.fitness(*view));
            self.unreadable.set(*view, fitness == Fitness::Unreadable);
            progress.send_replace(Progress {
                version: checkpoint.version,
                position: checkpoint.position,
                recorded_at: (checkpoint.position > 0).then(|| from_micros(checkpoint.recorded_at_micros)),
                rebuilding: checkpoint.position < self.rebuilt_at || fitness != Fitness::Current,
                error: checkpoint.error,
            });
        }
        Ok(())
    }
}

fn pace_after(events: usize) -> Duration {
    match events {
        0..MANY => PACE,
        MANY..EVENTS_MAX => PACE_WITH_MANY,
        // There is more: waiting would only let it grow.
        _ => Duration::ZERO,
    }
}

/// Brings new rows from the first position to the second, where the old ones are. The inner error is about the new rows
/// alone: these are not taken, and the ones in use are as good as they were.
/// Errors: the log cannot be read.
pub fn make_ready(
    next: &mut Store,
    used: &Store,
    reader: &dyn Reader,
    positions: (u64, u64),
) -> Result<Result<(), String>, Interrupted> {
    match bring_to(next, reader, positions) {
        Ok(()) => Ok(must_be_better(next, used)),
        Err(Interrupted::Store(error)) => Ok(Err(error.to_string())),
        Err(error @ Interrupted::Log(_)) => Err(error),
    }
}

/// Gives new rows the events beyond the first position, up to the second at least.
fn bring_to(next: &mut Store, reader: &dyn Reader, (mut position, until): (u64, u64)) -> Result<(), Interrupted> {
    while position < until {
        let page: Vec<Arc<Recorded>> = reader.after(position, EVENTS_MAX)?.into_iter().map(Arc::new).collect();
        let Some(last) = page.last() else { break };
        position = last.position;
        next.apply(&page)?;
    }
    Ok(())
}
