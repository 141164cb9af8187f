//! The calls to one provider that are under way. They have a bound, so that one that does not answer leaves sockets and places for calls
//! to all others. The tenants of a provider of the platform share it ([`Shares`]), so that none of them keeps out the others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use events::event::admin::Provider;

use super::Owner;
use super::shares::Shares;

/// The calls to one provider.
pub struct ProviderCalls {
    under_way: Arc<Mutex<Shares>>,
    max: usize,
    is_shared: bool,
}

/// A call that is under way until this is dropped.
pub struct ProviderCall {
    under_way: Arc<Mutex<Shares>>,
    owner: Owner,
}

impl ProviderCalls {
    /// The calls to a tenant's own provider have at most half of the sockets, those to one of the platform three quarters: it may have
    /// no other.
    pub fn of(provider: &Provider, sockets_max: usize) -> Self {
        let is_shared = provider.tenant_id.is_none();
        let part = if is_shared { sockets_max - sockets_max / 4 } else { sockets_max / 2 };
        Self { under_way: Arc::default(), max: part.max(1), is_shared }
    }

    /// Begins a call of this owner; `None` if there are as many as there may be, or as it may have.
    pub fn begin(&self, owner: Owner) -> Option<ProviderCall> {
        let mut calls = locked(&self.under_way);
        let has_room = if self.is_shared { calls.remaining(owner, self.max) > 0 } else { calls.total() < self.max };
        if !has_room {
            return None;
        }
        calls.add(owner);
        drop(calls);
        Some(ProviderCall { under_way: Arc::clone(&self.under_way), owner })
    }
}

impl Drop for ProviderCall {
    fn drop(&mut self) {
        locked(&self.under_way).subtract(self.owner);
    }
}

fn locked(calls: &Mutex<Shares>) -> MutexGuard<'_, Shares> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use events::ids::TenantId;
    use uuid::Uuid;

    use super::*;
    use crate::tests::provider;

    fn tenant(number: u128) -> Option<TenantId> {
        Some(TenantId::from(Uuid::from_u128(number)))
    }

    fn calls_to(tenant_id: Option<TenantId>) -> ProviderCalls {
        ProviderCalls::of(&Provider { tenant_id, ..provider(1, "http://127.0.0.1", true) }, 100)
    }

    fn all_of(calls: &ProviderCalls, owner: Owner) -> Vec<ProviderCall> {
        std::iter::from_fn(|| calls.begin(owner)).collect()
    }

    #[test]
    fn one_provider_leaves_sockets_to_others() {
        let own = calls_to(tenant(1));
        let mut under_way = all_of(&own, tenant(1));
        assert_eq!(under_way.len(), 50);
        under_way.pop();
        assert!(own.begin(tenant(1)).is_some() && own.begin(tenant(1)).is_some(), "neither is under way any more");
    }

    #[test]
    fn tenants_share_a_provider_of_the_platform() {
        let calls = calls_to(None);
        let first = all_of(&calls, tenant(1));
        let second = all_of(&calls, tenant(2));
        let third = all_of(&calls, tenant(3));
        assert_eq!((first.len(), second.len(), third.len()), (50, 17, 6));
        let others: Vec<_> = (4..20).flat_map(|number| all_of(&calls, tenant(number))).collect();
        assert_eq!(others.len(), 2, "75 in all");
        drop(first);
        assert!(calls.begin(None).is_some());
    }
}
