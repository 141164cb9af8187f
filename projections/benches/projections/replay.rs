//! The time to build all views as of the middle of the log, in a file of their own, as `ledgerway replay` does: from the first event
//! on, and from a snapshot on that is as far away as snapshots are if there is one for each twentieth of the log.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use events::time::{Clock, SystemClock};
use events_log::{LEDGER_FILE, open_reader};
use harness::process::{Processes, reset_peak};
use projections::views::replay::{ReplayRequest, replay};
use projections::views::snapshot_maker::make;

/// The snapshot is so much of the log before the position, at most.
const PART_BETWEEN_SNAPSHOTS: u64 = 20;

pub fn measure(root: &Path, log: &Path, rounds: u64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "\n| replayed | of | from | seconds | events/s | CPU-µs an event | memory | file |")?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    for _ in 0..rounds {
        let snapshots = tempfile::tempdir_in(root)?;
        replayed(&mut out, root, log, &[])?;
        let reader = open_reader(&log.join(LEDGER_FILE)).map_err(io::Error::other)?;
        let head = reader.head().map_err(io::Error::other)?.position;
        let request = as_of((head / 2).saturating_sub(head / PART_BETWEEN_SNAPSHOTS).max(1), &[]);
        make(snapshots.path(), &*reader, &request, &mut |_, _| ControlFlow::Continue(())).map_err(io::Error::other)?;
        replayed(&mut out, root, log, &[snapshots.path()])?;
    }
    Ok(())
}

fn as_of<'a>(position: u64, snapshots: &'a [&'a Path]) -> ReplayRequest<'a> {
    let made_at = SystemClock::new().now();
    ReplayRequest { position, as_of: "the middle", version: "bench", made_at, snapshots }
}

/// Builds the views as of the middle, and writes a row of the table.
fn replayed(out: &mut dyn Write, root: &Path, log: &Path, snapshots: &[&Path]) -> io::Result<()> {
    let this = Processes::this();
    let folder = tempfile::tempdir_in(root)?;
    let file = folder.path().join("views.sqlite");
    reset_peak();
    let (began, used_before) = (Instant::now(), this.cpu());
    let reader = open_reader(&log.join(LEDGER_FILE)).map_err(io::Error::other)?;
    let head = reader.head().map_err(io::Error::other)?.position;
    let request = as_of(head / 2, snapshots);
    let made = replay(&file, &*reader, &request, &mut |_, _| ControlFlow::Continue(())).map_err(io::Error::other)?;
    std::fs::File::open(&file)?.sync_all()?;
    let (took, used, events) = (began.elapsed(), this.cpu() - used_before, request.position);
    writeln!(
        out,
        "| {events} events | {head} | {} | {}.{:02} | {} | {}.{} | {} MiB | {} MiB |",
        made.began_at,
        took.as_secs(),
        took.subsec_millis() / 10,
        u128::from(events) * 1000 / took.as_millis().max(1),
        used.as_micros() / u128::from(events.max(1)),
        used.as_micros() * 10 / u128::from(events.max(1)) % 10,
        this.memory().peak >> 20,
        std::fs::metadata(&file)?.len() >> 20,
    )
}
