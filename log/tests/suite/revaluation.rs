//! Corrections of settled requests by a price: once for each version, in the windows of the hold, and never of requests that were not
//! charged by what they used.

use std::time::Duration;

use events::event::admin::{Budget, Scope};
use events::event::hold::{CorrectedRequest, CorrectedValue};
use events::event::{Actor, Context, Event, Hold, StreamKind};
use events::ledger::{Charge, Outcome, Revaluation};
use events::money::NanoUsd;
use events::time::{ManualClock, Period};
use events_log::{Admitted, Log, OpenHold};

use crate::facts::{admission, append, budget, clock, context, ended, id, opened, verify};
use crate::test_log::{TestLog, on_both_engines};

const TTL: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

on_both_engines! {
    /// Holds: event.revaluation
    a_version_corrects_a_request_once_and_never_after_a_later_one,
    /// Holds: event.revaluation
    what_was_not_charged_by_its_use_is_left_alone,
    a_request_of_a_past_window_is_corrected_in_that_window,
}

async fn open_budget(log: &Log, budget: Budget) {
    let budget_id = budget.budget_id;
    log.append(append(StreamKind::Budget, budget_id, 0, opened(budget))).await.expect("a budget is opened");
}

async fn hold(log: &Log, request: u128) -> OpenHold {
    match log.admit(admission(request, 1, 50, TTL), None).await.expect("the ledger answers") {
        Admitted::Hold(hold) => hold,
        other => panic!("{other:?}"),
    }
}

async fn settle(log: &Log, request: u128, cost: i64) {
    let outcome = Outcome::Completed(ended(cost));
    let charge = Charge::Settle(NanoUsd::new(cost));
    hold(log, request).await.end(Vec::new(), outcome, charge).await.expect("recorded");
}

fn correction(request: u128, version: u64, cost: i64) -> Revaluation {
    let request_id = id(request);
    let context = Context { actor: Actor::System("revaluation"), ..context(1).in_request(request_id) };
    let value = CorrectedValue { version, cost_usd: NanoUsd::new(cost) };
    let request = CorrectedRequest { model: "m".to_owned(), backend: None, payer: None };
    Revaluation { request_id, context, value, request }
}

/// The corrections in the log, in order: the request, the version and the difference.
fn corrections(log: &Log) -> Vec<(u128, u64, i64)> {
    let events = log.reader().expect("a reader").after(0, 1000).expect("the log reads");
    let of = |event: &Event| match event {
        Event::Hold(Hold::Adjusted(adjusted)) => {
            let request = (1..20).find(|number| adjusted.of == id(*number)).expect("one of the test");
            Some((request, adjusted.price?.version, adjusted.delta_usd.nanos()))
        }
        _ => None,
    };
    events.iter().filter_map(|recorded| of(&recorded.event)).collect()
}

fn settled(log: &Log, clock: &ManualClock) -> i128 {
    use events::time::Clock;
    let (_, balances) = log.reader().expect("a reader").balances(clock.now()).expect("balances");
    balances.windows().map(|(_, amounts)| amounts.settled.nanos()).sum()
}

async fn a_version_corrects_a_request_once_and_never_after_a_later_one(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    open_budget(&log, budget(1, Scope::Tenant(id(1)), 100, Period::Total)).await;
    settle(&log, 1, 30).await;
    // Two tasks at once, each with both versions.
    let both = vec![correction(1, 5, 40), correction(1, 7, 20)];
    let (one, other) = tokio::join!(log.revalue(both.clone()), log.revalue(both.clone()));
    one.and(other).expect("recorded");
    log.close();
    let log = test_log.open(&clock);
    for again in [both, vec![correction(1, 6, 99)], vec![correction(1, 8, 20)]] {
        assert_eq!(log.revalue(again).await.expect("an answer").last, None, "nothing is left to correct");
    }
    assert_eq!(corrections(&log), [(1, 5, 10), (1, 7, -20)]);
    assert_eq!(settled(&log, &clock), 20);
    verify(&*log.reader().expect("a reader")).expect("a sound log");
}

async fn what_was_not_charged_by_its_use_is_left_alone(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    drop(hold(&log, 1).await);
    let expires = hold(&log, 2).await;
    for _ in 0..70 {
        clock.advance(Duration::from_secs(1));
    }
    let mut head = log.watch_head();
    let reached = head.wait_for(|head| head.position >= 8);
    tokio::time::timeout(Duration::from_secs(5), reached).await.expect("in time").expect("a head");
    let running = hold(&log, 3).await;
    let all = (1..5).map(|request| correction(request, 9, 7)).collect();
    assert_eq!(log.revalue(all).await.expect("an answer"), Default::default(), "released, expired, open, never seen");
    drop((expires, running));
    assert_eq!(corrections(&log), []);
}

/// A window that ended long ago is not in memory. Its row is read before it is corrected.
async fn a_request_of_a_past_window_is_corrected_in_that_window(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    let watched =
        Budget { alert_at: vec!["0.5".parse().expect("a fraction")], ..budget(1, Scope::Key(id(1)), 100, Period::Day) };
    open_budget(&log, watched).await;
    settle(&log, 1, 30).await;
    settle(&log, 2, 10).await;
    log.close();
    for _ in 0..40 {
        clock.advance(DAY);
    }
    let log = test_log.open(&clock);
    settle(&log, 3, 1).await;
    log.revalue(vec![correction(1, 7, 60)]).await.expect("recorded");
    log.revalue(vec![correction(2, 7, 20)]).await.expect("recorded");
    assert_eq!(corrections(&log), [(1, 7, 30), (2, 7, 10)]);
    let events = log.reader().expect("a reader").after(0, 1000).expect("the log reads");
    let names: Vec<_> = events.iter().map(|recorded| recorded.event.name()).collect();
    assert_eq!(names[names.len() - 3..], ["budget.adjusted", "budget.threshold_reached", "budget.adjusted"]);
    verify(&*log.reader().expect("a reader")).expect("a sound log");
    log.close();
    let log = test_log.open(&clock);
    verify(&*log.reader().expect("a reader")).expect("sound after a start, too");
}
