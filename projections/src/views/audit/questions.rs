//! Entries of the audit.

use chrono::{DateTime, Utc};
use events::ids::RequestId;
use events::time::rfc3339;
use rusqlite::{Connection, Row, named_params};
use serde_json::Value;

use super::projector::Severity;
use crate::views::search::{Instants, end_of_search};
use crate::views::{PageBounds, Question, SearchResult, View, ViewsError};
use crate::visible::Visible;

/// A page of them, newest first; one that would have to look at too many entries for those that count is shorter.
pub struct List {
    pub visible: Visible,
    pub filter: Filter,
    pub page: PageBounds,
}

/// Which entries; `None` where all count.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
    pub actor: Option<String>,
    pub action: Option<String>,
    /// `key/key_…`.
    pub resource: Option<String>,
    /// Its id: what comes after the slash.
    pub resource_id: Option<String>,
    pub severity: Option<Severity>,
    /// Somewhere in actor, action, resource or changes; the case of ASCII letters makes no difference, as SQLite folds no
    /// others.
    pub words: Option<String>,
}

/// Entries that one page looks at.
const LOOKED_AT_MAX: i64 = 50_000;
const INSTANTS: Instants = Instants { next: include_str!("next.sql"), last: include_str!("last.sql") };

/// The two statements that read by one index. What they look at comes in its order, a row at a time, until enough of it
/// counts: asked to order it once more, SQLite would look at all of it first.
#[derive(Clone, Copy)]
struct Index {
    /// Entries that count.
    rows: &'static str,
    /// Where the search ended, and how many entries it went over.
    end: &'static str,
}

/// One for each index; all of them end the same.
macro_rules! index {
    ($name:literal) => {
        Index {
            rows: concat!(include_str!("select.sql"), include_str!($name), include_str!("page.sql")),
            end: concat!(include_str!("../search/end.sql"), include_str!($name)),
        }
    };
}

const BY_RESOURCE: Index = index!("by_resource.sql");
const BY_TENANT: Index = index!("by_tenant.sql");
const BY_POSITION: Index = index!("by_position.sql");

/// One line of the audit.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    pub position: u64,
    pub recorded_at: String,
    pub actor: String,
    pub action: String,
    pub resource: String,
    pub severity: String,
    pub outcome: String,
    pub request_id: Option<RequestId>,
    pub changes: Value,
}

impl Question for List {
    type Answer = SearchResult<Entry>;
    const VIEWS: &'static [View] = &[View::Audit];

    fn answer(self, db: &Connection) -> Result<SearchResult<Entry>, ViewsError> {
        let Self { visible, filter, page } = self;
        let index = match (&filter.resource_id, visible) {
            (Some(_), _) => BY_RESOURCE,
            (None, Visible::Tenant(_)) => BY_TENANT,
            (None, Visible::Partner(_) | Visible::Platform) => BY_POSITION,
        };
        let first_since = |at: DateTime<Utc>| INSTANTS.first_since(db, &rfc3339(at));
        let first = filter.from.map(first_since).transpose()?.unwrap_or(0);
        let end = filter.to.map(first_since).transpose()?.unwrap_or(i64::MAX);
        let parameters = named_params! {
            ":first": first, ":before": page.before.min(end), ":looked_at": LOOKED_AT_MAX, ":rows": page.rows(),
            ":visible_partner": visible.partner(), ":visible_tenant": visible.tenant(),
            ":actor": filter.actor, ":action": filter.action, ":resource": filter.resource,
            ":resource_id": filter.resource_id, ":severity": filter.severity.map(Severity::as_str),
            ":q": filter.words.map(|words| words.to_ascii_lowercase()),
        };
        let mut statement = db.prepare_cached(index.rows)?;
        let mut found = statement.query(parameters)?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            rows.push(entry(row)?);
        }
        let is_full = rows.len() > page.limit;
        let until = if is_full { None } else { end_of_search(db, index.end, LOOKED_AT_MAX, parameters)? };
        Ok(SearchResult { rows, until })
    }
}

fn entry(row: &Row<'_>) -> Result<Entry, ViewsError> {
    let changes: String = row.get(8)?;
    let request: Option<String> = row.get(7)?;
    Ok(Entry {
        position: row.get(0)?,
        recorded_at: row.get(1)?,
        actor: row.get(2)?,
        action: row.get(3)?,
        resource: row.get(4)?,
        severity: row.get(5)?,
        outcome: row.get(6)?,
        request_id: request.and_then(|id| id.parse().ok()),
        changes: serde_json::from_str(&changes)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::tests::plan;

    const SCHEMA: &str = include_str!("../../../../migrations/sqlite/views/0005_audit.sql");

    #[test]
    fn an_index_bounds_the_search_for_a_resource_or_a_tenant() {
        for (index, bound) in [
            (BY_RESOURCE, "audit_by_resource (resource_id=? AND position>? AND position<?)"),
            (BY_TENANT, "audit_by_tenant (tenant_id=? AND position>? AND position<?)"),
            (BY_POSITION, "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ] {
            for sql in [index.rows, index.end] {
                let steps = plan::of(SCHEMA, sql);
                assert!(steps.iter().any(|step| step.contains(bound)), "{steps:?}");
                assert!(steps.len() == 3 && steps[0].starts_with("CO-ROUTINE"), "nothing is sorted or kept: {steps:?}");
            }
        }
    }

    #[test]
    fn words_that_are_rare_are_found_a_bounded_part_at_a_time() {
        let db = Connection::open_in_memory().expect("a database");
        db.execute_batch(SCHEMA).expect("the schema");
        db.execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000)
             INSERT INTO audit (position, recorded_at, actor, action, resource, resource_id, severity, outcome, changes)
             SELECT i, strftime('%Y-%m-%dT%H:%M:%S.000000Z', i, 'unixepoch'), iif(i = 5, 'Rare', 'usual'), 'a', 'key/k', 'k', 'info', 'success', '{}' FROM n",
        )
        .expect("entries");
        let at = |second: i64| chrono::DateTime::from_timestamp(second, 0).expect("a time");
        let rare = |before, from: Option<i64>| {
            let filter = Filter { from: from.map(at), words: Some("rarE".to_owned()), ..Filter::default() };
            let list = List { visible: Visible::Platform, filter, page: PageBounds { before, limit: 10 } };
            list.answer(&db).expect("a page")
        };
        let (mut before, mut ends) = (i64::MAX, Vec::new());
        let found = loop {
            let found = rare(before, None);
            let Some(until) = found.until else { break found.rows };
            before = i64::try_from(until).expect("a position");
            ends.push(until);
        };
        assert_eq!((ends, found.len()), (vec![70_001, 20_001], 1));
        let recent = rare(i64::MAX, Some(110_000));
        assert_eq!((recent.rows.len(), recent.until), (0, None), "a time bounds the search");
    }
}
