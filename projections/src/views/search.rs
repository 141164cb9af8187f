//! Searches in the order of positions. Recorded time never goes back along positions, so a binary search over positions
//! finds an instant. A search scans a bounded number of rows of an index, however few of them match; the next page goes on
//! from there.

use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension, ToSql};

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

/// The last position scanned, if the search stopped before the end of the list. `parameters` are those of the search; the
/// ones that the statement does not have are skipped.
pub fn end_of_search(
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
