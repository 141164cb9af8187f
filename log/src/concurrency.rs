//! Concurrency limits on what all callers share: how many queries, event streams and administration commands one key and one
//! tenant may have at a time, and how many bytes of answers they may leave unread.
//!
//! A query waits for those of its key, then for those of its tenant, then for everybody else's. However many connections a
//! tenant has, at most as many of its queries as [`TENANT`] allows reach the last queue, which is first come, first served:
//! nobody waits there behind more of them. Callers that reach the whole platform have a queue of their own. A request that
//! does not get its turn in time is refused. A request that finds the queue full is refused after the same time: otherwise a
//! crowd that retries at once would take the processors from everybody.

mod account;
mod refused;
mod threads;

use std::sync::Arc;
use std::time::Duration;

use events::ids::{KeyId, TenantId};
use events::limit::BuiltInMeasure;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use account::{Account, AccountBounds, Accounts, OpenStream, QueueSlot, Work};
use threads::Threads;

const MIB: usize = 1024 * 1024;
/// The bounds of one key, or of the operator.
const KEY: AccountBounds = AccountBounds { queries: 2, commands: 8, queue_len: 32, streams: 4, unread_bytes: 4 * MIB };
/// The bounds of all keys of a tenant together. It allows fewer queries than all tenants have, so that another tenant's can
/// run as well.
const TENANT: AccountBounds =
    AccountBounds { queries: 3, commands: 16, queue_len: 64, streams: 16, unread_bytes: 8 * MIB };
/// Running queries of all tenants together.
const TENANTS_QUERIES_MAX: usize = 4;
/// Running queries of all callers that reach the whole platform.
const PLATFORM_QUERIES_MAX: usize = 3;
const TENANTS_STREAMS_MAX: usize = 512;
/// Unread bytes of all tenants together: above this, each tenant has to read its own before it gets more.
const TENANTS_UNREAD_BYTES_MAX: usize = 64 * MIB;
/// The longest wait of a query or a command for others of its own key and tenant.
const OWN_WAIT_MAX: Duration = Duration::from_secs(2);
/// The longest wait of a query for those of other callers.
const OTHERS_WAIT_MAX: Duration = Duration::from_secs(5);
/// The longest time that a query may run.
pub const QUERY_MAX: Duration = Duration::from_secs(10);

/// The caller, as far as concurrency limits are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requester {
    Operator,
    /// A key that reaches the whole platform.
    PlatformKey(KeyId),
    TenantKey {
        key: KeyId,
        tenant: TenantId,
    },
}

impl Requester {
    const fn is_tenant(self) -> bool {
        matches!(self, Self::TenantKey { .. })
    }
}

/// The holder of a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    Operator,
    Key(KeyId),
    Tenant(TenantId),
}

/// The error for a caller that finds no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// The requester's key or tenant is at its limit.
    #[error("no more than {limit} {measure} at a time")]
    Limited { holder: Holder, measure: BuiltInMeasure, limit: u64 },
    #[error("other callers use all of what is shared")]
    Busy,
}

/// A limiter that counts by key and by tenant. Cheap to clone; clones share their counts.
#[derive(Clone)]
pub struct ConcurrencyLimiter {
    shared: Arc<CommonBounds>,
}

struct CommonBounds {
    accounts: Accounts,
    tenants_queries: Arc<Semaphore>,
    platform_queries: Arc<Semaphore>,
    tenants_streams: Arc<Semaphore>,
    /// Unread bytes of answers to tenants.
    unread: watch::Sender<usize>,
    threads: Threads,
}

impl Default for ConcurrencyLimiter {
    fn default() -> Self {
        let shared = CommonBounds {
            accounts: Accounts::default(),
            tenants_queries: Arc::new(Semaphore::new(TENANTS_QUERIES_MAX)),
            platform_queries: Arc::new(Semaphore::new(PLATFORM_QUERIES_MAX)),
            tenants_streams: Arc::new(Semaphore::new(TENANTS_STREAMS_MAX)),
            unread: watch::Sender::new(0),
            threads: Threads::new(TENANTS_QUERIES_MAX + PLATFORM_QUERIES_MAX),
        };
        Self { shared: Arc::new(shared) }
    }
}

/// A permit to work on a client's query, one job at a time. Cheap to clone; it ends with the last clone.
#[derive(Clone)]
pub struct QueryPermit {
    deadline: Instant,
    held: Arc<HeldPermits>,
}

struct HeldPermits {
    requester: Requester,
    shared: Arc<CommonBounds>,
    _own: Vec<QueueSlot>,
    _shared: OwnedSemaphorePermit,
}

/// The error for a query whose work was not done: its thread panicked, or there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a query's thread panicked or could not be started")]
pub struct QueryLost;

impl QueryPermit {
    /// When work under this permit is interrupted.
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// True if a tenant's key asks, which shares what there is with other tenants.
    pub fn is_of_tenant(&self) -> bool {
        self.held.requester.is_tenant()
    }

    /// Runs `work` on a query thread. The permit is kept until the work is over, even if nobody waits for it any more.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, QueryLost> {
        let (done, is_done) = oneshot::channel();
        let permit = self.clone();
        let report = move |result: Option<T>| drop(done.send((result, permit)));
        self.held.shared.threads.run(work, report)?;
        let (result, _permit) = is_done.await.map_err(|_| QueryLost)?;
        result.ok_or(QueryLost)
    }
}

/// A permit to keep an event stream open.
pub struct StreamPermit {
    _own: Vec<OpenStream>,
    _shared: Option<OwnedSemaphorePermit>,
}

/// A permit to carry out one administration command, or the part of one that changes something.
pub struct CommandPermit {
    _held: Vec<QueueSlot>,
}

impl ConcurrencyLimiter {
    /// Waits for a turn to run a query.
    pub async fn admit_query(&self, requester: Requester) -> Result<QueryPermit, NoRoom> {
        let accounts = self.accounts_of(requester);
        let own = acquire(&accounts, Work::Query).await?;
        let shared_permit = timeout(OTHERS_WAIT_MAX, self.shared.run_query(requester, &accounts)).await;
        let shared_permit = shared_permit.map_err(|_| NoRoom::Busy)??;
        let shared = Arc::clone(&self.shared);
        let held = HeldPermits { requester, shared, _own: own, _shared: shared_permit };
        Ok(QueryPermit { deadline: Instant::now() + QUERY_MAX, held: Arc::new(held) })
    }

    /// Waits for a turn to carry out a command. The operator does not wait.
    pub async fn admit_command(&self, requester: Requester) -> Result<CommandPermit, NoRoom> {
        self.admit(requester, Work::Command).await
    }

    /// Waits for a turn to end a resource. Only other ends are waited for: whoever fills the places of commands cannot keep others from
    /// revoking its keys. The operator does not wait.
    pub async fn admit_end(&self, requester: Requester) -> Result<CommandPermit, NoRoom> {
        self.admit(requester, Work::End).await
    }

    async fn admit(&self, requester: Requester, work: Work) -> Result<CommandPermit, NoRoom> {
        let accounts = if requester == Requester::Operator { Vec::new() } else { self.accounts_of(requester) };
        Ok(CommandPermit { _held: acquire(&accounts, work).await? })
    }

    /// Waits for the turn of a tenant's key to create or change something, which has to be in force before the next one of the tenant is
    /// decided: otherwise each would find the same room. Others do not wait.
    pub async fn admit_change(&self, requester: Requester) -> Result<CommandPermit, NoRoom> {
        let Requester::TenantKey { tenant, .. } = requester else { return Ok(CommandPermit { _held: Vec::new() }) };
        let account = self.shared.accounts.get_or_make(Holder::Tenant(tenant), TENANT);
        Ok(CommandPermit { _held: acquire(&[account], Work::Change).await? })
    }

    /// Admits an event stream, now or after `OWN_WAIT_MAX`.
    pub async fn open_stream(&self, requester: Requester) -> Result<StreamPermit, NoRoom> {
        if let Ok(permit) = self.try_open_stream(requester) {
            return Ok(permit);
        }
        sleep_until(Instant::now() + OWN_WAIT_MAX).await;
        self.try_open_stream(requester)
    }

    fn try_open_stream(&self, requester: Requester) -> Result<StreamPermit, NoRoom> {
        let own = self.accounts_of(requester).iter().map(Account::open_stream).collect::<Result<_, _>>()?;
        let acquire_shared = || Arc::clone(&self.shared.tenants_streams).try_acquire_owned().map_err(|_| NoRoom::Busy);
        Ok(StreamPermit { _own: own, _shared: requester.is_tenant().then(acquire_shared).transpose()? })
    }

    /// Counts a part of an answer as unread until the returned value is dropped.
    pub fn count_unread(&self, requester: Requester, bytes: usize) -> UnreadBytes {
        let of_tenants = requester.is_tenant().then(|| Arc::clone(&self.shared));
        let unread = UnreadBytes { accounts: self.accounts_of(requester), of_tenants, bytes };
        unread.count(|others| others.saturating_add(bytes));
        unread
    }

    /// The accounts of the requester: its key's, then its tenant's.
    fn accounts_of(&self, requester: Requester) -> Vec<Arc<Account>> {
        let account = |holder, bounds| self.shared.accounts.get_or_make(holder, bounds);
        match requester {
            Requester::Operator => vec![account(Holder::Operator, KEY)],
            Requester::PlatformKey(key) => vec![account(Holder::Key(key), KEY)],
            Requester::TenantKey { key, tenant } => {
                vec![account(Holder::Key(key), KEY), account(Holder::Tenant(tenant), TENANT)]
            }
        }
    }
}

/// Waits for a turn in each of these accounts, in order.
async fn acquire(accounts: &[Arc<Account>], work: Work) -> Result<Vec<QueueSlot>, NoRoom> {
    let until = Instant::now() + OWN_WAIT_MAX;
    let mut slots = match accounts.iter().map(|account| account.join(work)).collect::<Result<Vec<_>, _>>() {
        Ok(slots) => slots,
        Err(no_room) => {
            sleep_until(until).await;
            return Err(no_room);
        }
    };
    for slot in &mut slots {
        slot.run(until).await?;
    }
    Ok(slots)
}

impl CommonBounds {
    async fn run_query(&self, requester: Requester, own: &[Arc<Account>]) -> Result<OwnedSemaphorePermit, NoRoom> {
        // A caller that has read everything does not wait for those that have not.
        if requester.is_tenant() && own.iter().any(|account| account.has_unread()) {
            let mut unread = self.unread.subscribe();
            unread.wait_for(|bytes| *bytes < TENANTS_UNREAD_BYTES_MAX).await.map_err(|_| NoRoom::Busy)?;
        }
        let queries = if requester.is_tenant() { &self.tenants_queries } else { &self.platform_queries };
        Arc::clone(queries).acquire_owned().await.map_err(|_| NoRoom::Busy)
    }
}

/// A part of an answer that its client has not read yet.
pub struct UnreadBytes {
    accounts: Vec<Arc<Account>>,
    /// Where bytes of tenants count together; `None` for other requesters.
    of_tenants: Option<Arc<CommonBounds>>,
    bytes: usize,
}

impl UnreadBytes {
    /// Changes the counts in which the bytes are included.
    fn count(&self, change: impl Fn(usize) -> usize) {
        let of_tenants = self.of_tenants.iter().map(|shared| &shared.unread);
        for unread in self.accounts.iter().map(|account| &account.unread).chain(of_tenants) {
            unread.send_modify(|bytes| *bytes = change(*bytes));
        }
    }
}

impl Drop for UnreadBytes {
    fn drop(&mut self) {
        self.count(|all| all.saturating_sub(self.bytes));
    }
}

#[cfg(test)]
mod tests;
