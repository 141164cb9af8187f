//! The keys of providers that their providers do not accept.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::event::Recorded;
use events::event::admin::{ProviderKey, ProviderKeyRestored, ProviderKeySetAside, SetAsideReason, UpstreamKey};
use events::ids::{IdMap, ProviderId};

use super::Tables;

/// Why and since when a key is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetAside {
    pub reason: SetAsideReason,
    pub status: u16,
    pub since: DateTime<Utc>,
    /// The secret that was refused.
    secret_generation: u32,
}

/// Keys that are set aside, also those that have a new secret since then.
pub(super) type KeysSetAside = Arc<IdMap<UpstreamKey, SetAside>>;

impl Tables {
    /// The live provider keys of a provider, oldest first; often none.
    pub fn provider_keys_of(&self, provider: ProviderId) -> impl Iterator<Item = &Arc<ProviderKey>> {
        let ids = self.indexes.keys_by_provider.get(&provider).into_iter().flatten();
        ids.filter_map(|id| Some(&self.provider_key(*id)?.value))
    }

    /// Whether the provider has a live provider key.
    pub fn has_provider_keys(&self, provider: ProviderId) -> bool {
        self.indexes.keys_by_provider.get(&provider).is_some()
    }

    /// The generation of a key's secret; `None` if neither the key nor its provider nor its tenant is live.
    pub fn secret_generation(&self, key: UpstreamKey) -> Option<u32> {
        match key {
            UpstreamKey::Own(id) => Some(self.live_provider(id)?.value.secret_generation),
            UpstreamKey::Further(id) => {
                let further = self.provider_key(id).filter(|further| further.is_live())?;
                self.live_provider(further.value.provider_id)?;
                Some(further.value.secret_generation)
            }
        }
    }

    /// Why a key with this secret is set aside; `None` if it is in use.
    pub fn set_aside(&self, key: UpstreamKey, secret_generation: u32) -> Option<&SetAside> {
        self.set_aside.get(&key).filter(|refused| refused.secret_generation == secret_generation)
    }

    /// The number of keys that are set aside, of live providers that tenants share.
    pub fn keys_set_aside(&self) -> usize {
        self.shared_keys_set_aside().count()
    }

    /// The keys that are set aside, of live providers that tenants share, in no particular order. Those of a tenant's own
    /// provider are for the tenant to mend, and it could make as many of them as it likes.
    pub fn shared_keys_set_aside(&self) -> impl Iterator<Item = (UpstreamKey, &SetAside)> {
        let is_shared = |id| self.live_provider(id).is_some_and(|provider| provider.value.tenant_id.is_none());
        let is_known = move |key| match key {
            UpstreamKey::Own(id) => self.has_provider_keys(id) && is_shared(id),
            UpstreamKey::Further(id) => self.provider_key(id).is_some_and(|key| is_shared(key.value.provider_id)),
        };
        let known = self.set_aside.keys().copied().filter(move |key| is_known(*key));
        known.filter_map(|key| Some((key, self.set_aside(key, self.secret_generation(key)?)?)))
    }

    pub(super) fn fold_set_aside(&mut self, fact: &ProviderKeySetAside, recorded: &Recorded) {
        let ProviderKeySetAside { reason, status, secret_generation, .. } = *fact;
        let set_aside = SetAside { reason, status, since: recorded.recorded_at, secret_generation };
        Arc::make_mut(&mut self.set_aside).insert(fact.stream_id(), set_aside);
    }

    pub(super) fn fold_restored(&mut self, fact: &ProviderKeyRestored) {
        Arc::make_mut(&mut self.set_aside).remove(&fact.stream_id());
    }
}
