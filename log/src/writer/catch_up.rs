//! Catching up with what other processes appended.
//!
//! In a shared log that is the normal case: their events are folded into the balances in memory, batch by batch, so that the
//! state is as of one position all the time. When somebody stores the rows of the state, they are as of a batch that every
//! other process folds as well. The only rows that a fold needs are of windows that were dropped from memory; if one of them
//! was stored later than the fold has come, the whole state is read again.
//!
//! The file of the embedded engine belongs to one process. If another one has written to it all the same, the state is read
//! again (ADR-0012).

use chrono::{DateTime, Utc};

use super::{CHECK_WRITABLE_EVERY, Engine, LATE, LogWriter};
use crate::LogError;
use crate::draft::Draft;
use crate::engine::EventPage;
use crate::recent_changes::RecentChanges;
use crate::state::{Folded, fold_page};

impl<E: Engine> LogWriter<E> {
    /// Follows the log while there is nothing else to do.
    pub(super) fn follow(&mut self, now: DateTime<Utc>) {
        match self.catch_up(now).and_then(|()| self.check_writable()) {
            Ok(()) => self.note_success(),
            Err(error) => {
                self.is_behind = true;
                self.note_wrong_clock(&error);
                if self.take_news(&error) {
                    tracing::error!(%error, "cannot follow the log");
                }
                self.figures.set_failing(true);
            }
        }
    }

    /// That the log can be read does not show that it can be written. Checked at the start, after a failure, and now and then, so
    /// that health shows it before a request fails.
    fn check_writable(&mut self) -> Result<(), LogError> {
        let is_recent = self.write_checked_at.is_some_and(|at| self.elapsed(at) < CHECK_WRITABLE_EVERY);
        if is_recent && !self.figures.is_failing() {
            return Ok(());
        }
        if self.figures.is_failing() {
            self.engine.must_take_writes()?;
        }
        // The engine compares the clocks before it says that the log has moved, which the next look finds out.
        let draft = Draft::new(self.position, self.clock.tick()?);
        let appended = self.engine.append(&draft, None);
        appended.map_err(|error| if self.is_late(&error) { LogError::Append(LATE.to_owned()) } else { error })?;
        self.write_checked_at = Some(self.options.clock.monotonic());
        Ok(())
    }

    /// Catches up with events that other processes appended.
    pub(super) fn catch_up(&mut self, now: DateTime<Utc>) -> Result<(), LogError> {
        let known = self.position;
        if self.needs_state || self.fold_new_events()? == Folded::InPart {
            self.read_state(now)?;
        }
        self.is_behind = false;
        if self.position != known {
            self.figures.show_holds(&self.balances);
            if self.turns.has_one() {
                self.turns.others_append();
            }
        }
        Ok(())
    }

    /// Folds and publishes the events after the last position, up to the end of the log.
    fn fold_new_events(&mut self) -> Result<Folded, LogError> {
        loop {
            let check = self.begin_head_check();
            let EventPage { events, is_checkpoint, is_last, appended_by } = self.engine.since(self.position)?;
            let Some(last) = events.last() else {
                self.figures.end_head_check(check);
                return Ok(Folded::Whole);
            };
            let (position, recorded_at) = (last.position, last.recorded_at);
            self.needs_state = true;
            if !E::IS_SHARED {
                return Ok(Folded::InPart);
            }
            let engine = &mut self.engine;
            let rows = |at, windows: &[_]| engine.windows_before(at, windows);
            if fold_page(&mut self.balances, &events, rows)? == Folded::InPart {
                return Ok(Folded::InPart);
            }
            self.note_recorded(&events);
            self.events_since_state += events.len();
            self.position = position;
            self.clock.recorded_by_others(recorded_at);
            if is_checkpoint {
                self.rows_are_written();
            }
            self.needs_state = false;
            self.publisher.publish(events, appended_by);
            if is_last {
                self.figures.end_head_check(check);
                return Ok(Folded::Whole);
            }
        }
    }

    /// Reads the state of the ledger again. Followers read the events up to it from the database.
    fn read_state(&mut self, now: DateTime<Utc>) -> Result<(), LogError> {
        let check = self.begin_head_check();
        let mut state = self.engine.state(now)?;
        // Read after the state: what is recorded later is folded.
        let recorded = self.engine.last_sequences(self.balances.rolled_up_refusals().collect())?;
        let is_recorded = |stream: &_| recorded.get(stream).is_some_and(|last| *last > 0);
        state.balances.take_refusals_of(&mut self.balances, is_recorded);
        self.balances = state.balances;
        self.owners = state.owners;
        self.changes = RecentChanges::after(state.last_administration);
        self.events_since_state = state.events_folded;
        self.position = state.head.position;
        if let Some(recorded_at) = state.head.recorded_at {
            self.clock.recorded_by_others(recorded_at);
        }
        self.needs_state = false;
        self.publisher.jump_to(state.head, state.last_administration);
        self.figures.end_head_check(check);
        Ok(())
    }
}
