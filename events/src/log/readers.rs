//! Connections that async callers share, for each purpose some of its own: whatever clients ask for, what decides about
//! their keys and what follows the log never wait for a connection of theirs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::interrupt::Interrupt;
use super::{LogError, Reader};
use crate::concurrency::{QUERY_MAX, QueryPermit};

/// Reads at a time that keys, secrets and administration are decided by. Each looks a few rows up.
const DECIDING_MAX: usize = 4;
/// Of the tables and of the figures, one each.
const FOLLOWING_MAX: usize = 2;
/// How long a read waits for a connection.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Opens one more connection to the database.
pub(super) type OpenReader = Arc<dyn Fn() -> Result<Box<dyn Reader>, LogError> + Send + Sync>;

pub(super) struct Readers {
    open: OpenReader,
    deciding: Pool,
    following: Pool,
    /// As many as there are permits.
    querying: Arc<Idle>,
}

/// Connections of one purpose, a bounded number.
struct Pool {
    turns: Arc<Semaphore>,
    idle: Arc<Idle>,
}

/// Connections that nobody uses now.
struct Idle {
    open: OpenReader,
    readers: Mutex<Vec<Box<dyn Reader>>>,
}

impl Readers {
    pub(super) fn new(open: OpenReader) -> Self {
        let idle = || Arc::new(Idle { open: Arc::clone(&open), readers: Mutex::default() });
        let pool = |readers_max| Pool { turns: Arc::new(Semaphore::new(readers_max)), idle: idle() };
        Self { deciding: pool(DECIDING_MAX), following: pool(FOLLOWING_MAX), querying: idle(), open }
    }

    pub(super) fn open(&self) -> Result<Box<dyn Reader>, LogError> {
        (self.open)()
    }

    pub(super) async fn decide<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Reader) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        self.deciding.run(work).await
    }

    pub(super) async fn follow<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Reader) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        self.following.run(work).await
    }

    pub(super) async fn query<T: Send + 'static>(
        &self,
        permit: &QueryPermit,
        work: impl FnOnce(&dyn Reader) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let interrupt = Interrupt::new(Some(permit.deadline().into_std()));
        let _ended_when_dropped = interrupt.when_dropped();
        let idle = Arc::clone(&self.querying);
        let read = permit.run(move || idle.read(&interrupt, work));
        // Where the disk hangs, nothing looks at the clock in there.
        match tokio::time::timeout_at(permit.deadline(), read).await {
            Ok(read) => read.map_err(|_| LogError::Closed)?,
            Err(_) => Err(LogError::QueryTookTooLong(QUERY_MAX)),
        }
    }
}

impl Pool {
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Reader) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let turn = tokio::time::timeout(WAIT_MAX, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| LogError::TimedOut(WAIT_MAX))?.map_err(|_| LogError::Closed)?;
        let interrupt = Interrupt::new(None);
        let _ended_when_dropped = interrupt.when_dropped();
        let idle = Arc::clone(&self.idle);
        let read = tokio::task::spawn_blocking(move || {
            // Given back when the connection is free again, which may be later than that anybody waited for it.
            let _turn = turn;
            idle.read(&interrupt, work)
        });
        read.await.map_err(|_| LogError::Closed)?
    }
}

impl Idle {
    fn read<T>(
        &self,
        interrupt: &Interrupt,
        work: impl FnOnce(&dyn Reader) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        if interrupt.is_due() {
            return Err(LogError::Closed);
        }
        let kept = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = kept.map_or_else(|| (self.open)(), Ok)?;
        let (mut work, mut read) = (Some(work), Err(LogError::Closed));
        reader.interrupted(interrupt, &mut || {
            if let Some(work) = work.take() {
                read = work(&*reader);
            }
        });
        // A connection that failed may be in any state; the next one is a new one.
        if read.is_ok() {
            self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        }
        if interrupt.is_late() { read.map_err(|_| LogError::QueryTookTooLong(QUERY_MAX)) } else { read }
    }
}

#[cfg(test)]
mod tests;
