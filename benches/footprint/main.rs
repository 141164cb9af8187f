//! The gateway's use of a machine: how long its start takes, and its memory when idle and after load.
//!
//! `cargo bench --bench footprint` starts the binary on an empty folder with the settings that it is shipped with, then sends whole
//! answers of nine words, governed by a key with four budgets and a rate limit. `.ci/budgets` compares its table with
//! `benches/budgets.toml`.
//!
//! | variable | default | |
//! |---|---|---|
//! | `FOOTPRINT_REQUESTS` | 100000 | requests before the memory is read a second time |
//! | `FOOTPRINT_CONNECTIONS` | 128 | connections that send them |
//! | `BENCH_BINARY` | the one built with this | the gateway to measure |

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use harness::admin::Price;
use harness::connection::Expected;
use harness::figures::mebibytes;
use harness::gateway::Gateway;
use harness::load::Workload;
use harness::verdict::exit_code;
use harness::{request, settings, table};
use testing::upstream::prepared::PreparedUpstream;

const BUILT: &str = env!("CARGO_BIN_EXE_ledgerway");
const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");
/// Starts on an empty folder; the quickest counts, because others may use the machine.
const STARTS: u32 = 5;
/// The time after the start in which memory settles.
const IDLE: Duration = Duration::from_secs(2);
const TIME_MAX: Duration = Duration::from_secs(300);
const PRICE: Price = Price { input: "0.1", cache_read: "0.05", output: "0.4" };
const WHOLE_ENDS_WITH: &str = r#""completion_tokens":9,"total_tokens":21}}"#;

fn main() -> ExitCode {
    exit_code(run().map(|()| true))
}

fn run() -> Result<(), String> {
    let requests = settings::count("FOOTPRINT_REQUESTS", 100_000)?;
    let connections = settings::count("FOOTPRINT_CONNECTIONS", 128)?;
    measure(requests, connections).map_err(|error| error.to_string())
}

fn measure(requests: u64, connections: u64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    table::header(&mut out, &["figure", "value"])?;
    let binary = settings::binary(BUILT);
    let start = (0..STARTS).map(|_| start_time(&binary)).min().unwrap_or_default();
    table::row(&mut out, &["start_ms", &start.as_millis().to_string()])?;

    let upstream = PreparedUpstream::start();
    let gateway = Gateway::start(&binary, FOLDER);
    thread::sleep(IDLE);
    table::row(&mut out, &["idle_mib", &mebibytes(gateway.processes().memory().now)])?;

    let secret = gateway.admin().set_up(upstream.address, PRICE).secret;
    let workload = Workload {
        address: gateway.address,
        request: request::whole(&secret).into(),
        expected: Expected::Whole { ending: WHOLE_ENDS_WITH },
        warm_up: 0,
        ramp_up: Duration::ZERO,
    };
    let connections = usize::try_from(connections).unwrap_or(usize::MAX);
    let each = usize::try_from(requests).unwrap_or(usize::MAX).div_ceil(connections.max(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let open = harness::load::warm(&workload, connections).await;
        // They stay open: memory that connections have is part of the figure.
        let _open = harness::load::send_on_each(&workload, open, each, TIME_MAX).await;
    });
    gateway.admin().wait_for_views();
    table::row(&mut out, &["after_load_mib", &mebibytes(gateway.processes().memory().now)])
}

/// From the start of the process on an empty folder to its ready line.
fn start_time(binary: &str) -> Duration {
    let started = Instant::now();
    let gateway = Gateway::start(binary, FOLDER);
    let took = started.elapsed();
    drop(gateway);
    took
}
