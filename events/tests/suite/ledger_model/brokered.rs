//! Prices and tokens of a tenant's own providers count in its own budgets alone.

use std::time::Duration;

use events::event::admin::{Budget, Enforcement, Scope};
use events::event::hold::{CorrectedRequest, CorrectedValue};
use events::event::{Change, Event, Hold, Inference};
use events::ledger::{Admission, AdmitDecision, BrokeredBound, DecidedEnd, Ending, IfShort, Revaluation, UnknownUsage};
use events::money::{CostLine, NanoUsd};
use events::time::Period;

use super::Ledger;
use crate::facts::{admission, budget, ending, id, start};

/// Budgets of the partner, the tenant and the key, each of 100.
fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    for (number, scope) in [(1, Scope::Partner(id(1))), (2, Scope::Tenant(id(1))), (3, Scope::Key(id(1)))] {
        ledger.budget_event(Change::created(budget(number, scope, 100, Period::Total)), start());
    }
    ledger
}

fn asked(request: u128, held: i64, brokered: i64, is_guest: bool) -> Admission {
    let bound = BrokeredBound { held: NanoUsd::new(brokered), line: CostLine::ZERO, is_guest };
    let if_short = IfShort::Refuse;
    Admission { brokered: Some(bound), if_short, ..admission(request, 1, held, Duration::from_secs(60)) }
}

/// The settled and held amounts of budgets 1 to 3.
fn amounts(ledger: &Ledger) -> [[i128; 2]; 3] {
    let of = |number: u128| {
        let window = ledger.balances.windows().find(|(window, _)| window.budget_id == id(number));
        window.map_or([0; 2], |(_, amounts)| [amounts.settled.nanos(), amounts.held.nanos()])
    };
    [1, 2, 3].map(of)
}

/// Holds: admin.own-charges
#[test]
fn above_the_tenant_only_the_brokered_part_is_held_and_charged() {
    for (is_guest, of_key) in [(false, [60, 0]), (true, [3, 0])] {
        let mut ledger = ledger();
        ledger.admit(&asked(1, 80, 5, is_guest), start());
        let held = if is_guest { 5 } else { 80 };
        assert_eq!(amounts(&ledger), [[0, 5], [0, 80], [0, held]]);
        let ends = Ending { own: NanoUsd::new(57), ..ending(1, 1, Some(60)) };
        ledger.decide(start(), |balances, _| balances.end(&ends));
        assert_eq!(amounts(&ledger), [[3, 0], [60, 0], of_key]);
        ledger.must_fold_to_the_same();
    }
}

/// Holds: admin.own-charges
#[test]
fn a_dear_price_of_its_own_is_refused_by_the_tenants_budget_and_not_by_its_partners() {
    let mut ledger = ledger();
    ledger.budget_event(Change::changed(budget(2, Scope::Tenant(id(1)), 10_000, Period::Total)), start());
    ledger.budget_event(Change::changed(budget(3, Scope::Key(id(1)), 10_000, Period::Total)), start());
    assert!(matches!(ledger.admit(&asked(1, 9_000, 0, false), start()), AdmitDecision::Admitted { .. }));
    let AdmitDecision::Refused(refused) = ledger.admit(&asked(2, 9_000, 0, false), start()) else {
        panic!("1,000 are left")
    };
    let events::ledger::RefuseDecision::Now(decided) = refused else { panic!("at once") };
    let details = decided.refusal.details;
    assert_eq!(details["scope"], serde_json::json!({ "tenant_id": "ten_00000000000000000000000000000001" }));
    assert_eq!((&details["requested_usd"], &details["brokered_usd"]), (&"0.000009000".into(), &"0.000000000".into()));
    assert!(matches!(ledger.admit(&asked(3, 100, 100, false), start()), AdmitDecision::Admitted { .. }));
    assert!(matches!(ledger.admit(&asked(4, 1, 1, false), start()), AdmitDecision::Refused(_)), "100 are held");
    ledger.must_fold_to_the_same();
}

/// Holds: admin.own-charges
#[test]
fn an_overrun_budget_above_the_tenant_refuses_no_request_of_which_nothing_counts_there() {
    for enforcement in [Enforcement::Hard, Enforcement::Observe] {
        let mut ledger = ledger();
        ledger.admit(&asked(1, 50, 50, false), start());
        let partners = budget(1, Scope::Partner(id(1)), 10, Period::Total);
        ledger.budget_event(Change::changed(Budget { enforcement, ..partners }), start());
        let own = asked(2, 9, 0, false);
        assert_eq!(own.wanted_of(Scope::Partner(id(1))), None);
        let decision = ledger.admit(&own, start());
        let AdmitDecision::Admitted { events, .. } = &decision else { panic!("{decision:?}") };
        let Event::Inference(Inference::Admitted(admitted)) = &events[0].event else { panic!("{events:?}") };
        assert!(admitted.would_have_refused.is_empty(), "{admitted:?}");
        let decision = ledger.admit(&asked(3, 9, 1, false), start());
        assert_eq!(matches!(decision, AdmitDecision::Refused(_)), enforcement == Enforcement::Hard, "{decision:?}");
        ledger.must_fold_to_the_same();
    }
}

/// Holds: admin.own-charges
#[test]
fn a_hold_that_expires_is_charged_by_parts_and_corrected_by_parts() {
    let mut ledger = ledger();
    ledger.admit(&asked(1, 80, 5, false), start());
    let later = start() + chrono::TimeDelta::hours(1);
    let swept = ledger.decide(later, |balances, now| balances.sweep(UnknownUsage::ChargeHold, 10, now));
    assert_eq!(amounts(&ledger), [[5, 0], [80, 0], [80, 0]]);
    let expired = swept.iter().find_map(|emitted| match &emitted.event {
        Event::Hold(Hold::Expired(expired)) => Some(expired.clone()),
        _ => None,
    });
    let expired = expired.expect("it expired");
    let part = expired.brokered.as_ref().expect("a part above the tenant");
    let brokered = events::ledger::BrokeredCharge { windows: part.budgets.clone(), charged: NanoUsd::new(5) };
    let brokered = Some(brokered);
    let charged = events::ledger::EndedHold { windows: expired.budgets.clone(), charged: NanoUsd::new(80), brokered };
    let ends = Ending { own: NanoUsd::new(20), ..ending(1, 1, Some(21)) };
    let late: DecidedEnd = ledger.balances.end_late(&ends, &charged).expect("countable");
    ledger.fold_decided(late.events, later);
    assert_eq!(amounts(&ledger), [[1, 0], [21, 0], [21, 0]]);
    ledger.must_fold_to_the_same();
}

/// Holds: admin.own-charges, event.revaluation
#[test]
fn a_corrected_price_moves_as_much_above_the_tenant_as_elsewhere() {
    let mut ledger = ledger();
    ledger.admit(&asked(1, 80, 5, false), start());
    let ends = Ending { own: NanoUsd::new(57), ..ending(1, 1, Some(60)) };
    let ended = ledger.decide(start(), |balances, _| balances.end(&ends)).expect("it was open");
    let settled = ended.events.iter().find_map(|emitted| match &emitted.event {
        Event::Hold(Hold::Settled(settled)) => Some(settled.clone()),
        _ => None,
    });
    let settled = settled.expect("it was settled");
    let part = settled.brokered.as_ref().expect("a part above the tenant");
    let brokered = events::ledger::BrokeredCharge { windows: part.budgets.clone(), charged: NanoUsd::new(3) };
    let brokered = Some(brokered);
    let charged = events::ledger::EndedHold { windows: settled.budgets.clone(), charged: NanoUsd::new(60), brokered };
    let value = CorrectedValue { version: 9, cost_usd: NanoUsd::new(62) };
    let request = CorrectedRequest { model: "m".to_owned(), backend: None, payer: None };
    let revaluation = Revaluation { request_id: id(1), context: ends.context.clone(), value, request };
    let decided = ledger.balances.revalue(&revaluation, &charged).expect("countable").expect("another value");
    ledger.fold_decided(decided.events, start());
    assert_eq!(amounts(&ledger), [[5, 0], [62, 0], [62, 0]]);
    ledger.must_fold_to_the_same();
}
