//! Searching rows in the order of their positions. Recorded time never goes back along positions, so that an instant is
//! found in as many steps as the last position has bits; and a search looks at so many rows of an index and no more, however
//! few of them count: what is left is for the next page.

use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension, ToSql};

use super::ViewsError;

/// Rows that were found, and where the search ended if that was not at the list's end.
#[derive(Debug)]
pub struct SearchResult<T> {
    /// The page, and one more where there is another.
    pub rows: Vec<T>,
    pub until: Option<u64>,
}

/// The statements that find instants in one table.
#[derive(Clone, Copy)]
pub struct Instants {
    /// Position and time of the first row from a position on.
    pub next: &'static str,
    /// The last position; 0 for an empty table.
    pub last: &'static str,
}

impl Instants {
    /// The position from which on everything was recorded at `instant` or later, and nothing before it.
    pub fn first_since<T: FromSql + PartialOrd>(self, db: &Connection, instant: &T) -> Result<i64, rusqlite::Error> {
        let mut next = db.prepare_cached(self.next)?;
        let last: i64 = db.prepare_cached(self.last)?.query_row([], |row| row.get(0))?;
        let (mut low, mut high) = (0, last + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let found = next.query_row([middle], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, T>(1)?))).optional()?;
            match found {
                Some((position, recorded_at)) if recorded_at < *instant => low = position + 1,
                Some(_) | None => high = middle,
            }
        }
        Ok(low)
    }
}

/// The last position that was looked at, where the search ended before the list did. `parameters`: those of the search; what
/// the statement does not ask for is left out.
pub fn end_of_search(
    db: &Connection,
    sql: &str,
    looked_at_max: i64,
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
    let (position, went_over): (Option<u64>, i64) = (row.get(0)?, row.get(1)?);
    Ok(position.filter(|_| went_over >= looked_at_max))
}
