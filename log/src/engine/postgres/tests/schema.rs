//! Which ledgers are opened, and what is said of the others.

use std::collections::BTreeSet;

use super::*;
use crate::{Migrated, OpenError, OtherSchema, UnusableReason};

fn refused(test: &TestLedger) -> UnusableReason {
    connect(&test.database, &OwnNode::serving("node"), ids(), now()).err().expect("it is refused")
}

#[test]
fn a_ledger_is_created_once_and_only_by_a_migration() {
    let test = TestLedger::empty();
    assert!(matches!(refused(&test), UnusableReason::Log(LogError::OtherSchema(OtherSchema::Missing))));
    let migrated: Vec<_> = std::thread::scope(|scope| {
        let migrations: Vec<_> = (0..4).map(|_| scope.spawn(|| migrate(&test.database).expect("migrated"))).collect();
        migrations.into_iter().map(|migration| migration.join().expect("no panic")).collect()
    });
    assert_eq!(migrated.iter().filter(|migrated| **migrated == Migrated::New).count(), 1, "{migrated:?}");
    assert_eq!(test.number("SELECT count(*) FROM ledger.batches"), 1);
    test.engine();
}

#[test]
fn a_ledger_of_an_older_version_is_refused_until_it_is_migrated() {
    let test = TestLedger::migrated();
    test.execute("ALTER TABLE ledger.running_nodes DROP COLUMN serves_requests, DROP COLUMN limit_sharing");
    test.execute("ALTER TABLE ledger.key_secrets DROP COLUMN mac");
    test.execute("DROP TABLE ledger.leases, ledger.rows_to_drop");
    test.execute("UPDATE ledger.schema_version SET version = 1");
    let is_older = |reason: &UnusableReason| {
        matches!(reason, UnusableReason::Log(LogError::OtherSchema(OtherSchema::Older { found: 1, .. })))
    };
    assert!(is_older(&refused(&test)));
    assert_eq!(migrate(&test.database).expect("migrated"), Migrated::Existing);
    test.engine();
}

/// Holds: inf.no-digests
#[test]
fn claims_of_an_older_ledger_stay_and_their_digests_do_not() {
    let test = TestLedger::migrated();
    test.execute("UPDATE ledger.schema_version SET version = 4; DROP TABLE ledger.rows_to_drop");
    test.execute(
        "INSERT INTO ledger.inference_keys VALUES ('ten_1', 'once', decode(repeat('ab', 32), 'hex'), 'req_1', 5);
         INSERT INTO ledger.idempotency VALUES ('operator', 'once', decode(repeat('ab', 32), 'hex'), 201, '{}', 7, 5)",
    );
    let files = || {
        ["inference_keys", "idempotency"]
            .map(|table| test.number(&format!("SELECT pg_relation_filenode('ledger.{table}')::bigint")))
    };
    let before = files();
    assert_eq!(migrate(&test.database).expect("migrated"), Migrated::Existing);
    for (table, row) in [("inference_keys", "request_id = 'req_1'"), ("idempotency", "status = 201 AND position = 7")] {
        let kept = format!(
            "SELECT count(*) FROM ledger.{table}
             WHERE fingerprint = decode(repeat('00', 32), 'hex') AND {row} AND recorded_at = 5"
        );
        assert_eq!(test.number(&kept), 1, "{table}");
    }
    for (table, (after, before)) in files().into_iter().zip(before).enumerate() {
        assert_ne!(after, before, "{table}: the dead rows are in the file");
    }
    test.engine();
}

/// Otherwise the locks of all of them would be held until the last one is done.
#[test]
fn a_migration_is_kept_if_the_next_one_fails() {
    let test = TestLedger::migrated();
    test.execute("ALTER TABLE ledger.key_secrets DROP COLUMN mac; UPDATE ledger.schema_version SET version = 3");
    let error = migrate(&test.database).expect_err("a table of the next one is there already");
    assert!(error.to_string().contains("rows_to_drop"), "{error}");
    assert_eq!(test.number("SELECT version FROM ledger.schema_version"), 4);
    test.execute("DROP TABLE ledger.rows_to_drop");
    assert_eq!(migrate(&test.database).expect("migrated"), Migrated::Existing);
    test.engine();
}

/// Neither is it taken for an old ledger, nor is anything made in it.
#[test]
fn a_schema_of_another_program_is_no_ledger() {
    for of_other in ["CREATE TABLE ledger.accounts (id int)", "CREATE TABLE ledger.schema_version (number int)"] {
        let test = TestLedger::empty();
        test.execute(&format!("CREATE SCHEMA ledger; {of_other}"));
        let is_foreign = |reason: &UnusableReason| {
            matches!(reason, UnusableReason::Log(LogError::OtherSchema(OtherSchema::Foreign)))
        };
        assert!(is_foreign(&refused(&test)), "{of_other}");
        let error = migrate(&test.database).expect_err("it is not ours");
        assert!(matches!(&error, OpenError::Shared(wrong) if is_foreign(&wrong.reason)), "{of_other}");
        let read = open_shared_reader(&test.database).err().map(|error| error.to_string());
        assert!(read.is_some_and(|words| words.contains("not one that ledgerway made")), "{of_other}");
    }
}

#[test]
fn a_newer_ledger_is_used_only_if_it_says_that_this_version_can() {
    let test = TestLedger::migrated();
    test.execute("UPDATE ledger.schema_version SET version = 1000");
    test.engine();
    assert_eq!(migrate(&test.database).expect("nothing to do"), Migrated::Existing);
    test.execute("UPDATE ledger.schema_version SET oldest_reader = 1000");
    let is_newer = |reason: &UnusableReason| {
        matches!(reason, UnusableReason::Log(LogError::OtherSchema(OtherSchema::Newer { found: 1000, .. })))
    };
    let reason = refused(&test);
    assert!(is_newer(&reason), "{reason}");
    let error = migrate(&test.database).expect_err("it is newer");
    assert!(matches!(&error, OpenError::Shared(wrong) if is_newer(&wrong.reason)), "{error}");
    assert!(error.to_string().contains(test.test.name()) && !error.to_string().contains("password"), "{error}");
}

#[test]
fn a_database_that_cannot_be_written_is_refused() {
    let test = TestLedger::migrated();
    let mut engine = test.engine();
    test.execute(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", test.test.name()));
    assert!(matches!(refused(&test), UnusableReason::ReadOnly));
    engine.append(&Draft::new(0, at()), None).expect("its session is from before");
    let mut engine = PostgresEngine { session: test.session(), ..engine };
    let error = engine.append(&Draft::new(0, at()), None).expect_err("it can only be read");
    assert!(!error.may_be_recorded(), "{error}");
}

/// A table that the check forgets could be damaged without being noticed.
#[test]
fn the_check_reads_every_table() {
    const TABLES: &str =
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'ledger'::regnamespace AND relkind = 'r'";
    // Read as events and as the ledger's state; or checked at each start, and gone with its processes; or a hint.
    let others = [
        "events", "balances", "open_holds", "owner_blocks", "ledger_checkpoint", "schema_version", "running_nodes",
        "leases", "rows_to_drop",
    ];
    let test = TestLedger::migrated();
    let found = test.session().run(async |connection| sqlx::query_scalar(TABLES).fetch_all(connection).await);
    let found: BTreeSet<String> = found.expect("tables").into_iter().collect();
    let checked: BTreeSet<_> = super::super::verify::TABLES.into_iter().chain(others).map(str::to_owned).collect();
    assert_eq!(found, checked);
}

/// The session asks for them; a user's or a server's other settings do not count.
#[test]
fn sessions_have_their_limits_whatever_the_database_says() {
    const IN_FORCE: &str =
        "SELECT count(*) FROM pg_settings WHERE source = 'client' AND (name, setting, coalesce(unit, '')) IN
        (('synchronous_commit', 'on', ''), ('statement_timeout', '5000', 'ms'), ('lock_timeout', '5000', 'ms'),
         ('idle_in_transaction_session_timeout', '2000', 'ms'))";
    let test = TestLedger::migrated();
    for other in [
        "synchronous_commit = off",
        "statement_timeout = 0",
        "lock_timeout = 0",
        "idle_in_transaction_session_timeout = 0",
    ] {
        test.execute(&format!("ALTER DATABASE {} SET {other}", test.test.name()));
    }
    let mut engine = test.engine();
    let in_force =
        engine.session.run(async |connection| sqlx::query_scalar::<_, i64>(IN_FORCE).fetch_one(connection).await);
    assert_eq!(in_force.expect("settings"), 4);
}

/// A node that stalls in a transaction would hold up all others.
#[test]
fn who_idles_in_a_transaction_is_thrown_out() {
    let test = TestLedger::migrated();
    let mut session = test.session();
    let again = session.run(async |connection| {
        sqlx::raw_sql("BEGIN; SELECT ledger.keep_others_from_appending()").execute(&mut *connection).await?;
        tokio::time::sleep(Duration::from_millis(2500)).await;
        sqlx::raw_sql("COMMIT").execute(connection).await
    });
    assert!(again.is_err());
    committed(&mut test.engine(), |engine| one(engine, 1));
}

#[test]
fn a_version_uses_the_schemas_from_its_own_on_that_still_let_it() {
    use super::super::schema::fits;
    let older = |found| Err::<(), _>(OtherSchema::Older { found, newest: 3 });
    let newer = |found| Err::<(), _>(OtherSchema::Newer { found, newest: 3 });
    for (found, oldest_reader, wanted) in [
        (0, 0, older(0)),
        (2, 1, older(2)),
        (3, 1, Ok(())),
        (3, 3, Ok(())),
        (4, 3, Ok(())),
        (4, 4, newer(4)),
        (9, 2, Ok(())),
    ] {
        assert_eq!(fits(found, oldest_reader, 3), wanted, "{found}, {oldest_reader}");
    }
    let error = older(2).expect_err("an error").to_string();
    assert!(error.contains("run `ledgerway migrate`"), "{error}");
    let error = newer(4).expect_err("an error").to_string();
    assert!(error.contains("start that version"), "{error}");
}
