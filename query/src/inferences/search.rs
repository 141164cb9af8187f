//! Searching the view: by the index that bounds it best, and never further than so many rows, however few of them count.

use projections::views::ViewsError;
use rusqlite::{Connection, Row, named_params};

use super::Filter;
use crate::edge::edge;
use crate::since::Instants;
use projections::views::SearchResult;
use projections::visible::{Narrowest, Visible};

/// Rows that one page looks at: a tenth of a second where all of them are read from the disk's cache.
pub const LOOKED_AT_MAX: i64 = 100_000;
pub const INSTANTS: Instants = Instants { next: include_str!("next.sql"), last: include_str!("last.sql") };

/// The statements that read by one index. What they look at comes in its order, a row at a time, until enough of it counts:
/// asked to order it once more, SQLite would look at all of it first.
#[derive(Clone, Copy)]
struct Index {
    /// Rows that count, of a list.
    listed: &'static str,
    /// The same, of those that are counted one by one.
    counted: &'static str,
    /// Where the search ended, and how many rows it went over.
    edge: &'static str,
}

/// One for each index; all of them end the same.
macro_rules! index {
    ($name:literal) => {
        Index {
            listed: concat!(include_str!("select.sql"), include_str!($name), include_str!("page.sql")),
            counted: concat!(include_str!("../usage/tagged.sql"), include_str!($name), include_str!("page.sql")),
            edge: concat!(include_str!("../edge/select.sql"), include_str!($name)),
        }
    };
}

const BY_TENANT: Index = index!("by_tenant.sql");
const BY_PARTNER: Index = index!("by_partner.sql");
const BY_POSITION: Index = index!("by_position.sql");
const BY_KEY: Index = index!("by_key.sql");
const BY_STATUS: Index = index!("by_status.sql");
/// Those that an index of their own finds.
const NOT_COMPLETED: [&str; 3] = ["failed", "aborted", "refused"];

/// What is read of a row.
#[derive(Clone, Copy)]
pub enum Columns {
    /// Of `select.sql`.
    Listed,
    /// Of `usage/tagged.sql`.
    Counted,
}

/// What is read of a row, and how.
pub struct Reading<T> {
    pub columns: Columns,
    pub read: fn(&Row<'_>) -> Result<T, rusqlite::Error>,
}

/// The newest `rows` requests that count, of those that are looked at.
pub fn look<T>(
    db: &Connection,
    visible: Visible,
    filter: &Filter,
    rows: i64,
    reading: &Reading<T>,
) -> Result<SearchResult<T>, ViewsError> {
    let index = narrowest(visible, filter);
    let first = filter.from.map(|from| INSTANTS.first_since(db, &from)).transpose()?.unwrap_or(0);
    let end = filter.to.map(|to| INSTANTS.first_since(db, &to)).transpose()?.unwrap_or(i64::MAX);
    let before = filter.cut.before.min(end);
    let mut statement = db.prepare_cached(match reading.columns {
        Columns::Listed => index.listed,
        Columns::Counted => index.counted,
    })?;
    let parameters = named_params! {
        ":first": first, ":before": before, ":looked_at": LOOKED_AT_MAX, ":rows": rows,
        ":visible_partner": visible.partner(), ":visible_tenant": visible.tenant(),
        ":partner": filter.partner, ":tenant": filter.tenant,
        ":user": filter.user, ":key": filter.key, ":model": filter.model, ":provider": filter.provider,
        ":backend": filter.backend, ":status": filter.status,
    };
    let found: Vec<T> = statement.query_map(parameters, reading.read)?.collect::<Result<_, _>>()?;
    if i64::try_from(found.len()).is_ok_and(|found| found >= rows) {
        return Ok(SearchResult { rows: found, until: None });
    }
    let until = edge(db, index.edge, LOOKED_AT_MAX, parameters)?;
    Ok(SearchResult { rows: found, until })
}

/// The index by which the fewest rows that do not count are looked at.
fn narrowest(visible: Visible, filter: &Filter) -> Index {
    let is_rare = filter.status.as_deref().is_some_and(|status| NOT_COMPLETED.contains(&status));
    match visible.narrowest(filter.partner.is_some(), filter.tenant.is_some(), filter.key.is_some()) {
        Narrowest::Key => BY_KEY,
        Narrowest::Tenant => BY_TENANT,
        Narrowest::Partner => BY_PARTNER,
        Narrowest::Everything if is_rare => BY_STATUS,
        Narrowest::Everything => BY_POSITION,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::Cut;
    use crate::tests::plan;

    const SCHEMA: &str = include_str!("../../../migrations/sqlite/views/0004_inferences.sql");

    #[test]
    fn every_list_is_bound_by_its_index_and_none_sorts() {
        for (index, bound) in [
            (BY_TENANT, "inferences_by_tenant (tenant_id=? AND position>? AND position<?)"),
            (BY_PARTNER, "inferences_by_partner (partner_id=? AND position>? AND position<?)"),
            (BY_KEY, "inferences_by_key (key_id=? AND position>? AND position<?)"),
            (BY_STATUS, "inferences_not_completed (status=? AND position>? AND position<?)"),
            (BY_POSITION, "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ] {
            for sql in [index.listed, index.counted, index.edge] {
                let steps = plan::of(SCHEMA, sql);
                assert!(steps.iter().any(|step| step.contains(bound)), "{steps:?}");
                assert!(steps.len() == 3 && steps[0].starts_with("CO-ROUTINE"), "nothing is sorted or kept: {steps:?}");
            }
        }
    }

    const POSITIONS: Reading<u64> = Reading { columns: Columns::Listed, read: |row| row.get(0) };

    /// So many requests of one model, and a single one of another at the beginning.
    fn many() -> Connection {
        let db = Connection::open_in_memory().expect("a database");
        db.execute_batch(SCHEMA).expect("the schema");
        let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250000)
                    INSERT INTO inferences (position, request_id, recorded_at, status, model, cost_nanos, tenant_id)
                    SELECT 4 * i, i, i, 'completed', iif(i = 1, 'rare', 'usual'), 0, 't' FROM n";
        db.execute_batch(rows).expect("rows");
        db
    }

    #[test]
    fn a_page_looks_at_so_many_rows_and_the_next_goes_on_behind_them() {
        let db = many();
        let cut = |before| Cut { list: "inferences", before, limit: 10 };
        let filter = |before| Filter { model: Some("rare".to_owned()), ..Filter::all(cut(before)) };
        let tenant = Filter { tenant: Some("t".to_owned()), ..filter(i64::MAX) };
        for filter in [filter(i64::MAX), tenant] {
            let (mut before, mut pages, mut found) = (i64::MAX, 0, Vec::new());
            loop {
                let filter = Filter { cut: cut(before), ..filter.clone() };
                let looked = look(&db, Visible::Platform, &filter, 11, &POSITIONS).expect("a page");
                (pages, found) = (pages + 1, [found, looked.rows].concat());
                let Some(until) = looked.until else { break };
                before = i64::try_from(until).expect("a position");
            }
            assert_eq!((pages, found), (3, vec![4]));
        }
        let usual = look(&db, Visible::Platform, &Filter::all(cut(i64::MAX)), 11, &POSITIONS);
        let usual = usual.expect("a page");
        assert!(usual.rows.iter().rev().is_sorted() && usual.until.is_none(), "newest first: {:?}", usual.rows);
        assert_eq!(usual.rows.len(), 11);
    }

    #[test]
    fn a_time_is_found_by_its_position() {
        let db = Connection::open_in_memory().expect("a database");
        db.execute_batch(SCHEMA).expect("the schema");
        // Two at one instant, and positions that have no row.
        for (position, recorded_at) in [(3, 10), (7, 20), (8, 20), (30, 40)] {
            let columns = "(position, request_id, recorded_at, status, model, cost_nanos)";
            let row =
                format!("INSERT INTO inferences {columns} VALUES ({position}, {position}, {recorded_at}, '', '', 0)");
            db.execute_batch(&row).expect("a row");
        }
        let rows_before = |micros: i64| {
            let first = INSTANTS.first_since(&db, &micros).expect("a position");
            let sql = "SELECT count(*) FROM inferences WHERE position < ?1";
            db.query_row(sql, [first], |row| row.get::<_, u32>(0)).expect("a number")
        };
        let found: Vec<u32> = [0, 10, 11, 20, 21, 40, 41].map(rows_before).to_vec();
        assert_eq!(found, [0, 0, 1, 1, 3, 3, 4]);
    }
}
