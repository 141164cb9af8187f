//! What a request through Ledgerway costs more than one that goes straight to the upstream: governed by a key, four
//! budgets and a rate limit, and durable before it is dispatched and before its last byte.
//!
//! `cargo bench --bench overhead` starts the binary, a fast upstream and a load generator on this machine. Latencies
//! depend on how many cores the three share; CPU a request does not. The fsync of the same disk in the same run says how
//! much of a latency is the disk's.

mod disk;
mod load;
mod server;
mod upstream;

use std::io::{self, Write};

use load::{Measured, Target};
use server::Server;
use upstream::Upstream;

const CONNECTIONS: [usize; 2] = [1, 32];

fn main() -> io::Result<()> {
    let upstream = Upstream::start();
    let server = Server::start(&upstream);
    let fsync = disk::fdatasync_p50(server.folder())?;
    let mut out = io::stdout().lock();
    writeln!(out, "write + fdatasync of 4 KiB beside the ledger: p50 {} µs", fsync.as_micros())?;
    writeln!(out, "{} cores shared by gateway, upstream and load generator\n", cores())?;
    writeln!(
        out,
        "{:>11} {:>10} {:>9} {:>10} {:>10} {:>10} {:>12}",
        "connections", "path", "requests", "p50 µs", "p99 µs", "requests/s", "CPU-µs a request"
    )?;
    for connections in CONNECTIONS {
        let direct = load::run(&Target::direct(&upstream), connections, || 0);
        row(&mut out, connections, "direct", &direct)?;
        let through = load::run(&server.target(), connections, || server.cpu_micros());
        row(&mut out, connections, "ledgerway", &through)?;
        let added = through.p50.saturating_sub(direct.p50);
        writeln!(out, "{connections:>11} {:>10} {:>9} {:>10}", "added", "", added.as_micros())?;
    }
    Ok(())
}

fn row(out: &mut impl Write, connections: usize, path: &str, measured: &Measured) -> io::Result<()> {
    let Measured { requests, p50, p99, per_second, cpu_micros_a_request } = measured;
    let cpu = if *cpu_micros_a_request == 0 { String::new() } else { cpu_micros_a_request.to_string() };
    writeln!(
        out,
        "{connections:>11} {path:>10} {requests:>9} {:>10} {:>10} {per_second:>10} {cpu:>12}",
        p50.as_micros(),
        p99.as_micros(),
    )
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
