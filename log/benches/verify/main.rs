//! The speed of `verify` on a log of a million events that the real writer recorded.
//!
//! `cargo bench -p events_log --bench verify` writes the events and checks them three times. `VERIFY_EVENTS` sets their number,
//! `VERIFY_DATA` selects an existing data folder.

mod story;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use events_log::verify::{Depth, verify};
use events_log::{LEDGER_FILE, open_reader};
use harness::settings;
use harness::verdict::exit_code;

const EVENTS: u64 = 1_000_000;
const ROUNDS: u32 = 3;

fn main() -> ExitCode {
    exit_code(run().map(|()| true))
}

fn run() -> Result<(), String> {
    let events = settings::count("VERIFY_EVENTS", EVENTS)?;
    record_and_measure(events).map_err(|error| error.to_string())
}

fn record_and_measure(events: u64) -> io::Result<()> {
    if let Some(folder) = std::env::var_os("VERIFY_DATA").map(PathBuf::from) {
        return measure(&folder);
    }
    let folder = tempfile::tempdir()?;
    let began = Instant::now();
    let events = story::record(folder.path(), events, Duration::ZERO, |_| ());
    writeln!(io::stdout(), "recorded {events} events, {} a second", per_second(events, began.elapsed()))?;
    measure(folder.path())
}

fn measure(folder: &Path) -> io::Result<()> {
    let ledger = folder.join(LEDGER_FILE);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let reader = open_reader(&ledger).map_err(io::Error::other)?;
        let sound = verify(&*reader, Depth::Gateway, &mut |_, _| {}).map_err(io::Error::other)?;
        let (took, events) = (began.elapsed(), sound.events);
        let speed = per_second(events, took);
        writeln!(io::stdout(), "verified {events} events in {} ms, {speed} a second", took.as_millis())?;
    }
    Ok(())
}

fn per_second(events: u64, took: Duration) -> u128 {
    u128::from(events) * 1000 / took.as_millis().max(1)
}
