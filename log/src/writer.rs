//! The writer: one thread that takes the queued jobs as a batch, decides them in memory, has the engine record the draft, and
//! answers when it is durable. An idle log pays one fsync per job, a busy one an fsync per thousand jobs.
//!
//! It guarantees that nobody is answered before the batch is durable, and that memory never runs ahead of the log: the
//! decisions of a batch that is not recorded are undone. If another process has appended, the batch is decided anew on what it
//! recorded (`catch_up.rs`).
//!
//! A job that cannot be recorded, whatever the disk does, must not fail the others, so its batch is tried again in halves.
//! Other failed jobs are not retried, because their callers are told that nothing was recorded or that this is unknown. Only
//! ends are kept: their holds are open and their figures are known.

mod catch_up;
mod failure_log;
mod figures;
mod publish;
mod turns;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use events::event::{EVENT_SET_WRITTEN, Recorded};
use events::ids::{IdSet, RequestId};
use events::ledger::Balances;

use super::answers::Answers;
use super::clock::BatchClock;
use super::draft::{Draft, StateRows};
use super::engine::{AppendOutcome, Engine};
use super::facts::{Facts, WantedFacts};
use super::follow::AppendedBy;
use super::jobs::{Ender, Job, Message, OpenBatch, RecordedBatch, unattended};
use super::owners::OwnerBlocks;
use super::recent_changes::RecentChanges;
use super::state::State;
use super::{EngineError, EngineErrorKind, LogError, LogOptions};

use failure_log::FailureLog;
use figures::HeadCheck;
pub use figures::{BatchFigures, COMMIT_MICROS_BOUNDS, WriterFigures};
pub(super) use publish::{Published, Publisher, channels};
use turns::TurnPolicy;

/// Maximum number of jobs in a batch. A larger batch would hardly save fsyncs and only make callers wait.
const BATCH_JOBS_MAX: usize = 1024;
/// Events after which a batch takes no further job. A job is never divided, so the last one may add more.
const BATCH_EVENTS_MAX: usize = 4096;
/// Maximum number of times that a batch is decided because the log has moved.
const TRIES_MAX: usize = 5;
/// The interval of sweeps, and the longest sleep of the writer.
const SWEEP_EVERY: Duration = Duration::from_millis(200);
/// The interval at which an idle node of a shared log checks that it could append.
const CHECK_WRITABLE_EVERY: Duration = Duration::from_secs(2);
/// Maximum number of holds that one sweep ends. The next sweep continues.
const SWEPT_HOLDS_MAX: usize = 500;
/// Events after which the state rows are written. A start folds at most this many, plus the last batch.
const EVENTS_BETWEEN_STATES: usize = 4096;
/// The longest wait of a refusal for the next second.
const REFUSAL_WAIT_MAX: Duration = Duration::from_millis(1500);
/// Why a batch failed whose time was too old for the database whenever it had come there.
const LATE: &str = "the database took so long that the time of the batch was too old when it was to be written";
/// How long a writer that stops goes on trying to record the ends that it has kept.
const LAST_ENDS_MAX: Duration = Duration::from_secs(5);
/// The pause after an attempt that recorded none of them.
const LAST_ENDS_PAUSE: Duration = Duration::from_millis(50);
/// The interval at which past windows and expired idempotency keys are dropped.
const TIDY_EVERY: Duration = Duration::from_secs(600);
/// Maximum number of rows dropped per table at a time. The rest follows after the next batches.
const TIDIED_ROWS_MAX: usize = 500;

pub(super) struct LogWriter<E> {
    pub(super) engine: E,
    options: LogOptions,
    clock: BatchClock,
    pub(super) balances: Balances,
    position: u64,
    owners: OwnerBlocks,
    changes: RecentChanges,
    /// Events since the state rows were written.
    events_since_state: usize,
    /// True if the log may have events after `position`, for example after a commit that failed.
    is_behind: bool,
    turns: TurnPolicy,
    /// True if the balances may be of no position, because a fold has failed half-way.
    needs_state: bool,
    /// Requests whose holds were open at the start and whose processes are gone. Some may have ended since. None if other
    /// processes append to the log as well: which of them are gone is then looked up with the claims.
    orphaned: IdSet<RequestId>,
    pub(super) ender: Ender,
    publisher: Publisher,
    figures: Arc<WriterFigures>,
    failures: FailureLog,
    /// The last sweep by the monotonic clock, as is `tidied_at`.
    swept_at: Duration,
    tidied_at: Duration,
    /// When it was last checked, besides appends, that a shared log can be written; `None` before the first time.
    write_checked_at: Option<Duration>,
    /// Refusals that wait to be recorded in the next second. The ledger bounds their number.
    waiting: Vec<DeferredJob>,
}

struct DeferredJob {
    second: i64,
    since: Instant,
    job: Box<dyn Job>,
}

/// The work of a batch besides its jobs.
#[derive(Clone, Copy, Default)]
struct Due {
    sweeps: bool,
    writes_state: bool,
}

/// A batch that was not recorded, or perhaps was.
struct Failed {
    jobs: Vec<Box<dyn Job>>,
    error: String,
    step: FailedStep,
}

/// The step at which a batch failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FailedStep {
    /// A job or what is due with it, not the disk: it would fail whenever it is tried.
    Job,
    Write,
    /// Everything was written: after a crash, the next process may find it.
    Commit,
}

impl FailedStep {
    fn of(error: &LogError) -> Self {
        match error {
            LogError::Commit(_) => Self::Commit,
            LogError::Engine(EngineError { kind: EngineErrorKind::Damaged, .. }) => Self::Write,
            LogError::NotWrittenYet { .. } => Self::Job,
            error if error.is_about_what_is_stored() => Self::Job,
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

impl<E: Engine> LogWriter<E> {
    pub(super) fn new(
        engine: E,
        state: State,
        options: LogOptions,
        ender: Ender,
        publisher: Publisher,
        figures: Arc<WriterFigures>,
    ) -> Self {
        publisher.jump_to(state.head, state.last_administration);
        figures.show_holds(&state.balances);
        let started = options.clock.monotonic();
        figures.confirm_head(started);
        let clock = BatchClock::new(Arc::clone(&options.clock), state.head.recorded_at);
        // A shared database has a clock of its own.
        if let Some(silence) = clock.long_silence().filter(|_| !E::IS_SHARED) {
            tracing::warn!(
                hours = silence.num_hours(),
                "the last event was recorded long ago by the clock of this machine: if the clock is ahead, stop now and set it, because \
                 nothing can be recorded before the time of the last event"
            );
        }
        Self {
            engine,
            clock,
            options,
            orphaned: match E::IS_SHARED {
                true => IdSet::default(),
                false => state.balances.open_holds().map(|(request, _)| *request).collect(),
            },
            balances: state.balances,
            position: state.head.position,
            owners: state.owners,
            changes: RecentChanges::after(state.last_administration),
            events_since_state: state.events_folded,
            is_behind: false,
            turns: TurnPolicy::of_one_batch(),
            needs_state: false,
            ender,
            publisher,
            figures,
            failures: FailureLog::default(),
            swept_at: started,
            tidied_at: started,
            write_checked_at: None,
            waiting: Vec::new(),
        }
    }

    /// Runs until it is told to stop, and records everything that was queued before.
    pub(super) fn run(mut self, queue: &Receiver<Message>) {
        self.turns.allow_several_batches();
        if E::IS_SHARED {
            // Whether this node can write is known before the first request.
            self.run_once(Vec::new());
        }
        loop {
            let mut fresh = Vec::new();
            let wait = if self.turns.has_one() { turns::PAUSE } else { SWEEP_EVERY };
            match queue.recv_timeout(wait) {
                Ok(message) => fresh.push(message),
                Err(RecvTimeoutError::Timeout) if self.turns.has_one() => {
                    self.end_turn();
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // A turn may take several batches of others: what is queued meanwhile belongs to this one.
            if self.turns.are_due() && matches!(fresh.as_slice(), [Message::Job(_)]) {
                // If this fails, so does the batch, whose jobs are told so.
                let _ = self.take_turn();
            }
            fresh.extend(queue.try_iter().take(BATCH_JOBS_MAX));
            self.figures.taken(fresh.len());
            if self.run_once(fresh) {
                self.record_kept_ends();
                return self.engine.close();
            }
        }
    }

    /// Records the ends that are left when the writer stops, because a batch failed or they are more than one takes. Their holds
    /// would otherwise be charged in full, although their figures are known.
    fn record_kept_ends(&mut self) {
        let began = Instant::now();
        let mut left = self.ender.unattended.len();
        while left > 0 && began.elapsed() < LAST_ENDS_MAX {
            self.run_once(Vec::new());
            let before = std::mem::replace(&mut left, self.ender.unattended.len());
            if left >= before {
                std::thread::sleep(LAST_ENDS_PAUSE);
            }
        }
        if left > 0 {
            tracing::error!(
                ends = left,
                "stopped before the ends of all requests were recorded; their holds will expire"
            );
        }
    }

    /// Processes one batch: unattended ends, fresh jobs and due work. Returns true if it was told to stop.
    pub(super) fn run_once(&mut self, fresh: Vec<Message>) -> bool {
        let stops = fresh.iter().any(|message| matches!(message, Message::Stop));
        if fresh.iter().any(|message| matches!(message, Message::Wake)) {
            self.ender.jobs.wake_is_taken();
        }
        // Ends first: they return money that the admissions may use.
        let mut jobs: Vec<_> = self.ender.unattended.take(BATCH_JOBS_MAX).into_iter().map(unattended).collect();
        jobs.extend(fresh.into_iter().filter_map(|message| match message {
            Message::Job(job) => Some(job),
            Message::Wake | Message::Stop => None,
        }));
        let is_idle = jobs.is_empty() || stops;
        self.process(jobs, is_idle);
        self.end_unused_turn();
        stops
    }

    fn take_due_refusals(&mut self, now: DateTime<Utc>) -> Vec<Box<dyn Job>> {
        let second = now.timestamp();
        // Recorded time may stand still, so the wait is also limited by the monotonic clock.
        let is_due = |waiting: &mut DeferredJob| waiting.second < second || waiting.since.elapsed() >= REFUSAL_WAIT_MAX;
        self.waiting.extract_if(.., is_due).map(|waiting| waiting.job).collect()
    }

    fn process(&mut self, jobs: Vec<Box<dyn Job>>, is_idle: bool) {
        let now = match self.clock.tick() {
            Ok(now) => now,
            Err(error) => {
                if self.take_news(&error) {
                    tracing::error!(%error, "nothing can be appended");
                }
                self.figures.set_failing(true);
                return self.fail(jobs, || LogError::ClockStepped);
            }
        };
        // The waiting refusals first: they have places in the new second.
        let mut due = self.take_due_refusals(now);
        due.extend(jobs);
        let jobs = due;
        let sweeps = self.options.serves_requests
            && self.elapsed(self.swept_at) >= SWEEP_EVERY
            && self.balances.is_sweep_due(now);
        let writes_state = self.events_since_state >= EVENTS_BETWEEN_STATES
            || (is_idle && self.events_since_state > 0 && !E::IS_SHARED);
        let has_work = !jobs.is_empty() || sweeps || (writes_state && !E::IS_SHARED);
        if !has_work && E::IS_SHARED {
            return self.follow(now);
        }
        if !has_work && !self.is_behind {
            return self.note_success();
        }
        if sweeps {
            // Even if the batch fails: a sweep decides up to hundreds of holds, and must not repeat with every batch.
            self.swept_at = self.options.clock.monotonic();
        }
        match self.attempt(jobs, Due { sweeps, writes_state }, now) {
            Ok(()) => {}
            // Something can never be recorded. Find it, so that the others do not fail with it, and then sweep: a job that fails
            // in every batch would otherwise keep all expired holds open.
            Err(Failed { jobs, error, step: FailedStep::Job }) => {
                if sweeps || writes_state {
                    // It need not be a job.
                    self.process_part(jobs, now);
                } else {
                    self.process_halves(jobs, &error, now);
                }
                if sweeps {
                    // If it fails, that is logged, and the next sweep tries again.
                    let _ = self.attempt(Vec::new(), Due { sweeps, writes_state: false }, now);
                }
            }
            Err(Failed { jobs, error, step }) => self.fail(jobs, || step.error(&error)),
        }
    }

    /// Processes jobs of which some may be impossible to record, without other work.
    fn process_part(&mut self, jobs: Vec<Box<dyn Job>>, now: DateTime<Utc>) {
        if jobs.is_empty() {
            return;
        }
        match self.attempt(jobs, Due::default(), now) {
            Ok(()) => {}
            Err(Failed { jobs, error, step: FailedStep::Job }) => self.process_halves(jobs, &error, now),
            Err(Failed { jobs, error, step }) => self.fail(jobs, || step.error(&error)),
        }
    }

    /// Processes jobs one of which cannot be recorded, in two batches, and so on until it is alone.
    fn process_halves(&mut self, mut jobs: Vec<Box<dyn Job>>, error: &str, now: DateTime<Utc>) {
        if jobs.len() <= 1 {
            // An end that is kept would fail again with every batch. Let its hold expire.
            jobs.iter().for_each(|job| job.give_up(&mut self.balances));
            return jobs.into_iter().for_each(|job| job.refuse(FailedStep::Job.error(error)));
        }
        let second = jobs.split_off(jobs.len() / 2);
        self.process_part(jobs, now);
        self.process_part(second, now);
    }

    /// Records these jobs and answers them, in several batches if they have more events than one takes.
    fn attempt(&mut self, mut jobs: Vec<Box<dyn Job>>, mut due: Due, now: DateTime<Utc>) -> Result<(), Failed> {
        loop {
            jobs = self.attempt_batch(jobs, due, now)?;
            if jobs.is_empty() {
                return Ok(());
            }
            due.writes_state = false;
        }
    }

    /// Records one batch with as many of these jobs as it takes, and answers them. Returns the others.
    fn attempt_batch(
        &mut self,
        mut jobs: Vec<Box<dyn Job>>,
        due: Due,
        now: DateTime<Utc>,
    ) -> Result<Vec<Box<dyn Job>>, Failed> {
        let started = Instant::now();
        let Draft { events, jobs: decided, recorded_at, .. } = match self.record(&mut jobs, due, now) {
            Ok(recorded) => recorded,
            Err(error) => {
                // Whatever failed, read the log again before the next decision.
                self.is_behind = true;
                self.note_wrong_clock(&error);
                let step = FailedStep::of(&error);
                self.figures.set_failing(step != FailedStep::Job);
                self.figures.count_failed();
                if step == FailedStep::Job || self.take_news(&error) {
                    tracing::error!(%error, jobs = jobs.len(), "cannot append a batch");
                }
                let error = match error {
                    LogError::Append(text) | LogError::Commit(text) => text,
                    other => other.to_string(),
                };
                return Err(Failed { jobs, error, step });
            }
        };
        self.note_success();
        let count = events.len();
        let others = jobs.split_off(decided);
        self.figures.count(jobs.len(), count, started.elapsed());
        self.figures.show_holds(&self.balances);
        let events = self.publisher.publish(events, AppendedBy::ThisProcess);
        let mut batch = RecordedBatch { recorded_at, events, ender: &self.ender, answers: Answers::default() };
        for job in jobs {
            if let Some(job) = job.answer(&mut batch) {
                self.waiting.push(DeferredJob { second: recorded_at.timestamp(), since: Instant::now(), job });
            }
        }
        batch.answers.send();
        self.tidy_if_due(recorded_at);
        self.engine.after_batch(count);
        Ok(others)
    }

    /// True if the log of the process should name this failure of the writer, which repeats it several times a second.
    fn take_news(&mut self, error: &LogError) -> bool {
        self.failures.take_news(error, self.options.clock.monotonic())
    }

    fn note_success(&mut self) {
        self.figures.set_failing(false);
        if self.failures.take_end() {
            tracing::info!("the log can be read and written again");
        }
    }

    fn note_wrong_clock(&mut self, error: &LogError) {
        if matches!(error, LogError::ClockAhead { .. } | LogError::ClockBehind { .. }) {
            self.clock.is_wrong();
        }
    }

    /// True if the database refused a time only because it took so long to get there: the clock is not wrong.
    fn is_late(&self, error: &LogError) -> bool {
        let max = self.options.clock_behind_max;
        matches!(error, LogError::ClockBehind { by } if by.saturating_sub(self.clock.age()) <= max)
    }

    /// Decides and records the batch, again if the log has moved meanwhile, or if it came too late. Whoever has lost one race
    /// takes its turn, so that it does not lose them all.
    fn record(&mut self, jobs: &mut [Box<dyn Job>], due: Due, now: DateTime<Utc>) -> Result<Draft, LogError> {
        let mut failure = "the log kept moving while the batch was decided";
        for failed in 0..TRIES_MAX {
            if failed > 0 || self.turns.are_due() {
                // Never the fault of a job, so this must not count as `FailedStep::Job`, nor what follows.
                self.take_turn().map_err(|error| LogError::Append(error.to_string()))?;
            }
            if self.is_behind {
                self.catch_up(now).map_err(|error| LogError::Append(error.to_string()))?;
            }
            self.balances.begin();
            let check = self.begin_head_check();
            let written = self.decide(jobs, due, now).and_then(|draft| match draft {
                Some(draft) => Ok((self.write(&draft, due)? == AppendOutcome::Committed).then_some(draft)),
                None => Ok(None),
            });
            match written {
                Ok(Some(draft)) => {
                    self.committed(&draft, due);
                    self.figures.end_head_check(check);
                    return Ok(draft);
                }
                Ok(None) => {
                    self.balances.undo();
                    self.figures.count_decided_again();
                    self.turns.others_append();
                    // Whoever loses a race in its turn has lost the turn before.
                    self.end_turn();
                    self.is_behind = true;
                }
                // It is certain that nothing is written.
                Err(error) if self.is_late(&error) => {
                    self.balances.undo();
                    failure = LATE;
                }
                Err(error) => {
                    self.balances.undo();
                    return Err(error);
                }
            }
        }
        Err(LogError::Append(failure.to_owned()))
    }

    /// Decides the jobs in order until the batch has enough events, then the sweep if there is room. `None` if the log has moved
    /// meanwhile. `now` is when the batch was taken.
    fn decide(&mut self, jobs: &mut [Box<dyn Job>], due: Due, now: DateTime<Utc>) -> Result<Option<Draft>, LogError> {
        let Some(mut facts) = self.facts(jobs, now)? else { return Ok(None) };
        // The turn, what others had appended and the facts may have taken seconds.
        let now = self.clock.tick()?;
        let mut draft = Draft::new(self.position, now);
        let mut batch = OpenBatch {
            now,
            balances: &mut self.balances,
            facts: &mut facts,
            draft: &mut draft,
            changes: &self.changes,
            orphaned: &self.orphaned,
            is_shared: E::IS_SHARED,
        };
        for job in jobs {
            if batch.draft.events.len() >= BATCH_EVENTS_MAX {
                break;
            }
            job.decide(&mut batch);
            batch.draft.jobs += 1;
        }
        if due.sweeps && batch.draft.events.len() < BATCH_EVENTS_MAX {
            let swept = batch.balances.sweep(self.options.unknown_usage, SWEPT_HOLDS_MAX, now);
            batch.record(swept);
        }
        if draft.has_unnumbered {
            draft.number(self.engine.last_sequences(draft.unnumbered_streams())?)?;
        }
        draft.must_be_written_from(EVENT_SET_WRITTEN)?;
        Ok(Some(draft))
    }

    /// Looks up the facts that the jobs need, and restores the forgotten windows that they may move. `None` if the log has
    /// moved meanwhile.
    fn facts(&mut self, jobs: &[Box<dyn Job>], now: DateTime<Utc>) -> Result<Option<Facts>, LogError> {
        let mut wanted = WantedFacts::default();
        for job in jobs {
            job.wants(&self.balances, &mut wanted);
        }
        if wanted == WantedFacts::default() {
            return Ok(Some(Facts::default()));
        }
        let Some(mut facts) = self.engine.facts(self.position, &wanted, now)? else { return Ok(None) };
        for window in facts.windows.drain(..) {
            self.balances.restore_window(window.window, window.amounts, window.announced);
        }
        Ok(Some(facts))
    }

    fn write(&mut self, draft: &Draft, due: Due) -> Result<AppendOutcome, LogError> {
        let state = StateRows { balances: &self.balances, owners: &self.owners };
        self.engine.append(draft, Self::writes_state(draft, due).then_some(&state))
    }

    /// In a shared log, others learn from the events of a batch that the rows were written with it.
    fn writes_state(draft: &Draft, due: Due) -> bool {
        due.writes_state && !(E::IS_SHARED && draft.events.is_empty())
    }

    fn committed(&mut self, draft: &Draft, due: Due) {
        self.balances.keep();
        self.note_recorded(&draft.events);
        self.position = draft.position();
        self.turns.appended();
        self.end_turn_if_over();
        self.events_since_state += draft.events.len();
        if Self::writes_state(draft, due) {
            self.rows_are_written();
        }
        self.clock.recorded(draft.recorded_at);
    }

    /// Notes what follows from recorded events besides balances.
    fn note_recorded(&mut self, events: &[Arc<Recorded>]) {
        for recorded in events {
            self.owners.apply(recorded);
            self.changes.apply(recorded);
        }
    }

    /// The stored rows of the state are as of the last position.
    fn rows_are_written(&mut self) {
        self.balances.rows_are_written();
        self.owners.rows_are_written();
        self.events_since_state = 0;
    }

    /// Begins to find out where the log ends.
    fn begin_head_check(&self) -> HeadCheck {
        self.figures.begin_head_check(self.options.clock.monotonic())
    }

    /// Drops what has expired, a bounded part at a time; the rest after the next batches.
    fn tidy_if_due(&mut self, now: DateTime<Utc>) {
        if self.elapsed(self.tidied_at) < TIDY_EVERY {
            return;
        }
        match self.engine.tidy(now, TIDIED_ROWS_MAX) {
            Ok(false) => return,
            Ok(true) => {}
            Err(error) => tracing::warn!(%error, "cannot drop expired idempotency keys"),
        }
        self.balances.forget_past_windows(now);
        self.orphaned.retain(|request| self.balances.open_hold(*request).is_some());
        self.tidied_at = self.options.clock.monotonic();
    }

    fn elapsed(&self, since: Duration) -> Duration {
        self.options.clock.monotonic().saturating_sub(since)
    }

    /// Answers jobs that were not recorded, or perhaps were. Ends are kept: their holds are open and their figures are known.
    fn fail(&mut self, jobs: Vec<Box<dyn Job>>, error: impl Fn() -> LogError) {
        jobs.iter().for_each(|job| job.give_up(&mut self.balances));
        self.ender.unattended.extend(jobs.into_iter().filter_map(|job| job.fail(error())));
    }
}
