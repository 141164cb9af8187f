//! The speed of rebuilding the views, and their lag under full load.
//!
//! `cargo bench -p projections --bench projections`. `PROJECTIONS_EVENTS` sets the number of events to rebuild from
//! (1,000,000), `PROJECTIONS_LOAD` the number of events to follow (400,000), `PROJECTIONS_ROUNDS` the number of rounds (1).

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
/// The time that the events to rebuild from span: usage is counted by hour, budgets by day.
const MONTH: Duration = Duration::from_secs(30 * 86_400);

fn main() -> io::Result<()> {
    // On the disk of the build, since /tmp may be in memory.
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let rounds = from_env("PROJECTIONS_ROUNDS", 1);
    let folder = kept::log(root, from_env("PROJECTIONS_EVENTS", EVENTS), MONTH, |_| ())?;
    rebuild::measure(root, &folder, rounds)?;
    lag::measure(root, from_env("PROJECTIONS_LOAD", LOAD), rounds)
}

fn from_env(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}
