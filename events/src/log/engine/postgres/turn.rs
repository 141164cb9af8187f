//! Turns: whoever has lost a race takes its turn with the next batches, so that it does not lose them all.
//!
//! A turn is an advisory lock of the session, which becomes the lock of the transaction that appends and ends with its commit,
//! without another round trip. An append without a turn takes the lock only if nobody has it or waits for it, together with
//! others who do so: otherwise its gate stays closed, and it takes its turn as well. The order of the log never depends on
//! turns.

use std::time::{Duration, Instant};

use super::PostgresEngine;
use super::error::sqlstate;
use crate::log::LogError;

/// The advisory lock of turns, in the database's numbers of two parts: `LEDG`, `TURN`.
pub(super) const LOCK: (i32, i32) = (0x4C45_4447, 0x5455_524E);
/// A turn takes three round trips to the database. Nobody waits long for one whose process hangs: the gate needs no turns.
const TAKE: &str = "SELECT set_config('lock_timeout', '3s', true), pg_advisory_lock($1, $2)::text";
const END: &str = "SELECT pg_advisory_unlock($1, $2)";
/// How long the end may take. Callers are waiting for their answers.
const END_MAX: Duration = Duration::from_secs(2);
/// SQLSTATE `lock_not_available`.
const NOT_AVAILABLE: &str = "55P03";
/// How long turns do not count once one took too long.
const IGNORED: Duration = Duration::from_secs(30);

/// How an append stands to the turns of others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It waits for those who have lost a race.
    BesideTurns,
    InTurn,
    /// A process hangs in its turn.
    AgainstTurns,
}

#[derive(Default)]
pub(super) struct Turns {
    has_turn: bool,
    ignored_since: Option<Instant>,
}

impl Turns {
    pub(super) fn place(&self) -> Place {
        match self.has_turn {
            true => Place::InTurn,
            false if self.are_ignored() => Place::AgainstTurns,
            false => Place::BesideTurns,
        }
    }

    fn are_ignored(&self) -> bool {
        self.ignored_since.is_some_and(|since| since.elapsed() < IGNORED)
    }

    /// Notes that the turn has ended with an append.
    pub(super) fn is_over(&mut self) {
        self.has_turn = false;
    }
}

impl PostgresEngine {
    pub(super) fn begin_turn(&mut self) -> Result<(), LogError> {
        if self.turns.has_turn || self.turns.are_ignored() {
            return Ok(());
        }
        let (first, second) = LOCK;
        let taken = self
            .session
            .run(async |connection| sqlx::query(TAKE).bind(first).bind(second).execute(connection).await.map(drop));
        match taken {
            Ok(()) => {
                self.turns.has_turn = true;
                Ok(())
            }
            Err(error) if sqlstate(&error).as_deref() == Some(NOT_AVAILABLE) => {
                tracing::warn!("another node holds its turn for longer than three seconds; going on without turns");
                self.turns.ignored_since = Some(Instant::now());
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn finish_turn(&mut self) {
        if !std::mem::take(&mut self.turns.has_turn) {
            return;
        }
        let (first, second) = LOCK;
        let ended = self.session.run_for(END_MAX, async |connection| {
            Ok::<_, LogError>(sqlx::query(END).bind(first).bind(second).execute(connection).await.map(drop)?)
        });
        // The connection is not kept then, so that the database ends the turn.
        if let Err(error) = ended {
            tracing::warn!(%error, "a turn ended with its connection");
        }
    }
}
