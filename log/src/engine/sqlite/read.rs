//! Reads of events that both the writer's connection and the readers' need.

use events::event::{Recorded, Stream, StreamKind};
use events::time::from_micros;
use rusqlite::{Connection, Params, Row, params};

use crate::raw::RawEvent;
use crate::{Head, LogError, StoredReply};

pub(super) const SELECT_EVENTS: &str = include_str!("sql/select_events.sql");
pub(super) const SELECT_ADMINISTRATION: &str = include_str!("sql/select_administration.sql");
const LAST_ADMINISTRATION: &str = include_str!("sql/last_administration.sql");

pub(super) fn head(connection: &Connection) -> Result<Head, LogError> {
    const SQL: &str = "SELECT position, recorded_at FROM events ORDER BY position DESC LIMIT 1";
    let head =
        one(connection, SQL, [], |row| Ok(Head { position: row.get(0)?, recorded_at: Some(from_micros(row.get(1)?)) }));
    Ok(head?.unwrap_or_default())
}

pub(super) fn after(connection: &Connection, position: u64, limit: usize) -> Result<Vec<Recorded>, LogError> {
    let sql = format!("{SELECT_EVENTS} WHERE position > ?1 ORDER BY position LIMIT ?2");
    all(connection, &sql, params![position, limit], recorded)
}

pub(super) fn stream(connection: &Connection, of: &Stream) -> Result<Vec<Recorded>, LogError> {
    let sql = format!("{SELECT_EVENTS} WHERE aggregate_type = ?1 AND aggregate_id = ?2 ORDER BY sequence");
    all(connection, &sql, params![of.kind.as_str(), of.id], recorded)
}

/// The administrative events of all budgets up to a position, in order.
pub(super) fn budgets(connection: &Connection, until: u64) -> Result<Vec<Recorded>, LogError> {
    let sql = format!("{SELECT_ADMINISTRATION} AND aggregate_type = ?1 AND position <= ?2 ORDER BY position");
    all(connection, &sql, params![StreamKind::Budget.as_str(), until], recorded)
}

/// The position as of which the rows of the ledger's state are.
pub(super) fn checkpoint(connection: &Connection) -> Result<u64, LogError> {
    Ok(connection.query_row("SELECT position FROM ledger_checkpoint", [], |row| row.get(0))?)
}

/// Position of the last administrative event; 0 before the first.
pub(super) fn last_administration(connection: &Connection) -> Result<u64, LogError> {
    Ok(connection.query_row(LAST_ADMINISTRATION, [], |row| row.get::<_, Option<u64>>(0))?.unwrap_or(0))
}

pub(super) fn idempotent_reply(
    connection: &Connection,
    scope: &str,
    key: &str,
) -> Result<Option<StoredReply>, LogError> {
    const SQL: &str = "SELECT fingerprint, status, body, position FROM idempotency WHERE scope = ?1 AND key = ?2";
    one(connection, SQL, [scope, key], |row| {
        Ok(StoredReply { fingerprint: row.get(0)?, status: row.get(1)?, body: row.get(2)?, position: row.get(3)? })
    })
}

/// The first row of a statement, if there is any.
pub(super) fn one<T>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T, LogError>,
) -> Result<Option<T>, LogError> {
    connection.prepare_cached(sql)?.query(values)?.next()?.map(read).transpose()
}

/// All rows of a statement.
pub(super) fn all<T>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Result<T, LogError>,
) -> Result<Vec<T>, LogError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// A column of a row, without a copy.
pub(super) fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a str, rusqlite::Error> {
    Ok(row.get_ref(column)?.as_str()?)
}

/// The event in a row of [`SELECT_EVENTS`].
pub(super) fn recorded(row: &Row<'_>) -> Result<Recorded, LogError> {
    raw_event(row)?.decode(row.get(0)?)
}

/// The event in such a row, as it is stored.
pub(super) fn raw_event<'a>(row: &'a Row<'_>) -> Result<RawEvent<&'a str>, rusqlite::Error> {
    let shared = row.get_ref(9)?.as_str_or_null()?;
    Ok(RawEvent {
        recorded_at_micros: row.get(1)?,
        stream_kind: text(row, 2)?,
        stream_id: text(row, 3)?,
        sequence: row.get(4)?,
        name: text(row, 5)?,
        version: text(row, 6)?,
        payload: text(row, 7)?,
        context: shared.map_or_else(|| text(row, 8), Ok)?,
        is_without_request: shared.is_some(),
    })
}
