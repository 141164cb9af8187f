//! The requests that call providers from this node, or are about to. Each may need a socket, of which there are as many as
//! [the files allow](provider_client::UpstreamClients): one that finds no place is refused before anything is recorded for it or sent.
//!
//! No tenant has all places: one that is alone has two thirds, and less beside others, so that a newcomer finds room however long the
//! calls of the others last ([`Shares`]). One key has half of all places at most. A request has one place, also if its client has left and
//! its call goes on; a second call beside its first one has another.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use events::ids::{IdMap, KeyId};
use events::refusal::{ErrorCode, Refusal};
use projections::figures::registered;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use provider_client::{Owner, Shares};

use crate::body::memory::{BodyOwner, BoundOf};

/// One socket of so many is for what is no request: exchanges of keys, lists of models, and connections that nobody waits for any more.
const SOCKETS_PER_OTHER: usize = 16;

/// The places for calls. Cheap to clone.
#[derive(Clone)]
pub struct UpstreamCalls(Arc<PlacesForCalls>);

struct PlacesForCalls {
    max: usize,
    taken: Mutex<TakenPlaces>,
    under_way: IntGauge,
    refused: IntCounterVec,
}

#[derive(Default)]
struct TakenPlaces {
    by_tenant: Shares,
    by_key: IdMap<KeyId, usize>,
}

/// The place of a request until it is dropped.
pub struct CallPlace {
    calls: UpstreamCalls,
    tenant: Owner,
    key: Option<KeyId>,
}

impl UpstreamCalls {
    /// Errors: the registry already has metrics of these names.
    pub fn register(registry: &Registry, sockets_max: usize) -> Result<Self, prometheus::Error> {
        let under_way = "Requests that call a provider or are about to";
        let under_way = IntGauge::new("ledgerway_upstream_calls_under_way", under_way)?;
        let refused = "Calls that were not made because too many were under way, by whose bound was reached";
        let refused = IntCounterVec::new(Opts::new("ledgerway_upstream_calls_refused_total", refused), &["scope"])?;
        let refused = registered(registry, refused)?;
        for bound in BoundOf::ALL {
            refused.with_label_values(&[bound.as_str()]);
        }
        Ok(Self(Arc::new(PlacesForCalls {
            max: sockets_max - sockets_max / SOCKETS_PER_OTHER,
            taken: Mutex::default(),
            under_way: registered(registry, under_way)?,
            refused,
        })))
    }

    /// Takes a place for a request.
    ///
    /// Errors: the owner of the bound that was reached.
    pub fn take(&self, owner: BodyOwner) -> Result<CallPlace, BoundOf> {
        let BodyOwner { tenant, key, .. } = owner;
        let taken = self.taken().take(self.0.max, tenant, key);
        match taken {
            Ok(()) => {
                self.0.under_way.inc();
                Ok(CallPlace { calls: self.clone(), tenant, key })
            }
            Err(bound) => {
                self.0.refused.with_label_values(&[bound.as_str()]).inc();
                Err(bound)
            }
        }
    }

    fn taken(&self) -> MutexGuard<'_, TakenPlaces> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TakenPlaces {
    fn take(&mut self, max: usize, tenant: Owner, key: Option<KeyId>) -> Result<(), BoundOf> {
        let of_key = key.and_then(|key| self.by_key.get(&key)).copied().unwrap_or_default();
        if key.is_some() && of_key >= max.div_ceil(2) {
            return Err(BoundOf::Key);
        }
        if self.by_tenant.total() >= max {
            return Err(BoundOf::Process);
        }
        if self.by_tenant.remaining(tenant, max) == 0 {
            return Err(BoundOf::Tenant);
        }
        self.by_tenant.add(tenant);
        if let Some(key) = key {
            *self.by_key.entry(key).or_default() += 1;
        }
        Ok(())
    }

    fn give_back(&mut self, tenant: Owner, key: Option<KeyId>) {
        self.by_tenant.subtract(tenant);
        if let Some(key) = key
            && let Some(of_key) = self.by_key.get_mut(&key)
        {
            *of_key -= 1;
            if *of_key == 0 {
                self.by_key.remove(&key);
            }
        }
    }
}

impl Drop for CallPlace {
    fn drop(&mut self) {
        self.calls.taken().give_back(self.tenant, self.key);
        self.calls.0.under_way.dec();
    }
}

/// The refusal for a request that found no place.
pub fn no_place(bound: BoundOf) -> Refusal {
    let whom = bound.of_whom();
    let message =
        format!("too many calls to providers are under way{whom}, and nothing was sent to a provider: try again");
    Refusal::new(ErrorCode::Overloaded, message).with("scope", bound.as_str()).try_again()
}

#[cfg(test)]
mod tests {
    use events::ids::TenantId;
    use uuid::Uuid;

    use super::*;

    fn owner(tenant: u128, key: u128) -> BodyOwner {
        BodyOwner::of(Some(TenantId::from(Uuid::from_u128(tenant))), Some(KeyId::from(Uuid::from_u128(key))))
    }

    fn fill(calls: &UpstreamCalls, owner: BodyOwner) -> (Vec<CallPlace>, BoundOf) {
        let mut places = Vec::new();
        loop {
            match calls.take(owner) {
                Ok(place) => places.push(place),
                Err(bound) => return (places, bound),
            }
        }
    }

    #[test]
    fn a_key_and_a_tenant_leave_places_to_others_and_give_theirs_back() {
        let calls = UpstreamCalls::register(&Registry::new(), 64).expect("a new registry");
        let (first, bound) = fill(&calls, owner(1, 1));
        assert_eq!((first.len(), bound), (30, BoundOf::Key));
        let (second, bound) = fill(&calls, owner(1, 2));
        assert_eq!((second.len(), bound), (10, BoundOf::Tenant));
        let (others, bound) = fill(&calls, owner(2, 3));
        assert_eq!((others.len(), bound), (14, BoundOf::Tenant));
        let all: Vec<_> = (4..40).flat_map(|number| calls.take(owner(number, number))).collect();
        assert_eq!((all.len(), calls.take(owner(9, 9)).err()), (6, Some(BoundOf::Process)));
        assert_eq!(calls.0.under_way.get(), 60);
        drop((first, second, others, all));
        let taken = calls.taken();
        assert_eq!((calls.0.under_way.get(), taken.by_tenant.total(), taken.by_key.len()), (0, 0, 0));
    }
}
