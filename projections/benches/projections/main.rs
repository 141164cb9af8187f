//! How fast the views are made of a log, and how far they stay behind while the writer has all it can do.
//!
//! `cargo bench -p projections --bench projections`. `PROJECTIONS_EVENTS` asks for another number than a million to
//! rebuild from, `PROJECTIONS_LOAD` for another number than 400,000 to follow, `PROJECTIONS_ROUNDS` for more than one.

#[path = "../../../events/benches/ledger/cpu.rs"]
mod cpu;
#[path = "../../../events/benches/verify/kept.rs"]
mod kept;
mod lag;
mod memory;
mod rebuild;
#[path = "../../../events/benches/verify/story.rs"]
mod story;

use std::io;
use std::path::Path;
use std::time::Duration;

const EVENTS: u64 = 1_000_000;
const LOAD: u64 = 400_000;
/// What the events to rebuild from take by their own clock: usage is by the hour, budgets are by the day.
const MONTH: Duration = Duration::from_secs(30 * 86_400);

fn main() -> io::Result<()> {
    // On the disk of the build and not in /tmp, which may lie in memory.
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let rounds = asked("PROJECTIONS_ROUNDS", 1);
    let folder = kept::log(root, asked("PROJECTIONS_EVENTS", EVENTS), MONTH, |_| ())?;
    rebuild::measure(root, &folder, rounds)?;
    lag::measure(root, asked("PROJECTIONS_LOAD", LOAD), rounds)
}

fn asked(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|number| number.parse().ok()).unwrap_or(otherwise)
}
