//! A budget: how much its scope may spend in a period. Scope and period are its own for ever, since the windows that
//! money is counted in hang on them; its limit may rise and fall.

use events::event::admin::{Budget, Ended};
use events::ids::BudgetId;
use events::money::NanoUsd;

use crate::admin::life::{Life, LifeError, admin_aggregate};

/// What can be done to a budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BudgetCommand {
    /// As it will stand in the log.
    OpenBudget(Budget),
    ChangeBudget(ChangeBudget),
    CloseBudget,
}

/// `None` keeps what is there. A limit below what is spent ends no hold, and admits none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeBudget {
    pub limit_usd: Option<NanoUsd>,
}

/// Why a command to a budget is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    #[error(transparent)]
    Life(#[from] LifeError),
    #[error("must not be negative")]
    NegativeLimit,
}

admin_aggregate! {
    Budget, Budget, "budget", BudgetCommand, BudgetError,
    /// What can have happened to a budget.
    BudgetFact { BudgetOpened(Budget), BudgetChanged(Budget), BudgetClosed(Ended<BudgetId>) }
}

fn decide(life: &Life<Budget>, command: BudgetCommand) -> Result<Vec<BudgetFact>, BudgetError> {
    match command {
        BudgetCommand::OpenBudget(opened) => {
            life.absent()?;
            Ok(vec![BudgetFact::BudgetOpened(sound(opened)?)])
        }
        BudgetCommand::ChangeBudget(change) => {
            let current = life.live()?;
            let limit_usd = change.limit_usd.unwrap_or(current.limit_usd);
            Ok(vec![BudgetFact::BudgetChanged(sound(Budget { limit_usd, ..current.clone() })?)])
        }
        BudgetCommand::CloseBudget => Ok(life.end(|state| BudgetFact::BudgetClosed(Ended { id: state.budget_id }))?),
    }
}

fn sound(budget: Budget) -> Result<Budget, BudgetError> {
    if budget.limit_usd.is_negative() { Err(BudgetError::NegativeLimit) } else { Ok(budget) }
}

fn evolve(life: &mut Life<Budget>, fact: BudgetFact) {
    match fact {
        BudgetFact::BudgetOpened(state) | BudgetFact::BudgetChanged(state) => *life = Life::Live(state),
        BudgetFact::BudgetClosed(_) => life.has_ended(),
    }
}

#[cfg(test)]
mod tests {
    use events::event::admin::{Enforcement, Scope, WhenShort};
    use events::time::Period;

    use super::BudgetCommand::{ChangeBudget as Change, CloseBudget, OpenBudget};
    use super::BudgetFact::{BudgetChanged, BudgetClosed, BudgetOpened};
    use super::*;
    use crate::admin::life::spec::id;

    fn budget(nanos: i64) -> Budget {
        Budget {
            budget_id: id(1),
            scope: Scope::Tenant(id(2)),
            limit_usd: NanoUsd::new(nanos),
            period: Period::Month,
            alert_at: vec![],
            when_short: WhenShort::Refuse,
            enforcement: Enforcement::Hard,
        }
    }

    fn limit(nanos: i64) -> BudgetCommand {
        Change(ChangeBudget { limit_usd: Some(NanoUsd::new(nanos)) })
    }

    #[test]
    fn a_limit_rises_and_falls_to_nothing_but_not_below() {
        given([]).when(OpenBudget(budget(5))).then([BudgetOpened(budget(5))]);
        given([BudgetOpened(budget(5))]).when(limit(9)).then([BudgetChanged(budget(9))]);
        given([BudgetOpened(budget(5))]).when(limit(0)).then([BudgetChanged(budget(0))]);
        given([BudgetOpened(budget(5))]).when(limit(-1)).then_refused(BudgetError::NegativeLimit);
        given([]).when(OpenBudget(budget(-1))).then_refused(BudgetError::NegativeLimit);
    }

    #[test]
    fn a_closed_budget_stays_closed() {
        let closed = || BudgetClosed(Ended { id: id(1) });
        given([BudgetOpened(budget(5))]).when(CloseBudget).then([closed()]);
        given([BudgetOpened(budget(5)), closed()]).when(CloseBudget).then_nothing();
        given([BudgetOpened(budget(5)), closed()]).when(limit(9)).then_refused(BudgetError::Life(LifeError::Ended));
        given([]).when(CloseBudget).then_refused(BudgetError::Life(LifeError::Absent));
    }
}
