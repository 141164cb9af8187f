//! What one key or one tenant has at a time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use super::{Holder, NoRoom};
use crate::limit::BuiltInMeasure;

/// Accounts from which on those that nobody uses are dropped.
const ACCOUNTS_BEFORE_PRUNING: usize = 256;

/// How much a holder may have.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// Queries that run.
    pub(super) queries: usize,
    /// Commands of administration that are carried out.
    pub(super) commands: usize,
    /// Queries that run or wait, and as many commands.
    pub(super) in_line: usize,
    pub(super) streams: usize,
    /// From so many on nothing more is read for the holder: the last answers may go over it.
    pub(super) unread_bytes: usize,
}

/// The counts of one holder.
pub(super) struct Account {
    holder: Holder,
    bounds: Bounds,
    queries: Line,
    commands: Line,
    streams: AtomicUsize,
    unread: watch::Sender<usize>,
}

/// A bounded number that runs, and a bounded number that waits.
struct Line {
    runs: Arc<Semaphore>,
    /// The running ones among them.
    length: AtomicUsize,
}

/// Which of an account's lines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Query,
    Command,
}

/// A place in a line; dropped when the work is over, or when nobody waits for it any more.
pub(super) struct Place {
    account: Arc<Account>,
    work: Work,
    run: Option<OwnedSemaphorePermit>,
}

/// A stream that is open.
pub(super) struct OpenStream(Arc<Account>);

impl Account {
    fn new(holder: Holder, bounds: Bounds) -> Self {
        let line = |runs| Line { runs: Arc::new(Semaphore::new(runs)), length: AtomicUsize::new(0) };
        let (queries, commands) = (line(bounds.queries), line(bounds.commands));
        Self { holder, bounds, queries, commands, streams: AtomicUsize::new(0), unread: watch::Sender::new(0) }
    }

    const fn line(&self, work: Work) -> &Line {
        match work {
            Work::Query => &self.queries,
            Work::Command => &self.commands,
        }
    }

    fn limited(&self, measure: BuiltInMeasure) -> NoRoom {
        let limit = match measure {
            BuiltInMeasure::ConcurrentQueries => self.bounds.queries,
            BuiltInMeasure::ConcurrentCommands => self.bounds.commands,
            BuiltInMeasure::EventStreams => self.bounds.streams,
            BuiltInMeasure::UnreadBytes => self.bounds.unread_bytes,
        };
        NoRoom::Limited { holder: self.holder, measure, limit: limit as u64 }
    }

    /// Joins a line that is not too long.
    pub(super) fn join(self: &Arc<Self>, work: Work) -> Result<Place, NoRoom> {
        if add_below(&self.line(work).length, self.bounds.in_line) {
            return Ok(Place { account: Arc::clone(self), work, run: None });
        }
        Err(self.limited(work.measure()))
    }

    pub(super) fn open_stream(self: &Arc<Self>) -> Result<OpenStream, NoRoom> {
        if add_below(&self.streams, self.bounds.streams) {
            return Ok(OpenStream(Arc::clone(self)));
        }
        Err(self.limited(BuiltInMeasure::EventStreams))
    }

    pub(super) fn has_unread(&self) -> bool {
        *self.unread.borrow() > 0
    }

    pub(super) fn add_unread(&self, bytes: usize) {
        self.unread.send_modify(|unread| *unread = unread.saturating_add(bytes));
    }

    pub(super) fn remove_unread(&self, bytes: usize) {
        self.unread.send_modify(|unread| *unread = unread.saturating_sub(bytes));
    }
}

fn add_below(count: &AtomicUsize, max: usize) -> bool {
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| (now < max).then_some(now + 1)).is_ok()
}

impl Work {
    const fn measure(self) -> BuiltInMeasure {
        match self {
            Self::Query => BuiltInMeasure::ConcurrentQueries,
            Self::Command => BuiltInMeasure::ConcurrentCommands,
        }
    }
}

impl Place {
    /// Waits for its turn: until then the line in front of it has to get shorter, and, for a query, what the holder was
    /// answered has to be read.
    pub(super) async fn run(&mut self, until: Instant) -> Result<(), NoRoom> {
        let account = &self.account;
        let run = timeout_at(until, Arc::clone(&account.line(self.work).runs).acquire_owned()).await;
        self.run = Some(run.map_err(|_| account.limited(self.work.measure()))?.map_err(|_| NoRoom::Busy)?);
        if self.work == Work::Query {
            let mut unread = account.unread.subscribe();
            let is_read = timeout_at(until, unread.wait_for(|bytes| *bytes < account.bounds.unread_bytes)).await;
            is_read.map_err(|_| account.limited(BuiltInMeasure::UnreadBytes))?.map_err(|_| NoRoom::Busy)?;
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // In this order: a line that has room has one that runs less, too.
        drop(self.run.take());
        self.account.line(self.work).length.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Holders that have anything now.
#[derive(Default)]
pub(super) struct Accounts {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    accounts: HashMap<Holder, Arc<Account>>,
    /// After the last pruning.
    left: usize,
}

impl Accounts {
    pub(super) fn get_or_make(&self, holder: Holder, bounds: Bounds) -> Arc<Account> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = kept.accounts.get(&holder) {
            return Arc::clone(account);
        }
        if kept.accounts.len() >= ACCOUNTS_BEFORE_PRUNING.max(kept.left * 2) {
            // Whoever has something of an account holds it, and nobody can get it meanwhile.
            kept.accounts.retain(|_, account| Arc::strong_count(account) > 1);
            kept.left = kept.accounts.len();
        }
        let account = Arc::new(Account::new(holder, bounds));
        kept.accounts.insert(holder, Arc::clone(&account));
        account
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.kept.lock().expect("unpoisoned").accounts.len()
    }
}
