//! The body of a whole answer, handed over piece by piece as the client takes them. The request counts as being answered
//! until the last piece.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use access_control::limits::RateLimitPermit;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

const PIECE_BYTES_MAX: usize = 64 * 1024;

pub struct WholeBody {
    rest: Bytes,
    /// Dropped with the last piece, before it leaves, so that a client that has read it finds its place free.
    permit: Option<RateLimitPermit>,
}

impl WholeBody {
    pub const fn new(bytes: Bytes, permit: RateLimitPermit) -> Self {
        Self { rest: bytes, permit: Some(permit) }
    }
}

impl Body for WholeBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(PIECE_BYTES_MAX);
        let piece = self.rest.split_to(length);
        if self.rest.is_empty() {
            self.permit = None;
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.rest.len()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn the_body_comes_in_pieces_and_its_permit_ends_with_the_last() {
        let all: Vec<u8> = (0..150_000u32).map(|number| number as u8).collect();
        let mut body = WholeBody::new(all.clone().into(), RateLimitPermit::default());
        let mut came = Vec::new();
        for (bytes, is_answered) in [(65_536, false), (65_536, false), (18_928, true)] {
            assert_eq!((body.is_end_stream(), body.size_hint().exact()), (false, Some(150_000 - came.len() as u64)));
            let piece = body.frame().await.expect("a piece").expect("no error").into_data().expect("bytes");
            assert_eq!((piece.len(), body.permit.is_none()), (bytes, is_answered));
            came.extend_from_slice(&piece);
        }
        assert!(came == all && body.is_end_stream() && body.frame().await.is_none());
    }
}
