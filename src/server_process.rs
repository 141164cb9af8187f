//! The common parts of the commands that serve until a signal: `serve` and `witness`.

use std::time::Duration;

use cli::CommandRuntime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Time for the last bytes of the last response to leave the socket.
pub const LAST_BYTES_WAIT: Duration = Duration::from_millis(50);
/// How long the end waits for threads that are still at work: one may be blocked for ever, by a folder that does not answer.
const BLOCKED_MAX: Duration = Duration::from_secs(5);

/// Runs a server until it has ended.
pub fn block_on_server<T>(runtime: CommandRuntime, server: impl Future<Output = T>) -> T {
    let served = runtime.block_on(server);
    runtime.shut_down(BLOCKED_MAX);
    served
}

/// SIGTERM and SIGINT, which mean the same.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
