//! Turns at Redis: how many limits this node has counted there at a time, so that Redis answers in time however many limits bind the
//! requests of one tenant. A tenant with many waits for its own calls, and few of them stand in front of another tenant's.

use std::sync::Arc;

use blocking_work::OwnerSemaphores;
use events::ids::TenantId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The limits that are counted for the requests of one tenant at a time: those of four requests that as many bind as may.
const OF_TENANT_MAX: usize = 256;
/// The limits that are counted for all tenants at a time. Redis takes some milliseconds for them.
const OF_ALL_MAX: usize = 4_096;

pub struct RedisTurns {
    of_tenants: OwnerSemaphores,
    of_all: Arc<Semaphore>,
}

/// The right to have some limits counted, until it is dropped.
pub struct RedisTurn {
    _of_tenant: Option<OwnedSemaphorePermit>,
    _of_all: Option<OwnedSemaphorePermit>,
}

impl Default for RedisTurns {
    fn default() -> Self {
        Self { of_tenants: OwnerSemaphores::new(OF_TENANT_MAX), of_all: Arc::new(Semaphore::new(OF_ALL_MAX)) }
    }
}

impl RedisTurns {
    /// Waits for the turn of a tenant, first among its own calls and then among all. The operator and the platform wait among all
    /// alone.
    pub async fn take(&self, tenant: Option<TenantId>, limits: usize) -> RedisTurn {
        let limits = u32::try_from(limits.min(OF_TENANT_MAX)).unwrap_or(1);
        // Nobody closes a semaphore.
        let of_tenant = match tenant {
            Some(_) => self.of_tenants.of(tenant).acquire_many_owned(limits).await.ok(),
            None => None,
        };
        let of_all = Arc::clone(&self.of_all).acquire_many_owned(limits).await.ok();
        RedisTurn { _of_tenant: of_tenant, _of_all: of_all }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;
    use uuid::Uuid;

    use super::*;

    const LIMITS: usize = 32;

    fn tenant(number: u128) -> Option<TenantId> {
        Some(TenantId::from(Uuid::from_u128(number)))
    }

    /// The turn of a tenant; `None` if it has to wait.
    async fn at_once(turns: &RedisTurns, tenant: Option<TenantId>) -> Option<RedisTurn> {
        timeout(Duration::from_millis(1), turns.take(tenant, LIMITS)).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_with_many_limits_waits_for_its_own_calls_and_lets_others_go_before() {
        let turns = RedisTurns::default();
        let mut taken = Vec::new();
        for _ in 0..OF_TENANT_MAX / LIMITS {
            taken.push(at_once(&turns, tenant(1)).await.expect("there is room"));
        }
        assert!(at_once(&turns, tenant(1)).await.is_none(), "it has as many as it may have");
        assert!(at_once(&turns, tenant(2)).await.is_some(), "another tenant waits for nothing");
        assert!(at_once(&turns, None).await.is_some(), "nor does the platform");
        taken.pop();
        assert!(at_once(&turns, tenant(1)).await.is_some(), "one of its calls has ended");
    }

    #[tokio::test(start_paused = true)]
    async fn all_tenants_together_have_a_bound() {
        let turns = RedisTurns::default();
        let mut taken = Vec::new();
        for number in 0..(OF_ALL_MAX / LIMITS) as u128 {
            taken.push(at_once(&turns, tenant(number)).await.expect("there is room"));
        }
        assert!(at_once(&turns, tenant(1_000)).await.is_none());
    }
}
