//! The gateway under a steady, mixed load: whether it stays as fast, as small and as right as it was at the beginning.
//!
//! `cargo bench --bench soak` asks at a fixed rate: whole answers, streams, streams that the client leaves, refusals by an
//! empty budget, changes by an admin and queries. A row a minute; at the end the gateway is stopped and its folder
//! verified. Exit 1 where a request was not answered as it has to be, or the folder is not sound.
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
use watch::{Seen, Watch};

const PRICE: Price = Price { input: "0.1", cache_read: "0.05", output: "0.4" };
const LEDGER: &str = "ledger.db";
const LEDGER_WAL: &str = "ledger.db-wal";
const VIEWS: &str = "views.db";
/// Memory is compared with the end of this row: until then caches and pools fill.
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

/// Whether all was well.
fn soak(settings: &Settings) -> io::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut out = io::stdout().lock();
    let upstream = PreparedUpstream::start();
    let mut gateway = Gateway::start(env!("CARGO_BIN_EXE_ledgerway"), env!("CARGO_TARGET_TMPDIR"));
    let admin = gateway.admin();
    let mix = Mix::new(admin, admin.set_up(upstream.address, PRICE));
    let load = Load::new(mix, Pool::new(gateway.address), settings.per_second);
    let watch = Watch::start(admin);
    writeln!(out, "{} requests a second for {} s:\n", settings.per_second, settings.time.as_secs())?;
    table::header(&mut out, &COLUMNS)?;
    let (errors, sizes) = runtime.block_on(rows(&mut out, settings, &gateway, load, &watch))?;
    watch.stop();
    writeln!(out, "\n{}", growth(&sizes))?;
    for (what, count) in &errors.0 {
        writeln!(out, "{count} times {what}")?;
    }
    let ended = gateway.stop();
    let (is_sound, words) = gateway.verify();
    writeln!(out, "stopped with {ended}; verify: {words}")?;
    Ok(ended.success() && is_sound && errors.0.is_empty())
}

/// What went wrong, and the gateway's memory at the end of each row.
async fn rows(
    out: &mut impl Write,
    settings: &Settings,
    gateway: &Gateway,
    mut load: Load,
    watch: &Watch,
) -> io::Result<(Errors, Vec<u64>)> {
    let (mut errors, mut sizes, started) = (Errors::default(), Vec::new(), Instant::now());
    let (end, mut cpu) = (started + settings.time, gateway.processes().cpu());
    while Instant::now() < end {
        let until = (Instant::now() + settings.row).min(end);
        let came = load.run_until(started, until, &mut errors).await;
        let used = gateway.processes().cpu();
        let row = Row { until: started.elapsed(), cpu: used.saturating_sub(cpu), seen: watch.take(), came };
        sizes.push(row.write(out, gateway)?);
        cpu = used;
    }
    let rest = load.finish(&mut errors).await;
    writeln!(out, "\n{} more answers came after the last row, {} of them wrong", rest.requests, rest.errors)?;
    Ok((errors, sizes))
}

struct Row {
    until: Duration,
    cpu: Duration,
    seen: Seen,
    came: LoadResults,
}

impl Row {
    /// The gateway's memory.
    fn write(mut self, out: &mut impl Write, gateway: &Gateway) -> io::Result<u64> {
        let processes = gateway.processes();
        let memory = processes.memory();
        let whole = Spread::of(&mut self.came.whole);
        let size = |file: &str| mebibytes(size_of(&gateway.data().join(file)));
        let lag = if self.seen.unanswered > 0 {
            format!("{} ({} not answered)", self.seen.lag.events, self.seen.unanswered)
        } else {
            self.seen.lag.events.to_string()
        };
        let cells = [
            self.until.as_secs().to_string(),
            self.came.requests.to_string(),
            self.came.errors.to_string(),
            millis(whole.p50),
            millis(whole.p99),
            millis(whole.max),
            millis(Spread::of(&mut self.came.firsts).p99),
            micros_each(self.cpu, self.came.requests).to_string(),
            mebibytes(memory.now),
            processes.open_files().to_string(),
            processes.threads().to_string(),
            size(LEDGER),
            size(LEDGER_WAL),
            size(VIEWS),
            lag,
            self.seen.lag.millis.to_string(),
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
