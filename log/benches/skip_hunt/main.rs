//! A hunt for events that a reader skips or sees twice, on a PostgreSQL of its own. It also measures whether appends become
//! slower while a session idles in a transaction.
//!
//! `cargo bench -p events_log --bench skip_hunt`. `HUNT_EVENTS` (1,000,000), `HUNT_NODES` (8), `HUNT_WRITERS` (32), `HUNT_SEED`.

mod hunt;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use harness::figures::{millis, per_mille};
use harness::verdict::exit_code;
use harness::{settings, table};
use hunt::{Hunt, HuntResult, hunt};
use testing::postgres::TestServer;

const EVENTS: u64 = 1_000_000;
const NODES: u64 = 8;
const WRITERS: u64 = 32;
const SEED: u64 = 1;
/// How much longer the median wait may be in the last tenth than in the first, in hundredths.
const SLOWER_MAX: u128 = 150;
/// How far a reader may be behind from a second after a disturbance on.
const BEHIND_MAX: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<bool, String> {
    let number = |variable, default| {
        settings::count(variable, default).and_then(|number| usize::try_from(number).map_err(|error| error.to_string()))
    };
    let sizes = Hunt {
        events: settings::count("HUNT_EVENTS", EVENTS)?,
        nodes: number("HUNT_NODES", NODES)?,
        writers: number("HUNT_WRITERS", WRITERS)?,
        plain_readers: 4,
        seed: settings::count("HUNT_SEED", SEED)?,
        disturbed_every: Duration::from_secs(2),
    };
    let server = TestServer::start();
    let found = hunt(&server.create_database(), sizes);
    print(sizes, found).map_err(|error| error.to_string())
}

/// True if appends did not become slower, and no reader stayed behind.
fn print(sizes: Hunt, mut found: HuntResult) -> io::Result<bool> {
    let out = &mut io::stdout().lock();
    table::header(
        out,
        &[
            "events", "nodes", "writers", "readers", "seconds", "events/s", "killed", "rolled back", "errors told",
            "followers behind ms", "plain readers", "wait p50 ms, first tenth", "last tenth",
        ],
    )?;
    let [first, last] = [&mut found.first_waits, &mut found.last_waits].map(|waits| per_mille(waits, 500));
    let rate = u128::from(found.events) * 1_000_000 / found.took.as_micros().max(1);
    table::row(
        out,
        &[
            found.events.to_string(),
            sizes.nodes.to_string(),
            sizes.writers.to_string(),
            (sizes.nodes + sizes.plain_readers).to_string(),
            found.took.as_secs().to_string(),
            rate.to_string(),
            found.kills.to_string(),
            found.rollbacks.to_string(),
            found.errors.to_string(),
            millis(found.behind.followers),
            millis(found.behind.plain),
            millis(first),
            millis(last),
        ],
    )?;
    let behind = found.behind.followers.max(found.behind.plain);
    Ok(last.as_micros() * 100 <= first.as_micros() * SLOWER_MAX && behind <= BEHIND_MAX)
}
