//! The check of the stored state, as of its checkpoint: balances and open holds row by row, and the blocks of each owner.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use events::event::hold::BudgetWindow;
use events::fraction::Fraction;
use events::ids::RequestId;
use events::ledger::{Amounts, Balances, Hold};

use super::VerifyError;
use super::owners::Owners;
use crate::Reader;
use crate::owners::Owner;
use crate::raw::StateRow;
use crate::state::StoredWindow;

/// The stored state when the check began.
#[derive(Default)]
pub(super) struct StoredState {
    /// The log's last position at that time.
    pub(super) head: u64,
    /// The position as of which the rows are.
    pub(super) state_at: u64,
    balances: BTreeMap<BudgetWindow, (Amounts, BTreeSet<Fraction>)>,
    open_holds: HashMap<RequestId, Hold>,
    owners: Owners<String>,
    /// Why a row could not be read, if any.
    unreadable: Option<String>,
}

impl StoredState {
    /// Reads the state in one snapshot. A writer may go on; its later rows are ignored.
    pub(super) fn read(reader: &dyn Reader) -> Result<Self, VerifyError> {
        let mut state = Self::default();
        let positions = reader.state_rows(&mut |row| match row {
            StateRow::OwnerBlock { owner, block } => state.owners.add(owner, block),
            StateRow::Balance(Ok(StoredWindow { window, amounts, announced })) => {
                state.balances.insert(window, (amounts, announced));
            }
            StateRow::OpenHold(Ok((request, hold))) => drop(state.open_holds.insert(request, hold)),
            StateRow::Balance(Err(error)) | StateRow::OpenHold(Err(error)) => {
                state.unreadable = Some(error.reason());
            }
        })?;
        (state.head, state.state_at) = (positions.head, positions.state_at);
        Ok(state)
    }

    /// Compares the rows with the fold.
    ///
    /// Errors: the first difference.
    pub(super) fn must_equal(&self, fold: &Balances, owners: &Owners<Owner>) -> Result<(), String> {
        if let Some(unreadable) = &self.unreadable {
            return Err(unreadable.clone());
        }
        self.balances_must_equal(fold)?;
        self.open_holds_must_equal(fold)?;
        self.owners.must_equal(owners)
    }

    fn balances_must_equal(&self, fold: &Balances) -> Result<(), String> {
        let folded: BTreeMap<&BudgetWindow, &Amounts> = fold.windows().collect();
        if let Some(window) = self.balances.keys().find(|window| !fold.knows_window(window)) {
            return Err(format!("a balance of {window}, which no event has moved"));
        }
        for (window, events) in folded {
            let Some((row, announced)) = self.balances.get(window) else {
                return Err(format!("there is no balance of {window}"));
            };
            if row != events {
                return Err(format!(
                    "{window} has {} USD charged and {} USD held by its events, and {} and {} in the table of balances",
                    events.settled, events.held, row.settled, row.held
                ));
            }
            if !announced.iter().copied().eq(fold.announced(window)) {
                return Err(format!("other alerts of {window} than its events in the table of balances"));
            }
        }
        Ok(())
    }

    fn open_holds_must_equal(&self, fold: &Balances) -> Result<(), String> {
        let differs = fold.open_holds().filter(|(request, hold)| self.open_holds.get(request) != Some(hold));
        let not_open = self.open_holds.keys().filter(|request| fold.open_hold(**request).is_none());
        // The smallest, because hash maps have no order and the message must be stable.
        match differs.map(|(request, _)| request).chain(not_open).min() {
            None => Ok(()),
            Some(request) => Err(format!("the table of open holds differs from the events for {request}")),
        }
    }
}
