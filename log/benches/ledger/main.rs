//! The throughput of admissions and ends through the ledger's one writer: by the number of concurrent submitters, with and
//! without syncs of the disk, and with one budget or a thousand.
//!
//! `cargo bench -p events_log --bench ledger`; with `-- postgres` for a log that nodes share. `LEDGER_SECONDS` sets the time per
//! row, by default three seconds; `LEDGER_SUBMITTERS=1,64` sets the numbers of submitters.

mod budgets;
mod load;
mod postgres;
mod request;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use budgets::Customers;
use harness::figures::per_mille;
use harness::settings;
use harness::verdict::exit_code;
use load::Measured;
use postgres::node;

const SUBMITTERS: [u64; 4] = [1, 8, 64, 512];
const SECONDS: u64 = 3;
/// In memory, where a sync costs nothing.
const WITHOUT_DISK: &str = "/dev/shm";

fn main() -> ExitCode {
    exit_code(run().map(|()| true))
}

fn run() -> Result<(), String> {
    // `cargo bench` adds an argument of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => run_embedded(),
        ["postgres"] => postgres::run(),
        [node::ARGUMENT, address, customers] => {
            let customers = customers.parse().map(Customers).map_err(|_| "no number of customers".to_owned())?;
            node::run(address, customers).map_err(|error| error.to_string())
        }
        other => Err(format!("{other:?} is not known: nothing, or `postgres`")),
    }
}

fn run_embedded() -> Result<(), String> {
    let time = settings::seconds("LEDGER_SECONDS", SECONDS)?;
    let submitters = settings::counts("LEDGER_SUBMITTERS", &SUBMITTERS)?;
    measure(time, &submitters).map_err(|error| error.to_string())
}

fn measure(time: Duration, submitters: &[u64]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "| fsync | budgets | submitters | requests/s | events/s | jobs a batch | wait p50 µs | p99 | commit µs | \
         CPU-µs a request | of them the writer's | pages a batch |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|---|---|---|")?;
    for (fsync, root) in [("yes", env!("CARGO_TARGET_TMPDIR")), ("no", WITHOUT_DISK)] {
        for customers in [Customers::ONE, Customers::MANY] {
            for &number in submitters {
                let number = usize::try_from(number).unwrap_or(usize::MAX);
                let measured = load::measure(Path::new(root), customers, number, time)?;
                row(&mut out, fsync, customers, number, &measured)?;
            }
        }
    }
    Ok(())
}

fn row(
    out: &mut impl Write,
    fsync: &str,
    customers: Customers,
    submitters: usize,
    measured: &Measured,
) -> io::Result<()> {
    let requests = measured.waits.ended.len() as u64;
    let a_second = |number: u64| u128::from(number) * 1_000_000 / measured.took.as_micros().max(1);
    let batches = measured.batches.max(1);
    let mut waits = [measured.waits.admitted.as_slice(), &measured.waits.ended].concat();
    writeln!(
        out,
        "| {fsync} | {} | {submitters} | {} | {} | {}.{} | {} | {} | {} | {} | {} | {}.{} |",
        customers.0,
        a_second(requests),
        a_second(measured.events),
        measured.jobs / batches,
        measured.jobs * 10 / batches % 10,
        per_mille(&mut waits, 500),
        per_mille(&mut waits, 990),
        measured.commit_micros / batches,
        measured.all_cpu.as_micros() / u128::from(requests.max(1)),
        measured.writer_cpu.as_micros() / u128::from(requests.max(1)),
        measured.pages / batches,
        measured.pages * 10 / batches % 10,
    )
}
