//! Connections that end at any moment of an append.

use std::time::Duration;

use testing::proxy::Proxy;

use super::*;
use crate::log::{EngineErrorKind, Name, SideRow};

const NODES: u128 = 2;
const BATCHES: u128 = 100;
const KILL: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid()";

#[test]
fn a_connection_that_is_killed_at_any_moment_loses_no_batch_and_doubles_none() {
    let test = TestLedger::migrated();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let end = EndsOnDrop(&is_over);
        let killer = scope.spawn(|| {
            let (mut session, ids, mut killed) = (test.session(), ids(), 0);
            while !is_over.load(Ordering::SeqCst) {
                let [pause] = ids.bytes::<1>();
                std::thread::sleep(Duration::from_micros(2_000 + 200 * u64::from(pause)));
                let kill = session.run(async |connection| sqlx::query(KILL).fetch_all(connection).await);
                killed += kill.expect("killed").len();
            }
            killed
        });
        let engines: Vec<_> = (0..NODES).map(|_| test.engine_in_spite_of_kills()).collect();
        let nodes = engines.into_iter().zip(0..).map(|(mut engine, node)| {
            scope.spawn(move || (0..BATCHES).for_each(|batch| append(&mut engine, 1 + node * BATCHES + batch)))
        });
        nodes.collect::<Vec<_>>().into_iter().for_each(|node| node.join().expect("no panic"));
        drop(end);
        assert!(killer.join().expect("no panic") > 10, "too few connections were killed");
    });
    let all = i64::try_from(NODES * BATCHES).expect("a number");
    assert_eq!(test.number("SELECT count(*) FROM ledger.events"), all);
    assert_eq!(test.number("SELECT count(DISTINCT aggregate_id) FROM ledger.events"), all);
    assert_eq!(test.number("SELECT max(position) FROM ledger.events"), all);
    assert_eq!(test.number("SELECT count(*) FROM ledger.names"), all / 2);
}

impl TestLedger {
    fn engine_in_spite_of_kills(&self) -> PostgresEngine {
        (0..1000).find_map(|_| connect(&self.database, "node", ids(), now()).ok()).expect("it opens some time").0
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
    let mut engine = connect(&proxied, "node", ids(), now()).expect("the ledger opens").0;
    committed(&mut engine, |engine| one(engine, 1));
    proxy.cut_next_answer();
    committed(&mut engine, |engine| one(engine, 2));
    assert!(!proxy.cuts_next_answer(), "no answer was lost");
    committed(&mut engine, |engine| one(engine, 3));
    assert_eq!(test.number("SELECT count(*) FROM ledger.events"), 3);
}
