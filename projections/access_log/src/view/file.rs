//! Writes the view's file.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::event::Actor;
use events::private;
use rusqlite::{Connection, OptionalExtension, params};

use super::VIEW_FILE;
use crate::ViewSettings;
use crate::entry::Entry;

/// How long a statement waits for another connection, which none should make it do.
pub(super) const BUSY_MAX: Duration = Duration::from_secs(2);
pub(super) const TABLE: &str = include_str!("table.sql");
const INSERT: &str = include_str!("insert.sql");
const TRIM: &str = include_str!("trim.sql");
const NEWEST: &str = include_str!("newest.sql");

/// The view cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep the access log in {}: {source}; if the file is damaged, delete it", path.display())]
pub struct ViewError {
    path: PathBuf,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The connection that writes the view.
pub struct ViewFile {
    path: PathBuf,
    db: Connection,
    /// So many of the newest entries are kept.
    entries_max: u64,
}

impl ViewFile {
    /// Opens the file, and creates it if it is missing.
    pub fn open(settings: &ViewSettings) -> Result<Self, ViewError> {
        let path = settings.folder.join(VIEW_FILE);
        let opened = private::open_or_create(&path).map_err(Into::into).and_then(|_| Ok(Connection::open(&path)?));
        let db = opened.and_then(|db| prepared(&db).map(|()| db).map_err(Into::into));
        match db {
            Ok(db) => Ok(Self { path, db, entries_max: settings.entries_max }),
            Err(source) => Err(ViewError { path, source }),
        }
    }

    /// When the newest entry was answered; `None` in an empty file.
    pub fn newest_at(&self) -> Result<Option<DateTime<Utc>>, ViewError> {
        let micros = self.db.query_row(NEWEST, [], |row| row.get(0)).optional();
        let micros: Option<i64> = micros.map_err(|error| self.failed(error))?;
        Ok(micros.and_then(DateTime::from_timestamp_micros))
    }

    /// Adds entries, and drops as many of the oldest as there are too many.
    pub fn add(&mut self, entries: &[Entry]) -> Result<(), ViewError> {
        let added = add(&mut self.db, entries, self.entries_max);
        added.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: rusqlite::Error) -> ViewError {
        ViewError { path: self.path.clone(), source: error.into() }
    }
}

fn prepared(db: &Connection) -> Result<(), rusqlite::Error> {
    db.busy_timeout(BUSY_MAX)?;
    // What a power failure takes of the last second is no loss: the log of events has what must last.
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", "normal")?;
    db.execute_batch(TABLE)
}

fn add(db: &mut Connection, entries: &[Entry], entries_max: u64) -> Result<(), rusqlite::Error> {
    let transaction = db.transaction()?;
    {
        let mut insert = transaction.prepare_cached(INSERT)?;
        for entry in entries {
            let request = &entry.request;
            insert.execute(params![
                entry.answered_at.timestamp_micros(),
                entry.latency_us(),
                request.request_id.to_string(),
                request.method,
                request.route.as_deref(),
                request.status,
                request.code.map(|code| code.as_str()),
                request.actor.as_ref().map(Actor::to_string),
                request.chain.partner.map(|id| id.to_string()),
                request.chain.tenant.map(|id| id.to_string()),
            ])?;
        }
        transaction.prepare_cached(TRIM)?.execute([entries_max])?;
    }
    transaction.commit()
}
