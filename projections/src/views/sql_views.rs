//! The SQL views of `views.db`, by which analysts read its tables: they have stable names and plain types (docs/sql.md), and the
//! tables may change with any version. They are part of the file, so that any SQLite can use them, and have no rows of their own:
//! a rebuild or a swap of rows needs nothing of them. A file of another version gets those of this one when it is opened.
//!
//! Nothing reads them but analysts and `verify`. No decision and no query of a client waits for them, and no person's name is in
//! them.

use std::collections::BTreeSet;

use rusqlite::Connection;

const SQL: &str = include_str!("../../../migrations/sqlite/views/0007_analysts.sql");
const FIND: &str = "SELECT name, sql FROM sqlite_master WHERE type = 'view'";

/// The name of a view, and the statement that makes it.
type SqlView = (String, String);

pub(super) fn create(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.execute_batch(SQL)
}

/// Makes the views those of this version. Those that somebody else has made stay.
pub(super) fn update(connection: &mut Connection) -> Result<(), rusqlite::Error> {
    let ours = of_this_version()?;
    if ours.is_subset(&found(connection)?) {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    // The names are our own, so they may be formatted into SQL.
    ours.iter().try_for_each(|(name, _)| transaction.execute_batch(&format!("DROP VIEW IF EXISTS {name}")))?;
    create(&transaction)?;
    transaction.commit()
}

/// Whether the file has the views of this version.
pub(super) fn are_current(connection: &Connection) -> Result<bool, rusqlite::Error> {
    Ok(of_this_version()?.is_subset(&found(connection)?))
}

fn of_this_version() -> Result<BTreeSet<SqlView>, rusqlite::Error> {
    let empty = Connection::open_in_memory()?;
    create(&empty)?;
    found(&empty)
}

fn found(connection: &Connection) -> Result<BTreeSet<SqlView>, rusqlite::Error> {
    connection.prepare(FIND)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}
