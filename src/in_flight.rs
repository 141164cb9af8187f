//! Which requests are in flight: until the last byte of their answer has been handed over, or their client has gone.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Counts requests and knows whether new ones are still taken. Cheap to clone.
#[derive(Clone)]
pub struct InFlight {
    requests: TaskTracker,
    draining: watch::Sender<bool>,
    /// It will drain soon, and balancers are to know.
    leaving: Arc<AtomicBool>,
}

impl InFlight {
    pub fn new() -> Self {
        Self { requests: TaskTracker::new(), draining: watch::Sender::new(false), leaving: Arc::default() }
    }

    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// From now on it is not ready; requests are served as before.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// Becomes true when no new requests are taken.
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    /// Takes no new requests, and waits until those in flight are over.
    pub async fn drain(&self) {
        self.leave();
        self.draining.send_replace(true);
        self.requests.close();
        self.requests.wait().await;
    }

    /// Requests in flight now.
    pub fn count(&self) -> usize {
        self.requests.len()
    }

    pub fn begin(&self) -> Request {
        Request(self.requests.token())
    }
}

/// One request in flight.
pub struct Request(TaskTrackerToken);

impl Request {
    /// Lasts as long as the body.
    pub fn until_the_end_of(self, body: Body) -> Body {
        Body::new(Counted { body, _request: self.0 })
    }
}

struct Counted {
    body: Body,
    _request: TaskTrackerToken,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
