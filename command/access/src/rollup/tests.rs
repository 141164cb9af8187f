use events::event::{Access, Event};
use events::log::LogOptions;
use events::time::SystemClock;

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
