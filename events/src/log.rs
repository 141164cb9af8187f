//! The log: order, durability, positions. The embedded engine keeps it in `DIR/ledger.db`; one thread writes, in group
//! commits, and everything that is written goes through it. Position N visible means that all before it are.

mod clock;
mod draft;
mod engine;
mod error;
mod facts;
mod filter;
mod follow;
mod hold_history;
mod inference_keys;
pub mod interrupt;
mod jobs;
pub mod lock;
mod open;
pub(crate) mod owners;
pub(crate) mod raw;
mod reader;
mod readers;
mod side;
mod state;
mod stepped;
mod writer;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SendError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{broadcast, oneshot, watch};

use crate::concurrency::QueryPermit;
use crate::event::Recorded;
use crate::ledger::{Admission, RefusedRequest, UnknownUsage};
use crate::refusal::Refusal;
use crate::time::Clock;
use jobs::{
    AdmitRequest, AdmitRequestUnlessShort, AppendChange, Asking, Job, Message, RecordNotes, RecordRefusal, queued,
};

pub use engine::sqlite::interrupt::watch;
pub use engine::sqlite::{LEDGER_FILE, Migrated, OpenError, open_reader, open_reader_offline};
pub use engine::sqlite::{offline, wal};
pub use error::{AppendError, EngineError, EngineErrorKind, LogError, OtherSchema};
pub use filter::{EventFilter, Part};
pub use follow::{Followed, Follower};
pub use inference_keys::InferenceKey;
pub use jobs::{Admitted, Append, Appended, Basis, EndedAt, Note, OpenHold};
pub use lock::LOCK_FILE;
pub use reader::Reader;
pub use side::{ClientAddress, Idempotency, KeySecret, PersonalData, SealedSecret, SideRow, StoredReply};
pub use stepped::Stepped;
pub use writer::{BatchFigures, COMMIT_MICROS_BOUNDS};

/// Jobs that may wait for the writer; above it the caller is told to come back.
const QUEUE_LEN_MAX: usize = 8192;
/// Batches that a follower of the tail may lag behind before it has to read the database.
const TAIL_BATCHES_MAX: usize = 1024;
/// How long a caller waits for the writer: longer than a disk that has hiccups, shorter than callers' own patience.
const WRITE_WAIT_MAX: Duration = Duration::from_secs(10);

/// How a log is opened.
#[derive(Clone)]
pub struct LogOptions {
    pub clock: Arc<dyn Clock>,
    /// How long a hold may live before the sweeper ends it.
    pub hold_ttl: Duration,
    pub unknown_usage: UnknownUsage,
    pub left_holds: LeftHolds,
}

/// What becomes of holds that are due and that nobody ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftHolds {
    /// They are ended, and charged as `unknown_usage` says.
    End,
    /// The next process that opens the log ends them: this one is no gateway, and does not know how that is configured.
    Leave,
}

impl LogOptions {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            hold_ttl: Duration::from_secs(900),
            unknown_usage: UnknownUsage::default(),
            left_holds: LeftHolds::End,
        }
    }
}

/// The last durable event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// 0 for an empty log.
    pub position: u64,
    pub recorded_at: Option<DateTime<Utc>>,
}

impl Head {
    /// Refuses a `min_position` that the log does not have: whoever was told a position finds it there.
    pub fn require(&self, min_position: u64) -> Result<(), Refusal> {
        let head = self.position;
        if min_position <= head {
            return Ok(());
        }
        let reason = format!("{min_position} is beyond the newest event of the log, which is at {head}");
        Err(Refusal::invalid("min_position", reason).with("position", head))
    }

    /// The time that the next event would be recorded at: a clock that was put back does not put the log back.
    pub fn time_after(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        self.recorded_at.map_or(now, |last| last.max(now))
    }
}

/// What the writer says. A disk that hangs must not keep callers for ever.
async fn answered<T>(answer: oneshot::Receiver<T>) -> Result<T, LogError> {
    let answer = tokio::time::timeout(WRITE_WAIT_MAX, answer).await;
    answer.map_err(|_| LogError::TimedOut(WRITE_WAIT_MAX))?.map_err(|_| LogError::Closed)
}

/// The embedded log. Cheap to clone; the writer stops when it is closed or the last clone is gone.
#[derive(Clone)]
pub struct Log {
    shared: Arc<LogInner>,
}

struct LogInner {
    jobs: Queue,
    hold_ttl: Duration,
    unknown_usage: UnknownUsage,
    published: writer::Published,
    readers: Arc<readers::Readers>,
    figures: Arc<writer::Figures>,
    stopped: AtomicBool,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// Where jobs wait for the writer, and where they are counted.
#[derive(Clone)]
struct Queue {
    jobs: SyncSender<Message>,
    figures: Arc<writer::Figures>,
}

impl Queue {
    fn try_send(&self, message: Message) -> Result<(), TrySendError<Message>> {
        self.jobs.try_send(message).inspect(|()| self.figures.sent())
    }

    /// Waits for a place. Blocking.
    fn send(&self, message: Message) -> Result<(), SendError<Message>> {
        self.jobs.send(message).inspect(|()| self.figures.sent())
    }
}

impl Log {
    /// How long a hold lives.
    pub fn hold_ttl(&self) -> Duration {
        self.shared.hold_ttl
    }

    /// What a hold is charged whose real figures nobody knows.
    pub fn unknown_usage(&self) -> UnknownUsage {
        self.shared.unknown_usage
    }

    /// The last durable event.
    pub fn head(&self) -> Head {
        *self.shared.published.head.borrow()
    }

    /// Changes whenever something has become durable.
    pub fn watch_head(&self) -> watch::Receiver<Head> {
        self.shared.published.head.clone()
    }

    /// The position of the last event of administration, 0 before the first. Never behind what an administrative change
    /// was answered with.
    pub fn watch_administration(&self) -> watch::Receiver<u64> {
        self.shared.published.administration.clone()
    }

    /// Every batch after this call, published once it is durable and before the head moves. Who lags reads the database.
    pub fn tail(&self) -> broadcast::Receiver<Arc<[Arc<Recorded>]>> {
        match self.shared.published.tail.upgrade() {
            Some(sender) => sender.subscribe(),
            // The writer is gone: a receiver whose sender is gone says so.
            None => broadcast::channel(1).1,
        }
    }

    /// Statements, fsyncs and batch sizes so far.
    pub fn figures(&self) -> BatchFigures {
        self.shared.figures.read()
    }

    /// Whether the writer could write when it last tried; it tries again by itself.
    pub fn is_writable(&self) -> bool {
        !self.shared.figures.is_failing() && !self.shared.stopped.load(Ordering::SeqCst)
    }

    /// Jobs go to the writer or nowhere: a full queue is back-pressure, never memory.
    async fn ask<A, E: From<LogError>>(
        &self,
        (job, answer): (Box<dyn Job>, oneshot::Receiver<Result<A, E>>),
    ) -> Result<A, E> {
        match self.shared.jobs.try_send(Message::Job(job)) {
            Ok(()) => answered(answer).await?,
            Err(TrySendError::Full(_)) => Err(LogError::QueueFull.into()),
            Err(TrySendError::Disconnected(_)) => Err(LogError::Closed.into()),
        }
    }

    /// Asks for the money; when it answers with a hold, admission and hold are durable.
    pub async fn admit(&self, admission: Admission) -> Result<Admitted, LogError> {
        self.admit_once(admission, None).await
    }

    /// The same where no other request was admitted under the key, or none that was charged or is still being answered:
    /// else it is refused, with `CONFLICT` or `IDEMPOTENCY_KEY_REUSED`.
    pub async fn admit_once(&self, admission: Admission, key: Option<InferenceKey>) -> Result<Admitted, LogError> {
        let answer = self.ask(queued(AdmitRequest(Box::new(Asking { admission, key })))).await;
        answer.inspect_err(|error| self.note_hanging(error))
    }

    /// The same of a request for which a tighter bound can be found. `None`: a budget has too little left, nothing is
    /// recorded, and the tighter bound may fit.
    pub async fn admit_unless_short(
        &self,
        admission: Admission,
        key: Option<InferenceKey>,
    ) -> Result<Option<Admitted>, LogError> {
        let answer = self.ask(queued(AdmitRequestUnlessShort(Box::new(Asking { admission, key })))).await;
        answer.inspect_err(|error| self.note_hanging(error))
    }

    /// The writer says so itself where it can; this is for one that hangs.
    fn note_hanging(&self, error: &LogError) {
        if matches!(error, LogError::TimedOut(_) | LogError::Closed) {
            self.shared.figures.set_failing(true);
        }
    }

    /// Records a refusal that was decided before the ledger; its position, or `None` where it was rolled up.
    pub async fn refuse(&self, refused: RefusedRequest) -> Result<Option<u64>, LogError> {
        self.ask(queued(RecordRefusal(Box::new(refused)))).await
    }

    /// Appends an administrative change with its side rows, all or nothing.
    pub async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.ask(queued(AppendChange(Box::new(append)))).await
    }

    /// Appends events that follow on whatever is on their streams.
    pub async fn note(&self, notes: Vec<Note>) -> Result<(), LogError> {
        self.ask(queued(RecordNotes(notes))).await
    }

    /// A read-only connection of one's own. Blocking.
    pub fn reader(&self) -> Result<Box<dyn Reader>, LogError> {
        self.shared.readers.open()
    }

    /// Looks up what keys, secrets and administration are decided by, off the async threads. On connections of its own, so
    /// that nobody who asks for more keeps it waiting.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Reader) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        self.shared.readers.decide(work).await
    }

    /// Every event of administration beyond `position`, in order; on a connection that nobody else needs.
    pub async fn administration_after(&self, position: u64) -> Result<Vec<Recorded>, LogError> {
        self.shared.readers.follow(move |reader| reader.administration_after(position)).await
    }

    /// Every event beyond `position`, in order: those that there are, a page of so many at a time, and those that come.
    pub fn follow(&self, position: u64, page: usize) -> Follower {
        Follower::new(self.tail(), Arc::clone(&self.shared.readers), position, page, true)
    }

    /// Every event that is recorded from now on, in order.
    pub fn follow_from_now(&self, page: usize) -> Follower {
        // The tail first: nothing that is recorded behind the head can be missed.
        let tail = self.tail();
        Follower::new(tail, Arc::clone(&self.shared.readers), self.head().position, page, false)
    }

    /// The log for those who answer clients.
    pub fn for_queries(&self) -> LogQueries {
        LogQueries { shared: Arc::clone(&self.shared) }
    }

    /// Records what is queued, then stops the writer. Later calls answer [`LogError::Closed`]. Blocking.
    pub fn close(&self) {
        self.shared.stop();
    }
}

impl LogInner {
    fn stop(&self) {
        if !self.stopped.swap(true, Ordering::SeqCst) {
            // A full queue is being emptied by the writer: this waits for its place.
            let _ = self.jobs.send(Message::Stop);
        }
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }
}

impl Drop for LogInner {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The log as clients' queries read it: with a permit each, on connections that nothing else needs. Cheap to clone.
#[derive(Clone)]
pub struct LogQueries {
    shared: Arc<LogInner>,
}

impl LogQueries {
    /// The last durable event.
    pub fn head(&self) -> Head {
        *self.shared.published.head.borrow()
    }

    /// Changes whenever something has become durable.
    pub fn watch_head(&self) -> watch::Receiver<Head> {
        self.shared.published.head.clone()
    }

    /// Reads off the async threads. Interrupted at the permit's deadline, and soon after nobody waits for it any more.
    pub async fn read<T: Send + 'static>(
        &self,
        permit: &QueryPermit,
        work: impl FnOnce(&dyn Reader) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        self.shared.readers.query(permit, work).await
    }
}
