//! One process, from its start to its death: the real log with its writer, driven a step at a time, and the calls that wait for it. A
//! death drops everything here; what is left is on the disk.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use events::ledger::UnknownUsage;
use events::log::{
    Admitted, AppendError, Appended, EndedAt, LEDGER_FILE, Log, LogError, LogOptions, OpenHold, Reader, Stepped,
};
use events::time::{Clock, ManualClock};
use rusqlite::Connection;

use super::follower::SimulatedViews;

/// No database has so many pages.
const PAGES_MAX: u32 = u32::MAX - 1;

/// A call whose answer somebody waits for.
pub type Call<T> = Pin<Box<dyn Future<Output = T>>>;
/// Each with the number of what it is about.
pub type Calls<T> = Vec<(usize, Call<T>)>;

pub struct Process {
    pub number: u32,
    // In front of everything that talks to it: a call whose writer has gone does not wait.
    pub stepped: Stepped,
    /// By the number of the request.
    pub asking: Calls<Result<Admitted, LogError>>,
    pub ending: Calls<Result<EndedAt, LogError>>,
    /// By the number of the change.
    pub changing: Calls<Result<Appended, AppendError>>,
    /// By the number in the request's id.
    pub refusing: Calls<Result<Option<u64>, LogError>>,
    pub noting: Vec<Call<Result<(), LogError>>>,
    pub holds: Vec<(usize, OpenHold)>,
    /// Nobody will ever end these.
    pub lost: Vec<OpenHold>,
    /// A world may be without views: making them takes as long as all the rest.
    pub views: Option<SimulatedViews>,
    pub reader: Box<dyn Reader>,
    pub log: Log,
    pub folder: PathBuf,
    faults: Arc<Faults>,
    lock: Option<Connection>,
}

#[derive(Default)]
struct Faults {
    /// Commits that will fail.
    failing: AtomicU32,
    /// How long the next commit takes, in milliseconds.
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
        let options = LogOptions { unknown_usage, ..LogOptions::new(Arc::clone(clock) as Arc<dyn Clock>) };
        let (log, stepped) = Stepped::open(&folder, options).expect("the log opens");
        let faults = Arc::new(Faults::default());
        let connection = stepped.engine().connection();
        // What a commit leaves on the disk is the simulation's own business, and so is waiting.
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
            asking: Vec::new(),
            ending: Vec::new(),
            changing: Vec::new(),
            refusing: Vec::new(),
            noting: Vec::new(),
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

    /// Not one page more fits on it.
    pub fn fill_disk(&self) {
        let connection = self.stepped.engine().connection();
        let pages: u32 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("a number of pages");
        self.limit_pages(pages);
    }

    fn limit_pages(&self, pages: u32) {
        let sql = format!("PRAGMA max_page_count = {pages}");
        self.stepped.engine().connection().query_row(&sql, [], |_| Ok(())).expect("a pragma");
    }

    /// Somebody else writes to the database.
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

    /// An orderly end: what is queued is recorded.
    pub fn close(&mut self) {
        self.log.close();
        while !self.stepped.step(usize::MAX) {}
    }

    /// Whether nobody waits for an answer.
    pub fn is_quiet(&self) -> bool {
        self.asking.is_empty()
            && self.ending.is_empty()
            && self.changing.is_empty()
            && self.refusing.is_empty()
            && self.noting.is_empty()
    }

    pub fn ledger_image(&self) -> super::disk::Image {
        super::disk::Image::of(&self.folder, LEDGER_FILE)
    }
}

/// The answer, if it is there.
pub fn heard<T>(call: &mut Call<T>) -> Option<T> {
    match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

/// Takes the calls that were answered out of a list, in their order.
pub fn answered<T>(calls: &mut Calls<T>) -> Vec<(usize, T)> {
    let mut answers = Vec::new();
    let mut waiting = Vec::new();
    for (of, mut call) in calls.drain(..) {
        match heard(&mut call) {
            Some(answer) => answers.push((of, answer)),
            None => waiting.push((of, call)),
        }
    }
    *calls = waiting;
    answers
}

/// What a dead process leaves is copied away before its connections close and tidy up.
pub fn put(image: &super::disk::Image, folder: &Path) {
    image.put(folder, LEDGER_FILE);
}
