//! How fast `verify` goes through a log: a million events that the real writer recorded in a folder of their own.
//!
//! `cargo bench --bench verify` writes them and looks at them three times. `VERIFY_EVENTS` asks for another number.

mod story;

use std::io::{self, Write};
use std::time::{Duration, Instant};

use events::log::{LEDGER_FILE, Reader};
use events::verify::verify;

const EVENTS: u64 = 1_000_000;
const ROUNDS: u32 = 3;

fn main() -> io::Result<()> {
    let wanted = std::env::var("VERIFY_EVENTS").ok().and_then(|number| number.parse().ok()).unwrap_or(EVENTS);
    let folder = tempfile::tempdir()?;
    let mut out = io::stdout().lock();
    let began = Instant::now();
    let events = story::record(folder.path(), wanted);
    writeln!(out, "recorded {events} events, {} a second", a_second(events, began.elapsed()))?;
    let ledger = folder.path().join(LEDGER_FILE);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let found = Reader::open(&ledger).map_err(io::Error::other).map(|reader| verify(&reader))?;
        let took = began.elapsed();
        writeln!(out, "verified in {} ms, {} events a second: {found:?}", took.as_millis(), a_second(events, took))?;
    }
    Ok(())
}

fn a_second(events: u64, took: Duration) -> u128 {
    u128::from(events) * 1000 / took.as_millis().max(1)
}
