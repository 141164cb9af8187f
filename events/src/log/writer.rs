//! The one writer: takes what is queued as one transaction, decides inside it, and answers when it is durable. Latency
//! at rest is one fsync, throughput under load is thousands of requests a fsync.

mod figures;
mod load;
mod publish;

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rusqlite::{Connection, params};

use super::append::{Batch, load_windows};
use super::checkpoint::Checkpointer;
use super::clock::BatchClock;
use super::inference_keys::{self, IDEMPOTENCY_KEPT};
use super::owners::OwnerBlocks;
use super::{
    AdmissionJob, Admitted, Append, AppendError, Appended, EndedAt, Ender, Job, LeftHolds, LogError, LogOptions, Note,
    OpenHold, WaitingReply,
};
use crate::event::{Event, Recorded, Resource, Stream};
use crate::ids::{IdSet, RequestId};
use crate::ledger::{Admission, Balances, Decision, Emitted, Ending, Outcome, RefusedRequest, Step, decide};
use crate::money::NanoUsd;
use crate::wire::Refusal;

pub use figures::{BatchFigures, COMMIT_MICROS_BOUNDS, Figures};
pub(super) use publish::{Published, Publisher, channels};

/// Jobs in one transaction. Beyond it the fsync is amortised, and callers would only wait longer.
const BATCH_JOBS_MAX: usize = 1024;
/// How often the sweeper looks when nothing else happens.
const SWEEP_EVERY: Duration = Duration::from_millis(200);
/// Holds that one sweep ends; the next one goes on.
const SWEPT_HOLDS_MAX: usize = 500;
/// Events after which the rows of the ledger's state are brought up to date; a start folds at most so many, and what the
/// batch added that went over it.
const EVENTS_BETWEEN_STATES: usize = 4096;
/// How long a refusal waits for its second at most.
const REFUSAL_WAIT_MAX: Duration = Duration::from_millis(1500);
/// How often past windows and old replies are dropped.
const TIDY_EVERY: Duration = Duration::from_secs(600);
const FORGET_REPLIES: &str = "DELETE FROM idempotency WHERE (scope, key) IN
                              (SELECT scope, key FROM idempotency WHERE recorded_at <= ?1 ORDER BY recorded_at LIMIT ?2)";
/// Rows of a table that one batch drops; the next one goes on.
const TIDIED_ROWS_MAX: usize = 500;

pub(super) struct Writer {
    // In front of the connection, so that it ends first.
    checkpointer: Checkpointer,
    connection: Connection,
    options: LogOptions,
    clock: BatchClock,
    balances: Balances,
    /// Whether `balances` are what the database says: not after a failed commit, until they are loaded anew.
    is_loaded: bool,
    /// Requests whose holds were open at the start: their processes had ended. Some may have ended since.
    left_behind: IdSet<RequestId>,
    position: u64,
    owners: OwnerBlocks,
    /// Events since the rows of the ledger's state were written.
    events_since_state: usize,
    ender: Ender,
    publisher: Publisher,
    figures: Arc<Figures>,
    /// On the clock's monotonic hand, as is `tidied_at`.
    swept_at: Duration,
    tidied_at: Duration,
    /// Refusals that wait for the next second to be recorded in; the ledger bounds their number.
    waiting: Vec<WaitingRefusal>,
}

struct WaitingRefusal {
    second: i64,
    since: Instant,
    job: Job,
}

/// A hold that is about to stand.
struct Held {
    admitted_position: u64,
    expires_at: DateTime<Utc>,
    amount: NanoUsd,
    lowered_to: Option<u64>,
}

/// What a batch does besides its jobs.
#[derive(Clone, Copy, Default)]
struct Due {
    sweeps: bool,
    writes_state: bool,
}

/// A batch of which nothing was recorded, or nobody knows whether it was.
struct Failed {
    jobs: Vec<Job>,
    error: String,
    step: FailedStep,
}

/// What it failed at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FailedStep {
    /// A job, and not the disk: it would fail again, whenever it is tried.
    Job,
    Write,
    /// All was written: a process after a crash may find it.
    Commit,
}

impl FailedStep {
    fn error(self, text: &str) -> LogError {
        match self {
            Self::Job | Self::Write => LogError::Append(text.to_owned()),
            Self::Commit => LogError::Commit(text.to_owned()),
        }
    }
}

/// What a job will be answered once its batch is durable.
enum Answer {
    Held(Held),
    /// Nothing was recorded.
    Short,
    Refused(Refusal),
    /// Answered when it has been recorded, in the next second.
    Later(Refusal),
    RefusalRecorded(Option<u64>),
    Ended(u64),
    Appended {
        first: u64,
        last: u64,
    },
    NotAppended(AppendError),
    Noted,
    Failed(LogError),
}

impl Writer {
    /// Works until it is told to stop. What was queued before that is recorded.
    pub(super) fn run(mut self, queue: &Receiver<Job>) {
        loop {
            let mut fresh = Vec::new();
            match queue.recv_timeout(SWEEP_EVERY) {
                Ok(job) => fresh.push(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            fresh.extend(queue.try_iter().take(BATCH_JOBS_MAX));
            self.figures.taken(fresh.len());
            if self.turn(fresh) {
                drop(self.checkpointer);
                super::checkpoint::finish(&self.connection);
                return;
            }
        }
    }

    /// One batch: what was left unattended, what is fresh, and what is due. Whether it was told to stop.
    pub(super) fn turn(&mut self, fresh: Vec<Job>) -> bool {
        let stops = fresh.iter().any(|job| matches!(job, Job::Stop));
        // Ends first: they give money back that what is asked for next may use.
        let mut jobs = self.take_unattended();
        jobs.extend(fresh.into_iter().filter(|job| !matches!(job, Job::Wake | Job::Stop)));
        let rests = jobs.is_empty() || stops;
        self.work_off(jobs, rests);
        stops
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn balances(&self) -> Option<&Balances> {
        self.is_loaded.then_some(&self.balances)
    }

    pub(super) fn unattended(&self) -> &super::Unattended {
        &self.ender.unattended
    }

    /// Ends that nobody waits for become jobs whose answer nobody hears.
    fn take_unattended(&self) -> Vec<Job> {
        let mut left = self.ender.unattended.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = left.len().min(BATCH_JOBS_MAX);
        left.drain(..taken).map(|ending| Job::End(Box::new(ending), tokio::sync::oneshot::channel().0)).collect()
    }

    fn take_due_refusals(&mut self, now: DateTime<Utc>) -> Vec<Job> {
        let second = now.timestamp();
        // Recorded time may stand still for a while; nobody waits for it longer than this.
        let is_due =
            |waiting: &mut WaitingRefusal| waiting.second < second || waiting.since.elapsed() >= REFUSAL_WAIT_MAX;
        self.waiting.extract_if(.., is_due).map(|waiting| waiting.job).collect()
    }

    fn work_off(&mut self, jobs: Vec<Job>, rests: bool) {
        let now = match self.clock.tick() {
            Ok(now) => now,
            Err(_) => {
                self.figures.set_failing(true);
                return self.fail(jobs, || LogError::ClockStepped);
            }
        };
        // Those that waited first: they have the new second's places.
        let mut due = self.take_due_refusals(now);
        due.extend(jobs);
        let jobs = due;
        let sweeps = self.options.left_holds == LeftHolds::End
            && self.elapsed(self.swept_at) >= SWEEP_EVERY
            && self.balances.is_sweep_due(now);
        let writes_state = self.events_since_state >= EVENTS_BETWEEN_STATES || (rests && self.events_since_state > 0);
        if jobs.is_empty() && !sweeps && !writes_state && self.is_loaded {
            self.figures.set_failing(false);
            return;
        }
        match self.attempt(jobs, Due { sweeps, writes_state }, now) {
            Ok(()) => {}
            // Something in the batch cannot be recorded, now or ever. Each job for itself, so that no other suffers for it.
            Err(Failed { jobs, step: FailedStep::Job, .. }) => {
                jobs.into_iter().for_each(|job| self.work_off_alone(job, now));
            }
            Err(Failed { jobs, error, step }) => self.fail(jobs, || step.error(&error)),
        }
    }

    fn work_off_alone(&mut self, job: Job, now: DateTime<Utc>) {
        match self.attempt(vec![job], Due::default(), now) {
            Ok(()) => {}
            // Kept, an end would fail again with every batch: its hold expires instead.
            Err(Failed { jobs, error, step: step @ FailedStep::Job }) => {
                jobs.into_iter().for_each(|job| job.refuse(step.error(&error)));
            }
            Err(Failed { jobs, error, step }) => self.fail(jobs, || step.error(&error)),
        }
    }

    /// One transaction with all of these jobs, and their answers.
    fn attempt(&mut self, jobs: Vec<Job>, due: Due, now: DateTime<Utc>) -> Result<(), Failed> {
        let started = Instant::now();
        let committed = self.load_if_needed(now).and_then(|()| self.commit(&jobs, due, now));
        let (answers, recorded) = match committed {
            Ok(committed) => committed,
            Err(error) => {
                let step = match &error {
                    LogError::Commit(_) => FailedStep::Commit,
                    error if self.is_loaded && error.is_of_what_was_to_be_recorded() => FailedStep::Job,
                    _ => FailedStep::Write,
                };
                // The balances have run ahead of what is durable.
                self.is_loaded = false;
                self.figures.set_failing(step != FailedStep::Job);
                self.figures.count_failed();
                let _ = self.connection.execute_batch("ROLLBACK");
                tracing::error!(%error, jobs = jobs.len(), "append a batch");
                let error = match error {
                    LogError::Append(text) | LogError::Commit(text) => text,
                    other => other.to_string(),
                };
                return Err(Failed { jobs, error, step });
            }
        };
        self.figures.set_failing(false);
        self.figures.count(jobs.len(), recorded.len(), started.elapsed());
        self.figures.show_holds(&self.balances);
        let events = recorded.len();
        self.publisher.publish(recorded);
        for (job, answer) in jobs.into_iter().zip(answers) {
            self.deliver(job, answer, now);
        }
        self.checkpointer.after_commit(&self.connection, events);
        Ok(())
    }

    /// Every job in its order, then what is due.
    fn commit(
        &mut self,
        jobs: &[Job],
        due: Due,
        now: DateTime<Utc>,
    ) -> Result<(Vec<Answer>, Vec<Arc<Recorded>>), LogError> {
        let monotonic = self.options.clock.monotonic();
        let mut batch = Batch::begin(&self.connection, now, self.position)?;
        let balances = &mut self.balances;
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            answers.push(work(&mut batch, balances, &self.left_behind, job)?);
        }
        if due.sweeps {
            self.swept_at = monotonic;
            let step = Step::Sweep { policy: self.options.unknown_usage, holds_max: SWEPT_HOLDS_MAX };
            if let Decision::Swept { events, uncountable } = decide(balances, &step, now) {
                say_uncountable(&uncountable);
                batch.record_decided(events)?;
            }
        }
        if monotonic.saturating_sub(self.tidied_at) >= TIDY_EVERY && tidy(&self.connection, now)? {
            balances.forget_past_windows(now);
            self.left_behind.retain(|request| balances.open_hold(*request).is_some());
            self.tidied_at = monotonic;
        }
        batch.recorded.iter().for_each(|recorded| self.owners.take_in(recorded));
        if due.writes_state {
            batch.write_state(&balances.take_changes(), balances)?;
            self.owners.write(&self.connection)?;
        }
        // That is the disk's fault, whatever it says: by now every job has been taken.
        let (position, recorded) = batch.commit().map_err(|error| LogError::Commit(error.to_string()))?;
        self.position = position;
        self.events_since_state = if due.writes_state { 0 } else { self.events_since_state + recorded.len() };
        self.clock.recorded(now);
        Ok((answers, recorded))
    }

    fn elapsed(&self, since: Duration) -> Duration {
        self.options.clock.monotonic().saturating_sub(since)
    }

    fn deliver(&mut self, job: Job, answer: Answer, now: DateTime<Utc>) {
        let answer = match (job, answer) {
            (Job::Admit(job, reply), Answer::Later(refusal)) => {
                let refused = RefusedRequest::of(&job.admission, refusal);
                return self.put_off(Box::new(refused), WaitingReply::Admission(reply), now);
            }
            (Job::Refuse(refused, reply), Answer::Later(_)) => {
                return self.put_off(refused, WaitingReply::Refusal(reply), now);
            }
            answered => answered,
        };
        // Who does not wait any more does not need an answer; a hold that nobody takes ends by itself.
        match answer {
            (Job::Admit(job, reply), answer) => {
                let _ = reply.send(match answer {
                    Answer::Held(held) => Ok(Admitted::Hold(self.open_hold(job.admission, held, now))),
                    Answer::Short => Ok(Admitted::Short),
                    Answer::Refused(refusal) => Ok(Admitted::Refused(refusal)),
                    other => Err(other.into_error()),
                });
            }
            (Job::End(ending, reply), answer) => {
                let ended = match answer {
                    Answer::Ended(position) => Ok(EndedAt { position, recorded_at: now }),
                    other => Err(other.into_error()),
                };
                if let Err(error) = &ended {
                    // Maybe nobody waits for it; the hold expires.
                    tracing::error!(request_id = %ending.request_id, %error, "a request's end cannot be recorded");
                }
                let _ = reply.send(ended);
            }
            (Job::Refuse(_, reply), answer) => {
                let _ = reply.send(match answer {
                    Answer::RefusalRecorded(position) => Ok(position),
                    other => Err(other.into_error()),
                });
            }
            (Job::RefuseWaiting(_, reply), Answer::Refused(refusal)) => reply.answer(Ok(refusal)),
            (Job::RefuseWaiting(_, reply), other) => reply.answer(Err(other.into_error())),
            (Job::Append(_, reply), answer) => {
                let _ = reply.send(match answer {
                    Answer::Appended { first, last } => Ok(Appended { first, last, recorded_at: now }),
                    Answer::NotAppended(error) => Err(error),
                    other => Err(other.into_error().into()),
                });
            }
            (Job::Note(_, reply), answer) => {
                let _ = reply.send(match answer {
                    Answer::Noted => Ok(()),
                    other => Err(other.into_error()),
                });
            }
            (Job::Wake | Job::Stop, _) => {}
        }
    }

    fn put_off(&mut self, refused: Box<RefusedRequest>, reply: WaitingReply, now: DateTime<Utc>) {
        let (second, since) = (now.timestamp(), Instant::now());
        self.waiting.push(WaitingRefusal { second, since, job: Job::RefuseWaiting(refused, reply) });
    }

    fn open_hold(&self, admission: Admission, held: Held, admitted_at: DateTime<Utc>) -> OpenHold {
        OpenHold {
            request_id: admission.request_id,
            held: held.amount,
            lowered_to: held.lowered_to,
            admitted_position: held.admitted_position,
            admitted_at,
            expires_at: held.expires_at,
            model: admission.admitted.model,
            context: admission.context,
            ender: Some(self.ender.clone()),
        }
    }

    /// The batch is not recorded, or not for certain. Ends are kept: their holds stand, and their figures are known.
    fn fail(&self, jobs: Vec<Job>, error: impl Fn() -> LogError) {
        let mut kept = Vec::new();
        for job in jobs {
            match job {
                Job::End(ending, reply) => {
                    kept.push(as_unconfirmed(*ending));
                    drop(reply.send(Err(error())));
                }
                other => other.refuse(error()),
            }
        }
        self.ender.unattended.lock().unwrap_or_else(PoisonError::into_inner).extend(kept);
    }
}

impl Answer {
    fn into_error(self) -> LogError {
        match self {
            Self::Failed(error) => error,
            _ => LogError::Append("an answer of another kind".to_owned()),
        }
    }
}

/// Decides and records one job. An error fails the whole batch; what only this job did wrong is its answer.
fn work(
    batch: &mut Batch<'_>,
    balances: &mut Balances,
    left_behind: &IdSet<RequestId>,
    job: &Job,
) -> Result<Answer, LogError> {
    match job {
        Job::Admit(job, _) => admit(batch, balances, left_behind, job),
        Job::End(ending, _) => end(batch, balances, ending),
        Job::Refuse(refused, _) => refuse(batch, balances, refused),
        Job::RefuseWaiting(refused, _) => refuse_waiting(batch, balances, refused),
        Job::Append(append, _) => administer(batch, balances, append),
        Job::Note(notes, _) => note(batch, notes),
        Job::Wake | Job::Stop => Ok(Answer::Noted),
    }
}

fn admit(
    batch: &mut Batch<'_>,
    balances: &mut Balances,
    left_behind: &IdSet<RequestId>,
    job: &AdmissionJob,
) -> Result<Answer, LogError> {
    let AdmissionJob { admission, key } = job;
    if let Some(key) = key
        && let Some(refusal) = key.refusal(batch.connection, balances, left_behind, batch.now)?
    {
        return refuse_admission(batch, balances, &RefusedRequest::of(admission, refusal));
    }
    match decide(balances, &Step::Admit(admission), batch.now) {
        Decision::Admitted { held: amount, lowered_to, expires_at, events } => {
            let admitted_position = batch.position + 1;
            batch.record_decided(events)?;
            if let Some(key) = key {
                key.stand_for(admission.request_id, batch.connection, batch.now)?;
            }
            Ok(Answer::Held(Held { admitted_position, expires_at, amount, lowered_to }))
        }
        Decision::Short => Ok(Answer::Short),
        Decision::Refused { refusal, events } => {
            let position = record_refusal(batch, admission.request_id, events)?;
            Ok(Answer::Refused(refusal.at(position)))
        }
        Decision::RefusedLater { refusal, events } => {
            batch.record_decided(events)?;
            Ok(Answer::Later(refusal))
        }
        Decision::Overflow => Ok(Answer::Failed(LogError::Overflow)),
        other => Ok(Answer::Failed(unexpected(&other))),
    }
}

/// Before the ledger is asked for money.
fn refuse_admission(
    batch: &mut Batch<'_>,
    balances: &mut Balances,
    refused: &RefusedRequest,
) -> Result<Answer, LogError> {
    match refuse(batch, balances, refused)? {
        Answer::RefusalRecorded(position) => Ok(Answer::Refused(refused.refusal.clone().at(position))),
        other => Ok(other),
    }
}

fn refuse(batch: &mut Batch<'_>, balances: &mut Balances, refused: &RefusedRequest) -> Result<Answer, LogError> {
    match decide(balances, &Step::Refuse(refused), batch.now) {
        Decision::Refused { events, .. } => {
            record_refusal(batch, refused.request_id, events).map(Answer::RefusalRecorded)
        }
        Decision::RefusedLater { refusal, events } => {
            batch.record_decided(events)?;
            Ok(Answer::Later(refusal))
        }
        other => Ok(Answer::Failed(unexpected(&other))),
    }
}

fn refuse_waiting(
    batch: &mut Batch<'_>,
    balances: &mut Balances,
    refused: &RefusedRequest,
) -> Result<Answer, LogError> {
    match decide(balances, &Step::RefuseWaiting(refused), batch.now) {
        Decision::Refused { refusal, events } => {
            let position = record_refusal(batch, refused.request_id, events)?;
            Ok(Answer::Refused(refusal.at(position)))
        }
        other => Ok(Answer::Failed(unexpected(&other))),
    }
}

/// Position of the refusal's own event; `None` where it was only counted.
fn record_refusal(batch: &mut Batch<'_>, of: RequestId, events: Vec<Emitted>) -> Result<Option<u64>, LogError> {
    let has_its_own = events.last().is_some_and(|emitted| emitted.context.request_id == Some(of));
    let position = batch.record_decided(events)?;
    Ok(position.filter(|_| has_its_own))
}

fn end(batch: &mut Batch<'_>, balances: &mut Balances, ending: &Ending) -> Result<Answer, LogError> {
    match decide(balances, &Step::End(ending), batch.now) {
        Decision::Ended { events, alerts } => {
            let position = batch.record_decided(events)?;
            batch.record_decided(alerts)?;
            Ok(position.map_or_else(|| Answer::Failed(LogError::Closed), Answer::Ended))
        }
        Decision::NoOpenHold => end_late(batch, balances, ending),
        Decision::Overflow => Ok(Answer::Failed(LogError::Overflow)),
        other => Ok(Answer::Failed(unexpected(&other))),
    }
}

/// The hold ended before: by the sweeper, which is corrected, or by this very end, whose first answer was lost.
fn end_late(batch: &mut Batch<'_>, balances: &mut Balances, ending: &Ending) -> Result<Answer, LogError> {
    match batch.ended_hold(&Stream::hold(ending.request_id))? {
        None => Ok(Answer::Failed(LogError::Append("the end of a request that was never admitted".to_owned()))),
        Some((position, None)) => Ok(Answer::Ended(position)),
        Some((_, Some(expired))) => {
            load_windows(batch.connection, &expired.windows, balances)?;
            match decide(balances, &Step::EndLate(ending, &expired), batch.now) {
                Decision::Adjusted { events, alerts } => {
                    let position = batch.record_decided(events)?;
                    batch.record_decided(alerts)?;
                    Ok(position.map_or_else(|| Answer::Failed(LogError::Closed), Answer::Ended))
                }
                Decision::Overflow => Ok(Answer::Failed(LogError::Overflow)),
                other => Ok(Answer::Failed(unexpected(&other))),
            }
        }
    }
}

fn administer(batch: &mut Batch<'_>, balances: &mut Balances, append: &Append) -> Result<Answer, LogError> {
    match batch.check(append) {
        Ok(()) => {}
        Err(AppendError::Unavailable(error)) => return Err(error),
        Err(refused) => return Ok(Answer::NotAppended(refused)),
    }
    let (first, last) = batch.append(append)?;
    for (position, event) in (first..).zip(&append.events) {
        if let Event::Resource(Resource::Budget(change)) = event {
            decide(balances, &Step::Budget { change, position }, batch.now);
        }
    }
    Ok(Answer::Appended { first, last })
}

fn note(batch: &mut Batch<'_>, notes: &[Note]) -> Result<Answer, LogError> {
    for note in notes {
        let sequence = batch.last_sequence(&note.stream)? + 1;
        let Note { stream, context, event } = note.clone();
        batch.record(Emitted { stream, context, event }, sequence)?;
    }
    Ok(Answer::Noted)
}

fn unexpected(decision: &Decision) -> LogError {
    let kind = match decision {
        Decision::Admitted { .. } => "admitted",
        Decision::Short => "short",
        Decision::AlreadyAdmitted => "admitted before",
        Decision::Refused { .. } => "refused",
        Decision::RefusedLater { .. } => "refused later",
        Decision::Ended { .. } => "ended",
        Decision::Adjusted { .. } => "adjusted",
        Decision::NoOpenHold => "no open hold",
        Decision::Overflow => "overflow",
        Decision::Swept { .. } => "swept",
        Decision::Folded => "folded",
    };
    LogError::Append(format!("a decision that does not answer the job: {kind}"))
}

fn say_uncountable(holds: &[RequestId]) {
    if let Some(first) = holds.first() {
        let count = holds.len();
        tracing::error!(count, %first, "expired holds stay open: with their charge a budget's sum cannot be counted");
    }
}

/// Drops what is too old, a bounded part of it; whether that was all.
fn tidy(connection: &Connection, now: DateTime<Utc>) -> Result<bool, LogError> {
    let oldest = now - IDEMPOTENCY_KEPT;
    let values = params![oldest.timestamp_micros(), TIDIED_ROWS_MAX];
    let replies = connection.prepare_cached(FORGET_REPLIES)?.execute(values)?;
    let keys = inference_keys::forget_old(connection, now, TIDIED_ROWS_MAX)?;
    Ok(replies < TIDIED_ROWS_MAX && keys < TIDIED_ROWS_MAX)
}

/// What is recorded of an end that could not be made durable in time: its client was told that it failed.
pub(super) fn as_unconfirmed(mut ending: Ending) -> Ending {
    if let Outcome::Completed(mut ended) = ending.outcome {
        ended.code = Some(crate::wire::ErrorCode::LedgerUnavailable.as_str().to_owned());
        ended.reason = Some("settlement_delayed".to_owned());
        ending.outcome = Outcome::Failed(ended);
    }
    ending
}

#[cfg(test)]
mod tests;
