//! The operator, who changes a limit and deletes keys during the load, on threads of its own.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use harness::admin::{Admin, TenantKey};

const CHANGE_INTERVAL: Duration = Duration::from_millis(500);
/// The first limit. Each change sets another one, and none is ever reached.
const LIMIT: u64 = 100_000_000;

/// A thread that changes a limit again and again.
pub struct Changes {
    /// Dropping it ends the thread.
    stop: mpsc::Sender<()>,
    thread: JoinHandle<ChangeResults>,
}

#[derive(Debug, Default)]
pub struct ChangeResults {
    pub took: Vec<Duration>,
    pub errors: usize,
}

impl Changes {
    pub fn start(admin: Admin, rate_limit: String) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut results = ChangeResults::default();
            let mut limits = LIMIT..;
            while stopped.recv_timeout(CHANGE_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let began = Instant::now();
                match admin.change_limit(&rate_limit, limits.next().unwrap_or(LIMIT)) {
                    Ok(()) => results.took.push(began.elapsed()),
                    Err(_) => results.errors += 1,
                }
            }
            results
        });
        Self { stop, thread }
    }

    pub fn end(self) -> ChangeResults {
        drop(self.stop);
        self.thread.join().expect("the thread does not panic")
    }
}

/// Deletes a key. Returns the time until the response, including that of a new connection.
pub async fn delete(admin: Admin, key: TenantKey) -> Result<Duration, String> {
    let deleting = tokio::task::spawn_blocking(move || {
        let began = Instant::now();
        admin.delete_key(&key).map(|()| began.elapsed()).map_err(|error| error.to_string())
    });
    deleting.await.unwrap_or_else(|error| Err(error.to_string()))
}
