//! Balances as the fold of the log: what `decide` keeps up to date must at every position equal what this makes of the
//! events alone. A running ledger takes in only the budgets' own events this way; a start takes what came after the last
//! written rows, `verify` and the tests take all.

use chrono::{DateTime, Utc};

use super::{Balances, BudgetInForce, Hold};
use crate::event::hold::BudgetWindow;
use crate::event::{Event, Recorded};
use crate::ids::BudgetId;
use crate::money::NanoUsd;

/// An event that cannot follow on what came before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    #[error("a request that is admitted or held twice")]
    HeldTwice,
    #[error("the end of a hold that is not open")]
    NoOpenHold,
    #[error("a hold without its request's admission")]
    NotAdmitted,
    #[error("an amount at the hold's end differs from its beginning")]
    HoldDiffers,
    #[error("an amount that cannot be counted")]
    Overflow,
}

impl Balances {
    /// Takes in `budget.opened`, `budget.changed` and `budget.closed`; anything else changes nothing.
    pub(super) fn fold_budget(&mut self, event: &Event, position: u64, now: DateTime<Utc>) {
        match event {
            Event::BudgetOpened(budget) | Event::BudgetChanged(budget) => {
                let in_force = BudgetInForce {
                    scope: budget.scope,
                    limit: budget.limit_usd,
                    period: budget.period,
                    alert_at: budget.alert_at.clone(),
                    when_short: budget.when_short,
                    enforcement: budget.enforcement,
                    version: position,
                };
                if let Some(before) = self.forget_budget(budget.budget_id) {
                    let window_start = budget.period.window_start(now);
                    self.rearm(BudgetWindow { budget_id: budget.budget_id, window_start }, before.limit, &in_force);
                }
                self.budgets.insert(budget.budget_id, in_force);
                self.by_scope.entry(budget.scope).or_default().push(budget.budget_id);
            }
            Event::BudgetClosed(ended) => drop(self.forget_budget(ended.id)),
            _ => {}
        }
    }

    fn forget_budget(&mut self, id: BudgetId) -> Option<BudgetInForce> {
        let gone = self.budgets.remove(&id)?;
        if let Some(ids) = self.by_scope.get_mut(&gone.scope) {
            ids.retain(|other| *other != id);
        }
        Some(gone)
    }

    /// Takes in any recorded event.
    pub fn fold(&mut self, recorded: &Recorded) -> Result<(), FoldError> {
        let request = recorded.context.request_id;
        match &recorded.event {
            Event::InferenceAdmitted(admitted) => {
                self.admitted = request.map(|request| (request, admitted.model.clone()));
                Ok(())
            }
            Event::BudgetReserved(reserved) => {
                let request = request.ok_or(FoldError::NotAdmitted)?;
                let (_, model) =
                    self.admitted.take_if(|(admitted, _)| *admitted == request).ok_or(FoldError::NotAdmitted)?;
                if self.open.contains_key(&request) {
                    return Err(FoldError::HeldTwice);
                }
                self.shift(&reserved.budgets, NanoUsd::ZERO, reserved.held_usd)?;
                let hold = Hold {
                    held: reserved.held_usd,
                    windows: reserved.budgets.clone(),
                    admitted_at: recorded.recorded_at,
                    expires_at: reserved.expires_at,
                    model,
                    context: recorded.context.clone(),
                };
                self.open(request, hold);
                Ok(())
            }
            Event::BudgetSettled(end) => self.fold_end(recorded, end.held_usd, end.charged_usd, &end.budgets),
            Event::BudgetExpired(end) => self.fold_end(recorded, end.held_usd, end.charged_usd, &end.budgets),
            Event::BudgetReleased(end) => self.fold_end(recorded, end.held_usd, NanoUsd::ZERO, &end.budgets),
            Event::BudgetAdjusted(adjusted) => self.shift(&adjusted.budgets, adjusted.delta_usd, NanoUsd::ZERO),
            Event::BudgetThresholdReached(reached) => {
                self.note_announced(reached.window(), reached.fraction);
                Ok(())
            }
            other => {
                self.fold_budget(other, recorded.position, recorded.recorded_at);
                Ok(())
            }
        }
    }

    fn fold_end(
        &mut self,
        recorded: &Recorded,
        held: NanoUsd,
        charged: NanoUsd,
        windows: &[BudgetWindow],
    ) -> Result<(), FoldError> {
        let request = recorded.context.request_id.ok_or(FoldError::NoOpenHold)?;
        let hold = self.open.get(&request).ok_or(FoldError::NoOpenHold)?;
        if hold.held != held || hold.windows != windows {
            return Err(FoldError::HoldDiffers);
        }
        let given_back = NanoUsd::ZERO.checked_sub(held).ok_or(FoldError::Overflow)?;
        self.shift(windows, charged, given_back)?;
        self.close(request);
        Ok(())
    }

    fn shift(&mut self, windows: &[BudgetWindow], settled: NanoUsd, held: NanoUsd) -> Result<(), FoldError> {
        self.move_all(windows, settled, held).ok_or(FoldError::Overflow)
    }
}
