//! Work for the writer, one file a kind. A job decides on balances and facts, fills the draft of its batch, and answers
//! once that is durable; each kind has its own answer.

mod admit;
mod append;
mod end;
mod note;
mod open_hold;
mod refuse;

use chrono::{DateTime, Utc};
use tokio::sync::oneshot;

use super::LogError;
use super::draft::Draft;
use super::facts::{Facts, Wanted};
use crate::event::Stream;
use crate::ids::{IdSet, RequestId};
use crate::ledger::{Balances, Emitted, Ending};

pub use admit::Admitted;
pub(super) use admit::{AdmitRequest, AdmitRequestUnlessShort, Asking};
pub(super) use append::AppendChange;
pub use append::{Append, Appended, Basis};
pub(super) use end::EndRequest;
pub use end::EndedAt;
pub use note::Note;
pub(super) use note::RecordNotes;
pub use open_hold::OpenHold;
pub(super) use open_hold::{Ender, Unattended};
pub(super) use refuse::RecordRefusal;

/// What the writer is sent.
pub(super) enum Message {
    Job(Box<dyn Job>),
    /// Look at what is unattended.
    Wake,
    Stop,
}

/// A job, whatever its answer.
pub(super) trait Job: Send {
    /// Adds what it has to know besides balances.
    fn wants(&self, balances: &Balances, wanted: &mut Wanted);

    /// Decides, and keeps what it will answer. Called again where the draft could not be written as it was.
    fn decide(&mut self, batch: &mut Deciding<'_>);

    /// Once the draft is durable. Gives the job that is left to do in the next second, if any.
    fn answer(self: Box<Self>, batch: &RecordedBatch<'_>) -> Option<Box<dyn Job>>;

    /// Answers that nothing was recorded, and that it is not tried again.
    fn refuse(self: Box<Self>, error: LogError);

    /// Answers that nothing was recorded, or not for certain. Gives the end of a request that has to be tried again.
    fn fail(self: Box<Self>, error: LogError) -> Option<Ending>;

    /// Takes out of the balances what an earlier batch left there for it: the job is about to be refused or failed.
    fn give_up(&self, balances: &mut Balances);
}

/// A batch that is being decided.
pub(super) struct Deciding<'a> {
    pub(super) now: DateTime<Utc>,
    pub(super) balances: &'a mut Balances,
    pub(super) facts: &'a mut Facts,
    pub(super) draft: &'a mut Draft,
    /// Requests that processes before this one admitted, and did not end.
    pub(super) left_behind: &'a IdSet<RequestId>,
}

impl Deciding<'_> {
    /// What one decision brought forth, in order; the position of the last, if there was any.
    pub(super) fn record(&mut self, events: Vec<Emitted>) -> Option<u64> {
        self.draft.record_decided(self.facts, events)
    }
}

/// A batch that is durable.
pub(super) struct RecordedBatch<'a> {
    pub(super) recorded_at: DateTime<Utc>,
    pub(super) ender: &'a Ender,
}

/// A kind of job.
pub(super) trait JobKind: Send + Sized + 'static {
    /// What is decided before it is durable.
    type Decided: Send;
    type Answer: Send;
    type Error: From<LogError> + Send;

    fn wants(&self, _balances: &Balances, _wanted: &mut Wanted) {}

    /// Errors: nothing is to be recorded of this job. Those of the same batch are none the worse for it.
    fn decide(&self, batch: &mut Deciding<'_>) -> Result<Self::Decided, Self::Error>;

    fn answer(self, decided: Self::Decided, batch: &RecordedBatch<'_>) -> Reply<Self>;

    /// It will not be recorded.
    fn is_lost(&self, _error: &Self::Error) {}

    /// As [`Job::give_up`].
    fn give_up(&self, _balances: &mut Balances) {}

    /// What has to be tried again of one that may not have been recorded.
    fn kept(self) -> Option<Ending> {
        None
    }
}

pub(super) enum Reply<K: JobKind> {
    Now(Result<K::Answer, K::Error>),
    /// When the refusal has been recorded, in the next second.
    NextSecond(refuse::WaitingRefusal<K::Answer, K::Error>),
}

/// A job that the writer was sent, and who waits for its answer, if anybody.
struct QueuedJob<K: JobKind> {
    kind: K,
    decided: Option<Result<K::Decided, K::Error>>,
    reply: Option<oneshot::Sender<Result<K::Answer, K::Error>>>,
}

type AnswerOf<K> = oneshot::Receiver<Result<<K as JobKind>::Answer, <K as JobKind>::Error>>;

/// A job, and where its answer comes.
pub(super) fn queued<K: JobKind>(kind: K) -> (Box<dyn Job>, AnswerOf<K>) {
    let (reply, answer) = oneshot::channel();
    (Box::new(QueuedJob { kind, decided: None, reply: Some(reply) }), answer)
}

/// An end that nobody waits for.
pub(super) fn unattended(ending: Ending) -> Box<dyn Job> {
    Box::new(QueuedJob { kind: EndRequest(Box::new(ending)), decided: None, reply: None })
}

impl<K: JobKind> QueuedJob<K> {
    fn reply(reply: Option<oneshot::Sender<Result<K::Answer, K::Error>>>, answer: Result<K::Answer, K::Error>) {
        if let Some(reply) = reply {
            // Who does not wait any more needs no answer; a hold that nobody takes ends by itself.
            let _ = reply.send(answer);
        }
    }
}

impl<K: JobKind> Job for QueuedJob<K> {
    fn wants(&self, balances: &Balances, wanted: &mut Wanted) {
        self.kind.wants(balances, wanted);
    }

    fn decide(&mut self, batch: &mut Deciding<'_>) {
        self.decided = Some(self.kind.decide(batch));
    }

    fn answer(self: Box<Self>, batch: &RecordedBatch<'_>) -> Option<Box<dyn Job>> {
        let Self { kind, decided, reply } = *self;
        let answer = match decided? {
            Ok(decided) => match kind.answer(decided, batch) {
                Reply::Now(answer) => answer,
                Reply::NextSecond(waiting) => return Some(Box::new(QueuedJob { kind: waiting, decided: None, reply })),
            },
            Err(error) => {
                kind.is_lost(&error);
                Err(error)
            }
        };
        Self::reply(reply, answer);
        None
    }

    fn refuse(self: Box<Self>, error: LogError) {
        let error = error.into();
        self.kind.is_lost(&error);
        Self::reply(self.reply, Err(error));
    }

    fn fail(self: Box<Self>, error: LogError) -> Option<Ending> {
        Self::reply(self.reply, Err(error.into()));
        self.kind.kept()
    }

    fn give_up(&self, balances: &mut Balances) {
        self.kind.give_up(balances);
    }
}

/// Looks at what stands last on a stream.
fn wants_stream(wanted: &mut Wanted, stream: &Stream) {
    if !wanted.streams.contains(stream) {
        wanted.streams.insert(stream.clone());
    }
}
