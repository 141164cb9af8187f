//! The instructions in user space that a request costs, counted by callgrind. Work beside it on the machine does not change those of the
//! request path; it may double those of the views, which go by the sizes of batches.
//!
//! It starts the binary under valgrind (Debian's package), sets it up as `overhead` does and
//! counts each load twice, and up to five times while it is above its budget: the lowest count of each room stands. The sum of
//! request path and writer is compared with `[instructions]` of `benches/budgets.toml`: 3 % above fails, and for 3 % below the line to
//! put there is printed. The sum of views and other fails above twice its budget. The budgets are those of the profile `release`.
//!
//! Threads are told apart by the names of functions, which releases do not have: `.ci/budgets` builds one with names and counts, and
//! `docs/benchmarks.md#instructions` says how to do it by hand.
//!
//! | variable | default | |
//! |---|---|---|
//! | `INSTRUCTIONS_REQUESTS` | 640 | requests that are counted for each load |
//! | `BENCH_BINARY` | the one built with this, which has no names | the gateway to measure |
//! | `INSTRUCTIONS_KEEP` | | a folder for the dumps, which `callgrind_annotate` reads: number 1 is of the first load |

mod budget;
mod callgrind;
mod load;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use harness::admin::{Admin, Price};
use harness::verdict::exit_code;
use harness::{settings, table};
use testing::upstream::prepared::PreparedUpstream;
use tokio::runtime::Runtime;

use budget::{Budget, Verdict};
use callgrind::{Callgrind, Instructions, Room};
use load::{Keys, Load};

/// The time that the requests of one count may take: callgrind is about fifty times slower.
const TIME_MAX: Duration = Duration::from_secs(300);
/// Counts of each load, and of one that is above its budget: the sizes of batches differ from count to count.
const COUNTS: u32 = 2;
const COUNTS_MAX: u32 = 5;
const PRICE: Price = Price { input: "0.1", cache_read: "0.05", output: "0.4" };

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<bool, String> {
    let requests = settings::count("INSTRUCTIONS_REQUESTS", 640)?;
    let budget = Budget::read()?;
    let upstream = PreparedUpstream::start();
    let binary = settings::binary(env!("CARGO_BIN_EXE_ledgerway"));
    let mut callgrind = Callgrind::start(&binary, env!("CARGO_TARGET_TMPDIR"))?;
    let admin = callgrind.gateway.admin();
    let free = admin.create_tenant("free");
    let keys = Keys {
        governed: admin.set_up(upstream.address, PRICE).secret,
        free: admin.create_key(&free.user, &["models:use"]).secret,
    };
    let counted = count_all(&mut callgrind, &budget, &keys, requests).map_err(|error| error.to_string())?;
    if let Ok(folder) = std::env::var("INSTRUCTIONS_KEEP") {
        callgrind.keep(Path::new(&folder)).map_err(|error| format!("{folder}: {error}"))?;
    }
    let verdicts: Vec<Verdict> = counted.iter().map(|(load, counted)| budget.compare(load, counted)).collect();
    print(&counted, &verdicts).map_err(|error| error.to_string())?;
    Ok(!verdicts.contains(&Verdict::Worse))
}

fn count_all(
    callgrind: &mut Callgrind,
    budget: &Budget,
    keys: &Keys,
    requests: u64,
) -> io::Result<Vec<(Load, Instructions)>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let admin = callgrind.gateway.admin();
    Load::all()
        .map(|load| {
            let mut counted = count(callgrind, &runtime, admin, &load, keys, requests)?;
            for number in 1..COUNTS_MAX {
                if number >= COUNTS && budget.compare(&load, &counted) != Verdict::Worse {
                    break;
                }
                counted = counted.lower(&count(callgrind, &runtime, admin, &load, keys, requests)?);
            }
            Ok((load, counted))
        })
        .collect()
}

/// The instructions of one request, as a mean of so many.
fn count(
    callgrind: &mut Callgrind,
    runtime: &Runtime,
    admin: Admin,
    load: &Load,
    keys: &Keys,
    requests: u64,
) -> io::Result<Instructions> {
    let workload = load.workload(callgrind.gateway.address, keys);
    let open = runtime.block_on(harness::load::warm(&workload, load.connections));
    admin.wait_for_views();
    callgrind.begin()?;
    let each = usize::try_from(requests).unwrap_or(usize::MAX) / load.connections;
    runtime.block_on(harness::load::send_on_each(&workload, open, each, TIME_MAX));
    admin.wait_for_views();
    callgrind.end().map(|counted| counted.each(requests))
}

fn print(counted: &[(Load, Instructions)], verdicts: &[Verdict]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    table::header(&mut out, &["load", "request path", "writer", "views", "other", "sum", "budget"])?;
    for ((load, counted), verdict) in counted.iter().zip(verdicts) {
        let counts = Room::ALL.map(|room| counted.of(room).to_string());
        let verdict = match verdict {
            Verdict::Within => "within",
            Verdict::Worse => "above",
            Verdict::Better => "below",
            Verdict::New => "new",
        };
        let cells = [vec![load.name()], counts.to_vec(), vec![counted.sum().to_string(), verdict.to_owned()]];
        table::row(&mut out, &cells.concat())?;
    }
    for ((load, counted), verdict) in counted.iter().zip(verdicts) {
        if *verdict != Verdict::Within {
            let counts = Room::ALL.map(|room| counted.of(room).to_string());
            writeln!(out, "\"{}\" = [{}]", load.name(), counts.join(", "))?;
        }
    }
    Ok(())
}
