//! The embedded engine: one file, `ledger.db`, with one transaction per batch. Only this folder knows SQLite's statements,
//! write-ahead log and errors.
//!
//! Each context is stored once (ADR-0014). What may be erased is in rows that never move
//! (`migrations/sqlite/ledger/0013_erasable_rows.sql`), and sums beyond 64 bits are texts (`exact`).

mod append;
mod checkpoint;
mod contexts;
pub mod exact;
mod facts;
pub mod import;
pub(crate) mod interrupt;
mod migrate;
pub mod offline;
mod open;
mod read;
mod reader;
mod side;
mod state;
mod verify;
pub mod wal;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::event::Stream;
use rusqlite::{Connection, ErrorCode};

use super::{AppendOutcome, Engine, EventPage};
use crate::draft::{Draft, StateRows};
use crate::facts::{Facts, WantedFacts};
use crate::state::State;
use crate::{EngineError, EngineErrorKind, LogError, Reader, SideRow};
use checkpoint::Checkpointer;
use contexts::SqliteContexts;
use reader::SqliteReader;

pub(crate) use open::{bring_up_to_date, open, open_without_threads};

/// The file of the log, the system of record.
pub const LEDGER_FILE: &str = "ledger.db";
/// Events per page.
const PAGE: usize = 1000;

/// Opens a ledger file read-only, whether or not a process serves it.
pub fn open_reader(ledger: &Path) -> Result<Box<dyn Reader>, LogError> {
    reader_on(offline::with_locks(ledger)?)
}

/// Opens a ledger file without writing anything into its folder, see [`offline`]. Refuses a ledger with another schema.
pub fn open_reader_offline(ledger: &Path) -> Result<Box<dyn Reader>, LogError> {
    reader_on(offline::connect(ledger)?)
}

/// Makes the first secret of a key unreadable.
#[cfg(test)]
pub(crate) fn damage_first_secret(ledger: &Path, key: events::ids::KeyId) {
    let ledger = Connection::open(ledger).expect("the ledger");
    let damage = "UPDATE key_secrets SET generation = -1 WHERE key_id = ?1 AND generation = 1";
    assert_eq!(ledger.execute(damage, [key.to_string()]).expect("it is damaged"), 1);
}

/// Opens the rows of a ledger file read-only. Refuses a ledger with another schema.
pub(super) fn open_rows(ledger: &Path) -> Result<Connection, LogError> {
    of_this_schema(offline::connect(ledger)?)
}

/// Refuses a ledger with another schema.
fn reader_on(connection: Connection) -> Result<Box<dyn Reader>, LogError> {
    Ok(Box::new(SqliteReader::new(of_this_schema(connection)?)))
}

fn of_this_schema(connection: Connection) -> Result<Connection, LogError> {
    // If the version cannot be read, the file is damaged: later reads find out where.
    match migrate::version(&connection).ok().and_then(migrate::other_schema) {
        Some(other) => Err(other.into()),
        None => Ok(connection),
    }
}

#[doc(hidden)]
pub struct SqliteEngine {
    // Declared before the connection, so that it is dropped first.
    checkpointer: Checkpointer,
    connection: Connection,
    contexts: SqliteContexts,
}

impl SqliteEngine {
    /// The writer's connection, for simulations that fill its disk, fail its commits or move its pages.
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl Engine for SqliteEngine {
    const IS_SHARED: bool = false;

    fn facts(&mut self, _position: u64, wanted: &WantedFacts, now: DateTime<Utc>) -> Result<Option<Facts>, LogError> {
        facts::find(&self.connection, wanted, now).map(Some)
    }

    fn last_sequences(&mut self, streams: HashSet<Stream>) -> Result<HashMap<Stream, u64>, LogError> {
        let ends = streams.into_iter().map(|stream| Ok((facts::end(&self.connection, &stream)?.sequence, stream)));
        ends.map(|end| end.map(|(sequence, stream)| (stream, sequence))).collect()
    }

    fn append(&mut self, draft: &Draft, state: Option<&StateRows<'_>>) -> Result<AppendOutcome, LogError> {
        let outcome = append::append(&self.connection, &mut self.contexts, draft, state)?;
        if draft.side.iter().any(|row| matches!(row, SideRow::ErasePersonalData(_))) {
            self.checkpointer.after_erasure();
        }
        Ok(outcome)
    }

    fn since(&mut self, position: u64) -> Result<EventPage, LogError> {
        let events = read::after(&self.connection, position, PAGE)?.into_iter().map(Arc::new).collect();
        Ok(EventPage { events, ..EventPage::default() })
    }

    fn state(&mut self, now: DateTime<Utc>) -> Result<State, LogError> {
        state::read_state(&*self.connection.unchecked_transaction()?, now)
    }

    fn tidy(&mut self, now: DateTime<Utc>, rows_max: usize) -> Result<bool, LogError> {
        append::tidy(&self.connection, now, rows_max)
    }

    fn after_batch(&mut self, events: usize) {
        self.checkpointer.after_commit(&self.connection, events);
    }

    fn close(self) {
        drop(self.checkpointer);
        checkpoint::finish(&self.connection);
    }
}

impl From<rusqlite::Error> for LogError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Engine(error.into())
    }
}

impl From<rusqlite::Error> for EngineError {
    fn from(error: rusqlite::Error) -> Self {
        let kind = match error.sqlite_error_code() {
            Some(
                ErrorCode::ConstraintViolation
                | ErrorCode::ParameterOutOfRange
                | ErrorCode::TooBig
                | ErrorCode::TypeMismatch,
            ) => EngineErrorKind::Data,
            Some(ErrorCode::DatabaseCorrupt) => EngineErrorKind::Damaged,
            _ => EngineErrorKind::Unavailable,
        };
        Self { kind, message: error.to_string() }
    }
}
