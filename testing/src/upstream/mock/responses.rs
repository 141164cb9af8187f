//! Ways to send a response: at once, piece by piece, cut off, or without an end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Seen;

/// Number of frames before a stream breaks off.
pub const BEFORE_THE_CUT: usize = 4;

/// The error that makes the server close the connection.
pub fn closed() -> io::Error {
    io::Error::other("closed on purpose")
}

/// A body that is sent piece by piece, and may break off.
pub struct Pieces(mpsc::Receiver<io::Result<Bytes>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

pub fn whole(status: u16, content_type: &str, text: impl Into<Bytes>) -> Response<Pieces> {
    let (pieces, body) = mpsc::channel(2);
    let text = text.into();
    let length = text.len();
    pieces.try_send(Ok(text)).expect("room for one piece");
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .header("content-length", length)
        .body(Pieces(body))
        .expect("an answer")
}

pub fn whole_answer(text: &str, cut: bool) -> Response<Pieces> {
    if !cut {
        return whole(200, "application/json", text.to_owned());
    }
    let (pieces, body) = mpsc::channel(2);
    let half = text.as_bytes()[..text.len() / 2].to_vec();
    pieces.try_send(Ok(half.into())).expect("room for one piece");
    pieces.try_send(Err(closed())).expect("room for two");
    let head = Response::builder().header("content-type", "application/json").header("content-length", text.len());
    head.body(Pieces(body)).expect("an answer")
}

pub fn streamed_frames(frames: Vec<String>, between_words: Duration, cut: bool) -> Response<Pieces> {
    let (pieces, body) = mpsc::channel(1);
    let mut sender = JoinSet::new();
    sender.spawn(async move {
        for (sent, frame) in frames.into_iter().enumerate() {
            tokio::time::sleep(between_words).await;
            let piece = if cut && sent == BEFORE_THE_CUT { Err(closed()) } else { Ok(Bytes::from(frame)) };
            let last = piece.is_err();
            if pieces.send(piece).await.is_err() || last {
                return;
            }
        }
    });
    // The task ends when all is sent, or the receiver is gone.
    sender.detach_all();
    Response::builder().header("content-type", "text/event-stream").body(Pieces(body)).expect("an answer")
}

/// Pieces one after the other; `stays_open`: the body then has no end.
pub fn in_pieces(content_type: &str, all: Vec<io::Result<Bytes>>, stays_open: bool) -> Response<Pieces> {
    let (pieces, body) = mpsc::channel(1);
    let mut sender = JoinSet::new();
    sender.spawn(async move {
        for piece in all {
            if pieces.send(piece).await.is_err() {
                return;
            }
        }
        if stays_open {
            pieces.closed().await;
        }
    });
    sender.detach_all();
    Response::builder().header("content-type", content_type).body(Pieces(body)).expect("an answer")
}

/// One word; the connection then stays open.
pub fn stalled() -> Response<Pieces> {
    let (pieces, body) = mpsc::channel(2);
    let first = r#"data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"The"},"finish_reason":null}]}"#;
    pieces.try_send(Ok(Bytes::from(format!("{first}\n\n")))).expect("room for one piece");
    let mut silent = JoinSet::new();
    silent.spawn(async move { pieces.closed().await });
    silent.detach_all();
    Response::builder().header("content-type", "text/event-stream").body(Pieces(body)).expect("an answer")
}

pub fn flooding() -> Response<Pieces> {
    let (pieces, body) = mpsc::channel(1);
    let words = "word ".repeat(2000);
    let chunk = serde_json::json!({ "id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m",
                                    "choices": [{ "index": 0, "delta": { "content": words } }] });
    let frame = Bytes::from(format!("data: {chunk}\n\n"));
    let mut sender = JoinSet::new();
    sender.spawn(async move { while pieces.send(Ok(frame.clone())).await.is_ok() {} });
    sender.detach_all();
    Response::builder().header("content-type", "text/event-stream").body(Pieces(body)).expect("an answer")
}

pub fn too_many(seconds: &str) -> Response<Pieces> {
    let mut answer = whole(429, "application/json", r#"{"error":{"message":"hold your horses","type":"rate_limit"}}"#);
    answer.headers_mut().insert("retry-after", seconds.parse().expect("a header value"));
    answer
}

pub fn redirect() -> Response<Pieces> {
    let mut answer = whole(307, "text/plain", "");
    answer.headers_mut().insert("location", http::HeaderValue::from_static("/elsewhere"));
    answer
}

pub fn leak(seen: &Seen) -> Response<Pieces> {
    let text = serde_json::json!({ "error": { "message": format!("bad key in {:?}", seen.headers) } }).to_string();
    whole(401, "application/json", text)
}
