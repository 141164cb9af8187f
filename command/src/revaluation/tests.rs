//! Whatever happens to prices and whenever the task is stopped, each request ends up with the value that a small model gives it.

mod by_definition;
mod lab;
mod own_prices;
mod reference_model;
mod samples;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::price_history::PriceHistory;
use lab::Lab;

#[derive(Clone, Debug)]
enum Move {
    /// A price in nano-dollars a token that begins this many seconds ago.
    Create {
        backend: usize,
        nanos: i64,
        ago: i64,
        /// True for a price that the gateway made itself.
        automatic: bool,
    },
    /// A change of one of the prices: of its rate, or of the time at which it begins.
    Change {
        price: usize,
        nanos: Option<i64>,
        ago: Option<i64>,
    },
    End {
        price: usize,
    },
    /// A request with tokens of this backend, and of a failed call to the other one before.
    Ask {
        backend: usize,
        tokens: u64,
        failed: Option<u64>,
    },
    /// A request that stays open until the end.
    Begin {
        backend: usize,
        tokens: u64,
    },
    Wait {
        seconds: u64,
    },
    /// The task runs for so long, and is dropped.
    Run {
        micros: u64,
    },
    Restart,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let ago = || prop_oneof![Just(-40i64), Just(0), 2i64..100];
    let one = prop_oneof![
        2 => (0..2usize, 1i64..9, ago(), proptest::bool::weighted(0.3))
            .prop_map(|(backend, nanos, ago, automatic)| Move::Create { backend, nanos, ago, automatic }),
        3 => (0..9usize, proptest::option::of(1i64..9), proptest::option::of(ago()))
            .prop_map(|(price, nanos, ago)| Move::Change { price, nanos, ago }),
        1 => (0..9usize).prop_map(|price| Move::End { price }),
        6 => (0..2usize, 0u64..50, proptest::option::of(1u64..50))
            .prop_map(|(backend, tokens, failed)| Move::Ask { backend, tokens, failed }),
        1 => (0..2usize, 1u64..50).prop_map(|(backend, tokens)| Move::Begin { backend, tokens }),
        4 => (1u64..30).prop_map(|seconds| Move::Wait { seconds }),
        2 => (0u64..30_000).prop_map(|micros| Move::Run { micros }),
        1 => Just(Move::Restart),
    ];
    proptest::collection::vec(one, 5..50)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Makes the moves, and checks that each request has the value of the model in the end. Returns the values.
fn play(moves: &[Move]) -> Vec<i64> {
    runtime().block_on(async {
        let mut lab = Lab::new().await;
        for one in moves {
            lab.make(one).await;
        }
        for asked in std::mem::take(&mut lab.open) {
            asked.answer().await;
        }
        lab.finish().await;
        lab.check();
        lab.log.close();
        lab.model.requests.iter().map(|request| request.value).collect()
    })
}

/// Holds: event.revaluation
#[test]
fn after_any_changes_and_stops_each_request_has_the_value_of_the_model() {
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&moves(), |moves| {
        play(&moves);
        Ok(())
    });
    ran.unwrap();
}

const CREATE: Move = Move::Create { backend: 0, nanos: 2, ago: 0, automatic: false };
const ASK: Move = Move::Ask { backend: 0, tokens: 10, failed: None };
const WAIT: Move = Move::Wait { seconds: 5 };
const RUN: Move = Move::Run { micros: 200_000 };

const fn change_rate(nanos: i64) -> Move {
    Move::Change { price: 0, nanos: Some(nanos), ago: None }
}

#[test]
fn without_a_price_it_keeps_the_value_that_it_had_whenever_the_task_ran() {
    let begins_later = Move::Change { price: 0, nanos: None, ago: Some(-40) };
    assert_eq!(play(&[CREATE, ASK, WAIT, change_rate(3), begins_later.clone()]), [30]);
    assert_eq!(play(&[CREATE, ASK, WAIT, change_rate(3), RUN, begins_later]), [30]);
}

/// Holds: admin.price-corrections
#[test]
fn what_a_price_was_in_force_for_stays_at_it_when_it_ends() {
    let dearer = Move::Create { backend: 0, nanos: 7, ago: 0, automatic: false };
    assert_eq!(play(&[CREATE, WAIT, dearer, WAIT, ASK, WAIT, Move::End { price: 1 }, ASK, change_rate(3)]), [70, 30]);
}

/// One that the gateway made itself, which says what requests cost from its event on.
#[test]
fn a_price_of_the_catalogue_corrects_nothing_and_yields_to_one_with_a_date_in_the_past() {
    let listed = |nanos, ago| Move::Create { backend: 0, nanos, ago, automatic: true };
    let own = Move::Create { backend: 0, nanos: 5, ago: 20, automatic: false };
    assert_eq!(play(&[listed(2, 0), ASK, WAIT, listed(3, 20), change_rate(4), WAIT, ASK]), [20, 40]);
    assert_eq!(play(&[listed(2, 0), ASK, WAIT, own, ASK]), [50, 50]);
}

#[test]
fn a_request_is_corrected_in_the_tier_that_priced_it() {
    let long_flex = Move::Ask { backend: 0, tokens: 28, failed: None };
    assert_eq!(play(&[CREATE, ASK, long_flex, WAIT, change_rate(3)]), [30, 28 * 12]);
}

#[test]
fn a_failed_call_is_valued_with_its_request_and_by_its_own_backend() {
    let other = Move::Create { backend: 1, nanos: 5, ago: 0, automatic: false };
    let asked = Move::Ask { backend: 0, tokens: 10, failed: Some(4) };
    assert_eq!(play(&[CREATE, other, asked, WAIT, Move::Change { price: 1, nanos: Some(6), ago: None }]), [44]);
}

#[test]
fn a_price_that_begins_now_or_later_and_a_change_of_nothing_concern_nothing() {
    let later = Move::Create { backend: 0, nanos: 9, ago: -40, automatic: false };
    let now = Move::Create { backend: 0, nanos: 8, ago: 0, automatic: false };
    let same = Move::Change { price: 0, nanos: Some(2), ago: None };
    assert_eq!(play(&[CREATE, ASK, WAIT, later, now, same]), [20]);
}

#[test]
fn a_request_that_was_planned_before_the_change_and_admitted_after_it_is_corrected() {
    runtime().block_on(async {
        let mut lab = Lab::new().await;
        for one in [CREATE, WAIT] {
            lab.make(&one).await;
        }
        let planned = lab.prices();
        for one in [change_rate(3), WAIT] {
            lab.make(&one).await;
        }
        let asked = lab.ask_at(planned, 0, 10, None).await.unwrap();
        assert_eq!(lab.model.requests[0].value, 20, "it is charged as it was planned");
        lab.model.requests[0].value = 30;
        lab.make(&ASK).await;
        lab.make(&RUN).await;
        asked.answer().await;
        lab.finish().await;
        lab.check();
    });
}

/// The later of two changes is complete, and has found a request at its value, before the earlier one is.
#[test]
fn an_earlier_change_does_not_undo_a_later_one_that_had_nothing_to_correct() {
    runtime().block_on(async {
        let mut lab = Lab::new().await;
        let runs = Move::Begin { backend: 0, tokens: 10 };
        let as_at_first = Move::Create { backend: 0, nanos: 2, ago: 7, automatic: false };
        for one in [CREATE, runs, WAIT, WAIT, ASK, WAIT, change_rate(3), as_at_first] {
            lab.make(&one).await;
        }
        lab.complete(1).await;
        lab.open.pop().unwrap().answer().await;
        lab.finish().await;
        lab.check();
        let values: Vec<i64> = lab.model.requests.iter().map(|request| request.value).collect();
        assert_eq!(values, [30, 20]);
    });
}

/// An earlier version promised that a change of a price concerns later requests alone.
#[test]
fn changes_up_to_the_position_where_re_valuing_begins_concern_nothing_before_them() {
    runtime().block_on(async {
        let mut lab = Lab::new().await;
        for one in [CREATE, ASK, WAIT, change_rate(3)] {
            lab.make(&one).await;
        }
        let events = lab.events();
        let pending_after = |begins_after| {
            let mut prices = PriceHistory::new(begins_after);
            events.iter().for_each(|recorded| prices.fold(recorded));
            prices.pending().count()
        };
        let change = events.last().unwrap().position;
        assert_eq!((pending_after(0), pending_after(change - 1), pending_after(change)), (1, 1, 0));
    });
}
