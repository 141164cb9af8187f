//! The log: the one ordered, durable sequence of events. Everything else can be computed from it.
//!
//! It guarantees: positions without gaps; times that never go back; an acknowledged write is on the disk; and a reader that
//! sees position N can see every position before it. One thread writes, in group commits, because order and balances need
//! one authority and an fsync costs about the same for one request as for a thousand. Readers have connections of their own and
//! never wait for the writer; async callers send jobs through a bounded queue, so that overload is an error and not memory.
//!
//! The writer takes everything in the queue as one batch:
//!
//! 1. The jobs name the *facts* that they need besides balances (ends of streams, names, idempotency keys, holds that have
//!    ended), and the engine looks them up in one round trip.
//! 2. The writer decides each job in memory, in order, as if the jobs before it were recorded, and adds its events and rows to
//!    the *draft*. Conflicts (a stream that has moved on, a name that is taken, a repeated idempotency key, a right that has
//!    ended) are found here, so that one job's conflict cannot fail the batch.
//! 3. The engine writes the draft in one transaction, if the log still ends where the draft begins. Positions are those of the
//!    draft, so once position N is visible, so are all positions before it. If the log has moved on, the writer undoes the
//!    decisions, catches up, and decides the batch again. (A folder's ledger reads its whole state again.)
//! 4. The callers get their answers once the commit is on the disk. They wait at most ten seconds.
//!
//! If a batch fails, the writer undoes its decisions and checks the log before it decides anything else. A commit after a failed
//! one writes that one's frames again, so that a later sync is never taken to have covered them. What another process left in
//! the write-ahead log may depend on a sync that failed, so it is moved into the database file at the start.
//!
//! Several nodes share a log in PostgreSQL by a *gate*: each batch inserts a row that names the batch before it, and of two
//! batches that begin at one position only one gets in. After a lost race a node folds what the others appended, takes its
//! *turn*, and decides again; it also takes a turn before its next 16 batches, and for longer if others go on appending. Each
//! batch has a *token* that its node has drawn, by which the node finds its own batch after a connection broke, and notices a
//! *fork*: that it is no longer the same log (ADR-0018). The writer's thread also follows the log for its node: it is woken when
//! others have appended, looks every 200 ms in any case, folds their events and publishes them.
//!
//! `recorded_at` is never earlier than that of the event before. If the wall clock moves by more than a minute against the
//! monotonic clock, appends stop until both agree again. If the clock is behind the log at the start, appends stop until it has
//! caught up. `docs/operations.md#failures` lists the other failures.
//!
//! It deliberately does not retry: [`LogError::may_be_recorded`] tells the caller whether a failed write may still appear.
//! Only the ends of requests are kept and repeated, because their holds would otherwise expire with a wrong charge. It knows
//! no HTTP, and no database except through the ports `engine` and [`Reader`] (ADR-0012).
//!
//! Rejected: deciding inside an open database transaction, and a dynamic answer type for all jobs. Each job now has its own
//! answer, and a batch is decided in memory before it is written.
//!
//! Beside it are the parts that read the whole log, and those that share out its threads and connections:
//!
//! - `verify`: the offline check of log and ledger. `explain`: one recorded request, decided again.
//! - `role`: what one process at a time does for all, and how it reports; its [lease](LeaseHolder) decides which one does.
//! - `concurrency`: how many queries, commands and event streams a key and a tenant may have at a time.
//! - `backoff`: the pauses between attempts. `thread_priority`: threads whose work may wait.
//!
//! Where the parts of the log are:
//!
//! - `writer` has the batches: `writer/catch_up.rs` follows what other nodes append, and `writer/turns.rs` takes turns with
//!   them. `jobs`, `facts`, `draft`, `side` and `answers` are what passes through it. `follow` is the follower.
//! - `engine` is the port to the database for the writer, `reader` the port for readers; `engine/sqlite` and
//!   `engine/postgres` are behind both. `stored` and `filtered_read` are what both engines must agree on.
//! - `open` puts a log together by its `options`, `lock` is the lock of its folder, `state` the ledger's state at the start, and
//!   `stepped` a log that simulations run step by step. `head` is the log's end, and `log_queries` the log as clients read it.
//! - `recent_changes` knows which admissions were planned on tables older than the log, `owners` finds a tenant's part of a
//!   long log, `hold_history` says what a hold that has ended is charged by now, and `raw` is the log as it is stored, for
//!   the offline check.

mod answers;
pub mod backoff;
mod clock;
pub mod concurrency;
mod draft;
mod engine;
mod error;
pub mod explain;
mod facts;
mod filter;
mod filtered_read;
mod follow;
mod head;
mod hold_history;
mod inference_keys;
pub mod interrupt;
mod jobs;
mod lease;
mod limit_sharing;
pub mod lock;
mod log_queries;
mod open;
mod options;
mod owners;
mod raw;
mod reader;
mod readers;
mod recent_changes;
pub mod role;
mod role_memories;
mod side;
mod state;
mod stepped;
mod stored;
pub mod thread_priority;
pub mod verify;
mod writer;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SendError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use blocking_work::Owner;
use events::event::Recorded;
use events::ids::KeyId;
use events::ledger::{Admission, RefusedRequest, Revaluation, UnknownUsage};
use events::time::Clock;
use tokio::sync::{broadcast, oneshot, watch};

use crate::role::RoleStatus;
use follow::TailBatch;
use jobs::{
    AdmitRequest, AppendChanges, JobKind, Message, RecordNotes, RecordRefusal, RevalueRequests, StoreKeyMac, queued,
};
use lease::RolePlace;
use options::request_time_max;

pub use engine::postgres::{
    CopyCallbacks, DatabaseAddress, SessionSetting, UnusableReason, WrongAddress, WrongLedger, append_alone,
    copy_to_shared, open_shared_reader,
};
pub use engine::sqlite::exact::Exact;
pub use engine::sqlite::import::{ImportError, LedgerImport};
pub use engine::sqlite::interrupt::interruptible;
pub use engine::sqlite::{LEDGER_FILE, open_reader, open_reader_offline};
pub use engine::sqlite::{offline, wal};
pub use engine::{Migrated, OpenError};
pub use error::{AppendError, EngineError, EngineErrorKind, LogError, OtherSchema};
pub use facts::KindOfTenant;
pub use filter::{EventFilter, Part};
pub use follow::{Followed, Follower};
pub use head::{Head, PositionStatus};
pub use inference_keys::InferenceKey;
pub use jobs::{Admitted, Append, AppendAllError, Appended, Basis, EndedAt, Note, OpenHold, Revalued};
pub use lease::{Lease, LeaseHolder};
pub use limit_sharing::{LimitSharing, LimitSharingSign};
pub use lock::LOCK_FILE;
pub use log_queries::LogQueries;
pub use options::LogOptions;
pub use reader::{EarlierNode, Reader, RunningNode};
pub use role_memories::is_remembered;
pub use side::{
    ClientAddress, Fingerprint, Idempotency, ImportedCatalogue, KeyMac, KeySecret, Name, PersonalData, RegisteredNode,
    SealedSecret, SideRow, StoredReply, TenantKey,
};
pub use stepped::{Stepped, SteppedNode};
pub use writer::{BatchFigures, COMMIT_MICROS_BOUNDS};

/// Events that are read at a time, by those that read the log from end to end.
pub const PAGE_EVENTS: usize = 1000;
/// Maximum number of positions that one filtered read examines.
pub(crate) const READ_POSITIONS_MAX: u64 = 65_536;
/// Maximum number of jobs in the writer's queue. A full queue refuses jobs.
const QUEUE_LEN_MAX: usize = 8192;
/// Maximum number of batches that a follower may lag behind the tail before it must read the database.
const TAIL_BATCHES_MAX: usize = 1024;
/// How long a caller waits for the writer: longer than a hiccup of the disk, shorter than the callers' own timeouts.
const WRITE_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long a node of a shared log trusts its tables without having confirmed where the log ends.
const UNCONFIRMED_MAX: Duration = Duration::from_secs(1);

/// Waits for the writer's answer, for a limited time: a disk that hangs must not block callers for ever.
async fn wait_for_answer<T>(answer: oneshot::Receiver<T>) -> Result<T, LogError> {
    let answer = tokio::time::timeout(WRITE_WAIT_MAX, answer).await;
    answer.map_err(|_| LogError::TimedOut(WRITE_WAIT_MAX))?.map_err(|_| LogError::Closed)
}

/// A handle to the log. Cheap to clone. The writer stops when the log is closed or the last clone is dropped.
#[derive(Clone)]
pub struct Log {
    inner: Arc<LogInner>,
}

struct LogInner {
    jobs: Queue,
    hold_ttl: Duration,
    unknown_usage: UnknownUsage,
    published: writer::Published,
    readers: Arc<readers::Readers>,
    figures: Arc<writer::WriterFigures>,
    /// `None` if nobody else appends.
    local_node: Option<LocalNode>,
    roles: Arc<RolePlace>,
    stopped: AtomicBool,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// This process in a log that others append to as well.
struct LocalNode {
    /// The clock by which others' events must be heard of.
    clock: Arc<dyn Clock>,
    /// The id of the node, as in its log lines and its batches.
    node_id: Arc<str>,
}

/// The queue of the writer's jobs, which counts them.
#[derive(Clone)]
struct Queue {
    jobs: SyncSender<Message>,
    figures: Arc<writer::WriterFigures>,
    /// True while a wake is in the queue: one is enough, and they must not take the places of jobs.
    has_wake: Arc<AtomicBool>,
}

impl Queue {
    /// Wakes the writer. If the queue is full, it is awake, and looks for all that there is to do before it sleeps.
    fn wake(&self) {
        if !self.has_wake.swap(true, Ordering::SeqCst) && self.try_send(Message::Wake).is_err() {
            self.has_wake.store(false, Ordering::SeqCst);
        }
    }

    /// The writer has taken the wake, and looks now.
    fn wake_is_taken(&self) {
        self.has_wake.store(false, Ordering::SeqCst);
    }

    fn try_send(&self, message: Message) -> Result<(), TrySendError<Message>> {
        self.jobs.try_send(message).inspect(|()| self.figures.sent())
    }

    /// Waits for a free place. Blocking.
    fn send(&self, message: Message) -> Result<(), SendError<Message>> {
        self.jobs.send(message).inspect(|()| self.figures.sent())
    }
}

impl Log {
    /// The lifetime of a hold.
    pub fn hold_ttl(&self) -> Duration {
        self.inner.hold_ttl
    }

    /// The longest that a request may run: always less than its hold's lifetime, by what clocks may differ.
    pub fn request_time_max(&self) -> Duration {
        request_time_max(self.inner.hold_ttl)
    }

    /// The policy for expired holds, whose real usage is unknown.
    pub fn unknown_usage(&self) -> UnknownUsage {
        self.inner.unknown_usage
    }

    /// The last durable event.
    pub fn head(&self) -> Head {
        *self.inner.published.head.borrow()
    }

    /// The head, which changes with every durable batch.
    pub fn watch_head(&self) -> watch::Receiver<Head> {
        self.inner.published.head.clone()
    }

    /// The position of the last administrative event, 0 before the first. Never behind the position that an administrative
    /// change was answered with.
    pub fn watch_administration(&self) -> watch::Receiver<u64> {
        self.inner.published.administration.clone()
    }

    /// A receiver of all later batches. Each is published when it is durable, before the head moves. A receiver that lags must
    /// read the database.
    fn tail(&self) -> broadcast::Receiver<TailBatch> {
        match self.inner.published.tail.upgrade() {
            Some(sender) => sender.subscribe(),
            // The writer is gone: a receiver without a sender reports that.
            None => broadcast::channel(1).1,
        }
    }

    /// Counters of batches, jobs, events and commit times.
    pub fn figures(&self) -> BatchFigures {
        self.inner.figures.read()
    }

    /// True if the writer's last attempt to write succeeded. It tries again by itself.
    pub fn is_writable(&self) -> bool {
        !self.inner.figures.is_failing() && !self.inner.stopped.load(Ordering::SeqCst)
    }

    /// True if other processes may append to the log.
    pub fn is_shared(&self) -> bool {
        self.inner.local_node.is_some()
    }

    /// False if other processes may have appended what this one should know by now: nothing is decided by tables that old.
    pub fn is_current(&self) -> bool {
        let since_confirmed =
            |node: &LocalNode| node.clock.monotonic().saturating_sub(self.inner.figures.head_confirmed_at());
        self.inner.local_node.as_ref().is_none_or(|node| since_confirmed(node) <= UNCONFIRMED_MAX)
    }

    /// Upper bound of the age of the newest change of administration that this process knows of: the time since the last check
    /// that did not find it. Zero if nobody else appends.
    pub fn last_change_age(&self) -> Duration {
        let age = |node: &LocalNode| node.clock.monotonic().saturating_sub(self.inner.figures.last_change_not_before());
        self.inner.local_node.as_ref().map(age).unwrap_or_default()
    }

    /// See [`LogQueries::wait_until_known`].
    pub async fn wait_until_known(&self, position: u64) -> PositionStatus {
        self.inner.wait_until_known(position).await
    }

    /// Waits until this process has published a position that was read from the database: a reader can see an event shortly before its writer
    /// publishes it, and another node's event before this node has heard of it. Returns false after `deadline`. For a position that a client
    /// names, see [`Self::wait_until_known`].
    pub async fn wait_until_published(&self, position: u64, deadline: Duration) -> bool {
        let mut head = self.inner.published.head.clone();
        let published = head.wait_for(|head| head.position >= position);
        matches!(tokio::time::timeout(deadline, published).await, Ok(Ok(_)))
    }

    /// Waits for a check of where the log ends that begins after the call, for as long as the database takes. Only for a shared log:
    /// otherwise, there is none.
    pub async fn wait_for_head_check(&self) {
        self.inner.figures.head_checked().await;
    }

    /// The processes that serve requests as this one does, have run longer, and have not said that they end. `None` if this one was not seen lately
    /// itself, or could not append: others may take it for gone.
    pub async fn earlier_nodes(&self) -> Result<Option<Vec<EarlierNode>>, LogError> {
        let Some(LocalNode { node_id, .. }) = &self.inner.local_node else { return Ok(Some(Vec::new())) };
        let node_id = Arc::clone(node_id);
        self.read(move |reader| reader.earlier_nodes(&node_id)).await
    }

    /// Queues a job and waits for its answer. A full queue refuses the job: back-pressure, not memory.
    async fn submit<K: JobKind>(&self, kind: K) -> Result<K::Answer, K::Error> {
        let (job, answer) = queued(kind);
        match self.inner.jobs.try_send(Message::Job(job)) {
            Ok(()) => wait_for_answer(answer).await?,
            Err(TrySendError::Full(_)) => Err(LogError::QueueFull.into()),
            Err(TrySendError::Disconnected(_)) => Err(LogError::Closed.into()),
        }
    }

    /// Reserves the money for a request. When a hold is returned, the admission and the hold are durable. With an idempotency
    /// key, it does so once: it refuses with `CONFLICT` or `IDEMPOTENCY_KEY_REUSED` if an earlier request with the key was
    /// charged or is still being answered.
    pub async fn admit(&self, admission: Admission, key: Option<InferenceKey>) -> Result<Admitted, LogError> {
        let answer = self.submit(AdmitRequest { admission: Box::new(admission), key }).await;
        // A writer that hangs cannot report it. One that works reports its own failures.
        if let Err(LogError::TimedOut(_) | LogError::Closed) = answer {
            self.inner.figures.set_failing(true);
        }
        answer
    }

    /// Records a refusal that was decided before the ledger was involved. Returns its position, or `None` if it was only
    /// counted.
    pub async fn refuse(&self, refused: RefusedRequest) -> Result<Option<u64>, LogError> {
        self.submit(RecordRefusal(Box::new(refused))).await
    }

    /// Appends an administrative change with its side rows, all or nothing.
    pub async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.append_all(vec![append]).await.map_err(|refused| refused.error)
    }

    /// Appends administrative changes of different streams in their order, all or nothing. A reply that one of them keeps is one at
    /// the position of its last event.
    pub async fn append_all(&self, changes: Vec<Append>) -> Result<Appended, AppendAllError> {
        self.submit(AppendChanges(changes)).await
    }

    /// Appends events to the ends of their streams, wherever these are.
    pub async fn note(&self, notes: Vec<Note>) -> Result<(), LogError> {
        self.submit(RecordNotes(notes)).await
    }

    /// Corrects what requests were charged, in one batch. Requests that have the value already, or were not charged by a
    /// price, are left alone, so that it can be repeated after any error.
    pub async fn revalue(&self, revaluations: Vec<Revaluation>) -> Result<Revalued, LogError> {
        self.submit(RevalueRequests(revaluations)).await
    }

    /// Opens a read-only connection for the caller alone. Blocking.
    pub fn reader(&self) -> Result<Box<dyn Reader>, LogError> {
        self.inner.readers.open()
    }

    /// Runs a short look-up for decisions about keys, secrets and administration, off the async threads. These have their own
    /// connections, so that longer reads never delay them.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Reader) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        self.read_for(None, work).await
    }

    /// Does the same as [`Self::read`], in the turn of a tenant: however many reads others ask for, it waits for a bounded part of them.
    pub async fn read_for<T: Send + 'static>(
        &self,
        owner: Owner,
        work: impl FnOnce(&dyn Reader) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        self.inner.readers.deciding.run(owner, work).await
    }

    /// The stored secrets of a key of this tenant, oldest first; none if it has none. Keys that are asked for at once, as after a
    /// restart, are read together, and the many of one tenant leave room for those of others. Callers of one read share its error.
    pub async fn key_secrets(&self, owner: Owner, key: KeyId) -> Result<Vec<KeySecret>, Arc<LogError>> {
        self.inner.readers.key_secrets.read(owner, key).await
    }

    /// Stores the HMAC of a key's secret in the place of its slow hash. Nobody waits for it: if it cannot be stored, the slow hash
    /// stays, and the next process that checks the key tries again.
    pub fn store_key_mac(&self, mac: KeyMac) {
        let (job, _) = queued(StoreKeyMac(mac));
        let _ = self.inner.jobs.try_send(Message::Job(job));
    }

    /// All administrative events after `position`, in order, read on a connection of their own.
    pub async fn administration_after(&self, position: u64) -> Result<Vec<Recorded>, LogError> {
        self.inner.readers.administration.run(None, move |reader| reader.administration_after(position)).await
    }

    /// Follows the log from after `position`: first the recorded events, in pages of `page`, then new ones as they come.
    pub fn follow(&self, position: u64, page: usize) -> Follower {
        self.follower(self.tail(), position, page, true)
    }

    /// Follows the log from its head: new events only.
    pub fn follow_from_now(&self, page: usize) -> Follower {
        // Subscribe before reading the head, so that no event after it is missed.
        let tail = self.tail();
        self.follower(tail, self.head().position, page, false)
    }

    fn follower(&self, tail: broadcast::Receiver<TailBatch>, position: u64, page: usize, is_behind: bool) -> Follower {
        let node_id = self.inner.local_node.as_ref().map(|node| Arc::clone(&node.node_id));
        Follower::new(tail, Arc::clone(&self.inner.readers), node_id, position, page, is_behind)
    }

    /// The lease by which this process gets a role that one process at a time has.
    pub fn lease(&self, status: &RoleStatus) -> LeaseHolder {
        LeaseHolder::new(status.clone(), Arc::clone(&self.inner.roles))
    }

    /// The log as clients' queries may read it.
    pub fn for_queries(&self) -> LogQueries {
        LogQueries { inner: Arc::clone(&self.inner) }
    }

    /// Records what is queued, then stops the writer. Later calls fail with [`LogError::Closed`]. Blocking.
    pub fn close(&self) {
        self.inner.stop();
    }
}

impl LogInner {
    async fn wait_until_known(&self, position: u64) -> PositionStatus {
        let head_checks_begun = self.figures.head_checks_begun();
        let mut head = self.published.head.clone();
        if self.local_node.is_some() {
            // What it has heard is compared below.
            let _ = tokio::time::timeout(UNCONFIRMED_MAX, head.wait_for(|head| head.position >= position)).await;
        }
        // Before the head is read, which moves before a look ends.
        let knows_all = self.local_node.is_none() || self.figures.has_checked_head_after(head_checks_begun);
        match head.borrow().position >= position {
            true => PositionStatus::Recorded,
            false if knows_all => PositionStatus::NotRecorded,
            false => PositionStatus::Unknown,
        }
    }

    fn stop(&self) {
        if !self.stopped.swap(true, Ordering::SeqCst) {
            // The writer empties a full queue, so this wait ends.
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
