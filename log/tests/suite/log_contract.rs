//! The contract that every engine of the log must fulfil: order without gaps, no torn batches, reading from a position, and holds
//! that end once, even across a restart.

use std::time::Duration;

use chrono::TimeDelta;
use events::event::{Event, Hold, Recorded, Stream};
use events::ledger::{Holder, UnknownUsage};
use events::money::{NanoUsd, NanoUsdSum};
use events::time::{Clock, Period};
use events_log::{EventFilter, Followed, LogError, LogOptions, OpenHold, Stepped};
use tempfile::TempDir;

use crate::facts::{admission, clock, id, start};
use crate::log_steps::{TTL, everything, hold, must_be_whole, must_verify, names, open_budget, settle};
use crate::test_log::{TestLog, on_both_engines};

on_both_engines! {
    /// Holds: event.life
    a_request_leaves_four_events_that_read_back_the_same,
    concurrent_requests_get_what_the_budget_holds_and_no_more,
    a_hold_that_nobody_takes_releases_its_money,
    /// Holds: event.one-end, event.node-lost
    an_expired_hold_is_charged_and_its_late_figures_are_a_correction,
    /// Holds: shared.expired-holds
    who_leaves_the_holds_of_a_gateway_ends_none,
    a_restart_finds_balances_and_open_holds_as_they_were,
    a_restart_finds_what_each_key_holds_of_budgets_that_it_shares,
    readers_page_filter_and_see_streams,
    a_stepped_clock_stops_the_appends_until_it_agrees_again,
    the_time_of_what_comes_next_is_never_before_the_last_event,
}

async fn a_request_leaves_four_events_that_read_back_the_same(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    open_budget(&log, 1, 100, Period::Day).await;
    let mut follower = log.follow_from_now(100);
    let held = hold(&log, 7, 40).await.expect("it fits");
    assert_eq!(held.admitted_position, 2);
    assert_eq!(log.head().position, 3, "admission and hold are durable before it is answered");
    assert_eq!(settle(held, 25).await, 5);
    let events = everything(&log);
    let wanted = ["budget.opened", "inference.admitted", "budget.reserved", "inference.completed", "budget.settled"];
    assert_eq!(names(&events), wanted);
    let fold = must_be_whole(&events);
    assert_eq!(fold.open_holds().count(), 0);
    let mut published: Vec<Recorded> = Vec::new();
    for _ in 0..2 {
        match follower.next().await.expect("it reads").expect("the log is open") {
            Followed::Batch(batch) => published.extend(batch.iter().map(|event| (**event).clone())),
            other => panic!("the writer still has what follows: {other:?}"),
        }
    }
    assert_eq!(published, events[1..], "the writer gives what the database gives");
}

async fn concurrent_requests_get_what_the_budget_holds_and_no_more(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    open_budget(&log, 1, 100, Period::Total).await;
    let mut asking = tokio::task::JoinSet::new();
    for request in 0..200 {
        let log = log.clone();
        asking.spawn(async move { hold(&log, request, 10).await });
    }
    let answers = asking.join_all().await;
    let holds: Vec<OpenHold> = answers.into_iter().filter_map(Result::ok).collect();
    assert_eq!(holds.len(), 10);
    let fold = must_be_whole(&everything(&log));
    assert_eq!(fold.open_holds().count(), 10);
    must_verify(&log, 10);
}

async fn a_hold_that_nobody_takes_releases_its_money(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    drop(hold(&log, 1, 10).await.expect("no budget binds"));
    let mut head = log.watch_head();
    tokio::time::timeout(Duration::from_secs(5), head.wait_for(|head| head.position == 4))
        .await
        .expect("in time")
        .expect("a head");
    assert_eq!(
        names(&everything(&log)),
        ["inference.admitted", "budget.reserved", "inference.aborted", "budget.released"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_hangs_keeps_nobody_for_ever_and_releases_what_nobody_took() {
    let (folder, clock) = (TempDir::new().expect("a folder"), clock());
    let (log, mut writer) = Stepped::open(folder.path(), LogOptions::new(clock.clone())).expect("the log opens");
    let began = tokio::time::Instant::now();
    let asked = log.admit(admission(1, 1, 10, TTL), None).await;
    assert!(matches!(asked, Err(LogError::TimedOut(_))), "{asked:?}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(!log.is_writable(), "health does not show it");
    // It wakes up and finds that the request is gone.
    writer.step(10);
    writer.step(10);
    assert!(log.is_writable());
    let wanted = ["inference.admitted", "budget.reserved", "inference.aborted", "budget.released"];
    assert_eq!(names(&everything(&log)), wanted);
}

async fn an_expired_hold_is_charged_and_its_late_figures_are_a_correction(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    open_budget(&log, 1, 100, Period::Day).await;
    let held = hold(&log, 1, 40).await.expect("it fits");
    // The wall clock and the monotonic clock move together: a long wait, not a step.
    for _ in 0..70 {
        clock.advance(Duration::from_secs(1));
    }
    let mut head = log.watch_head();
    tokio::time::timeout(Duration::from_secs(5), head.wait_for(|head| head.position == 5))
        .await
        .expect("in time")
        .expect("a head");
    assert_eq!(settle(held, 25).await, 6);
    let events = everything(&log);
    assert_eq!(names(&events)[3..], ["inference.aborted", "budget.expired", "budget.adjusted"]);
    let Event::Hold(Hold::Adjusted(adjusted)) = &events[5].event else { panic!("adjusted") };
    assert_eq!(adjusted.delta_usd, NanoUsd::new(-15));
    let fold = must_be_whole(&events);
    must_verify(&log, 0);
    let settled: Vec<_> = fold.windows().map(|(_, amounts)| amounts.settled).collect();
    assert_eq!(settled, [NanoUsdSum::new(25)]);
}

/// A process that opens the log for another purpose does not know the gateway's policy for expired holds, or has another.
async fn who_leaves_the_holds_of_a_gateway_ends_none(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    open_budget(&log, 1, 100, Period::Day).await;
    std::mem::forget(hold(&log, 1, 40).await.expect("it fits"));
    log.close();
    for _ in 0..70 {
        clock.advance(Duration::from_secs(1));
    }
    let opened_by = |options| {
        let (log, mut writer) = test_log.stepped(options);
        clock.advance(Duration::from_secs(1));
        writer.step(10);
        everything(&log)
    };
    let options = || LogOptions::new(clock.clone());
    let left = ["budget.opened", "inference.admitted", "budget.reserved"];
    assert_eq!(names(&opened_by(options().without_requests())), left);
    let worker = options().with_unknown_usage(UnknownUsage::Release).without_requests();
    assert_eq!(names(&opened_by(worker)), left);
    let swept = opened_by(options().with_unknown_usage(UnknownUsage::ChargeHold));
    assert_eq!(names(&swept)[3..], ["inference.aborted", "budget.expired"]);
    let Event::Hold(Hold::Expired(expired)) = &swept[4].event else { panic!("expired") };
    assert_eq!(expired.charged_usd, NanoUsd::new(40));
}

async fn a_restart_finds_balances_and_open_holds_as_they_were(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    open_budget(&log, 1, 100, Period::Day).await;
    settle(hold(&log, 1, 40).await.expect("it fits"), 30).await;
    // A killed process leaves its hold, which is neither ended nor dropped.
    std::mem::forget(hold(&log, 2, 50).await.expect("it fits"));
    log.close();
    assert!(matches!(log.admit(admission(9, 1, 1, TTL), None).await, Err(LogError::Closed)));
    let log = test_log.open(&clock);
    assert!(hold(&log, 3, 21).await.is_err(), "30 charged and 50 held leave 20 of 100");
    let small = hold(&log, 4, 20).await.expect("20 fit");
    settle(small, 0).await;
    must_be_whole(&everything(&log));
}

async fn a_restart_finds_what_each_key_holds_of_budgets_that_it_shares(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    open_budget(&log, 1, 100, Period::Day).await;
    for (request, held) in [(1, 40), (2, 25)] {
        std::mem::forget(hold(&log, request, held).await.expect("it fits"));
    }
    log.close();
    // The first start reads what was written, the second what the first wrote again.
    for _ in 0..2 {
        let log = test_log.open(&clock);
        let (_, balances) = log.reader().expect("a reader").balances(start()).expect("balances");
        let (window, amounts) = balances.windows().next().expect("a window");
        let by_key = balances.held_by(Holder::Key(id(1)), window);
        assert_eq!((by_key, amounts.held), (NanoUsdSum::new(65), NanoUsdSum::new(65)));
        log.close();
    }
}

async fn readers_page_filter_and_see_streams(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    open_budget(&log, 1, 1000, Period::Total).await;
    for request in 1..=5 {
        settle(hold(&log, request, 10).await.expect("it fits"), 5).await;
    }
    let reader = log.reader().expect("a reader");
    let page: Vec<u64> = reader.after(3, 4).expect("a page").iter().map(|event| event.position).collect();
    assert_eq!(page, [4, 5, 6, 7]);
    let filter = EventFilter {
        types: Some(vec![("budget.settled".to_owned(), 1)]),
        tenant: Some(id(1)),
        partner: Some(id(1)),
        ..EventFilter::default()
    };
    assert_eq!(reader.filtered(&filter, 0, 100).expect("a page").events.len(), 5);
    for recorded in everything(&log) {
        let types = Some(vec![(recorded.event.name().to_owned(), recorded.event.version())]);
        let of_type = EventFilter { types, ..EventFilter::default() };
        let found = reader.filtered(&of_type, recorded.position - 1, 100).expect("a page").events;
        assert_eq!(found.first(), Some(&recorded), "types that have an index of their own are found as others are");
        assert!(found.iter().all(|other| other.event.name() == recorded.event.name()));
    }
    assert_eq!(reader.at(&[2, 3, 99]).expect("events").len(), 2);
    assert_eq!(reader.at(&[2]).expect("an event")[&2], everything(&log)[1]);
    let other = EventFilter { tenant: Some(id(2)), ..EventFilter::default() };
    assert_eq!(reader.filtered(&other, 0, 100).expect("a page").events.len(), 0);
    assert_eq!(reader.stream(&Stream::hold(id(3))).expect("a stream").len(), 2);
    assert_eq!(reader.administration_after(0).expect("the administration").len(), 1);
    let read = log.read(|reader| reader.head()).await.expect("the head reads");
    assert_eq!(read, log.head());
}

async fn a_stepped_clock_stops_the_appends_until_it_agrees_again(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    clock.step_wall(TimeDelta::hours(25).num_microseconds().expect("microseconds"));
    assert!(matches!(log.admit(admission(1, 1, 1, TTL), None).await, Err(LogError::ClockStepped)));
    clock.step_wall(-TimeDelta::hours(25).num_microseconds().expect("microseconds"));
    drop(hold(&log, 2, 1).await.expect("the clocks agree"));
}

async fn the_time_of_what_comes_next_is_never_before_the_last_event(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    let began = clock.now();
    assert_eq!(log.head().time_after(began), began);
    open_budget(&log, 1, 1000, Period::Day).await;
    let back = began - TimeDelta::seconds(30);
    assert_eq!(log.head().time_after(back), log.head().recorded_at.expect("an event"));
    assert_eq!(log.head().time_after(began + TimeDelta::days(1)), began + TimeDelta::days(1));
}
