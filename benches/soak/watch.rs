//! What is looked at while the load goes on: how far behind the views are, once a second, on a thread of its own.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use harness::admin::{Admin, Lag};

const LOOK_EVERY: Duration = Duration::from_secs(1);

pub struct Watch {
    most: Arc<Mutex<Seen>>,
    /// Dropped, it ends the thread.
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

/// Since it was last asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub lag: Lag,
    /// Looks that were not answered.
    pub unanswered: usize,
}

impl Watch {
    pub fn start(admin: Admin) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let most = Arc::<Mutex<Seen>>::default();
        let seen = Arc::clone(&most);
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                let lag = admin.lag();
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                match lag {
                    Ok(lag) => {
                        seen.lag.events = seen.lag.events.max(lag.events);
                        seen.lag.millis = seen.lag.millis.max(lag.millis);
                    }
                    Err(_) => seen.unanswered += 1,
                }
            }
        });
        Self { most, stop, thread }
    }

    /// The most since the last time.
    pub fn take(&self) -> Seen {
        std::mem::take(&mut *self.most.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn stop(self) {
        drop(self.stop);
        self.thread.join().expect("the end of the watch");
    }
}
