//! The log as server-sent events: what there is, then what comes. Pulled by the client: as long as it does not read,
//! nothing is read from the log, and one chunk is all that is held in memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use events::canonical;
use events::concurrency::StreamPermit;
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
pub fn answer(
    state: QueryState,
    caller: Arc<Caller>,
    (filter, after): (EventFilter, u64),
    permit: StreamPermit,
) -> Response {
    let (head, now) = (state.log.watch_head(), Instant::now());
    let follower =
        Follower { state, caller, filter, after, head, is_over: false, said_at: now, next_at: now, _permit: permit };
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
    /// The filter's time is over, and everything that was recorded in it was given.
    is_over: bool,
    said_at: Instant,
    next_at: Instant,
    _permit: StreamPermit,
}

impl Follower {
    /// The next chunk; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, QueryError> {
        loop {
            if self.is_over || *self.state.closing.borrow() || !self.still_may() {
                return Ok(None);
            }
            if self.head.borrow_and_update().position > self.after {
                tokio::time::sleep_until(self.next_at).await;
                match self.read().await {
                    Ok(Some(chunk)) => {
                        self.said_at = Instant::now();
                        return Ok(Some(chunk));
                    }
                    Ok(None) => continue,
                    // Its key and tenant have enough to do: it goes on later, and is kept alive until then.
                    Err(QueryError::NoRoom(_)) => self.next_at = Instant::now() + LOOK_EVERY,
                    Err(error) => return Err(error),
                }
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
        let permit = self.state.concurrency.admit_query(self.caller.requester()).await?;
        if !self.still_may() {
            return Ok(None);
        }
        let (filter, after) = (self.filter.clone(), self.after);
        let read = self.state.log.read(&permit, move |reader| {
            let found = reader.filtered(&filter, after, CHUNK_EVENTS)?;
            Ok((chunk(&found.events), found.until, found.is_over() && !found.has_more()))
        });
        let (chunk, until, is_over) = read.await?;
        self.is_over = is_over;
        self.next_at = Instant::now() + PACE;
        // What the filter leaves out up to there need not be looked at again.
        self.after = self.after.max(until);
        chunk.map(|chunk| Some(chunk).filter(|chunk| !chunk.is_empty()))
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
