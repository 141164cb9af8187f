//! Unpaced responses, whole or streamed: their latency, their rate and the CPU time of each.

use std::io::{self, Write};
use std::time::Duration;

use harness::figures::{Spread, each, per_second};
use harness::load::{Tally, Workload};
use harness::table;

use crate::path::{Path, cpu_cells, nginx_cpu, take_turns};

pub const CONNECTIONS: [usize; 3] = [1, 16, 128];

/// The median latency of each path, by its name.
pub type Medians = Vec<(&'static str, Duration)>;

/// Prints the titles of the columns; `answer` names what is counted.
pub fn header(out: &mut impl Write, answer: &str) -> io::Result<()> {
    let (answers, a_second, cpu) = (format!("{answer}s"), format!("{answer}s/s"), format!("CPU-µs a {answer}"));
    table::header(
        out,
        &[
            "connections", "path", &answers, "p50 µs", "p99 µs", &a_second, &cpu, "× nginx's CPU",
            "the database's CPU-µs", "% of nginx's rate", "errors",
        ],
    )
}

/// Measures and prints the rows for this number of connections.
pub async fn rows(
    out: &mut impl Write,
    paths: &[Path],
    workload: impl Fn(&Path) -> Workload,
    connections: usize,
    time: Duration,
) -> io::Result<Medians> {
    let mut tallies = take_turns(paths, workload, connections, time).await;
    let rate = |tally: &Tally| per_second(tally.totals.len(), tally.took);
    let nginx = paths.iter().position(|path| path.name == "nginx").and_then(|at| tallies.get(at)).map(rate);
    let cpu_each = |tally: &Tally| each(tally.cpu, tally.totals.len());
    let nginx_cpu = nginx_cpu(paths, tallies.iter().map(cpu_each));
    let mut medians = Medians::new();
    for (path, tally) in paths.iter().zip(&mut tallies) {
        let Spread { p50, p99, .. } = Spread::of(&mut tally.totals);
        medians.push((path.name, p50));
        let [cpu, multiple] = cpu_cells(path, cpu_each(tally), nginx_cpu);
        let share = nginx.map(|nginx| rate(tally) * 100 / nginx.max(1));
        table::row(
            out,
            &[
                connections.to_string(),
                path.name.to_owned(),
                tally.totals.len().to_string(),
                p50.as_micros().to_string(),
                p99.as_micros().to_string(),
                rate(tally).to_string(),
                cpu,
                multiple,
                path.database
                    .map(|_| each(tally.database_cpu, tally.totals.len()).as_micros().to_string())
                    .unwrap_or_default(),
                share.map(|share| share.to_string()).unwrap_or_default(),
                tally.errors_as_text(),
            ],
        )?;
    }
    Ok(medians)
}
