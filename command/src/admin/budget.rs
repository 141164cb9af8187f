//! A budget: how much its scope may spend in a period. Scope and period are its own for ever, since the windows that
//! money is counted in hang on them; its limit may rise and fall, and so may what is done when it is short and at which
//! fractions of it somebody wants to know.

use events::event::admin::{Budget, Ended, Enforcement, WhenShort};
use events::fraction::Fraction;
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
    pub alert_at: Option<Vec<Fraction>>,
    pub when_short: Option<WhenShort>,
    pub enforcement: Option<Enforcement>,
}

impl ChangeBudget {
    fn over(self, current: &Budget) -> Budget {
        Budget {
            limit_usd: self.limit_usd.unwrap_or(current.limit_usd),
            alert_at: self.alert_at.unwrap_or_else(|| current.alert_at.clone()),
            when_short: self.when_short.unwrap_or(current.when_short),
            enforcement: self.enforcement.unwrap_or(current.enforcement),
            ..current.clone()
        }
    }
}

/// Why a command to a budget is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    #[error(transparent)]
    Life(#[from] LifeError),
    #[error("must not be negative")]
    NegativeLimit,
    #[error("has {0} twice")]
    AlertRepeated(Fraction),
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
        BudgetCommand::ChangeBudget(change) => Ok(vec![BudgetFact::BudgetChanged(sound(change.over(life.live()?))?)]),
        BudgetCommand::CloseBudget => Ok(life.end(|state| BudgetFact::BudgetClosed(Ended { id: state.budget_id }))?),
    }
}

/// Rules which hold after every command; alerts are put in order.
fn sound(mut budget: Budget) -> Result<Budget, BudgetError> {
    if budget.limit_usd.is_negative() {
        return Err(BudgetError::NegativeLimit);
    }
    budget.alert_at.sort_unstable();
    match budget.alert_at.array_windows().find(|[before, after]| before == after) {
        Some([repeated, _]) => Err(BudgetError::AlertRepeated(*repeated)),
        None => Ok(budget),
    }
}

fn evolve(life: &mut Life<Budget>, fact: BudgetFact) {
    match fact {
        BudgetFact::BudgetOpened(state) | BudgetFact::BudgetChanged(state) => *life = Life::Live(state),
        BudgetFact::BudgetClosed(_) => life.has_ended(),
    }
}

#[cfg(test)]
mod tests {
    use events::event::admin::Scope;
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
        Change(ChangeBudget { limit_usd: Some(NanoUsd::new(nanos)), ..ChangeBudget::default() })
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
    #[test]
    fn alerts_are_put_in_order_and_none_is_there_twice() {
        let fractions = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a fraction")).collect();
        let watched = |texts: &[&str]| Budget { alert_at: fractions(texts), ..budget(5) };
        given([]).when(OpenBudget(watched(&["1", "0.5", "0.8"]))).then([BudgetOpened(watched(&["0.5", "0.8", "1"]))]);
        let change =
            |texts: &[&str]| Change(ChangeBudget { alert_at: Some(fractions(texts)), ..ChangeBudget::default() });
        given([BudgetOpened(watched(&["0.5"]))]).when(change(&[])).then([BudgetChanged(budget(5))]);
        let twice = "0.5".parse().expect("a fraction");
        given([BudgetOpened(budget(5))])
            .when(change(&["0.5", "1", "0.50"]))
            .then_refused(BudgetError::AlertRepeated(twice));
    }

    #[test]
    fn what_is_done_when_it_is_short_may_change_and_what_is_not_mentioned_stays() {
        let mild = Budget { when_short: WhenShort::Shrink, enforcement: Enforcement::Observe, ..budget(5) };
        given([BudgetOpened(mild.clone())])
            .when(limit(9))
            .then([BudgetChanged(Budget { limit_usd: NanoUsd::new(9), ..mild.clone() })]);
        let change = ChangeBudget {
            when_short: Some(WhenShort::Shrink),
            enforcement: Some(Enforcement::Observe),
            ..ChangeBudget::default()
        };
        given([BudgetOpened(budget(5))]).when(Change(change)).then([BudgetChanged(mild)]);
    }
}
