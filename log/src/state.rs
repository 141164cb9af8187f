//! The ledger's state: its stored rows as of their checkpoint, and the fold of the events after it.

use std::borrow::{Borrow, Cow};
use std::collections::BTreeSet;

use events::event::hold::BudgetWindow;
use events::event::{Change, Event, Recorded, Resource};
use events::fraction::Fraction;
use events::ledger::{Amounts, Balances};

use super::owners::OwnerBlocks;
use super::{Head, LogError};

/// The ledger's state at the head of the log.
pub(super) struct State {
    pub(super) head: Head,
    /// Position of the last administrative event; 0 before the first.
    pub(super) last_administration: u64,
    pub(super) balances: Balances,
    /// The blocks of the events after the checkpoint.
    pub(super) owners: OwnerBlocks,
    /// The number of events after the checkpoint.
    pub(super) events_folded: usize,
}

/// The stored row of a window: its amounts, and the fractions that were announced for it.
#[derive(Clone, Debug)]
pub struct StoredWindow {
    pub window: BudgetWindow,
    pub amounts: Amounts,
    pub announced: BTreeSet<Fraction>,
}

/// The result of folding events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Folded {
    Whole,
    /// The balances are of no position: a window that had been dropped from memory is stored as it was later.
    InPart,
}

/// Folds recorded events, in order. `rows` reads the stored rows of windows that may have been dropped from memory, as they
/// were before the event at this position; `None` if they are of a later position.
pub(super) fn fold_page(
    balances: &mut Balances,
    page: &[impl Borrow<Recorded>],
    mut rows: impl FnMut(u64, &[BudgetWindow]) -> Result<Option<Vec<StoredWindow>>, LogError>,
) -> Result<Folded, LogError> {
    for recorded in page.iter().map(Borrow::borrow) {
        let touched = touched_windows(recorded);
        if touched.iter().any(|window| !balances.knows_window(window)) {
            let Some(rows) = rows(recorded.position, &touched)? else { return Ok(Folded::InPart) };
            for row in rows {
                balances.restore_window(row.window, row.amounts, row.announced);
            }
        }
        let broken = |error| LogError::Stored(format!("position {}: {error}", recorded.position));
        balances.fold(recorded).map_err(broken)?;
    }
    Ok(Folded::Whole)
}

/// The windows whose amounts or alerts the event changes.
pub(super) fn touched_windows(recorded: &Recorded) -> Cow<'_, [BudgetWindow]> {
    match &recorded.event {
        Event::Hold(hold) => hold.windows(),
        Event::Resource(Resource::Budget(Change::Changed(budget))) => {
            let window_start = budget.period.window_start(recorded.recorded_at);
            Cow::Owned(vec![BudgetWindow { budget_id: budget.budget_id, window_start }])
        }
        _ => Cow::Borrowed(&[]),
    }
}
