//! Reads the log for one caller: recorded events first, then new ones. The client pulls: while it does not read, nothing is
//! read from the log, and at most one chunk is in memory.

use std::sync::Arc;
use std::time::Duration;

use events::concurrency::StreamPermit;
use events::event::Recorded;
use events::event::admin::Permission;
use events::log::{EventFilter, Head};
use events::refusal::{ErrorCode, Refusal};
use projections::caller::Caller;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::QueryState;
use crate::error::QueryError;

/// Events in one chunk.
const CHUNK_EVENTS: usize = 256;
/// Minimum time between two reads, so that a busy log is read in larger pieces.
const READ_INTERVAL_MIN: Duration = Duration::from_millis(20);
/// After so much silence the client is told that there is nothing new.
const QUIET_MAX: Duration = Duration::from_secs(15);
/// How often the key is checked, so how soon a stream ends after its key does.
const KEY_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// How much of the log a tail has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What is recorded when the tail begins.
    Recorded,
    /// What will be recorded as well, for as long as the client listens.
    Following,
}

/// What a tail has next.
#[derive(Debug)]
pub enum TailStep<T> {
    /// A chunk of events, as they were rendered.
    Events(T),
    /// There has been nothing new for a while.
    Quiet,
    Ended(TailEnd),
}

/// Why a tail has no more events.
#[derive(Debug)]
pub enum TailEnd {
    /// Everything was sent, of the filter's time range or of what was recorded.
    Complete,
    /// The gateway is shutting down.
    Closing,
    /// The key has ended, or does not reach as far as when the tail began.
    NotPermitted(Refusal),
}

/// Events after a position, as long as the key works and the gateway is not closing.
pub struct EventTail {
    state: QueryState,
    caller: Arc<Caller>,
    filter: EventFilter,
    /// Everything up to this position was sent, or is not for this client.
    after: u64,
    /// The last position of a tail that does not follow the log.
    last: Option<u64>,
    head: watch::Receiver<Head>,
    /// True when everything in the filter's time range was sent.
    is_over: bool,
    sent_at: Instant,
    next_at: Instant,
    _permit: StreamPermit,
}

impl EventTail {
    pub fn new(
        state: QueryState,
        caller: Arc<Caller>,
        (filter, after): (EventFilter, u64),
        extent: Extent,
        permit: StreamPermit,
    ) -> Self {
        let (head, now) = (state.log.watch_head(), Instant::now());
        let last = (extent == Extent::Recorded).then(|| state.log.head().position);
        Self { state, caller, filter, after, last, head, is_over: false, sent_at: now, next_at: now, _permit: permit }
    }

    /// What comes next. Events are rendered on the thread that reads them, because it takes about as long. Nothing comes
    /// after an end.
    ///
    /// Errors: the log cannot be read. The client resumes after the last event that it has.
    pub async fn next<T: Send + 'static>(
        &mut self,
        render: fn(&[Recorded]) -> Result<T, QueryError>,
    ) -> Result<TailStep<T>, QueryError> {
        loop {
            if let Some(end) = self.end() {
                return Ok(TailStep::Ended(end));
            }
            if self.head.borrow_and_update().position > self.after {
                tokio::time::sleep_until(self.next_at).await;
                match self.read(render).await {
                    Ok(Some(chunk)) => {
                        self.sent_at = Instant::now();
                        return Ok(TailStep::Events(chunk));
                    }
                    Ok(None) => continue,
                    // The key or its tenant has the maximum of queries: try later, and keep the connection alive.
                    Err(QueryError::NoRoom(_)) => self.next_at = Instant::now() + KEY_CHECK_INTERVAL,
                    Err(error) => return Err(error),
                }
            }
            if self.sent_at.elapsed() >= QUIET_MAX {
                self.sent_at = Instant::now();
                return Ok(TailStep::Quiet);
            }
            if self.log_is_closed().await {
                return Ok(TailStep::Ended(TailEnd::Closing));
            }
        }
    }

    fn end(&self) -> Option<TailEnd> {
        if self.is_over || self.last.is_some_and(|last| self.after >= last) {
            return Some(TailEnd::Complete);
        }
        if *self.state.closing.borrow() {
            return Some(TailEnd::Closing);
        }
        self.check_rights().err().map(TailEnd::NotPermitted)
    }

    /// Waits a while for new events; true if the log was closed.
    async fn log_is_closed(&mut self) -> bool {
        matches!(tokio::time::timeout(KEY_CHECK_INTERVAL, self.head.changed()).await, Ok(Err(_)))
    }

    /// The next chunk of recorded events for this client; `None` if there are none.
    async fn read<T: Send + 'static>(
        &mut self,
        render: fn(&[Recorded]) -> Result<T, QueryError>,
    ) -> Result<Option<T>, QueryError> {
        let permit = self.state.concurrency.admit_query(self.caller.requester()).await?;
        if self.check_rights().is_err() {
            return Ok(None);
        }
        let (filter, after, last) = (self.filter.clone(), self.after, self.last.unwrap_or(u64::MAX));
        let read = self.state.log.read(&permit, move |reader| {
            let mut found = reader.filtered(&filter, after, CHUNK_EVENTS)?;
            let is_over = found.is_over() && !found.has_more();
            // Recorded since a tail began that does not follow the log.
            found.events.retain(|recorded| recorded.position <= last);
            Ok(((!found.events.is_empty()).then(|| render(&found.events)).transpose(), found.until, is_over))
        });
        let (chunk, until, is_over) = read.await?;
        self.is_over = is_over;
        self.next_at = Instant::now() + READ_INTERVAL_MIN;
        // Events up to here that do not match the filter are not read again.
        self.after = self.after.max(until);
        chunk
    }

    /// Refuses a key that is no longer valid, or does not reach as far as when the tail began.
    fn check_rights(&self) -> Result<(), Refusal> {
        let now = self.caller.refreshed(&self.state.tables.load(), self.state.clock.now())?;
        now.require(Permission::EventsRead)?;
        if now.reach == self.caller.reach {
            return Ok(());
        }
        let message = "the key's reach has changed since this stream began: resume after the last event that you have";
        Err(Refusal::new(ErrorCode::Conflict, message))
    }
}
