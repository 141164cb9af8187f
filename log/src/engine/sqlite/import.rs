//! Builds the ledger of a folder anew from events that were recorded before: with their positions and times, and with the rows
//! of the state that follow from them. What was never in an event (secrets, people, replies) does not come back.

use std::path::Path;
use std::sync::Arc;

use events::event::Recorded;
use events::time::from_micros;
use rusqlite::params;

use super::SqliteEngine;
use super::checkpoint;
use super::open::open_without_threads;
use super::state::windows;
use crate::draft::{Draft, StateRows};
use crate::engine::{AppendOutcome, Engine, Opened};
use crate::lock::FolderLock;
use crate::state::{State, fold_page};
use crate::{EngineErrorKind, Head, LogError, OpenError, SideRow};

const REVALUATION_BEGINS: &str = "UPDATE revaluation_begins SET after = ?1";
/// The events after which the write-ahead log is moved into the database file, so that it does not grow as long as the ledger.
const EVENTS_IN_WAL: usize = 50_000;

/// A ledger that is built, in a folder of its own. It is not one until [`LedgerImport::finish`].
pub struct LedgerImport {
    engine: SqliteEngine,
    state: State,
    /// Since the write-ahead log was moved.
    events: usize,
    _lock: Option<FolderLock>,
}

/// Events cannot be added.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct ImportError {
    /// The first event that cannot.
    pub position: u64,
    pub source: LogError,
}

impl LedgerImport {
    /// Begins in a folder without a ledger, which is created if it is missing. Blocking.
    ///
    /// `revaluation_begins_after` is what [`Reader`](crate::Reader) says of the ledger that recorded the events.
    pub fn begin(dir: &Path, revaluation_begins_after: u64) -> Result<Self, OpenError> {
        // Nothing in an empty ledger depends on the time.
        let Opened { engine, state, lock, .. } = open_without_threads(dir, from_micros(0))?;
        if state.head.position > 0 {
            return Err(LogError::Append("the folder has a ledger with events".to_owned()).into());
        }
        engine.connection().execute(REVALUATION_BEGINS, params![revaluation_begins_after]).map_err(LogError::from)?;
        Ok(Self { engine, state, events: 0, _lock: lock })
    }

    /// The last event.
    pub const fn head(&self) -> Head {
        self.state.head
    }

    /// Adds the next events. Blocking. After an error, no more can be added.
    ///
    /// Errors: among others, an event contradicts those before it.
    pub fn append(&mut self, page: Vec<Recorded>) -> Result<(), ImportError> {
        let Some(last) = page.last() else { return Ok(()) };
        let head = Head { position: last.position, recorded_at: Some(last.recorded_at) };
        let events: Vec<Arc<Recorded>> = page.into_iter().map(Arc::new).collect();
        let connection = self.engine.connection();
        for recorded in events.iter().map(AsRef::as_ref) {
            fold_page(&mut self.state.balances, &[recorded], |_, touched| windows(connection, touched).map(Some))
                .map_err(|source| ImportError { position: recorded.position, source })?;
            self.state.owners.apply(recorded);
        }
        let draft = Draft { events, ..Draft::new(self.state.head.position, head.recorded_at.unwrap_or_default()) };
        if draft.position() != head.position {
            let source = LogError::Append(format!("position {} does not come next", head.position));
            return Err(ImportError { position: head.position, source });
        }
        if let Err(source) = self.write(&draft) {
            return Err(self.refused(&draft, source));
        }
        self.state.balances.rows_are_written();
        self.state.owners.rows_are_written();
        self.state.head = head;
        self.events += draft.events.len();
        if self.events >= EVENTS_IN_WAL {
            checkpoint::finish(self.engine.connection());
            self.events = 0;
        }
        Ok(())
    }

    /// Which event of a draft that was not written is why.
    fn refused(&mut self, draft: &Draft, source: LogError) -> ImportError {
        let is_of_an_event = matches!(&source, LogError::Engine(engine) if engine.kind == EngineErrorKind::Data);
        let mut positions = draft.events.iter().filter(|_| is_of_an_event).map(|event| {
            let alone = Draft { events: vec![Arc::clone(event)], ..Draft::new(event.position - 1, event.recorded_at) };
            (event.position, self.engine.append(&alone, None))
        });
        let refused = positions.find(|(_, appended)| appended.is_err());
        ImportError { position: refused.map_or(draft.after + 1, |(position, _)| position), source }
    }

    /// Adds rows that are not in events but follow from them, such as unique names, and closes the ledger. All of it is then in
    /// the database file, which can be moved alone. Blocking.
    ///
    /// Errors: among others, part of it is only in the write-ahead log.
    pub fn finish(mut self, side: Vec<SideRow>) -> Result<Head, LogError> {
        let head = self.state.head;
        let draft = Draft { side, ..Draft::new(head.position, head.recorded_at.unwrap_or_default()) };
        self.write(&draft)?;
        checkpoint::finish_all(self.engine.connection())?;
        self.engine.close();
        Ok(head)
    }

    /// Writes a draft with the rows of the state.
    fn write(&mut self, draft: &Draft) -> Result<(), LogError> {
        let rows = StateRows { balances: &self.state.balances, owners: &self.state.owners };
        match self.engine.append(draft, Some(&rows))? {
            AppendOutcome::Committed => Ok(()),
            AppendOutcome::Moved => Err(LogError::Append("another process writes to the ledger".to_owned())),
        }
    }
}
