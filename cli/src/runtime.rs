//! The runtime of the process. Commands are not async: most of what they do reads a ledger, which blocks, and the copy into PostgreSQL
//! has a runtime of its own, which must not begin inside another one. So they ask this one for each wait for the network.

use std::mem::ManuallyDrop;
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::Failure;

/// One thread. It is not dropped: that would wait for other threads, of which one may read a folder that does not answer.
pub struct CommandRuntime(ManuallyDrop<Runtime>);

impl CommandRuntime {
    pub fn start() -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread().enable_all().thread_name("blocking").build();
        let runtime = runtime.map_err(|error| Failure::NotBegun(format!("cannot start the runtime: {error}")))?;
        Ok(Self(ManuallyDrop::new(runtime)))
    }

    /// Runs a future to its end.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let mut output = None;
        self.run(pin!(async { output = Some(future.await) }));
        output.expect("the future has run to its end")
    }

    /// Every future is of one type here, so that the loop that runs it is compiled once.
    fn run(&self, future: Pin<&mut dyn Future<Output = ()>>) {
        self.0.block_on(future);
    }

    /// Ends it, and waits at most this long for threads that are still at work.
    pub fn shut_down(self, wait_max: Duration) {
        ManuallyDrop::into_inner(self.0).shutdown_timeout(wait_max);
    }
}
