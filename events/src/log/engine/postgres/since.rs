//! The batches that follow the last one that was read.

use std::sync::Arc;

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::PostgresEngine;
use super::read::{SELECT_EVENTS, Tip, recorded, tip, unsigned};
use crate::event::{Event, Recorded, Resource};
use crate::log::LogError;
use crate::log::engine::Page;
use crate::log::follow::AppendedBy;

/// The positions within which the batches of a page begin.
const PAGE_POSITIONS: i64 = 1000;

impl PostgresEngine {
    /// The next whole batches, up to one with which the rows of the state were written, either of this node or of others. The
    /// first row is of the batch before them, which shows that the log is still the same.
    pub(super) fn next_page(&mut self, position: u64) -> Result<Page, LogError> {
        self.must_be_at(position)?;
        let before = self.tip;
        let sql = format!(
            "WITH page AS MATERIALIZED (
                 SELECT first, last, token, is_checkpoint, node = $3 AS is_own
                 FROM ledger.batches WHERE first BETWEEN $1 AND $2)
             SELECT e.*, page.first, page.last, page.token, page.is_checkpoint, page.is_own
             FROM page LEFT JOIN LATERAL (
                 {SELECT_EVENTS} WHERE position BETWEEN page.first AND page.last AND page.first > $1) AS e ON true
             ORDER BY page.first, e.position"
        );
        let node = &self.node;
        let rows = self.session.run(async |connection| {
            let select = sqlx::query(&sql).bind(before.first).bind(before.last + PAGE_POSITIONS).bind(node);
            select.fetch_all(connection).await
        })?;
        let mut rows = rows.iter();
        match rows.next().map(batch_of).transpose()? {
            Some((first, ..)) if first == before => {}
            _ => return Err(self.forked()?),
        }
        let (mut page, mut last) = (Page { is_last: true, ..Page::default() }, before);
        for row in rows {
            let (batch, is_checkpoint, appended_by) = batch_of(row)?;
            let is_of_same = page.events.is_empty() || page.appended_by == appended_by;
            if batch != last && (page.is_checkpoint || !is_of_same) {
                page.is_last = false;
                break;
            }
            let recorded = recorded(row)?;
            if replaces_node_key(&recorded) {
                return Err(LogError::NodeKeyReplaced);
            }
            page.events.push(Arc::new(recorded));
            (page.is_checkpoint, page.appended_by) = (is_checkpoint, appended_by);
            last = batch;
        }
        // A batch that begins after these positions was not looked for.
        page.is_last &= last.last < before.last + PAGE_POSITIONS;
        self.tip = last;
        Ok(page)
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

/// The batch of a row, whether the rows of the state were written with it, and who appended it.
fn batch_of(row: &PgRow) -> Result<(Tip, bool, AppendedBy), LogError> {
    let batch = Tip { first: row.try_get(10)?, last: row.try_get(11)?, token: row.try_get(12)? };
    let appended_by = if row.try_get(14)? { AppendedBy::ThisProcess } else { AppendedBy::Others };
    Ok((batch, row.try_get(13)?, appended_by))
}
