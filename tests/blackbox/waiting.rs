//! Waiting for what the gateway does beside its requests.

use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until something is found, and returns it.
pub async fn until<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found().await {
            return found;
        }
        assert!(begun.elapsed() < LONG, "{what}");
        tokio::time::sleep(PAUSE).await;
    }
}
