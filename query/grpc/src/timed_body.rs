//! A body that ends at a deadline, whether or not anybody reads it.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use query::Revocable;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

/// A body with a guard. Both are dropped at the deadline, or when the body has ended.
pub struct TimedBody<G> {
    held: Revocable<(Body, G), ()>,
    /// Trailers that follow if the deadline comes first.
    trailers: Option<HeaderMap>,
}

impl<G: Send + 'static> TimedBody<G> {
    /// The body of a request, which breaks off at the deadline.
    pub fn of_request(body: Body, guard: G, deadline: Instant) -> Self {
        Self { held: Revocable::until(sleep_until(deadline), (body, guard)), trailers: None }
    }

    /// The body of a response, which ends with this status at the deadline.
    pub fn of_response(body: Body, guard: G, deadline: Instant, status: &Status) -> Self {
        let mut trailers = HeaderMap::new();
        let is_written = status.add_header(&mut trailers).is_ok();
        Self { trailers: is_written.then_some(trailers), ..Self::of_request(body, guard, deadline) }
    }
}

impl<G: Send + Unpin + 'static> http_body::Body for TimedBody<G> {
    type Data = <Body as http_body::Body>::Data;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, axum::Error>>> {
        let polled =
            self.held.poll(context, |(body, _), context| Pin::new(body).poll_frame(context).map(|frame| frame.map(Ok)));
        polled.map(|frame| match frame {
            Some(Ok(frame)) => Some(frame),
            Some(Err(())) => self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.held.ask(|(body, _)| body.is_end_stream()).unwrap_or(false)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
