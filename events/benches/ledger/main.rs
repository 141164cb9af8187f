//! The throughput of admissions and ends through the ledger's one writer: by the number of concurrent submitters, with and
//! without syncs of the disk, and with one budget or a thousand.
//!
//! `cargo bench -p events --bench ledger`. `LEDGER_SECONDS` sets the time per row, by default three seconds;
//! `LEDGER_SUBMITTERS=1,64` sets the numbers of submitters.

mod budgets;
mod load;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use budgets::Customers;
use harness::settings;
use harness::verdict::exit_code;
use load::Measured;

const SUBMITTERS: [u64; 4] = [1, 8, 64, 512];
const SECONDS: u64 = 3;
/// In memory, where a sync costs nothing.
const WITHOUT_DISK: &str = "/dev/shm";

fn main() -> ExitCode {
    exit_code(run().map(|()| true))
}

fn run() -> Result<(), String> {
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
    let Measured { requests, took, figures, p50, p99, writer_cpu, all_cpu, pages } = measured;
    let a_second = |number: u64| u128::from(number) * 1_000_000 / took.as_micros().max(1);
    let batches = figures.batches.max(1);
    writeln!(
        out,
        "| {fsync} | {} | {submitters} | {} | {} | {}.{} | {} | {} | {} | {} | {} | {}.{} |",
        customers.0,
        a_second(*requests),
        a_second(figures.events),
        figures.jobs / batches,
        figures.jobs * 10 / batches % 10,
        p50.as_micros(),
        p99.as_micros(),
        figures.commit_micros / batches,
        all_cpu.as_micros() / u128::from((*requests).max(1)),
        writer_cpu.as_micros() / u128::from((*requests).max(1)),
        pages / batches,
        pages * 10 / batches % 10,
    )
}
