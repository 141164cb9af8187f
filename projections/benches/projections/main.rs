//! The speed of rebuilding the views, also as of an earlier position, and their lag under full load.
//!
//! `cargo bench -p projections --bench projections`. `PROJECTIONS_EVENTS` sets the number of events to rebuild from
//! (1,000,000), `PROJECTIONS_LOAD` the number of events to follow (400,000), `PROJECTIONS_ROUNDS` the number of rounds (1).

#[path = "../../../log/benches/verify/kept.rs"]
mod kept;
mod lag;
mod rebuild;
mod replay;
#[path = "../../../log/benches/verify/story.rs"]
mod story;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use harness::settings::count;
use harness::verdict::exit_code;

const EVENTS: u64 = 1_000_000;
const LOAD: u64 = 400_000;
/// The time that the events to rebuild from span: usage is counted by hour, budgets by day.
const MONTH: Duration = Duration::from_secs(30 * 86_400);

fn main() -> ExitCode {
    exit_code(run().map(|()| true))
}

fn run() -> Result<(), String> {
    let (events, load) = (count("PROJECTIONS_EVENTS", EVENTS)?, count("PROJECTIONS_LOAD", LOAD)?);
    measure(events, load, count("PROJECTIONS_ROUNDS", 1)?).map_err(|error| error.to_string())
}

fn measure(events: u64, load: u64, rounds: u64) -> io::Result<()> {
    // On the disk of the build, since /tmp may be in memory.
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = kept::log(root, events, MONTH, |_| ())?;
    rebuild::measure(root, &folder, rounds)?;
    replay::measure(root, &folder, rounds)?;
    lag::measure(root, load, rounds)
}
