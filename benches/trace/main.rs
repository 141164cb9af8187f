//! Recorded arrival times and sizes, replayed at a higher speed: the time that the gateway adds to real prompts and answers,
//! and a comparison of its charges with the cost of the trace, to the nano-dollar. Then the cost of large bodies alone.
//!
//! `cargo bench --bench trace` replays three traces, each directly to the upstream and through a new gateway. Bodies have
//! four bytes per token, answers are fast streams, and the upstream reports the cached tokens of the trace. Exit 1 if a
//! request failed or the charges differ.
//!
//! | variable | default | |
//! |---|---|---|
//! | `TRACE_FILE` | three excerpts | another trace, as CSV |
//! | `TRACE_ROWS` | 1500 | maximum per trace |
//! | `TRACE_RATE` | 150 | requests a second on average |

mod bodies;
mod cost;
mod replay;
mod rows;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use harness::admin::Price;
use harness::connection::Expected;
use harness::figures::{Spread, hundredths, mebibytes, micros_each, millis, per_mille};
use harness::gateway::Gateway;
use harness::load::{self, Workload};
use harness::process::Memory;
use harness::verdict::exit_code;
use harness::{descriptors, request, settings, table};
use testing::upstream::prepared::PreparedUpstream;
use tokio::runtime::Runtime;

use replay::{Outcomes, Replay};
use rows::Trace;

/// Odd amounts, so that the costs of requests need rounding to a nano-dollar.
const PRICE: Price = Price { input: "0.137", cache_read: "0.0455", output: "0.613001" };
const EXCERPTS: [&str; 3] = ["azure2023_conv.csv", "azure2023_code.csv", "mooncake_conversation.csv"];
const COLUMNS: [&str; 11] = [
    "trace", "path", "requests", "first token p50 ms", "p99 ms", "whole p50 ms", "p99 ms", "CPU-µs a request",
    "CPU-µs a token", "VmHWM MiB", "errors",
];
const WARM_CONNECTIONS: usize = 16;

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<bool, String> {
    descriptors::require(4096)?;
    let rows_max = usize::try_from(settings::count("TRACE_ROWS", 1500)?).unwrap_or(usize::MAX);
    let per_second = settings::count("TRACE_RATE", 150)?;
    let traces: Result<Vec<Trace>, String> = files().iter().map(|file| Trace::read(file, rows_max)).collect();
    measure(traces?, per_second).map_err(|error| error.to_string())
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/traces");
    match std::env::var_os("TRACE_FILE") {
        Some(file) => vec![file.into()],
        None => EXCERPTS.iter().map(|name| folder.join(name)).collect(),
    }
}

/// True if all requests succeeded and all charges are as expected.
fn measure(traces: Vec<Trace>, per_second: u64) -> io::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut out = io::stdout().lock();
    let upstream = PreparedUpstream::start();
    table::header(&mut out, &COLUMNS)?;
    let mut summaries = Vec::with_capacity(traces.len());
    for trace in traces {
        summaries.push(replay(&mut out, &runtime, &upstream, trace, per_second)?);
    }
    writeln!(out)?;
    table::header(
        &mut out,
        &[
            "trace", "times as fast", "body MiB", "tokens answered", "sent late p99 ms", "charged USD", "expected USD",
            "the same",
        ],
    )?;
    for summary in &summaries {
        table::row(&mut out, &summary.cells())?;
    }
    runtime.block_on(bodies::measure(&mut out, &upstream, PRICE))?;
    Ok(summaries.iter().all(|summary| summary.is_equal() && summary.errors == 0))
}

/// The charges of one trace, and figures of its replay.
struct Summary {
    trace: String,
    speed_hundredths: u64,
    body_bytes: u64,
    /// Tokens of the answers.
    tokens: u64,
    late: Duration,
    charged: u128,
    expected: u128,
    errors: usize,
}

impl Summary {
    const fn is_equal(&self) -> bool {
        self.charged == self.expected
    }

    fn cells(&self) -> [String; 8] {
        [
            self.trace.clone(),
            hundredths(self.speed_hundredths.into(), 100),
            mebibytes(self.body_bytes),
            self.tokens.to_string(),
            millis(self.late),
            cost::dollars(self.charged),
            cost::dollars(self.expected),
            if self.is_equal() { "yes" } else { "NO" }.to_owned(),
        ]
    }
}

/// Replays a trace directly and through a gateway, and prints the rows.
fn replay(
    out: &mut impl Write,
    runtime: &Runtime,
    upstream: &PreparedUpstream,
    trace: Trace,
    per_second: u64,
) -> io::Result<Summary> {
    let gateway = Gateway::start(env!("CARGO_BIN_EXE_ledgerway"), env!("CARGO_TARGET_TMPDIR"));
    let admin = gateway.admin();
    let account = admin.set_up(upstream.address, PRICE);
    let expected = cost::expected_nanos(&trace.rows, PRICE);
    let (length, tokens) = (trace.length(), trace.rows.iter().map(|row| row.output_tokens).sum());
    let replay = Arc::new(Replay::new(trace.rows, length, per_second, account.secret.clone()));

    let direct = runtime.block_on(replay.run(upstream.address));
    row(out, &trace.name, "direct", &direct, None)?;

    runtime.block_on(warm_up(&gateway, &account.secret));
    admin.wait_for_views();
    let charged_before = cost::nanos(&admin.settled_usd(&account.budget));
    let cpu = gateway.processes().cpu();
    let through = runtime.block_on(replay.run(gateway.address));
    admin.wait_for_views();
    let cpu = gateway.processes().cpu().saturating_sub(cpu);
    let charged = cost::nanos(&admin.settled_usd(&account.budget)) - charged_before;

    let used = Used { cpu, tokens, memory: gateway.processes().memory() };
    row(out, &trace.name, "ledgerway", &through, Some(used))?;
    write_added(out, &trace.name, &direct, &through)?;
    let mut late: Vec<Duration> = direct.iter().chain(&through).flatten().map(|times| times.late).collect();
    Ok(Summary {
        trace: trace.name,
        speed_hundredths: replay.speed_hundredths(),
        body_bytes: replay.body_bytes(),
        tokens,
        late: per_mille(&mut late, 990),
        charged,
        expected,
        errors: direct.iter().chain(&through).filter(|outcome| outcome.is_err()).count(),
    })
}

/// Opens the connections of both sides before the replay.
async fn warm_up(gateway: &Gateway, secret: &str) {
    let workload = Workload {
        address: gateway.address,
        request: request::whole(secret).into(),
        expected: Expected::Whole { ending: "}}" },
        warm_up: 256,
        ramp_up: Duration::ZERO,
    };
    drop(load::warm(&workload, WARM_CONNECTIONS).await);
}

struct Used {
    cpu: Duration,
    tokens: u64,
    memory: Memory,
}

fn row(out: &mut impl Write, trace: &str, path: &str, outcomes: &Outcomes, used: Option<Used>) -> io::Result<()> {
    let (mut firsts, mut totals): (Vec<_>, Vec<_>) =
        outcomes.iter().flatten().map(|times| (times.first, times.total)).unzip();
    let (first, total) = (Spread::of(&mut firsts), Spread::of(&mut totals));
    let mut cells = vec![trace.to_owned(), path.to_owned(), totals.len().to_string()];
    cells.extend([first.p50, first.p99, total.p50, total.p99].map(millis));
    cells.extend(match used {
        None => [String::new(), String::new(), String::new()],
        Some(used) => [
            micros_each(used.cpu, totals.len()).to_string(),
            hundredths(used.cpu.as_micros(), u128::from(used.tokens)),
            mebibytes(used.memory.peak),
        ],
    });
    cells.push(errors(outcomes));
    table::row(out, &cells)
}

/// Prints the percentiles of the differences, request by request, because sizes differ far more than paths.
fn write_added(out: &mut impl Write, trace: &str, direct: &Outcomes, through: &Outcomes) -> io::Result<()> {
    let pairs = || direct.iter().zip(through).filter_map(|(a, b)| Some((a.as_ref().ok()?, b.as_ref().ok()?)));
    let mut firsts: Vec<i64> = pairs().map(|(direct, through)| micros(through.first) - micros(direct.first)).collect();
    let mut totals: Vec<i64> = pairs().map(|(direct, through)| micros(through.total) - micros(direct.total)).collect();
    let mut cells = vec![trace.to_owned(), "added to each".to_owned(), firsts.len().to_string()];
    for samples in [&mut firsts, &mut totals] {
        cells.extend([per_mille(samples, 500), per_mille(samples, 990)].map(signed_millis));
    }
    cells.resize(COLUMNS.len(), String::new());
    table::row(out, &cells)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn signed_millis(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    format!("{sign}{}", millis(Duration::from_micros(micros.unsigned_abs())))
}

/// The number of errors, with the text of the first.
fn errors(outcomes: &Outcomes) -> String {
    let mut errors = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    match errors.next() {
        None => "0".to_owned(),
        Some(first) => format!("{}: {}", errors.count() + 1, first.replace('|', "/")),
    }
}
