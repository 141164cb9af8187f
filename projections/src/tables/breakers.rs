//! The circuit breakers that are open.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::event::admin::{BreakerClosed, BreakerOpened};
use events::ids::ProviderId;

use super::Tables;

/// A provider's model whose breaker is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenBreaker {
    /// From then on, one request at a time tries it.
    pub until: DateTime<Utc>,
}

/// How a breaker was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedBreaker {
    /// Since when it has been open: probes that failed have opened it again.
    pub since: DateTime<Utc>,
    /// The last time.
    pub fact: BreakerOpened,
}

/// Open breakers by provider, and by its name of the model. Often empty.
pub(super) type OpenBreakers = Arc<HashMap<ProviderId, HashMap<Box<str>, Arc<RecordedBreaker>>>>;

impl Tables {
    /// The open breaker of a provider's model; `None` if it is closed.
    pub fn open_breaker(&self, provider: ProviderId, model: &str) -> Option<OpenBreaker> {
        if self.open_breakers.is_empty() {
            return None;
        }
        let recorded = self.open_breakers.get(&provider)?.get(model)?;
        Some(OpenBreaker { until: recorded.fact.until })
    }

    /// The open breakers of a provider's models, in no particular order.
    pub fn open_breakers_of(&self, provider: ProviderId) -> impl Iterator<Item = &RecordedBreaker> {
        self.open_breakers.get(&provider).into_iter().flat_map(HashMap::values).map(|recorded| &**recorded)
    }

    /// The breakers that are open at this time, of live providers that tenants share. A tenant's own provider is for the tenant to mend.
    pub fn shared_open_breakers(&self, now: DateTime<Utc>) -> usize {
        let is_shared = |id| self.live_provider(id).is_some_and(|provider| provider.value.tenant_id.is_none());
        let shared = self.open_breakers.iter().filter(|(provider, _)| is_shared(**provider));
        shared.flat_map(|(_, models)| models.values()).filter(|open| open.fact.until > now).count()
    }

    pub(super) fn fold_breaker_opened(&mut self, fact: &BreakerOpened, recorded_at: DateTime<Utc>) {
        let of_provider = Arc::make_mut(&mut self.open_breakers).entry(fact.provider_id).or_default();
        let since = of_provider.get(&*fact.model).map_or(recorded_at, |before| before.since);
        of_provider.insert(fact.model.as_str().into(), Arc::new(RecordedBreaker { since, fact: fact.clone() }));
    }

    pub(super) fn fold_breaker_closed(&mut self, fact: &BreakerClosed) {
        let breakers = Arc::make_mut(&mut self.open_breakers);
        if let Some(of_provider) = breakers.get_mut(&fact.provider_id) {
            of_provider.remove(&*fact.model);
            if of_provider.is_empty() {
                breakers.remove(&fact.provider_id);
            }
        }
    }

    /// A provider that was changed may be another server: it begins anew.
    pub(super) fn forget_breakers_of(&mut self, provider: ProviderId) {
        if self.open_breakers.contains_key(&provider) {
            Arc::make_mut(&mut self.open_breakers).remove(&provider);
        }
    }
}
