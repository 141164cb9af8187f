//! Requests in flight. A request counts until the last byte of its response has been handed over, or its client has gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Counts requests and knows whether new ones are still accepted. Cheap to clone.
#[derive(Clone, Default)]
pub struct InFlight {
    requests: TaskTracker,
    /// Streams that never end by themselves.
    streams: TaskTracker,
    draining: watch::Sender<bool>,
    /// Set when draining is near, so that load balancers stop sending requests.
    leaving: Arc<AtomicBool>,
}

impl InFlight {
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Reports the gateway as not ready from now on; requests are served as before.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// A value that becomes true when new requests are no longer accepted.
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    /// Refuses new requests, and waits for those in flight to end.
    pub async fn drain(&self) {
        self.leave();
        self.draining.send_replace(true);
        self.requests.close();
        self.requests.wait().await;
    }

    /// Waits until the streams that end because of the drain have told their clients so.
    pub async fn streams_ended(&self) {
        self.streams.close();
        self.streams.wait().await;
    }

    /// Number of requests in flight.
    pub fn count(&self) -> usize {
        self.requests.len()
    }

    /// Counts a stream that never ends by itself until the token is dropped.
    pub fn begin_stream(&self) -> TaskTrackerToken {
        self.streams.token()
    }

    /// Counts a request until the token is dropped.
    pub fn begin(&self) -> TaskTrackerToken {
        self.requests.token()
    }
}
