//! A price is corrected after many requests were charged by it: how long the corrections take, what they do to requests that are
//! sent meanwhile, and whether their sum is exactly the difference, although the gateway is killed while it makes them.
//!
//! `cargo bench --bench revaluation` sends the requests, changes the price, and kills the gateway several times, evenly over the
//! corrections. Meanwhile another connection sends requests. At the end it stops the gateway, verifies its folder, and adds up
//! the log. Exit 1 if a request has another value than its tokens have at the new price, or the folder is not sound.
//!
//! | variable | default | |
//! |---|---|---|
//! | `REVALUATION_REQUESTS` | 100000 | |
//! | `REVALUATION_KILLS` | 5 | |

mod load;
mod sums;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use harness::admin::Price;
use harness::figures::{Spread, millis, per_second};
use harness::gateway::Gateway;
use harness::verdict::exit_code;
use harness::{request, settings, table};
use serde_json::json;
use testing::upstream::prepared::PreparedUpstream;
use testing::upstream::prepared::model;

use load::Probe;
use sums::Sums;

const NODE_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const PRICE: Price = Price { input: "0.1", cache_read: "0.05", output: "0.4" };
/// The same classes, corrected.
const CORRECTED: Price = Price { input: "0.3", cache_read: "0.02", output: "0.7" };
const CONNECTIONS: usize = 16;
/// The time in which requests are measured before the change.
const PROBED_BEFORE: Duration = Duration::from_secs(5);
/// The longest time for all corrections, and for the event that completes them.
const CORRECTED_MAX: Duration = Duration::from_secs(1200);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const COLUMNS: [&str; 9] = [
    "requests", "kills", "corrected after s", "corrections/s", "complete after s", "p50 ms before", "p99 ms before",
    "p50 ms meanwhile", "p99 ms meanwhile",
];

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<bool, String> {
    let requests = settings::count("REVALUATION_REQUESTS", 100_000)?;
    let kills = settings::count("REVALUATION_KILLS", 5)?;
    revalue(requests, kills).map_err(|error| error.to_string())
}

/// True if every request has its value and the folder is sound.
fn revalue(requests: u64, kills: u64) -> io::Result<bool> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let start = || Gateway::start_on(env!("CARGO_BIN_EXE_ledgerway"), &folder.path().join("data"), NODE_KEY);
    let mut gateway = start();
    let upstream = PreparedUpstream::start();
    let account = gateway.admin().set_up(upstream.address, PRICE);
    let whole = request::whole(&account.secret);
    load::send(gateway.address, &whole, requests, CONNECTIONS)?;
    let probe = Probe::start(gateway.address, &whole);
    std::thread::sleep(PROBED_BEFORE);
    let mut before = probe.stop();
    let requests = requests + before.len() as u64;
    let price = gateway.admin().get(&format!("/v1/admin/prices?model={}", model::WHOLE))?["items"][0]["id"].clone();
    let path = format!("/prices/{}", price.as_str().unwrap_or_default());
    let change = json!({ "input_usd_per_mtok": CORRECTED.input, "cache_read_usd_per_mtok": CORRECTED.cache_read,
                         "output_usd_per_mtok": CORRECTED.output });
    gateway.admin().change(&path, &change)?;
    let (started, mut meanwhile) = (Instant::now(), Vec::new());
    for kill in 1..=kills {
        let probe = Probe::start(gateway.address, &whole);
        wait_for_corrections(&gateway, requests * kill / (kills + 1), started)?;
        meanwhile.append(&mut probe.stop());
        gateway.kill();
        gateway = start();
        gateway.wait_until_ready();
    }
    let probe = Probe::start(gateway.address, &whole);
    wait_for_corrections(&gateway, requests, started)?;
    let corrected = started.elapsed();
    meanwhile.append(&mut probe.stop());
    let complete = wait_for_completion(&gateway, started)?;
    let (mut out, idle, probed) = (io::stdout().lock(), Spread::of(&mut before), Spread::of(&mut meanwhile));
    table::header(&mut out, &COLUMNS)?;
    let cells = [
        requests.to_string(),
        kills.to_string(),
        corrected.as_secs().to_string(),
        per_second(usize::try_from(requests).unwrap_or(usize::MAX), corrected).to_string(),
        complete.as_secs().to_string(),
        millis(idle.p50),
        millis(idle.p99),
        millis(probed.p50),
        millis(probed.p99),
    ];
    table::row(&mut out, &cells)?;
    let ended = gateway.stop();
    let (is_sound, text) = gateway.verify();
    writeln!(out, "\nstopped with {ended}; verify: {text}")?;
    let sums = Sums::of(gateway.data())?;
    sums.write(&mut out)?;
    Ok(ended.success() && is_sound && sums.are_right(requests))
}

/// Waits until the log has this many corrections.
fn wait_for_corrections(gateway: &Gateway, wanted: u64, since: Instant) -> io::Result<()> {
    wait(since, || Ok(sums::corrections(gateway.data())? >= wanted)).map(drop)
}

fn wait_for_completion(gateway: &Gateway, since: Instant) -> io::Result<Duration> {
    wait(since, || sums::is_complete(gateway.data()))
}

fn wait(since: Instant, mut is_done: impl FnMut() -> io::Result<bool>) -> io::Result<Duration> {
    while !is_done()? {
        if since.elapsed() > CORRECTED_MAX {
            return Err(io::Error::other(format!("it takes more than {CORRECTED_MAX:?}")));
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    Ok(since.elapsed())
}

fn ledger(data: &Path) -> std::path::PathBuf {
    data.join(events_log::LEDGER_FILE)
}
