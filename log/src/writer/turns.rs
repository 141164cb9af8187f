//! The turns of this process among others that append to the same log.
//!
//! Whoever has lost a race takes its turn before it decides again, so that it does not lose every race, and also before its next
//! batches, which others would otherwise overtake. A turn lasts for several batches if the callers keep asking: in each change
//! of turns, a node has to read what the others appended, and nobody appends meanwhile.

use std::time::Duration;

use super::{Engine, LogWriter};
use crate::LogError;
use crate::engine::TurnState;

/// The batches before which a process takes its turn, after it has lost a race or met the batches of others in its turn.
const BATCHES_AFTER_RACE: u32 = 16;
/// Maximum number of batches in one turn. With more, a change of turns costs less of the time, and the others wait longer.
const BATCHES_A_TURN: u32 = 8;
/// After this time no further batch belongs to a turn, however slow the commits: the others wait for three seconds in all, and
/// the database ends the session of a turn that lasts for two.
const TURN_MAX: Duration = Duration::from_millis(250);
/// How long a process in its turn waits for the next job: about as long as the callers of its last batch need to ask for more.
pub(super) const PAUSE: Duration = Duration::from_micros(200);
/// How often a process that waits for its turn reads what others have appended.
const READ_EVERY: Duration = Duration::from_millis(2);
/// A process that knew the end of the log this long ago may have much to read, which it does before its turn.
const FRESH_MAX: Duration = Duration::from_millis(500);

pub(super) struct TurnPolicy {
    /// Maximum number of batches in one turn.
    batches_max: u32,
    /// Batches before which this process takes its turn.
    due: u32,
    /// `None` without one.
    current: Option<CurrentTurn>,
    /// True if it has appended since the last look.
    is_used: bool,
}

#[derive(Clone, Copy)]
struct CurrentTurn {
    /// The batches that may still be appended in it.
    left: u32,
    /// The start of the turn by the monotonic clock.
    taken_at: Duration,
}

impl TurnPolicy {
    /// Turns of one batch each.
    pub(super) const fn of_one_batch() -> Self {
        Self { batches_max: 1, due: 0, current: None, is_used: false }
    }

    /// From now on, a turn may last for several batches.
    pub(super) const fn allow_several_batches(&mut self) {
        self.batches_max = BATCHES_A_TURN;
    }

    pub(super) const fn are_due(&self) -> bool {
        self.due > 0
    }

    pub(super) const fn has_one(&self) -> bool {
        self.current.is_some()
    }

    /// Notes that others append at the same time.
    pub(super) const fn others_append(&mut self) {
        self.due = BATCHES_AFTER_RACE;
    }

    /// Notes that this process has its turn.
    const fn taken(&mut self, now: Duration) {
        self.current = Some(CurrentTurn { left: self.batches_max, taken_at: now });
    }

    /// Notes an append.
    pub(super) fn appended(&mut self) {
        self.due = self.due.saturating_sub(1);
        if let Some(turn) = &mut self.current {
            turn.left = turn.left.saturating_sub(1);
        }
        self.is_used = true;
    }

    /// True if the turn has had all its batches, or its time.
    fn is_over(&self, now: Duration) -> bool {
        self.current.is_some_and(|CurrentTurn { left, taken_at }| left == 0 || now.saturating_sub(taken_at) >= TURN_MAX)
    }
}

impl<E: Engine> LogWriter<E> {
    /// Takes this process's turn, unless it has it. What others append while it waits is read at once, so that little is left
    /// to read in the turn.
    pub(super) fn take_turn(&mut self) -> Result<(), LogError> {
        if self.turns.has_one() {
            return Ok(());
        }
        if self.needs_state || self.elapsed(self.figures.head_confirmed_at()) > FRESH_MAX {
            self.read_before_turn()?;
        }
        self.engine.ask_for_turn();
        let turn = loop {
            match self.engine.wait_for_turn(READ_EVERY) {
                TurnState::Awaited => self.read_before_turn().inspect_err(|_| self.engine.end_turn())?,
                turn => break turn,
            }
        };
        if turn == TurnState::Held {
            self.turns.taken(self.options.clock.monotonic());
        }
        self.is_behind = true;
        Ok(())
    }

    fn read_before_turn(&mut self) -> Result<(), LogError> {
        let (now, known) = (self.clock.tick()?, self.position);
        self.catch_up(now)?;
        if self.position > known {
            self.turns.others_append();
        }
        Ok(())
    }

    /// Ends the turn, if there is one.
    pub(super) fn end_turn(&mut self) {
        if self.turns.current.take().is_some() {
            self.engine.end_turn();
        }
    }

    /// Ends a turn to which no further batch belongs.
    pub(super) fn end_turn_if_over(&mut self) {
        if self.turns.is_over(self.options.clock.monotonic()) {
            self.end_turn();
        }
    }

    /// Ends a turn in which nothing was appended since the last look.
    pub(super) fn end_unused_turn(&mut self) {
        if !std::mem::take(&mut self.turns.is_used) {
            self.end_turn();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_ends_with_its_last_batch_or_after_a_quarter_of_a_second() {
        let mut turns = TurnPolicy::of_one_batch();
        turns.allow_several_batches();
        for (commit_ms, batches) in [(0, 8), (30, 8), (40, 7), (100, 3), (249, 2), (250, 1), (3000, 1)] {
            let mut now = Duration::from_secs(9);
            turns.taken(now);
            let appended = std::iter::repeat_with(|| {
                now += Duration::from_millis(commit_ms);
                turns.appended();
                turns.is_over(now)
            });
            assert_eq!(1 + appended.take_while(|is_over| !is_over).count(), batches, "commits of {commit_ms} ms");
        }
    }
}
