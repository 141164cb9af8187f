//! What grows with the log and what does not: the real binary on data folders of ten thousand, a million and five million
//! events, whose time to be ready, memory, and latencies of requests and queries are measured one at a time.
//!
//! `cargo bench --bench scale`. The folders are made once, through the real writer, and kept under the build's folder; five
//! million events take some minutes and 7 GB. `SCALE_EVENTS=10000,1000000` asks for others, `SCALE_SAMPLES` for another
//! number than 100 of each question.

mod client;
mod folder;
#[path = "../../events/benches/verify/kept.rs"]
mod kept;
mod measure;
mod process;
mod questions;
#[path = "../../events/benches/verify/story.rs"]
mod story;

use std::io::{self, Write};
use std::path::Path;

use folder::Folder;
use measure::Measured;

const EVENTS: &str = "10000,1000000,5000000";
const SAMPLES: usize = 100;

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let wanted = std::env::var("SCALE_EVENTS").unwrap_or_else(|_| EVENTS.to_owned());
    let samples = std::env::var("SCALE_SAMPLES").ok().and_then(|number| number.parse().ok()).unwrap_or(SAMPLES);
    let mut columns = Vec::new();
    for events in wanted.split(',') {
        let events = events.trim().parse().map_err(io::Error::other)?;
        let folder = Folder::of(root, events)?;
        columns.push(measure::all(&folder, samples)?);
    }
    table(&mut io::stdout().lock(), &columns)
}

/// A row a measure, a column a folder.
fn table(out: &mut impl Write, columns: &[Vec<Measured>]) -> io::Result<()> {
    for row in 0..columns.first().map_or(0, Vec::len) {
        let of_row: Vec<&Measured> = columns.iter().filter_map(|column| column.get(row)).collect();
        let cells: Vec<&str> = of_row.iter().map(|measured| measured.value.as_str()).collect();
        writeln!(out, "| {} | {} |", of_row.first().map_or("", |measured| measured.name), cells.join(" | "))?;
        if row == 0 {
            writeln!(out, "|---|{}", "---|".repeat(columns.len()))?;
        }
    }
    Ok(())
}
