//! Reads a request's body completely, bounded in size, time and speed, and counted in [`memory`]. One that is compressed is decoded.

pub(crate) mod buffer;
mod content_coding;
pub mod large_bodies;
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
use content_coding::{ACCEPTED, CodedBody, codings_of};
use large_bodies::LargeBodyError;
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
    #[error("the content-encoding of the body is not one of {ACCEPTED}, or has more than two of them")]
    UnknownCoding,
    #[error(
        "the body cannot be decoded by its content-encoding: it is damaged or cut off, or is zstd that needs a window above 8 MiB or has more than 1,024 frames"
    )]
    NotAsCoded,
    #[error("the compressed body was not decoded")]
    NotDecoded(LargeBodyError),
    /// No memory is left for the body.
    #[error("the gateway holds as many bytes of request bodies{} as it may; try again", .0.of_whom())]
    NoMemory(BoundOf),
}

impl BodyError {
    pub fn into_refusal(self) -> Refusal {
        let message = self.to_string();
        match self {
            Self::TooLarge => Refusal::new(ErrorCode::PayloadTooLarge, message),
            Self::Incomplete | Self::TooSlow | Self::NotAsCoded => Refusal::invalid("", message),
            Self::UnknownCoding => {
                Refusal::new(ErrorCode::UnsupportedMediaType, message).with("accept_encoding", ACCEPTED)
            }
            Self::NotDecoded(error) => error.refusal("it was not read"),
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

impl HeldBody {
    fn new(buffer: BodyBuffer, permit: BodyPermit) -> Self {
        let permit = Arc::new(permit);
        Self { bytes: permit.attach_to(buffer.into_bytes()), permit }
    }
}

/// Reads a complete body, in two minutes at most, and decodes it. A body that is refused for its size, for its coding or for lack of
/// memory is still read and discarded for two seconds at most, unless the client waits for `100 Continue`.
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
    let begun =
        if is_too_large { Err(BodyError::TooLarge) } else { IncomingBody::begin(memory, owner, headers, announced) };
    let (error, is_being_sent) = match begun {
        Ok(incoming) => match incoming.collect(&mut chunks).await {
            Ok(arrived) => return arrived.into_held().await,
            Err(error) => (error, true),
        },
        Err(error) => (error, !headers.contains_key(EXPECT)),
    };
    if is_being_sent && matches!(error, BodyError::TooLarge | BodyError::NoMemory(_) | BodyError::UnknownCoding) {
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

/// A body that is arriving.
struct IncomingBody {
    bytes: ArrivingBytes,
    announced: Option<usize>,
    permit: BodyPermit,
}

/// The bytes that have arrived. Chunks are copied, because a small one keeps the whole buffer that it was read into.
enum ArrivingBytes {
    Plain(BodyBuffer),
    Coded(CodedBody),
}

impl ArrivingBytes {
    const fn len(&self) -> usize {
        match self {
            Self::Plain(buffer) => buffer.len(),
            Self::Coded(coded) => coded.len(),
        }
    }

    fn memory_at(&self, len: usize) -> usize {
        match self {
            Self::Plain(buffer) => buffer.memory_at(len),
            Self::Coded(_) => CodedBody::memory_at(len),
        }
    }
}

impl IncomingBody {
    fn begin(
        memory: &Arc<BodyMemory>,
        owner: BodyOwner,
        headers: &HeaderMap,
        announced: Option<usize>,
    ) -> Result<Self, BodyError> {
        let codings = codings_of(headers)?;
        let permit = memory.begin(owner).map_err(BodyError::NoMemory)?;
        let bytes = match codings.is_empty() {
            true => ArrivingBytes::Plain(BodyBuffer::new(announced)),
            false => ArrivingBytes::Coded(CodedBody::new(codings)),
        };
        Ok(Self { bytes, announced, permit })
    }

    async fn collect(mut self, chunks: &mut BodyDataStream) -> Result<Self, BodyError> {
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
        Ok(self)
    }

    async fn into_held(self) -> Result<HeldBody, BodyError> {
        match self.bytes {
            ArrivingBytes::Plain(buffer) => Ok(HeldBody::new(buffer, self.permit)),
            // An empty body, which a `DELETE` has, is no compressed one.
            ArrivingBytes::Coded(coded) if coded.len() == 0 => Ok(HeldBody::new(BodyBuffer::new(None), self.permit)),
            // Boxed, so that other bodies have no room for it.
            ArrivingBytes::Coded(coded) => Box::pin(coded.decoded(self.permit)).await,
        }
    }

    fn append(&mut self, chunk: &[u8]) -> Result<(), BodyError> {
        let len = self.bytes.len() + chunk.len();
        if len > BODY_BYTES_MAX {
            return Err(BodyError::TooLarge);
        }
        self.permit.grow_to(self.bytes.memory_at(len)).map_err(BodyError::NoMemory)?;
        match &mut self.bytes {
            ArrivingBytes::Plain(buffer) => {
                buffer.extend(chunk, self.announced).map_err(|_| BodyError::NoMemory(BoundOf::Process))
            }
            ArrivingBytes::Coded(coded) => {
                coded.extend(chunk);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
