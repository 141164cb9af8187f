//! How far NATS is behind the log, in time: the age of the oldest state of the log that the relay has not sent whole.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use harness::admin::Admin;

const INTERVAL: Duration = Duration::from_millis(250);

pub struct RelayWatch {
    /// Dropping it ends the thread.
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Duration>,
}

/// The log's end at a time.
struct End {
    at: Instant,
    position: u64,
}

impl RelayWatch {
    pub fn start(admin: Admin) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let (mut ends, mut longest) = (Vec::new(), Duration::ZERO);
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let at = Instant::now();
                // A page that does not come shows in the commands.
                let Ok(page) = admin.metrics() else { continue };
                let (Some(sent), Some(behind)) = (of_relay(&page, "position"), of_relay(&page, "lag_events")) else {
                    continue;
                };
                ends.push(End { at, position: sent + behind });
                // What is older has been sent.
                ends.retain(|end| end.position > sent);
                longest = longest.max(ends.first().map_or(Duration::ZERO, |end| end.at.elapsed()));
            }
            longest
        });
        Self { stop, thread }
    }

    /// The longest that the relay was behind.
    pub fn end(self) -> Duration {
        drop(self.stop);
        self.thread.join().expect("the thread does not panic")
    }
}

fn of_relay(page: &str, figure: &str) -> Option<u64> {
    let name = format!("ledgerway_role_{figure}{{role=\"relay\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&name))?.trim().parse().ok()
}
