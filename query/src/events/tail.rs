//! Reads the log for one caller: recorded events first, then new ones. The client pulls: while it does not read, nothing is
//! read from the log, and at most one chunk is in memory. A tail whose key ends, whose gateway drains or whose client stops
//! reading ends at once, whether or not it is read.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec::IntoIter;

use events::event::Recorded;
use events::event::admin::Permission;
use events::refusal::{ErrorCode, Refusal};
use events_log::concurrency::{StreamPermit, UnreadBytes};
use events_log::{EventFilter, Head};
use futures_util::stream::{BoxStream, Stream, StreamExt, unfold};
use projections::caller::Caller;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::QueryState;
use crate::error::QueryError;
use crate::revocable::Revocable;

/// Events in one chunk.
const CHUNK_EVENTS: usize = 256;
/// Bytes of rendered events in one chunk, to which its last event comes on top.
const CHUNK_BYTES: usize = 256 * 1024;
/// Minimum time between two reads, so that a busy log is read in larger pieces.
const READ_INTERVAL_MIN: Duration = Duration::from_millis(20);
/// After so much silence the client is told that there is nothing new.
const QUIET_MAX: Duration = Duration::from_secs(15);
/// How often the key is checked, so how soon a stream ends after its key does. A tail asks for its client's interest at least
/// as often.
const KEY_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How long a client may read nothing, as over HTTP/1.1. For what it was handed last it has more time, at the speed at which
/// a body must arrive here.
const STALL_MAX: Duration = Duration::from_secs(60);
const BYTES_PER_SECOND_MIN: u64 = 8 * 1024;

/// How much of the log a tail has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The events that are recorded when the tail begins.
    Recorded,
    /// Later events as well, for as long as the client listens.
    Following,
}

/// How a protocol writes a tail.
pub trait TailFormat: 'static {
    /// The unit that is handed out at a time.
    type Item: Send + 'static;

    /// Adds an event to a chunk, and returns how many bytes it takes there.
    fn add(chunk: &mut Vec<Self::Item>, event: &Recorded) -> Result<usize, QueryError>;

    fn bytes(item: &Self::Item) -> usize;

    /// The sign that there is nothing new; `None` if the protocol has signs of life of its own.
    fn quiet() -> Option<Self::Item>;
}

/// Why a tail ends before it is complete. The client resumes after the last event that it has.
#[derive(Debug)]
pub enum TailEnd {
    /// The gateway is shutting down.
    Closing,
    /// The key has ended, or does not reach as far as when the tail began.
    NotPermitted(Refusal),
    /// The client has read nothing for too long.
    Stalled,
    /// The log cannot be read.
    Failed(QueryError),
}

/// Events after a position, in the format of a protocol.
pub struct EventTail<F: TailFormat> {
    steps: Revocable<BoxStream<'static, Result<F::Item, TailEnd>>, TailEnd>,
    rights: TailRights,
    interest: Interest,
}

impl<F: TailFormat> EventTail<F> {
    pub fn new(
        state: QueryState,
        caller: Arc<Caller>,
        filter: EventFilter,
        after: u64,
        extent: Extent,
        permit: StreamPermit,
    ) -> Self {
        let (head, now) = (state.log.watch_head(), Instant::now());
        let last = (extent == Extent::Recorded).then(|| state.log.head().position);
        let rights = TailRights { state, caller };
        let reader = LogReader { rights: rights.clone(), filter, after, last, head, is_over: false, next_at: now };
        let steps = Steps { reader, chunk: Vec::new().into_iter(), unread: None, sent_at: now, _permit: permit };
        let steps = unfold(steps, |mut steps: Steps<F::Item>| async move {
            let step = steps.next::<F>().await?;
            Some((step, steps))
        });
        let interest = Interest::new();
        let end = watched(rights.clone(), interest.clone());
        Self { steps: Revocable::until(end, steps.boxed()), rights, interest }
    }
}

impl<F: TailFormat> Stream for EventTail<F> {
    type Item = Result<F::Item, TailEnd>;

    /// Returns the next item. After an end, or when the tail is complete, there is none.
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { steps, rights, interest } = &mut *self;
        let step = steps.poll(context, |steps, context| match rights.end() {
            Some(end) => Poll::Ready(Some(Err(end))),
            None => steps.poll_next_unpin(context),
        });
        interest.shown(if let Poll::Ready(Some(Ok(item))) = &step { F::bytes(item) } else { 0 });
        step
    }
}

/// When a client was last ready to read. Clones share it.
#[derive(Clone)]
struct Interest {
    /// The client counts as gone from then on.
    lost_at: Arc<Mutex<Instant>>,
}

impl Interest {
    fn new() -> Self {
        Self { lost_at: Arc::new(Mutex::new(Instant::now() + STALL_MAX)) }
    }

    /// The client was ready to read, and was handed these bytes.
    fn shown(&self, bytes: usize) {
        let seconds = u64::try_from(bytes).unwrap_or(u64::MAX) / BYTES_PER_SECOND_MIN;
        *self.lock() = Instant::now() + STALL_MAX + Duration::from_secs(seconds);
    }

    fn is_lost(&self) -> bool {
        Instant::now() >= *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Instant> {
        self.lost_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until a tail has to end, whatever its client does.
async fn watched(rights: TailRights, interest: Interest) -> TailEnd {
    let mut closing = rights.state.closing.clone();
    loop {
        if let Some(end) = rights.end() {
            return end;
        }
        if interest.is_lost() {
            return TailEnd::Stalled;
        }
        tokio::select! {
            _ = closing.wait_for(|is_closing| *is_closing) => return TailEnd::Closing,
            () = sleep(KEY_CHECK_INTERVAL) => {}
        }
    }
}

/// The rights that a tail needs for as long as it goes on.
#[derive(Clone)]
struct TailRights {
    state: QueryState,
    /// The caller as it was when the tail began.
    caller: Arc<Caller>,
}

impl TailRights {
    fn end(&self) -> Option<TailEnd> {
        if *self.state.closing.borrow() {
            return Some(TailEnd::Closing);
        }
        self.check().err().map(TailEnd::NotPermitted)
    }

    /// Refuses a key that is no longer valid, or does not reach as far as when the tail began.
    ///
    /// Errors: also when other nodes may have ended the key, and this one would not know.
    fn check(&self) -> Result<(), Refusal> {
        if !(self.state.is_current)() {
            return Err(Refusal::behind_the_ledger());
        }
        let now = self.caller.refreshed(&self.state.tables.load(), self.state.clock.now())?;
        now.require(Permission::EventsRead)?;
        if now.reach == self.caller.reach {
            return Ok(());
        }
        let message = "the key's reach has changed since this stream began: resume after the last event that you have";
        Err(Refusal::new(ErrorCode::Conflict, message))
    }
}

/// The items that are handed out, one after the other.
struct Steps<I> {
    reader: LogReader,
    /// Items that were read and rendered, and are not handed out yet.
    chunk: IntoIter<I>,
    /// Counts the chunk until nothing is left of it.
    unread: Option<UnreadBytes>,
    sent_at: Instant,
    _permit: StreamPermit,
}

impl<I: Send + 'static> Steps<I> {
    async fn next<F: TailFormat<Item = I>>(&mut self) -> Option<Result<I, TailEnd>> {
        loop {
            if let Some(item) = self.chunk.next() {
                if self.chunk.as_slice().is_empty() {
                    self.unread = None;
                }
                self.sent_at = Instant::now();
                return Some(Ok(item));
            }
            if self.reader.is_complete() {
                return None;
            }
            match self.reader.next::<F>().await {
                Ok(chunk) if !chunk.is_empty() => {
                    let TailRights { state, caller } = &self.reader.rights;
                    let bytes = chunk.iter().map(F::bytes).sum();
                    self.unread = Some(state.concurrency.count_unread(caller.requester(), bytes));
                    self.chunk = chunk.into_iter();
                }
                Ok(_) if self.sent_at.elapsed() >= QUIET_MAX => {
                    self.sent_at = Instant::now();
                    if let Some(quiet) = F::quiet() {
                        return Some(Ok(quiet));
                    }
                }
                Ok(_) => {}
                Err(end) => return Some(Err(end)),
            }
        }
    }
}

/// Reads chunk by chunk.
struct LogReader {
    rights: TailRights,
    filter: EventFilter,
    /// Everything up to this position was read, or is not for this client.
    after: u64,
    /// The last position of a tail that does not follow the log.
    last: Option<u64>,
    head: watch::Receiver<Head>,
    /// True when everything in the filter's time range was read.
    is_over: bool,
    next_at: Instant,
}

impl LogReader {
    fn is_complete(&self) -> bool {
        self.is_over || self.last.is_some_and(|last| self.after >= last)
    }

    /// The next chunk; empty if there was nothing for a while.
    async fn next<F: TailFormat>(&mut self) -> Result<Vec<F::Item>, TailEnd> {
        if self.head.borrow_and_update().position > self.after {
            tokio::time::sleep_until(self.next_at).await;
            match self.read::<F>().await {
                // The key or its tenant has the maximum of queries: try later.
                Err(TailEnd::Failed(QueryError::NoRoom(_))) => self.next_at = Instant::now() + KEY_CHECK_INTERVAL,
                read => return read,
            }
        }
        match tokio::time::timeout(KEY_CHECK_INTERVAL, self.head.changed()).await {
            // The log was closed.
            Ok(Err(_)) => Err(TailEnd::Closing),
            Ok(Ok(())) | Err(_) => Ok(Vec::new()),
        }
    }

    /// The next chunk of recorded events for this client. They are rendered on the thread that reads them, because it takes
    /// about as long.
    async fn read<F: TailFormat>(&mut self) -> Result<Vec<F::Item>, TailEnd> {
        let TailRights { state, caller } = &self.rights;
        let permit = state.concurrency.admit_query(caller.requester()).await.map_err(failed)?;
        if let Some(end) = self.rights.end() {
            return Err(end);
        }
        let (filter, after, last) = (self.filter.clone(), self.after, self.last.unwrap_or(u64::MAX));
        let read = state.log.read(&permit, move |reader| {
            let mut found = reader.filtered(&filter, after, CHUNK_EVENTS)?;
            let is_over = found.is_over() && !found.has_more();
            // Recorded since a tail began that does not follow the log.
            found.events.retain(|recorded| recorded.position <= last);
            let (chunk, cut_after) = match rendered::<F>(&found.events) {
                Ok(rendered) => rendered,
                Err(error) => return Ok(Err(error)),
            };
            // Events up to here that do not match the filter are not read again.
            Ok(Ok((chunk, cut_after.unwrap_or(found.until), is_over && cut_after.is_none())))
        });
        let (chunk, until, is_over) = read.await.map_err(failed)?.map_err(TailEnd::Failed)?;
        self.is_over = is_over;
        self.next_at = Instant::now() + READ_INTERVAL_MIN;
        self.after = self.after.max(until);
        Ok(chunk)
    }
}

fn failed(error: impl Into<QueryError>) -> TailEnd {
    TailEnd::Failed(error.into())
}

/// A chunk of events, and the position of its last one if not all of them fit.
fn rendered<F: TailFormat>(events: &[Recorded]) -> Result<(Vec<F::Item>, Option<u64>), QueryError> {
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    for (place, event) in events.iter().enumerate() {
        bytes += F::add(&mut chunk, event)?;
        if bytes >= CHUNK_BYTES && place + 1 < events.len() {
            return Ok((chunk, Some(event.position)));
        }
    }
    Ok((chunk, None))
}
