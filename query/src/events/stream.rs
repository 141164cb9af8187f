//! The log as server-sent events.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use events::event::Recorded;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use super::rendered;
use super::tail::{EventTail, TailStep};
use crate::error::QueryError;

/// A comment, so that no proxy takes the connection for dead.
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// The events of a tail, as long as the client listens.
pub fn answer(tail: EventTail) -> Response {
    let chunks = stream::unfold(tail, |mut tail| async move {
        match tail.next(server_sent).await {
            Ok(TailStep::Events(chunk)) => Some((Ok(Bytes::from(chunk)), tail)),
            Ok(TailStep::Quiet) => Some((Ok(Bytes::from_static(KEEP_ALIVE)), tail)),
            Ok(TailStep::Ended(_)) => None,
            // The connection is cut, and the client resumes after the last event that it has.
            Err(error) => Some((Err(error), tail)),
        }
    });
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(chunks)).into_response()
}

fn server_sent(events: &[Recorded]) -> Result<String, QueryError> {
    rendered(events, |recorded, envelope| format!("id: {}\ndata: {envelope}\n\n", recorded.position))
}
