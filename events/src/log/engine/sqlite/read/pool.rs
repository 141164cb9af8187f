//! Connections that async callers share, for each purpose some of its own: whatever clients ask for, what decides about
//! their keys and what follows the log never wait for a connection of theirs.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::Reader;
use crate::concurrency::{QUERY_MAX, QueryPermit};
use crate::log::LogError;
use crate::log::engine::sqlite::interrupt::Interrupt;

/// Reads at a time that keys, secrets and administration are decided by. Each looks a few rows up.
const DECIDING_MAX: usize = 4;
/// Of the tables and of the figures, one each.
const FOLLOWING_MAX: usize = 2;
/// How long a read waits for a connection.
const WAIT_MAX: Duration = Duration::from_secs(5);

pub(in crate::log) struct Readers {
    ledger: PathBuf,
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
    ledger: PathBuf,
    readers: Mutex<Vec<Reader>>,
}

impl Readers {
    pub(in crate::log) fn new(ledger: PathBuf) -> Self {
        let idle = || Arc::new(Idle { ledger: ledger.clone(), readers: Mutex::default() });
        let pool = |readers_max| Pool { turns: Arc::new(Semaphore::new(readers_max)), idle: idle() };
        Self { deciding: pool(DECIDING_MAX), following: pool(FOLLOWING_MAX), querying: idle(), ledger }
    }

    pub(in crate::log) fn open(&self) -> Result<Reader, LogError> {
        Reader::open(&self.ledger)
    }

    pub(in crate::log) async fn decide<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        self.deciding.run(work).await
    }

    pub(in crate::log) async fn follow<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        self.following.run(work).await
    }

    pub(in crate::log) async fn query<T: Send + 'static>(
        &self,
        permit: &QueryPermit,
        work: impl FnOnce(&Reader) -> Result<T, LogError> + Send + 'static,
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
        work: impl FnOnce(&Reader) -> Result<T, LogError> + Send + 'static,
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
    fn read<T>(&self, interrupt: &Interrupt, work: impl FnOnce(&Reader) -> Result<T, LogError>) -> Result<T, LogError> {
        if interrupt.is_due() {
            return Err(LogError::Closed);
        }
        let kept = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = kept.map_or_else(|| Reader::open(&self.ledger), Ok)?;
        let read = interrupt.watch(reader.connection(), || work(&reader));
        // A connection that failed may be in any state; the next one is a new one.
        if read.is_ok() {
            self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        }
        if interrupt.is_late() { read.map_err(|_| LogError::QueryTookTooLong(QUERY_MAX)) } else { read }
    }
}

#[cfg(test)]
mod tests;
