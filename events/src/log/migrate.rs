//! Brings `ledger.db` to this version: forward only, one change a file, safe to apply twice.

use rusqlite::Connection;

const MIGRATIONS: &[(i64, &str)] = &[
    (1, include_str!("../../../migrations/sqlite/ledger/0001_log.sql")),
    (2, include_str!("../../../migrations/sqlite/ledger/0002_balances.sql")),
    (3, include_str!("../../../migrations/sqlite/ledger/0003_side_tables.sql")),
    (4, include_str!("../../../migrations/sqlite/ledger/0004_owner_blocks.sql")),
    (5, include_str!("../../../migrations/sqlite/ledger/0005_last_of_type.sql")),
];

/// The version that this program writes.
pub(super) const NEWEST: i64 = 5;

/// Applies what is missing; the version it had before.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<i64> {
    let had: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    for (version, sql) in MIGRATIONS.iter().filter(|(version, _)| *version > had) {
        let change = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        change.execute_batch(sql)?;
        change.pragma_update(None, "user_version", version)?;
        change.commit()?;
    }
    Ok(had)
}
