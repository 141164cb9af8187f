//! The batches that follow the last one that was read. Each node reads everything that the others append, on the path of its own
//! requests: one statement in the order of the indexes, and a second one for contexts that it does not know.

use std::collections::HashMap;
use std::sync::Arc;

use events::event::{Context, Event, Recorded, Resource};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::PostgresEngine;
use super::read::{Tip, raw_event, tip, unsigned};
use crate::LogError;
use crate::engine::EventPage;
use crate::follow::AppendedBy;
use crate::stored::{read_context, stored};

/// The positions within which the batches of a page begin.
const PAGE_POSITIONS: i64 = 1000;
/// The batches, in order, and then their events, in order. Rows of batches have no kind of a stream. The columns of events have the
/// places at which `read.rs` reads them, by number.
///
/// SQL does not promise that the rows of a `UNION ALL` come in the order of its parts; PostgreSQL runs one part after the other. If
/// the first row were not the batch that was read last, the node would take the log for another one ([`LogError::Forked`]), and
/// stay out until it is started again.
const SELECT_PAGE: &str = "
    WITH page AS MATERIALIZED (
        SELECT first, last, token, is_checkpoint, node = $3 AS is_own
        FROM ledger.batches WHERE first BETWEEN $1 AND $2 ORDER BY first)
    SELECT first, last, NULL, NULL, NULL::bigint, NULL, NULL, NULL, NULL, token, is_checkpoint, is_own FROM page
    UNION ALL
    (SELECT position, recorded_at, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
            context, NULL, NULL
     FROM ledger.events
     WHERE position > (SELECT min(last) FROM page) AND position <= (SELECT max(last) FROM page) ORDER BY position)";
const SELECT_CONTEXTS: &str = "SELECT id, context FROM ledger.contexts WHERE id = ANY($1)";

/// A batch that is in the log.
struct StoredBatch {
    tip: Tip,
    /// The rows of the state were written with it.
    is_checkpoint: bool,
    appended_by: AppendedBy,
}

impl PostgresEngine {
    /// The next whole batches, up to one with which the rows of the state were written, either of this node or of others. The
    /// first row is of the batch before them, which shows that the log is still the same.
    pub(super) fn next_page(&mut self, position: u64) -> Result<EventPage, LogError> {
        self.must_be_at(position)?;
        let before = self.tip;
        let node = &self.node;
        let rows = self.session.run(async |connection| {
            let select = sqlx::query(SELECT_PAGE).bind(before.first).bind(before.last + PAGE_POSITIONS).bind(node);
            select.fetch_all(connection).await
        })?;
        let mut batches = Vec::new();
        let mut rows = rows.iter().peekable();
        while let Some(batch) = rows.next_if(|row| is_of_batch(row)).map(batch_of).transpose()? {
            batches.push(batch);
        }
        let mut batches = batches.into_iter();
        if batches.next().is_none_or(|first| first.tip != before) {
            return Err(self.forked()?);
        }
        let (mut page, mut last) = (EventPage { is_last: true, ..EventPage::default() }, before);
        for StoredBatch { tip, is_checkpoint, appended_by } in batches {
            let is_of_same = last == before || page.appended_by == appended_by;
            if page.is_checkpoint || !is_of_same {
                page.is_last = false;
                break;
            }
            (page.is_checkpoint, page.appended_by) = (is_checkpoint, appended_by);
            last = tip;
        }
        let rows: Vec<&PgRow> = rows.take_while(|row| row.try_get(0).is_ok_and(|at: i64| at <= last.last)).collect();
        let contexts = self.read_contexts(&rows)?;
        let mut rows = rows.into_iter();
        for position in before.last + 1..=last.last {
            let row = rows.next().ok_or_else(|| missing(position))?;
            let recorded = self.recorded(row, &contexts)?;
            if recorded.position != unsigned(position) {
                return Err(missing(position));
            }
            if replaces_node_key(&recorded) {
                return Err(LogError::NodeKeyReplaced);
            }
            page.events.push(Arc::new(recorded));
        }
        // A batch that begins after these positions was not looked for.
        page.is_last &= last.last < before.last + PAGE_POSITIONS;
        self.tip = last;
        // Not before: a database that has failed over may have lost all that follows the tip, and nothing would show it.
        contexts.into_iter().for_each(|(name, context)| self.contexts.note_stored(name, context));
        Ok(page)
    }

    /// The contexts of these events that are not known yet, by name.
    fn read_contexts(&mut self, events: &[&PgRow]) -> Result<HashMap<Uuid, Context>, LogError> {
        self.contexts.forget_if_full();
        let mut unknown = Vec::new();
        for row in events {
            let name: Option<Uuid> = row.try_get(9)?;
            unknown.extend(name.filter(|name| self.contexts.named(*name).is_none()));
        }
        unknown.sort_unstable();
        unknown.dedup();
        if unknown.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self.session.run(async |connection| {
            sqlx::query_as::<_, (Uuid, String)>(SELECT_CONTEXTS).bind(unknown).fetch_all(connection).await
        })?;
        rows.into_iter().map(|(name, json)| Ok((name, read_context(&json)?))).collect()
    }

    /// The event in a row. Its context is known, or among these.
    fn recorded(&self, row: &PgRow, contexts: &HashMap<Uuid, Context>) -> Result<Recorded, LogError> {
        let position = unsigned(row.try_get(0)?);
        match row.try_get::<Option<Uuid>, _>(9)? {
            None => raw_event(row, None)?.decode(position),
            Some(name) => {
                let shared = self.contexts.named(name).or_else(|| contexts.get(&name));
                let shared = shared.ok_or_else(|| stored(format!("there is no context {name}")))?;
                raw_event(row, Some(""))?.in_context(position, shared.clone())
            }
        }
    }

    fn forked(&mut self) -> Result<LogError, LogError> {
        let (theirs, _) = self.session.run(tip)?;
        Ok(LogError::Forked { ours: unsigned(self.tip.last), theirs: unsigned(theirs.last) })
    }
}

/// True for the event after which a process with the node key of before must not append: it would seal under the old one.
fn replaces_node_key(recorded: &Recorded) -> bool {
    matches!(&recorded.event, Event::Resource(Resource::NodeKeyReplaced(_)))
}

fn is_of_batch(row: &PgRow) -> bool {
    matches!(row.try_get::<Option<&str>, _>(2), Ok(None))
}

fn batch_of(row: &PgRow) -> Result<StoredBatch, LogError> {
    let tip = Tip { first: row.try_get(0)?, last: row.try_get(1)?, token: row.try_get(9)? };
    let appended_by = if row.try_get(11)? { AppendedBy::ThisProcess } else { AppendedBy::Others };
    Ok(StoredBatch { tip, is_checkpoint: row.try_get(10)?, appended_by })
}

fn missing(position: i64) -> LogError {
    stored(format!("the event at position {position} is missing"))
}
