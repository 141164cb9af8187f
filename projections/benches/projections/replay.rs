//! The time to build all views as of the middle of the log, in a file of their own, as `ledgerway replay` does.

use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use events::log::{LEDGER_FILE, open_reader};
use events::time::{Clock, SystemClock};
use harness::process::{Processes, reset_peak};
use projections::views::replay::{ReplayRequest, replay};

pub fn measure(root: &Path, log: &Path, rounds: u64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "\n| replayed | of | seconds | events/s | CPU-µs an event | memory | file |")?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    let this = Processes::this();
    for _ in 0..rounds {
        let folder = tempfile::tempdir_in(root)?;
        let file = folder.path().join("views.sqlite");
        reset_peak();
        let (began, used_before) = (Instant::now(), this.cpu());
        let reader = open_reader(&log.join(LEDGER_FILE)).map_err(io::Error::other)?;
        let head = reader.head().map_err(io::Error::other)?.position;
        let made_at = SystemClock::new().now();
        let request = ReplayRequest { position: head / 2, as_of: "the middle", version: "bench", made_at };
        replay(&file, &*reader, &request, &mut |_, _| {}).map_err(io::Error::other)?;
        std::fs::File::open(&file)?.sync_all()?;
        let (took, used, events) = (began.elapsed(), this.cpu() - used_before, request.position);
        writeln!(
            out,
            "| {events} events | {head} | {}.{:02} | {} | {}.{} | {} MiB | {} MiB |",
            took.as_secs(),
            took.subsec_millis() / 10,
            u128::from(events) * 1000 / took.as_millis().max(1),
            used.as_micros() / u128::from(events.max(1)),
            used.as_micros() * 10 / u128::from(events.max(1)) % 10,
            this.memory().peak >> 20,
            std::fs::metadata(&file)?.len() >> 20,
        )?;
    }
    Ok(())
}
