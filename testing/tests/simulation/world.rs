//! The simulated world: one seed draws the actions of the clients, the faults of disk and clock, and the deaths of the process.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::ledger::UnknownUsage;
use events::time::{Clock, ManualClock, rfc3339};
use events_log::LEDGER_FILE;
use events_log::verify::{Depth, verify};
use projections::views::VIEWS_FILE;
use tokio::runtime::Runtime;
use tokio::task::yield_now;

use super::books::{Books, Checked, must};
use super::clients::Clients;
use super::dice::Dice;
use super::disk::{Disk, Image};
use super::facts::start;
use super::follower::{SimulatedViews, must_be_replayed};
use super::process::Process;
use super::trace::Trace;

/// The largest step of the wall clock after which events are still recorded: 60 s.
const STEP_MAX_MICROS: i64 = 60_000_000;
/// The longest lifetime of a hold.
pub const TTL_MAX: Duration = Duration::from_secs(40);

pub struct World {
    /// Sends the answers of the writer when it is driven.
    runtime: Rc<Runtime>,
    pub dice: Dice,
    pub trace: Trace,
    pub clock: Arc<ManualClock>,
    pub clients: Clients,
    pub books: Books,
    pub process: Process,
    pub policy: UnknownUsage,
    disk: Disk,
    has_views: bool,
    /// The position up to which the trace shows the log.
    shown: u64,
    /// The latest time of the wall clock at a check.
    latest: DateTime<Utc>,
    /// The distance of the wall clock from the monotonic clock, in microseconds.
    skew: i64,
    /// The skew when events were last recorded; `None` after a start with a clock far behind the log.
    accepted_skew: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Ask,
    AskAtOnce,
    AskAgain,
    StopWaiting,
    End,
    EndAgain,
    Change,
    ChangeAgain,
    Refuse,
    Note,
    Correct,
    Turn,
    Rest,
    Wait,
    StepClock,
    BreakDisk,
    RepairDisk,
    Checkpoint,
    Follow,
    Redeliver,
    Rebuild,
    Die,
    Restart,
}

const MOVES: &[(usize, Move)] = &[
    (16, Move::Ask),
    (4, Move::AskAtOnce),
    (2, Move::AskAgain),
    (3, Move::StopWaiting),
    (18, Move::End),
    (3, Move::EndAgain),
    (4, Move::Change),
    (2, Move::ChangeAgain),
    (1, Move::Refuse),
    (1, Move::Note),
    (2, Move::Correct),
    (22, Move::Turn),
    (4, Move::Rest),
    (10, Move::Wait),
    (2, Move::StepClock),
    (3, Move::BreakDisk),
    (4, Move::RepairDisk),
    (2, Move::Checkpoint),
    (5, Move::Follow),
    (1, Move::Redeliver),
    (1, Move::Rebuild),
    (3, Move::Die),
    (1, Move::Restart),
];

#[derive(Clone, Copy, Debug)]
enum Death {
    /// With jobs in the queue, or in a transaction of which nothing is on the disk.
    BeforeCommit,
    InCommit,
    /// The batch is durable, but no client got a response.
    AfterCommit,
    InCheckpoint,
}

impl World {
    pub fn of(seed: u64, runtime: Rc<Runtime>) -> Self {
        let mut dice = Dice::of(seed);
        let mut disk = Disk::new();
        let clock = Arc::new(ManualClock::at(start()));
        let policy = if dice.percent(75) { UnknownUsage::ChargeHold } else { UnknownUsage::Release };
        let has_views = dice.percent(35);
        let folder = disk.folder();
        let (ledger, views) = Image::empty();
        ledger.put(&folder, LEDGER_FILE);
        views.put(&folder, VIEWS_FILE);
        let process = Process::begin(1, folder, &clock, policy, has_views);
        Self {
            runtime,
            dice,
            trace: Trace::default(),
            clock,
            clients: Clients::default(),
            books: Books::default(),
            process,
            policy,
            disk,
            has_views,
            shown: 0,
            latest: start(),
            skew: 0,
            accepted_skew: Some(0),
        }
    }

    /// Plays this many moves, then repairs everything and waits until no work is left.
    pub fn play(&mut self, moves: usize) -> Checked {
        (0..self.dice.between(0, 3)).for_each(|_| self.change());
        for number in 0..moves {
            let next = self.dice.weighted(MOVES);
            self.trace.line(format_args!("{number} {next:?} at {}", rfc3339(self.clock.now())));
            self.perform(next)?;
        }
        self.finish()
    }

    /// Builds the views as of the beginning, the end and some positions between.
    pub fn replay_views(&mut self) -> Checked {
        let last = self.books.position();
        let between = (0..4).map(|_| self.dice.between(0, i64::try_from(last).expect("a short log")).unsigned_abs());
        for position in [0, last].into_iter().chain(between.collect::<Vec<_>>()) {
            must_be_replayed(&self.disk.folder(), &*self.process.reader, position, &mut self.dice)
                .map_err(|error| format!("as of position {position} of {last}: {error}"))?;
        }
        Ok(())
    }

    fn perform(&mut self, next: Move) -> Checked {
        match next {
            Move::Ask => self.ask(),
            Move::AskAtOnce => (0..self.dice.between(2, 7)).for_each(|_| self.ask()),
            Move::AskAgain => self.ask_again(),
            Move::StopWaiting => self.stop_waiting(),
            Move::End => self.end(),
            Move::EndAgain => self.end_again(),
            Move::Change => self.change(),
            Move::ChangeAgain => self.change_again(),
            Move::Refuse => self.refuse(),
            Move::Note => self.note(),
            Move::Correct => self.correct(),
            Move::Turn => return self.some_turn(),
            Move::Rest => return self.turn(usize::MAX).and_then(|()| self.turn(usize::MAX)),
            Move::Wait => self.wait(),
            Move::StepClock => self.step_clock(),
            Move::BreakDisk => self.break_disk(),
            Move::RepairDisk => self.process.repair_disk(),
            Move::Checkpoint => self.process.checkpoint(),
            Move::Follow => return self.follow(),
            Move::Redeliver => return self.redeliver(),
            Move::Rebuild => return self.rebuild(),
            Move::Die => return self.die(),
            Move::Restart => return self.restart(),
        }
        Ok(())
    }

    fn follow(&mut self) -> Checked {
        self.process.views.as_mut().map_or(Ok(()), SimulatedViews::follow)
    }

    fn redeliver(&mut self) -> Checked {
        self.process.views.as_mut().map_or(Ok(()), |views| views.redeliver(&*self.process.reader, &mut self.dice))
    }

    fn rebuild(&mut self) -> Checked {
        let Some(views) = &mut self.process.views else { return Ok(()) };
        views.rebuild(&*self.process.reader, &mut self.dice)
    }

    fn some_turn(&mut self) -> Checked {
        let jobs_max = if self.dice.percent(70) { usize::MAX } else { self.dice.below(4) };
        self.turn(jobs_max)
    }

    /// Lets the writer record one batch; then checks the new events, and then the responses.
    pub fn turn(&mut self, jobs_max: usize) -> Checked {
        self.process.stepped.step(jobs_max);
        self.runtime.block_on(yield_now());
        self.accept_clock();
        self.check()?;
        self.receive()
    }

    fn check(&mut self) -> Checked {
        for recorded in self.process.reader.after(self.books.position(), 100_000).map_err(|error| error.to_string())? {
            if recorded.position > self.shown {
                let (position, at) = (recorded.position, rfc3339(recorded.recorded_at));
                self.trace.line(format_args!("  {position} {at} {} on {}", recorded.event.name(), recorded.stream));
            }
            self.books.take(&recorded)?;
        }
        self.shown = self.books.position();
        self.latest = self.latest.max(self.clock.now());
        self.books.must_equal(self.process.stepped.balances(), self.latest)
    }

    /// Checks the whole log again, and everything that was ever acknowledged.
    fn check_from_start(&mut self) -> Checked {
        self.books = Books::default();
        self.check()?;
        self.clients.check(&self.books, self.policy)
    }

    fn accept_clock(&mut self) {
        let off = self.accepted_skew.map_or_else(|| self.micros_behind(), |accepted| (self.skew - accepted).abs());
        if off <= STEP_MAX_MICROS {
            self.accepted_skew = Some(self.skew);
        }
    }

    /// The distance of the wall clock behind the log.
    fn micros_behind(&self) -> i64 {
        (self.books.last_at() - self.clock.now()).num_microseconds().expect("a short time").max(0)
    }

    fn wait(&mut self) {
        let millis = match self.dice.below(20) {
            0 => self.dice.between(3_600_000, 30 * 3_600_000),
            1..=4 => self.dice.between(5_000, 50_000),
            _ => self.dice.between(0, 3_000),
        };
        self.clock.advance(Duration::from_millis(millis.unsigned_abs()));
    }

    fn step_clock(&mut self) {
        // A clock that is off is usually corrected.
        let by = if self.correction_micros() != 0 && self.dice.percent(70) {
            self.correction_micros()
        } else {
            let size = if self.dice.percent(60) { 50_000_000 } else { 3 * 3_600_000_000 };
            self.dice.between(-size, size)
        };
        self.step_clock_by(by);
    }

    /// The step that returns the clock to its accepted time, or to that of the log.
    fn correction_micros(&self) -> i64 {
        self.accepted_skew.map_or_else(|| self.micros_behind(), |accepted| accepted - self.skew)
    }

    fn step_clock_by(&mut self, micros: i64) {
        self.trace.line(format_args!("  by {micros}"));
        self.clock.step_wall(micros);
        self.skew += micros;
    }

    fn break_disk(&mut self) {
        match self.dice.below(4) {
            0 => self.process.slow_down(self.dice.between(1, 90_000).unsigned_abs()),
            1 => self.process.fill_disk(),
            2 if !self.process.is_locked() => self.process.lock(),
            _ => self.process.fail_commits(u32::try_from(self.dice.between(1, 3)).expect("a small number")),
        }
    }

    fn die(&mut self) -> Checked {
        let death = self.dice.weighted(&[
            (3, Death::BeforeCommit),
            (3, Death::InCommit),
            (3, Death::AfterCommit),
            (1, Death::InCheckpoint),
        ]);
        self.trace.line(format_args!("  {death:?}"));
        let before = self.process.ledger_image();
        let image = match death {
            Death::BeforeCommit => before,
            Death::InCommit => {
                self.process.stepped.step(usize::MAX);
                Image::within_commit(&before, &self.process.ledger_image(), &mut self.dice)
            }
            Death::AfterCommit => {
                self.process.stepped.step(usize::MAX);
                self.process.ledger_image()
            }
            Death::InCheckpoint => {
                self.process.checkpoint();
                Image::within_checkpoint(&before, &self.process.ledger_image(), &mut self.dice)
            }
        };
        self.start_again(&image)
    }

    fn restart(&mut self) -> Checked {
        // An orderly end needs a disk that works.
        self.process.repair_disk();
        self.process.close();
        self.accept_clock();
        self.check()?;
        self.receive()?;
        let image = self.process.ledger_image();
        self.start_again(&image)
    }

    /// Starts the next process on this ledger; the views may have lost some of their files.
    fn start_again(&mut self, ledger: &Image) -> Checked {
        let folder = self.disk.folder();
        ledger.put(&folder, LEDGER_FILE);
        if self.has_views {
            self.copy_views(&folder);
        }
        self.process = Process::begin(self.process.number + 1, folder, &self.clock, self.policy, self.has_views);
        self.check_from_start()?;
        // A clock that is far behind the log has to catch up first.
        let behind = self.micros_behind();
        self.accepted_skew = (behind <= STEP_MAX_MICROS).then_some(self.skew + behind);
        let views_at = self.process.views.as_ref().map(SimulatedViews::position);
        self.trace.line(format_args!("  again at {}, the views at {views_at:?}", self.books.position()));
        must(views_at.is_none_or(|at| at <= self.books.position()), || "the views are ahead of the log".to_owned())
    }

    /// Copies the files of the views, or a part of them.
    fn copy_views(&mut self, folder: &Path) {
        let views = Image::of(&self.process.folder, VIEWS_FILE);
        match self.dice.below(10) {
            0 => {}
            1..=3 => views.truncated(&mut self.dice).put(folder, VIEWS_FILE),
            _ => views.put(folder, VIEWS_FILE),
        }
    }

    /// Repairs disk and clock, and sends no more requests: every hold must end, and log, ledger and views must agree.
    fn finish(&mut self) -> Checked {
        self.trace.line(format_args!("rest"));
        self.process.repair_disk();
        self.step_clock_by(self.correction_micros());
        self.turn(usize::MAX)?;
        // Recorded time does not advance until the wall clock has caught up.
        let behind = Duration::from_micros(self.micros_behind().unsigned_abs());
        self.clock.advance(behind + TTL_MAX + Duration::from_secs(2));
        (0..3).try_for_each(|_| self.turn(usize::MAX))?;
        let open = self.books.accounts().iter().find(|account| account.charged.is_none());
        must(open.is_none(), || format!("the hold of {:?} never ends", open.map(|account| account.request)))?;
        must(self.process.is_idle(), || "a call never got a response".to_owned())?;
        self.clients.check(&self.books, self.policy)?;
        self.clients.check_at_rest(&self.books, self.process.number)?;
        let sound =
            verify(&*self.process.reader, Depth::Ledger, &mut |_, _| {}).map_err(|error| format!("verify: {error}"))?;
        must(sound.open_holds == 0 && sound.events == self.books.position(), || format!("verify: {sound:?}"))?;
        self.redeliver()?;
        let Some(views) = &mut self.process.views else { return Ok(()) };
        views.must_equal_rebuilt(
            &self.process.folder,
            &self.disk.folder(),
            &self.process.log,
            &*self.process.reader,
        )?;
        self.books.must_equal_views(&self.process.folder.join(VIEWS_FILE))
    }
}
