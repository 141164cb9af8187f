//! A newline after JSON, so that the shell's prompt after `curl` stands on a line of its own; JSON parsers skip it.
//! Inference responses and refusals get theirs where they are rendered.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::HeaderValue;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http_body::{Body as HttpBody, Frame, SizeHint};

/// Adds a newline to a response of JSON; any other is unchanged.
pub fn add_newline(mut response: Response) -> Response {
    let is_json =
        response.headers().get(CONTENT_TYPE).is_some_and(|media| media.as_bytes().starts_with(b"application/json"));
    if !is_json {
        return response;
    }
    // A response to HEAD has the length without the body.
    if let Some(length) =
        response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok())
    {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length.saturating_add(1)));
    }
    let has_body = !response.body().is_end_stream();
    if has_body {
        response.map(|body| Body::new(NewlineBody { body, newline: Some(Bytes::from_static(b"\n")) }))
    } else {
        response
    }
}

struct NewlineBody {
    body: Body,
    /// `None` once it was sent.
    newline: Option<Bytes>,
}

impl HttpBody for NewlineBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(None) => Poll::Ready(self.newline.take().map(|newline| Ok(Frame::data(newline)))),
            other => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.newline.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let more = self.newline.as_ref().map_or(0, |newline| newline.len() as u64);
        let of_body = self.body.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper.saturating_add(more));
        }
        hint.set_lower(of_body.lower().saturating_add(more));
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn with_newline(media: &'static str, body: Body) -> (Option<u64>, Bytes) {
        let mut response = Response::new(body);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
        let response = add_newline(response);
        let exact = response.body().size_hint().exact();
        (exact, response.into_body().collect().await.expect("a body").to_bytes())
    }

    #[tokio::test]
    async fn json_ends_with_a_newline_and_nothing_else_does() {
        for json in ["application/json", "application/json; charset=utf-8"] {
            assert_eq!(with_newline(json, Body::from("{}")).await, (Some(3), Bytes::from_static(b"{}\n")), "{json}");
        }
        let pieces = futures_util::stream::iter(["{", "}"].map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece))));
        assert_eq!(
            with_newline("application/json", Body::from_stream(pieces)).await,
            (None, Bytes::from_static(b"{}\n"))
        );
        for other in ["application/x-ndjson", "text/csv", "text/event-stream"] {
            assert_eq!(with_newline(other, Body::from("{}")).await.1, "{}", "{other}");
        }
        assert_eq!(with_newline("application/json", Body::empty()).await, (Some(0), Bytes::new()));
    }

    #[tokio::test]
    async fn the_length_of_a_body_that_is_not_sent_counts_its_newline() {
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(2));
        let response = add_newline(response);
        assert_eq!(response.headers()[CONTENT_LENGTH], "3");
        assert_eq!(response.into_body().collect().await.expect("a body").to_bytes(), "");
    }
}
