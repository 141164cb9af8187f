//! Parts of the log, of a time range or of all of it: where they begin and end, and whether there is more.

use std::time::Duration;

use events::event::StreamKind;
use events::event::admin::Scope;
use events::time::Period;
use events_log::{EventFilter, Log, Part, Reader};

use crate::facts::{append, budget, clock, id, opened, start};
use crate::test_log::{TestLog, on_both_engines};

const STEP: Duration = Duration::from_secs(10);

on_both_engines! {
    parts_follow_on_each_other_until_there_is_no_more,
    a_time_begins_with_its_first_instant_and_ends_before_its_last,
    of_any_time_exactly_what_was_recorded_in_it_is_found,
}

/// Six events, one every ten seconds.
async fn log_of_six(test_log: &TestLog) -> Log {
    let clock = clock();
    let log = test_log.open(&clock);
    for number in 1..=6 {
        let event = opened(budget(number, Scope::Tenant(id(1)), 10, Period::Day));
        log.append(append(StreamKind::Budget, id(number), 0, event)).await.expect("a budget is opened");
        clock.advance(STEP);
    }
    log
}

fn positions(part: &Part) -> Vec<u64> {
    part.events.iter().map(|event| event.position).collect()
}

/// The positions in the first two parts of at most two events, and the second part.
fn two_parts(reader: &dyn Reader, filter: &EventFilter) -> (Vec<u64>, Vec<u64>, Part) {
    let first = reader.filtered(filter, 0, 2).expect("a part");
    let second = reader.filtered(filter, first.until, 2).expect("a part");
    (positions(&first), positions(&second), second)
}

async fn parts_follow_on_each_other_until_there_is_no_more(test_log: TestLog) {
    let reader = log_of_six(&test_log).await.reader().expect("a reader");
    let (first, second, part) = two_parts(&*reader, &EventFilter::default());
    assert_eq!((first, second), (vec![1, 2], vec![3, 4]));
    assert!(part.has_more() && !part.is_over(), "{part:?}");
    let last = reader.filtered(&EventFilter::default(), part.until, 2).expect("a part");
    assert_eq!((positions(&last), last.until, last.end, last.head), (vec![5, 6], 6, 6, 6));
    assert!(!last.has_more() && !last.is_over(), "what comes next belongs to it: {last:?}");
}

/// The time range begins at the second event and ends before the fifth.
async fn a_time_begins_with_its_first_instant_and_ends_before_its_last(test_log: TestLog) {
    let reader = log_of_six(&test_log).await.reader().expect("a reader");
    let time = EventFilter { from: Some(start() + STEP), to: Some(start() + 4 * STEP), ..EventFilter::default() };
    let (first, second, part) = two_parts(&*reader, &time);
    assert_eq!((first, second), (vec![2, 3], vec![4]));
    assert_eq!((part.until, part.end, part.head), (4, 4, 6));
    assert!(!part.has_more() && part.is_over(), "{part:?}");
    let first = reader.filtered(&time, 0, 2).expect("a part");
    assert!(first.has_more() && first.is_over(), "{first:?}");
}

async fn of_any_time_exactly_what_was_recorded_in_it_is_found(test_log: TestLog) {
    let reader = log_of_six(&test_log).await.reader().expect("a reader");
    // Every five seconds: on an event, between two, before all of them and after all of them.
    let time = |at: u32| start() - STEP + at * STEP / 2;
    for from in 0..16 {
        for to in from..16 {
            let filter = EventFilter { from: Some(time(from)), to: Some(time(to)), ..EventFilter::default() };
            let part = reader.filtered(&filter, 0, 100).expect("a part");
            let within: Vec<u64> =
                (1..=6).filter(|position| (from..to).contains(&(*position * 2))).map(u64::from).collect();
            assert_eq!(positions(&part), within, "from {from} to {to}");
        }
    }
}
