//! Brings `ledger.db` to this version: forward only, one change a file, each in one transaction with its number.

use rusqlite::Connection;

const MIGRATIONS: &[(i64, &str)] = &[
    (1, include_str!("../../../migrations/sqlite/ledger/0001_log.sql")),
    (2, include_str!("../../../migrations/sqlite/ledger/0002_balances.sql")),
    (3, include_str!("../../../migrations/sqlite/ledger/0003_side_tables.sql")),
    (4, include_str!("../../../migrations/sqlite/ledger/0004_owner_blocks.sql")),
    (5, include_str!("../../../migrations/sqlite/ledger/0005_last_of_type.sql")),
    (6, include_str!("../../../migrations/sqlite/ledger/0006_alerts.sql")),
];

/// The version that this program writes.
pub(super) const NEWEST: i64 = 6;

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

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds: bin.migrate
    #[test]
    fn an_older_ledger_is_brought_to_this_version_with_all_that_it_has() {
        let mut ledger = Connection::open_in_memory().expect("a database");
        for (version, sql) in MIGRATIONS.iter().filter(|(version, _)| *version < 5) {
            ledger.execute_batch(sql).expect("a migration");
            ledger.pragma_update(None, "user_version", version).expect("its version");
        }
        let event = "INSERT INTO events VALUES (?1, ?1, ?2, 'x', ?1, 'x.changed', '1', '{}', '{}')";
        for (position, kind) in [(1, "model"), (2, "hold"), (3, "budget")] {
            ledger.execute(event, (position, kind)).expect("an event");
        }
        assert_eq!(migrate(&mut ledger).expect("migrated"), 4);
        let found: i64 = ledger
            .query_row(
                "SELECT sum(position) FROM events INDEXED BY events_by_type_of_stream
                 WHERE aggregate_type <> 'inference' AND aggregate_type <> 'hold' AND aggregate_type <> 'access'
                   AND aggregate_type <> 'alert'",
                [],
                |row| row.get(0),
            )
            .expect("the new index");
        assert_eq!(found, 4);
        assert_eq!(migrate(&mut ledger).expect("nothing to do"), NEWEST);
    }
}
