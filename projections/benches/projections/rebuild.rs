//! The time to rebuild all views, from an empty file to the log's head.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use events::time::SystemClock;
use events_log::{Log, LogOptions};
use harness::process::{Processes, reset_peak};
use projections::views::{self, VIEWS_FILE};

const POLL_INTERVAL: Duration = Duration::from_millis(5);
const TIME_MAX: Duration = Duration::from_secs(600);

pub fn measure(root: &Path, log: &Path, rounds: u64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "| rebuilt from | seconds | events/s | CPU-µs an event | memory | views.db |")?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    let options = LogOptions::new(Arc::new(SystemClock::new()));
    let log = Log::open(log, options).map_err(io::Error::other)?;
    let this = Processes::this();
    for _ in 0..rounds {
        let folder = tempfile::tempdir_in(root)?;
        reset_peak();
        let (began, used_before) = (Instant::now(), this.cpu());
        let events = rebuild(&log, folder.path())?;
        let (took, used) = (began.elapsed(), this.cpu() - used_before);
        let size = std::fs::metadata(folder.path().join(VIEWS_FILE))?.len();
        writeln!(
            out,
            "| {events} events | {}.{:02} | {} | {}.{} | {} MiB | {} MiB |",
            took.as_secs(),
            took.subsec_millis() / 10,
            u128::from(events) * 1000 / took.as_millis().max(1),
            used.as_micros() / u128::from(events),
            used.as_micros() * 10 / u128::from(events) % 10,
            this.memory().peak >> 20,
            size >> 20,
        )?;
    }
    log.close();
    Ok(())
}

fn rebuild(log: &Log, folder: &Path) -> io::Result<u64> {
    let (head, until) = (log.head().position, Instant::now() + TIME_MAX);
    let (views, thread) = views::start(log, folder, Arc::new(SystemClock::new())).map_err(io::Error::other)?;
    while views.status().iter().any(|view| view.position < head) {
        assert!(Instant::now() < until, "the views are not built: {:?}", views.status());
        std::thread::sleep(POLL_INTERVAL);
    }
    thread.stop();
    Ok(head)
}
