//! Bytes of responses that clients have not read yet, counted by key and tenant: a client that sends queries without reading
//! the responses is refused more of them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use events_log::concurrency::{ConcurrencyLimiter, Requester, UnreadBytes};
use http_body::{Frame, SizeHint};
use projections::caller::Caller;

/// Middleware that counts a response's body until it has left the process.
pub async fn count(State(concurrency): State<ConcurrencyLimiter>, request: Request, next: Next) -> Response {
    let requester = request.extensions().get::<Arc<Caller>>().map(|caller| caller.requester());
    let response = next.run(request).await;
    match requester {
        Some(requester) => response.map(|body| Body::new(CountedBody { body, concurrency, requester })),
        None => response,
    }
}

struct CountedBody {
    body: Body,
    concurrency: ConcurrencyLimiter,
    requester: Requester,
}

/// Bytes that are counted until they are dropped, which is when the socket's buffer has taken them.
struct CountedBytes {
    bytes: Bytes,
    _unread: UnreadBytes,
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl CountedBody {
    fn counted(&self, bytes: Bytes) -> Bytes {
        let _unread = self.concurrency.count_unread(self.requester, bytes.len());
        Bytes::from_owner(CountedBytes { bytes, _unread })
    }
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(|bytes| self.counted(bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use events::ids::{KeyId, TenantId};
    use http_body_util::BodyExt;
    use uuid::Uuid;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_its_responses_gets_no_more_until_it_has() {
        let concurrency = ConcurrencyLimiter::default();
        let requester =
            Requester::TenantKey { key: KeyId::from(Uuid::from_u128(1)), tenant: TenantId::from(Uuid::from_u128(2)) };
        let answer =
            |bytes: usize| CountedBody { body: vec![b' '; bytes].into(), concurrency: concurrency.clone(), requester };
        let mut body = answer(5 << 20);
        let frame = body.frame().await.expect("a frame").expect("no error");
        assert!(http_body::Body::is_end_stream(&body));
        drop(body);
        assert!(concurrency.admit_query(requester).await.is_err(), "the frame is somewhere, on its way to the client");
        drop(frame);
        assert!(concurrency.admit_query(requester).await.is_ok());
    }
}
