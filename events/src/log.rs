//! The log: order, durability, positions. The embedded engine keeps it in `DIR/ledger.db`; one thread writes, in group
//! commits, and everything that is written goes through it. Position N visible means that all before it are.

mod append;
mod checkpoint;
mod clock;
mod inference_keys;
pub mod interrupt;
pub mod lock;
mod migrate;
pub mod offline;
mod open;
pub(crate) mod owners;
mod read;
mod side;
mod stepped;
pub mod wal;
mod writer;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SendError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{broadcast, oneshot, watch};

use crate::concurrency::QueryPermit;
use crate::event::inference::InferenceEnded;
use crate::event::{Context, Event, Recorded, Stream};
use crate::ids::RequestId;
use crate::ledger::{Admission, Charge, Ending, Outcome, RefusedRequest, UnknownUsage};
use crate::money::NanoUsd;
use crate::time::Clock;
use crate::wire::Refusal;

pub(crate) use append::read_announced;
pub use inference_keys::InferenceKey;
pub use lock::LOCK_FILE;
pub use migrate::OtherSchema;
pub use open::{LEDGER_FILE, Migrated, OpenError};
pub use read::{EventFilter, Part, Reader};
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

/// The log cannot be read or written now. Whether what was to be written may be found in it all the same is what
/// [`LogError::may_be_recorded`] says.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the writer's queue is full")]
    QueueFull,
    #[error("the log is closed")]
    Closed,
    #[error("the wall clock was stepped")]
    ClockStepped,
    #[error("database: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("append: {0}")]
    Append(String),
    /// All was written, and the last sync failed: a process that is started after a crash may find it.
    #[error("commit: {0}")]
    Commit(String),
    #[error(transparent)]
    Decode(#[from] crate::event::DecodeError),
    #[error("it was {0}")]
    OtherSchema(#[from] OtherSchema),
    #[error("a stored value cannot be read: {0}")]
    Stored(String),
    #[error("an amount that cannot be counted")]
    Overflow,
    /// What was asked for may be recorded later all the same; a hold that nobody takes is then released.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("the query took longer than {0:?}")]
    QueryTookTooLong(Duration),
}

impl LogError {
    /// Whether what was to be recorded cannot be, whatever the disk does.
    fn is_of_what_was_to_be_recorded(&self) -> bool {
        use rusqlite::ErrorCode::{ConstraintViolation, ParameterOutOfRange, TooBig, TypeMismatch};
        match self {
            Self::Database(error) => matches!(
                error.sqlite_error_code(),
                Some(ConstraintViolation | ParameterOutOfRange | TooBig | TypeMismatch)
            ),
            Self::Stored(_) | Self::Decode(_) | Self::Overflow => true,
            Self::QueueFull
            | Self::Closed
            | Self::ClockStepped
            | Self::Append(_)
            | Self::Commit(_)
            | Self::OtherSchema(_)
            | Self::TimedOut(_)
            | Self::QueryTookTooLong(_) => false,
        }
    }

    /// Of something that was to be written: nobody knows whether it is recorded, now or later. Where this is false it
    /// certainly is not.
    pub const fn may_be_recorded(&self) -> bool {
        match self {
            // The writer is gone, and nobody knows how far it got.
            Self::TimedOut(_) | Self::Commit(_) | Self::Closed => true,
            Self::QueueFull
            | Self::ClockStepped
            | Self::Database(_)
            | Self::Append(_)
            | Self::Decode(_)
            | Self::OtherSchema(_)
            | Self::Stored(_)
            | Self::Overflow
            | Self::QueryTookTooLong(_) => false,
        }
    }
}

/// An administrative change could not be appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("the stream has moved on")]
    OptimisticLock,
    /// Something that the decision rests on has changed since, at this position or before it.
    #[error("what it was decided on has changed")]
    Outdated { position: u64 },
    #[error("the {} name {name} is taken", kind.as_str())]
    NameTaken { kind: crate::event::StreamKind, name: String },
    /// The same idempotency key came before with the same content: this is what was answered.
    #[error("answered before")]
    Replayed(StoredReply),
    #[error("the idempotency key was used with other content")]
    IdempotencyKeyReused,
    #[error(transparent)]
    Unavailable(#[from] LogError),
}

/// Events of one stream, with the rows that belong to them, as one decision.
#[derive(Clone, Debug)]
pub struct Append {
    pub stream: Stream,
    /// Last sequence that the decision knew of; 0 for a new stream.
    pub expected_sequence: u64,
    /// None where side rows alone are to be written.
    pub events: Vec<Event>,
    pub context: Context,
    pub side: Vec<SideRow>,
    pub idempotency: Option<Idempotency>,
    pub basis: Basis,
}

/// What a decision rests on besides its own stream: an append is refused where any of these streams has an event that
/// the decision did not know. So no change stands in the log behind the event that took its author's right to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Basis {
    pub streams: Vec<Stream>,
    /// Up to which position they were known.
    pub known_until: u64,
}

/// Where an append stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub first: u64,
    pub last: u64,
    pub recorded_at: DateTime<Utc>,
}

/// An event without an expected place in its stream.
#[derive(Clone, Debug)]
pub struct Note {
    pub stream: Stream,
    pub context: Context,
    pub event: Event,
}

/// What the ledger said to a request.
#[derive(Debug)]
pub enum Admitted {
    Hold(OpenHold),
    Refused(Refusal),
    /// Not enough left, and nothing recorded: see [`IfShort::AskAgain`](crate::ledger::IfShort::AskAgain).
    Short,
}

/// Where a request's end stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedAt {
    /// Position of the event that ended the hold, or corrected it.
    pub position: u64,
    pub recorded_at: DateTime<Utc>,
}

/// Work for the writer; each answers once.
enum Job {
    Admit(Box<AdmissionJob>, oneshot::Sender<Result<Admitted, LogError>>),
    End(Box<Ending>, oneshot::Sender<Result<EndedAt, LogError>>),
    Refuse(Box<RefusedRequest>, oneshot::Sender<Result<Option<u64>, LogError>>),
    /// A refusal that waited for the next second.
    RefuseWaiting(Box<RefusedRequest>, WaitingReply),
    Append(Box<Append>, oneshot::Sender<Result<Appended, AppendError>>),
    Note(Vec<Note>, oneshot::Sender<Result<(), LogError>>),
    /// Look at what is unattended.
    Wake,
    Stop,
}

/// An admission, and what makes it the only one of its kind.
struct AdmissionJob {
    admission: Admission,
    key: Option<InferenceKey>,
}

impl Job {
    /// Answers that nothing was recorded.
    fn refuse(self, error: LogError) {
        match self {
            Self::Admit(_, reply) => drop(reply.send(Err(error))),
            Self::End(ending, reply) => {
                tracing::error!(request_id = %ending.request_id, %error, "a request's end cannot be recorded");
                drop(reply.send(Err(error)));
            }
            Self::Refuse(_, reply) => drop(reply.send(Err(error))),
            Self::RefuseWaiting(_, reply) => reply.answer(Err(error)),
            Self::Append(_, reply) => drop(reply.send(Err(error.into()))),
            Self::Note(_, reply) => drop(reply.send(Err(error))),
            Self::Wake | Self::Stop => {}
        }
    }
}

/// Who waits for a refusal that was put off.
enum WaitingReply {
    Admission(oneshot::Sender<Result<Admitted, LogError>>),
    Refusal(oneshot::Sender<Result<Option<u64>, LogError>>),
}

impl WaitingReply {
    fn answer(self, refusal: Result<Refusal, LogError>) {
        match self {
            Self::Admission(reply) => drop(reply.send(refusal.map(Admitted::Refused))),
            Self::Refusal(reply) => drop(reply.send(refusal.map(|refusal| refusal.position))),
        }
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
    shared: Arc<Shared>,
}

struct Shared {
    jobs: Queue,
    hold_ttl: Duration,
    unknown_usage: UnknownUsage,
    published: writer::Published,
    readers: read::Readers,
    figures: Arc<writer::Figures>,
    stopped: AtomicBool,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// Where jobs wait for the writer, and where they are counted.
#[derive(Clone)]
struct Queue {
    jobs: SyncSender<Job>,
    figures: Arc<writer::Figures>,
}

impl Queue {
    fn try_send(&self, job: Job) -> Result<(), TrySendError<Job>> {
        self.jobs.try_send(job).inspect(|()| self.figures.sent())
    }

    /// Waits for a place. Blocking.
    fn send(&self, job: Job) -> Result<(), SendError<Job>> {
        self.jobs.send(job).inspect(|()| self.figures.sent())
    }
}

/// Ends of requests that nobody waits for; at most one for each open hold, so it needs no other bound.
type Unattended = Arc<Mutex<Vec<Ending>>>;

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
    fn send<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<oneshot::Receiver<T>, LogError> {
        let (reply, answer) = oneshot::channel();
        match self.shared.jobs.try_send(job(reply)) {
            Ok(()) => Ok(answer),
            Err(TrySendError::Full(_)) => Err(LogError::QueueFull),
            Err(TrySendError::Disconnected(_)) => Err(LogError::Closed),
        }
    }

    /// Asks for the money; when it answers with a hold, admission and hold are durable.
    pub async fn admit(&self, admission: Admission) -> Result<Admitted, LogError> {
        self.admit_once(admission, None).await
    }

    /// The same where no other request was admitted under the key, or none that was charged or is still being answered:
    /// else it is refused, with `CONFLICT` or `IDEMPOTENCY_KEY_REUSED`.
    pub async fn admit_once(&self, admission: Admission, key: Option<InferenceKey>) -> Result<Admitted, LogError> {
        let job = Box::new(AdmissionJob { admission, key });
        let answer = answered(self.send(|reply| Job::Admit(job, reply))?).await;
        if answer.is_err() {
            // The writer says so itself where it can; this is for one that hangs.
            self.shared.figures.set_failing(true);
        }
        answer?
    }

    /// Records a refusal that was decided before the ledger; its position, or `None` where it was rolled up.
    pub async fn refuse(&self, refused: RefusedRequest) -> Result<Option<u64>, LogError> {
        answered(self.send(|reply| Job::Refuse(Box::new(refused), reply))?).await?
    }

    /// Appends an administrative change with its side rows, all or nothing.
    pub async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        answered(self.send(|reply| Job::Append(Box::new(append), reply))?).await?
    }

    /// Appends events that follow on whatever is on their streams.
    pub async fn note(&self, notes: Vec<Note>) -> Result<(), LogError> {
        answered(self.send(|reply| Job::Note(notes, reply))?).await?
    }

    /// A read-only connection of one's own. Blocking.
    pub fn reader(&self) -> Result<Reader, LogError> {
        self.shared.readers.open()
    }

    /// Looks up what keys, secrets and administration are decided by, off the async threads. On connections of its own, so
    /// that nobody who asks for more keeps it waiting.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        self.shared.readers.decide(work).await
    }

    /// Reads what tables and figures are made of; the same, on other connections.
    pub async fn follow<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        self.shared.readers.follow(work).await
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

impl Shared {
    fn stop(&self) {
        if !self.stopped.swap(true, Ordering::SeqCst) {
            // A full queue is being emptied by the writer: this waits for its place.
            let _ = self.jobs.send(Job::Stop);
        }
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The log as clients' queries read it: with a permit each, on connections that nothing else needs. Cheap to clone.
#[derive(Clone)]
pub struct LogQueries {
    shared: Arc<Shared>,
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
        work: impl FnOnce(&Reader) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        self.shared.readers.query(permit, work).await
    }
}

/// A hold that stands in the log. Whoever has it ends it; dropped without an end, the request counts as given up before
/// it was sent, and its money is released.
#[derive(Debug)]
pub struct OpenHold {
    pub request_id: RequestId,
    pub held: NanoUsd,
    /// The output cap, where it is lower than what was asked for.
    pub lowered_to: Option<u64>,
    pub admitted_position: u64,
    pub admitted_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub model: String,
    pub context: Context,
    ender: Option<Ender>,
}

#[derive(Clone)]
struct Ender {
    jobs: Queue,
    unattended: Unattended,
}

impl std::fmt::Debug for Ender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ender")
    }
}

impl Ender {
    fn leave(&self, ending: Ending) {
        self.unattended.lock().unwrap_or_else(PoisonError::into_inner).push(ending);
        // Where the queue is full the writer is awake, and looks here before it sleeps.
        let _ = self.jobs.try_send(Job::Wake);
    }
}

impl OpenHold {
    /// Records the end and waits until it is durable. Should that fail, the end is kept and tried again until the hold
    /// expires; what it says then is that the client was told of a failure.
    pub async fn end(
        mut self,
        attempts: Vec<crate::event::inference::AttemptFailed>,
        outcome: Outcome,
        charge: Charge,
    ) -> Result<EndedAt, LogError> {
        let Some(ender) = self.ender.take() else { return Err(LogError::Closed) };
        let ending = self.ending(attempts, outcome, charge);
        let (reply, answer) = oneshot::channel();
        match ender.jobs.try_send(Job::End(Box::new(ending), reply)) {
            Ok(()) => answered(answer).await?,
            Err(TrySendError::Full(Job::End(ending, _))) => {
                ender.leave(writer::as_unconfirmed(*ending));
                Err(LogError::QueueFull)
            }
            Err(_) => Err(LogError::Closed),
        }
    }

    /// Records the end as soon as the writer can; for a request whose client has gone.
    pub fn end_unattended(
        mut self,
        attempts: Vec<crate::event::inference::AttemptFailed>,
        outcome: Outcome,
        charge: Charge,
    ) {
        if let Some(ender) = self.ender.take() {
            ender.leave(self.ending(attempts, outcome, charge));
        }
    }

    fn ending(
        &self,
        attempts: Vec<crate::event::inference::AttemptFailed>,
        outcome: Outcome,
        charge: Charge,
    ) -> Ending {
        Ending { request_id: self.request_id, context: self.context.clone(), attempts, outcome, charge }
    }
}

impl Drop for OpenHold {
    fn drop(&mut self) {
        let Some(ender) = self.ender.take() else { return };
        let aborted = InferenceEnded {
            model: self.model.clone(),
            admitted_at: self.admitted_at,
            backend: None,
            usage: None,
            provider_usage: None,
            cost_usd: NanoUsd::ZERO,
            price_version: None,
            finish_reason: Some("cancelled".to_owned()),
            latency_ms: None,
            first_token_ms: None,
            attempts: Some(0),
            upstream_request_id: None,
            code: None,
            reason: Some("client_closed".to_owned()),
        };
        let charge = Charge::Release { reason: "client_closed".to_owned() };
        ender.leave(self.ending(Vec::new(), Outcome::Aborted(Box::new(aborted)), charge));
    }
}
