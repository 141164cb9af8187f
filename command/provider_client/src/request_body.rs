//! A request's body, and whether any of the request may have been sent. A connection reads the body when it writes the
//! request: before that nothing can be billed, however long the name, the connection, TLS or the queue took.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

const NOT_STARTED: u8 = 0;
const STARTED: u8 = 1;
const CANCELLED: u8 = 2;

/// The state of one call's request: not started, started or cancelled. Cheap to clone; clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Transmission(Arc<AtomicU8>);

impl Transmission {
    /// Marks the request as started: from now on the upstream may see it. False if it was cancelled and must not be sent.
    pub fn start(&self) -> bool {
        self.becomes(STARTED)
    }

    /// Cancels the request if it has not started. True if the upstream has not seen it, and never will.
    pub fn cancel(&self) -> bool {
        self.becomes(CANCELLED)
    }

    fn becomes(&self, state: u8) -> bool {
        let changed = self.0.compare_exchange(NOT_STARTED, state, Ordering::AcqRel, Ordering::Acquire);
        changed.map_or_else(|earlier| earlier == state, |_| true)
    }

    #[cfg(test)]
    pub fn has_started(&self) -> bool {
        self.0.load(Ordering::Acquire) == STARTED
    }
}

/// The call was cancelled before its request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request was cancelled")]
pub struct Cancelled;

/// A body that yields all of its bytes at once, when the connection asks for them.
#[derive(Clone, Debug, Default)]
pub struct RequestBody {
    bytes: Option<Bytes>,
    transmission: Transmission,
}

impl RequestBody {
    pub const fn new(bytes: Bytes, transmission: Transmission) -> Self {
        Self { bytes: Some(bytes), transmission }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Cancelled;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cancelled>>> {
        let Some(bytes) = self.bytes.take() else { return Poll::Ready(None) };
        Poll::Ready(Some(if self.transmission.start() { Ok(Frame::data(bytes)) } else { Err(Cancelled) }))
    }

    /// False until the body is read: reading it is what marks the request as started. Over HTTP/1.1 an empty body is never
    /// read, so a request without one does not count as started; no caller sends such a request.
    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests;
