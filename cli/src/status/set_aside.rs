//! Keys of providers that their providers do not accept, as the log has them. Those of tenants' own providers are not among them.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use events::event::admin::{SetAsideReason, UpstreamKey};
use events::event::{Change, Event, Recorded, Resource, Stream, StreamKind};
use events::ids::{ProviderId, ProviderKeyId};
use events::log::{LogError, Reader};
use events::time::rfc3339;
use projections::tables::Tables;
use serde_json::{Value, json};

use super::super::printable;

/// A key that is used only if no other key of its provider is left.
pub struct KeySetAside {
    provider_id: ProviderId,
    provider: String,
    /// The key's id and name; `None` for the provider's own key.
    further: Option<(ProviderKeyId, String)>,
    reason: SetAsideReason,
    /// The HTTP status of the provider's refusal.
    status: u16,
    since: DateTime<Utc>,
}

/// All of them, the latest first. Only a provider with provider keys, which are sealed, has any: no other stream is read.
pub fn all(reader: &dyn Reader) -> Result<Vec<KeySetAside>, LogError> {
    let subjects = reader.sealed_secrets()?.into_iter().map(|secret| secret.subject);
    let mut events: Vec<Recorded> = Vec::new();
    for subject in subjects.filter(|subject| subject.starts_with(ProviderKeyId::PREFIX)) {
        events.extend(reader.last_of_each_type(&Stream::new(StreamKind::ProviderKey, subject), None)?);
    }
    let providers: BTreeSet<ProviderId> = events.iter().filter_map(provider_of_key).collect();
    for provider in providers {
        events.extend(reader.last_of_each_type(&Stream::new(StreamKind::Provider, provider), None)?);
        events.extend(reader.last_of_each_type(&UpstreamKey::Own(provider).stream(), None)?);
    }
    events.sort_by_key(|recorded| recorded.position);
    let mut tables = Tables::default();
    events.iter().for_each(|recorded| tables.fold(recorded));
    let mut keys: Vec<KeySetAside> = in_tables(&tables).collect();
    keys.sort_by(|one, other| other.since.cmp(&one.since).then_with(|| one.provider.cmp(&other.provider)));
    Ok(keys)
}

fn provider_of_key(recorded: &Recorded) -> Option<ProviderId> {
    match &recorded.event {
        Event::Resource(Resource::ProviderKey(Change::Created(key) | Change::Changed(key))) => Some(key.provider_id),
        _ => None,
    }
}

fn in_tables(tables: &Tables) -> impl Iterator<Item = KeySetAside> {
    tables.shared_keys_set_aside().filter_map(|(key, set_aside)| {
        let further = match key {
            UpstreamKey::Own(_) => None,
            UpstreamKey::Further(id) => Some(&tables.provider_key(id)?.value),
        };
        let provider_id = match (key, further) {
            (UpstreamKey::Own(id), _) => id,
            (UpstreamKey::Further(_), further) => further?.provider_id,
        };
        Some(KeySetAside {
            provider_id,
            provider: tables.provider(provider_id)?.value.name.clone(),
            further: further.map(|key| (key.provider_key_id, key.name.clone())),
            reason: set_aside.reason,
            status: set_aside.status,
            since: set_aside.since,
        })
    })
}

impl KeySetAside {
    pub fn json(&self) -> Value {
        json!({
            "provider_id": self.provider_id.to_string(),
            "provider": self.provider,
            "provider_key_id": self.further.as_ref().map(|(id, _)| id.to_string()),
            "name": self.further.as_ref().map(|(_, name)| name),
            "reason": self.reason.as_str(),
            "status": self.status,
            "since": rfc3339(self.since),
        })
    }

    /// `second pky_… of openai (refused, status 401, since …)`.
    pub fn in_words(&self) -> String {
        let key = match &self.further {
            Some((id, name)) => format!("{} {id}", printable(name)),
            None => "the own key".to_owned(),
        };
        let (provider, status, since) = (printable(&self.provider), self.status, rfc3339(self.since));
        let reason = self.reason.as_str().replace('_', " ");
        format!("{key} of {provider} ({reason}, status {status}, since {since})")
    }
}
