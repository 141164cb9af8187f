//! Work for the writer, one file a kind. A job decides on balances and facts, fills the draft of its batch, and answers
//! once that is durable; each kind has its own answer.

mod admit;
mod append;
mod end;
mod note;
mod refuse;

use chrono::{DateTime, Utc};
use tokio::sync::oneshot;

use super::LogError;
use super::draft::Draft;
use super::facts::{Facts, Wanted};
use super::open_hold::Ender;
use crate::event::Stream;
use crate::ids::{IdSet, RequestId};
use crate::ledger::{Balances, Emitted, Ending};

pub use admit::Admitted;
pub(super) use admit::{AdmitRequest, Asking};
pub(super) use append::AppendChange;
pub use append::{Append, Appended, Basis};
pub(super) use end::EndRequest;
pub use end::EndedAt;
pub use note::Note;
pub(super) use note::RecordNotes;
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
pub(super) trait Request: Send + Sized + 'static {
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

    /// What has to be tried again of one that may not have been recorded.
    fn kept(self) -> Option<Ending> {
        None
    }
}

pub(super) enum Reply<R: Request> {
    Now(Result<R::Answer, R::Error>),
    /// When the refusal has been recorded, in the next second.
    NextSecond(refuse::WaitingRefusal<R::Answer, R::Error>),
}

/// A request to the writer, and who waits for its answer, if anybody.
struct Asked<R: Request> {
    request: R,
    decided: Option<Result<R::Decided, R::Error>>,
    reply: Option<oneshot::Sender<Result<R::Answer, R::Error>>>,
}

type AnswerOf<R> = oneshot::Receiver<Result<<R as Request>::Answer, <R as Request>::Error>>;

/// A job, and where its answer comes.
pub(super) fn asked<R: Request>(request: R) -> (Box<dyn Job>, AnswerOf<R>) {
    let (reply, answer) = oneshot::channel();
    (Box::new(Asked { request, decided: None, reply: Some(reply) }), answer)
}

/// An end that nobody waits for.
pub(super) fn unattended(ending: Ending) -> Box<dyn Job> {
    Box::new(Asked { request: EndRequest(Box::new(ending)), decided: None, reply: None })
}

impl<R: Request> Asked<R> {
    fn reply(reply: Option<oneshot::Sender<Result<R::Answer, R::Error>>>, answer: Result<R::Answer, R::Error>) {
        if let Some(reply) = reply {
            // Who does not wait any more needs no answer; a hold that nobody takes ends by itself.
            let _ = reply.send(answer);
        }
    }
}

impl<R: Request> Job for Asked<R> {
    fn wants(&self, balances: &Balances, wanted: &mut Wanted) {
        self.request.wants(balances, wanted);
    }

    fn decide(&mut self, batch: &mut Deciding<'_>) {
        self.decided = Some(self.request.decide(batch));
    }

    fn answer(self: Box<Self>, batch: &RecordedBatch<'_>) -> Option<Box<dyn Job>> {
        let Self { request, decided, reply } = *self;
        let answer = match decided? {
            Ok(decided) => match request.answer(decided, batch) {
                Reply::Now(answer) => answer,
                Reply::NextSecond(waiting) => return Some(Box::new(Asked { request: waiting, decided: None, reply })),
            },
            Err(error) => {
                request.is_lost(&error);
                Err(error)
            }
        };
        Self::reply(reply, answer);
        None
    }

    fn refuse(self: Box<Self>, error: LogError) {
        let error = error.into();
        self.request.is_lost(&error);
        Self::reply(self.reply, Err(error));
    }

    fn fail(self: Box<Self>, error: LogError) -> Option<Ending> {
        Self::reply(self.reply, Err(error.into()));
        self.request.kept()
    }
}

/// Looks at what stands last on a stream.
fn wants_stream(wanted: &mut Wanted, stream: &Stream) {
    if !wanted.streams.contains(stream) {
        wanted.streams.insert(stream.clone());
    }
}
