//! Balances as the fold of the log: at every position, the balances that the decisions maintain must equal the fold of the events
//! alone. A running ledger folds only the budgets' own events; a start folds the events after the last written rows, and
//! `verify` and the tests fold all.

use chrono::{DateTime, Utc};

use super::journal::Undo;
use super::{Balances, BrokeredHold, BudgetInForce, Hold, SummedWindows};
use crate::event::admin::Budget;
use crate::event::hold::{BudgetWindow, Movement};
use crate::event::{self, Alert, Change, Event, Inference, Recorded, Resource};
use crate::ids::BudgetId;
use crate::money::{NanoUsd, NanoUsdSum};

/// Why an event cannot follow the events before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    #[error("the request already has an open hold")]
    HeldTwice,
    #[error("the hold that it ends is not open")]
    NoOpenHold,
    #[error("the hold's request was not admitted right before it")]
    NotAdmitted,
    #[error("the amount or the windows at the hold's end differs from its beginning")]
    HoldDiffers,
}

impl Balances {
    /// Folds a change of a budget itself, at the position that it gets.
    pub fn fold_budget(&mut self, change: &Change<Budget>, position: u64, now: DateTime<Utc>) {
        match change {
            Change::Created(budget) | Change::Changed(budget) => {
                if let Some(before) = self.forget_budget(budget.budget_id) {
                    let window_start = budget.period.window_start(now);
                    self.rearm(BudgetWindow { budget_id: budget.budget_id, window_start }, before, budget.limit_usd);
                }
                self.budgets
                    .insert(budget.budget_id, BudgetInForce { budget: budget.as_ref().clone(), version: position });
                self.by_scope.push(&budget.scope, budget.budget_id);
                self.journal.note(|| Undo::NoBudget(budget.budget_id));
            }
            Change::Ended(budget) => {
                self.forget_budget(*budget);
            }
        }
    }

    /// Removes a budget; returns its limit, if it was open.
    fn forget_budget(&mut self, id: BudgetId) -> Option<NanoUsd> {
        let in_force = self.budgets.remove(&id)?;
        let limit = in_force.budget.limit_usd;
        let place = self.by_scope.remove(&in_force.budget.scope, id);
        self.journal.note(|| Undo::Budget { budget_id: id, in_force, place });
        Some(limit)
    }

    /// Folds any recorded event. Every event of a hold or an alert has to be named here; of the other families only those
    /// named here concern balances.
    pub fn fold(&mut self, recorded: &Recorded) -> Result<(), FoldError> {
        match &recorded.event {
            Event::Hold(hold) => return self.fold_hold(recorded, hold),
            Event::Inference(Inference::Admitted(admitted)) => {
                self.admitted = recorded.context.request_id.map(|request| (request, admitted.model.clone()));
            }
            Event::Inference(Inference::Refused(_)) => self.fold_refusal(recorded),
            Event::Resource(Resource::Budget(change)) => {
                self.fold_budget(change, recorded.position, recorded.recorded_at);
            }
            Event::Alert(Alert::BudgetThresholdReached(reached)) => {
                self.note_announced(reached.window(), reached.fraction);
            }
            Event::Inference(_) | Event::Resource(_) | Event::Access(_) => {}
        }
        Ok(())
    }

    fn fold_hold(&mut self, recorded: &Recorded, hold: &event::Hold) -> Result<(), FoldError> {
        match hold {
            event::Hold::Reserved(reserved) => {
                let request = recorded.context.request_id.ok_or(FoldError::NotAdmitted)?;
                let (_, model) =
                    self.admitted.take_if(|(admitted, _)| *admitted == request).ok_or(FoldError::NotAdmitted)?;
                if self.open.contains_key(&request) {
                    return Err(FoldError::HeldTwice);
                }
                let brokered = reserved.brokered.as_ref();
                let brokered = brokered.map(|part| BrokeredHold { held: part.held_usd, windows: part.budgets.clone() });
                let hold = Hold {
                    held: reserved.held_usd,
                    windows: reserved.budgets.clone(),
                    brokered: brokered.map(Box::new),
                    admitted_at: recorded.recorded_at,
                    expires_at: reserved.expires_at,
                    model,
                    context: recorded.context.clone(),
                    summed: SummedWindows::default(),
                };
                self.move_opened(&hold);
                self.open(request, hold);
            }
            event::Hold::Settled(_) | event::Hold::Expired(_) | event::Hold::Released(_) => {
                let request = recorded.context.request_id.ok_or(FoldError::NoOpenHold)?;
                let open = self.open.get(&request).ok_or(FoldError::NoOpenHold)?;
                if !open.parts().eq(hold.movements().map(|moved| (NanoUsdSum::from(moved.released), moved.windows))) {
                    return Err(FoldError::HoldDiffers);
                }
                self.fold_movements(hold);
                self.close(request);
            }
            event::Hold::Adjusted(_) => self.fold_movements(hold),
        }
        Ok(())
    }

    fn fold_movements(&mut self, hold: &event::Hold) {
        for Movement { windows, settled, held, released } in hold.movements() {
            self.move_all(windows, settled.into(), NanoUsdSum::from(held) - released.into());
        }
    }
}
