//! Reads a request's body completely, bounded in size, time and speed, and counted in [`memory`].

pub(crate) mod buffer;
pub mod memory;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use events::refusal::{ErrorCode, Refusal};
use futures_util::StreamExt;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use tokio::time::{Instant, timeout, timeout_at};

use buffer::BodyBuffer;
use memory::{BodyMemory, BodyOwner, BodyPermit, BoundOf};

/// The largest body: 32 MiB.
pub const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The longest time that a client may take to send its body.
const BODY_WAIT_MAX: Duration = Duration::from_secs(120);
/// An incomplete body must bring `SPAN_BYTES_MIN` in every such span: 8 KiB/s. A slower client could not send the largest body
/// in time either, and would hold memory in vain.
const SPAN: Duration = Duration::from_secs(15);
const SPAN_BYTES_MIN: usize = 15 * 8 * 1024;

/// How long a refused body is still read. Most clients read no response before they have sent everything: closing the
/// connection at once would give them a broken pipe instead of the refusal.
const LINGER_MAX: Duration = Duration::from_secs(2);
/// A client that sends nothing for so long is listening, or gone.
const SILENCE_MAX: Duration = Duration::from_millis(200);

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than 32 MiB")]
    TooLarge,
    #[error("the body did not arrive completely")]
    Incomplete,
    #[error("the body arrived too slowly: send it completely within 120 s, and at least 120 KiB of it in every 15 s")]
    TooSlow,
    /// No memory is left for the body.
    #[error("the gateway holds as many bytes of request bodies{} as it may; try again", .0.of_whom())]
    NoMemory(BoundOf),
}

impl BodyError {
    pub fn into_refusal(self) -> Refusal {
        let message = self.to_string();
        match self {
            Self::TooLarge => Refusal::new(ErrorCode::PayloadTooLarge, message),
            Self::Incomplete | Self::TooSlow => Refusal::invalid("", message),
            Self::NoMemory(bound) => {
                Refusal::new(ErrorCode::Overloaded, message).with("scope", bound.as_str()).try_again()
            }
        }
    }
}

/// A complete body and its permit. The bytes hold the permit too; values made from them must hold it, or have it attached.
#[derive(Debug)]
pub struct HeldBody {
    pub bytes: Bytes,
    pub permit: Arc<BodyPermit>,
}

/// Reads a complete body, in two minutes at most. A body that is refused for its size or for lack of memory is still read and
/// discarded for two seconds at most, unless the client waits for `100 Continue`.
pub async fn read_all(
    memory: &Arc<BodyMemory>,
    owner: BodyOwner,
    headers: &HeaderMap,
    body: Body,
) -> Result<HeldBody, BodyError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let is_too_large = announced.is_some_and(|length| length > BODY_BYTES_MAX as u64);
    let announced = announced.and_then(|length| usize::try_from(length).ok());
    let mut chunks = body.into_data_stream();
    let permit = if is_too_large { Err(BodyError::TooLarge) } else { memory.begin(owner).map_err(BodyError::NoMemory) };
    let (error, is_being_sent) = match permit {
        Ok(permit) => match IncomingBody::new(announced, permit).collect(&mut chunks).await {
            Ok(held) => return Ok(held),
            Err(error) => (error, true),
        },
        Err(error) => (error, !headers.contains_key(EXPECT)),
    };
    if is_being_sent && matches!(error, BodyError::TooLarge | BodyError::NoMemory(_)) {
        linger(memory, chunks).await;
    }
    Err(error)
}

/// Reads on, so that the client reads the refusal. If too many bodies are read like this, it only delays the refusal, which
/// slows down a client that sends without end.
async fn linger(memory: &BodyMemory, chunks: BodyDataStream) {
    match memory.lingering.try_acquire() {
        Ok(_permit) => drop(timeout(LINGER_MAX, discard(chunks)).await),
        Err(_) => tokio::time::sleep(SILENCE_MAX).await,
    }
}

/// Returns whether the content type is `application/json`, with or without parameters.
pub fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

async fn discard(mut chunks: BodyDataStream) {
    while let Ok(Some(Ok(_))) = timeout(SILENCE_MAX, chunks.next()).await {}
}

/// A body that is arriving. Its chunks are copied into one buffer, because a small chunk keeps the whole buffer that it was
/// read into.
struct IncomingBody {
    buffer: BodyBuffer,
    announced: Option<usize>,
    permit: BodyPermit,
}

impl IncomingBody {
    fn new(announced: Option<usize>, permit: BodyPermit) -> Self {
        Self { buffer: BodyBuffer::new(announced), announced, permit }
    }

    async fn collect(mut self, chunks: &mut BodyDataStream) -> Result<HeldBody, BodyError> {
        let until = Instant::now() + BODY_WAIT_MAX;
        let (mut span_ends, mut bytes_of_span) = (Instant::now() + SPAN, 0);
        loop {
            let next = timeout_at(span_ends.min(until), chunks.next()).await;
            // The timeout is not enough: a body that always has a chunk ready never waits.
            let now = Instant::now();
            match next {
                Ok(None) => break,
                Ok(Some(Ok(chunk))) => {
                    bytes_of_span += chunk.len();
                    self.append(&chunk)?;
                }
                Ok(Some(Err(_))) => return Err(BodyError::Incomplete),
                Err(_) => {}
            }
            if now >= until || now >= span_ends && bytes_of_span < SPAN_BYTES_MIN {
                return Err(BodyError::TooSlow);
            }
            if now >= span_ends {
                (span_ends, bytes_of_span) = (now + SPAN, 0);
            }
        }
        self.permit.mark_arrived();
        let permit = Arc::new(self.permit);
        Ok(HeldBody { bytes: permit.attach_to(self.buffer.into_bytes()), permit })
    }

    fn append(&mut self, chunk: &[u8]) -> Result<(), BodyError> {
        let len = self.buffer.len() + chunk.len();
        if len > BODY_BYTES_MAX {
            return Err(BodyError::TooLarge);
        }
        self.permit.grow_to(self.buffer.memory_at(len)).map_err(BodyError::NoMemory)?;
        self.buffer.extend(chunk, self.announced).map_err(|_| BodyError::NoMemory(BoundOf::Process))
    }
}

#[cfg(test)]
mod tests;
