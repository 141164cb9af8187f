//! Times as positions: recorded time never goes back along positions, so that an instant is found among rows that are
//! ordered by position in as many steps as the last position has bits.

use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension};

/// The statements of one table.
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
