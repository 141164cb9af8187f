//! Streams that take their time: when the first token comes, and how evenly the others do.

use std::io::{self, Write};
use std::pin::pin;
use std::time::Duration;

use harness::figures::{Spread, micros_each, millis};
use harness::load::{self, Aim, Tally};
use harness::process::Memory;
use harness::table;
use testing::upstream::prepared::{PACE, model};

use crate::path::{Path, take_turns};

const CONNECTIONS: [usize; 2] = [1, 32];
/// Short, so that there are enough first tokens.
const TOKENS: u32 = 8;
/// Streams of a crowd begin within this time, so that their tokens do not all come at the same instant.
const BEGIN_WITHIN: Duration = Duration::from_secs(1);
/// A gap that is so much longer than the pace is seen by whoever reads along.
const STALL: Duration = Duration::from_millis(100);
const CROWD_ENDS_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A token every 20 ms, on few connections.
pub async fn few(out: &mut impl Write, paths: &[Path], time: Duration) -> io::Result<()> {
    writeln!(out, "\nStreams of {TOKENS} tokens, one every {} ms:\n", PACE.as_millis())?;
    table::header(
        out,
        &["connections", "path", "streams", "first token p50 ms", "p99 ms", "gap p50 ms", "p99 ms", "max ms", "errors"],
    )?;
    for connections in CONNECTIONS {
        let begin_within = PACE * TOKENS;
        let aim = |path: &Path| Aim { begin_within, ..path.aim_stream(model::PACED, TOKENS.into(), 1) };
        let tallies = take_turns(paths, aim, connections, time).await;
        let mut firsts = Vec::with_capacity(paths.len());
        for (path, mut tally) in paths.iter().zip(tallies) {
            let first = Spread::of(&mut tally.firsts);
            firsts.push((path.name, first));
            let mut cells = vec![connections.to_string(), path.name.to_owned(), tally.totals.len().to_string()];
            cells.extend([millis(first.p50), millis(first.p99)]);
            cells.extend(gaps(&mut tally));
            cells.push(tally.errors_in_words());
            table::row(out, &cells)?;
        }
        let added = |of: fn(&Spread) -> Duration| {
            let find =
                |name| firsts.iter().find(|(path, _)| *path == name).map_or(Duration::ZERO, |(_, first)| of(first));
            millis(find("ledgerway").saturating_sub(find("direct")))
        };
        let mut cells = vec![connections.to_string(), "added".to_owned(), String::new()];
        cells.extend([added(|first| first.p50), added(|first| first.p99)]);
        cells.resize(9, String::new());
        table::row(out, &cells)?;
    }
    Ok(())
}

/// Many at once, `time` long; what the gateway had in memory at most meanwhile.
pub async fn crowd(out: &mut impl Write, paths: &[Path], streams: u32, time: Duration) -> io::Result<Memory> {
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
            "CPU-µs a token", "errors",
        ],
    )?;
    let mut gateway = Memory::default();
    for path in paths {
        let cpu = path.processes.cpu();
        let (mut tally, memory) = watched(path, tokens, streams).await;
        path.calm_down();
        let cpu = path.processes.cpu().saturating_sub(cpu);
        if path.name == "ledgerway" {
            gateway = memory;
        }
        let first = Spread::of(&mut tally.firsts);
        let mut cells = vec![path.name.to_owned(), tally.totals.len().to_string()];
        cells.extend([millis(first.p50), millis(first.p99)]);
        cells.extend(gaps(&mut tally));
        cells.push(tally.gaps.iter().filter(|gap| **gap > PACE + STALL).count().to_string());
        let cpu = micros_each(cpu, tally.totals.len() * tokens);
        cells.push(if path.processes.count() == 0 { String::new() } else { cpu.to_string() });
        cells.push(tally.errors_in_words());
        table::row(out, &cells)?;
    }
    Ok(gateway)
}

async fn watched(path: &Path, tokens: usize, streams: u32) -> (Tally, Memory) {
    let aim = path.aim_stream(model::PACED, tokens as u64, 0);
    let mut crowd = pin!(load::crowd(&aim, streams, BEGIN_WITHIN, CROWD_ENDS_WITHIN));
    let mut most = path.processes.memory();
    loop {
        tokio::select! {
            tally = &mut crowd => return (tally, most),
            () = tokio::time::sleep(LOOK_EVERY) => {
                let seen = path.processes.memory();
                most = Memory { now: most.now.max(seen.now), peak: most.peak.max(seen.peak) };
            }
        }
    }
}

fn gaps(tally: &mut Tally) -> [String; 3] {
    let gaps = Spread::of(&mut tally.gaps);
    [millis(gaps.p50), millis(gaps.p99), millis(gaps.max)]
}
