//! Who polls an HTTP/1.1 connection. In hyper it is a future beside its requests and responses. Polled by a task of its own,
//! it hands every head and every chunk over to another task, and that wakes a sleeping core. So the request that has the
//! connection polls it while it waits for a head or a chunk. A task of the pool polls it while it is idle, and sees it close.
//!
//! Guarantees: whoever polled the connection last is woken by it; a request leaves it to the task when its response has
//! ended. Not guaranteed: that the connection goes on while its request waits for something else, such as a client that
//! does not read. The rest of an upload then waits as well, until the request goes on or its deadline closes the connection.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};

/// A connection that is polled from two sides. Clones are of the same connection.
#[derive(Clone)]
pub struct Driver(Arc<Mutex<Driven>>);

struct Driven {
    /// `None` once it has ended or is closed.
    connection: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Wakes the task of the pool.
    task: Waker,
}

impl Driver {
    pub fn new(connection: impl Future<Output = ()> + Send + 'static) -> Self {
        let driven = Driven { connection: Some(Box::pin(connection)), task: Waker::noop().clone() };
        Self(Arc::new(Mutex::new(driven)))
    }

    fn lock(&self) -> MutexGuard<'_, Driven> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls the connection until it has ended: the task's side.
    pub async fn run(self) {
        poll_fn(|context| {
            let mut driven = self.lock();
            driven.task.clone_from(context.waker());
            driven.poll(context)
        })
        .await;
    }

    /// Takes the connection over from the task: it wakes the caller from here on, also when a request is sent on it.
    pub async fn take_over(&self) {
        poll_fn(|context| {
            let _ = self.poll_with(context, |_| Poll::<()>::Pending);
            Poll::Ready(())
        })
        .await;
    }

    /// Waits for `what` the connection brings, and polls the connection meanwhile.
    pub async fn wait_for<T>(&self, what: impl Future<Output = T>) -> T {
        let mut what = pin!(what);
        poll_fn(|context| self.poll_with(context, |context| what.as_mut().poll(context))).await
    }

    /// Polls what the connection brings, and the connection if that is missing.
    pub fn poll_with<T>(
        &self,
        context: &mut Context<'_>,
        mut what: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let before = what(context);
        if before.is_ready() {
            return before;
        }
        let mut driven = match self.0.try_lock() {
            Ok(driven) => driven,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // The task polls it at this moment: that wakes whoever waits for what it brings.
            Err(TryLockError::WouldBlock) => return before,
        };
        if driven.poll(context).is_ready() {
            driven.task.wake_by_ref();
        }
        drop(driven);
        what(context)
    }

    /// Leaves the connection to the task.
    pub fn hand_back(&self) {
        self.lock().task.wake_by_ref();
    }

    /// Closes the connection at once.
    pub fn close(&self) {
        let mut driven = self.lock();
        let closed = driven.connection.take();
        driven.task.wake_by_ref();
        drop(driven);
        drop(closed);
    }
}

impl Driven {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Taken out while it is polled: a panic drops it, and whoever waits for it gets an error at once.
        let Some(mut connection) = self.connection.take() else { return Poll::Ready(()) };
        let polled = connection.as_mut().poll(context);
        if polled.is_pending() {
            self.connection = Some(connection);
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::task::JoinSet;

    use super::*;

    /// Says that it was dropped.
    struct Dropped(Arc<AtomicBool>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn a_connection_that_panics_is_dropped_and_nobody_waits_for_it() {
        let is_dropped = Arc::new(AtomicBool::new(false));
        let held = Dropped(Arc::clone(&is_dropped));
        let driver = Driver::new(async move {
            let _held = held;
            panic!("in the connection");
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(driver.clone().run());
        assert!(tasks.join_next().await.is_some_and(|ended| ended.is_err_and(|error| error.is_panic())));
        assert!(is_dropped.load(Ordering::SeqCst));
        driver.take_over().await;
        driver.clone().run().await;
        driver.hand_back();
        driver.close();
    }

    #[tokio::test]
    async fn the_task_ends_when_the_connection_is_closed() {
        let driver = Driver::new(std::future::pending());
        let mut tasks = JoinSet::new();
        tasks.spawn(driver.clone().run());
        tokio::task::yield_now().await;
        driver.close();
        tasks.join_all().await;
        driver.clone().run().await;
    }
}
