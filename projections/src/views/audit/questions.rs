//! Questions about the audit: a list of its entries.

use events::time::{parse_rfc3339, rfc3339};
use rusqlite::{Connection, Row, named_params};

use super::entry::AuditEntry;
use super::filter::AuditFilter;
use super::projector::{Category, Severity};
use crate::views::search::{self, Index, TimeSearch, index};
use crate::views::{PageBounds, Question, SearchResult, View, ViewsError};
use crate::visible::Visible;

/// A page of entries, newest first. It is shorter if too many entries had to be scanned for those that match.
pub struct AuditList {
    pub visible: Visible,
    pub filter: AuditFilter,
    pub page: PageBounds,
}

/// Entries that one page scans at most.
const ROWS_SCANNED_MAX: i64 = 50_000;
const TIME_SEARCH: TimeSearch = TimeSearch { next: include_str!("next.sql"), last: include_str!("last.sql") };

const BY_RESOURCE: Index = index!("select.sql", "by_resource.sql");
const BY_TENANT: Index = index!("select.sql", "by_tenant.sql");
const BY_POSITION: Index = index!("select.sql", "by_position.sql");

impl Question for AuditList {
    type Answer = SearchResult<AuditEntry>;
    const VIEWS: &'static [View] = &[View::Audit];

    fn answer(self, db: &Connection) -> Result<SearchResult<AuditEntry>, ViewsError> {
        let Self { visible, filter, page } = self;
        let index = match (&filter.resource_id, visible) {
            (Some(_), _) => BY_RESOURCE,
            (None, Visible::Tenant(_)) => BY_TENANT,
            (None, Visible::Partner(_) | Visible::Platform) => BY_POSITION,
        };
        let (first, end) = TIME_SEARCH.range(db, filter.from.map(rfc3339), filter.to.map(rfc3339))?;
        let parameters = named_params! {
            ":first": first, ":before": page.before.min(end), ":scan_max": ROWS_SCANNED_MAX, ":rows": page.rows(),
            ":visible_partner": visible.partner(), ":visible_tenant": visible.tenant(),
            ":actor": filter.actor, ":action": filter.action, ":resource": filter.resource,
            ":resource_id": filter.resource_id, ":categories": filter.categories.as_deref().map(listed), ":severity": filter.severity.map(Severity::as_str),
            ":q": filter.text.map(|text| text.to_ascii_lowercase()),
        };
        search::page(db, index, page.limit, ROWS_SCANNED_MAX, parameters, entry)
    }
}

/// `,access,money,`: a word between two commas is in the list.
fn listed(categories: &[Category]) -> String {
    categories.iter().fold(",".to_owned(), |list, category| list + category.as_str() + ",")
}

fn entry(row: &Row<'_>) -> Result<AuditEntry, ViewsError> {
    let changes: String = row.get(9)?;
    let request: Option<String> = row.get(8)?;
    let recorded_at: String = row.get(1)?;
    Ok(AuditEntry {
        position: row.get(0)?,
        recorded_at: parse_rfc3339(&recorded_at).ok_or(ViewsError::StoredTime)?,
        actor: row.get(2)?,
        action: row.get(3)?,
        resource: row.get(4)?,
        category: row.get(5)?,
        severity: row.get(6)?,
        outcome: row.get(7)?,
        request_id: request.and_then(|id| id.parse().ok()),
        changes: serde_json::from_str(&changes)?,
        partner_id: row.get(10)?,
        tenant_id: row.get(11)?,
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
    fn entries_are_of_the_categories_that_are_asked_for() {
        let db = Connection::open_in_memory().expect("a database");
        db.execute_batch(SCHEMA).expect("the schema");
        for (position, category) in (1..).zip(Category::ALL) {
            let row = "INSERT INTO rows_audit (position, recorded_at, actor, action, resource, resource_id, category, severity, outcome, changes)
                       VALUES (?1, '2026-11-20T08:15:30.123456Z', 'a', 'b', 'key/k', 'k', ?2, 'info', 'success', '{}')";
            db.execute(row, (position, category.as_str())).expect("an entry");
        }
        let found = |categories: Option<&[Category]>| {
            let filter = AuditFilter { categories: categories.map(<[Category]>::to_vec), ..AuditFilter::default() };
            let page = PageBounds { before: i64::MAX, limit: 10 };
            let list = AuditList { visible: Visible::Platform, filter, page }.answer(&db).expect("a page");
            list.rows.into_iter().rev().map(|entry| entry.category).collect::<Vec<_>>()
        };
        for one in Category::ALL {
            assert_eq!(found(Some(&[*one])), [one.as_str()]);
        }
        assert_eq!(found(Some(&[Category::Reads, Category::Access])), ["access", "reads"]);
        assert_eq!(found(None), Category::words().collect::<Vec<_>>());
    }

    #[test]
    fn rare_text_is_found_by_bounded_scans() {
        let db = Connection::open_in_memory().expect("a database");
        db.execute_batch(SCHEMA).expect("the schema");
        db.execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000)
             INSERT INTO rows_audit (position, recorded_at, actor, action, resource, resource_id, category, severity, outcome, changes)
             SELECT i, strftime('%Y-%m-%dT%H:%M:%S.000000Z', i, 'unixepoch'), iif(i = 5, 'Rare', 'usual'), 'a', 'key/k', 'k', 'administration', 'info', 'success', '{}' FROM n",
        )
        .expect("entries");
        let at = |second: i64| chrono::DateTime::from_timestamp(second, 0).expect("a time");
        let rare = |before, from: Option<i64>| {
            let filter = AuditFilter { from: from.map(at), text: Some("rarE".to_owned()), ..AuditFilter::default() };
            let list = AuditList { visible: Visible::Platform, filter, page: PageBounds { before, limit: 10 } };
            list.answer(&db).expect("a page")
        };
        let (mut before, mut ends) = (i64::MAX, Vec::new());
        let matches = loop {
            let matches = rare(before, None);
            let Some(until) = matches.until else { break matches.rows };
            before = i64::try_from(until).expect("a position");
            ends.push(until);
        };
        assert_eq!((ends, matches.len()), (vec![70_001, 20_001], 1));
        let recent = rare(i64::MAX, Some(110_000));
        assert_eq!((recent.rows.len(), recent.until), (0, None), "a time bounds the search");
    }
}
