//! Turns: whoever has lost a race takes its turn with the next batches, so that it does not lose them all.
//!
//! A turn is an advisory lock, which the database gives in the order in which it was asked for. It belongs to a session of its
//! own with a thread that waits for it, so that the writer goes on reading what others append in their turns. An append without
//! a turn takes the lock only if nobody has it or waits for it, together with others who do so: otherwise its gate stays
//! closed, and it takes its turn as well. The order of the log never depends on turns.

use std::io::ErrorKind;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::database::DatabaseAddress;
use super::error::{sqlstate, unavailable};
use super::session::Session;
use crate::log::LogError;
use crate::log::engine::TurnState;

/// The advisory lock of turns, in the database's numbers of two parts: `LEDG`, `TURN`.
pub(super) const LOCK: (i32, i32) = (0x4C45_4447, 0x5455_524E);
/// A turn takes a few round trips to the database. Nobody waits long for a process that hangs in its own: the gate needs no
/// turns.
const TAKE: &str = "SELECT set_config('lock_timeout', '3s', true), pg_advisory_lock($1, $2)::text";
const END: &str = "SELECT pg_advisory_unlock($1, $2)";
/// SQLSTATE `lock_not_available`.
const NOT_AVAILABLE: &str = "55P03";
/// How long turns do not count once one took too long, or there is no thread to wait for them.
const IGNORED: Duration = Duration::from_secs(30);
/// How long they do not count at first once the connection of turns has failed, and twice as long after each further failure.
const IGNORED_WITHOUT_CONNECTION_AT_FIRST: Duration = Duration::from_millis(250);
/// The longest of these times.
const IGNORED_WITHOUT_CONNECTION_MAX: Duration = Duration::from_secs(10);
/// But after a try whose connection hung, they do not count for at least so many times as long as it took, during which nothing was
/// appended: such a connection takes no more than a quarter of a node's time.
const IGNORED_FOR_TRIES: u32 = 3;
/// The failures in a row after which they do not count. A connection that was closed and can be opened again still takes its turn.
const FAILURES_MAX: u32 = 2;

/// The turns of this process, as its writer sees them.
pub(super) struct TurnLock {
    database: DatabaseAddress,
    /// Started when it is first needed.
    thread: Option<LockThread>,
    turn: TurnState,
    /// The number of the turn that was asked for last.
    number: u64,
    /// Failures since a turn was last taken.
    failures: u32,
    ignored_until: Option<Instant>,
}

/// The thread with the session of the lock. It ends when its orders do.
struct LockThread {
    orders: Sender<LockOrder>,
    answers: Receiver<LockAnswer>,
}

enum LockOrder {
    Take { number: u64 },
    End,
}

struct LockAnswer {
    number: u64,
    outcome: LockOutcome,
}

enum LockOutcome {
    Taken,
    /// Another process does not give it up.
    TimedOut,
    /// The connection was lost, or could not be opened.
    Failed {
        error: sqlx::Error,
        /// How long this try took, which may have waited in line before its connection was lost.
        took: Duration,
    },
}

impl TurnLock {
    /// None yet, in this database.
    pub(super) const fn new(database: DatabaseAddress) -> Self {
        Self { database, thread: None, turn: TurnState::NotHeld, number: 0, failures: 0, ignored_until: None }
    }

    /// True if an append must not be written while another node has its turn, or waits for it.
    pub(super) fn must_be_respected(&self) -> bool {
        self.turn != TurnState::Held && !self.are_ignored()
    }

    pub(super) fn ask(&mut self) {
        if self.turn != TurnState::NotHeld || self.are_ignored() {
            return;
        }
        self.number += 1;
        if self.order(LockOrder::Take { number: self.number }) {
            self.turn = TurnState::Awaited;
        } else {
            self.ignore(IGNORED);
        }
    }

    pub(super) fn wait(&mut self, max: Duration) -> TurnState {
        let until = Instant::now() + max;
        while self.turn == TurnState::Awaited {
            let Some(thread) = &self.thread else { break };
            match thread.answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
                // Of a turn that was given up before it was taken.
                Ok(LockAnswer { number, .. }) if number != self.number => {}
                Ok(LockAnswer { outcome, .. }) => self.note(outcome),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    tracing::warn!("the thread of turns has ended; going on without turns");
                    self.thread = None;
                    self.turn = TurnState::NotHeld;
                    self.ignore(IGNORED);
                }
            }
        }
        self.turn
    }

    fn note(&mut self, outcome: LockOutcome) {
        self.turn = TurnState::NotHeld;
        match outcome {
            LockOutcome::Taken => {
                self.turn = TurnState::Held;
                self.failures = 0;
            }
            LockOutcome::TimedOut => self.ignore(IGNORED),
            LockOutcome::Failed { error, took } => {
                self.failures += 1;
                if self.failures == FAILURES_MAX {
                    tracing::warn!(%error, "the connection of turns failed again; going on without turns");
                }
                self.ignore(ignored_after(self.failures, &error, took));
            }
        }
    }

    /// Ends the turn, also one that is still waited for.
    pub(super) fn end(&mut self) {
        if std::mem::replace(&mut self.turn, TurnState::NotHeld) != TurnState::NotHeld {
            self.order(LockOrder::End);
        }
    }

    fn order(&mut self, order: LockOrder) -> bool {
        if self.thread.is_none() {
            let started = LockThread::start(&self.database);
            let warn = |error: &_| tracing::warn!(%error, "cannot start the thread of turns; going on without turns");
            self.thread = started.inspect_err(warn).ok();
        }
        let is_sent = self.thread.as_ref().is_some_and(|thread| thread.orders.send(order).is_ok());
        if !is_sent {
            self.thread = None;
        }
        is_sent
    }

    fn ignore(&mut self, time: Duration) {
        self.ignored_until = Some(Instant::now() + time);
    }

    fn are_ignored(&self) -> bool {
        self.ignored_until.is_some_and(|until| Instant::now() < until)
    }
}

/// How long turns do not count after so many failures in a row, of which the last was this one and took this long.
fn ignored_after(failures: u32, error: &sqlx::Error, took: Duration) -> Duration {
    let by_failures = failures.checked_sub(FAILURES_MAX).map_or(Duration::ZERO, |more| {
        (IGNORED_WITHOUT_CONNECTION_AT_FIRST * 2_u32.pow(more.min(6))).min(IGNORED_WITHOUT_CONNECTION_MAX)
    });
    if hung(error) { by_failures.max(took * IGNORED_FOR_TRIES) } else { by_failures }
}

/// True if the connection did not answer. Others were refused or closed, also while they waited in line.
fn hung(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() == ErrorKind::TimedOut)
}

impl LockThread {
    fn start(database: &DatabaseAddress) -> Result<Self, LogError> {
        let session = Session::new(database.clone())?;
        let ((orders, received), (sent, answers)) = (channel(), channel());
        std::thread::Builder::new()
            .name("ledger-turns".to_owned())
            .spawn(move || carry_out(session, &received, &sent))
            .map_err(|error| unavailable(format!("cannot start a thread: {error}")))?;
        Ok(Self { orders, answers })
    }
}

fn carry_out(mut session: Session, orders: &Receiver<LockOrder>, answers: &Sender<LockAnswer>) {
    while let Ok(order) = orders.recv() {
        match order {
            LockOrder::Take { number } => {
                let outcome = take(&mut session);
                if answers.send(LockAnswer { number, outcome }).is_err() {
                    break;
                }
            }
            LockOrder::End => end(&mut session),
        }
    }
    session.close();
}

fn take(session: &mut Session) -> LockOutcome {
    let (first, second) = LOCK;
    let began = Instant::now();
    let taken =
        session.run(async |connection| sqlx::query(TAKE).bind(first).bind(second).execute(connection).await.map(drop));
    match taken {
        Ok(()) => LockOutcome::Taken,
        Err(error) if sqlstate(&error).as_deref() == Some(NOT_AVAILABLE) => {
            tracing::warn!("another node holds its turn for longer than three seconds; going on without turns");
            LockOutcome::TimedOut
        }
        Err(error) => LockOutcome::Failed { error, took: began.elapsed() },
    }
}

/// If it fails, or the turn has lasted for too long, the connection is not kept, and the turn ends with it.
fn end(session: &mut Session) {
    let (first, second) = LOCK;
    let ended =
        session.run_if_open(async |connection| sqlx::query(END).bind(first).bind(second).execute(connection).await);
    if let Some(Err(error)) = ended {
        tracing::debug!(%error, "a turn ended with its connection");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_whose_thread_has_ended_is_not_waited_for() {
        let mut turns = TurnLock::new("postgres://localhost/ledger".parse().expect("an address"));
        let ((orders, _received), (_, answers)) = (channel(), channel());
        turns.thread = Some(LockThread { orders, answers });
        turns.ask();
        assert_eq!(turns.wait(Duration::from_secs(1)), TurnState::NotHeld);
        assert!(!turns.must_be_respected(), "nobody could take it");
        turns.ask();
        assert_eq!(turns.wait(Duration::from_secs(1)), TurnState::NotHeld);
    }

    /// How long turns do not count after each of so many failures in a row that took this long, in milliseconds.
    fn ignored_ms(count: usize, kind: ErrorKind, took: Duration) -> Vec<u128> {
        let mut turns = TurnLock::new("postgres://localhost/ledger".parse().expect("an address"));
        let failed = std::iter::repeat_with(|| {
            let before = Instant::now();
            turns.note(LockOutcome::Failed { error: sqlx::Error::Io(kind.into()), took });
            // The clock goes on a little meanwhile.
            turns.ignored_until.map_or(0, |until| (until - before).as_millis() / 50 * 50)
        });
        failed.take(count).collect()
    }

    #[test]
    fn a_refused_connection_is_tried_again_soon_and_then_later_and_later() {
        let refused = ignored_ms(9, ErrorKind::ConnectionRefused, Duration::from_millis(2));
        assert_eq!(refused, [0, 250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
    }

    #[test]
    fn a_connection_that_is_closed_while_it_waits_in_line_is_opened_again_as_soon() {
        for kind in [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset] {
            assert_eq!(ignored_ms(3, kind, Duration::from_millis(2900)), [0, 250, 500], "{kind}");
        }
    }

    #[test]
    fn a_connection_that_hangs_takes_no_more_than_a_quarter_of_the_time() {
        let hung_ms = |count, took| ignored_ms(count, ErrorKind::TimedOut, took);
        assert_eq!(hung_ms(4, Duration::from_millis(300)), [900, 900, 900, 1000]);
        assert_eq!(hung_ms(8, Duration::from_secs(3)), [9000, 9000, 9000, 9000, 9000, 9000, 9000, 10_000]);
        assert_eq!(hung_ms(8, Duration::from_secs(9)), [27_000; 8], "opened, but without an answer");
    }
}
