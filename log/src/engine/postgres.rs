//! The engine for a PostgreSQL that several nodes share. Only this folder knows its statements, locks and errors. Triggers keep
//! everybody from changing or deleting events, batches and contexts, and gateways have no right to; nor to change the schema.
//!
//! - `batch` is the statement of a batch with its gate, and `append` sends it until it is certain what became of it. `since`
//!   reads what other nodes appended, `turn` lets a node that lost a race take its turn, and `listen` wakes the others.
//! - `session` is the writer's connection, `connections` those of the readers. `running_nodes` has the processes that use the
//!   ledger, `lease_rows` their roles. `dead_rows` has tables written anew after erasures.
//! - `copy` copies an embedded ledger into an empty shared one. `unusable` has the reasons why a database cannot be used.

mod append;
mod append_alone;
mod batch;
mod clock_limits;
mod connections;
mod contexts;
mod copy;
mod database;
mod dead_rows;
mod error;
mod facts;
mod lease_rows;
mod listen;
mod migrate;
mod open;
mod probe;
mod read;
mod reader;
mod running_nodes;
mod schema;
mod session;
mod side;
mod since;
mod state;
mod statement;
mod tidy;
mod turn;
mod unusable;
mod verify;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::event::Stream;
use events::event::hold::BudgetWindow;
use events::ids::IdMaker;

use super::{AppendOutcome, Engine, EventPage, TurnState};
use crate::LogError;
use crate::draft::{Draft, StateRows};
use crate::facts::{Facts, WantedFacts};
use crate::state::{State, StoredWindow};
use clock_limits::ClockLimits;
use contexts::PostgresContexts;
use dead_rows::DeadRows;
use read::Tip;
use session::Session;
use turn::TurnLock;

pub use append_alone::append_alone;
pub use copy::{CopyCallbacks, copy_to_shared};
pub use database::{DatabaseAddress, SessionSetting, WrongAddress};
pub(crate) use listen::{Announcements, Listener};
pub(crate) use migrate::migrate;
pub(crate) use open::open;
pub use reader::open_shared_reader;
pub(crate) use running_nodes::OwnNode;
pub use unusable::{UnusableReason, WrongLedger};

/// How long a process that serves may read the state: a database that does not answer must not stop its writer for ever.
const STATE_MAX: Duration = Duration::from_secs(60);

pub struct PostgresEngine {
    session: Session,
    /// This process, in the rows of its batches.
    node: String,
    /// Makes the tokens of batches.
    ids: IdMaker,
    /// The last batch that was read or written.
    tip: Tip,
    contexts: PostgresContexts,
    clock_limits: ClockLimits,
    turns: TurnLock,
    announcements: Announcements,
    dead_rows: DeadRows,
}

impl Engine for PostgresEngine {
    const IS_SHARED: bool = true;

    fn node(&self) -> Option<&str> {
        Some(&self.node)
    }

    fn facts(&mut self, position: u64, wanted: &WantedFacts, now: DateTime<Utc>) -> Result<Option<Facts>, LogError> {
        self.find_facts(position, wanted, now)
    }

    fn last_sequences(&mut self, streams: HashSet<Stream>) -> Result<HashMap<Stream, u64>, LogError> {
        self.find_last_sequences(streams)
    }

    fn append(&mut self, draft: &Draft, state: Option<&StateRows<'_>>) -> Result<AppendOutcome, LogError> {
        let outcome = self.write(draft, state);
        // Also of a batch of which nobody knows whether it was written.
        if draft.side.iter().any(dead_rows::is_erasure) {
            self.dead_rows.after_erasure();
        }
        outcome
    }

    fn must_take_writes(&mut self) -> Result<(), LogError> {
        self.insert_and_take_back()
    }

    fn since(&mut self, position: u64) -> Result<EventPage, LogError> {
        self.next_page(position)
    }

    fn windows_before(
        &mut self,
        position: u64,
        windows: &[BudgetWindow],
    ) -> Result<Option<Vec<StoredWindow>>, LogError> {
        self.windows_as_before(position, windows)
    }

    fn ask_for_turn(&mut self) {
        self.turns.ask();
    }

    fn wait_for_turn(&mut self, max: Duration) -> TurnState {
        self.turns.wait(max)
    }

    fn end_turn(&mut self) {
        self.turns.end();
    }

    fn state(&mut self, now: DateTime<Utc>) -> Result<State, LogError> {
        self.read_head(now, STATE_MAX)
    }

    fn tidy(&mut self, now: DateTime<Utc>, rows_max: usize) -> Result<bool, LogError> {
        self.forget_keys(now, rows_max)
    }

    /// The database moves its own write-ahead log.
    fn after_batch(&mut self, events: usize) {
        if events > 0 {
            self.announcements.notify_one();
        }
    }

    fn close(self) {
        self.session.close();
    }
}

#[cfg(test)]
mod tests;
