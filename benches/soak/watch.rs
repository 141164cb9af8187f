//! A thread that samples the lag of the views once a second.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use harness::admin::{Admin, Lag};

const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

pub struct Watch {
    highest: Arc<Mutex<HighestLag>>,
    /// Dropping it ends the thread.
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

/// The highest lag since the last [`Watch::take`].
#[derive(Clone, Copy, Debug, Default)]
pub struct HighestLag {
    pub lag: Lag,
    /// Samples without a response.
    pub failed: usize,
}

impl Watch {
    pub fn start(admin: Admin) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let highest = Arc::<Mutex<HighestLag>>::default();
        let shared = Arc::clone(&highest);
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(SAMPLE_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let lag = admin.lag();
                let mut highest = shared.lock().unwrap_or_else(PoisonError::into_inner);
                match lag {
                    Ok(lag) => {
                        highest.lag.events = highest.lag.events.max(lag.events);
                        highest.lag.millis = highest.lag.millis.max(lag.millis);
                    }
                    Err(_) => highest.failed += 1,
                }
            }
        });
        Self { highest, stop, thread }
    }

    /// Returns the highest lag and resets it.
    pub fn take(&self) -> HighestLag {
        std::mem::take(&mut *self.highest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn stop(self) {
        drop(self.stop);
        self.thread.join().expect("the thread does not panic");
    }
}
