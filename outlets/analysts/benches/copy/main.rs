//! How long after its commit a request's end can be read by analysts, while requests are recorded at a fixed rate, and what that
//! costs. Ledger and copy are in one PostgreSQL, which is started for it.
//!
//! `cargo bench -p analysts --bench copy`. `COPY_SECONDS` (60) is the time per row, `COPY_EVENTS` (5000) the events a second.
//! Rows: views without a copy, and with one.

mod load;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use analysts::{Copier, migrate};
use events::time::SystemClock;
use events_log::role::{Role, RoleStatus};
use events_log::{DatabaseAddress, Log, LogOptions};
use harness::figures::{Spread, hundredths, millis};
use harness::postgres::SETTINGS;
use harness::process::{Processes, cpu_of_threads};
use harness::{settings, table, verdict};
use outlets::AnyOutlet;
use projections::views::{self, CopiedPosition};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor, Row};
use testing::postgres::TestServer;
use tokio::task::JoinSet;

use load::{Commits, EVENTS_A_REQUEST, Load};

const SECONDS: u64 = 60;
const EVENTS: u64 = 5_000;
/// How often the copy is looked at: so much too late is a row seen at most.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// How long the copy may take to catch up after the load.
const REST_MAX: Duration = Duration::from_secs(30);
const COPIED: &str = "SELECT min(position) FROM views.position";
const COLUMNS: [&str; 8] = [
    "views",
    "events/s",
    "commit to row p50 ms",
    "p99",
    "max",
    "CPU-µs an event",
    "of them the views' thread",
    "the server's",
];

fn main() -> ExitCode {
    verdict::exit_code(measure().map(|()| true))
}

fn measure() -> Result<(), String> {
    let time = settings::seconds("COPY_SECONDS", SECONDS)?;
    let rate = settings::count("COPY_EVENTS", EVENTS)? / EVENTS_A_REQUEST;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let server = TestServer::start_with(&SETTINGS);
    let mut out = io::stdout().lock();
    table::header(&mut out, &COLUMNS).map_err(|error| error.to_string())?;
    for is_copied in [false, true] {
        row(&mut out, &runtime, &server, (is_copied, rate, time)).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn row(
    out: &mut impl Write,
    runtime: &tokio::runtime::Runtime,
    server: &TestServer,
    (is_copied, rate, time): (bool, u64, Duration),
) -> io::Result<()> {
    let (database, folder) = (server.create_database(), tempfile::tempdir()?);
    let address: DatabaseAddress = database.url().parse().map_err(io::Error::other)?;
    Log::migrate_shared(&address).map_err(io::Error::other)?;
    migrate(&address).map_err(io::Error::other)?;
    let clock = Arc::new(SystemClock::new());
    let log = Log::open_shared(&address, "bench", LogOptions::new(clock.clone())).map_err(io::Error::other)?;
    let copied = CopiedPosition::default();
    let started = if is_copied {
        views::start_copied(&log, folder.path(), clock.clone(), copied.clone())
    } else {
        views::start(&log, folder.path(), clock.clone())
    };
    let (views, thread) = started.map_err(io::Error::other)?;
    let (servers, own) = (Processes::with_children(server.id()), Processes::this());
    let mut copying = JoinSet::new();
    if is_copied {
        let copier = Copier { views: views.clone(), copied, database: address };
        let copying_role = AnyOutlet::from(copier).run(log.clone(), RoleStatus::new(Role::Analysts), clock);
        copying.spawn_on(copying_role, runtime.handle());
    }
    let commits = Commits::default();
    let (before, views_before, server_before) = (own.cpu(), cpu_of_threads("views"), servers.cpu());
    let mut delays = runtime.block_on(async {
        let mut watching = JoinSet::new();
        if is_copied {
            watching.spawn(watch(database.url(), commits.clone()));
        }
        let load = Load::begin(log.clone()).await;
        load.run(rate, time, &commits).await;
        let rest = tokio::time::timeout(REST_MAX, watching.join_next()).await;
        rest.map_err(io::Error::other)?
            .transpose()
            .map_err(io::Error::other)?
            .transpose()
            .map(Option::unwrap_or_default)
    })?;
    let cpu = [
        own.cpu() - before,
        cpu_of_threads("views") - views_before,
        Processes::with_children(server.id()).cpu() - server_before,
    ];
    let events = u128::from(log.head().position);
    let spread = Spread::of(&mut delays);
    let [own, of_views, of_server] = cpu.map(|cpu| hundredths(cpu.as_nanos() / 1000, events));
    let delay = |delay: Duration| if is_copied { millis(delay) } else { String::new() };
    table::row(
        out,
        &[
            if is_copied { "copied" } else { "not copied" }.to_owned(),
            hundredths(events, time.as_secs().into()),
            delay(spread.p50),
            delay(spread.p99),
            delay(spread.max),
            own,
            of_views,
            of_server,
        ],
    )?;
    runtime.block_on(copying.shutdown());
    thread.stop();
    log.close();
    Ok(())
}

/// The time from each commit until its position was read in the copy. Ends when the load has ended and all of it was seen.
async fn watch(url: String, commits: Commits) -> io::Result<Vec<Duration>> {
    let mut connection = PgConnection::connect(&url).await.map_err(io::Error::other)?;
    let (mut delays, mut waiting) = (Vec::new(), Vec::new());
    loop {
        let row = connection.fetch_one(COPIED).await.map_err(io::Error::other)?;
        let (seen_at, copied) = (Instant::now(), row.try_get::<i64, _>(0).map_err(io::Error::other)?);
        let has_ended = commits.take(&mut waiting);
        waiting.retain(|(position, committed_at)| {
            let is_seen = i64::try_from(*position).is_ok_and(|position| position <= copied);
            if is_seen {
                delays.push(seen_at.saturating_duration_since(*committed_at));
            }
            !is_seen
        });
        if has_ended && waiting.is_empty() {
            return Ok(delays);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
