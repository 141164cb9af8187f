//! Connections that end at any moment of an append.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use testing::proxy::Proxy;

use super::super::error::sqlstate;
use super::*;
use crate::log::{EngineErrorKind, Name, SideRow};

const NODES: usize = 2;
const BATCHES: u64 = 300;
const KILL: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid()";
/// So often are connections killed before each node must have appended another batch. A connection takes longer to open than
/// it lives if the processors are busy, and a batch that is in doubt for eight seconds is given up.
const KILLS_IN_A_ROW: usize = 10;

/// How many batches each node has appended.
#[derive(Default)]
struct Progress([AtomicU64; NODES]);

impl Progress {
    fn batches(&self) -> [u64; NODES] {
        self.0.each_ref().map(|batches| batches.load(Ordering::SeqCst))
    }

    /// True if each node has appended a batch since then, or all of its batches.
    fn is_made_since(&self, before: [u64; NODES]) -> bool {
        self.batches().into_iter().zip(before).all(|(now, before)| now > before || now == BATCHES)
    }
}

#[test]
fn a_connection_that_is_killed_at_any_moment_loses_no_batch_and_doubles_none() {
    let test = TestLedger::migrated();
    let (is_over, progress) = (AtomicBool::new(false), Progress::default());
    std::thread::scope(|scope| {
        let end = EndsOnDrop(&is_over);
        let killer = scope.spawn(|| kill_connections(&test, &progress, &is_over));
        let engines: Vec<_> = (0..NODES).map(|_| test.engine_in_spite_of_kills()).collect();
        let nodes = engines.into_iter().zip(&progress.0).zip(0..).map(|((mut engine, appended), node)| {
            scope.spawn(move || {
                for batch in 0..BATCHES {
                    append(&mut engine, 1 + u128::from(node * BATCHES + batch));
                    appended.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        nodes.collect::<Vec<_>>().into_iter().for_each(|node| node.join().expect("no panic"));
        drop(end);
        assert!(killer.join().expect("no panic") > 10, "too few connections were killed");
    });
    let all = i64::try_from(NODES as u64 * BATCHES).expect("a number");
    assert_eq!(test.number("SELECT count(*) FROM ledger.events"), all);
    assert_eq!(test.number("SELECT count(DISTINCT aggregate_id) FROM ledger.events"), all);
    assert_eq!(test.number("SELECT max(position) FROM ledger.events"), all);
    assert_eq!(test.number("SELECT count(*) FROM ledger.names"), all / 2);
}

/// Kills all connections at random moments; how many there were.
fn kill_connections(test: &TestLedger, progress: &Progress, is_over: &AtomicBool) -> usize {
    let (mut session, ids, mut killed) = (test.session(), ids(), 0);
    while !is_over.load(Ordering::SeqCst) {
        let before = progress.batches();
        for _ in 0..KILLS_IN_A_ROW {
            let [pause] = ids.bytes::<1>();
            std::thread::sleep(Duration::from_micros(2_000 + 200 * u64::from(pause)));
            let kill = session.run(async |connection| sqlx::query(KILL).fetch_all(connection).await);
            killed += kill.expect("killed").len();
        }
        while !is_over.load(Ordering::SeqCst) && !progress.is_made_since(before) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    killed
}

impl TestLedger {
    fn engine_in_spite_of_kills(&self) -> PostgresEngine {
        (0..1000)
            .find_map(|_| connect(&self.database, &OwnNode::serving("node"), ids(), now()).ok())
            .expect("it opens some time")
            .0
    }
}

/// Appends a batch. Every second one has a side row, and so a transaction of several statements. Who is told that it was not
/// recorded tries again, which would fail if it was.
fn append(engine: &mut PostgresEngine, number: u128) {
    for _ in 0..1000 {
        let mut draft = one(engine, number);
        if number.is_multiple_of(2) {
            let name = Name { kind: StreamKind::Model, scope: "s".to_owned(), name: number.to_string() };
            draft.side.push(SideRow::ClaimName { name, owner: number.to_string() });
        }
        match engine.append(&draft, None) {
            Ok(AppendOutcome::Committed) => return,
            Ok(AppendOutcome::Moved) => while catch_up(engine).is_err() {},
            Err(error) => {
                let is_unavailable =
                    matches!(&error, LogError::Engine(error) if error.kind == EngineErrorKind::Unavailable);
                assert!(is_unavailable, "{error}");
            }
        }
    }
    panic!("batch {number} was never appended");
}

#[test]
fn a_batch_whose_answer_is_lost_is_found_by_its_token() {
    let test = TestLedger::migrated();
    let proxy = Proxy::start(test.test.socket());
    let proxied = test.test.url_through(proxy.port).parse().expect("an address");
    let mut engine = connect(&proxied, &OwnNode::serving("node"), ids(), now()).expect("the ledger opens").0;
    committed(&mut engine, |engine| one(engine, 1));
    proxy.cut_answer_to(b"inference.admitted");
    committed(&mut engine, |engine| one(engine, 2));
    assert_eq!(proxy.answers_cut(), 1);
    committed(&mut engine, |engine| one(engine, 3));
    assert_eq!(test.number("SELECT count(*) FROM ledger.events"), 3);
}

/// The message of a server that cannot sync its write-ahead log, and crashes.
fn panic(sqlstate: &str) -> Vec<u8> {
    let fields = format!("SPANIC\0VPANIC\0C{sqlstate}\0Mcould not fdatasync the write-ahead log\0\0");
    let length = u32::try_from(fields.len() + 4).expect("a length");
    [b"E".as_slice(), &length.to_be_bytes(), fields.as_bytes()].concat()
}

/// After its recovery, the server may have the batch.
#[test]
fn a_batch_in_whose_commit_the_server_crashes_is_looked_for() {
    let test = TestLedger::migrated();
    let proxy = Proxy::start(test.test.socket());
    let proxied = test.test.url_through(proxy.port).parse().expect("an address");
    let mut engine = connect(&proxied, &OwnNode::serving("node"), ids(), now()).expect("the ledger opens").0;
    (1..=5).for_each(|number| committed(&mut engine, |engine| one(engine, number)));
    for (number, sqlstate) in [(6, "58030"), (8, "53100"), (10, "XX000")] {
        // Prepares the statement, so that the answer is that of its commit.
        committed(&mut engine, |engine| one(engine, number));
        let lost = proxy.answers_cut();
        proxy.replace_answer_to(b"inference.admitted", panic(sqlstate));
        committed(&mut engine, |engine| one(engine, number + 1));
        assert_eq!(proxy.answers_cut(), lost + 1);
    }
    assert_eq!(test.number("SELECT count(*) FROM ledger.events"), 11);
}

#[test]
fn a_session_that_the_server_has_ended_is_not_used_again() {
    let test = TestLedger::migrated();
    let mut session = test.session();
    let mut run = |sql| session.run(async |connection| sqlx::raw_sql(sql).execute(connection).await.map(drop));
    run("SET idle_in_transaction_session_timeout = 10; BEGIN").expect("it is begun");
    std::thread::sleep(Duration::from_millis(100));
    let ended = run("SELECT 1").expect_err("it was idle for too long");
    assert_eq!(sqlstate(&ended).as_deref(), Some("25P03"), "{ended}");
    run("SELECT 1").expect("another session");
}

#[test]
fn a_session_that_was_not_used_lately_is_not_opened_to_end_something() {
    let test = TestLedger::migrated();
    let mut session = test.session();
    let select = async |connection: &mut PgConnection| {
        sqlx::query_scalar::<_, i32>("SELECT pg_backend_pid()").fetch_one(connection).await
    };
    assert!(session.run_if_open(select).is_none(), "it was never used");
    let first = session.run(select).expect("a session");
    assert_eq!(session.run_if_open(select).expect("it is open").expect("a session"), first);
    std::thread::sleep(Duration::from_millis(1100));
    assert!(session.run_if_open(select).is_none());
    let began = Instant::now();
    while test.number(&format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {first}")) > 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "its connection is not closed");
    }
}

/// The table is locked for longer than a batch may be old. Meanwhile the connection is lost with the first copy.
#[test]
fn a_batch_that_is_in_doubt_is_written_also_if_its_time_is_too_old_by_now() {
    let test = TestLedger::migrated();
    let mut engine = test.engine();
    engine.clock_limits = ClockLimits::with_behind_max(Duration::from_millis(500));
    std::thread::scope(|scope| {
        scope
            .spawn(|| test.execute("BEGIN; LOCK TABLE ledger.batches IN EXCLUSIVE MODE; SELECT pg_sleep(1.5); COMMIT"));
        while test.number(&locks("mode = 'ExclusiveLock' AND granted")) == 0 {}
        scope.spawn(|| committed(&mut engine, |engine| Draft { recorded_at: now(), ..one(engine, 1) }));
        while test.number(&locks("NOT granted")) == 0 {}
        test.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
             WHERE datname = current_database() AND relation = 'ledger.batches'::regclass AND NOT granted",
        );
    });
    assert_eq!(test.number("SELECT count(*) FROM ledger.events"), 1);
}

/// The number of locks of the table of batches.
fn locks(condition: &str) -> String {
    format!("SELECT count(*) FROM pg_locks WHERE relation = 'ledger.batches'::regclass AND {condition}")
}
