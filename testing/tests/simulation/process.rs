//! One process, from its start to its death: the real log with its writer, driven step by step, and the calls in flight. A death
//! drops everything here; only the files are left.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use events::ledger::UnknownUsage;
use events::time::{Clock, ManualClock};
use events_log::{
    Admitted, AppendError, Appended, EndedAt, LEDGER_FILE, Log, LogError, LogOptions, OpenHold, Reader, Revalued,
    Stepped,
};
use rusqlite::Connection;

use super::follower::SimulatedViews;

/// More pages than any database has.
const PAGES_MAX: u32 = u32::MAX - 1;

/// A call in flight.
pub type Call<T> = Pin<Box<dyn Future<Output = T>>>;
/// Calls in flight, each with the number of its request or change.
pub type Calls<T> = Vec<(usize, Call<T>)>;

pub struct Process {
    pub number: u32,
    // Dropped before everything that calls it, so that no call waits for a writer that is gone.
    pub stepped: Stepped,
    pub admissions: Calls<Result<Admitted, LogError>>,
    pub ends: Calls<Result<EndedAt, LogError>>,
    pub changes: Calls<Result<Appended, AppendError>>,
    pub refusals: Calls<Result<Option<u64>, LogError>>,
    pub notes: Vec<Call<Result<(), LogError>>>,
    pub corrections: Calls<Result<Revalued, LogError>>,
    pub holds: Vec<(usize, OpenHold)>,
    /// Holds whose clients never end them.
    pub lost: Vec<OpenHold>,
    /// `None` in most worlds, because views take as long as everything else together.
    pub views: Option<SimulatedViews>,
    pub reader: Box<dyn Reader>,
    pub log: Log,
    pub folder: PathBuf,
    faults: Arc<Faults>,
    lock: Option<Connection>,
}

#[derive(Default)]
struct Faults {
    /// The number of next commits that fail.
    failing: AtomicU32,
    /// The duration of the next commit in milliseconds.
    slow_millis: AtomicU64,
}

impl Process {
    pub fn begin(
        number: u32,
        folder: PathBuf,
        clock: &Arc<ManualClock>,
        unknown_usage: UnknownUsage,
        has_views: bool,
    ) -> Self {
        let options = LogOptions::new(Arc::clone(clock) as Arc<dyn Clock>).with_unknown_usage(unknown_usage);
        let (log, stepped) = Stepped::open(&folder, options).expect("the log opens");
        let faults = Arc::new(Faults::default());
        let connection = stepped.engine().connection();
        // The simulation itself decides which bytes are synced, and when to wait for a lock.
        connection.pragma_update(None, "synchronous", "OFF").expect("a pragma");
        connection.busy_timeout(Duration::ZERO).expect("a time-out");
        let (theirs, clock) = (Arc::clone(&faults), Arc::clone(clock));
        connection.commit_hook(Some(move || {
            clock.advance(Duration::from_millis(theirs.slow_millis.swap(0, SeqCst)));
            theirs.failing.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok()
        }));
        let reader = log.reader().expect("a reader");
        let views = has_views.then(|| SimulatedViews::open(&folder, &log, &*reader));
        Self {
            number,
            stepped,
            admissions: Vec::new(),
            ends: Vec::new(),
            changes: Vec::new(),
            refusals: Vec::new(),
            notes: Vec::new(),
            corrections: Vec::new(),
            holds: Vec::new(),
            lost: Vec::new(),
            views,
            reader,
            log,
            folder,
            faults,
            lock: None,
        }
    }

    pub fn fail_commits(&self, number: u32) {
        self.faults.failing.store(number, SeqCst);
    }

    pub fn slow_down(&self, millis: u64) {
        self.faults.slow_millis.store(millis, SeqCst);
    }

    /// Leaves no room for another page.
    pub fn fill_disk(&self) {
        let connection = self.stepped.engine().connection();
        let pages: u32 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("a number of pages");
        self.limit_pages(pages);
    }

    fn limit_pages(&self, pages: u32) {
        let sql = format!("PRAGMA max_page_count = {pages}");
        self.stepped.engine().connection().query_row(&sql, [], |_| Ok(())).expect("a pragma");
    }

    /// Locks the database, as another writer would.
    pub fn lock(&mut self) {
        let other = Connection::open(self.folder.join(LEDGER_FILE)).expect("a second connection");
        other.execute_batch("BEGIN IMMEDIATE").expect("the lock is free");
        self.lock = Some(other);
    }

    pub fn repair_disk(&mut self) {
        self.lock = None;
        self.fail_commits(0);
        self.slow_down(0);
        self.limit_pages(PAGES_MAX);
    }

    pub fn is_locked(&self) -> bool {
        self.lock.is_some()
    }

    /// Moves committed pages into the database file, as the checkpointer's thread does.
    pub fn checkpoint(&self) {
        let _ = self.stepped.engine().connection().query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    }

    /// Ends in an orderly way: records everything that is queued.
    pub fn close(&mut self) {
        self.log.close();
        while !self.stepped.step(usize::MAX) {}
    }

    /// True if no call is in flight.
    pub fn is_idle(&self) -> bool {
        self.admissions.is_empty()
            && self.ends.is_empty()
            && self.changes.is_empty()
            && self.refusals.is_empty()
            && self.notes.is_empty()
            && self.corrections.is_empty()
    }

    pub fn ledger_image(&self) -> super::disk::Image {
        super::disk::Image::of(&self.folder, LEDGER_FILE)
    }
}

/// The response, if it is ready.
pub fn poll<T>(call: &mut Call<T>) -> Option<T> {
    match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(response) => Some(response),
        Poll::Pending => None,
    }
}

/// Takes the responses that are ready, in order.
pub fn take_ready<T>(calls: &mut Calls<T>) -> Vec<(usize, T)> {
    let mut ready = Vec::new();
    let mut waiting = Vec::new();
    for (number, mut call) in calls.drain(..) {
        match poll(&mut call) {
            Some(response) => ready.push((number, response)),
            None => waiting.push((number, call)),
        }
    }
    *calls = waiting;
    ready
}
