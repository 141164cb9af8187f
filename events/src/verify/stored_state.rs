//! The check of the stored state, as of its checkpoint: balances and open holds row by row, and the blocks of each owner.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::str::FromStr;

use super::VerifyError;
use super::owners::Owners;
use crate::event::hold::BudgetWindow;
use crate::fraction::Fraction;
use crate::ids::RequestId;
use crate::ledger::{Amounts, Balances, Hold};
use crate::log::Reader;
use crate::log::owners::Owner;
use crate::log::raw::{BalanceRow, OpenHoldRow, StateRow};
use crate::money::NanoUsd;
use crate::time::from_micros;

/// The stored state when the check began.
#[derive(Default)]
pub(super) struct StoredState {
    /// The log's last position at that time.
    pub(super) head: u64,
    /// The position as of which the rows are.
    pub(super) state_at: u64,
    balances: BTreeMap<BudgetWindow, Amounts>,
    announced: BTreeMap<BudgetWindow, BTreeSet<Fraction>>,
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
            StateRow::Balance(row) => state.add_balance(row),
            StateRow::OpenHold(row) => state.add_open_hold(&row),
        })?;
        (state.head, state.state_at) = (positions.head, positions.state_at);
        Ok(state)
    }

    fn add_balance(&mut self, row: BalanceRow) {
        let Some(budget_id) = self.parse(&row.budget_id) else { return };
        let window = BudgetWindow { budget_id, window_start: row.window_start.map(from_micros) };
        let amounts = Amounts { settled: NanoUsd::new(row.settled_nanos), held: NanoUsd::new(row.held_nanos) };
        self.balances.insert(window, amounts);
        match row.announced {
            Ok(announced) => drop(self.announced.insert(window, announced)),
            Err(error) => self.unreadable = Some(format!("what was announced of {}: {error}", named(&window))),
        }
    }

    fn add_open_hold(&mut self, row: &OpenHoldRow) {
        let Some(request) = self.parse(&row.request_id) else { return };
        match Hold::from_json(NanoUsd::new(row.held_nanos), from_micros(row.expires_at_micros), &row.hold) {
            Ok(hold) => drop(self.open_holds.insert(request, hold)),
            Err(error) => self.unreadable = Some(format!("the open hold of {request} cannot be read: {error}")),
        }
    }

    fn parse<T: FromStr<Err: Display>>(&mut self, text: &str) -> Option<T> {
        text.parse().inspect_err(|error| self.unreadable = Some(format!("{text}: {error}"))).ok()
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
            return Err(format!("a balance of {}, which no event has moved", named(window)));
        }
        for (window, events) in folded {
            let Some(row) = self.balances.get(window) else {
                return Err(format!("there is no balance of {}", named(window)));
            };
            if row != events {
                return Err(format!(
                    "{} has {} USD charged and {} USD held by its events, and {} and {} in the table of balances",
                    named(window),
                    events.settled,
                    events.held,
                    row.settled,
                    row.held
                ));
            }
            let announced = self.announced.get(window).into_iter().flatten().copied();
            if !announced.eq(fold.announced(window)) {
                return Err(format!("other alerts of {} than its events in the table of balances", named(window)));
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

fn named(window: &BudgetWindow) -> String {
    match window.window_start {
        None => window.budget_id.to_string(),
        Some(start) => format!("{} from {}", window.budget_id, start.date_naive()),
    }
}
