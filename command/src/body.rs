//! A request's body: complete, bounded in size, time and speed, and counted in the memory that bodies may take.

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

/// Bodies beyond this are refused: 32 MiB.
pub const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long a client may take to send its body.
const BODY_WAIT_MAX: Duration = Duration::from_secs(120);
/// A body that is not whole has to bring so much in every such span: 8 KiB a second. Whoever is slower could not send the
/// largest body in time either, and holds what has arrived of it for nothing.
const SPAN: Duration = Duration::from_secs(15);
const SPAN_BYTES_MIN: usize = 15 * 8 * 1024;

/// How long a body that is not wanted is still taken in. Most clients read no answer before they have sent everything:
/// who hangs up on them gives them a broken pipe instead of the refusal.
const LINGER_MAX: Duration = Duration::from_secs(2);
/// A client that has been silent for so long is listening, or gone.
const SILENCE_MAX: Duration = Duration::from_millis(200);
/// When to come back to a gateway that has no memory left.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A body cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than 32 MiB")]
    TooLarge,
    #[error("the body did not arrive whole")]
    Broken,
    #[error(
        "the body arrived too slowly: it has to be complete within 120 s, and to bring at least 120 KiB in every 15 s"
    )]
    Late,
    /// No memory is left for it.
    #[error("the gateway holds as many bytes of request bodies{} as it may; try again", .0.of_whom())]
    NoMemory(BoundOf),
}

impl BodyError {
    pub fn into_refusal(self) -> Refusal {
        let message = self.to_string();
        match self {
            Self::TooLarge => Refusal::new(ErrorCode::PayloadTooLarge, message),
            Self::Broken | Self::Late => Refusal::invalid("", message),
            Self::NoMemory(bound) => {
                Refusal::new(ErrorCode::Overloaded, message).with("scope", bound.as_str()).retry_after(RETRY_AFTER)
            }
        }
    }
}

/// A whole body, and what it is counted with. The bytes hold the permit themselves: keep it for as long as what was made
/// of them is kept, or attach it to that.
#[derive(Debug)]
pub struct HeldBody {
    pub bytes: Bytes,
    pub permit: Arc<BodyPermit>,
}

/// All of it, in two minutes at most. One that is refused for its size or for want of memory is thrown away as long as it
/// comes, for two seconds at most, and not at all where the client waits to be asked for it.
pub async fn whole(
    memory: &Arc<BodyMemory>,
    owner: BodyOwner,
    headers: &HeaderMap,
    body: Body,
) -> Result<HeldBody, BodyError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let is_too_large = announced.is_some_and(|length| length > BODY_BYTES_MAX as u64);
    let announced = announced.and_then(|length| usize::try_from(length).ok());
    let mut chunks = body.into_data_stream();
    let begun = if is_too_large { Err(BodyError::TooLarge) } else { memory.begin(owner).map_err(BodyError::NoMemory) };
    let (error, was_asked_for) = match begun {
        Ok(permit) => match Arriving::new(announced, permit).collected(&mut chunks).await {
            Ok(held) => return Ok(held),
            Err(error) => (error, true),
        },
        Err(error) => (error, !headers.contains_key(EXPECT)),
    };
    if was_asked_for && matches!(error, BodyError::TooLarge | BodyError::NoMemory(_)) {
        linger(memory, chunks).await;
    }
    Err(error)
}

/// Reads on, so that the client reads the refusal. Where too many do that already, the refusal is only put off: whoever
/// sends without end is then slowed down instead.
async fn linger(memory: &BodyMemory, chunks: BodyDataStream) {
    match memory.lingering.try_acquire() {
        Ok(_turn) => drop(timeout(LINGER_MAX, thrown_away(chunks)).await),
        Err(_) => tokio::time::sleep(SILENCE_MAX).await,
    }
}

/// Whether the body is said to be `application/json`, with parameters or without.
pub fn is_json(headers: &HeaderMap) -> bool {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    given.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

async fn thrown_away(mut chunks: BodyDataStream) {
    while let Ok(Some(Ok(_))) = timeout(SILENCE_MAX, chunks.next()).await {}
}

/// What has arrived of a body. Its chunks are copied into one piece: a chunk keeps the whole buffer that it was read
/// into, however small it is.
struct Arriving {
    buffer: BodyBuffer,
    announced: Option<usize>,
    permit: BodyPermit,
}

impl Arriving {
    fn new(announced: Option<usize>, permit: BodyPermit) -> Self {
        Self { buffer: BodyBuffer::new(announced), announced, permit }
    }

    async fn collected(mut self, chunks: &mut BodyDataStream) -> Result<HeldBody, BodyError> {
        let until = Instant::now() + BODY_WAIT_MAX;
        let (mut span_ends, mut bytes_of_span) = (Instant::now() + SPAN, 0);
        loop {
            let came = timeout_at(span_ends.min(until), chunks.next()).await;
            // Asked of the clock as well: what always has something ready is never waited for.
            let now = Instant::now();
            match came {
                Ok(None) => break,
                Ok(Some(Ok(chunk))) => {
                    bytes_of_span += chunk.len();
                    self.take(&chunk)?;
                }
                Ok(Some(Err(_))) => return Err(BodyError::Broken),
                Err(_) => {}
            }
            if now >= until || now >= span_ends && bytes_of_span < SPAN_BYTES_MIN {
                return Err(BodyError::Late);
            }
            if now >= span_ends {
                (span_ends, bytes_of_span) = (now + SPAN, 0);
            }
        }
        self.permit.has_arrived();
        let permit = Arc::new(self.permit);
        Ok(HeldBody { bytes: permit.attach_to(self.buffer.into_bytes()), permit })
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), BodyError> {
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
