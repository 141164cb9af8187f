//! The short form of `benches/skip_hunt`, on every run.

#[path = "../../benches/skip_hunt/hunt.rs"]
mod hunt;

use std::time::Duration;

use hunt::{Hunt, HuntResult, hunt};
use testing::postgres::TestDatabase;

/// Holds: shared.no-skip
#[test]
fn no_reader_skips_an_event_or_sees_one_twice() {
    let found = hunt(
        &TestDatabase::create(),
        Hunt {
            events: 20_000,
            nodes: 4,
            writers: 32,
            plain_readers: 2,
            seed: 1,
            disturbed_every: Duration::from_millis(700),
        },
    );
    let HuntResult { events, kills, rollbacks, behind, first_waits, last_waits, took, errors } = found;
    // Those whose connection was killed at a bad moment.
    assert!(errors * 20 < events, "{errors} errors told in {took:?}");
    assert!(events >= 20_000 && kills > 0 && rollbacks > 0, "{events} events, {kills} killed, {rollbacks} rolled back");
    // The processors may be busy with other tests.
    assert!(behind.followers.max(behind.plain) < Duration::from_secs(5), "{behind:?}");
    assert!(!first_waits.is_empty() && !last_waits.is_empty());
}
