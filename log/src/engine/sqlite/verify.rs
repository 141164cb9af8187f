//! The reads of the offline check: rows as they are stored, however damaged, and the entries of the indexes.

use rusqlite::{Connection, Row, params};

use super::interrupt::interruptible;
use super::read::{all, checkpoint, raw_event, text};
use super::reader::SqliteReader;
use super::state::{SELECT_OPEN_HOLDS, balance, open_hold};
use crate::LogError;
use crate::interrupt::Interrupt;
use crate::raw::{IndexEntries, RawReader, ReadEvent, SnapshotPositions, StateRow, StoredPositions, StreamEntry};

const HEAD: &str = "SELECT max(position) FROM events";
const BALANCES: &str = "SELECT budget_id, window_start, settled, held, announced FROM balances";
const OWNER_BLOCKS: &str = "SELECT owner, block FROM owner_blocks ORDER BY owner, block";
const SELECT_PAGE: &str = include_str!("sql/select_page.sql");
const SELECT_STREAMS: &str = include_str!("sql/select_streams.sql");
/// The side tables, whose rows cannot be computed from events.
const TABLES: [&str; 12] = [
    "idempotency",
    "inference_keys",
    "names",
    "erasable_personal_data",
    "erasable_client_addresses",
    "key_secrets",
    "erasable_sealed_secrets",
    "wrapped_keys",
    "tenant_keys",
    "nodes",
    "contexts",
    "revaluation_begins",
];

impl RawReader for SqliteReader {
    fn state_rows(&self, visit: &mut dyn FnMut(StateRow<'_>)) -> Result<SnapshotPositions, LogError> {
        let snapshot = self.connection.unchecked_transaction()?;
        let head: Option<i64> = snapshot.query_row(HEAD, [], |row| row.get(0))?;
        all(&snapshot, OWNER_BLOCKS, [], |row| {
            visit(StateRow::OwnerBlock { owner: text(row, 0)?, block: row.get(1)? });
            Ok(())
        })?;
        all(&snapshot, BALANCES, [], |row| {
            visit(StateRow::Balance(balance(row)));
            Ok(())
        })?;
        all(&snapshot, SELECT_OPEN_HOLDS, [], |row| {
            visit(StateRow::OpenHold(open_hold(row)));
            Ok(())
        })?;
        let head = head.and_then(|head| u64::try_from(head).ok()).unwrap_or(0);
        Ok(SnapshotPositions { head, state_at: checkpoint(&snapshot)? })
    }

    fn raw_events(
        &self,
        StoredPositions { after, until }: StoredPositions,
        rows_max: usize,
        take: &mut dyn FnMut(i64, ReadEvent<'_>),
    ) -> Result<(), LogError> {
        let visited = all(&self.connection, SELECT_PAGE, params![after, until, rows_max], |row| {
            take(row.get(0)?, raw_event(row).map_err(|error| error.to_string()));
            Ok(())
        });
        visited.map(drop)
    }

    fn stream_entries(
        &self,
        after: &StreamEntry,
        entries_max: usize,
        take: &mut dyn FnMut(&str, &str, i64, i64),
    ) -> Result<Option<usize>, LogError> {
        let mut statement = match self.connection.prepare_cached(SELECT_STREAMS) {
            Err(error) if error.to_string().contains("no such index") => return Ok(None),
            statement => statement?,
        };
        let mut rows = statement.query(params![after.id, after.kind, after.sequence, entries_max])?;
        let mut seen = 0;
        while let Some(row) = rows.next()? {
            seen += 1;
            take(text(row, 0)?, text(row, 1)?, row.get(2)?, row.get(3)?);
        }
        Ok(Some(seen))
    }

    fn indexes_of_administration(&self, until: u64) -> [(&'static str, Result<IndexEntries, LogError>); 2] {
        let entries = |index| {
            let sql = format!(
                "SELECT count(*), coalesce(sum(position), 0) FROM events INDEXED BY {index}
                 WHERE aggregate_type <> 'inference' AND aggregate_type <> 'hold' AND aggregate_type <> 'access'
                   AND aggregate_type <> 'alert'
                   AND position <= ?1"
            );
            let entries = |row: &Row<'_>| Ok(IndexEntries { count: row.get(0)?, positions: row.get(1)? });
            Ok(self.connection.query_row(&sql, params![until], entries)?)
        };
        [("administration", "events_of_administration"), ("types on streams", "events_by_type_of_stream")]
            .map(|(named, index)| (named, entries(index)))
    }

    fn damaged_table(&self) -> Option<(&'static str, String)> {
        TABLES.into_iter().find_map(|table| Some((table, damage(&self.connection, table)?)))
    }

    fn run_interruptible(&self, interrupt: &Interrupt, work: &mut dyn FnMut()) {
        self.interrupt.replace(Some(interrupt.clone()));
        interruptible(&self.connection, interrupt, work);
        self.interrupt.replace(None);
    }

    fn check_interrupt(&self) -> Result<(), LogError> {
        self.interrupt.borrow().as_ref().map_or(Ok(()), Interrupt::check)
    }

    #[cfg(test)]
    fn read_for_ever(&self) -> Result<u64, LogError> {
        const FOR_EVER: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
        Ok(self.connection.query_row(FOR_EVER, [], |row| row.get(0))?)
    }
}

fn damage(connection: &Connection, table: &str) -> Option<String> {
    let mut report = String::new();
    let checked = connection.pragma(None, "integrity_check", table, |row| {
        report = row.get(0)?;
        Ok(())
    });
    match checked {
        Ok(()) if report == "ok" => None,
        Ok(()) => Some(report),
        Err(error) => Some(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use events::time::from_micros;

    use super::super::open_without_threads;
    use super::*;

    /// A table that the check forgets could be damaged without being noticed.
    #[test]
    fn the_check_reads_every_table() {
        const ALL: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*'";
        // Read as events and as the ledger's state.
        let others = ["events", "balances", "open_holds", "owner_blocks", "ledger_checkpoint"];
        let folder = tempfile::tempdir().expect("a folder");
        let engine = open_without_threads(folder.path(), from_micros(0)).expect("a ledger").engine;
        let found = all(engine.connection(), ALL, [], |row| Ok(text(row, 0)?.to_owned())).expect("tables");
        let checked: BTreeSet<_> = TABLES.into_iter().chain(others).map(str::to_owned).collect();
        assert_eq!(BTreeSet::from_iter(found), checked);
    }
}
