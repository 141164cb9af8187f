//! A budget: how much its scope may spend in a period. Scope and period are its own for ever, since the windows that
//! money is counted in hang on them; its limit may rise and fall, and so may what is done when it is short and at which
//! fractions of it somebody wants to know.

use std::convert::Infallible;

use events::event::admin::{Budget, Enforcement, WhenShort};
use events::fraction::Fraction;
use events::money::NanoUsd;

use crate::admin::lifecycle::{LifecycleError, Rules};

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
    Lifecycle(#[from] LifecycleError),
    #[error("must not be negative")]
    NegativeLimit,
    #[error("has {0} twice")]
    AlertRepeated(Fraction),
}

impl Rules for Budget {
    type State = Self;
    type Change = ChangeBudget;
    type Special = Infallible;
    type Error = BudgetError;

    fn made(self) -> Result<Self, BudgetError> {
        sound(self)
    }

    fn changed(&self, change: ChangeBudget) -> Result<Self, BudgetError> {
        sound(change.over(self))
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

#[cfg(test)]
mod tests {
    use events::event::Resource;
    use events::event::admin::Scope;
    use events::time::Period;

    use super::*;
    use crate::admin::lifecycle::Command::{Change, Create, End};
    use crate::admin::lifecycle::CommandOf;
    use crate::admin::lifecycle::spec::{self, Given, changed, created, ended, id};

    fn given(facts: impl IntoIterator<Item = Resource>) -> Given<Budget> {
        spec::given(facts)
    }

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

    fn limit(nanos: i64) -> CommandOf<Budget> {
        Change(ChangeBudget { limit_usd: Some(NanoUsd::new(nanos)), ..ChangeBudget::default() })
    }

    #[test]
    fn a_limit_rises_and_falls_to_nothing_but_not_below() {
        given([]).when(Create(budget(5))).then([created(budget(5))]);
        given([created(budget(5))]).when(limit(9)).then([changed(budget(9))]);
        given([created(budget(5))]).when(limit(0)).then([changed(budget(0))]);
        given([created(budget(5))]).when(limit(-1)).then_refused(BudgetError::NegativeLimit);
        given([]).when(Create(budget(-1))).then_refused(BudgetError::NegativeLimit);
    }

    #[test]
    fn a_closed_budget_stays_closed() {
        let closed = || ended::<Budget>(id(1));
        given([created(budget(5))]).when(End).then([closed()]);
        given([created(budget(5)), closed()]).when(End).then_nothing();
        given([created(budget(5)), closed()])
            .when(limit(9))
            .then_refused(BudgetError::Lifecycle(LifecycleError::Ended));
        given([]).when(End).then_refused(BudgetError::Lifecycle(LifecycleError::Absent));
    }
    #[test]
    fn alerts_are_put_in_order_and_none_is_there_twice() {
        let fractions = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a fraction")).collect();
        let watched = |texts: &[&str]| Budget { alert_at: fractions(texts), ..budget(5) };
        given([]).when(Create(watched(&["1", "0.5", "0.8"]))).then([created(watched(&["0.5", "0.8", "1"]))]);
        let change =
            |texts: &[&str]| Change(ChangeBudget { alert_at: Some(fractions(texts)), ..ChangeBudget::default() });
        given([created(watched(&["0.5"]))]).when(change(&[])).then([changed(budget(5))]);
        let twice = "0.5".parse().expect("a fraction");
        given([created(budget(5))]).when(change(&["0.5", "1", "0.50"])).then_refused(BudgetError::AlertRepeated(twice));
    }

    #[test]
    fn what_is_done_when_it_is_short_may_change_and_what_is_not_mentioned_stays() {
        let mild = Budget { when_short: WhenShort::Shrink, enforcement: Enforcement::Observe, ..budget(5) };
        given([created(mild.clone())])
            .when(limit(9))
            .then([changed(Budget { limit_usd: NanoUsd::new(9), ..mild.clone() })]);
        let change = ChangeBudget {
            when_short: Some(WhenShort::Shrink),
            enforcement: Some(Enforcement::Observe),
            ..ChangeBudget::default()
        };
        given([created(budget(5))]).when(Change(change)).then([changed(mild)]);
    }
}
