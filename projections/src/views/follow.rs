//! The views' own thread: the one that writes `views.db`. Follows the log's tail, reads the database where the tail has
//! a gap, and begins the file anew when it is damaged.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::time::Duration;

use events::event::Recorded;
use events::log::{Head, LogError, Reader};
use events::time::from_micros;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{Notify, broadcast, mpsc as async_mpsc, watch};
use tokio::time::Instant;

use super::rebuild::{Built, must_be_better};
use super::store::{Fitness, Store, StoreError};
use super::{Progress, Unreadable, View};

/// Events in one transaction: the more, the fewer rows are written twice.
const EVENTS_MAX: usize = 4096;
/// From the beginning of one transaction to that of the next, unless somebody waits: rows that several events change are
/// then written once. With many events a request lives longer, and so does this.
const PACE: Duration = Duration::from_millis(20);
const PACE_WITH_MANY: Duration = Duration::from_millis(50);
/// Events in a transaction that are many.
const MANY: usize = 256;
/// Pages of events that may wait between reading and writing.
const PAGES_AHEAD: usize = 2;
/// After a failure that may pass.
const RETRY_AFTER: Duration = Duration::from_millis(500);

type Tail = broadcast::Receiver<Arc<[Arc<Recorded>]>>;

/// Why following was interrupted.
#[derive(Debug, thiserror::Error)]
pub enum Interrupted {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("read the log: {0}")]
    Log(#[from] LogError),
    #[error("start the thread that reads: {0}")]
    Thread(#[from] std::io::Error),
}

/// What made the follower leave the tail.
enum Left {
    Stopped,
    /// Events are missing between what was applied and what the tail gives.
    Gap,
}

/// What the follower of the tail was woken by.
enum Came {
    Events(Result<Arc<[Arc<Recorded>]>, RecvError>),
    Rows(Built),
}

pub struct Follower {
    pub dir: PathBuf,
    pub head: watch::Receiver<Head>,
    pub reader: Reader,
    pub tail: Tail,
    /// Somebody waits for a position.
    pub wanted: Arc<Notify>,
    /// Rises when the file is replaced.
    pub epoch: Arc<AtomicU64>,
    pub stopped: watch::Receiver<bool>,
    /// New rows, to take the place of old ones.
    pub built: async_mpsc::Receiver<Built>,
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

impl Follower {
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
        loop {
            if self.catch_up(store)? {
                return Ok(());
            }
            match self.follow_tail(store).await? {
                Left::Stopped => return Ok(()),
                Left::Gap => {}
            }
        }
    }

    /// Reads the database until there is no more; whether it was stopped meanwhile. One thread reads while this one
    /// writes: each is half of the work.
    fn catch_up(&mut self, store: &mut Store) -> Result<bool, Interrupted> {
        let (pages, next_page) = mpsc::sync_channel(PAGES_AHEAD);
        let Self { reader, stopped, standing, .. } = self;
        let after = standing.position;
        std::thread::scope(|scope| {
            let ahead = move || read_pages(reader, after, &pages);
            std::thread::Builder::new().name("views-reader".to_owned()).spawn_scoped(scope, ahead)?;
            // Dropped when this returns, so that the reader ends as well.
            for page in next_page {
                standing.apply(store, &page?)?;
                if *stopped.borrow() {
                    return Ok(true);
                }
            }
            Ok(*stopped.borrow())
        })
    }

    async fn follow_tail(&mut self, store: &mut Store) -> Result<Left, Interrupted> {
        let mut next_at = Instant::now();
        loop {
            let came = tokio::select! {
                received = self.tail.recv() => Came::Events(received),
                Some(built) = self.built.recv() => Came::Rows(built),
                _ = self.stopped.wait_for(|stopped| *stopped) => return Ok(Left::Stopped),
            };
            let first = match came {
                Came::Events(Ok(batch)) => batch,
                Came::Events(Err(RecvError::Lagged(_))) => return Ok(Left::Gap),
                Came::Events(Err(RecvError::Closed)) => return Ok(Left::Stopped),
                Came::Rows(built) => {
                    self.take(store, built)?;
                    continue;
                }
            };
            tokio::select! {
                () = tokio::time::sleep_until(next_at) => {}
                () = self.wanted.notified() => {}
                _ = self.stopped.wait_for(|stopped| *stopped) => {}
            }
            let began = Instant::now();
            let Some(events) = self.drain(&first) else { return Ok(Left::Gap) };
            self.standing.apply(store, &events)?;
            next_at = began + pace_after(events.len());
        }
    }

    /// Puts new rows in the place of the old ones. They are brought to where the old ones are first: no view goes back.
    /// Errors: the file in use is damaged, or cannot be read; what else goes wrong is told to who built them.
    fn take(&self, store: &mut Store, built: Built) -> Result<(), Interrupted> {
        let Built { mut next, position, taken } = built;
        let ended = match make_ready(&mut next, store, &self.reader, (position, self.standing.position))? {
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

    /// What has come since, up to the limit, without what was applied before. `None` where something is missing.
    fn drain(&mut self, first: &[Arc<Recorded>]) -> Option<Vec<Arc<Recorded>>> {
        let mut events = self.unseen(first);
        while events.len() < EVENTS_MAX {
            match self.tail.try_recv() {
                Ok(batch) => events.extend(self.unseen(&batch)),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                Err(TryRecvError::Lagged(_)) => return None,
            }
        }
        let contiguous =
            (self.standing.position + 1..).zip(&events).all(|(position, recorded)| recorded.position == position);
        contiguous.then_some(events)
    }

    fn unseen(&self, batch: &[Arc<Recorded>]) -> Vec<Arc<Recorded>> {
        batch.iter().filter(|recorded| recorded.position > self.standing.position).map(Arc::clone).collect()
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
    reader: &Reader,
    positions: (u64, u64),
) -> Result<Result<(), String>, Interrupted> {
    match bring_to(next, reader, positions) {
        Ok(()) => Ok(must_be_better(next, used)),
        Err(Interrupted::Store(error)) => Ok(Err(error.to_string())),
        Err(error @ (Interrupted::Log(_) | Interrupted::Thread(_))) => Err(error),
    }
}

/// Gives new rows the events beyond the first position, up to the second at least.
fn bring_to(next: &mut Store, reader: &Reader, (mut position, until): (u64, u64)) -> Result<(), Interrupted> {
    while position < until {
        let page: Vec<Arc<Recorded>> = reader.after(position, EVENTS_MAX)?.into_iter().map(Arc::new).collect();
        let Some(last) = page.last() else { break };
        position = last.position;
        next.apply(&page)?;
    }
    Ok(())
}

type Page = Result<Vec<Arc<Recorded>>, LogError>;

/// Everything after a position, until there is no more or nobody wants it.
fn read_pages(reader: &Reader, mut after: u64, pages: &SyncSender<Page>) {
    loop {
        let page = reader.after(after, EVENTS_MAX).map(|events| events.into_iter().map(Arc::new).collect::<Vec<_>>());
        if let Ok(events) = &page {
            let Some(last) = events.last() else { return };
            after = last.position;
        }
        let failed = page.is_err();
        if pages.send(page).is_err() || failed {
            return;
        }
    }
}
