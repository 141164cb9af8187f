//! The reads of the offline check: rows as they are stored, however damaged, and the entries of the indexes.

use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::read::{IS_ADMINISTRATION, SELECT_EVENTS, checkpoint, in_snapshot, raw_event, tip, unsigned};
use super::reader::PostgresReader;
use super::state::{SELECT_ALL_BALANCES, SELECT_OPEN_HOLDS, balance, open_hold};
use crate::LogError;
use crate::interrupt::Interrupt;
use crate::raw::{IndexEntries, RawReader, ReadEvent, SnapshotPositions, StateRow, StoredPositions, StreamEntry};
use crate::stored::{signed, stored};

const OWNER_BLOCKS: &str = "SELECT owner, block FROM ledger.owner_blocks ORDER BY owner, block";
const SELECT_STREAMS: &str = include_str!("sql/select_streams.sql");
const BROKEN_BATCH: &str = include_str!("sql/broken_batch.sql");
/// The index that makes streams unique.
const STREAMS: &str = "events_aggregate_id_aggregate_type_sequence_key";
/// True if there is an index of this name which the database can use.
const HAS_INDEX: &str = "SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('ledger.' || $1) AND indisvalid AND indisready)";
/// Makes the database read an index in its order instead of the table.
const BY_INDEX: &str = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off";
/// The tables whose rows cannot be computed from events.
pub(super) const TABLES: [&str; 14] = [
    "batches", "idempotency", "inference_keys", "names", "personal_data", "client_addresses", "key_secrets",
    "sealed_secrets", "wrapped_keys", "tenant_keys", "nodes", "contexts", "revaluation_begins", "catalogue",
];

impl RawReader for PostgresReader {
    fn state_rows(&self, visit: &mut dyn FnMut(StateRow<'_>)) -> Result<SnapshotPositions, LogError> {
        let (positions, [blocks, balances, holds]) = self.read_at_once(async |snapshot| {
            let head = tip(snapshot).await?.1.position;
            let state_at = checkpoint(snapshot).await?;
            let mut rows = [Vec::new(), Vec::new(), Vec::new()];
            for (rows, sql) in rows.iter_mut().zip([OWNER_BLOCKS, SELECT_ALL_BALANCES, SELECT_OPEN_HOLDS]) {
                *rows = sqlx::query(sql).fetch_all(&mut *snapshot).await?;
            }
            Ok((SnapshotPositions { head, state_at }, rows))
        })?;
        for row in &blocks {
            visit(StateRow::OwnerBlock { owner: row.try_get(0)?, block: unsigned(row.try_get(1)?) });
        }
        balances.iter().for_each(|row| visit(StateRow::Balance(balance(row))));
        holds.iter().for_each(|row| visit(StateRow::OpenHold(open_hold(row))));
        Ok(positions)
    }

    fn raw_events(
        &self,
        StoredPositions { after, until }: StoredPositions,
        rows_max: usize,
        take: &mut dyn FnMut(i64, ReadEvent<'_>),
    ) -> Result<(), LogError> {
        let sql = format!("{SELECT_EVENTS} WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3");
        let rows = self.read(async |connection| {
            let query = sqlx::query(&sql).bind(after).bind(signed(until)).bind(signed(rows_max as u64));
            Ok(query.fetch_all(connection).await?)
        })?;
        for row in &rows {
            take(row.try_get(0)?, checked_event(row));
        }
        Ok(())
    }

    fn stream_entries(
        &self,
        after: &StreamEntry,
        entries_max: usize,
        take: &mut dyn FnMut(&str, &str, i64, i64),
    ) -> Result<Option<usize>, LogError> {
        let rows = self.read_at_once(async |reading| {
            if !has_index(reading, STREAMS).await? {
                return Ok(None);
            }
            sqlx::raw_sql(BY_INDEX).execute(&mut *reading).await?;
            let query = sqlx::query(SELECT_STREAMS).bind(&after.id).bind(&after.kind).bind(after.sequence);
            Ok(Some(query.bind(signed(entries_max as u64)).fetch_all(&mut *reading).await?))
        })?;
        let Some(rows) = rows else { return Ok(None) };
        for row in &rows {
            take(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        }
        Ok(Some(rows.len()))
    }

    fn indexes_of_administration(&self, until: u64) -> [(&'static str, Result<IndexEntries, LogError>); 2] {
        // The columns of an index, in its order: the cheapest way to read them in this order is the index.
        let indexes = [
            ("administration", "events_of_administration", "position"),
            ("types on streams", "events_by_type_of_stream", "aggregate_id, aggregate_type, event_type, sequence"),
        ];
        indexes.map(|(named, index, order)| {
            let sql = format!(
                "SELECT count(*), coalesce(sum(position), 0)::bigint FROM (
                     SELECT position FROM ledger.events WHERE {IS_ADMINISTRATION} AND position <= $1
                     ORDER BY {order} OFFSET 0) AS entries"
            );
            let entries = self.read_at_once(async |reading| {
                if !has_index(reading, index).await? {
                    return Err(stored(format!("there is no index {index}")));
                }
                sqlx::raw_sql(BY_INDEX).execute(&mut *reading).await?;
                let row = sqlx::query(&sql).bind(signed(until)).fetch_one(&mut *reading).await?;
                Ok(IndexEntries { count: unsigned(row.try_get(0)?), positions: unsigned(row.try_get(1)?) })
            });
            (named, entries)
        })
    }

    fn damaged_table(&self) -> Option<(&'static str, String)> {
        // The database has no check of a table: every value of it is read.
        let damage = |table: &&'static str| {
            let sql = format!("SELECT coalesce(sum(length(read::text)), 0) >= 0 FROM ledger.{table} AS read");
            let read =
                self.read(async |connection| Ok(sqlx::query_scalar::<_, bool>(&sql).fetch_one(connection).await?));
            read.err().map(|error| (*table, error.to_string()))
        };
        TABLES.iter().find_map(damage).or_else(|| Some(("batches", self.broken_batch()?)))
    }

    fn run_interruptible(&self, interrupt: &Interrupt, work: &mut dyn FnMut()) {
        self.interrupt.replace(Some(interrupt.clone()));
        work();
        self.interrupt.replace(None);
    }

    fn check_interrupt(&self) -> Result<(), LogError> {
        self.interrupt.borrow().as_ref().map_or(Ok(()), Interrupt::check)
    }

    #[cfg(test)]
    fn read_for_ever(&self) -> Result<u64, LogError> {
        const FOR_EVER: &str =
            "WITH RECURSIVE n (i) AS (SELECT 1::bigint UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
        self.read(async |connection| Ok(unsigned(sqlx::query_scalar(FOR_EVER).fetch_one(connection).await?)))
    }
}

impl PostgresReader {
    /// Runs statements that all see the same state of the ledger. They may be run twice.
    fn read_at_once<T>(&self, work: impl AsyncFn(&mut PgConnection) -> Result<T, LogError>) -> Result<T, LogError> {
        self.read(async |connection| in_snapshot(connection, &work).await)
    }

    /// The first fault of the batches, if there is one: they must cover the events without a gap.
    fn broken_batch(&self) -> Option<String> {
        let broken = self.read(async |connection| Ok(sqlx::query_scalar(BROKEN_BATCH).fetch_one(connection).await?));
        broken.unwrap_or_else(|error| Some(error.to_string()))
    }
}

async fn has_index(connection: &mut PgConnection, index: &str) -> Result<bool, LogError> {
    Ok(sqlx::query_scalar(HAS_INDEX).bind(index).fetch_one(connection).await?)
}

fn checked_event(row: &PgRow) -> ReadEvent<'_> {
    let sequence: i64 = row.try_get(4).map_err(|error| error.to_string())?;
    u64::try_from(sequence).map_err(|_| format!("there is no sequence {sequence}"))?;
    let shared = row.try_get(9).map_err(|error| error.to_string())?;
    raw_event(row, shared).map_err(|error| match error {
        LogError::Engine(error) => error.to_string(),
        other => other.reason(),
    })
}
