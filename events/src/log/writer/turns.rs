//! The turns of this process among others that append to the same log.
//!
//! Whoever has lost a race takes its turn before it decides again, so that it does not lose every race, and also before its next
//! batches, which others would otherwise overtake. A turn lasts for several batches if the callers keep asking: in each change
//! of turns, a node has to read what the others appended, and nobody appends meanwhile.

use std::time::Duration;

use super::{Engine, Writer};
use crate::log::LogError;
use crate::log::engine::TurnState;

/// The batches before which a process takes its turn, after it has lost a race or met the batches of others in its turn.
const BATCHES_AFTER_RACE: u32 = 16;
/// Maximum number of batches in one turn. With more, a change of turns costs less of the time, and the others wait longer.
const BATCHES_A_TURN: u32 = 8;
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
    /// The batches that it may still append in its turn; `None` without one.
    left: Option<u32>,
    /// True if it has appended since the last look.
    is_used: bool,
}

impl TurnPolicy {
    /// Turns of one batch each.
    pub(super) const fn of_one_batch() -> Self {
        Self { batches_max: 1, due: 0, left: None, is_used: false }
    }

    /// From now on, a turn may last for several batches.
    pub(super) const fn allow_several_batches(&mut self) {
        self.batches_max = BATCHES_A_TURN;
    }

    pub(super) const fn are_due(&self) -> bool {
        self.due > 0
    }

    pub(super) const fn has_one(&self) -> bool {
        self.left.is_some()
    }

    /// Notes that others append at the same time.
    pub(super) const fn others_append(&mut self) {
        self.due = BATCHES_AFTER_RACE;
    }

    /// Notes an append.
    pub(super) fn appended(&mut self) {
        self.due = self.due.saturating_sub(1);
        self.left = self.left.map(|left| left.saturating_sub(1));
        self.is_used = true;
    }
}

impl<E: Engine> Writer<E> {
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
        self.turns.left = (turn == TurnState::Held).then_some(self.turns.batches_max);
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
        if self.turns.left.take().is_some() {
            self.engine.end_turn();
        }
    }

    /// Ends a turn that has had all its batches.
    pub(super) fn end_full_turn(&mut self) {
        if self.turns.left == Some(0) {
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
