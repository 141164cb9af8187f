//! The log as server-sent events.

use std::fmt::Write;
use std::future::ready;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use events::event::Recorded;
use futures_util::stream::StreamExt;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use super::envelope;
use super::tail::{EventTail, TailEnd, TailFormat};
use crate::error::QueryError;

/// A comment, so that no proxy takes the connection for dead.
const KEEP_ALIVE: &str = ": keep-alive\n\n";

/// Server-sent events: a chunk is one text.
pub struct ServerSent;

impl TailFormat for ServerSent {
    type Item = String;

    fn add(chunk: &mut Vec<String>, event: &Recorded) -> Result<usize, QueryError> {
        if chunk.is_empty() {
            chunk.push(String::new());
        }
        let Some(text) = chunk.last_mut() else { return Ok(0) };
        let before = text.len();
        let _ = write!(text, "id: {}\ndata: {}\n\n", event.position, envelope(event)?);
        Ok(text.len() - before)
    }

    fn bytes(text: &String) -> usize {
        text.len()
    }

    fn quiet() -> Option<String> {
        Some(KEEP_ALIVE.to_owned())
    }
}

/// The events of a tail, as long as the client listens.
pub fn answer(tail: EventTail<ServerSent>) -> Response {
    let chunks = tail.scan((), |(), step| {
        ready(match step {
            Ok(text) => Some(Ok(Bytes::from(text))),
            // The connection is cut, and the client resumes after the last event that it has.
            Err(TailEnd::Failed(error)) => Some(Err(error)),
            Err(TailEnd::Closing | TailEnd::NotPermitted(_) | TailEnd::Stalled) => None,
        })
    });
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(chunks)).into_response()
}
