//! Migrations of `ledger.db`: forward only, one change per file, each in one transaction with its version number.

use std::cmp::Ordering;

use rusqlite::Connection;

use crate::OtherSchema;

const MIGRATIONS: &[(i64, &str)] = &[
    (1, include_str!("../../../../migrations/sqlite/ledger/0001_log.sql")),
    (2, include_str!("../../../../migrations/sqlite/ledger/0002_balances.sql")),
    (3, include_str!("../../../../migrations/sqlite/ledger/0003_side_tables.sql")),
    (4, include_str!("../../../../migrations/sqlite/ledger/0004_owner_blocks.sql")),
    // 5 created an index that 6 creates differently. Creating it first would only read the whole log once more.
    (6, include_str!("../../../../migrations/sqlite/ledger/0006_alerts.sql")),
    (7, include_str!("../../../../migrations/sqlite/ledger/0007_inference_keys.sql")),
    (8, include_str!("../../../../migrations/sqlite/ledger/0008_no_tenant_column.sql")),
    (9, include_str!("../../../../migrations/sqlite/ledger/0009_contexts.sql")),
    (10, include_str!("../../../../migrations/sqlite/ledger/0010_revaluation.sql")),
    (11, include_str!("../../../../migrations/sqlite/ledger/0011_tenant_keys.sql")),
    (12, include_str!("../../../../migrations/sqlite/ledger/0012_sums_beyond_64_bits.sql")),
    (13, include_str!("../../../../migrations/sqlite/ledger/0013_erasable_rows.sql")),
    (14, include_str!("../../../../migrations/sqlite/ledger/0014_key_macs.sql")),
    (15, include_str!("../../../../migrations/sqlite/ledger/0015_keyed_fingerprints.sql")),
];

/// The schema version of this program.
const NEWEST: i64 = MIGRATIONS[MIGRATIONS.len() - 1].0;

/// The error for a schema version that this program cannot read.
pub(super) fn other_schema(found: i64) -> Option<OtherSchema> {
    match found.cmp(&NEWEST) {
        Ordering::Less => Some(OtherSchema::Older { found, newest: NEWEST }),
        Ordering::Equal => None,
        Ordering::Greater => Some(OtherSchema::Newer { found, newest: NEWEST }),
    }
}

/// The schema version of a ledger.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Applies the missing migrations, and returns the resulting version.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<i64> {
    let had = version(connection)?;
    for (version, sql) in MIGRATIONS.iter().filter(|(version, _)| *version > had) {
        let change = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        change.execute_batch(sql)?;
        change.pragma_update(None, "user_version", version)?;
        change.commit()?;
    }
    version(connection)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LogError, open_reader, open_reader_offline};

    /// Migration 5, as builds between 0.1.0 and this one applied it.
    const FIVE: &str = "CREATE INDEX IF NOT EXISTS events_by_type_of_stream
        ON events (aggregate_id, aggregate_type, event_type, sequence)
        WHERE aggregate_type <> 'inference' AND aggregate_type <> 'hold' AND aggregate_type <> 'access';
        PRAGMA user_version = 5";

    fn bring_to_four(ledger: &Connection) {
        bring_to(ledger, 4);
    }

    fn bring_to(ledger: &Connection, newest: i64) {
        for (version, sql) in MIGRATIONS.iter().filter(|(version, _)| *version <= newest) {
            ledger.execute_batch(sql).expect("a migration");
            ledger.pragma_update(None, "user_version", version).expect("its version");
        }
    }

    fn schema(ledger: &Connection) -> Vec<(String, Option<String>)> {
        let mut statement = ledger.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name").expect("a statement");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
        rows.collect::<Result<_, _>>().expect("the schema")
    }

    /// Holds: bin.migrate
    #[test]
    fn an_older_ledger_is_migrated_with_all_its_events() {
        let mut ledger = Connection::open_in_memory().expect("a database");
        bring_to_four(&ledger);
        let event = "INSERT INTO events VALUES (?1, ?1, ?2, 'x', ?1, 'x.changed', '1', '{}', '{}')";
        for (position, kind) in [(1, "model"), (2, "hold"), (3, "budget")] {
            ledger.execute(event, (position, kind)).expect("an event");
        }
        assert_eq!(migrate(&mut ledger).expect("migrated"), NEWEST);
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

    /// Holds: bin.migrate
    #[test]
    fn people_and_secrets_of_an_older_ledger_are_there_after_it_is_migrated() {
        let mut ledger = Connection::open_in_memory().expect("a database");
        bring_to_four(&ledger);
        ledger
            .execute_batch(
                "INSERT INTO personal_data VALUES ('b', 'Bo', NULL, x'01'), ('a', 'Ada', 'a@example.com', x'02');
                 INSERT INTO client_addresses VALUES ('r', '192.0.2.1', NULL);
                 INSERT INTO sealed_secrets VALUES ('p', 1, 'platform', x'03'), ('p', 2, 'platform', x'');
                 CREATE VIEW of_an_operator AS SELECT name FROM personal_data WHERE subject = 'a'",
            )
            .expect("side rows");
        assert_eq!(migrate(&mut ledger).expect("migrated"), NEWEST);
        let rows = |sql: &str| -> String { ledger.query_row(sql, [], |row| row.get(0)).expect("rows") };
        assert_eq!(
            rows("SELECT group_concat(format('%s %s %s %s', subject, name, email, hex(salt))) FROM personal_data"),
            "a Ada a@example.com 02,b Bo  01"
        );
        assert_eq!(rows("SELECT name FROM of_an_operator"), "Ada");
        assert_eq!(rows("SELECT format('%s %s %s', request_id, ip, user_agent) FROM client_addresses"), "r 192.0.2.1 ");
        assert_eq!(
            rows("SELECT group_concat(format('%s %d %s', subject, generation, hex(sealed))) FROM sealed_secrets"),
            "p 1 03,p 2 "
        );
    }

    /// Holds: inf.no-digests
    #[test]
    fn claims_of_an_older_ledger_stay_and_their_digests_do_not() {
        const CLAIMS: i64 = 500;
        let digest = |number: i64| format!("digest {number:025}");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ledger.db");
        let mut ledger = Connection::open(&path).expect("a database");
        ledger.pragma_update(None, "secure_delete", true).expect("as the gateway opens it");
        bring_to(&ledger, 14);
        // Not in their order, so that rows move from page to page.
        for number in (0..CLAIMS).map(|number| number * 7 % CLAIMS) {
            let (key, digest) = (format!("key-{number}"), digest(number).into_bytes());
            ledger
                .execute("INSERT INTO inference_keys VALUES ('ten_1', ?1, ?2, 'req_1', 5)", (&key, &digest))
                .expect("a claim");
            ledger
                .execute("INSERT INTO idempotency VALUES ('o', ?1, ?2, 201, '{}', 7, 5)", (&key, &digest))
                .expect("a reply");
        }
        ledger.execute_batch("CREATE VIEW of_an_operator AS SELECT count(*) FROM inference_keys").expect("a view");
        assert!(std::fs::read(&path).expect("the file").windows(7).any(|bytes| bytes == b"digest "));
        assert_eq!(migrate(&mut ledger).expect("migrated"), NEWEST);
        let kept = "SELECT count(*) FROM inference_keys INDEXED BY inference_keys_by_age
                    WHERE fingerprint = zeroblob(32) AND request_id = 'req_1' AND recorded_at = 5";
        let replies = "SELECT count(*) FROM idempotency INDEXED BY idempotency_by_age
                       WHERE fingerprint = zeroblob(32) AND status = 201 AND position = 7 AND recorded_at = 5";
        for counted in [kept, replies, "SELECT * FROM of_an_operator"] {
            let count: i64 = ledger.query_row(counted, [], |row| row.get(0)).expect("a number");
            assert_eq!(count, CLAIMS, "{counted}");
        }
        assert!(!std::fs::read(&path).expect("the file").windows(7).any(|bytes| bytes == b"digest "));
    }

    #[test]
    fn migrating_from_version_four_or_five_gives_the_same_schema() {
        let mut schemas = ["", FIVE].map(|more| {
            let mut ledger = Connection::open_in_memory().expect("a database");
            bring_to_four(&ledger);
            ledger.execute_batch(more).expect("what else it has");
            assert_eq!(migrate(&mut ledger).expect("migrated"), NEWEST);
            schema(&ledger)
        });
        let [four, five] = &mut schemas;
        assert!(four.iter().any(|(name, _)| name == "events_by_type_of_stream"), "{four:?}");
        assert_eq!(four, five);
    }

    #[test]
    fn a_ledger_with_another_schema_is_refused_with_its_version() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ledger.db");
        let mut ledger = Connection::open(&path).expect("a database");
        bring_to_four(&ledger);
        for open in [open_reader_offline, open_reader] {
            let error = open(&path).err().expect("an older one");
            assert!(matches!(error, LogError::OtherSchema(OtherSchema::Older { found: 4, .. })), "{error}");
            assert!(error.to_string().contains("`ledgerway migrate`"), "{error}");
        }
        migrate(&mut ledger).expect("migrated");
        open_reader_offline(&path).expect("of this version").head().expect("an empty log");
        ledger.pragma_update(None, "user_version", NEWEST + 1).expect("its version");
        let error = open_reader_offline(&path).err().expect("a newer one");
        assert!(matches!(error, LogError::OtherSchema(OtherSchema::Newer { .. })), "{error}");
    }
}
