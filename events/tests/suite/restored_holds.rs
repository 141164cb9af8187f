//! The sums of what each party holds, after holds were restored from their rows.

use std::time::Duration;

use events::event::Change;
use events::event::admin::Scope;
use events::event::hold::BudgetWindow;
use events::ledger::{Amounts, Balances, Hold, Holder, SummedWindows};
use events::money::{NanoUsd, NanoUsdSum};
use events::time::Period;

use crate::facts::{budget, context, ending, id, start};

/// The number of windows of a hold for each of which its holders' sums are known apart.
const MARKED_MAX: u128 = 64;
const HELD: i64 = 40;

fn window(number: u128) -> BudgetWindow {
    BudgetWindow { budget_id: id(number), window_start: None }
}

/// Balances with budgets of this scope, and a hold of key 1 on all of them that was restored.
fn restored(scope: Scope, budgets: u128) -> Balances {
    let mut balances = Balances::default();
    let held = Amounts { settled: NanoUsdSum::ZERO, held: NanoUsdSum::new(HELD.into()) };
    for number in 1..=budgets {
        balances.fold_budget(&Change::created(budget(number, scope, 100, Period::Total)), 1, start());
        balances.restore_window(window(number), held, Default::default());
    }
    let hold = Hold {
        held: NanoUsd::new(HELD),
        windows: (1..=budgets).map(window).collect(),
        brokered: None,
        admitted_at: start(),
        expires_at: start() + Duration::from_secs(60),
        model: "m".to_owned(),
        context: context(1).in_request(id(1)),
        summed: SummedWindows::default(),
    };
    balances.restore_hold(id(1), hold);
    balances
}

/// The amounts that key 1 and tenant 1 hold in the window of a budget.
fn held(balances: &Balances, number: u128) -> [NanoUsdSum; 2] {
    [Holder::Key(id(1)), Holder::Tenant(id(1))].map(|holder| balances.held_by(holder, &window(number)))
}

#[test]
fn a_restored_hold_counts_for_those_who_share_its_budget_until_it_ends() {
    let (none, all) = (NanoUsdSum::ZERO, NanoUsdSum::new(HELD.into()));
    let scopes = [
        (Scope::Partner(id(1)), [all, all]),
        (Scope::Tenant(id(1)), [all, none]),
        (Scope::User(id(1)), [all, none]),
        (Scope::Key(id(1)), [none, none]),
    ];
    for (scope, expected) in scopes {
        let mut balances = restored(scope, 1);
        assert_eq!(held(&balances, 1), expected, "{scope:?}");
        assert!(balances.end(&ending(1, 1, Some(10))).is_some());
        assert_eq!(held(&balances, 1), [none, none], "{scope:?}");
    }
}

#[test]
fn windows_of_a_hold_beyond_those_that_are_marked_count_for_each_holder_until_it_ends() {
    let (none, all) = (NanoUsdSum::ZERO, NanoUsdSum::new(HELD.into()));
    let mut balances = restored(Scope::Tenant(id(1)), MARKED_MAX + 2);
    for number in 1..=MARKED_MAX + 2 {
        let expected = if number <= MARKED_MAX { [all, none] } else { [all, all] };
        assert_eq!(held(&balances, number), expected, "window {number}");
    }
    assert!(balances.end(&ending(1, 1, Some(10))).is_some());
    assert!((1..=MARKED_MAX + 2).all(|number| held(&balances, number) == [none, none]));
}
