use chrono::DateTime;
use events::event::{Access, Event};
use events::log::{LogOptions, Stepped};
use events::time::{ManualClock, SystemClock};

use super::*;

async fn counts(log: &Log) -> Vec<u64> {
    let recorded = log.read(|reader| reader.after(0, 1000)).await.expect("a readable log");
    let count = |event: &Event| match event {
        Event::Access(Access::Denied(denied)) => Some(denied.count),
        Event::Access(Access::RateLimited(limited)) => Some(limited.count),
        _ => None,
    };
    recorded.iter().filter_map(|recorded| count(&recorded.event)).collect()
}

/// Holds: event.access
#[tokio::test]
async fn every_refusal_is_in_the_log_and_few_events_stand_for_many() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let log = Log::open(folder.path(), LogOptions::new(Arc::clone(&clock))).expect("a log");
    let rollup = AccessRollup::new(log.clone(), clock);
    for _ in 0..500 {
        rollup.denied(AccessRollup::anonymous(), ErrorCode::Unauthenticated);
    }
    rollup.close().await;
    let counts = counts(&log).await;
    assert_eq!(counts.iter().sum::<u64>(), 500);
    assert!(counts.len() <= 4, "{counts:?}");
    assert_eq!(counts.first(), Some(&1));
}

/// A job that the writer has not taken when its caller gives up is recorded later all the same.
#[tokio::test(start_paused = true)]
async fn refusals_that_may_have_been_recorded_are_not_counted_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::at(DateTime::UNIX_EPOCH));
    let (log, mut writer) = Stepped::open(folder.path(), LogOptions::new(clock.clone())).expect("a log");
    let rollup = AccessRollup::new(log.clone(), clock.clone());
    rollup.denied(AccessRollup::anonymous(), ErrorCode::Unauthenticated);
    // Longer than a caller waits for the writer.
    sleep(Duration::from_secs(15)).await;
    writer.step(usize::MAX);
    // What was put back would be due now.
    clock.advance(Duration::from_secs(1));
    sleep(Duration::from_secs(15)).await;
    writer.step(usize::MAX);
    assert_eq!(counts(&log).await, [1]);
    rollup.denied(AccessRollup::anonymous(), ErrorCode::Forbidden);
    sleep(Duration::from_secs(1)).await;
    writer.step(usize::MAX);
    assert_eq!(counts(&log).await, [1, 1], "later ones are recorded");
}
