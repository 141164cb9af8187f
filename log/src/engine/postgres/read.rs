//! Reads of events that both the writer's session and the readers need.

use events::event::Recorded;
use events::time::from_micros;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row};
use uuid::Uuid;

use crate::raw::RawEvent;
use crate::stored::stored;
use crate::{Head, LogError};

/// Selects events, with the columns that [`recorded`] reads. A condition and an order follow.
pub(super) const SELECT_EVENTS: &str = "
    SELECT position, e.recorded_at, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
           c.context
    FROM ledger.events e LEFT JOIN ledger.contexts c ON c.id = e.context ";
/// The condition of the partial indexes over administrative events.
pub(super) const IS_ADMINISTRATION: &str = "
    aggregate_type <> 'inference' AND aggregate_type <> 'hold' AND aggregate_type <> 'access' AND aggregate_type <> 'alert' ";

/// Begins a transaction in which all reads see the same state of the ledger.
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The last batch of the log: where the next one begins, and the proof that it is still the same log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tip {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) token: Uuid,
}

/// Runs reads that all see the same state of the ledger.
pub(super) async fn in_snapshot<T>(
    connection: &mut PgConnection,
    reads: impl AsyncFnOnce(&mut PgConnection) -> Result<T, LogError>,
) -> Result<T, LogError> {
    let mut snapshot = connection.begin_with(SNAPSHOT).await?;
    let read = reads(&mut snapshot).await?;
    // Dropped, it would stay open until the connection is used again, and the server ends sessions that idle in one.
    snapshot.commit().await?;
    Ok(read)
}

/// The last batch, and the time of its events.
pub(super) async fn tip(connection: &mut PgConnection) -> Result<(Tip, Head), sqlx::Error> {
    const SQL: &str = "SELECT first, last, token, recorded_at FROM ledger.batches ORDER BY first DESC LIMIT 1";
    let row = sqlx::query(SQL).fetch_one(connection).await?;
    let tip = Tip { first: row.try_get(0)?, last: row.try_get(1)?, token: row.try_get(2)? };
    let recorded_at = (tip.last > 0).then(|| row.try_get(3).map(from_micros)).transpose()?;
    Ok((tip, Head { position: unsigned(tip.last), recorded_at }))
}

/// The position as of which the rows of the ledger's state are.
pub(super) async fn checkpoint(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    const SQL: &str = "SELECT position FROM ledger.ledger_checkpoint";
    sqlx::query_scalar(SQL).fetch_one(connection).await.map(unsigned)
}

/// The event in a row of [`SELECT_EVENTS`].
pub(super) fn recorded(row: &PgRow) -> Result<Recorded, LogError> {
    raw_event(row, row.try_get(9)?)?.decode(unsigned(row.try_get(0)?))
}

/// The event in a row, as it is stored. `shared` is its context if that is stored once for many requests.
pub(super) fn raw_event<'a>(row: &'a PgRow, shared: Option<&'a str>) -> Result<RawEvent<&'a str>, LogError> {
    let context = shared.map_or_else(|| row.try_get(8), |shared| Ok(Some(shared)))?;
    Ok(RawEvent {
        recorded_at_micros: row.try_get(1)?,
        stream_kind: row.try_get(2)?,
        stream_id: row.try_get(3)?,
        sequence: unsigned(row.try_get(4)?),
        name: row.try_get(5)?,
        version: row.try_get(6)?,
        payload: row.try_get(7)?,
        // Null if the shared context is missing: the event then cannot be read.
        context: context.ok_or_else(|| stored("an event without its context"))?,
        is_without_request: shared.is_some(),
    })
}

/// A position from the database, which checks that none is negative.
pub(super) fn unsigned(position: i64) -> u64 {
    u64::try_from(position).unwrap_or(0)
}
