//! The prices of every backend as of any position of the log, and the changes of prices that concern requests before them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use events::event::admin::Price;
use events::event::{Chain, Change, Event, Recorded, Resource};
use events::ids::{PriceId, ProviderId};
use events::money::Tariff;

/// A price that is created to begin now begins a moment before it is recorded. That is not a date in the past.
const CLOCK_NOISE: TimeDelta = TimeDelta::seconds(1);

/// Every event of every price, in order, and what was recorded about the requests that they concern.
pub struct PriceHistory {
    /// Changes up to this position concern later requests alone.
    begins_after: u64,
    /// The last position that was read.
    pub position: u64,
    lists: HashMap<ProviderId, HashMap<String, Vec<PriceEvent>>>,
    backends: HashMap<PriceId, (ProviderId, String)>,
    past_changes: BTreeMap<u64, PastChange>,
    completed: HashMap<PriceId, BTreeSet<u64>>,
}

/// A change of a price that concerns requests before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastChange {
    /// The position of the price's event.
    pub version: u64,
    pub price_id: PriceId,
    /// The owners of the price's provider.
    pub chain: Chain,
    pub provider_id: ProviderId,
    pub model: String,
    /// It concerns no request that was admitted earlier.
    pub from: DateTime<Utc>,
    pub recorded_at: DateTime<Utc>,
    /// The position of the backend's first price: no earlier request was charged for this backend.
    pub first_price: u64,
}

/// A price that was in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriceInForce<'a> {
    /// The position of the event that gave it this tariff.
    pub version: u64,
    pub tariff: &'a Tariff,
}

struct PriceEvent {
    position: u64,
    price_id: PriceId,
    what: What,
}

enum What {
    State { price: Arc<Price> },
    Ended { at: DateTime<Utc> },
}

impl PriceHistory {
    pub fn new(begins_after: u64) -> Self {
        Self {
            begins_after,
            position: 0,
            lists: HashMap::new(),
            backends: HashMap::new(),
            past_changes: BTreeMap::new(),
            completed: HashMap::new(),
        }
    }

    /// Folds an event, unless it was folded before. Those of prices must come in order, without a gap.
    pub fn fold(&mut self, recorded: &Recorded) {
        if recorded.position <= self.position {
            return;
        }
        self.position = recorded.position;
        match &recorded.event {
            Event::Resource(Resource::Price(change)) => self.fold_price(recorded, change),
            Event::Resource(Resource::PriceRevalued(revalued)) => self.complete(revalued.price_id, revalued.version),
            _ => {}
        }
    }

    /// The changes that concern requests before them, in order.
    pub fn past_changes(&self) -> impl DoubleEndedIterator<Item = &PastChange> {
        self.past_changes.values()
    }

    /// Those that are not completed.
    pub fn pending(&self) -> impl Iterator<Item = &PastChange> {
        let is_completed = |change: &PastChange| {
            self.completed.get(&change.price_id).is_some_and(|versions| versions.contains(&change.version))
        };
        self.past_changes().filter(move |change| !is_completed(change))
    }

    /// Every request that this version concerns has its value.
    pub fn complete(&mut self, price_id: PriceId, version: u64) {
        self.completed.entry(price_id).or_default().insert(version);
    }

    /// The number of versions of a price that are completed.
    pub fn completed(&self, price_id: PriceId) -> u64 {
        self.completed.get(&price_id).map_or(0, |versions| versions.len() as u64)
    }

    /// The price that was in force at `at`, by the events up to a version: of those that had begun and had not ended, the one
    /// that began last, and of those that began together the one that was changed last. A price counts until it ended, also in
    /// lists of later versions: to end a price does not re-value what it was in force for.
    pub fn in_force(
        &self,
        provider: ProviderId,
        model: &str,
        at: DateTime<Utc>,
        as_of: u64,
    ) -> Option<PriceInForce<'_>> {
        let events = self.lists.get(&provider)?.get(model)?;
        let known = events.partition_point(|event| event.position <= as_of);
        let (mut decided, mut best) = (HashSet::new(), None::<((bool, DateTime<Utc>), PriceInForce<'_>)>);
        // From the last one back: the first event of a price that is met here decides about it.
        for PriceEvent { position, price_id, what } in events.iter().take(known).rev() {
            match what {
                What::Ended { at: ended_at } => {
                    if *ended_at <= at {
                        decided.insert(*price_id);
                    }
                }
                What::State { price } => {
                    let is_latest = decided.insert(*price_id);
                    // One that the gateway made itself yields to any other.
                    let rank = (price.origin.is_none(), price.effective_from);
                    let is_first = best.is_none_or(|(other, _)| other < rank);
                    if is_latest && price.effective_from <= at && is_first {
                        best = Some((rank, PriceInForce { version: *position, tariff: &price.tariff }));
                    }
                }
            }
        }
        best.map(|(_, price)| price)
    }

    fn fold_price(&mut self, recorded: &Recorded, change: &Change<Price>) {
        let price_id = change.id();
        if let Some(price) = change.state() {
            if let Some(from) = self.concerns_since(recorded, price) {
                self.add_past_change(recorded, price, from);
            }
            self.backends.insert(price_id, (price.provider_id, price.model.clone()));
        }
        let Some((provider, model)) = self.backends.get(&price_id) else { return };
        let what = match change.state() {
            Some(price) => What::State { price: Arc::new(price.clone()) },
            None => What::Ended { at: recorded.recorded_at },
        };
        let event = PriceEvent { position: recorded.position, price_id, what };
        self.lists.entry(*provider).or_default().entry(model.clone()).or_default().push(event);
    }

    /// Since when the new state of a price concerns requests that were admitted before it; `None` if it does not.
    fn concerns_since(&self, recorded: &Recorded, price: &Price) -> Option<DateTime<Utc>> {
        // A newer catalogue says what requests cost from now on. So does a tenant for its own providers: it could otherwise move
        // money in the budgets of its partner, at any time and without a request.
        let is_of_tenant = recorded.context.tenant_id.is_some();
        if recorded.position <= self.begins_after || price.origin.is_some() || is_of_tenant {
            return None;
        }
        let from = price.effective_from;
        match self.latest_state(price) {
            None => Some(from).filter(|from| *from + CLOCK_NOISE < recorded.recorded_at),
            Some(before) if before.tariff == price.tariff && before.effective_from == from => None,
            Some(before) => Some(from.min(before.effective_from)).filter(|from| *from < recorded.recorded_at),
        }
    }

    fn latest_state(&self, price: &Price) -> Option<&Price> {
        let events = self.lists.get(&price.provider_id)?.get(&price.model)?;
        events.iter().rev().filter(|event| event.price_id == price.price_id).find_map(|event| match &event.what {
            What::State { price } => Some(&**price),
            What::Ended { .. } => None,
        })
    }

    /// The first price of a backend concerns nothing: without a price, no request was sent there.
    fn add_past_change(&mut self, recorded: &Recorded, price: &Price, from: DateTime<Utc>) {
        let (version, price_id) = (recorded.position, price.price_id);
        let list = self.lists.get(&price.provider_id).and_then(|models| models.get(&price.model));
        let Some(first) = list.and_then(|events| events.first()) else { return };
        let change = PastChange {
            version,
            price_id,
            chain: recorded.context.chain(),
            provider_id: price.provider_id,
            model: price.model.clone(),
            from,
            recorded_at: recorded.recorded_at,
            first_price: first.position,
        };
        self.past_changes.insert(version, change);
    }
}
