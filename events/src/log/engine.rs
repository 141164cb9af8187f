//! The port between the log and the database that keeps it. The log decides: order, money, conflicts, who is answered what.
//! An engine finds what a batch needs to know, writes a draft as a whole or not at all, and says where the log stands. It
//! knows nothing of requests, and is asked by one thread.

pub(super) mod sqlite;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::LogError;
use super::draft::{Draft, StateRows};
use super::facts::{Facts, Wanted};
use super::lock::FolderLock;
use super::readers::OpenReader;
use super::state::State;
use crate::event::{Recorded, Stream};

/// What became of a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appending {
    /// All of it is durable.
    Committed,
    /// Nothing of it is written: the log does not end where the draft says any more.
    Moved,
}

/// A database that was opened for this process alone, and what it says of the log.
pub(super) struct Opened<E> {
    pub(super) engine: E,
    pub(super) state: State,
    pub(super) open_reader: OpenReader,
    pub(super) lock: FolderLock,
}

pub(super) trait Engine {
    /// All that is wanted, as of the last position; idempotency keys that are too old at `now` are not there.
    fn facts(&mut self, wanted: &Wanted, now: DateTime<Utc>) -> Result<Facts, LogError>;

    /// The last sequence of each of these streams; 0 where there is none.
    fn last_sequences(&mut self, streams: HashSet<Stream>) -> Result<HashMap<Stream, u64>, LogError>;

    /// Writes the draft, and the rows of the ledger's state where they are given, if the log still ends where the draft
    /// says.
    ///
    /// Errors: nothing is written, but for [`LogError::Commit`], of which that is not known.
    fn append(&mut self, draft: &Draft, state: Option<&StateRows<'_>>) -> Result<Appending, LogError>;

    /// The next events behind a position, in order; none where the log ends there.
    fn since(&mut self, position: u64) -> Result<Vec<Arc<Recorded>>, LogError>;

    /// The ledger's state at the log's head, from its rows and the events after them, in one snapshot.
    fn state(&mut self, now: DateTime<Utc>) -> Result<State, LogError>;

    /// Drops idempotency keys that are too old at `now`, at most so many rows of a table; whether that was all.
    fn tidy(&mut self, now: DateTime<Utc>, rows_max: usize) -> Result<bool, LogError>;

    /// Once everybody who waited for a batch of so many events has been answered.
    fn after_batch(&mut self, events: usize);

    /// Nothing will be written any more.
    fn close(self);
}
