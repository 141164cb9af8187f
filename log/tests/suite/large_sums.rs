//! Charges whose sums have more than 64 bits: later charges to the same budget still count, and its holds still end.

use std::time::Duration;

use events::event::admin::{Budget, Enforcement, Scope};
use events::event::hold::BudgetWindow;
use events::event::{Change, Event, Hold, StreamKind};
use events::ledger::{Admission, AdmitDecision, Balances, Charge, Outcome, UnknownUsage};
use events::money::{NanoUsd, NanoUsdSum};
use events::time::Period;
use events_log::Admitted;

use crate::facts::{admission, append, budget, clock, ended, ending, id, opened, start, verify};
use crate::test_log::{TestLog, on_both_engines};

const TTL: Duration = Duration::from_secs(60);
/// One after the other, three of them are more than an amount can be.
const REQUESTS: std::ops::Range<u128> = 1..4;

on_both_engines! {
    a_log_keeps_sums_of_more_than_64_bits_over_starts_and_its_check_agrees,
}

fn observing() -> Budget {
    Budget { enforcement: Enforcement::Observe, ..budget(1, Scope::Tenant(id(1)), 1, Period::Total) }
}

fn window() -> BudgetWindow {
    BudgetWindow { budget_id: id(1), window_start: None }
}

fn times_max(count: i128) -> NanoUsdSum {
    NanoUsdSum::new(count * i128::from(i64::MAX))
}

/// A request that holds the largest amount.
fn dearest(request: u128) -> Admission {
    Admission { held: NanoUsd::MAX, ..admission(request, 1, 0, TTL) }
}

fn held_by_all() -> Balances {
    let mut balances = Balances::default();
    balances.fold_budget(&Change::created(observing()), 1, start());
    for request in REQUESTS {
        let decision = balances.admit(&dearest(request), start());
        assert!(matches!(decision, AdmitDecision::Admitted { .. }), "{decision:?}");
    }
    assert_eq!(balances.amounts(&window()).held, times_max(3));
    balances
}

#[test]
fn holds_that_are_charged_the_largest_amount_end_one_by_one() {
    let mut balances = held_by_all();
    for request in REQUESTS {
        assert!(balances.end(&ending(request, 1, Some(i64::MAX))).is_some());
    }
    let amounts = balances.amounts(&window());
    assert_eq!((amounts.settled, amounts.held), (times_max(3), NanoUsdSum::ZERO));
}

/// Holds: bin.sweeper
#[test]
fn holds_that_expire_are_charged_whatever_was_charged_before() {
    let mut balances = held_by_all();
    let events = balances.sweep(UnknownUsage::ChargeHold, 10, start() + 2 * TTL);
    let expired = events.iter().filter(|emitted| matches!(emitted.event, Event::Hold(Hold::Expired(_))));
    assert_eq!(expired.count(), REQUESTS.count());
    assert_eq!((balances.amounts(&window()).settled, balances.open_holds().len()), (times_max(3), 0));
}

#[test]
fn a_hard_budget_that_was_overrun_so_far_refuses_and_can_be_raised_no_further() {
    let mut balances = held_by_all();
    let hard = Budget { limit_usd: NanoUsd::MAX, ..budget(1, Scope::Tenant(id(1)), 1, Period::Total) };
    balances.fold_budget(&Change::changed(hard), 2, start());
    let decision = balances.admit(&admission(9, 1, 0, TTL), start());
    assert!(matches!(decision, AdmitDecision::Refused(_)), "{decision:?}");
}

async fn a_log_keeps_sums_of_more_than_64_bits_over_starts_and_its_check_agrees(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    log.append(append(StreamKind::Budget, id(1), 0, opened(observing()))).await.expect("a budget");
    for request in REQUESTS {
        let admitted = log.admit(dearest(request), None).await.expect("an answer");
        let Admitted::Hold(hold) = admitted else { panic!("no hold: {admitted:?}") };
        let charge = Charge::Settle(NanoUsd::new(i64::MAX));
        hold.end(Vec::new(), Outcome::Completed(ended(i64::MAX)), charge).await.expect("settled");
    }
    log.close();
    // The first start reads what was written, the second what the first wrote again.
    for _ in 0..2 {
        let log = test_log.open(&clock);
        let reader = log.reader().expect("a reader");
        let (_, balances) = reader.balances(start()).expect("balances");
        assert_eq!(balances.amounts(&window()).settled, times_max(3));
        verify(&*reader).expect("a sound log");
        log.close();
    }
}
