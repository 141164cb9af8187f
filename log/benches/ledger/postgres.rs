//! The log that nodes share, on a PostgreSQL that is started for it, with the embedded one beside it. Each node is a process of
//! its own.
//!
//! `LEDGER_SECONDS` sets the time per row, by default three seconds; `LEDGER_IDLE_SECONDS` that beside an idle transaction, by
//! default sixty, and zero leaves it out.

pub mod node;

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use events_log::Log;
use harness::figures::{hundredths, per_mille};
use harness::postgres::{SETTINGS, Session};
use harness::process::Processes;
use harness::{disk, settings, table};
use testing::postgres::{TestDatabase, TestServer};

use self::node::{Node, Work};
use crate::budgets::Customers;
use crate::load::{self, Measured, Waits};

const SECONDS: u64 = 3;
const IDLE_SECONDS: u64 = 60;
/// The length of the parts of the time beside an idle transaction.
const PART: Duration = Duration::from_secs(5);
const SUBMITTERS: [usize; 4] = [1, 8, 64, 512];
const CROWD: usize = 64;
const NODES: usize = 3;
const COLUMNS: [&str; 14] = [
    "log", "submitters", "requests/s", "events/s", "events a batch", "batch µs", "admit p50 µs", "p99",
    "settle p50 µs", "p99", "CPU-µs a request", "of them the writers'", "the server's", "decided again per batch",
];

pub fn run() -> Result<(), String> {
    let time = settings::seconds("LEDGER_SECONDS", SECONDS)?;
    let idle = settings::seconds("LEDGER_IDLE_SECONDS", IDLE_SECONDS)?;
    // Where the server's data are as well.
    measure(&std::env::temp_dir(), time, idle).map_err(|error| error.to_string())
}

fn measure(root: &Path, time: Duration, idle: Duration) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let server = TestServer::start_with(&SETTINGS);
    writeln!(out, "PostgreSQL with its own settings, except {}. {}.\n", SETTINGS.join(", "), disk::fdatasync(root)?)?;
    table::header(&mut out, &COLUMNS)?;
    let ledger = create_ledger(&server)?;
    let mut nodes = [Node::start(&ledger.url(), Customers::ONE)?];
    let mut commits = Vec::new();
    for submitters in SUBMITTERS {
        let embedded = load::measure(root, Customers::ONE, submitters, time)?;
        row(&mut out, "SQLite", submitters, &embedded, None)?;
        let before = Session::open(&ledger.url())?.commit(time / 3)?;
        let (shared, server_cpu) = together(&server, &mut nodes, submitters, time)?;
        row(&mut out, "PostgreSQL, one node", submitters, &shared, Some(server_cpu))?;
        let after = Session::open(&ledger.url())?.commit(time / 3)?;
        commits.push(format!("{} and {} µs", before.as_micros(), after.as_micros()));
    }
    many_budgets(&mut out, &server, root, time)?;
    several(&mut out, &server, time)?;
    bulk(&mut out, &server, &mut nodes, time)?;
    writeln!(out, "\nOne row in autocommit, p50 before and after each row of one node: {}", commits.join("; "))?;
    if !idle.is_zero() {
        beside_idle_transaction(&mut out, &server, (&ledger, &mut nodes), idle)?;
    }
    Ok(())
}

/// Creates a database with an empty ledger.
fn create_ledger(server: &TestServer) -> io::Result<TestDatabase> {
    let database = server.create_database();
    let address = database.url().parse().map_err(io::Error::other)?;
    Log::migrate_shared(&address).map_err(io::Error::other)?;
    Ok(database)
}

fn many_budgets(out: &mut impl Write, server: &TestServer, root: &Path, time: Duration) -> io::Result<()> {
    let embedded = load::measure(root, Customers::MANY, CROWD, time)?;
    row(out, "SQLite, a thousand budgets", CROWD, &embedded, None)?;
    let ledger = create_ledger(server)?;
    let mut nodes = [Node::start(&ledger.url(), Customers::MANY)?];
    let (shared, server_cpu) = together(server, &mut nodes, CROWD, time)?;
    row(out, "PostgreSQL, a thousand budgets", CROWD, &shared, Some(server_cpu))
}

fn several(out: &mut impl Write, server: &TestServer, time: Duration) -> io::Result<()> {
    let ledger = create_ledger(server)?;
    let mut nodes = Vec::new();
    for count in 1..=NODES {
        nodes.push(Node::start(&ledger.url(), Customers::ONE)?);
        let (shared, server_cpu) = together(server, &mut nodes, CROWD, time)?;
        row(out, &format!("PostgreSQL, nodes: {count}"), CROWD, &shared, Some(server_cpu))?;
    }
    // As many for each node as the one had.
    let (shared, server_cpu) = together(server, &mut nodes, NODES * CROWD, time)?;
    row(out, &format!("PostgreSQL, nodes: {NODES}"), NODES * CROWD, &shared, Some(server_cpu))
}

fn bulk(out: &mut impl Write, server: &TestServer, nodes: &mut [Node; 1], time: Duration) -> io::Result<()> {
    let [node] = nodes;
    let processes = Processes::with_children(server.id());
    let before = processes.cpu();
    node.begin(Work::Bulk, time)?;
    let measured = node.finish()?;
    let (events, seconds) = (u128::from(measured.events), measured.took.as_micros().max(1));
    let each = |cpu: Duration| hundredths(cpu.as_nanos() / 1000, events);
    writeln!(
        out,
        "\nIn batches of {}: {} events/s, {} CPU-µs an event, and {} of the server",
        measured.events / measured.batches.max(1),
        events * 1_000_000 / seconds,
        each(measured.all_cpu),
        each(processes.cpu() - before),
    )
}

fn beside_idle_transaction(
    out: &mut impl Write,
    server: &TestServer,
    (ledger, nodes): (&TestDatabase, &mut [Node; 1]),
    time: Duration,
) -> io::Result<()> {
    let mut idle = Session::open(&ledger.url())?;
    // It has a number and a snapshot, so that nothing which it might still see can be removed.
    idle.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_xact_id()")?;
    let mut medians = Vec::new();
    for _ in 0..time.as_secs() / PART.as_secs() {
        let (mut shared, _) = together(server, nodes, CROWD, PART)?;
        medians.push(format!(
            "{}/{}",
            per_mille(&mut shared.waits.admitted, 500),
            shared.commit_micros / shared.batches.max(1)
        ));
    }
    idle.run("ROLLBACK")?;
    let medians = medians.join(", ");
    writeln!(
        out,
        "\nBeside an idle transaction, {CROWD} submitters, admit p50/batch µs every {} s: {medians}",
        PART.as_secs()
    )
}

/// Submitters shared among nodes. Returns the sum of what these did, and the server's CPU time.
fn together(
    server: &TestServer,
    nodes: &mut [Node],
    submitters: usize,
    time: Duration,
) -> io::Result<(Measured, Duration)> {
    let processes = Processes::with_children(server.id());
    let before = processes.cpu();
    let count = nodes.len();
    for (at, node) in nodes.iter_mut().enumerate() {
        let share = submitters / count + usize::from(at < submitters % count);
        node.begin(Work::Requests { submitters: share }, time)?;
    }
    let mut sum = Measured { waits: Waits::default(), ..Measured::default() };
    for node in nodes {
        let measured = node.finish()?;
        sum.took = sum.took.max(measured.took);
        sum.waits.add(measured.waits);
        sum.batches += measured.batches;
        sum.jobs += measured.jobs;
        sum.events += measured.events;
        sum.commit_micros += measured.commit_micros;
        sum.decided_again += measured.decided_again;
        sum.writer_cpu += measured.writer_cpu;
        sum.all_cpu += measured.all_cpu;
    }
    // The warm-up is not counted elsewhere.
    let counted = time.div_duration_f64(time + load::WARM_UP);
    Ok((sum, (processes.cpu() - before).mul_f64(counted)))
}

fn row(
    out: &mut impl Write,
    log: &str,
    submitters: usize,
    measured: &Measured,
    server_cpu: Option<Duration>,
) -> io::Result<()> {
    let requests = measured.waits.ended.len() as u128;
    let a_second = |number: u128| (number * 1_000_000 / measured.took.as_micros().max(1)).to_string();
    let each = |cpu: Duration| (cpu.as_micros() / requests.max(1)).to_string();
    let batches = u128::from(measured.batches.max(1));
    let (mut admitted, mut ended) = (measured.waits.admitted.clone(), measured.waits.ended.clone());
    table::row(
        out,
        &[
            log.to_owned(),
            submitters.to_string(),
            a_second(requests),
            a_second(u128::from(measured.events)),
            (u128::from(measured.events) / batches).to_string(),
            (u128::from(measured.commit_micros) / batches).to_string(),
            per_mille(&mut admitted, 500).to_string(),
            per_mille(&mut admitted, 990).to_string(),
            per_mille(&mut ended, 500).to_string(),
            per_mille(&mut ended, 990).to_string(),
            each(measured.all_cpu),
            each(measured.writer_cpu),
            server_cpu.map_or_else(|| "-".to_owned(), each),
            hundredths(u128::from(measured.decided_again), batches),
        ],
    )
}
