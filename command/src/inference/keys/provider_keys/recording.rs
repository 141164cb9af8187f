//! The events of keys that are set aside and restored. Many requests, on several nodes, may meet the same refusal: the
//! stream of the key decides which of them records it, and only that one raises the alarm.

use std::sync::Arc;
use std::time::Duration;

use events::event::admin::{Provider, ProviderKeyRestored, ProviderKeySetAside, SetAsideReason, UpstreamKey};
use events::event::{Actor, Change, Event, Recorded, Resource};
use events_log::LogError;

use super::attempts::NotAccepted;
use super::{ProviderKeys, remedy};
use crate::inference::targets::gateway_facts;

const ACTOR: Actor = Actor::System("provider_keys");
/// How often a recording is decided at most, if others change the key meanwhile.
const ATTEMPTS_MAX: usize = 10;
/// How long to wait until the tables have the event.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(10);

/// A key as its stream has it.
#[derive(Debug, Default, PartialEq, Eq)]
struct RecordedKey {
    sequence: u64,
    /// The secret that is set aside.
    set_aside: Option<u32>,
    /// The newest secret; `None` for a provider's own key, whose stream does not say.
    generation: Option<u32>,
    has_ended: bool,
}

impl RecordedKey {
    /// Folds the last event of each type.
    fn of(events: Vec<Recorded>) -> Self {
        let mut key = Self::default();
        for recorded in events {
            key.sequence = key.sequence.max(recorded.sequence);
            match recorded.event {
                Event::Resource(fact) => key.fold(fact),
                // On other streams.
                Event::Inference(_) | Event::Hold(_) | Event::Access(_) | Event::Alert(_) => {}
            }
        }
        key
    }

    fn fold(&mut self, fact: Resource) {
        match fact {
            Resource::ProviderKeySetAside(fact) => self.set_aside = Some(fact.secret_generation),
            Resource::ProviderKeyRestored(_) => self.set_aside = None,
            Resource::ProviderKey(Change::Created(state) | Change::Changed(state)) => {
                self.generation = Some(state.secret_generation);
            }
            Resource::ProviderKey(Change::Ended(_)) => self.has_ended = true,
            // On other streams.
            Resource::Partner(_)
            | Resource::Tenant(_)
            | Resource::User(_)
            | Resource::Team(_)
            | Resource::Key(_)
            | Resource::UserErased(_)
            | Resource::KeyRotated(_)
            | Resource::Provider(_)
            | Resource::BreakerOpened(_)
            | Resource::BreakerClosed(_)
            | Resource::Model(_)
            | Resource::Price(_)
            | Resource::Budget(_)
            | Resource::RateLimit(_)
            | Resource::AuditSearch(_)
            | Resource::NodeKeyReplaced(_)
            | Resource::LogKeyCreated(_)
            | Resource::PriceRevalued(_)
            | Resource::CatalogueImported(_)
            | Resource::PublishedLogRepaired(_) => {}
        }
    }

    /// Whether the fact about this secret changes anything.
    fn needs(&self, fact: &Resource, generation: u32) -> bool {
        let is_newest = self.generation.is_none_or(|newest| newest == generation);
        let is_set_aside = self.set_aside == Some(generation);
        let wants_set_aside = matches!(fact, Resource::ProviderKeySetAside(_));
        !self.has_ended && is_newest && is_set_aside != wants_set_aside
    }
}

impl ProviderKeys {
    /// The provider does not accept the key: sets it aside, here at once and everywhere as soon as it is recorded.
    pub(super) fn refused(self: &Arc<Self>, provider: &Arc<Provider>, failed: &NotAccepted) {
        let NotAccepted { key, generation, reason, status } = *failed;
        let is_recorded = self.tables.load().set_aside(key, generation).is_some();
        if is_recorded || !self.uses().entry(key).or_default().refuse(generation) {
            return;
        }
        let (provider_id, provider_key_id) = (provider.provider_id, key.provider_key_id());
        let fact = ProviderKeySetAside { provider_id, provider_key_id, reason, status, secret_generation: generation };
        let fact = Resource::ProviderKeySetAside(Box::new(fact));
        self.start_recording(provider, key, generation, fact);
    }

    /// The provider accepts a key that was set aside.
    pub(super) fn accepted(self: &Arc<Self>, provider: &Arc<Provider>, key: UpstreamKey, generation: u32) {
        if !self.uses().entry(key).or_default().accept() {
            return;
        }
        let (provider_id, provider_key_id) = (provider.provider_id, key.provider_key_id());
        let fact = Resource::ProviderKeyRestored(Box::new(ProviderKeyRestored { provider_id, provider_key_id }));
        self.start_recording(provider, key, generation, fact);
    }

    fn start_recording(self: &Arc<Self>, provider: &Arc<Provider>, key: UpstreamKey, generation: u32, fact: Resource) {
        let (keys, provider) = (Arc::clone(self), Arc::clone(provider));
        self.recordings.spawn(async move {
            let recorded = keys.record(&provider, key, generation, &fact).await;
            let is_in_tables = match recorded {
                Ok(position) => {
                    if position.is_some() {
                        keys.announce(&provider, key, &fact);
                    }
                    match position {
                        Some(position) => keys.tables.wait_for(position, IN_FORCE_WITHIN).await,
                        None => keys.tables.catch_up(IN_FORCE_WITHIN).await,
                    }
                }
                Err(error) => {
                    let provider = &provider.name;
                    tracing::warn!(%error, provider, %key, "it was not recorded whether a provider accepts a key");
                    false
                }
            };
            if let Some(key_use) = keys.uses().get_mut(&key) {
                key_use.recorded(is_in_tables);
            }
        });
    }

    /// Records the fact if it changes anything; `None` if it is recorded already, or no longer of interest.
    async fn record(
        &self,
        provider: &Provider,
        key: UpstreamKey,
        generation: u32,
        fact: &Resource,
    ) -> Result<Option<u64>, LogError> {
        for _ in 0..ATTEMPTS_MAX {
            let stream = key.stream();
            let events = self.log.read(move |reader| reader.last_of_each_type(&stream, None)).await?;
            let recorded = RecordedKey::of(events);
            let tables = self.tables.load();
            if !recorded.needs(fact, generation)
                || tables.secret_generation(key).is_none_or(|newest| newest > generation)
            {
                return Ok(None);
            }
            let (stream, sequence) = (key.stream(), recorded.sequence);
            let appended = gateway_facts::append(&self.log, ACTOR, stream, sequence, fact, provider, &tables).await?;
            if let Some(position) = appended {
                return Ok(Some(position));
            }
        }
        Err(LogError::Append("other changes of the key came before".to_owned()))
    }

    /// Logs for the operator that a provider says of each of its keys that it is to blame. That is no event and sets none aside:
    /// its sentence may repeat what a client has sent.
    pub(super) fn announce_none_accepted(&self, provider: &Provider, failed: &NotAccepted) {
        let look_at = advice(provider, failed.key, failed.reason);
        let (provider_id, provider, is_of_tenant) =
            (provider.provider_id, &provider.name, provider.tenant_id.is_some());
        let (key, reason, status) = (failed.key, failed.reason.as_str(), failed.status);
        // A tenant decides what its own provider answers: that must not page the operator.
        if is_of_tenant {
            tracing::warn!(%provider_id, provider, %key, reason, status, look_at, "a tenant's own provider accepts none of its API keys, by its words alone: none of them is set aside for that");
        } else {
            tracing::error!(%provider_id, provider, %key, reason, status, look_at, "a provider accepts none of its API keys, by its words alone: none of them is set aside for that");
        }
    }

    /// Logs what was recorded, for the operator.
    fn announce(&self, provider: &Provider, key: UpstreamKey, fact: &Resource) {
        let advice_for = |reason| advice(provider, key, reason);
        let (provider_id, provider, is_of_tenant) =
            (provider.provider_id, &provider.name, provider.tenant_id.is_some());
        let name = key.provider_key_id().and_then(|id| Some(self.tables.load().provider_key(id)?.value.name.clone()));
        let name = name.as_deref().unwrap_or("the provider's own");
        if let Resource::ProviderKeySetAside(fact) = fact {
            let look_at = advice_for(fact.reason);
            let (reason, status) = (fact.reason.as_str(), fact.status);
            // A tenant decides what its own provider answers: that must not page the operator.
            if is_of_tenant {
                tracing::warn!(%provider_id, provider, %key, name, reason, status, look_at, "a tenant's own provider does not accept an API key: the key is set aside");
            } else {
                tracing::error!(%provider_id, provider, %key, name, reason, status, look_at, "a provider does not accept an API key: the key is set aside");
            }
        } else {
            tracing::info!(%provider_id, provider, %key, name, "a provider accepts an API key again: the key is in use");
        }
    }
}

/// Returns advice about a key that is not accepted for this reason.
fn advice(provider: &Provider, key: UpstreamKey, reason: SetAsideReason) -> String {
    match reason {
        SetAsideReason::Refused => remedy::of_refused(provider, key),
        SetAsideReason::OutOfMoney => remedy::OF_EMPTY_ACCOUNT.to_owned(),
    }
}
