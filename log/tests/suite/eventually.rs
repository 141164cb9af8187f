//! Waiting for what other threads and processes do.

use std::time::{Duration, Instant};

use tokio::time::sleep;

/// Waits until something is so, and returns how long that took.
///
/// # Panics
///
/// If it takes longer than `max`; `what` is what is so meanwhile.
pub async fn eventually(what: &str, max: Duration, mut is_so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < max, "{what} after {max:?}");
        sleep(Duration::from_millis(10)).await;
    }
    began.elapsed()
}
