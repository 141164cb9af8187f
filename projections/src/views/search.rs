//! Searches in the order of positions. Recorded time never goes back along positions, so a binary search over positions
//! finds an instant. A search scans a bounded number of rows of an index, however few of them match; the next page goes on
//! from there.

use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension, Row, ToSql};

use super::ViewsError;

/// The rows that match, and where the search stopped if it did not reach the end of the list.
#[derive(Debug)]
pub struct SearchResult<T> {
    /// The page, and one row more if there is another page.
    pub rows: Vec<T>,
    /// The last position scanned; `None` if the page is full or the list ended.
    pub until: Option<u64>,
}

/// The statements that search one table by time.
#[derive(Clone, Copy)]
pub struct TimeSearch {
    /// Position and time of the first row at or after a position.
    pub next: &'static str,
    /// The last position; 0 in an empty table.
    pub last: &'static str,
}

impl TimeSearch {
    /// The positions that were recorded from one time on and before another: the first, and the end.
    pub fn range<T: FromSql + PartialOrd>(
        self,
        db: &Connection,
        from: Option<T>,
        to: Option<T>,
    ) -> Result<(i64, i64), rusqlite::Error> {
        let position = |instant: Option<T>, open| instant.map_or(Ok(open), |at| self.first_position_since(db, &at));
        Ok((position(from, 0)?, position(to, i64::MAX)?))
    }

    /// The first position that was recorded at `instant` or later.
    pub fn first_position_since<T: FromSql + PartialOrd>(
        self,
        db: &Connection,
        instant: &T,
    ) -> Result<i64, rusqlite::Error> {
        let mut next = db.prepare_cached(self.next)?;
        let last: i64 = db.prepare_cached(self.last)?.query_row([], |row| row.get(0))?;
        let (mut low, mut high) = (0, last + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let row = next.query_row([middle], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, T>(1)?))).optional()?;
            match row {
                Some((position, recorded_at)) if recorded_at < *instant => low = position + 1,
                Some(_) | None => high = middle,
            }
        }
        Ok(low)
    }
}

/// The two statements that read by one index. Rows come in its order, one at a time, until enough of them match. With a
/// second ORDER BY, SQLite would scan all of them first.
#[derive(Clone, Copy)]
pub struct Index {
    /// Selects the rows that match.
    pub rows: &'static str,
    /// Selects the last position scanned and the number of rows scanned.
    pub end: &'static str,
}

/// The statements of one index of a view, from the folder of the view; they differ only in their middle part.
macro_rules! index {
    ($columns:literal, $name:literal) => {
        $crate::views::search::Index {
            rows: concat!(include_str!($columns), include_str!($name), include_str!("page.sql")),
            end: concat!(include_str!("../search/end.sql"), include_str!($name)),
        }
    };
}
pub(super) use index;

/// Reads a page: its rows, and where the search stopped. `parameters` are those of both statements.
pub fn page<T, E: From<rusqlite::Error>>(
    db: &Connection,
    index: Index,
    limit: usize,
    scan_max: i64,
    parameters: &[(&str, &dyn ToSql)],
    read: impl Fn(&Row<'_>) -> Result<T, E>,
) -> Result<SearchResult<T>, ViewsError>
where
    ViewsError: From<E>,
{
    let mut statement = db.prepare_cached(index.rows)?;
    let rows = statement.query_and_then(parameters, read)?.collect::<Result<Vec<T>, E>>()?;
    let is_full = rows.len() > limit;
    let until = if is_full { None } else { end_of_search(db, index.end, scan_max, parameters)? };
    Ok(SearchResult { rows, until })
}

/// The last position scanned, if the search stopped before the end of the list. `parameters` are those of the search; the
/// ones that the statement does not have are skipped.
fn end_of_search(
    db: &Connection,
    sql: &str,
    rows_scanned_max: i64,
    parameters: &[(&str, &dyn ToSql)],
) -> Result<Option<u64>, ViewsError> {
    let mut statement = db.prepare_cached(sql)?;
    for (name, value) in parameters {
        if let Some(index) = statement.parameter_index(name)? {
            statement.raw_bind_parameter(index, value)?;
        }
    }
    let mut rows = statement.raw_query();
    let Some(row) = rows.next()? else { return Ok(None) };
    let (position, scanned): (Option<u64>, i64) = (row.get(0)?, row.get(1)?);
    Ok(position.filter(|_| scanned >= rows_scanned_max))
}
