//! The windows that stay in memory after their end.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use events::event::Change;
use events::event::admin::Scope;
use events::event::hold::BudgetWindow;
use events::ledger::{Balances, PAST_WINDOWS_KEPT_DAYS};
use events::money::NanoUsdSum;
use events::time::Period;

use crate::facts::{admission, budget, ending, id, start};

/// The charges to a daily budget and to one without end.
fn charged(amount: i64) -> Balances {
    let mut balances = Balances::default();
    for (number, period) in [(1, Period::Day), (2, Period::Total)] {
        let change = Change::created(budget(number, Scope::Tenant(id(1)), 10, period));
        balances.fold_budget(&change, 1, start());
    }
    balances.admit(&admission(1, 1, 5, Duration::from_secs(60)), start());
    balances.end(&ending(1, 1, Some(amount)));
    balances
}

fn day() -> BudgetWindow {
    BudgetWindow { budget_id: id(1), window_start: Period::Day.window_start(start()) }
}

fn for_ever() -> BudgetWindow {
    BudgetWindow { budget_id: id(2), window_start: None }
}

/// The last time at which the window of the first day is kept.
fn kept_until() -> DateTime<Utc> {
    day().window_start.expect("a day begins") + TimeDelta::days(PAST_WINDOWS_KEPT_DAYS)
}

#[test]
fn a_window_is_kept_for_as_long_as_any_period_is_and_one_without_an_end_for_ever() {
    let mut balances = charged(4);
    balances.rows_are_written();
    balances.forget_past_windows(kept_until());
    assert!(balances.knows_window(&day()));
    balances.forget_past_windows(kept_until() + TimeDelta::microseconds(1));
    assert!(!balances.knows_window(&day()));
    balances.forget_past_windows(start() + TimeDelta::days(10_000));
    assert_eq!(balances.amounts(&for_ever()).settled, NanoUsdSum::new(4));
}

/// A window's row is written after the window has changed. If it were forgotten in between, the row would contain zero.
#[test]
fn a_past_window_is_forgotten_once_it_is_written_and_not_before() {
    let (mut balances, much_later) = (charged(4), start() + TimeDelta::days(40));
    balances.forget_past_windows(much_later);
    assert_eq!(balances.amounts(&day()).settled, NanoUsdSum::new(4));
    balances.rows_are_written();
    balances.forget_past_windows(much_later);
    assert!(!balances.knows_window(&day()));
}

#[test]
fn a_window_in_which_money_is_held_is_not_forgotten() {
    let mut balances = charged(4);
    balances.admit(&admission(2, 1, 3, Duration::from_secs(60)), start());
    balances.rows_are_written();
    balances.forget_past_windows(start() + TimeDelta::days(40));
    let amounts = balances.amounts(&day());
    assert_eq!((amounts.settled, amounts.held), (NanoUsdSum::new(4), NanoUsdSum::new(3)));
}
