//! The sockets to all providers together, which leave files for client connections and the ledger.
//!
//! Idle connections make room. While the sockets suffice, each pool keeps as many as it likes for a short time, and then its part of one
//! half of them: where thousands of providers have been called, a few for each. When no socket is left, idle connections are closed for
//! whoever needs one, whoever's they are: a tenant that opens many closes those of others, which then connect again. Only then is a
//! connection refused.
//!
//! A tenant's own providers share the sockets with those of others ([`Shares`]), so that no tenant takes all of them. The platform's
//! providers have no share: their calls are those of all tenants, which have bounds of their own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::shares::Shares;
use super::{IDLE_CONNECTIONS_MAX, Owner, SendError};

/// All pools together may keep one idle connection for so many sockets.
const SOCKETS_PER_IDLE: usize = 2;
/// One idle connection for so many sockets is closed at a time, so that not every newcomer has to search for one.
const SOCKETS_PER_BATCH: usize = 64;
/// How often a new connection looks for a socket. One that was closed may take a moment until it is free.
const LOOKS_MAX: u32 = 6;
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// The pause after a search among all pools that has found no idle connection.
const SEARCH_PAUSE: Duration = Duration::from_millis(10);

/// The sockets to all providers. Cheap to clone.
#[derive(Clone)]
pub struct Sockets(Arc<AllSockets>);

struct AllSockets {
    max: usize,
    /// Those of each owner of providers.
    open: Mutex<Shares>,
    idle_pools: Mutex<IdlePools>,
}

/// A pool whose idle connections can make room for others.
pub trait IdlePool: Send + Sync {
    /// Closes idle connections, the oldest first, as long as the pool has more than `keep`, and at most so many. Returns how many.
    fn close_idle(&self, keep: usize, count_max: usize) -> usize;
}

/// The pools that may have idle connections, the one that has had some for the longest time first.
#[derive(Default)]
struct IdlePools {
    by_id: BTreeMap<u64, OwnedPool>,
    last_id: u64,
    /// The time of the last search among all of them that has found nothing.
    found_nothing: Option<Instant>,
}

#[derive(Clone)]
struct OwnedPool {
    owner: Owner,
    pool: Arc<dyn IdlePool>,
}

/// The reason why there is no socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSocket {
    /// The providers of this owner have as many as they would have if no others had any.
    Share(Owner),
    /// Too many are open; idle ones of any provider may make room.
    AllOpen,
}

/// A socket of a provider, which counts until this is dropped.
pub struct SocketPermit {
    sockets: Sockets,
    owner: Owner,
}

/// A pool that is listed as having idle connections until this is dropped.
pub struct ListedPool {
    sockets: Sockets,
    id: u64,
}

impl Sockets {
    pub fn new(max: usize) -> Self {
        Self(Arc::new(AllSockets { max, open: Mutex::default(), idle_pools: Mutex::default() }))
    }

    /// The most that may be open.
    pub fn max(&self) -> usize {
        self.0.max
    }

    /// Counts one more socket of a provider of this owner. Idle connections are closed for it if need be.
    ///
    /// Errors: there is none, and none becomes free in a moment.
    pub async fn take(&self, owner: Owner) -> Result<SocketPermit, SendError> {
        for look in 0..LOOKS_MAX {
            match self.try_take(owner) {
                Ok(permit) => return Ok(permit),
                Err(no_socket) => self.close_idle(no_socket),
            }
            // Most of what was closed is free at once.
            if look > 0 {
                sleep(LOOK_PAUSE).await;
            }
        }
        Err(SendError::NoSocket)
    }

    /// Errors: there is none.
    pub fn try_take(&self, owner: Owner) -> Result<SocketPermit, NoSocket> {
        let mut open = self.open();
        if open.total() >= self.0.max {
            return Err(NoSocket::AllOpen);
        }
        if owner.is_some() && open.remaining(owner, self.0.max) == 0 {
            let is_all_it_gets = open.held(owner) * 3 >= self.0.max * 2;
            return Err(if is_all_it_gets { NoSocket::Share(owner) } else { NoSocket::AllOpen });
        }
        open.add(owner);
        drop(open);
        Ok(SocketPermit { sockets: self.clone(), owner })
    }

    /// Lists a pool that may have idle connections from now on.
    pub fn list(&self, owner: Owner, pool: impl IdlePool + 'static) -> ListedPool {
        let mut pools = self.idle_pools();
        pools.last_id += 1;
        let id = pools.last_id;
        pools.by_id.insert(id, OwnedPool { owner, pool: Arc::new(pool) });
        drop(pools);
        ListedPool { sockets: self.clone(), id }
    }

    /// How many idle connections a pool keeps.
    pub fn idle_of_pool(&self) -> usize {
        self.idle_of_each(self.idle_pools().by_id.len())
    }

    fn idle_of_each(&self, pools: usize) -> usize {
        (self.0.max / SOCKETS_PER_IDLE / pools.max(1)).clamp(1, IDLE_CONNECTIONS_MAX)
    }

    /// Closes some idle connections: of pools that have more than their part, and if there are none, the oldest of each.
    fn close_idle(&self, no_socket: NoSocket) {
        let idle = self.idle_pools();
        if no_socket == NoSocket::AllOpen && idle.found_nothing.is_some_and(|at| at.elapsed() < SEARCH_PAUSE) {
            return;
        }
        let part = self.idle_of_each(idle.by_id.len());
        let is_concerned = |pool: &&OwnedPool| match no_socket {
            NoSocket::Share(owner) => pool.owner == owner,
            NoSocket::AllOpen => true,
        };
        let pools: Vec<_> = idle.by_id.values().filter(is_concerned).map(|owned| Arc::clone(&owned.pool)).collect();
        // Pools are locked one by one, and this is not locked meanwhile: a pool that is locked gets listed.
        drop(idle);
        let batch = (self.0.max / SOCKETS_PER_BATCH).max(1);
        let mut closed = 0;
        for (keep, of_each) in [(part, batch), (0, 1)] {
            for pool in &pools {
                if closed >= batch {
                    break;
                }
                closed += pool.close_idle(keep, of_each);
            }
            if closed > 0 {
                return;
            }
        }
        if no_socket == NoSocket::AllOpen {
            self.idle_pools().found_nothing = Some(Instant::now());
        }
    }

    fn open(&self) -> MutexGuard<'_, Shares> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle_pools(&self) -> MutexGuard<'_, IdlePools> {
        self.0.idle_pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SocketPermit {
    fn drop(&mut self) {
        self.sockets.open().subtract(self.owner);
    }
}

impl Drop for ListedPool {
    fn drop(&mut self) {
        self.sockets.idle_pools().by_id.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use events::ids::TenantId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_tenants_providers_leave_sockets_to_others_and_the_platforms_may_have_all() {
        let (sockets, tenant) = (Sockets::new(30), Some(TenantId::from(Uuid::from_u128(1))));
        let of_tenant: Vec<_> = std::iter::from_fn(|| sockets.try_take(tenant).ok()).collect();
        assert_eq!((of_tenant.len(), sockets.try_take(tenant).err()), (20, Some(NoSocket::Share(tenant))));
        let of_platform: Vec<_> = std::iter::from_fn(|| sockets.try_take(None).ok()).collect();
        assert_eq!((of_platform.len(), sockets.try_take(tenant).err()), (10, Some(NoSocket::AllOpen)));
        drop(of_tenant);
        // The platform's may be idle, and make room.
        let of_tenant: Vec<_> = std::iter::from_fn(|| sockets.try_take(tenant).ok()).collect();
        assert_eq!((of_tenant.len(), sockets.try_take(tenant).err()), (14, Some(NoSocket::AllOpen)));
        drop((of_tenant, of_platform));
        assert_eq!(sockets.open().total(), 0);
    }

    #[test]
    fn the_more_pools_have_idle_connections_the_fewer_each_keeps() {
        let sockets = Sockets::new(6_578);
        for (pools, kept) in [(0, 512), (1, 512), (10, 328), (1_500, 2), (10_000, 1)] {
            assert_eq!(sockets.idle_of_each(pools), kept, "{pools} pools");
        }
    }
}
