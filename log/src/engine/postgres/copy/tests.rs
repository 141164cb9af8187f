use std::collections::BTreeSet;

use events::time::from_micros;
use tempfile::TempDir;
use testing::silencing_proxy::SilencingProxy;

use super::super::tests::TestLedger;
use super::*;
use crate::LEDGER_FILE;

/// An embedded ledger without events, after these statements.
fn embedded(sql: &str) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    drop(sqlite::open_without_threads(folder.path(), from_micros(0)).expect("an embedded log"));
    Ledger::open(folder.path().join(LEDGER_FILE)).expect("the ledger").execute_batch(sql).expect(sql);
    folder
}

fn copied(folder: &TempDir, shared: &TestLedger) -> Result<u64, UnusableReason> {
    copied_until(folder, shared, &mut || Ok(()))
}

fn copied_until(
    folder: &TempDir,
    shared: &TestLedger,
    before_commit: &mut dyn FnMut() -> Result<(), UnusableReason>,
) -> Result<u64, UnusableReason> {
    let callbacks = CopyCallbacks { progress: &mut |_, _| {}, before_commit };
    copy_to_shared(&folder.path().join(LEDGER_FILE), None, &shared.database, callbacks)
}

/// Otherwise `move` would lose it.
#[test]
fn what_the_shared_ledger_has_no_place_for_is_refused() {
    for (sql, said) in [
        ("CREATE TABLE later (a TEXT)", "the shared ledger has no table later"),
        ("ALTER TABLE names ADD COLUMN later TEXT", "the shared ledger has no column later in the table names"),
        ("ALTER TABLE events ADD COLUMN later TEXT", "the shared ledger has no column later in the table events"),
    ] {
        let error = copied(&embedded(sql), &TestLedger::migrated()).expect_err(sql).to_string();
        assert!(error.ends_with(said), "{sql}: {error}");
    }
}

#[test]
fn a_table_of_a_later_version_is_copied() {
    let folder =
        embedded("CREATE TABLE later (number INTEGER, text TEXT); INSERT INTO later VALUES (7, 'a'), (8, NULL)");
    let shared = TestLedger::migrated();
    shared.execute("CREATE TABLE ledger.later (text text, number integer)");
    assert_eq!(copied(&folder, &shared).expect("a copy"), 0);
    assert_eq!(shared.number("SELECT sum(number * (1 + coalesce(length(text), 0))) FROM ledger.later"), 7 * 2 + 8);
}

/// Otherwise it would record something in the copy before the copy was verified, or wait for it and fail.
#[test]
fn nothing_is_copied_beside_a_node_that_runs_and_none_starts_before_the_copy_ends() {
    let (folder, shared) = (embedded(""), TestLedger::migrated());
    shared.execute(
        "INSERT INTO ledger.running_nodes (node, started_at, seen_at, events_read, events_written, address)
         SELECT 'other', 0, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, 1, 1, '10.0.0.7'",
    );
    let refused = copied_until(&folder, &shared, &mut || panic!("it must not get this far"));
    assert!(matches!(&refused, Err(UnusableReason::InUse { node, .. }) if node == "other"), "{refused:?}");
    shared.execute("DELETE FROM ledger.running_nodes");
    let (first, second) = running_nodes::LOCK;
    let free = format!("SELECT pg_try_advisory_xact_lock({first}, {second})::integer::bigint");
    assert_eq!(shared.number(&free), 1);
    let copied = copied_until(&folder, &shared, &mut || {
        assert_eq!(shared.number(&free), 0, "a node could register");
        Ok(())
    });
    assert_eq!(copied.expect("a copy"), 0);
}

#[test]
fn nothing_is_there_until_the_caller_agrees_to_the_commit() {
    let folder = embedded("CREATE TABLE later (number INTEGER); INSERT INTO later VALUES (7)");
    let shared = TestLedger::migrated();
    shared.execute("CREATE TABLE ledger.later (number integer)");
    let count = || shared.number("SELECT count(*) FROM ledger.later");
    let refused = copied_until(&folder, &shared, &mut || Err(UnusableReason::Local("no room".to_owned())));
    assert!(refused.is_err_and(|error| error.to_string() == "no room"), "it is not the database's error");
    let mut seen_before = None;
    let copied = copied_until(&folder, &shared, &mut || {
        seen_before = Some(count());
        Ok(())
    });
    assert_eq!((copied.expect("a copy"), seen_before, count()), (0, Some(0), 1));
}

#[test]
fn a_connection_that_goes_silent_ends_the_copy_and_only_its_commit_may_have_arrived() {
    const ANSWER_MAX: Duration = Duration::from_millis(500);
    let folder = embedded(
        "INSERT INTO events (position, recorded_at, aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
                             metadata)
         VALUES (1, 0, 'partner', 'par_1', 1, 'partner.created', '1', '{}', '{}')",
    );
    let shared = TestLedger::migrated();
    let proxy = SilencingProxy::start(shared.test.socket());
    let address = shared.test.url_through(proxy.port).parse().expect("an address");
    let copy_through = |callbacks: CopyCallbacks<'_>| {
        copy_within(ANSWER_MAX, &folder.path().join(LEDGER_FILE), None, &address, callbacks)
    };
    let silence = || assert_eq!(proxy.silence("statement_timeout=60s"), 1);
    let lost = copy_through(CopyCallbacks { progress: &mut |_, _| silence(), before_commit: &mut || Ok(()) });
    assert!(matches!(lost, Err(UnusableReason::Log(LogError::Engine(_)))), "{lost:?}");
    // The server has the databases of other tests, too.
    shared.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
         WHERE datname = current_database() AND locktype = 'advisory'",
    );
    let before_commit = &mut || {
        silence();
        Ok(())
    };
    let lost = copy_through(CopyCallbacks { progress: &mut |_, _| {}, before_commit });
    assert!(matches!(lost, Err(UnusableReason::Log(LogError::Commit(_)))), "{lost:?}");
}

/// Each difference between the schemas is meant.
#[test]
fn both_engines_have_the_same_tables() {
    let shared = TestLedger::migrated();
    let mut session = super::super::session::Session::new(shared.database.clone()).expect("a session");
    let columns = session.run(async |connection| sqlx::query_as(SHARED_COLUMNS).fetch_all(connection).await);
    let columns: Vec<(String, String, String)> = columns.expect("columns");
    let shared: BTreeSet<_> = columns.into_iter().map(|(table, column, _)| (table, column)).collect();
    let folder = embedded("");
    let ledger = Ledger::open(folder.path().join(LEDGER_FILE)).expect("the ledger");
    let mut select = ledger.prepare(EMBEDDED_COLUMNS).expect("a statement");
    let columns = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("columns");
    let embedded: BTreeSet<(String, String)> = columns.collect::<Result<_, _>>().expect("columns");

    let only_embedded: Vec<_> =
        embedded.difference(&shared).map(|(table, column)| format!("{table}.{column}")).collect();
    assert_eq!(only_embedded, ["contexts.number"]);
    let (other_tables, other_columns): (Vec<_>, Vec<_>) = shared
        .difference(&embedded)
        .partition(|(table, _)| !embedded.iter().any(|(of_embedded, _)| of_embedded == table));
    let other_tables: BTreeSet<_> = other_tables.into_iter().map(|(table, _)| table.as_str()).collect();
    assert_eq!(
        Vec::from_iter(other_tables),
        ["aggregate_events", "batches", "catalogue", "leases", "rows_to_drop", "running_nodes", "schema_version"]
    );
    let other_columns: Vec<_> = other_columns.into_iter().map(|(table, column)| format!("{table}.{column}")).collect();
    assert_eq!(other_columns, ["contexts.id", "events.context", "revaluation_begins.only_row"]);
}
