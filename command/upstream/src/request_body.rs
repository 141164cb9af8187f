//! A request's body, and whether any of it may have left. A connection asks for the body when it writes the request, not
//! before: until then nothing can have been billed, however long the name, the address, TLS or a place took.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

const NOT_STARTED: u8 = 0;
const STARTED: u8 = 1;
const CALLED_OFF: u8 = 2;

/// Whether one call's request is on its way. Cheap to clone; all clones are of the same call.
#[derive(Clone, Debug, Default)]
pub struct Transmission(Arc<AtomicU8>);

impl Transmission {
    /// From here on the upstream may see the request. False where it was called off before: nothing may be sent.
    pub fn start(&self) -> bool {
        match self.0.compare_exchange(NOT_STARTED, STARTED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(state) => state == STARTED,
        }
    }

    /// Nobody wants an answer any more. True where the upstream has not seen the request, and now never will.
    pub fn call_off(&self) -> bool {
        match self.0.compare_exchange(NOT_STARTED, CALLED_OFF, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(state) => state == CALLED_OFF,
        }
    }

    pub fn has_started(&self) -> bool {
        self.0.load(Ordering::Acquire) == STARTED
    }
}

/// The call was given up before the connection got to its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request was called off")]
pub struct CalledOff;

/// All bytes at once, once the connection takes them.
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
    type Error = CalledOff;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CalledOff>>> {
        let Some(bytes) = self.bytes.take() else { return Poll::Ready(None) };
        Poll::Ready(Some(if self.transmission.start() { Ok(Frame::data(bytes)) } else { Err(CalledOff) }))
    }

    /// False for an empty body that was not asked for: it is the asking that says that the request leaves.
    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests;
