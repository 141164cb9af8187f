//! Rows of erasures in the files of the server.

use std::time::Instant;

use super::super::dead_rows::DeadRows;
use super::super::error::sqlstate;
use super::*;

/// Another test's transaction may keep the rows when their table is written anew, which is then done again a minute later.
const SOON: Duration = Duration::from_secs(100);

/// Whether the table's file has the text.
fn is_in_file(test: &TestLedger, table: &str, text: &str) -> bool {
    test.execute("CHECKPOINT");
    // The file may be replaced meanwhile.
    let file = format!("pg_read_binary_file(pg_relation_filepath('ledger.{table}'), 0, 10000000, true)");
    test.number(&format!("SELECT coalesce(position('{text}'::bytea in {file}), 1)::bigint")) > 0
}

fn must_leave(test: &TestLedger, table: &str, text: &str) {
    let began = Instant::now();
    while is_in_file(test, table, text) {
        assert!(began.elapsed() < SOON, "{text} is still in the file of {table}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn add_people(test: &TestLedger) {
    test.execute(
        "INSERT INTO ledger.personal_data
         SELECT 'usr_' || i, 'Canary ' || i, 'canary-' || i || '@example.com', 'salt'::bytea FROM generate_series(1, 9) i",
    );
    test.execute(
        "INSERT INTO ledger.client_addresses VALUES ('req_1', '192.0.2.44', 'canary-agent'), ('req_2', '::1', NULL)",
    );
    test.execute(
        "INSERT INTO ledger.sealed_secrets VALUES ('content 9', 1, 'ten_1', 'canary-key'), ('prv_1', 1, 'ten_1', 'other')",
    );
}

fn erase(test: &TestLedger) {
    test.execute("DELETE FROM ledger.personal_data WHERE subject = 'usr_9'");
    test.execute("DELETE FROM ledger.client_addresses WHERE request_id = 'req_1'");
    test.execute("DELETE FROM ledger.sealed_secrets WHERE subject = 'content 9'");
}

/// Somebody who has read before sees the ledger as it was then.
/// Holds: admin.erase
#[test]
fn erased_rows_leave_the_files_once_nobody_may_see_them() {
    let test = TestLedger::migrated();
    add_people(&test);
    let erasures = DeadRows::start(test.database.clone()).expect("a thread");
    std::thread::scope(|scope| {
        let (begins, begun) = std::sync::mpsc::channel();
        let (test, earlier) = (&test, "SELECT count(*) FROM ledger.batches");
        let reading = scope.spawn(move || {
            test.session().run(async |connection| {
                sqlx::raw_sql("SET idle_in_transaction_session_timeout = 0").execute(&mut *connection).await?;
                sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ").execute(&mut *connection).await?;
                sqlx::raw_sql(earlier).execute(&mut *connection).await?;
                begins.send(()).expect("the test goes on");
                tokio::time::sleep(Duration::from_millis(2500)).await;
                sqlx::raw_sql("COMMIT").execute(connection).await
            })
        });
        begun.recv().expect("it has read");
        erase(test);
        erasures.after_erasure();
        assert!(is_in_file(test, "personal_data", "Canary 9"), "somebody may still see it");
        reading.join().expect("no panic").expect("it has read");
    });
    for (table, text) in [
        ("personal_data", "Canary 9"),
        ("personal_data", "canary-9@example.com"),
        ("client_addresses", "canary-agent"),
        ("client_addresses", "192.0.2.44"),
        ("sealed_secrets", "canary-key"),
    ] {
        must_leave(&test, table, text);
    }
    assert!(is_in_file(&test, "personal_data", "Canary 8"));
    assert_eq!(test.number("SELECT count(*) FROM ledger.personal_data"), 8);
    assert_eq!(test.number("SELECT count(*) FROM ledger.client_addresses"), 1);
    assert_eq!(test.number("SELECT count(*) FROM ledger.sealed_secrets"), 1);
}

#[test]
fn dead_rows_that_a_process_has_left_are_dropped_by_the_next() {
    let test = TestLedger::migrated();
    add_people(&test);
    erase(&test);
    let _erasures = DeadRows::start(test.database.clone()).expect("a thread");
    must_leave(&test, "personal_data", "Canary 9");
    must_leave(&test, "sealed_secrets", "canary-key");
}

/// The outcome for all dead rows that are noted of a table.
fn outcome(test: &TestLedger, table: &str) -> String {
    const DROP: &str =
        "SELECT ledger.drop_dead_rows($1, (SELECT deleted_by FROM ledger.rows_to_drop WHERE table_name = $1))";
    let outcome =
        test.session().run(async |connection| sqlx::query_scalar(DROP).bind(table).fetch_one(connection).await);
    outcome.unwrap_or_else(|error: sqlx::Error| panic!("{table}: {error}"))
}

const A_MINUTE_LATER: &str = "UPDATE ledger.rows_to_drop SET rewritten_at = rewritten_at - interval '61 s'";

/// Other tests' transactions on the same server may keep the rows for a moment.
fn must_be_done(test: &TestLedger, table: &str) {
    for _ in 0..80 {
        match outcome(test, table).as_str() {
            "done" => return,
            "seen" => std::thread::sleep(std::time::Duration::from_millis(250)),
            other => assert_eq!(other, "later", "{table}"),
        }
        test.execute(A_MINUTE_LATER);
    }
    panic!("{table} keeps its dead rows");
}

fn noted(test: &TestLedger) -> i64 {
    test.number("SELECT count(*) FROM ledger.rows_to_drop WHERE deleted_by IS NOT NULL")
}

#[test]
fn only_tables_with_dead_rows_are_written_anew() {
    let test = TestLedger::migrated();
    add_people(&test);
    test.execute(
        "INSERT INTO ledger.tenant_keys VALUES ('ten_1', 'node', 'wrapped');
         INSERT INTO ledger.wrapped_keys VALUES ('ten_1', 'wrapped');
         INSERT INTO ledger.idempotency
         VALUES ('operator', 'old', 'f', 201, 'usr_9', 1, 1), ('operator', 'new', 'f', 201, 'usr_9', 1, 1)",
    );
    test.execute(
        "DELETE FROM ledger.idempotency WHERE key = 'old'; DELETE FROM ledger.personal_data WHERE subject = 'none'",
    );
    assert_eq!(noted(&test), 0, "an answer that expires is no erasure");
    for (table, change) in [
        ("personal_data", "DELETE FROM ledger.personal_data WHERE subject = 'usr_9'"),
        ("client_addresses", "DELETE FROM ledger.client_addresses WHERE request_id = 'req_1'"),
        ("sealed_secrets", "UPDATE ledger.sealed_secrets SET sealed = 'new' WHERE subject = 'prv_1'"),
        ("tenant_keys", "DELETE FROM ledger.tenant_keys"),
        ("wrapped_keys", "DELETE FROM ledger.wrapped_keys"),
        ("idempotency", "UPDATE ledger.idempotency SET fingerprint = 'g'"),
    ] {
        assert_eq!(outcome(&test, table), "later", "{table}: nothing to do");
        test.execute(change);
        assert_eq!(noted(&test), 1, "{table}");
        must_be_done(&test, table);
        assert_eq!(noted(&test), 0, "{table}");
    }
}

/// Nobody can append while a table is written anew.
#[test]
fn a_table_is_written_anew_at_most_once_a_minute_and_only_if_it_is_small() {
    let test = TestLedger::migrated();
    add_people(&test);
    for subject in ["usr_1", "usr_2"] {
        test.execute(&format!("DELETE FROM ledger.personal_data WHERE subject = '{subject}'"));
        match subject {
            "usr_1" => must_be_done(&test, "personal_data"),
            _ => assert_eq!(outcome(&test, "personal_data"), "later"),
        }
    }
    assert_eq!(noted(&test), 1);
    test.execute(A_MINUTE_LATER);
    must_be_done(&test, "personal_data");
    test.execute(A_MINUTE_LATER);
    test.execute(
        "INSERT INTO ledger.personal_data
         SELECT 'more_' || i, repeat('x', 1000), NULL, 'salt' FROM generate_series(1, 20000) i;
         DELETE FROM ledger.personal_data WHERE subject = 'usr_3'",
    );
    assert_eq!(outcome(&test, "personal_data"), "too large");
    assert_eq!(noted(&test), 0, "it is not tried again");
}

/// A standby, whose horizon is not shown to the owner of the ledger, keeps rows as this reader does.
#[test]
fn a_table_stays_noted_until_nobody_may_see_the_rows() {
    let test = TestLedger::migrated();
    add_people(&test);
    let mut reading = test.session();
    let begun = reading.run(async |connection| {
        sqlx::raw_sql(
            "SET idle_in_transaction_session_timeout = 0; BEGIN ISOLATION LEVEL REPEATABLE READ;
             SELECT count(*) FROM ledger.batches",
        )
        .execute(connection)
        .await
    });
    begun.expect("it has read");
    test.execute("DELETE FROM ledger.personal_data WHERE subject = 'usr_9'");
    assert_eq!(outcome(&test, "personal_data"), "seen");
    assert_eq!(noted(&test), 1);
    reading.close();
    // The server ends the session when it gets to it.
    let began = Instant::now();
    while noted(&test) > 0 {
        assert!(began.elapsed() < SOON, "{}", outcome(&test, "personal_data"));
        test.execute("UPDATE ledger.rows_to_drop SET rewritten_at = '-infinity'");
        outcome(&test, "personal_data");
    }
    assert!(!is_in_file(&test, "personal_data", "Canary 9"));
}

/// Both change the table's entry in the catalogue, which PostgreSQL refuses to do for two transactions at once.
#[test]
fn no_table_is_written_anew_while_a_migration_grants_rights_on_it() {
    let test = TestLedger::migrated();
    add_people(&test);
    erase(&test);
    let mut migrating = test.session();
    let lock = "SET idle_in_transaction_session_timeout = 0; BEGIN; SELECT pg_advisory_xact_lock(x'4c454447'::int, x'4d494752'::int)";
    let locked = migrating.run(async |connection| sqlx::raw_sql(lock).execute(connection).await);
    locked.expect("the lock of migrations");
    let drop = "SELECT ledger.drop_dead_rows('personal_data', pg_current_xact_id())";
    let dropped = test.session().run(async |connection| sqlx::raw_sql(drop).execute(connection).await);
    let refused = dropped.expect_err("it waits for the migration");
    assert_eq!(sqlstate(&refused).as_deref(), Some("55P03"), "{refused}");
    migrating.close();
}
