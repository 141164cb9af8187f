use chrono::DateTime;
use events::event::{Access, Event};
use events::time::{ManualClock, SystemClock};
use events_log::{LogOptions, Stepped};

use super::*;

async fn counts(log: &Log) -> Vec<u64> {
    let recorded = log.read(|reader| reader.after(0, 1000)).await.expect("a readable log");
    let count = |event: &Event| match event {
        Event::Access(Access::Denied(denied)) => Some(denied.count),
        Event::Access(Access::RateLimited(limited)) => Some(limited.count),
        Event::Access(Access::Read(read)) => Some(read.count),
        Event::Access(Access::Rejected(rejected)) => Some(rejected.count),
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

/// Holds: event.reads
#[tokio::test(start_paused = true)]
async fn reads_are_recorded_in_a_moment_at_the_end_of_the_minute_and_at_the_shutdown() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::at(DateTime::UNIX_EPOCH));
    let (log, mut writer) = Stepped::open(folder.path(), LogOptions::new(clock.clone())).expect("a log");
    let rollup = AccessRollup::new(log.clone(), clock.clone());
    let read = || rollup.read(AccessRollup::anonymous(), ReadKind::Audit);
    let mut pass = async |seconds| {
        clock.advance(Duration::from_secs(seconds));
        sleep(Duration::from_secs(seconds)).await;
        writer.step(usize::MAX);
        // What the writer has answered is taken up.
        sleep(Duration::from_millis(1)).await;
    };
    read();
    read();
    pass(3).await;
    assert_eq!(counts(&log).await, [1], "nobody has waited for it");
    read();
    pass(50).await;
    assert_eq!(counts(&log).await, [1]);
    pass(8).await;
    assert_eq!(counts(&log).await, [1, 2], "the minute is over");
    for _ in 0..4 {
        read();
    }
    pass(3).await;
    assert_eq!(counts(&log).await, [1, 2, 1]);
    let closing = rollup.close();
    tokio::join!(closing, async {
        sleep(Duration::from_millis(100)).await;
        writer.step(usize::MAX);
    });
    assert_eq!(counts(&log).await, [1, 2, 1, 3], "a shutdown does not wait for the minute");
}
