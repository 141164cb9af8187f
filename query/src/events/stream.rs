//! The log as server-sent events: recorded events first, then new ones. The client pulls: while it does not read, nothing is
//! read from the log, and at most one chunk is in memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use events::concurrency::StreamPermit;
use events::event::Recorded;
use events::event::admin::Permission;
use events::log::{EventFilter, Head};
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use projections::caller::Caller;
use tokio::sync::watch;
use tokio::time::Instant;

use super::rendered;
use crate::QueryState;
use crate::error::QueryError;

/// Events in one chunk.
const CHUNK_EVENTS: usize = 256;
/// Minimum time between two reads, so that a busy log is read in larger pieces.
const READ_INTERVAL_MIN: Duration = Duration::from_millis(20);
/// The longest silence, so that no proxy takes the connection for dead.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// How often the key is checked, so how soon a stream ends after its key does.
const KEY_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Events after `after`, as long as the client listens, its key works and the gateway is not closing.
pub fn answer(
    state: QueryState,
    caller: Arc<Caller>,
    (filter, after): (EventFilter, u64),
    permit: StreamPermit,
) -> Response {
    let (head, now) = (state.log.watch_head(), Instant::now());
    let events =
        EventStream { state, caller, filter, after, head, is_over: false, sent_at: now, next_at: now, _permit: permit };
    let chunks = stream::unfold(events, |mut events| async move {
        match events.next().await {
            Ok(Some(chunk)) => Some((Ok(chunk), events)),
            Ok(None) => None,
            // The connection is cut, and the client resumes after the last event that it has.
            Err(error) => Some((Err(error), events)),
        }
    });
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(chunks)).into_response()
}

struct EventStream {
    state: QueryState,
    caller: Arc<Caller>,
    filter: EventFilter,
    /// Everything up to this position was sent, or is not for this client.
    after: u64,
    head: watch::Receiver<Head>,
    /// True when everything in the filter's time range was sent.
    is_over: bool,
    sent_at: Instant,
    next_at: Instant,
    _permit: StreamPermit,
}

impl EventStream {
    /// The next chunk; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, QueryError> {
        loop {
            if self.is_over || *self.state.closing.borrow() || !self.is_still_permitted() {
                return Ok(None);
            }
            if self.head.borrow_and_update().position > self.after {
                tokio::time::sleep_until(self.next_at).await;
                match self.read().await {
                    Ok(Some(chunk)) => {
                        self.sent_at = Instant::now();
                        return Ok(Some(chunk));
                    }
                    Ok(None) => continue,
                    // The key or its tenant has the maximum of queries: try later, and keep the connection alive.
                    Err(QueryError::NoRoom(_)) => self.next_at = Instant::now() + KEY_CHECK_INTERVAL,
                    Err(error) => return Err(error),
                }
            }
            if self.sent_at.elapsed() >= KEEP_ALIVE_INTERVAL {
                self.sent_at = Instant::now();
                return Ok(Some(Bytes::from_static(b": keep-alive\n\n")));
            }
            if self.log_is_closed().await {
                return Ok(None);
            }
        }
    }

    /// Waits a while for new events; true if the log was closed.
    async fn log_is_closed(&mut self) -> bool {
        matches!(tokio::time::timeout(KEY_CHECK_INTERVAL, self.head.changed()).await, Ok(Err(_)))
    }

    /// The next chunk of recorded events for this client; `None` if there are none.
    async fn read(&mut self) -> Result<Option<Bytes>, QueryError> {
        let permit = self.state.concurrency.admit_query(self.caller.requester()).await?;
        if !self.is_still_permitted() {
            return Ok(None);
        }
        let (filter, after) = (self.filter.clone(), self.after);
        let read = self.state.log.read(&permit, move |reader| {
            let found = reader.filtered(&filter, after, CHUNK_EVENTS)?;
            Ok((rendered(&found.events, server_sent), found.until, found.is_over() && !found.has_more()))
        });
        let (chunk, until, is_over) = read.await?;
        self.is_over = is_over;
        self.next_at = Instant::now() + READ_INTERVAL_MIN;
        // Events up to here that do not match the filter are not read again.
        self.after = self.after.max(until);
        Ok(Some(chunk?).filter(|chunk| !chunk.is_empty()).map(Bytes::from))
    }

    /// True while the key is valid and reaches as far as when the stream began.
    fn is_still_permitted(&self) -> bool {
        let now = self.caller.refreshed(&self.state.tables.load(), self.state.clock.now());
        now.is_ok_and(|now| now.may(Permission::EventsRead) && now.reach == self.caller.reach)
    }
}

fn server_sent(recorded: &Recorded, envelope: String) -> String {
    format!("id: {}\ndata: {envelope}\n\n", recorded.position)
}
