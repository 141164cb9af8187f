//! The prices of backends as of any position of the log, and which of them was in force at any time.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use events::event::admin::Price;
use events::event::inference::Backend;
use events::event::{Change, Recorded, Resource};
use events::ids::{PriceId, ProviderId};

/// Every event of every price, in order, by its backend.
#[derive(Default)]
pub(super) struct PriceLists {
    lists: HashMap<(ProviderId, String), Vec<PriceEvent>>,
    backends: HashMap<PriceId, (ProviderId, String)>,
}

struct PriceEvent {
    position: u64,
    price_id: PriceId,
    what: What,
}

enum What {
    State(Box<Price>),
    Ended { at: DateTime<Utc> },
}

impl PriceLists {
    pub(super) fn record(&mut self, recorded: &Recorded, fact: &Resource) {
        let Resource::Price(change) = fact else { return };
        let price_id = change.id();
        let what = match change {
            Change::Created(price) | Change::Changed(price) => {
                self.backends.insert(price_id, (price.provider_id, price.model.clone()));
                What::State(price.clone())
            }
            Change::Ended(_) => What::Ended { at: recorded.recorded_at },
        };
        let Some(backend) = self.backends.get(&price_id) else { return };
        let event = PriceEvent { position: recorded.position, price_id, what };
        self.lists.entry(backend.clone()).or_default().push(event);
    }

    /// The price with this version, if it is one of the backend.
    pub(super) fn version(&self, backend: &Backend, version: u64) -> Option<PriceId> {
        let mut events = self.lists.get(&key(backend))?.iter();
        events
            .find(|event| event.position == version && matches!(event.what, What::State(_)))
            .map(|event| event.price_id)
    }

    /// The price that was in force for the backend at `at`, by the list as of a version. Of the prices that had begun and had not
    /// ended, it is the one that began last, and of those that began together the one that was changed last.
    pub(super) fn in_force(&self, backend: &Backend, at: DateTime<Utc>, as_of: u64) -> Option<&Price> {
        let events = self.lists.get(&key(backend))?;
        let known = events.partition_point(|event| event.position <= as_of);
        let (mut decided, mut in_force) = (HashSet::new(), None::<&Price>);
        // The latest first: the first event of a price here decides about it.
        for PriceEvent { price_id, what, .. } in events.iter().take(known).rev() {
            match what {
                What::Ended { at: ended_at } if *ended_at <= at => drop(decided.insert(*price_id)),
                What::Ended { .. } => {}
                What::State(price) => {
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
