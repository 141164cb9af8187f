//! The gateway under a steady, mixed load for a long time: its latency, memory and correctness.
//!
//! `cargo bench --bench soak` sends requests at a fixed rate: whole answers, streams, streams that the client aborts, requests
//! that an empty budget refuses, changes by an admin, and queries. It prints a row per minute; at the end it stops the gateway
//! and verifies its data folder. Exit 1 if a response was wrong or the folder is not sound.
//!
//! | variable | default | |
//! |---|---|---|
//! | `SOAK_SECONDS` | 600 | |
//! | `SOAK_RATE` | 300 | requests a second |
//! | `SOAK_ROW_SECONDS` | 60 | |

mod load;
mod mix;
mod watch;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use harness::admin::Price;
use harness::figures::{Spread, mebibytes, micros_each, millis};
use harness::gateway::Gateway;
use harness::pool::Pool;
use harness::verdict::exit_code;
use harness::{descriptors, settings, table};
use testing::upstream::prepared::PreparedUpstream;

use load::{Errors, Load, LoadResults};
use mix::Mix;
use watch::{HighestLag, Watch};

const PRICE: Price = Price { input: "0.1", cache_read: "0.05", output: "0.4" };
const LEDGER: &str = "ledger.db";
const LEDGER_WAL: &str = "ledger.db-wal";
const VIEWS: &str = "views.db";
/// The row whose memory is compared with that at the end: before it, caches and pools fill.
const SETTLED_ROW: usize = 2;
const COLUMNS: [&str; 16] = [
    "until s", "requests", "errors", "whole p50 ms", "p99 ms", "max ms", "first token p99 ms", "CPU-µs a request",
    "VmRSS MiB", "open files", "threads", "ledger.db MiB", "its WAL MiB", "views.db MiB", "views behind, events", "ms",
];

struct Settings {
    time: Duration,
    row: Duration,
    per_second: u64,
}

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<bool, String> {
    descriptors::require(8192)?;
    let settings = Settings {
        time: settings::seconds("SOAK_SECONDS", 600)?,
        row: settings::seconds("SOAK_ROW_SECONDS", 60)?.max(Duration::from_secs(1)),
        per_second: settings::count("SOAK_RATE", 300)?,
    };
    soak(&settings).map_err(|error| error.to_string())
}

/// True if every response was correct and the folder is sound.
fn soak(settings: &Settings) -> io::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut out = io::stdout().lock();
    let upstream = PreparedUpstream::start();
    let mut gateway = Gateway::start(env!("CARGO_BIN_EXE_ledgerway"), env!("CARGO_TARGET_TMPDIR"));
    let admin = gateway.admin();
    let mix = Mix::new(admin, admin.set_up(upstream.address, PRICE));
    let watch = Watch::start(admin);
    writeln!(out, "{} requests a second for {} s:\n", settings.per_second, settings.time.as_secs())?;
    table::header(&mut out, &COLUMNS)?;
    let (errors, sizes) = runtime.block_on(rows(&mut out, settings, &gateway, mix, &watch))?;
    watch.stop();
    writeln!(out, "\n{}", growth(&sizes))?;
    for (error, count) in &errors.0 {
        writeln!(out, "{count} times {error}")?;
    }
    let ended = gateway.stop();
    let (is_sound, text) = gateway.verify();
    writeln!(out, "stopped with {ended}; verify: {text}")?;
    Ok(ended.success() && is_sound && errors.0.is_empty())
}

/// Runs the load and prints its rows. Returns the errors, and the gateway's memory after each row.
async fn rows(
    out: &mut impl Write,
    settings: &Settings,
    gateway: &Gateway,
    mix: Mix,
    watch: &Watch,
) -> io::Result<(Errors, Vec<u64>)> {
    let (mut errors, mut sizes, started) = (Errors::default(), Vec::new(), Instant::now());
    let mut load = Load::start(mix, Pool::new(gateway.address), settings.per_second);
    let (end, mut cpu) = (started + settings.time, gateway.processes().cpu());
    while Instant::now() < end {
        let until = (Instant::now() + settings.row).min(end);
        let results = load.run_until(until, &mut errors).await;
        let used = gateway.processes().cpu();
        let row = Row { until: started.elapsed(), cpu: used.saturating_sub(cpu), lag: watch.take(), results };
        sizes.push(row.write(out, gateway)?);
        cpu = used;
    }
    let rest = load.finish(&mut errors).await;
    writeln!(out, "\n{} more responses after the last row, {} of them wrong", rest.requests, rest.errors)?;
    Ok((errors, sizes))
}

struct Row {
    until: Duration,
    cpu: Duration,
    lag: HighestLag,
    results: LoadResults,
}

impl Row {
    /// Prints the row, and returns the gateway's memory.
    fn write(mut self, out: &mut impl Write, gateway: &Gateway) -> io::Result<u64> {
        let processes = gateway.processes();
        let memory = processes.memory();
        let whole = Spread::of(&mut self.results.whole);
        let size = |file: &str| mebibytes(size_of(&gateway.data().join(file)));
        let HighestLag { lag, failed } = self.lag;
        let behind =
            if failed > 0 { format!("{} ({failed} not answered)", lag.events) } else { lag.events.to_string() };
        let cells = [
            self.until.as_secs().to_string(),
            self.results.requests.to_string(),
            self.results.errors.to_string(),
            millis(whole.p50),
            millis(whole.p99),
            millis(whole.max),
            millis(Spread::of(&mut self.results.firsts).p99),
            micros_each(self.cpu, self.results.requests).to_string(),
            mebibytes(memory.now),
            processes.open_files().to_string(),
            processes.threads().to_string(),
            size(LEDGER),
            size(LEDGER_WAL),
            size(VIEWS),
            behind,
            lag.millis.to_string(),
        ];
        table::row(out, &cells)?;
        Ok(memory.now)
    }
}

fn size_of(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |metadata| metadata.len())
}

fn growth(sizes: &[u64]) -> String {
    let (Some(early), Some(last)) = (sizes.get(SETTLED_ROW - 1), sizes.last()) else {
        return format!("memory is compared with that after row {SETTLED_ROW}, which this run does not have");
    };
    let (sign, bytes) = if last < early { ("-", early - last) } else { ("", last - early) };
    format!("memory from row {SETTLED_ROW} to the end: {sign}{} MiB", mebibytes(bytes))
}
