//! What the operator does beside the load, on threads of its own, as somebody at another machine would.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use harness::admin::{Admin, TenantKey};

const CHANGE_EVERY: Duration = Duration::from_millis(500);
/// Every change sets another number, each far from what is ever reached.
const LIMIT: u64 = 100_000_000;

/// Changes of a limit, one after the other.
pub struct Changes {
    /// Dropped, it ends the thread.
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Changed>,
}

#[derive(Debug, Default)]
pub struct Changed {
    pub took: Vec<Duration>,
    pub errors: usize,
}

impl Changes {
    pub fn begin(admin: Admin, rate_limit: String) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut changed = Changed::default();
            let mut limits = LIMIT..;
            while stopped.recv_timeout(CHANGE_EVERY) == Err(RecvTimeoutError::Timeout) {
                let began = Instant::now();
                match admin.change_limit(&rate_limit, limits.next().unwrap_or(LIMIT)) {
                    Ok(()) => changed.took.push(began.elapsed()),
                    Err(_) => changed.errors += 1,
                }
            }
            changed
        });
        Self { stop, thread }
    }

    pub fn end(self) -> Changed {
        drop(self.stop);
        self.thread.join().expect("the end of the changes")
    }
}

/// How long the operator waits for the answer to the `DELETE` of a key, a new connection included.
pub async fn delete(admin: Admin, key: TenantKey) -> Result<Duration, String> {
    let deleting = tokio::task::spawn_blocking(move || {
        let began = Instant::now();
        admin.end_key(&key).map(|()| began.elapsed()).map_err(|error| error.to_string())
    });
    deleting.await.unwrap_or_else(|error| Err(error.to_string()))
}
