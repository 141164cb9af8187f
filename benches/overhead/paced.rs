//! Paced streams: the time to the first token, and the gaps between tokens.

use std::io::{self, Write};
use std::pin::pin;
use std::time::Duration;

use harness::figures::{Spread, each, millis};
use harness::load::{self, Tally, Workload};
use harness::process::Memory;
use harness::table;
use testing::upstream::prepared::{PACE, model};

use crate::path::{Path, cpu_cells, nginx_cpu, take_turns};

const CONNECTIONS: [usize; 2] = [1, 32];
/// Few, so that there are many first tokens to measure.
const TOKENS: u32 = 8;
/// The time in which concurrent streams begin, so that their tokens do not all arrive at the same instant.
const RAMP_UP: Duration = Duration::from_secs(1);
/// A gap that is longer than the pace by this much is a stall, which a reader notices.
const STALL: Duration = Duration::from_millis(100);
const CONCURRENT_MAX: Duration = Duration::from_secs(120);
const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);

/// Measures a token every 20 ms on few connections.
pub async fn few(out: &mut impl Write, paths: &[Path], time: Duration) -> io::Result<()> {
    writeln!(out, "\nStreams of {TOKENS} tokens, one every {} ms:\n", PACE.as_millis())?;
    table::header(
        out,
        &[
            "connections", "path", "streams", "first token p50 ms", "p99 ms", "gap p50 ms", "p99 ms", "max ms",
            "CPU-µs a stream", "× nginx's CPU", "errors",
        ],
    )?;
    for connections in CONNECTIONS {
        let ramp_up = PACE * TOKENS;
        let workload = |path: &Path| Workload { ramp_up, ..path.stream_workload(model::PACED, TOKENS.into(), 1) };
        let tallies = take_turns(paths, workload, connections, time).await;
        let cpu_each = |tally: &Tally| each(tally.cpu, tally.totals.len());
        let nginx_cpu = nginx_cpu(paths, tallies.iter().map(cpu_each));
        let mut firsts = Vec::with_capacity(paths.len());
        for (path, mut tally) in paths.iter().zip(tallies) {
            let first = Spread::of(&mut tally.firsts);
            firsts.push((path.name, first));
            let mut cells = vec![connections.to_string(), path.name.to_owned(), tally.totals.len().to_string()];
            cells.extend([millis(first.p50), millis(first.p99)]);
            cells.extend(gaps(&mut tally));
            cells.extend(cpu_cells(path, cpu_each(&tally), nginx_cpu));
            cells.push(tally.errors_as_text());
            table::row(out, &cells)?;
        }
        let added = |of: fn(&Spread) -> Duration| {
            let find =
                |name| firsts.iter().find(|(path, _)| *path == name).map_or(Duration::ZERO, |(_, first)| of(first));
            millis(find("ledgerway").saturating_sub(find("direct")))
        };
        let mut cells = vec![connections.to_string(), "added".to_owned(), String::new()];
        cells.extend([added(|first| first.p50), added(|first| first.p99)]);
        cells.resize(11, String::new());
        table::row(out, &cells)?;
    }
    Ok(())
}

/// Measures many concurrent streams of this length. Returns the highest memory of the gateway meanwhile.
pub async fn concurrent(out: &mut impl Write, paths: &[Path], streams: u32, time: Duration) -> io::Result<Memory> {
    let tokens = usize::try_from(time.as_millis() / PACE.as_millis()).unwrap_or(usize::MAX).max(2);
    writeln!(
        out,
        "\n{streams} streams at once, {tokens} tokens each, one every {} ms; a stall is a gap above {} ms:\n",
        PACE.as_millis(),
        (PACE + STALL).as_millis()
    )?;
    table::header(
        out,
        &[
            "path", "streams whole", "first token p50 ms", "p99 ms", "gap p50 ms", "p99 ms", "max ms", "stalls",
            "CPU-µs a token", "× nginx's CPU", "errors",
        ],
    )?;
    let (mut gateway, mut nginx_cpu) = (Memory::default(), None);
    for path in paths {
        let cpu = path.processes.cpu();
        let (mut tally, memory) = run_and_sample(path, tokens, streams).await;
        path.wait_for_views();
        let cpu = path.processes.cpu().saturating_sub(cpu);
        if path.name == "ledgerway" {
            gateway = memory;
        }
        let first = Spread::of(&mut tally.firsts);
        let mut cells = vec![path.name.to_owned(), tally.totals.len().to_string()];
        cells.extend([millis(first.p50), millis(first.p99)]);
        cells.extend(gaps(&mut tally));
        cells.push(tally.gaps.iter().filter(|gap| **gap > PACE + STALL).count().to_string());
        let cpu_each = each(cpu, tally.totals.len() * tokens);
        if path.name == "nginx" {
            nginx_cpu = Some(cpu_each);
        }
        cells.extend(cpu_cells(path, cpu_each, nginx_cpu));
        cells.push(tally.errors_as_text());
        table::row(out, &cells)?;
    }
    Ok(gateway)
}

/// Runs the streams. Returns the highest memory of the path's processes.
async fn run_and_sample(path: &Path, tokens: usize, streams: u32) -> (Tally, Memory) {
    let workload = Workload { ramp_up: RAMP_UP, ..path.stream_workload(model::PACED, tokens as u64, 0) };
    let mut load = pin!(load::run_each_once(&workload, streams, CONCURRENT_MAX));
    let mut highest = path.processes.memory();
    loop {
        tokio::select! {
            tally = &mut load => return (tally, highest),
            () = tokio::time::sleep(SAMPLE_INTERVAL) => {
                let sample = path.processes.memory();
                highest = Memory { now: highest.now.max(sample.now), peak: highest.peak.max(sample.peak) };
            }
        }
    }
}

fn gaps(tally: &mut Tally) -> [String; 3] {
    let gaps = Spread::of(&mut tally.gaps);
    [millis(gaps.p50), millis(gaps.p99), millis(gaps.max)]
}
