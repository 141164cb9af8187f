//! The prices of every backend as of any position of the log, and the changes of prices that concern requests before them.
//! Folding an event takes a time that does not depend on their number.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::event::admin::Price;
use events::event::{Chain, Change, Event, Recorded, Resource};
use events::ids::{PriceId, ProviderId};
use events::money::Tariff;

use super::concerned::KnownBefore;
use super::price_event::PriceEvent;
use super::prices_at::PricesAt;

/// Every event of every price, in order, and what was recorded about the requests that they concern.
#[derive(Default)]
pub struct PriceHistory {
    /// Changes up to this position concern later requests alone.
    begins_after: u64,
    /// The last position that was read.
    pub position: u64,
    backends: Vec<BackendPrices>,
    backend_ids: HashMap<ProviderId, HashMap<String, BackendId>>,
    prices: HashMap<PriceId, LatestPrice>,
    /// Indexed by version.
    past_changes: BTreeMap<u64, PastChange>,
    /// Versions of past changes.
    pending: BTreeSet<u64>,
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
    /// The start of the change: no request that was admitted earlier is concerned.
    pub from: DateTime<Utc>,
    pub recorded_at: DateTime<Utc>,
    /// The position of the backend's first price: no earlier request was charged for this backend.
    pub first_price: u64,
}

/// A backend that has had a price, numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BackendId(usize);

#[derive(Default)]
struct BackendPrices {
    /// In order.
    events: Vec<PriceEvent>,
    /// How many prices they are of.
    prices: usize,
    /// Whether its provider is a tenant's own.
    is_own: bool,
}

/// The latest state of a price, and its backend, which never changes.
struct LatestPrice {
    backend: BackendId,
    /// Its number among the backend's prices.
    number: usize,
    state: Arc<Price>,
}

impl PriceHistory {
    pub fn new(begins_after: u64) -> Self {
        Self { begins_after, ..Self::default() }
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

    /// The changes that concern requests before them and that are not completed, in order.
    pub fn pending(&self) -> impl Iterator<Item = &PastChange> {
        self.pending.iter().filter_map(|version| self.past_changes.get(version))
    }

    pub fn is_pending(&self, version: u64) -> bool {
        self.pending.contains(&version)
    }

    /// Every request that this version concerns has its value.
    pub fn complete(&mut self, price_id: PriceId, version: u64) {
        self.pending.remove(&version);
        self.completed.entry(price_id).or_default().insert(version);
    }

    /// The number of versions of a price that are completed.
    pub fn completed(&self, price_id: PriceId) -> u64 {
        self.completed.get(&price_id).map_or(0, |versions| versions.len() as u64)
    }

    /// `None` if the backend has had no price.
    pub fn backend(&self, provider: ProviderId, model: &str) -> Option<BackendId> {
        self.backend_ids.get(&provider)?.get(model).copied()
    }

    /// The prices of a backend that were in force at `at`, as of every version that was folded.
    pub fn prices_at(&self, backend: BackendId, at: DateTime<Utc>) -> PricesAt {
        PricesAt::new(self.events(backend), at)
    }

    /// The events of a backend's prices, in order.
    pub fn events(&self, BackendId(backend): BackendId) -> &[PriceEvent] {
        self.backends.get(backend).map_or(&[], |prices| &prices.events)
    }

    /// Whether the backend's provider is a tenant's own, whose prices are never corrected.
    pub fn is_own(&self, BackendId(backend): BackendId) -> bool {
        self.backends.get(backend).is_some_and(|prices| prices.is_own)
    }

    /// The tariff that the price event at a position gave.
    pub fn tariff(&self, backend: BackendId, version: u64) -> Option<&Tariff> {
        let events = self.events(backend);
        let index = events.binary_search_by_key(&version, |event| event.position).ok()?;
        events[index].state.as_ref().map(|price| &price.tariff)
    }

    fn fold_price(&mut self, recorded: &Recorded, change: &Change<Price>) {
        let past_change = change.state().and_then(|price| self.past_change(recorded, price));
        let state = change.state().map(|price| Arc::new(price.clone()));
        if let Some(price) = &state {
            self.set_latest(price);
        }
        let Some(LatestPrice { backend, number, .. }) = self.prices.get(&change.id()) else { return };
        let event = PriceEvent {
            position: recorded.position,
            recorded_at: recorded.recorded_at,
            price: *number,
            state,
            concerns_since: past_change.as_ref().map(|change| change.from),
        };
        let prices = &mut self.backends[backend.0];
        prices.is_own |= recorded.context.tenant_id.is_some();
        prices.events.push(event);
        if let Some(change) = past_change {
            self.pending.insert(change.version);
            self.past_changes.insert(change.version, change);
        }
    }

    fn set_latest(&mut self, price: &Arc<Price>) {
        if let Some(latest) = self.prices.get_mut(&price.price_id) {
            latest.state = Arc::clone(price);
            return;
        }
        let backend = self.backend(price.provider_id, &price.model).unwrap_or_else(|| self.add_backend(price));
        let prices = &mut self.backends[backend.0].prices;
        let latest = LatestPrice { backend, number: *prices, state: Arc::clone(price) };
        *prices += 1;
        self.prices.insert(price.price_id, latest);
    }

    fn add_backend(&mut self, price: &Price) -> BackendId {
        let new = BackendId(self.backends.len());
        self.backends.push(BackendPrices::default());
        self.backend_ids.entry(price.provider_id).or_default().insert(price.model.clone(), new);
        new
    }

    /// The change that a new state of a price is, if it concerns requests before it.
    fn past_change(&self, recorded: &Recorded, price: &Price) -> Option<PastChange> {
        let first = self.backend(price.provider_id, &price.model).and_then(|backend| self.events(backend).first());
        let before = self.prices.get(&price.price_id).map(|latest| &*latest.state);
        let known = KnownBefore { begins_after: self.begins_after, before };
        let from = known.concerns_since(recorded, price, || first.is_some())?;
        let first = first?;
        Some(PastChange {
            version: recorded.position,
            price_id: price.price_id,
            chain: recorded.context.chain(),
            provider_id: price.provider_id,
            model: price.model.clone(),
            from,
            recorded_at: recorded.recorded_at,
            first_price: first.position,
        })
    }
}
