//! The port between the log and its database.
//!
//! The log decides order, money, conflicts and answers. An engine does three things: it looks up the facts that a batch
//! needs, in one round trip; it writes a draft as a whole or not at all; and it reports whether the log still ends where the
//! draft expects. That check makes a second writer safe: the loser's batch is decided again on the new state.
//!
//! An engine makes no decision and knows no requests. It need not be thread-safe, because only the writer calls it; readers
//! use the [`Reader`](super::Reader) port on connections of their own.
//!
//! Rejected (ADR-0012): a second writer for each database, which would duplicate the rules of conflicts and idempotency; and
//! look-ups during the decisions, which would cost a round trip each and hold a transaction open meanwhile.

pub(super) mod postgres;
pub(super) mod sqlite;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::event::hold::BudgetWindow;
use events::event::{Recorded, Stream};

use super::draft::{Draft, StateRows};
use super::facts::{Facts, WantedFacts};
use super::follow::AppendedBy;
use super::lease::RolePlace;
use super::lock::{FolderError, FolderLock};
use super::readers::OpenReader;
use super::state::{State, StoredWindow};
use super::{EngineError, LogError, OtherSchema, WrongLedger, wal};

/// The result of writing a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AppendOutcome {
    /// All of it is durable.
    Committed,
    /// Nothing is written: the log no longer ends at the position that the draft follows, or another process has its turn.
    Moved,
}

/// How this process stands to a turn, the exclusive right to append next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TurnState {
    Held,
    /// Another process has it, or waited for it before.
    Awaited,
    /// The turn was not asked for, was lost, or another process does not give it up: this process goes on without it.
    NotHeld,
}

/// The next events of a log, whole batches of them.
#[derive(Debug, Default)]
pub(super) struct EventPage {
    /// In order; empty at the end of the log.
    pub(super) events: Vec<Arc<Recorded>>,
    /// The stored rows of the state were written with the last of these events, by whoever appended it.
    pub(super) is_checkpoint: bool,
    /// The log ended there when it was read.
    pub(super) is_last: bool,
    /// The appender of all of them.
    pub(super) appended_by: AppendedBy,
}

/// An opened database, and the state that it holds.
pub(super) struct Opened<E> {
    pub(super) engine: E,
    pub(super) state: State,
    pub(super) open_reader: OpenReader,
    /// Keeps other processes away from a database that one process has to itself.
    pub(super) lock: Option<FolderLock>,
    pub(super) roles: RolePlace,
}

/// A ledger cannot be opened or migrated.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("{}: {source}", path.display())]
    OtherSchema { path: PathBuf, source: OtherSchema },
    /// SQLite would open it, and every request would then be refused.
    #[error("{} cannot be written by this user", path.display())]
    ReadOnly { path: PathBuf },
    /// SQLite would silently continue without the transactions that cannot be read.
    #[error("{}-wal: {damage}", path.display())]
    Damaged { path: PathBuf, damage: wal::DamagedWal },
    #[error("cannot open {}: {source}", path.display())]
    Database { path: PathBuf, source: EngineError },
    #[error(transparent)]
    Shared(#[from] WrongLedger),
    #[error("cannot load the ledger: {0}")]
    Load(#[from] LogError),
    #[error("cannot start a thread of the writer: {0}")]
    Thread(std::io::Error),
}

/// The ledger that was migrated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrated {
    Existing,
    /// There was no ledger; an empty one was created.
    New,
}

/// The work of a database for a log. Methods that concern other processes do nothing by default: a log that is not shared has none.
pub(super) trait Engine {
    /// True if other processes append to the same log at the same time.
    const IS_SHARED: bool;

    /// The name of this process among those that append; `None` if there are no others.
    fn node(&self) -> Option<&str> {
        None
    }

    /// Looks up all wanted facts, as of the last position. Idempotency keys that have expired at `now` count as absent. `None`
    /// if the log no longer ends at `position`: windows of a later state must not get into the balances.
    fn facts(&mut self, position: u64, wanted: &WantedFacts, now: DateTime<Utc>) -> Result<Option<Facts>, LogError>;

    /// The last sequence of each stream; 0 for an empty one.
    fn last_sequences(&mut self, streams: HashSet<Stream>) -> Result<HashMap<Stream, u64>, LogError>;

    /// Writes the draft, and the state rows if given, provided that the log still ends at `draft.after`.
    ///
    /// Errors: nothing is written, except that with [`LogError::Commit`] this is unknown.
    /// [`LogError::Forked`] if the log is not the one that ended there.
    fn append(&mut self, draft: &Draft, state: Option<&StateRows<'_>>) -> Result<AppendOutcome, LogError>;

    /// Shows that a log which others append to as well can be written, without writing anything that stays.
    fn must_take_writes(&mut self) -> Result<(), LogError> {
        Ok(())
    }

    /// The next events after a position.
    ///
    /// Errors: [`LogError::Forked`] if the log is not the one that ended there; [`LogError::NodeKeyReplaced`] if another process
    /// replaced the node key in them.
    fn since(&mut self, position: u64) -> Result<EventPage, LogError>;

    /// The stored rows of these windows, if any. `None` if one of them may count the event at `position`: it was written with
    /// this event or a later one. Needed only if the log is shared: the writer does not fold what follows on another one.
    fn windows_before(
        &mut self,
        _position: u64,
        _windows: &[BudgetWindow],
    ) -> Result<Option<Vec<StoredWindow>>, LogError> {
        Ok(None)
    }

    /// Asks for the exclusive right to append next, so that a process which has lost a race does not lose every race.
    fn ask_for_turn(&mut self) {}

    /// Waits for it, for a limited time.
    fn wait_for_turn(&mut self, _max: Duration) -> TurnState {
        TurnState::NotHeld
    }

    /// Ends the turn, also one that is still waited for.
    fn end_turn(&mut self) {}

    /// The ledger's state at the head: its rows and the fold of the events after them, read in one snapshot.
    ///
    /// Errors: among others, [`LogError::NodeKeyReplaced`] if another process replaced the node key after the last position.
    fn state(&mut self, now: DateTime<Utc>) -> Result<State, LogError>;

    /// Drops idempotency keys that have expired at `now`, at most `rows_max` per table. Returns true if none are left.
    fn tidy(&mut self, now: DateTime<Utc>, rows_max: usize) -> Result<bool, LogError>;

    /// Called when all callers of a batch with this many events have been answered.
    fn after_batch(&mut self, events: usize);

    /// Called after the last write.
    fn close(self);
}
