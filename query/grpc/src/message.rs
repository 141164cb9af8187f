//! The request's message. It is read whole before a method begins, with a bound on its size and its time: nothing waits for a
//! client that does not send it. What arrives of all messages together is bounded as well, except that small messages always have
//! room: whoever sends large ones cannot keep them out.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use events::refusal::{ErrorCode, Refusal};
use http_body_util::BodyExt;
use openapi::refusals;
use tokio::sync::Semaphore;

const TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of each message that are not counted. The number of calls bounds them.
pub const UNCOUNTED_BYTES: usize = 256;

/// The bounds of one kind of messages. Clones share their count.
#[derive(Clone)]
pub struct MessageBounds {
    bytes_max: usize,
    /// Counted bytes that may still arrive, of all messages that have not arrived whole.
    free: Arc<Semaphore>,
}

impl MessageBounds {
    pub fn new(bytes_max: usize, all_bytes_max: usize) -> Self {
        Self { bytes_max, free: Arc::new(Semaphore::new(all_bytes_max)) }
    }

    /// Reads a body into one buffer, however small the pieces in which it comes.
    async fn read(&self, mut body: Body) -> Result<Vec<u8>, Refusal> {
        let (mut message, mut held) = (Vec::new(), self.free.try_acquire_many(0).map_err(|_| too_many())?);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Refusal::invalid("", "the request's message broke off"))?;
            let Ok(data) = frame.into_data() else { continue };
            if message.len() + data.len() > self.bytes_max {
                let reason = format!("the request's message is over {} bytes", self.bytes_max);
                return Err(Refusal::new(ErrorCode::PayloadTooLarge, reason));
            }
            let counted = counted_of(message.len() + data.len()) - counted_of(message.len());
            let bytes = u32::try_from(counted).unwrap_or(u32::MAX);
            held.merge(self.free.try_acquire_many(bytes).map_err(|_| too_many())?);
            message.extend_from_slice(&data);
        }
        Ok(message)
    }
}

const fn counted_of(bytes: usize) -> usize {
    bytes.saturating_sub(UNCOUNTED_BYTES)
}

fn too_many() -> Refusal {
    let message = "too many messages are arriving at a time";
    Refusal::new(ErrorCode::Overloaded, message).with("scope", "gateway").try_again()
}

/// Middleware that passes requests on once their message has arrived.
pub async fn arrived_whole(State(bounds): State<MessageBounds>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let read = tokio::time::timeout(TIME_MAX, bounds.read(body)).await.unwrap_or_else(|_| {
        let seconds = TIME_MAX.as_secs();
        Err(Refusal::invalid("", format!("the request's message did not arrive within {seconds} s")))
    });
    match read {
        Ok(message) => next.run(Request::from_parts(parts, Body::from(message))).await,
        Err(refusal) => refusals::response(refusal),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::iter::repeat_n;

    use futures_util::{StreamExt, stream};
    use tokio::time::sleep;

    use super::*;

    fn in_pieces(bytes: usize) -> Body {
        Body::from_stream(stream::iter(repeat_n(Ok::<_, Infallible>(&b"x"[..]), bytes)))
    }

    /// A message that begins with so many bytes, and does not go on.
    fn unfinished(bytes: usize) -> Body {
        let begins = vec![b'x'; bytes];
        Body::from_stream(stream::iter([Ok::<_, Infallible>(begins)]).chain(stream::pending()))
    }

    async fn code(bounds: &MessageBounds, body: Body) -> Option<ErrorCode> {
        bounds.read(body).await.err().map(|refusal| refusal.code)
    }

    /// Holds: grpc.messages
    #[tokio::test]
    async fn a_message_has_a_length() {
        let bounds = MessageBounds::new(1024, 4096);
        assert_eq!(bounds.read(in_pieces(1024)).await.expect("a message"), [b'x'; 1024]);
        assert_eq!(code(&bounds, in_pieces(1025)).await, Some(ErrorCode::PayloadTooLarge));
    }

    /// Holds: grpc.messages
    #[tokio::test(start_paused = true)]
    async fn messages_that_do_not_arrive_leave_no_room_for_others_and_not_for_long() {
        let bounds = MessageBounds::new(1024, 4 * (1024 - UNCOUNTED_BYTES));
        let mut arriving = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let bounds = bounds.clone();
            arriving.spawn(async move { tokio::time::timeout(TIME_MAX, bounds.read(unfinished(1024))).await.is_err() });
        }
        sleep(TIME_MAX / 2).await;
        assert_eq!(code(&bounds, in_pieces(UNCOUNTED_BYTES)).await, None, "a small one");
        assert_eq!(code(&bounds, in_pieces(UNCOUNTED_BYTES + 1)).await, Some(ErrorCode::Overloaded));
        assert_eq!(arriving.join_all().await, [true; 4]);
        assert_eq!(code(&bounds, in_pieces(1024)).await, None);
    }
}
