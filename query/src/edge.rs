//! Where a search ended that looks at so many rows of an index and no more.

use projections::views::ViewsError;
use rusqlite::{Connection, ToSql};

/// The last position that was looked at, where the search ended before the list did. `parameters`: those of the search; what
/// the statement of the edge does not ask for is left out.
pub fn edge(
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
