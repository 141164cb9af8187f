//! The cost of large bodies: whole answers to bodies of three sizes. In a trace, the tokens of the answers hide that cost.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use harness::admin::Price;
use harness::connection::Expected;
use harness::figures::{Spread, micros_each, millis};
use harness::gateway::Gateway;
use harness::load::{self, Tally, Workload};
use harness::{request, table};
use testing::upstream::prepared::PreparedUpstream;

const KIBIBYTES: [usize; 3] = [1, 64, 1024];
const CONNECTIONS: usize = 4;
const TIME: Duration = Duration::from_secs(3);
const WARM_UP: usize = 64;

pub async fn measure(out: &mut impl Write, upstream: &PreparedUpstream, price: Price) -> io::Result<()> {
    let gateway = Gateway::start(env!("CARGO_BIN_EXE_ledgerway"), env!("CARGO_TARGET_TMPDIR"));
    let account = gateway.admin().set_up(upstream.address, price);
    writeln!(out, "\nWhole answers to larger and larger bodies, on {CONNECTIONS} connections:\n")?;
    table::header(
        out,
        &["body KiB", "path", "requests", "p50 ms", "p99 ms", "CPU-µs a request", "CPU-µs a MiB more", "errors"],
    )?;
    let mut smallest = None;
    for kibibytes in KIBIBYTES {
        let request: Arc<[u8]> = request::whole_about(&account.secret, &text(kibibytes)).into();
        let direct = run(upstream.address, &request).await;
        row(out, kibibytes, "direct", direct, ["", ""].map(str::to_owned))?;
        let cpu = gateway.processes().cpu();
        let through = run(gateway.address, &request).await;
        gateway.admin().wait_for_views();
        let cpu = gateway.processes().cpu().saturating_sub(cpu);
        // The CPU time includes the requests of the warm-up.
        let each = micros_each(cpu, through.totals.len() + WARM_UP);
        let more = smallest.map(|(size, least)| each.saturating_sub(least) * 1024 / (kibibytes - size) as u128);
        smallest = smallest.or(Some((kibibytes, each)));
        let more = more.map(|more| more.to_string()).unwrap_or_default();
        row(out, kibibytes, "ledgerway", through, [each.to_string(), more])?;
    }
    Ok(())
}

async fn run(address: SocketAddr, request: &Arc<[u8]>) -> Tally {
    let (request, expected) = (Arc::clone(request), Expected::Whole { ending: "}}" });
    let workload = Workload { address, request, expected, warm_up: WARM_UP, ramp_up: Duration::ZERO };
    let open = load::warm(&workload, CONNECTIONS).await;
    load::run(&workload, open, TIME).await
}

fn text(kibibytes: usize) -> String {
    "The river had risen in the night. ".chars().cycle().take(kibibytes * 1024).collect()
}

fn row(out: &mut impl Write, kibibytes: usize, path: &str, mut tally: Tally, cpu: [String; 2]) -> io::Result<()> {
    let spread = Spread::of(&mut tally.totals);
    let mut cells = vec![kibibytes.to_string(), path.to_owned(), tally.totals.len().to_string()];
    cells.extend([millis(spread.p50), millis(spread.p99)]);
    cells.extend(cpu);
    cells.push(tally.errors_as_text());
    table::row(out, &cells)
}
