//! The search for requests. It reads by the most selective index and scans a bounded number of rows, however few match.

use chrono::{DateTime, Utc};
use events::event::inference::Payer;
use events::ids::RequestId;
use rusqlite::{Connection, Row, named_params};

use super::projector::Status;
use crate::views::request_filter::{Narrowest, RequestFilter};
use crate::views::search::{self, Index, TimeSearch, index};
use crate::views::{PageBounds, SearchResult, ViewsError};
use crate::visible::Visible;

/// Rows that one page scans at most: a tenth of a second if all of them are in the disk cache.
pub const ROWS_SCANNED_MAX: i64 = 100_000;
pub const TIME_SEARCH: TimeSearch = TimeSearch { next: include_str!("next.sql"), last: include_str!("last.sql") };

/// The statements that read by one index.
#[derive(Clone, Copy)]
pub struct SearchIndexes {
    /// For a list.
    pub listed: Index,
    /// For counting usage.
    pub counted: Index,
}

/// The statements of one index.
macro_rules! indexes {
    ($name:literal) => {
        SearchIndexes { listed: index!("select.sql", $name), counted: index!("counted.sql", $name) }
    };
}

const BY_TENANT: SearchIndexes = indexes!("by_tenant.sql");
const BY_PARTNER: SearchIndexes = indexes!("by_partner.sql");
const BY_POSITION: SearchIndexes = indexes!("by_position.sql");
const BY_KEY: SearchIndexes = indexes!("by_key.sql");
const BY_STATUS: SearchIndexes = indexes!("by_status.sql");
const BY_ORIGINAL: SearchIndexes = indexes!("by_original.sql");

/// The filter of requests.
#[derive(Clone, Debug, Default)]
pub struct InferenceFilter {
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
    pub requests: RequestFilter,
    /// `None` matches every status.
    pub status: Option<Status>,
    /// Only the copies of this request.
    pub shadow_of: Option<RequestId>,
}

/// Selects the statements of an index, and reads their rows.
type Reading<T> = (fn(SearchIndexes) -> Index, fn(&Row<'_>) -> Result<T, rusqlite::Error>);

/// A page of the matching requests, newest first.
pub fn search<T>(
    db: &Connection,
    visible: Visible,
    filter: &InferenceFilter,
    page: PageBounds,
    (index, read): Reading<T>,
) -> Result<SearchResult<T>, ViewsError> {
    let micros = |at: Option<DateTime<Utc>>| at.map(|at| at.timestamp_micros());
    let (first, end) = TIME_SEARCH.range(db, micros(filter.from), micros(filter.to))?;
    let requests = &filter.requests;
    let parameters = named_params! {
        ":first": first, ":before": page.before.min(end), ":scan_max": ROWS_SCANNED_MAX, ":rows": page.rows(),
        ":visible_partner": visible.partner(), ":visible_tenant": visible.tenant(),
        ":partner": requests.partner.map(|id| id.to_string()), ":tenant": requests.tenant.map(|id| id.to_string()),
        ":user": requests.user.map(|id| id.to_string()), ":key": requests.key.map(|id| id.to_string()),
        ":model": requests.model, ":provider": requests.provider, ":backend": requests.backend,
        ":payer": requests.payer.map(Payer::as_str),
        ":status": filter.status.map(Status::as_str),
        ":shadow_of": filter.shadow_of.map(|id| id.to_string()),
    };
    let index = index(narrowest(visible, filter));
    search::page(db, index, page.limit, ROWS_SCANNED_MAX, parameters, read)
}

/// The index by which the fewest rows that do not match are scanned.
fn narrowest(visible: Visible, filter: &InferenceFilter) -> SearchIndexes {
    let is_rare = matches!(filter.status, Some(Status::Failed | Status::Aborted | Status::Refused));
    match filter.requests.narrowest(visible) {
        // A request has few copies.
        _ if filter.shadow_of.is_some() => BY_ORIGINAL,
        Narrowest::Key => BY_KEY,
        Narrowest::Tenant => BY_TENANT,
        Narrowest::Partner => BY_PARTNER,
        Narrowest::Everything if is_rare => BY_STATUS,
        Narrowest::Everything => BY_POSITION,
    }
}

#[cfg(test)]
mod tests {
    use events::ids::TenantId;
    use uuid::Uuid;

    use super::*;
    use crate::views::tests::plan;

    const SCHEMA: &str = include_str!("../../../../migrations/sqlite/views/0004_inferences.sql");

    #[test]
    fn every_list_is_bound_by_its_index_and_none_sorts() {
        for (index, bound) in [
            (BY_TENANT, "inferences_by_tenant (tenant_id=? AND position>? AND position<?)"),
            (BY_PARTNER, "inferences_by_partner (partner_id=? AND position>? AND position<?)"),
            (BY_KEY, "inferences_by_key (key_id=? AND position>? AND position<?)"),
            (BY_STATUS, "inferences_not_completed (status=? AND position>? AND position<?)"),
            (BY_ORIGINAL, "inferences_by_original (shadow_of=? AND position>? AND position<?)"),
            (BY_POSITION, "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ] {
            for sql in [index.listed.rows, index.counted.rows, index.listed.end, index.counted.end] {
                let steps = plan::of(SCHEMA, sql);
                assert!(steps.iter().any(|step| step.contains(bound)), "{steps:?}");
                assert!(steps.len() == 3 && steps[0].starts_with("CO-ROUTINE"), "nothing is sorted or kept: {steps:?}");
            }
        }
    }

    const POSITIONS: Reading<u64> = (|index| index.listed, |row| row.get(0));

    fn tenant() -> TenantId {
        TenantId::from(Uuid::from_u128(1))
    }

    /// Many requests of one model, and one of another model at the beginning.
    fn many() -> Connection {
        let db = Connection::open_in_memory().expect("a database");
        db.execute_batch(SCHEMA).expect("the schema");
        let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250000)
                    INSERT INTO rows_inferences (position, request_id, recorded_at, status, model, cost_nanos, tenant_id)
                    SELECT 4 * i, i, i, 'completed', iif(i = 1, 'rare', 'usual'), 0, ?1 FROM n";
        db.execute(rows, [tenant().to_string()]).expect("rows");
        db
    }

    #[test]
    fn a_page_scans_a_bounded_number_of_rows_and_the_next_goes_on_after_them() {
        let db = many();
        let page = |before| PageBounds { before, limit: 10 };
        let search_page = |filter: &InferenceFilter, before| {
            search(&db, Visible::Platform, filter, page(before), POSITIONS).expect("a page")
        };
        let of = |tenant| RequestFilter { tenant, model: Some("rare".to_owned()), ..RequestFilter::default() };
        for tenant in [None, Some(tenant())] {
            let filter = InferenceFilter { requests: of(tenant), ..InferenceFilter::default() };
            let (mut before, mut pages, mut found) = (i64::MAX, 0, Vec::new());
            loop {
                let result = search_page(&filter, before);
                (pages, found) = (pages + 1, [found, result.rows].concat());
                let Some(until) = result.until else { break };
                before = i64::try_from(until).expect("a position");
            }
            assert_eq!((pages, found), (3, vec![4]));
        }
        let usual = search_page(&InferenceFilter::default(), i64::MAX);
        assert!(usual.rows.iter().rev().is_sorted() && usual.until.is_none(), "newest first: {:?}", usual.rows);
        assert_eq!(usual.rows.len(), 11);
    }

    #[test]
    fn a_full_page_and_a_scan_that_reached_its_bound_are_distinguished() {
        let db = many();
        let found = |model: &str, limit| {
            let requests = RequestFilter { model: Some(model.to_owned()), ..RequestFilter::default() };
            let (page, filter) =
                (PageBounds { before: i64::MAX, limit }, InferenceFilter { requests, ..InferenceFilter::default() });
            let found = search(&db, Visible::Platform, &filter, page, POSITIONS).expect("a page");
            (found.rows.len(), found.until.is_some())
        };
        let most = usize::try_from(ROWS_SCANNED_MAX).expect("a number");
        for (limit, wanted) in [(most - 2, (most - 1, false)), (most, (most, true))] {
            assert_eq!(found("usual", limit), wanted, "{limit}");
        }
        assert_eq!(found("rare", 5), (0, true));
        db.execute_batch("DELETE FROM rows_inferences WHERE position > 4 * 99999").expect("gone");
        assert_eq!((found("rare", 5), found("usual", most)), ((1, false), (most - 2, false)));
    }

    #[test]
    fn a_time_is_found_by_its_position() {
        let db = Connection::open_in_memory().expect("a database");
        db.execute_batch(SCHEMA).expect("the schema");
        // Two rows at one instant, and positions without a row.
        for (position, recorded_at) in [(3, 10), (7, 20), (8, 20), (30, 40)] {
            let columns = "(position, request_id, recorded_at, status, model, cost_nanos)";
            let row = format!(
                "INSERT INTO rows_inferences {columns} VALUES ({position}, {position}, {recorded_at}, '', '', 0)"
            );
            db.execute_batch(&row).expect("a row");
        }
        let rows_before = |micros: i64| {
            let first = TIME_SEARCH.first_position_since(&db, &micros).expect("a position");
            let sql = "SELECT count(*) FROM rows_inferences WHERE position < ?1";
            db.query_row(sql, [first], |row| row.get::<_, u32>(0)).expect("a number")
        };
        let found: Vec<u32> = [0, 10, 11, 20, 21, 40, 41].map(rows_before).to_vec();
        assert_eq!(found, [0, 0, 1, 1, 3, 3, 4]);
    }
}
