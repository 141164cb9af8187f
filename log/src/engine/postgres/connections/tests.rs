use std::sync::Arc;
use std::time::Instant as StdInstant;

use super::super::reader::PostgresReader;
use super::super::tests::TestLedger;
use super::*;
use crate::Reader;
use crate::raw::RawReader;

const SOON: Duration = Duration::from_secs(5);
/// The statements that the readers of a node are running, and all that they have open.
const RUNNING: &str = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND datname = current_database()
                       AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
const OPEN: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
                    AND backend_type = 'client backend'";

fn reader(connections: &Arc<Connections>, purpose: Purpose) -> PostgresReader {
    PostgresReader::new(Arc::clone(connections), purpose)
}

fn of_node(test: &TestLedger) -> Arc<Connections> {
    Arc::new(Connections::of_node(test.database.clone()).expect("a thread"))
}

fn reaches(test: &TestLedger, sql: &str, wanted: i64) {
    let began = StdInstant::now();
    while test.number(sql) != wanted {
        assert!(began.elapsed() < SOON, "{} instead of {wanted}", test.number(sql));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Holds: query.ended
#[test]
fn an_interrupted_statement_ends_at_the_server_too() {
    let test = TestLedger::migrated();
    let connections = of_node(&test);
    let reader = reader(&connections, Purpose::PlatformQueries);
    let interrupt = Interrupt::new(None);
    let guard = interrupt.interrupt_on_drop();
    let mut read = None;
    std::thread::scope(|scope| {
        let (test, began) = (&test, StdInstant::now());
        scope.spawn(move || {
            reaches(test, RUNNING, 1);
            drop(guard);
        });
        reader.run_interruptible(&interrupt, &mut || read = Some(reader.read_for_ever()));
        assert!(began.elapsed() < SOON);
    });
    let error = read.expect("it ran").expect_err("it was interrupted");
    assert!(error.to_string().contains("interrupted"), "{error}");
    reaches(&test, RUNNING, 0);
    reader.head().expect("later work is not interrupted");
}

#[test]
fn work_of_many_short_statements_is_interrupted() {
    let test = TestLedger::migrated();
    let connections = of_node(&test);
    let reader = reader(&connections, Purpose::TenantQueries);
    let interrupt = Interrupt::new(Some(StdInstant::now() + Duration::from_millis(50)));
    reader.run_interruptible(&interrupt, &mut || while reader.head().is_ok() {});
    assert!(interrupt.is_late());
}

#[test]
fn any_number_of_readers_has_four_connections() {
    let test = TestLedger::migrated();
    let connections = of_node(&test);
    let purposes = [Purpose::Deciding, Purpose::Following, Purpose::TenantQueries, Purpose::PlatformQueries];
    let kept: Vec<PostgresReader> =
        (0..6).flat_map(|_| purposes).map(|purpose| reader(&connections, purpose)).collect();
    std::thread::scope(|scope| {
        for reader in &mut kept.into_iter() {
            scope.spawn(move || (0..20).for_each(|_| assert!(reader.head().is_ok())));
        }
    });
    assert_eq!(test.number(OPEN), 4);
    drop(connections);
    reaches(&test, OPEN, 0);
}

#[test]
fn neither_the_platforms_queries_nor_decisions_nor_followers_wait_for_queries_of_tenants() {
    let test = TestLedger::migrated();
    let connections = of_node(&test);
    let interrupt = Interrupt::new(None);
    std::thread::scope(|scope| {
        // As many as one tenant may run at a time, on a connection for one.
        for _ in 0..3 {
            let (reader, interrupt) = (reader(&connections, Purpose::TenantQueries), interrupt.clone());
            scope.spawn(move || reader.run_interruptible(&interrupt, &mut || drop(reader.read_for_ever())));
        }
        let guard = interrupt.interrupt_on_drop();
        reaches(&test, RUNNING, 1);
        for purpose in [Purpose::Deciding, Purpose::Following, Purpose::PlatformQueries] {
            let began = StdInstant::now();
            reader(&connections, purpose).head().expect("a head");
            assert!(began.elapsed() < SOON / 5);
        }
        let late = Interrupt::new(Some(StdInstant::now() + Duration::from_millis(50)));
        let another = reader(&connections, Purpose::TenantQueries);
        another.run_interruptible(&late, &mut || drop(another.head().expect_err("there is no connection left")));
        drop(guard);
    });
    reader(&connections, Purpose::TenantQueries).head().expect("they have ended");
}

/// Holds: query.ended
#[test]
fn a_query_that_waits_for_those_of_others_until_its_time_is_over_took_too_long() {
    let test = TestLedger::migrated();
    let connections = of_node(&test);
    let interrupt = Interrupt::new(None);
    std::thread::scope(|scope| {
        let (running, of_other) = (reader(&connections, Purpose::TenantQueries), interrupt.clone());
        scope.spawn(move || running.run_interruptible(&of_other, &mut || drop(running.read_for_ever())));
        let _guard = interrupt.interrupt_on_drop();
        reaches(&test, RUNNING, 1);
        let waited = reader(&connections, Purpose::TenantQueries).head();
        assert!(matches!(waited, Err(LogError::QueryTookTooLong(WAIT_MAX))), "{waited:?}");
    });
}

#[test]
fn a_read_after_the_database_has_dropped_the_connection_succeeds() {
    let test = TestLedger::migrated();
    let reader = reader(&of_node(&test), Purpose::Deciding);
    reader.head().expect("a head");
    test.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    reader.head().expect("a head on a new connection");
}

/// More rows than the budget of a task allows to be received.
#[tokio::test]
async fn a_reader_can_be_used_and_dropped_on_a_thread_of_async_tasks() {
    let test = TestLedger::migrated();
    let reader = reader(&of_node(&test), Purpose::Following);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        for _ in 0..500 {
            reader.head().expect("a head");
        }
    });
    tasks.join_next().await.expect("a task").expect("no panic");
}

#[test]
fn a_reader_cannot_write() {
    let test = TestLedger::migrated();
    let reader = reader(&of_node(&test), Purpose::Deciding);
    let written = reader
        .read(async |connection| Ok(sqlx::raw_sql("DELETE FROM ledger.names").execute(connection).await.map(drop)?));
    let error = written.expect_err("it is read-only").to_string();
    assert!(error.contains("read-only"), "{error}");
}
