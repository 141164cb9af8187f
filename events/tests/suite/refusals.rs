//! Refusals that are only counted, and refusals that wait for the next second.

use chrono::TimeDelta;
use events::event::{Event, Inference};
use events::ledger::{
    Balances, DecidedRefusal, Emitted, RECORDED_REFUSALS_A_SECOND, RefuseDecision, RefusedRequest, UnknownUsage,
};
use events::refusal::{ErrorCode, Refusal};

use crate::facts::{context, id, start};

/// The refusals of one key in a second that are not only counted: twenty are recorded, twenty wait.
const OF_KEY: u128 = 2 * RECORDED_REFUSALS_A_SECOND as u128;
/// The number of keys that may all have the maximum number of waiting refusals.
const WAITING_KEYS: u128 = 100;

fn refused(request: u128, key: u128, model: &str) -> RefusedRequest {
    let refusal = Refusal::new(ErrorCode::BudgetExceeded, "nothing is left");
    RefusedRequest { request_id: id(request), context: context(key), model: model.to_owned(), refusal }
}

/// The model and the count of each recorded refusal; empty if it waits.
fn asked(balances: &mut Balances, key: u128, model: &str) -> Option<Vec<(String, u64)>> {
    match balances.refuse(&refused(1, key, model), start()) {
        RefuseDecision::Now(refused) => Some(counts(&refused.events)),
        RefuseDecision::NextSecond(refused) => {
            assert_eq!(refused.events, []);
            None
        }
    }
}

fn counts(events: &[Emitted]) -> Vec<(String, u64)> {
    let count = |emitted: &Emitted| match &emitted.event {
        Event::Inference(Inference::Refused(refused)) => (refused.model.clone(), refused.count),
        other => panic!("{other:?}"),
    };
    events.iter().map(count).collect()
}

fn swept(balances: &mut Balances, seconds: i64) -> Vec<(String, u64)> {
    counts(&balances.sweep(UnknownUsage::ChargeHold, 10, start() + seconds_of(seconds)))
}

fn seconds_of(seconds: i64) -> TimeDelta {
    TimeDelta::seconds(seconds)
}

#[test]
fn what_is_rolled_up_is_due_when_its_second_is_over_and_written_once() {
    let mut balances = Balances::default();
    for key in 0..WAITING_KEYS {
        let waiting = (0..OF_KEY).filter(|_| asked(&mut balances, key, "m").is_none()).count();
        assert_eq!(waiting, 20, "of key {key}");
    }
    assert!(!balances.is_sweep_due(start() + seconds_of(5)), "those that wait are asked for again by the writer");
    // All waiting places are taken: the refusals of the next key are counted at once.
    let of_next: Vec<_> = (0..OF_KEY).map(|_| asked(&mut balances, WAITING_KEYS, "m").expect("none waits")).collect();
    assert_eq!(of_next.concat(), vec![("m".to_owned(), 1); 20]);
    assert!(!balances.is_sweep_due(start()));
    assert!(balances.is_sweep_due(start() + seconds_of(1)));
    assert_eq!(swept(&mut balances, 0), []);
    assert_eq!(swept(&mut balances, 1), [("m".to_owned(), 20)]);
    assert!(!balances.is_sweep_due(start() + seconds_of(5)));
}

#[test]
fn who_has_waited_makes_room_for_another_to_wait() {
    let mut balances = Balances::default();
    for _ in 0..OF_KEY {
        asked(&mut balances, 1, "m");
    }
    assert_eq!(asked(&mut balances, 1, "m"), Some(vec![]), "rolled up");
    let next = start() + seconds_of(1);
    let again =
        |balances: &mut Balances, request| counts(&balances.refuse_waiting(&refused(request, 1, "m"), next).events);
    assert_eq!(again(&mut balances, 1), [("m".to_owned(), 1), ("m".to_owned(), 1)], "the count, then its own");
    let refuse = |balances: &mut Balances| balances.refuse(&refused(2, 1, "m"), next);
    // A refusal that has waited counts as one of the twenty of this second.
    let outcomes: Vec<bool> = (0..21).map(|_| matches!(refuse(&mut balances), RefuseDecision::NextSecond(_))).collect();
    assert_eq!(outcomes, [vec![false; 19], vec![true, false]].concat(), "one place to wait is free, and no more");
}

#[test]
fn beyond_sixteen_models_a_second_the_rest_stands_under_one_name() {
    let mut balances = Balances::default();
    for key in 0..WAITING_KEYS {
        (0..OF_KEY).for_each(|_| drop(asked(&mut balances, key, "m")));
    }
    for _ in 0..RECORDED_REFUSALS_A_SECOND {
        asked(&mut balances, WAITING_KEYS, "m");
    }
    let models: Vec<String> = (10..30).map(|number| format!("m{number}")).collect();
    for model in models.iter().chain(&models[..2]) {
        assert_eq!(asked(&mut balances, WAITING_KEYS, model), Some(vec![]), "{model}");
    }
    let mut wanted: Vec<_> = models[..16].iter().map(|model| (model.clone(), 1)).collect();
    (wanted[0].1, wanted[1].1) = (2, 2);
    wanted.insert(0, ("*".to_owned(), 4));
    assert_eq!(swept(&mut balances, 1), wanted);
}

#[test]
fn what_is_recorded_of_a_refusal_has_its_numbers_and_its_request() {
    let asked = refused(7, 1, "m");
    let details = [("code", "X"), ("model", "other"), ("count", "9"), ("limit_usd", "0.000000010")];
    let refusal = details.into_iter().fold(asked.refusal.clone(), |refusal, (name, value)| refusal.with(name, value));
    let step = RefusedRequest { refusal, ..asked };
    let RefuseDecision::Now(DecidedRefusal { events, .. }) = Balances::default().refuse(&step, start()) else {
        panic!("it is recorded")
    };
    let [recorded] = &events[..] else { panic!("{events:?}") };
    assert_eq!(recorded.context.request_id, Some(id(7)));
    let Event::Inference(Inference::Refused(event)) = &recorded.event else { panic!("{recorded:?}") };
    assert_eq!((event.code, event.model.as_str(), event.count), (ErrorCode::BudgetExceeded, "m", 1));
    let kept: Vec<_> = event.details.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(kept, [("limit_usd", Some("0.000000010"))], "the others have fields of their own");
}
