//! The speed of `verify` on a log of a million events that the real writer recorded.
//!
//! `cargo bench -p events --bench verify` writes the events and checks them three times. `VERIFY_EVENTS` sets their number,
//! `VERIFY_DATA` selects an existing data folder.

mod story;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use events::log::{LEDGER_FILE, open_reader};
use events::verify::{Depth, verify};

const EVENTS: u64 = 1_000_000;
const ROUNDS: u32 = 3;

fn main() -> io::Result<()> {
    if let Some(folder) = std::env::var_os("VERIFY_DATA").map(PathBuf::from) {
        return look_at(&folder);
    }
    let wanted = std::env::var("VERIFY_EVENTS").ok().and_then(|number| number.parse().ok()).unwrap_or(EVENTS);
    let folder = tempfile::tempdir()?;
    let began = Instant::now();
    let events = story::record(folder.path(), wanted, Duration::ZERO, |_| ());
    writeln!(io::stdout(), "recorded {events} events, {} a second", a_second(events, began.elapsed()))?;
    look_at(folder.path())
}

fn look_at(folder: &Path) -> io::Result<()> {
    let ledger = folder.join(LEDGER_FILE);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let reader = open_reader(&ledger).map_err(io::Error::other)?;
        let sound = verify(&*reader, Depth::Gateway, &mut |_, _| {}).map_err(io::Error::other)?;
        let (took, events) = (began.elapsed(), sound.events);
        let speed = a_second(events, took);
        writeln!(io::stdout(), "verified {events} events in {} ms, {speed} a second", took.as_millis())?;
    }
    Ok(())
}

fn a_second(events: u64, took: Duration) -> u128 {
    u128::from(events) * 1000 / took.as_millis().max(1)
}
