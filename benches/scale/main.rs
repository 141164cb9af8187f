//! How the gateway scales with its log: start time, memory, and the latencies of requests and queries, of the real binary on
//! data folders of ten thousand, a million and five million events.
//!
//! `cargo bench --bench scale`. The folders are made once, through the real writer, and kept in the build's folder; five
//! million events take some minutes and 7 GB.
//!
//! | variable | default | |
//! |---|---|---|
//! | `SCALE_EVENTS` | 10000,1000000,5000000 | of each folder |
//! | `SCALE_SAMPLES` | 100 | of each request and query |

mod folder;
#[path = "../../log/benches/verify/kept.rs"]
mod kept;
mod measure;
mod requests;
#[path = "../../log/benches/verify/story.rs"]
mod story;

use std::io;
use std::path::Path;
use std::process::ExitCode;

use folder::Folder;
use harness::verdict::exit_code;
use harness::{settings, table};
use measure::{Measured, measure};

const EVENTS: [u64; 3] = [10_000, 1_000_000, 5_000_000];
const SAMPLES: u64 = 100;

fn main() -> ExitCode {
    exit_code(run().map(|()| true))
}

fn run() -> Result<(), String> {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let samples = usize::try_from(settings::count("SCALE_SAMPLES", SAMPLES)?).unwrap_or(usize::MAX);
    let folders = settings::counts("SCALE_EVENTS", &EVENTS)?.into_iter().map(|events| Folder::of(root, events));
    let columns: io::Result<Vec<_>> = folders.map(|folder| measure(&folder?, samples)).collect();
    columns.and_then(|columns| print(&columns)).map_err(|error| error.to_string())
}

/// Prints a row per measurement, with a column per folder.
fn print(columns: &[Vec<Measured>]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for row in 0..columns.first().map_or(0, Vec::len) {
        let measured = columns.iter().filter_map(|column| column.get(row));
        let name = measured.clone().next().map_or("", |measured| measured.name);
        let cells: Vec<&str> = std::iter::once(name).chain(measured.map(|measured| measured.value.as_str())).collect();
        match row {
            0 => table::header(&mut out, &cells)?,
            _ => table::row(&mut out, &cells)?,
        }
    }
    Ok(())
}
