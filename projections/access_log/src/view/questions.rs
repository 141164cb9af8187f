//! Queries of the view: a page of its entries.

use chrono::{DateTime, Utc};
use projections::views::search::{self, Index, TimeSearch};
use projections::views::{PageBounds, SearchResult, ViewsError};
use projections::visible::Visible;
use rusqlite::{Connection, Row, named_params};

/// A page of entries, newest first. It is shorter if too many entries had to be scanned for those that match.
#[derive(Clone, Debug)]
pub struct List {
    pub visible: Visible,
    pub filter: Filter,
    pub page: PageBounds,
}

/// The filter of entries. A field that is `None` matches every entry.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
    pub request_id: Option<String>,
    pub actor: Option<String>,
    pub method: Option<String>,
    pub route: Option<String>,
    pub status: Option<StatusRange>,
}

/// The statuses from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    pub first: u16,
    pub last: u16,
}

impl StatusRange {
    const ALL: Self = Self { first: 0, last: u16::MAX };

    /// `503`, or `5xx` for all of a class.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, last) = match text.strip_suffix("xx") {
            Some(class) => (format!("{class}00"), format!("{class}99")),
            None => (text.to_owned(), text.to_owned()),
        };
        let status = |text: String| text.parse().ok().filter(|status| (100..600).contains(status));
        if text.len() != 3 || !text.starts_with(|first: char| first.is_ascii_digit()) {
            return None;
        }
        Some(Self { first: status(first)?, last: status(last)? })
    }
}

/// An entry as it is listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedRequest {
    /// Its place in this file.
    pub id: u64,
    pub answered_at: DateTime<Utc>,
    pub latency_us: u64,
    pub request_id: String,
    pub method: String,
    pub route: Option<String>,
    pub status: u16,
    pub code: Option<String>,
    pub actor: Option<String>,
    pub tenant_id: Option<String>,
}

/// Entries that one page scans at most.
const ENTRIES_SCANNED_MAX: i64 = 50_000;
const TIME_SEARCH: TimeSearch = TimeSearch { next: include_str!("next.sql"), last: include_str!("last.sql") };

/// The statements of one index.
macro_rules! index {
    ($name:literal) => {
        Index {
            rows: concat!(include_str!("select.sql"), include_str!($name), include_str!("page.sql")),
            end: concat!(include_str!("end.sql"), include_str!($name)),
        }
    };
}

const BY_REQUEST: Index = index!("by_request.sql");
const BY_TENANT: Index = index!("by_tenant.sql");
const BY_ID: Index = index!("by_id.sql");

impl List {
    pub(super) fn answer(&self, db: &Connection) -> Result<SearchResult<ListedRequest>, ViewsError> {
        let Self { visible, filter, page } = self;
        let index = match (&filter.request_id, visible) {
            (Some(_), _) => BY_REQUEST,
            (None, Visible::Tenant(_)) => BY_TENANT,
            (None, Visible::Partner(_) | Visible::Platform) => BY_ID,
        };
        let micros = |at: DateTime<Utc>| at.timestamp_micros();
        let (first, end) = TIME_SEARCH.range(db, filter.from.map(micros), filter.to.map(micros))?;
        let status = filter.status.unwrap_or(StatusRange::ALL);
        let parameters = named_params! {
            ":first": first, ":before": page.before.min(end), ":scan_max": ENTRIES_SCANNED_MAX, ":rows": page.rows(),
            ":visible_partner": visible.partner(), ":visible_tenant": visible.tenant(),
            ":request_id": filter.request_id, ":actor": filter.actor, ":method": filter.method, ":route": filter.route,
            ":status_min": status.first, ":status_max": status.last,
        };
        search::page(db, index, page.limit, ENTRIES_SCANNED_MAX, parameters, listed)
    }
}

fn listed(row: &Row<'_>) -> Result<ListedRequest, rusqlite::Error> {
    let micros: i64 = row.get(1)?;
    Ok(ListedRequest {
        id: row.get(0)?,
        answered_at: DateTime::from_timestamp_micros(micros).unwrap_or_default(),
        latency_us: row.get(2)?,
        request_id: row.get(3)?,
        method: row.get(4)?,
        route: row.get(5)?,
        status: row.get(6)?,
        code: row.get(7)?,
        actor: row.get(8)?,
        tenant_id: row.get(9)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::file::TABLE;

    /// The steps of SQLite's plan for a statement.
    fn plan(sql: &str) -> Vec<String> {
        let db = Connection::open_in_memory().expect("a database");
        db.execute_batch(TABLE).expect("the table");
        let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("a statement");
        let mut rows = plan.raw_query();
        let mut steps = Vec::new();
        while let Some(row) = rows.next().expect("a step") {
            steps.push(row.get(3).expect("its text"));
        }
        steps
    }

    #[test]
    fn an_index_bounds_the_search_for_a_request_or_a_tenant() {
        for (index, bound) in [
            (BY_REQUEST, "requests_by_request (request_id=? AND rowid>? AND rowid<?)"),
            (BY_TENANT, "requests_by_tenant (tenant_id=? AND rowid>? AND rowid<?)"),
            (BY_ID, "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ] {
            for sql in [index.rows, index.end] {
                let steps = plan(sql);
                assert!(steps.iter().any(|step| step.contains(bound)), "{steps:?}");
                assert!(steps.len() == 3 && steps[0].starts_with("CO-ROUTINE"), "nothing is sorted or kept: {steps:?}");
            }
        }
    }

    #[test]
    fn a_status_is_one_or_a_class() {
        let range = |first, last| Some(StatusRange { first, last });
        for (text, wanted) in [("503", range(503, 503)), ("5xx", range(500, 599)), ("200", range(200, 200))] {
            assert_eq!(StatusRange::parse(text), wanted, "{text}");
        }
        for wrong in ["", "50", "5x", "xx", "50x", "099", "600", "6xx", "0xx", "5xxx", "+50", "2000", "é0"] {
            assert_eq!(StatusRange::parse(wrong), None, "{wrong}");
        }
    }
}
