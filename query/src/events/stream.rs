//! The log as server-sent events: what there is, then what comes. Pulled by the client: as long as it does not read,
//! nothing is read from the log, and one chunk is all that is held in memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use events::canonical;
use events::event::Recorded;
use events::event::admin::Permission;
use events::log::{EventFilter, Head};
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use projections::caller::Caller;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::QueryState;
use crate::error::QueryError;

/// Events in one chunk.
const CHUNK_EVENTS: usize = 256;
/// Between two reads of a log that goes on: a busy log is then read in larger pieces.
const PACE: Duration = Duration::from_millis(20);
/// How long a connection may be silent, so that nothing between takes it for dead.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
/// How soon a stream ends after its key does.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Events after `after`, as long as the client listens, its key works and the gateway is not closing.
pub fn answer(state: QueryState, caller: Arc<Caller>, filter: EventFilter, after: u64) -> Response {
    let head = state.log.watch_head();
    let follower = Follower { state, caller, filter, after, head, said_at: Instant::now(), next_at: Instant::now() };
    let chunks = stream::unfold(follower, |mut follower| async move {
        match follower.next().await {
            Ok(Some(chunk)) => Some((Ok(chunk), follower)),
            Ok(None) => None,
            // The connection breaks, and the client resumes after the last event that it has.
            Err(error) => Some((Err(error), follower)),
        }
    });
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(chunks)).into_response()
}

struct Follower {
    state: QueryState,
    caller: Arc<Caller>,
    filter: EventFilter,
    /// Everything up to here was given or does not concern the client.
    after: u64,
    head: watch::Receiver<Head>,
    said_at: Instant,
    next_at: Instant,
}

impl Follower {
    /// The next chunk; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, QueryError> {
        loop {
            if *self.state.closing.borrow() || !self.still_may() {
                return Ok(None);
            }
            if self.head.borrow_and_update().position > self.after {
                tokio::time::sleep_until(self.next_at).await;
                if let Some(chunk) = self.read().await? {
                    self.said_at = Instant::now();
                    return Ok(Some(chunk));
                }
                continue;
            }
            if self.said_at.elapsed() >= KEEP_ALIVE_EVERY {
                self.said_at = Instant::now();
                return Ok(Some(Bytes::from_static(b": keep-alive\n\n")));
            }
            if self.log_is_closed().await {
                return Ok(None);
            }
        }
    }

    /// Waits for something new, for a while; whether there will be nothing any more.
    async fn log_is_closed(&mut self) -> bool {
        matches!(tokio::time::timeout(LOOK_EVERY, self.head.changed()).await, Ok(Err(_)))
    }

    /// What there is for this client, at most a chunk of it; `None` where that is nothing.
    async fn read(&mut self) -> Result<Option<Bytes>, QueryError> {
        let (filter, after) = (self.filter.clone(), self.after);
        let found = self.state.log.read(move |reader| reader.filtered(&filter, after, CHUNK_EVENTS)).await?;
        self.next_at = Instant::now() + PACE;
        // What the filter leaves out up to there need not be looked at again.
        self.after = self.after.max(found.until);
        if found.events.is_empty() { Ok(None) } else { chunk(&found.events).map(Some) }
    }

    /// Whether the key would be let in again, and to as much as when the stream began.
    fn still_may(&self) -> bool {
        let now = self.caller.looked_up_again(&self.state.tables.load(), self.state.clock.now());
        now.is_ok_and(|now| now.may(Permission::EventsRead) && now.reach == self.caller.reach)
    }
}

fn chunk(found: &[Recorded]) -> Result<Bytes, QueryError> {
    let mut chunk = String::new();
    for recorded in found {
        let envelope = canonical::envelope(recorded).map_err(|error| QueryError::Answer(error.to_string()))?;
        chunk += &format!("id: {}\ndata: {envelope}\n\n", recorded.position);
    }
    Ok(Bytes::from(chunk))
}
