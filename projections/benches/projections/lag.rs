//! The lag of the views while requests are recorded as fast as the writer can.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use events::time::SystemClock;
use harness::figures::per_mille;
use harness::process::cpu_of_threads;
use projections::views;

use crate::story;

const POLL_INTERVAL: Duration = Duration::from_millis(2);
const THREAD: &str = "views";
const EVENTS_A_REQUEST: u64 = 4;

/// A sample of the view that is furthest behind.
#[derive(Clone, Copy, Default)]
struct Lag {
    events: u64,
    milliseconds: u64,
}

struct Watched {
    lags: Vec<Lag>,
    used: Duration,
}

pub fn measure(root: &Path, events: u64, rounds: u64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "\n| followed at | lag p50 | p99 | max | CPU-µs of the views a request |")?;
    writeln!(out, "|---|---|---|---|---|")?;
    for _ in 0..rounds {
        let folder = tempfile::tempdir_in(root)?;
        let (sender, watched) = mpsc::channel();
        let (ended, has_ended) = mpsc::channel::<()>();
        let began = Instant::now();
        let recorded = story::record(folder.path(), events, Duration::ZERO, |log| {
            let (handle, thread) =
                views::start(log, folder.path(), Arc::new(SystemClock::new())).expect("the views start");
            std::thread::spawn(move || {
                let mut lags = Vec::new();
                while has_ended.recv_timeout(POLL_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    lags.push(furthest(&handle.status()));
                }
                let used = cpu_of_threads(THREAD);
                thread.stop();
                sender.send(Watched { lags, used }).expect("the receiver waits");
            });
        });
        let took = began.elapsed();
        drop(ended);
        let Watched { lags, used } = watched.recv().map_err(io::Error::other)?;
        let of = |lag: Lag| format!("{} events, {} ms", lag.events, lag.milliseconds);
        writeln!(
            out,
            "| {} events/s | {} | {} | {} | {} |",
            u128::from(recorded) * 1000 / took.as_millis().max(1),
            of(percentile(&lags, 500)),
            of(percentile(&lags, 990)),
            of(percentile(&lags, 1000)),
            used.as_micros() / u128::from(recorded / EVENTS_A_REQUEST),
        )?;
    }
    Ok(())
}

fn furthest(status: &[views::ViewStatus]) -> Lag {
    let events = status.iter().map(|view| view.lag_events).max();
    let milliseconds = status.iter().map(|view| view.lag_ms).max();
    Lag { events: events.unwrap_or(0), milliseconds: milliseconds.unwrap_or(0) }
}

/// The percentile of events and that of milliseconds, independently.
fn percentile(lags: &[Lag], thousandths: usize) -> Lag {
    let at = |figure: fn(&Lag) -> u64| per_mille(&mut lags.iter().map(figure).collect::<Vec<_>>(), thousandths);
    Lag { events: at(|lag| lag.events), milliseconds: at(|lag| lag.milliseconds) }
}
