//! Pools of read connections for async callers, one per purpose: decisions about keys and the tables never wait for a
//! connection that clients' queries use.

mod key_secrets;

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use blocking_work::{KEY_SECRETS, NotDone, Owner, READS, TABLES};
use tokio::time::Instant;

use super::interrupt::Interrupt;
use super::{LogError, Reader};
use crate::concurrency::{QUERY_MAX, QueryPermit};
use key_secrets::KeySecretsReader;

/// How long a read waits for a connection.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The purpose of a reader. Readers of one purpose never wait for those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Look-ups for decisions: a few rows each.
    Deciding,
    /// Followers, the tables of administration, and the views: pages of the log.
    Following,
    /// Queries of tenants.
    TenantQueries,
    /// Queries of callers that reach the whole platform.
    PlatformQueries,
}

/// Opens one more reader of the database.
pub(super) type OpenReader = Arc<dyn Fn(Purpose) -> Result<Box<dyn Reader>, LogError> + Send + Sync>;

/// Reading whose result has any type: connections are handed out by code that is compiled once, not for each result.
type AnyRead = Box<dyn FnOnce(&dyn Reader) -> AnyResult + Send>;
type AnyResult = Result<Box<dyn Any + Send>, LogError>;

pub(super) struct Readers {
    open: OpenReader,
    pub(super) deciding: Pool,
    pub(super) key_secrets: Arc<KeySecretsReader>,
    /// All administration, which one task reads for the tables.
    pub(super) administration: Pool,
    /// Bounded by the permits of queries, like those of the platform.
    tenant_queries: Arc<Idle>,
    platform_queries: Arc<Idle>,
}

/// A bounded pool of connections for one purpose.
pub(super) struct Pool {
    turns: &'static blocking_work::Pool,
    idle: Arc<Idle>,
}

/// Open connections that are not in use.
struct Idle {
    open: OpenReader,
    purpose: Purpose,
    readers: Mutex<Vec<Box<dyn Reader>>>,
}

impl Readers {
    pub(super) fn new(open: OpenReader) -> Self {
        let idle = |purpose| Arc::new(Idle { open: Arc::clone(&open), purpose, readers: Mutex::default() });
        let deciding = idle(Purpose::Deciding);
        Self {
            key_secrets: Arc::new(KeySecretsReader::new(&KEY_SECRETS, Arc::clone(&deciding))),
            deciding: Pool { turns: &READS, idle: deciding },
            administration: Pool { turns: &TABLES, idle: idle(Purpose::Following) },
            tenant_queries: idle(Purpose::TenantQueries),
            platform_queries: idle(Purpose::PlatformQueries),
            open,
        }
    }

    pub(super) fn open(&self) -> Result<Box<dyn Reader>, LogError> {
        (self.open)(Purpose::Following)
    }

    pub(super) async fn query<T: Send + 'static>(
        &self,
        permit: &QueryPermit,
        work: impl FnOnce(&dyn Reader) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        of_type(self.query_any(permit, of_any_type(work)).await)
    }

    async fn query_any(&self, permit: &QueryPermit, work: AnyRead) -> AnyResult {
        let interrupt = Interrupt::new(Some(permit.deadline().into_std()));
        let _guard = interrupt.interrupt_on_drop();
        let queries = if permit.is_of_tenant() { &self.tenant_queries } else { &self.platform_queries };
        let idle = Arc::clone(queries);
        let read = permit.run(move || idle.read(&interrupt, work));
        // If the disk hangs, the read itself does not check its deadline.
        match tokio::time::timeout_at(permit.deadline(), read).await {
            Ok(read) => read.map_err(|_| LogError::Closed)?,
            Err(_) => Err(LogError::QueryTookTooLong(QUERY_MAX)),
        }
    }
}

impl Pool {
    pub(super) async fn run<T: Send + 'static>(
        &self,
        owner: Owner,
        work: impl FnOnce(&dyn Reader) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        of_type(self.run_any(owner, of_any_type(work)).await)
    }

    async fn run_any(&self, owner: Owner, work: AnyRead) -> AnyResult {
        let interrupt = Interrupt::new(None);
        let _guard = interrupt.interrupt_on_drop();
        let idle = Arc::clone(&self.idle);
        // Its turn ends when the connection is free, which may be after the caller has stopped waiting.
        let read = self.turns.run_until(owner, Instant::now() + WAIT_MAX, move || idle.read(&interrupt, work));
        match read.await {
            Ok(read) => read,
            Err(NotDone::Busy(_)) => Err(LogError::TimedOut(WAIT_MAX)),
            Err(NotDone::Lost(_)) => Err(LogError::Closed),
        }
    }
}

impl Idle {
    fn read(&self, interrupt: &Interrupt, work: AnyRead) -> AnyResult {
        if interrupt.is_due() {
            return Err(LogError::Closed);
        }
        let kept = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = kept.map_or_else(|| (self.open)(self.purpose), Ok)?;
        let (mut work, mut read) = (Some(work), Err(LogError::Closed));
        reader.run_interruptible(interrupt, &mut || {
            if let Some(work) = work.take() {
                read = work(&*reader);
            }
        });
        // A failed connection may be in any state, so it is not reused.
        if read.is_ok() {
            self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        }
        if interrupt.is_late() { read.map_err(|_| LogError::QueryTookTooLong(QUERY_MAX)) } else { read }
    }
}

fn of_any_type<T: Send + 'static>(work: impl FnOnce(&dyn Reader) -> Result<T, LogError> + Send + 'static) -> AnyRead {
    Box::new(move |reader| Ok(Box::new(work(reader)?) as Box<dyn Any + Send>))
}

fn of_type<T: 'static>(read: AnyResult) -> Result<T, LogError> {
    read?.downcast().map(|read| *read).map_err(|_| LogError::Closed)
}

#[cfg(test)]
mod tests;
