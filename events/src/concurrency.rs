//! How much of what all callers share one key and one tenant may have at a time: queries that run, event streams that
//! are open, commands of administration, and answers that nobody has read yet.
//!
//! A query waits for those of its key, then for those of its tenant, then for everybody else's. Of one tenant, whatever
//! its number of connections, no more than [`TENANT`] allows get as far as the last line, which is first come first
//! served: that many are the most that anybody else waits behind. Callers that reach the whole platform have a line of
//! their own. A request that does not get its turn in time is refused. One that finds the line full is refused after the same
//! time: a crowd that asks again at once would otherwise take the processors from everybody.

mod account;
mod refused;
mod threads;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::ids::{KeyId, TenantId};
use crate::limit::BuiltInMeasure;
use account::{Account, Accounts, Bounds, OpenStream, Place, Work};
use threads::Threads;

const MIB: usize = 1024 * 1024;
/// Of one key, or of the operator.
const KEY: Bounds = Bounds { queries: 2, commands: 8, in_line: 32, streams: 4, unread_bytes: 4 * MIB };
/// Of all keys of a tenant. Fewer queries than run of all tenants, so that another tenant's run beside them.
const TENANT: Bounds = Bounds { queries: 3, commands: 16, in_line: 64, streams: 16, unread_bytes: 8 * MIB };
/// Queries of all tenants that run at a time.
const TENANTS_QUERIES_MAX: usize = 4;
/// The same of callers that reach the whole platform.
const PLATFORM_QUERIES_MAX: usize = 3;
const TENANTS_STREAMS_MAX: usize = 512;
/// Bytes that tenants have not read from which on each of them has to read its own before it gets more.
const TENANTS_UNREAD_BYTES_MAX: usize = 64 * MIB;
/// How long a query or a command waits for others of its own key and tenant.
const OWN_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long a query waits for those of others.
const OTHERS_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a query may run.
pub const QUERY_MAX: Duration = Duration::from_secs(10);

/// Who asks, as far as sharing goes.
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

/// Whose share it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    Operator,
    Key(KeyId),
    Tenant(TenantId),
}

/// There is no room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// The requester's key or tenant has as much as it may have.
    #[error("no more than {limit} {measure} at a time")]
    Limited { holder: Holder, measure: BuiltInMeasure, limit: u64 },
    #[error("others have it all")]
    Busy,
}

/// Counts by key and by tenant. Cheap to clone; clones share their counts.
#[derive(Clone)]
pub struct ConcurrencyLimiter {
    shared: Arc<CommonBounds>,
}

struct CommonBounds {
    accounts: Accounts,
    tenants_queries: Arc<Semaphore>,
    platform_queries: Arc<Semaphore>,
    tenants_streams: Arc<Semaphore>,
    /// Bytes of answers to tenants.
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

/// The right to work for a client's query, one thing at a time. Cheap to clone; given back with the last clone.
#[derive(Clone)]
pub struct QueryPermit {
    deadline: Instant,
    held: Arc<Held>,
}

struct Held {
    shared: Arc<CommonBounds>,
    _own: Vec<Place>,
    _of_all: OwnedSemaphorePermit,
}

/// What was to be done for a query was not: its thread panicked, or there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a query was lost")]
pub struct QueryLost;

impl QueryPermit {
    /// When what runs under it is interrupted.
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Works on a thread for queries. The permit is kept until the work is over, also where nobody waits for it so long.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, QueryLost> {
        let (done, is_done) = oneshot::channel();
        let permit = self.clone();
        let tell = move |worked: Option<T>| drop(done.send((worked, permit)));
        self.held.shared.threads.run(work, tell).map_err(|_| QueryLost)?;
        let (worked, _permit) = is_done.await.map_err(|_| QueryLost)?;
        worked.ok_or(QueryLost)
    }
}

/// The right to keep an event stream open.
pub struct StreamPermit {
    _own: Vec<OpenStream>,
    _of_all: Option<OwnedSemaphorePermit>,
}

/// The right to carry out one command of administration.
pub struct CommandPermit {
    _held: Vec<Place>,
}

impl ConcurrencyLimiter {
    /// Waits for its turn to run a query.
    pub async fn admit_query(&self, requester: Requester) -> Result<QueryPermit, NoRoom> {
        let accounts = self.accounts_of(requester);
        let own = enter(&accounts, Work::Query).await?;
        let of_all = timeout(OTHERS_WAIT_MAX, self.shared.run_query(requester, &accounts)).await;
        let of_all = of_all.map_err(|_| NoRoom::Busy)??;
        let held = Held { shared: Arc::clone(&self.shared), _own: own, _of_all: of_all };
        Ok(QueryPermit { deadline: Instant::now() + QUERY_MAX, held: Arc::new(held) })
    }

    /// Waits for its turn to carry out a command. The operator's has its turn at once.
    pub async fn admit_command(&self, requester: Requester) -> Result<CommandPermit, NoRoom> {
        let accounts = match requester {
            Requester::Operator => Vec::new(),
            Requester::PlatformKey(_) | Requester::TenantKey { .. } => self.accounts_of(requester),
        };
        Ok(CommandPermit { _held: enter(&accounts, Work::Command).await? })
    }

    /// For an event stream that begins now, or in a moment.
    pub async fn open_stream(&self, requester: Requester) -> Result<StreamPermit, NoRoom> {
        match self.try_open_stream(requester) {
            Ok(permit) => Ok(permit),
            Err(_) => {
                sleep_until(Instant::now() + OWN_WAIT_MAX).await;
                self.try_open_stream(requester)
            }
        }
    }

    fn try_open_stream(&self, requester: Requester) -> Result<StreamPermit, NoRoom> {
        let own = self.accounts_of(requester).iter().map(Account::open_stream).collect::<Result<_, _>>()?;
        let of_all = match requester {
            Requester::Operator | Requester::PlatformKey(_) => None,
            Requester::TenantKey { .. } => {
                let of_all = Arc::clone(&self.shared.tenants_streams).try_acquire_owned();
                Some(of_all.map_err(|_| NoRoom::Busy)?)
            }
        };
        Ok(StreamPermit { _own: own, _of_all: of_all })
    }

    /// Counts a part of an answer as unread until what is returned is dropped.
    pub fn count_unread(&self, requester: Requester, bytes: usize) -> UnreadBytes {
        let accounts = self.accounts_of(requester);
        accounts.iter().for_each(|account| account.add_unread(bytes));
        let of_all = match requester {
            Requester::Operator | Requester::PlatformKey(_) => None,
            Requester::TenantKey { .. } => Some(Arc::clone(&self.shared)),
        };
        if let Some(shared) = &of_all {
            shared.unread.send_modify(|unread| *unread = unread.saturating_add(bytes));
        }
        UnreadBytes { accounts, of_all, bytes }
    }

    /// Its key's, then its tenant's.
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

/// Gets past each of these, in their order.
async fn enter(accounts: &[Arc<Account>], work: Work) -> Result<Vec<Place>, NoRoom> {
    let until = Instant::now() + OWN_WAIT_MAX;
    let mut places = match accounts.iter().map(|account| account.join(work)).collect::<Result<Vec<_>, _>>() {
        Ok(places) => places,
        Err(no_room) => {
            sleep_until(until).await;
            return Err(no_room);
        }
    };
    for place in &mut places {
        place.run(until).await?;
    }
    Ok(places)
}

impl CommonBounds {
    async fn run_query(&self, requester: Requester, own: &[Arc<Account>]) -> Result<OwnedSemaphorePermit, NoRoom> {
        let queries = match requester {
            Requester::Operator | Requester::PlatformKey(_) => &self.platform_queries,
            Requester::TenantKey { .. } => {
                // Who has read everything does not wait for those who have not.
                if own.iter().any(|account| account.has_unread()) {
                    let mut unread = self.unread.subscribe();
                    unread.wait_for(|bytes| *bytes < TENANTS_UNREAD_BYTES_MAX).await.map_err(|_| NoRoom::Busy)?;
                }
                &self.tenants_queries
            }
        };
        Arc::clone(queries).acquire_owned().await.map_err(|_| NoRoom::Busy)
    }
}

/// A part of an answer that its client has not read.
pub struct UnreadBytes {
    accounts: Vec<Arc<Account>>,
    of_all: Option<Arc<CommonBounds>>,
    bytes: usize,
}

impl Drop for UnreadBytes {
    fn drop(&mut self) {
        self.accounts.iter().for_each(|account| account.remove_unread(self.bytes));
        if let Some(shared) = &self.of_all {
            shared.unread.send_modify(|unread| *unread = unread.saturating_sub(self.bytes));
        }
    }
}

#[cfg(test)]
mod tests;
