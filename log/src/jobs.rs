//! The writer's jobs, one file per kind. A job decides on balances and facts, adds to the draft of its batch, and answers
//! when the draft is durable. Each kind has its own type of answer.

mod admit;
mod append;
mod end;
mod key_mac;
mod note;
mod open_hold;
mod refuse;
mod revalue;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use events::event::{Context, Recorded};
use events::ids::{IdSet, RequestId};
use events::ledger::{Balances, Emitted};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::LogError;
use super::answers::Answers;
use super::draft::Draft;
use super::facts::{Facts, WantedFacts};
use super::follow::EventBatch;
use super::recent_changes::RecentChanges;

pub(super) use admit::AdmitRequest;
pub use admit::Admitted;
pub(super) use append::AppendChanges;
pub use append::{Append, AppendAllError, Appended, Basis};
pub(super) use end::EndRequest;
pub use end::EndedAt;
pub(super) use key_mac::StoreKeyMac;
pub use note::Note;
pub(super) use note::RecordNotes;
pub use open_hold::OpenHold;
pub(super) use open_hold::{Ender, Unattended};
pub(super) use refuse::RecordRefusal;
pub(super) use revalue::RevalueRequests;
pub use revalue::Revalued;

/// A message to the writer.
pub(super) enum Message {
    Job(Box<dyn Job>),
    /// Check for unattended ends.
    Wake,
    Stop,
}

/// A job, whatever the type of its answer.
pub(super) trait Job: Send {
    /// Adds the facts that it needs.
    fn wants(&self, balances: &Balances, wanted: &mut WantedFacts);

    /// Decides, and keeps the decision. Called again if the draft could not be written.
    fn decide(&mut self, batch: &mut OpenBatch<'_>);

    /// Answers, now that the draft is durable. Returns a job for the next second, if something is left to do.
    fn answer(self: Box<Self>, batch: &mut RecordedBatch<'_>) -> Option<Box<dyn Job>>;

    /// Answers that nothing was recorded and that the job will not be tried again.
    fn refuse(self: Box<Self>, error: LogError);

    /// Answers that nothing was recorded, or that this is unknown. Returns the end of a request that must be
    /// recorded after that.
    fn fail(self: Box<Self>, error: LogError) -> Option<EndRequest>;

    /// Removes what an earlier batch left in the balances for this job, which is about to be refused or failed.
    fn give_up(&self, balances: &mut Balances);
}

/// A batch that is being decided.
pub(super) struct OpenBatch<'a> {
    pub(super) now: DateTime<Utc>,
    pub(super) balances: &'a mut Balances,
    pub(super) facts: &'a mut Facts,
    pub(super) draft: &'a mut Draft,
    /// The changes of administration before this batch.
    pub(super) changes: &'a RecentChanges,
    /// Requests that earlier processes admitted and did not end.
    pub(super) orphaned: &'a IdSet<RequestId>,
    /// Other processes append to the log as well.
    pub(super) is_shared: bool,
}

impl OpenBatch<'_> {
    /// The position of the last change after `planned_at` that may concern a request of this context.
    pub(super) fn changed_since(&self, planned_at: u64, context: &Context) -> Option<u64> {
        let changed = self.draft.changes.concerning(planned_at, context);
        changed.or_else(|| self.changes.concerning(planned_at, context))
    }

    /// Adds the events of one decision to the draft, and returns the position of the last.
    pub(super) fn record(&mut self, events: Vec<Emitted>) -> Option<u64> {
        self.draft.record_decided(self.facts, events)
    }
}

/// A batch that is durable.
pub(super) struct RecordedBatch<'a> {
    pub(super) recorded_at: DateTime<Utc>,
    pub(super) events: EventBatch,
    pub(super) ender: &'a Ender,
    /// Sent when all jobs have been answered.
    pub(super) answers: Answers,
}

impl RecordedBatch<'_> {
    /// The event at a position; `None` if it was recorded before.
    fn event(&self, position: u64) -> Option<Arc<Recorded>> {
        let at = position.checked_sub(self.events.first()?.position)?;
        self.events.get(usize::try_from(at).ok()?).cloned()
    }
}

/// A kind of job.
pub(super) trait JobKind: Send + Sized + 'static {
    /// The decision, before it is durable.
    type Decided: Send;
    type Answer: Send;
    type Error: From<LogError> + Send;

    fn wants(&self, _balances: &Balances, _wanted: &mut WantedFacts) {}

    /// Errors: nothing of this job will be recorded. The other jobs of the batch are not affected.
    fn decide(&self, batch: &mut OpenBatch<'_>) -> Result<Self::Decided, Self::Error>;

    fn answer(self, decided: Self::Decided, batch: &RecordedBatch<'_>) -> Reply<Self>;

    /// The caller has stopped waiting for this answer, so long after its job was queued.
    fn unheard(_answer: Self::Answer, _waited: Duration) {}

    /// Called when the job will not be recorded.
    fn on_rejected(&self, _error: &Self::Error) {}

    /// See [`Job::give_up`].
    fn give_up(&self, _balances: &mut Balances) {}

    /// The end that must be recorded after this error, which its caller is told; with the last decision on the job.
    fn to_retry(self, _decided: Option<Self::Decided>, _error: &LogError) -> Option<EndRequest> {
        None
    }
}

pub(super) enum Reply<K: JobKind> {
    Now(Result<K::Answer, K::Error>),
    /// Answered in the next second, when the refusal has been recorded.
    NextSecond(refuse::WaitingRefusal<K::Answer, K::Error>),
}

/// A job in the queue, and the channel of its answer, unless nobody waits for it.
struct QueuedJob<K: JobKind> {
    kind: K,
    decided: Option<Result<K::Decided, K::Error>>,
    sender: Option<AnswerSender<K>>,
    /// The caller's runtime, which sends the answer; `None` outside of runtimes.
    runtime: Option<Handle>,
    queued_at: Instant,
}

type AnswerSender<K> = oneshot::Sender<Result<<K as JobKind>::Answer, <K as JobKind>::Error>>;
type AnswerReceiver<K> = oneshot::Receiver<Result<<K as JobKind>::Answer, <K as JobKind>::Error>>;

/// A job, and the receiver of its answer.
pub(super) fn queued<K: JobKind>(kind: K) -> (Box<dyn Job>, AnswerReceiver<K>) {
    let (sender, receiver) = oneshot::channel();
    let runtime = Handle::try_current().ok();
    (Box::new(QueuedJob { kind, decided: None, sender: Some(sender), runtime, queued_at: Instant::now() }), receiver)
}

/// An end that nobody waits for.
pub(super) fn unattended(end: EndRequest) -> Box<dyn Job> {
    Box::new(QueuedJob { kind: end, decided: None, sender: None, runtime: None, queued_at: Instant::now() })
}

impl<K: JobKind> QueuedJob<K> {
    fn send(sender: Option<AnswerSender<K>>, answer: Result<K::Answer, K::Error>, waited: Duration) {
        if let Some(sender) = sender
            && let Err(Ok(unheard)) = sender.send(answer)
        {
            K::unheard(unheard, waited);
        }
    }
}

impl<K: JobKind> Job for QueuedJob<K> {
    fn wants(&self, balances: &Balances, wanted: &mut WantedFacts) {
        self.kind.wants(balances, wanted);
    }

    fn decide(&mut self, batch: &mut OpenBatch<'_>) {
        self.decided = Some(self.kind.decide(batch));
    }

    fn answer(self: Box<Self>, batch: &mut RecordedBatch<'_>) -> Option<Box<dyn Job>> {
        let Self { kind, decided, sender, runtime, queued_at } = *self;
        let answer = match decided? {
            Ok(decided) => match kind.answer(decided, batch) {
                Reply::Now(answer) => answer,
                Reply::NextSecond(waiting) => {
                    return Some(Box::new(QueuedJob { kind: waiting, decided: None, sender, runtime, queued_at }));
                }
            },
            Err(error) => {
                kind.on_rejected(&error);
                Err(error)
            }
        };
        batch.answers.add(runtime, move || Self::send(sender, answer, queued_at.elapsed()));
        None
    }

    fn refuse(self: Box<Self>, error: LogError) {
        let error = error.into();
        self.kind.on_rejected(&error);
        Self::send(self.sender, Err(error), Duration::ZERO);
    }

    fn fail(self: Box<Self>, error: LogError) -> Option<EndRequest> {
        let Self { kind, decided, sender, .. } = *self;
        let end = kind.to_retry(decided.and_then(Result::ok), &error);
        Self::send(sender, Err(error.into()), Duration::ZERO);
        end
    }

    fn give_up(&self, balances: &mut Balances) {
        self.kind.give_up(balances);
    }
}
