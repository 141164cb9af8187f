//! The prices of backends as of any position of the log, and which of them was in force at any time.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use events::event::admin::Price;
use events::event::inference::Backend;
use events::event::{Recorded, Resource};
use events::ids::{PriceId, ProviderId};

/// Every event of every price, in order, by its backend.
#[derive(Default)]
pub(super) struct PriceLists {
    lists: HashMap<(ProviderId, String), Vec<PriceEvent>>,
    backends: HashMap<PriceId, (ProviderId, String)>,
    /// The providers that are a tenant's own.
    own: HashSet<ProviderId>,
}

struct PriceEvent {
    position: u64,
    price_id: PriceId,
    recorded_at: DateTime<Utc>,
    /// `None` if the price ended.
    state: Option<Price>,
}

impl PriceLists {
    pub(super) fn record(&mut self, recorded: &Recorded, fact: &Resource) {
        let Resource::Price(change) = fact else { return };
        let Recorded { position, recorded_at, .. } = *recorded;
        let (price_id, state) = (change.id(), change.state().cloned());
        if let Some(price) = &state {
            self.backends.insert(price_id, (price.provider_id, price.model.clone()));
            if recorded.context.tenant_id.is_some() {
                self.own.insert(price.provider_id);
            }
        }
        let Some(backend) = self.backends.get(&price_id) else { return };
        let event = PriceEvent { position, price_id, recorded_at, state };
        self.lists.entry(backend.clone()).or_default().push(event);
    }

    /// Whether a price of the backend has this version.
    pub(super) fn has_version(&self, backend: &Backend, version: u64) -> bool {
        self.at_version(backend, version).is_some()
    }

    /// The price of the backend that has this version.
    pub(super) fn at_version(&self, backend: &Backend, version: u64) -> Option<&Price> {
        let events = self.lists.get(&key(backend))?;
        events.iter().find(|event| event.position == version)?.state.as_ref()
    }

    /// Whether the backend's provider is a tenant's own, whose prices are never corrected.
    pub(super) fn is_own(&self, backend: &Backend) -> bool {
        self.own.contains(&backend.provider_id)
    }

    /// The price that was in force for the backend at `at`, by the list as of a version. Of the prices that had begun and had not
    /// ended, it is the one that began last, and of those that began together the one that was changed last.
    pub(super) fn in_force(&self, backend: &Backend, at: DateTime<Utc>, as_of: u64) -> Option<&Price> {
        let events = self.lists.get(&key(backend))?;
        let known = events.partition_point(|event| event.position <= as_of);
        let (mut decided, mut in_force) = (HashSet::new(), None::<&Price>);
        // The latest first: the first event of a price here decides about it.
        for PriceEvent { price_id, recorded_at, state, .. } in events.iter().take(known).rev() {
            match state {
                None if *recorded_at <= at => drop(decided.insert(*price_id)),
                None => {}
                Some(price) => {
                    let is_latest = decided.insert(*price_id);
                    // One that the gateway made itself yields to any other.
                    let rank = |price: &Price| (price.origin.is_none(), price.effective_from);
                    let is_first = in_force.is_none_or(|other| rank(other) < rank(price));
                    if is_latest && price.effective_from <= at && is_first {
                        in_force = Some(price);
                    }
                }
            }
        }
        in_force
    }
}

fn key(backend: &Backend) -> (ProviderId, String) {
    (backend.provider_id, backend.model.clone())
}
