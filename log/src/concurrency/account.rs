//! The account of one key or one tenant: what it uses at the moment.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use events::limit::BuiltInMeasure;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use super::{Holder, NoRoom};

/// The number of accounts above which unused ones are dropped.
const ACCOUNTS_BEFORE_PRUNING: usize = 256;

/// Commands that create or change something, and run at a time.
const CHANGES_AT_ONCE: usize = 1;

/// The bounds of one holder.
#[derive(Clone, Copy)]
pub(super) struct AccountBounds {
    /// Queries that run at a time.
    pub(super) queries: usize,
    /// Administration commands that run at a time, and as many ends of resources beside them.
    pub(super) commands: usize,
    /// Queries that run or wait, as many commands, and as many ends of resources.
    pub(super) queue_len: usize,
    pub(super) streams: usize,
    /// At this many unread bytes no further query runs for the holder. The last answers may exceed it.
    pub(super) unread_bytes: usize,
}

/// The counts of one holder.
pub(super) struct Account {
    holder: Holder,
    bounds: AccountBounds,
    queries: WorkQueue,
    commands: WorkQueue,
    /// The commands that create or change something.
    changes: WorkQueue,
    /// The ends of resources, which must not wait for commands that wait for their turn to change something.
    ends: WorkQueue,
    streams: AtomicUsize,
    pub(super) unread: watch::Sender<usize>,
}

/// A queue with a bounded number of running jobs and a bounded length.
struct WorkQueue {
    running: Arc<Semaphore>,
    /// Includes the running jobs.
    length: AtomicUsize,
}

/// The kind of work, each with a queue of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Query,
    Command,
    /// A command that creates or changes something: one runs at a time.
    Change,
    /// A command that ends a resource.
    End,
}

/// A slot in a queue; dropped when the work is over, or when nobody waits for it any more.
pub(super) struct QueueSlot {
    account: Arc<Account>,
    work: Work,
    run: Option<OwnedSemaphorePermit>,
}

/// An open stream.
pub(super) struct OpenStream(Arc<Account>);

impl Account {
    fn new(holder: Holder, bounds: AccountBounds) -> Self {
        let queue = |running| WorkQueue { running: Arc::new(Semaphore::new(running)), length: AtomicUsize::new(0) };
        let (queries, commands, changes) = (queue(bounds.queries), queue(bounds.commands), queue(CHANGES_AT_ONCE));
        let ends = queue(bounds.commands);
        let (streams, unread) = (AtomicUsize::new(0), watch::Sender::new(0));
        Self { holder, bounds, queries, commands, changes, ends, streams, unread }
    }

    const fn queue(&self, work: Work) -> &WorkQueue {
        match work {
            Work::Query => &self.queries,
            Work::Command => &self.commands,
            Work::Change => &self.changes,
            Work::End => &self.ends,
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

    /// The error for work beyond its bound.
    fn no_turn(&self, work: Work) -> NoRoom {
        let measure = BuiltInMeasure::ConcurrentCommands;
        match work {
            Work::Query => self.limited(BuiltInMeasure::ConcurrentQueries),
            Work::Command | Work::End => self.limited(measure),
            Work::Change => NoRoom::Limited { holder: self.holder, measure, limit: CHANGES_AT_ONCE as u64 },
        }
    }

    /// Joins the queue, unless it is full.
    pub(super) fn join(self: &Arc<Self>, work: Work) -> Result<QueueSlot, NoRoom> {
        if add_below(&self.queue(work).length, self.bounds.queue_len) {
            return Ok(QueueSlot { account: Arc::clone(self), work, run: None });
        }
        Err(self.no_turn(work))
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
}

fn add_below(count: &AtomicUsize, max: usize) -> bool {
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| (now < max).then_some(now + 1)).is_ok()
}

impl QueueSlot {
    /// Waits for its turn in the queue and, for a query, until the holder has read its earlier answers.
    pub(super) async fn run(&mut self, until: Instant) -> Result<(), NoRoom> {
        let account = &self.account;
        let run = timeout_at(until, Arc::clone(&account.queue(self.work).running).acquire_owned()).await;
        self.run = Some(run.map_err(|_| account.no_turn(self.work))?.map_err(|_| NoRoom::Busy)?);
        if self.work == Work::Query {
            let mut unread = account.unread.subscribe();
            let is_read = timeout_at(until, unread.wait_for(|bytes| *bytes < account.bounds.unread_bytes)).await;
            is_read.map_err(|_| account.limited(BuiltInMeasure::UnreadBytes))?.map_err(|_| NoRoom::Busy)?;
        }
        Ok(())
    }
}

impl Drop for QueueSlot {
    fn drop(&mut self) {
        // In this order, so that a queue with a free slot also has one running job less.
        drop(self.run.take());
        self.account.queue(self.work).length.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The accounts of all holders that use anything.
#[derive(Default)]
pub(super) struct Accounts {
    table: Mutex<AccountTable>,
}

#[derive(Default)]
struct AccountTable {
    accounts: HashMap<Holder, Arc<Account>>,
    /// The number of accounts after the last pruning.
    after_pruning: usize,
}

impl Accounts {
    pub(super) fn get_or_make(&self, holder: Holder, bounds: AccountBounds) -> Arc<Account> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = table.accounts.get(&holder) {
            return Arc::clone(account);
        }
        if table.accounts.len() >= ACCOUNTS_BEFORE_PRUNING.max(table.after_pruning * 2) {
            // An account in use has another reference, and the lock prevents new ones meanwhile.
            table.accounts.retain(|_, account| Arc::strong_count(account) > 1);
            table.after_pruning = table.accounts.len();
        }
        let account = Arc::new(Account::new(holder, bounds));
        table.accounts.insert(holder, Arc::clone(&account));
        account
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.lock().expect("unpoisoned").accounts.len()
    }
}
