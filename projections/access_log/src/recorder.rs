//! Takes entries from the threads that answer requests. A request is never delayed: if the writer does not keep up, entries are lost
//! and counted.

use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::event::{Actor, Chain};
use events::refusal::ErrorCode;
use events::time::Clock;
use projections::figures::registered;
use prometheus::{IntCounter, Registry};

use crate::entry::{Entry, LoggedRequest};

/// How long entries are collected before they are written. Waking the writer for each would cost more than the entry.
const COLLECT: Duration = Duration::from_millis(250);
/// The most entries that wait to be written: some 15 MB.
const PENDING_MAX: usize = 65_536;

/// Records requests. Cheap to clone.
#[derive(Clone)]
pub struct Recorder(pub(crate) Arc<EntryBuffer>);

impl Recorder {
    /// Records the request when the guard is dropped: its response has then ended, or its client left before.
    pub fn at_end_of(&self, request: LoggedRequest) -> EntryGuard {
        EntryGuard { recorder: self.clone(), request }
    }
}

/// Records a request when it is dropped. What is known of it later is set until then.
pub struct EntryGuard {
    recorder: Recorder,
    request: LoggedRequest,
}

impl EntryGuard {
    pub fn set_caller(&mut self, actor: Actor, chain: Chain) {
        self.request.actor = Some(actor);
        self.request.chain = chain;
    }

    pub const fn set_answer(&mut self, status: u16, code: Option<ErrorCode>) {
        self.request.status = status;
        self.request.code = code;
    }
}

impl Drop for EntryGuard {
    fn drop(&mut self) {
        self.recorder.0.record(self.request.clone());
    }
}

/// Entries on their way from the recorders to the writer.
pub(crate) struct EntryBuffer {
    clock: Arc<dyn Clock>,
    pending: Mutex<Pending>,
    closing: Condvar,
    lost: IntCounter,
}

struct Pending {
    entries: Vec<Entry>,
    /// The time of the last entry.
    newest: DateTime<Utc>,
    is_closing: bool,
    /// The writer has ended.
    is_over: bool,
}

impl EntryBuffer {
    /// `newest` is the time of the last entry that an earlier process recorded.
    pub fn new(
        clock: Arc<dyn Clock>,
        newest: Option<DateTime<Utc>>,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let lost = IntCounter::new(
            "ledgerway_access_log_lost_total",
            "Entries of the access log that were lost: they came too fast, or could not be written",
        )?;
        let lost = registered(registry, lost)?;
        let newest = newest.unwrap_or(DateTime::<Utc>::MIN_UTC);
        let pending = Mutex::new(Pending { entries: Vec::new(), newest, is_closing: false, is_over: false });
        Ok(Self { clock, pending, closing: Condvar::new(), lost })
    }

    fn record(&self, request: LoggedRequest) {
        let latency = request.began.elapsed();
        let mut pending = self.pending();
        if pending.entries.len() >= PENDING_MAX || pending.is_over {
            drop(pending);
            return self.lost.inc();
        }
        // Read under the lock, and never before the last one, so that entries are in the order of their times.
        let answered_at = self.clock.now().max(pending.newest);
        pending.newest = answered_at;
        pending.entries.push(Entry { answered_at, latency, request });
    }

    /// Entries that could not be written.
    pub fn lose(&self, entries: usize) {
        self.lost.inc_by(u64::try_from(entries).unwrap_or(u64::MAX));
    }

    /// Has the writer write what is there, and end.
    pub fn close(&self) {
        self.pending().is_closing = true;
        self.closing.notify_all();
    }

    /// The entries of a while, which may be none; `None` at the end.
    pub fn collect(&self) -> Option<Vec<Entry>> {
        let pending = self.pending();
        let waited = self.closing.wait_timeout_while(pending, COLLECT, |pending| !pending.is_closing);
        let (mut pending, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let room = pending.entries.len();
        let entries = mem::replace(&mut pending.entries, Vec::with_capacity(room));
        pending.is_over = entries.is_empty() && pending.is_closing;
        (!pending.is_over).then_some(entries)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
