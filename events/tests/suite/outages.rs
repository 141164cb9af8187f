//! Outages of the database that nodes share: it is slow, restarted, out of reach, full, read-only or out of connections.
//!
//! Whatever happens, what was acknowledged is in the log at the position that was said, nothing stays open of what callers
//! were told had failed, and each end is recorded once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use events::event::{Event, Hold, Recorded};
use events::ids::RequestId;
use events::ledger::{Charge, Outcome, RefusedRequest};
use events::log::{
    Admitted, DatabaseAddress, EndedAt, Log, LogError, LogOptions, OpenHold, SteppedNode, open_shared_reader,
};
use events::money::NanoUsd;
use events::refusal::{ErrorCode, Refusal};
use events::time::{Clock, SystemClock};
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use testing::postgres::{TestDatabase, TestServer};
use testing::proxy::{Proxy, ProxyMode};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::eventually::eventually;
use crate::facts::{admission, context, ended, id, verify};
use crate::test_log::{TestLog, blocking};
use crate::wrong_clock::WrongClock;

/// Longer than any outage here, so that a hold that expired was forgotten.
const TTL: Duration = Duration::from_secs(600);
const SOON: Duration = Duration::from_secs(20);
/// Callers of each node.
const CALLERS: u128 = 8;
/// The requests of one caller have numbers from here, times its number.
const NUMBERS: u128 = 1_000_000;
/// Bytes that are in every batch with an admission, and in nothing else that a node sends.
const IN_AN_ADMISSION: &[u8] = b"budget.reserved";

/// Nodes of one database, each behind a proxy.
struct Outage {
    nodes: Vec<Log>,
    proxies: Vec<Proxy>,
    is_over: Arc<AtomicBool>,
    load: JoinSet<Vec<Call>>,
    /// Calls besides the load.
    calls: Vec<Call>,
    // Declared last: they outlive the logs in them.
    database: TestDatabase,
}

/// One request, and what its caller was told.
struct Call {
    request: RequestId,
    admitted: Result<u64, LogError>,
    /// If it was admitted.
    ended: Option<Result<EndedAt, LogError>>,
}

/// The answers that the callers got.
struct Told {
    calls: Vec<Call>,
    /// From the reader.
    log: Vec<Recorded>,
}

impl Outage {
    fn begin(database: TestDatabase, nodes: usize) -> Self {
        let clocks: Vec<_> = (0..nodes).map(|_| Arc::new(SystemClock::new()) as Arc<dyn Clock>).collect();
        Self::begin_with(database, &clocks)
    }

    /// Each node has a clock.
    fn begin_with(database: TestDatabase, clocks: &[Arc<dyn Clock>]) -> Self {
        let socket = database.socket();
        blocking(|| Log::migrate_shared(&database.url().parse().expect("an address")).expect("an empty database"));
        let proxies: Vec<_> = clocks.iter().map(|_| Proxy::start(socket)).collect();
        let open = |(proxy, clock): (&Proxy, &Arc<dyn Clock>)| {
            let through: DatabaseAddress = database.url_through(proxy.port).parse().expect("an address");
            let options = LogOptions::new(Arc::clone(clock)).with_hold_ttl(TTL);
            blocking(|| Log::open_shared(&through, &proxy.port.to_string(), options).expect("the log opens"))
        };
        let nodes = proxies.iter().zip(clocks).map(open).collect();
        Self { nodes, proxies, is_over: Arc::default(), load: JoinSet::new(), calls: Vec::new(), database }
    }

    /// Callers who ask for one request after the other, until the outage is over.
    fn start_load(&mut self) {
        for (log, node) in self.nodes.iter().zip(0_u128..) {
            for caller in 0..CALLERS {
                let first = (1 + node * CALLERS + caller) * NUMBERS;
                self.load.spawn(call_on(log.clone(), first, Arc::clone(&self.is_over)));
            }
        }
    }

    /// Waits until all nodes work, stops the load, and checks what everybody was told.
    async fn end(mut self) -> Told {
        for log in &self.nodes {
            eventually("a node cannot write", SOON, || log.is_writable()).await;
            eventually("a node does not know where the log ends", SOON, || log.is_current()).await;
        }
        sleep(Duration::from_millis(300)).await;
        self.is_over.store(true, Ordering::SeqCst);
        let load = std::mem::take(&mut self.load).join_all();
        let mut calls: Vec<_> = timeout(SOON, load).await.expect("in time").into_iter().flatten().collect();
        calls.append(&mut self.calls);
        // What nobody heard of ends by itself.
        for log in &self.nodes {
            eventually("a hold is still open", SOON, || log.figures().open_holds == 0).await;
        }
        let database: DatabaseAddress = self.database.url().parse().expect("an address");
        let log = blocking(|| {
            let reader = open_shared_reader(&database).expect("a reader");
            let sound = verify(&*reader).expect("a sound log");
            assert_eq!(sound.open_holds, 0);
            reader.after(0, 1_000_000).expect("it reads")
        });
        let told = Told { calls, log };
        told.check();
        told
    }

    async fn works_for(&self, time: Duration) {
        sleep(time).await;
    }

    /// Callers are told so at once, and the nodes go on trying.
    async fn fails_for_callers(&self) {
        for log in &self.nodes {
            eventually("a node can write", SOON, || !log.is_writable()).await;
        }
        sleep(Duration::from_secs(1)).await;
    }

    /// All nodes are failing, and show it all the time.
    async fn fails_for(&self, time: Duration) {
        sleep(Duration::from_millis(500)).await;
        let until = Instant::now() + time;
        while Instant::now() < until {
            assert!(self.nodes.iter().all(|log| !log.is_writable()), "health does not show it");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn call_on(log: Log, first: u128, is_over: Arc<AtomicBool>) -> Vec<Call> {
    let mut calls = Vec::new();
    for number in first.. {
        if is_over.load(Ordering::SeqCst) {
            break;
        }
        calls.push(call(&log, number).await);
        if calls.last().is_some_and(|call| call.admitted.is_err()) {
            // A client waits before it tries again.
            sleep(Duration::from_millis(20)).await;
        }
    }
    calls
}

async fn call(log: &Log, number: u128) -> Call {
    let began = Instant::now();
    let asked = log.admit(admission(number, number, 10, TTL), None).await;
    assert!(began.elapsed() < Duration::from_secs(11), "nobody waits for longer: {asked:?}");
    let (admitted, ended) = match asked {
        Ok(Admitted::Hold(hold)) => (Ok(hold.admitted_position), Some(settle(hold).await)),
        Ok(other) => panic!("no budget binds: {other:?}"),
        Err(error) => (Err(error), None),
    };
    Call { request: id(number), admitted, ended }
}

async fn settle(hold: OpenHold) -> Result<EndedAt, LogError> {
    hold.end(Vec::new(), Outcome::Completed(ended(7)), Charge::Settle(NanoUsd::new(7))).await
}

impl Told {
    fn check(&self) {
        for (recorded, position) in self.log.iter().zip(1..) {
            assert_eq!(recorded.position, position, "positions have no gap");
        }
        let mut by_request: HashMap<RequestId, Vec<&Recorded>> = HashMap::new();
        for recorded in &self.log {
            by_request.entry(recorded.context.request_id.expect("a request")).or_default().push(recorded);
        }
        for call in &self.calls {
            let events = by_request.remove(&call.request).unwrap_or_default();
            call.check(&events);
        }
        assert!(by_request.is_empty(), "nobody asked for these");
    }

    fn failed(&self) -> usize {
        self.calls.iter().filter(|call| call.admitted.is_err()).count()
    }

    fn recorded_in_spite(&self) -> usize {
        let is_released = |recorded: &&Recorded| matches!(recorded.event, Event::Hold(Hold::Released(_)));
        self.log.iter().filter(is_released).count()
    }
}

impl Call {
    fn check(&self, events: &[&Recorded]) {
        let names: Vec<_> = events.iter().map(|recorded| recorded.event.name()).collect();
        let at =
            |name: &str| events.iter().find(|recorded| recorded.event.name() == name).map(|recorded| recorded.position);
        match (&self.admitted, &self.ended) {
            (Ok(position), Some(end)) => {
                assert_eq!(at("inference.admitted"), Some(*position), "{names:?}");
                assert!(names.starts_with(&["inference.admitted", "budget.reserved"]), "{names:?}");
                let outcome = match end {
                    Ok(ended) => {
                        assert_eq!(at("budget.settled"), Some(ended.position), "{names:?}");
                        "inference.completed"
                    }
                    // It was recorded as it was decided at first, or later as a failure, as the client was told.
                    Err(_) if at("inference.completed").is_some() => "inference.completed",
                    Err(_) => "inference.failed",
                };
                assert_eq!(names[2..], [outcome, "budget.settled"], "ended once, and charged: {end:?}");
            }
            (Err(_), None) if names.is_empty() => {}
            (Err(error), None) => {
                assert!(error.may_be_recorded(), "nothing must be recorded of it: {error}, {names:?}");
                assert_eq!(names, ["inference.admitted", "budget.reserved", "inference.aborted", "budget.released"]);
                let Event::Hold(Hold::Released(released)) = &events[3].event else { panic!("a release") };
                assert_eq!(released.reason, "admission_unconfirmed", "{error}");
            }
            _ => panic!("only what was admitted ends"),
        }
    }
}

/// Holds: shared.acknowledged, shared.turns
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_database_loses_and_doubles_nothing() {
    let mut outage = Outage::begin(TestDatabase::create(), 2);
    outage.start_load();
    outage.works_for(Duration::from_millis(500)).await;
    outage.proxies[0].set(ProxyMode::Slow(Duration::from_millis(60)));
    outage.works_for(Duration::from_secs(2)).await;
    outage.proxies[0].set(ProxyMode::Open);
    let told = outage.end().await;
    assert_eq!(told.failed(), 0, "nobody is told of an error");
}

/// Holds: shared.acknowledged, shared.unconfirmed
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_restarted_under_load_loses_and_doubles_nothing() {
    for mode in ["fast", "immediate"] {
        let server = TestServer::start();
        let mut outage = Outage::begin(server.create_database(), 3);
        outage.start_load();
        for _ in 0..3 {
            outage.works_for(Duration::from_millis(700)).await;
            blocking(|| server.restart(mode));
        }
        outage.works_for(Duration::from_millis(700)).await;
        let told = outage.end().await;
        assert!(told.failed() < told.calls.len(), "{mode}: nobody was served");
    }
}

/// The bytes of the last statement arrive when the way is open again, as they do after a partition of a network.
///
/// Holds: shared.acknowledged, shared.unconfirmed
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_out_of_reach_for_longer_than_callers_wait_leaves_nothing_open() {
    let mut outage = Outage::begin(TestDatabase::create(), 2);
    outage.start_load();
    outage.works_for(Duration::from_millis(500)).await;
    outage.proxies[0].set(ProxyMode::Silent);
    sleep(Duration::from_secs(2)).await;
    assert!(!outage.nodes[0].is_current(), "it cannot know what is in force");
    // It may hang in its turn, for which nobody waits longer than three seconds.
    let whole = &outage.nodes[1];
    eventually("the other one does not work", SOON, || whole.is_writable() && whole.is_current()).await;
    // Now nobody passes the place of the last batch.
    outage.proxies[1].set(ProxyMode::Refused);
    sleep(Duration::from_secs(10)).await;
    outage.proxies.iter().for_each(|proxy| proxy.set(ProxyMode::Open));
    let told = outage.end().await;
    assert!(told.failed() > 0, "callers are told");
}

/// Refusals that are only counted, whose count arrives when nobody waits for it any more.
#[tokio::test]
async fn a_count_of_refusals_whose_commit_is_unknown_is_recorded_once() {
    let database = TestDatabase::create();
    blocking(|| Log::migrate_shared(&database.url().parse().expect("an address")).expect("an empty database"));
    let proxy = Proxy::start(database.socket());
    let through: DatabaseAddress = database.url_through(proxy.port).parse().expect("an address");
    let clock = crate::facts::clock();
    let opened =
        blocking(|| SteppedNode::open_shared(&through, "node", LogOptions::new(clock.clone()).with_any_clock()));
    let (log, mut writer) = opened.expect("the log opens");
    let mut refusing = JoinSet::new();
    let mut refuse = |numbers: std::ops::RangeInclusive<u128>| {
        for number in numbers {
            let refusal = Refusal::new(ErrorCode::BudgetExceeded, "nothing is left");
            let refused = RefusedRequest {
                request_id: id(number),
                context: context(1),
                model: "m".to_owned(),
                scoped_by: None,
                refusal,
            };
            let log = log.clone();
            refusing.spawn(async move { log.refuse(refused).await });
        }
    };
    // The first two prepare the statement, so that the answer is that of its commit.
    for numbers in [1..=1, 2..=2, 3..=50] {
        refuse(numbers);
        tokio::task::yield_now().await;
        blocking(|| writer.step(usize::MAX));
    }
    // Those that wait are told that nobody knows.
    clock.advance(Duration::from_secs(1));
    proxy.cut_off_after_answer_to(b"inference.refused");
    blocking(|| writer.step(usize::MAX));
    assert!(!log.is_writable());
    assert_eq!(database.number("SELECT max(position) FROM ledger.events"), 41);
    proxy.set(ProxyMode::Open);
    clock.advance(Duration::from_secs(1));
    refuse(51..=51);
    tokio::task::yield_now().await;
    blocking(|| writer.step(usize::MAX));
    assert!(log.is_writable(), "the count was recorded before");
    let answers = refusing.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 20 + 10 + 1, "{answers:?}");
    let counts = "SELECT sum((payload::json ->> 'count')::bigint)::bigint FROM ledger.events";
    assert_eq!(database.number(counts), 51);
    blocking(|| drop((log, writer)));
}

/// Holds: shared.acknowledged
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_answer_is_lost_is_acknowledged_where_it_is() {
    let mut outage = Outage::begin(TestDatabase::create(), 1);
    outage.start_load();
    for cut in 1..=20 {
        outage.works_for(Duration::from_millis(50)).await;
        outage.proxies[0].cut_answer_to(IN_AN_ADMISSION);
        eventually("every answer is passed on", SOON, || outage.proxies[0].answers_cut() == cut).await;
    }
    let told = outage.end().await;
    assert_eq!(told.failed(), 0, "nobody is told of an error");
}

/// The database refuses a row as it does when a table cannot grow. A full disk of the write-ahead log stops the server, which
/// is a restart.
///
/// Holds: shared.acknowledged, shared.outages
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_reported_and_passes() {
    let mut outage = Outage::begin(TestDatabase::create(), 2);
    outage.start_load();
    outage.works_for(Duration::from_millis(300)).await;
    blocking(|| {
        outage.database.execute(
            "CREATE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
             CREATE TRIGGER disk_is_full BEFORE INSERT ON ledger.events FOR EACH ROW EXECUTE FUNCTION disk_is_full()",
        );
    });
    outage.fails_for_callers().await;
    blocking(|| outage.database.execute("DROP TRIGGER disk_is_full ON ledger.events"));
    let told = outage.end().await;
    assert!(told.failed() > 0 && told.recorded_in_spite() == 0, "whoever is told so is told so for certain");
}

/// Nobody asks for anything meanwhile, so that only what the node tries itself can show it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_not_ready_while_the_database_takes_no_events() {
    let faults = [
        (
            "CREATE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
             CREATE TRIGGER disk_is_full BEFORE INSERT ON ledger.events FOR EACH ROW EXECUTE FUNCTION disk_is_full()",
            "DROP TRIGGER disk_is_full ON ledger.events",
        ),
        ("REVOKE INSERT ON ledger.events FROM ledgerway_gateway", "GRANT INSERT ON ledger.events TO ledgerway_gateway"),
    ];
    let ground = TestLog::in_database();
    let TestLog::Database(database) = &ground else { panic!("it is in a database") };
    let log = ground.open(&crate::facts::clock());
    for ((fault, remedy), number) in faults.into_iter().zip(1..) {
        blocking(|| database.execute(fault));
        let refused = call(&log, number).await;
        assert!(refused.admitted.is_err_and(|error| !error.may_be_recorded()));
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(1) {
            assert!(!log.is_writable(), "health does not show it");
            sleep(Duration::from_millis(10)).await;
        }
        blocking(|| database.execute(remedy));
        eventually("it cannot write", SOON, || log.is_writable()).await;
    }
    assert_eq!(database.number("SELECT count(*) FROM ledger.events"), 0);
    let served = call(&log, 3).await;
    assert!(matches!((&served.admitted, &served.ended), (Ok(1), Some(Ok(_)))));
}

/// Holds: shared.acknowledged, shared.outages
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_becomes_read_only_is_reported_and_passes() {
    let server = TestServer::start();
    let mut outage = Outage::begin(server.create_database(), 2);
    outage.start_load();
    outage.works_for(Duration::from_millis(300)).await;
    blocking(|| server.set("default_transaction_read_only", "on"));
    outage.fails_for(Duration::from_secs(1)).await;
    blocking(|| server.set("default_transaction_read_only", "off"));
    let told = outage.end().await;
    assert!(told.failed() > 0 && told.recorded_in_spite() == 0, "whoever is told so is told so for certain");
}

/// Other clients have taken all connections when those of the nodes are lost.
///
/// Holds: shared.acknowledged, shared.outages
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_free_connections_is_reported_and_passes() {
    let server = TestServer::start();
    blocking(|| {
        server.set("max_connections", "20");
        server.restart("fast");
    });
    let mut outage = Outage::begin(server.create_database(), 1);
    let greedy = outage.database.url();
    outage.start_load();
    outage.works_for(Duration::from_millis(300)).await;
    outage.proxies[0].set(ProxyMode::Refused);
    let mut taken = Vec::new();
    while let Ok(connection) = PgConnection::connect(&greedy).await {
        taken.push(connection);
    }
    outage.proxies[0].set(ProxyMode::Open);
    outage.fails_for_callers().await;
    for connection in taken {
        connection.close().await.expect("closed");
    }
    let told = outage.end().await;
    assert!(told.failed() > 0, "callers are told");
}

/// Holds: shared.clock
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_clock_is_seven_seconds_ahead_records_nothing_until_it_is_set() {
    records_nothing_until_it_is_set(7_000_000).await;
}

/// For the other nodes, its holds would expire before their requests end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_clock_is_twenty_minutes_behind_records_nothing_until_it_is_set() {
    records_nothing_until_it_is_set(-20 * 60 * 1_000_000).await;
}

async fn records_nothing_until_it_is_set(wrong_by: i64) {
    let wrong_clock = Arc::new(WrongClock::wrong_by(wrong_by));
    let clocks: [Arc<dyn Clock>; 2] = [wrong_clock.clone(), Arc::new(SystemClock::new())];
    let mut outage = Outage::begin_with(TestDatabase::create(), &clocks);
    let wrong = outage.nodes[0].clone();
    let refused = call(&wrong, 1).await;
    assert!(refused.admitted.as_ref().is_err_and(|error| !error.may_be_recorded()), "it is certain");
    for _ in 0..30 {
        assert!(!wrong.is_writable(), "health does not show it");
        sleep(Duration::from_millis(20)).await;
    }
    let served = call(&outage.nodes[1], 2).await;
    assert!(matches!((&served.admitted, &served.ended), (Ok(1), Some(Ok(_)))), "the other node works");
    wrong_clock.set(0);
    eventually("it cannot write", SOON, || wrong.is_writable()).await;
    let later = call(&wrong, 3).await;
    assert!(later.admitted.is_ok(), "its clock is right now");
    outage.calls.extend([refused, served, later]);
    outage.end().await;
}

/// If holds live for ten seconds, the time of a batch may be a second old. It waits for longer, first for a lock of the table of
/// batches, then for the turn of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_waits_until_its_time_is_too_old_gets_a_new_one() {
    let database = TestDatabase::create();
    let address: DatabaseAddress = database.url().parse().expect("an address");
    let options = LogOptions::new(Arc::new(SystemClock::new())).with_hold_ttl(Duration::from_secs(10));
    let log = blocking(|| {
        Log::migrate_shared(&address).expect("an empty database");
        Log::open_shared(&address, "node", options).expect("the log opens")
    });
    let turn = "SELECT pg_advisory_xact_lock(x'4C454447'::integer, x'5455524E'::integer)";
    for (number, lock) in (1..).zip(["LOCK TABLE ledger.batches IN EXCLUSIVE MODE", turn]) {
        let mut other = PgConnection::connect(&database.url()).await.expect("a connection");
        sqlx::raw_sql(&format!("BEGIN; {lock}")).execute(&mut other).await.expect("the lock");
        let (mut asking, asked) = (JoinSet::new(), log.clone());
        asking.spawn(async move { call(&asked, number).await });
        sleep(Duration::from_millis(1500)).await;
        sqlx::raw_sql("COMMIT").execute(&mut other).await.expect("the end of the lock");
        let Call { admitted, ended, .. } = asking.join_next().await.expect("a call").expect("no panic");
        assert!(matches!(ended, Some(Ok(_))), "{lock}: {admitted:?}");
        assert!(log.is_writable(), "{lock}: its clock is right");
    }
    assert_eq!(log.figures().failed_batches, 0);
    blocking(|| drop(log));
}

/// Holds: shared.fails-alone
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_the_database_never_takes_is_found_among_hundreds() {
    const POISONED: u128 = 250;
    let mut outage = Outage::begin(TestDatabase::create(), 1);
    blocking(|| {
        let poisoned: RequestId = id(POISONED);
        outage.database.execute(&format!(
            "ALTER TABLE ledger.events ADD CHECK (aggregate_type <> 'inference' OR aggregate_id <> '{poisoned}')"
        ));
    });
    // Together in few batches: the writer is busy with the first one meanwhile.
    outage.proxies[0].set(ProxyMode::Slow(Duration::from_millis(100)));
    let mut asking = JoinSet::new();
    for number in 1..=501 {
        let log = outage.nodes[0].clone();
        asking.spawn(async move { call(&log, number).await });
    }
    sleep(Duration::from_millis(300)).await;
    outage.proxies[0].set(ProxyMode::Open);
    let calls = asking.join_all().await;
    let failed: Vec<_> = calls.iter().filter(|call| call.admitted.is_err()).map(|call| call.request).collect();
    assert_eq!(failed, [id(POISONED)], "the others are recorded");
    assert!(calls.iter().all(|call| call.ended.as_ref().is_none_or(Result::is_ok)));
    assert!(outage.nodes[0].figures().failed_batches > 3, "it was in a batch with others");
    outage.calls = calls;
    let told = outage.end().await;
    assert_eq!(told.log.len(), 500 * 4);
}
