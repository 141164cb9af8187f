//! The one writer: takes what is queued as one batch, decides it in memory, has the engine record it, and answers when that
//! is durable. Latency at rest is one fsync, throughput under load is thousands of requests a fsync.
//!
//! What was decided and not recorded is undone, so that memory never runs ahead of the log. Where somebody else has appended
//! meanwhile, the ledger's state is read again and the batch is decided anew.

mod figures;
mod publish;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::clock::BatchClock;
use super::draft::{Draft, StateRows};
use super::engine::{Appending, Engine};
use super::facts::{Facts, Wanted};
use super::jobs::{Deciding, Ender, Job, Message, RecordedBatch, unattended};
use super::owners::OwnerBlocks;
use super::state::State;
use super::{LeftHolds, LogError, LogOptions};
use crate::event::Recorded;
use crate::ids::{IdSet, RequestId};
use crate::ledger::{Balances, Sweep, decide};

pub use figures::{BatchFigures, COMMIT_MICROS_BOUNDS, Figures};
pub(super) use publish::{Published, Publisher, channels};

/// Jobs in one batch. Beyond it the fsync is amortised, and callers would only wait longer.
const BATCH_JOBS_MAX: usize = 1024;
/// How often a batch is decided anew because the log has moved.
const TRIES_MAX: usize = 5;
/// How often the sweeper looks when nothing else happens.
const SWEEP_EVERY: Duration = Duration::from_millis(200);
/// Holds that one sweep ends; the next one goes on.
const SWEPT_HOLDS_MAX: usize = 500;
/// Events after which the rows of the ledger's state are brought up to date; a start folds at most so many, and what the
/// batch added that went over it.
const EVENTS_BETWEEN_STATES: usize = 4096;
/// How long a refusal waits for its second at most.
const REFUSAL_WAIT_MAX: Duration = Duration::from_millis(1500);
/// How often past windows and old idempotency keys are dropped.
const TIDY_EVERY: Duration = Duration::from_secs(600);
/// Rows of a table that are dropped at a time; after the next batch it goes on.
const TIDIED_ROWS_MAX: usize = 500;

pub(super) struct Writer<E> {
    engine: E,
    options: LogOptions,
    clock: BatchClock,
    balances: Balances,
    position: u64,
    owners: OwnerBlocks,
    /// Events since the rows of the ledger's state were written.
    events_since_state: usize,
    /// Whether the log may go on behind `position`: after a batch of which that is not known.
    is_behind: bool,
    /// Requests whose holds were open at the start: their processes had ended. Some may have ended since.
    left_behind: IdSet<RequestId>,
    ender: Ender,
    publisher: Publisher,
    figures: Arc<Figures>,
    /// On the clock's monotonic hand, as is `tidied_at`.
    swept_at: Duration,
    tidied_at: Duration,
    /// Refusals that wait for the next second to be recorded in; the ledger bounds their number.
    waiting: Vec<DeferredJob>,
}

struct DeferredJob {
    second: i64,
    since: Instant,
    job: Box<dyn Job>,
}

/// What a batch does besides its jobs.
#[derive(Clone, Copy, Default)]
struct Due {
    sweeps: bool,
    writes_state: bool,
}

/// A batch that is durable.
struct Committed {
    events: Vec<Arc<Recorded>>,
    recorded_at: DateTime<Utc>,
}

/// A batch of which nothing was recorded, or nobody knows whether it was.
struct Failed {
    jobs: Vec<Box<dyn Job>>,
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
    fn of(error: &LogError) -> Self {
        match error {
            LogError::Commit(_) => Self::Commit,
            error if error.is_of_what_was_to_be_recorded() => Self::Job,
            _ => Self::Write,
        }
    }

    fn error(self, text: &str) -> LogError {
        match self {
            Self::Job | Self::Write => LogError::Append(text.to_owned()),
            Self::Commit => LogError::Commit(text.to_owned()),
        }
    }
}

impl<E: Engine> Writer<E> {
    pub(super) fn new(
        engine: E,
        state: State,
        options: LogOptions,
        ender: Ender,
        publisher: Publisher,
        figures: Arc<Figures>,
    ) -> Self {
        publisher.begin_at(state.head, state.last_administration);
        figures.show_holds(&state.balances);
        let started = options.clock.monotonic();
        Self {
            engine,
            clock: BatchClock::new(Arc::clone(&options.clock), state.head.recorded_at),
            options,
            left_behind: state.balances.open_holds().map(|(request, _)| *request).collect(),
            balances: state.balances,
            position: state.head.position,
            owners: state.owners,
            events_since_state: state.events_folded,
            is_behind: false,
            ender,
            publisher,
            figures,
            swept_at: started,
            tidied_at: started,
            waiting: Vec::new(),
        }
    }

    /// Works until it is told to stop. What was queued before that is recorded.
    pub(super) fn run(mut self, queue: &Receiver<Message>) {
        loop {
            let mut fresh = Vec::new();
            match queue.recv_timeout(SWEEP_EVERY) {
                Ok(message) => fresh.push(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            fresh.extend(queue.try_iter().take(BATCH_JOBS_MAX));
            self.figures.taken(fresh.len());
            if self.turn(fresh) {
                return self.engine.close();
            }
        }
    }

    /// One batch: what was left unattended, what is fresh, and what is due. Whether it was told to stop.
    pub(super) fn turn(&mut self, fresh: Vec<Message>) -> bool {
        let stops = fresh.iter().any(|message| matches!(message, Message::Stop));
        // Ends first: they give money back that what is asked for next may use.
        let mut jobs: Vec<_> = self.ender.unattended.take(BATCH_JOBS_MAX).into_iter().map(unattended).collect();
        jobs.extend(fresh.into_iter().filter_map(|message| match message {
            Message::Job(job) => Some(job),
            Message::Wake | Message::Stop => None,
        }));
        let rests = jobs.is_empty() || stops;
        self.work_off(jobs, rests);
        stops
    }

    pub(super) const fn engine(&self) -> &E {
        &self.engine
    }

    pub(super) const fn balances(&self) -> &Balances {
        &self.balances
    }

    pub(super) const fn ender(&self) -> &Ender {
        &self.ender
    }

    fn take_due_refusals(&mut self, now: DateTime<Utc>) -> Vec<Box<dyn Job>> {
        let second = now.timestamp();
        // Recorded time may stand still for a while; nobody waits for it longer than this.
        let is_due = |waiting: &mut DeferredJob| waiting.second < second || waiting.since.elapsed() >= REFUSAL_WAIT_MAX;
        self.waiting.extract_if(.., is_due).map(|waiting| waiting.job).collect()
    }

    fn work_off(&mut self, jobs: Vec<Box<dyn Job>>, rests: bool) {
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
        if jobs.is_empty() && !sweeps && !writes_state && !self.is_behind {
            self.figures.set_failing(false);
            return;
        }
        if sweeps {
            // Also where the batch fails: one sweep decides up to hundreds of holds.
            self.swept_at = self.options.clock.monotonic();
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

    fn work_off_alone(&mut self, job: Box<dyn Job>, now: DateTime<Utc>) {
        match self.attempt(vec![job], Due::default(), now) {
            Ok(()) => {}
            // Kept, an end would fail again with every batch: its hold expires instead.
            Err(Failed { jobs, error, step: step @ FailedStep::Job }) => {
                jobs.iter().for_each(|job| job.give_up(&mut self.balances));
                jobs.into_iter().for_each(|job| job.refuse(step.error(&error)));
            }
            Err(Failed { jobs, error, step }) => self.fail(jobs, || step.error(&error)),
        }
    }

    /// One batch with all of these jobs, and their answers.
    fn attempt(&mut self, mut jobs: Vec<Box<dyn Job>>, due: Due, now: DateTime<Utc>) -> Result<(), Failed> {
        let started = Instant::now();
        let Committed { events, recorded_at } = match self.record(&mut jobs, due, now) {
            Ok(committed) => committed,
            Err(error) => {
                // Whatever failed, the log is looked at before anything else is decided.
                self.is_behind = true;
                let step = FailedStep::of(&error);
                self.figures.set_failing(step != FailedStep::Job);
                self.figures.count_failed();
                tracing::error!(%error, jobs = jobs.len(), "append a batch");
                let error = match error {
                    LogError::Append(text) | LogError::Commit(text) => text,
                    other => other.to_string(),
                };
                return Err(Failed { jobs, error, step });
            }
        };
        self.figures.set_failing(false);
        let count = events.len();
        self.figures.count(jobs.len(), count, started.elapsed());
        self.figures.show_holds(&self.balances);
        self.publisher.publish(events);
        let batch = RecordedBatch { recorded_at, ender: &self.ender };
        for job in jobs {
            if let Some(job) = job.answer(&batch) {
                self.waiting.push(DeferredJob { second: recorded_at.timestamp(), since: Instant::now(), job });
            }
        }
        self.tidy_if_due(recorded_at);
        self.engine.after_batch(count);
        Ok(())
    }

    /// Decides and records, until the log did not move meanwhile.
    fn record(&mut self, jobs: &mut [Box<dyn Job>], due: Due, mut now: DateTime<Utc>) -> Result<Committed, LogError> {
        for _ in 0..TRIES_MAX {
            if self.is_behind {
                // No job of this batch is to blame.
                now = self.catch_up(now).map_err(|error| LogError::Append(error.to_string()))?;
            }
            self.balances.begin();
            match self.decide(jobs, due, now).and_then(|(draft, swept)| Ok((self.write(&draft, due)?, draft, swept))) {
                Ok((Appending::Committed, draft, uncountable)) => {
                    say_uncountable(&uncountable);
                    return Ok(self.committed(draft, due));
                }
                Ok((Appending::Moved, ..)) => {
                    self.balances.undo();
                    self.is_behind = true;
                }
                Err(error) => {
                    self.balances.undo();
                    return Err(error);
                }
            }
        }
        Err(LogError::Append("the log moved while the batch was decided, again and again".to_owned()))
    }

    /// Every job in its order, then what is due. Also gives the holds that have expired and whose charge cannot be counted.
    fn decide(
        &mut self,
        jobs: &mut [Box<dyn Job>],
        due: Due,
        now: DateTime<Utc>,
    ) -> Result<(Draft, Vec<RequestId>), LogError> {
        let mut facts = self.facts(jobs, now)?;
        let mut draft = Draft::new(self.position, now);
        let mut batch = Deciding {
            now,
            balances: &mut self.balances,
            facts: &mut facts,
            draft: &mut draft,
            left_behind: &self.left_behind,
        };
        for job in jobs {
            job.decide(&mut batch);
        }
        let mut uncountable = Vec::new();
        if due.sweeps {
            let sweep = Sweep { policy: self.options.unknown_usage, holds_max: SWEPT_HOLDS_MAX };
            let swept = decide(batch.balances, &sweep, now);
            batch.record(swept.events);
            uncountable = swept.uncountable;
        }
        if draft.has_unnumbered {
            draft.number(self.engine.last_sequences(draft.unnumbered_streams())?)?;
        }
        Ok((draft, uncountable))
    }

    /// What the jobs have to know, and the windows that some of them may move.
    fn facts(&mut self, jobs: &[Box<dyn Job>], now: DateTime<Utc>) -> Result<Facts, LogError> {
        let mut wanted = Wanted::default();
        for job in jobs {
            job.wants(&self.balances, &mut wanted);
        }
        if wanted.is_empty() {
            return Ok(Facts::default());
        }
        let mut facts = self.engine.facts(&wanted, now)?;
        for window in facts.windows.drain(..) {
            self.balances.restore_forgotten(window.window, window.amounts, window.announced);
        }
        Ok(facts)
    }

    fn write(&mut self, draft: &Draft, due: Due) -> Result<Appending, LogError> {
        let state = StateRows { balances: &self.balances, owners: &self.owners };
        self.engine.append(draft, due.writes_state.then_some(&state))
    }

    fn committed(&mut self, draft: Draft, due: Due) -> Committed {
        self.balances.keep();
        draft.events.iter().for_each(|recorded| self.owners.take_in(recorded));
        self.position = draft.position();
        self.events_since_state += draft.events.len();
        if due.writes_state {
            self.balances.rows_are_written();
            self.owners.rows_are_written();
            self.events_since_state = 0;
        }
        self.clock.recorded(draft.recorded_at);
        Committed { events: draft.events, recorded_at: draft.recorded_at }
    }

    /// Takes in what the log has behind the last position that is known, and gives the instant at which the batch is decided
    /// then. The state is read again as a whole: whoever wrote those events may have written rows of the state as well, and
    /// these are of another position than the balances in memory.
    fn catch_up(&mut self, now: DateTime<Utc>) -> Result<DateTime<Utc>, LogError> {
        let known = self.position;
        let next = self.engine.since(known)?;
        if next.is_empty() {
            self.is_behind = false;
            return Ok(now);
        }
        let mut state = self.engine.state(now)?;
        state.balances.take_refusals_of(&mut self.balances);
        self.balances = state.balances;
        self.owners = state.owners;
        self.events_since_state = state.events_folded;
        self.position = state.head.position;
        if let Some(recorded_at) = state.head.recorded_at {
            self.clock.recorded(recorded_at);
        }
        self.is_behind = false;
        self.publish_from(next);
        self.clock.tick()
    }

    /// What others recorded, up to the position of the balances. Followers read from the database what cannot be read here.
    fn publish_from(&mut self, mut next: Vec<Arc<Recorded>>) {
        loop {
            next.retain(|recorded| recorded.position <= self.position);
            let Some(position) = next.last().map(|last| last.position) else { return };
            self.publisher.publish(next);
            match self.engine.since(position) {
                Ok(page) => next = page,
                Err(error) => return tracing::warn!(%error, "read what others have recorded"),
            }
        }
    }

    /// Forgets what is too old, a bounded part of it; after the next batch the rest.
    fn tidy_if_due(&mut self, now: DateTime<Utc>) {
        if self.elapsed(self.tidied_at) < TIDY_EVERY {
            return;
        }
        match self.engine.tidy(now, TIDIED_ROWS_MAX) {
            Ok(false) => return,
            Ok(true) => {}
            Err(error) => tracing::warn!(%error, "drop idempotency keys that are too old"),
        }
        self.balances.forget_past_windows(now);
        self.left_behind.retain(|request| self.balances.open_hold(*request).is_some());
        self.tidied_at = self.options.clock.monotonic();
    }

    fn elapsed(&self, since: Duration) -> Duration {
        self.options.clock.monotonic().saturating_sub(since)
    }

    /// The batch is not recorded, or not for certain. Ends are kept: their holds stand, and their figures are known.
    fn fail(&mut self, jobs: Vec<Box<dyn Job>>, error: impl Fn() -> LogError) {
        jobs.iter().for_each(|job| job.give_up(&mut self.balances));
        self.ender.unattended.extend(jobs.into_iter().filter_map(|job| job.fail(error())));
    }
}

fn say_uncountable(holds: &[RequestId]) {
    if let Some(first) = holds.first() {
        let count = holds.len();
        tracing::error!(count, %first, "expired holds stay open: with their charge a budget's sum cannot be counted");
    }
}
