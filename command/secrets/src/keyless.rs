//! Providers and provider keys whose API keys or secret headers were given up when the node's key was lost. The gateway does not call
//! them until they have new ones.

use events::event::{Change, Event, Resource, Stream, StreamKind};
use events::ids::ProviderKeyId;
use events_log::{LogError, Reader};

use super::secret_id::owners_of;

/// A provider, or a provider key, whose secret was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeylessProvider {
    pub id: String,
    /// The current name; `None` if the log has no such resource.
    pub name: Option<String>,
}

/// All keyless providers.
pub fn all(reader: &dyn Reader) -> Result<Vec<KeylessProvider>, LogError> {
    let secrets = reader.sealed_secrets()?;
    let given_up = secrets.iter().filter(|secret| secret.is_given_up());
    with_names(reader, owners_of(given_up.map(|secret| &*secret.subject)))
}

/// These providers with their current names.
pub(super) fn with_names(reader: &dyn Reader, providers: Vec<String>) -> Result<Vec<KeylessProvider>, LogError> {
    providers.into_iter().map(|id| Ok(KeylessProvider { name: name_of(reader, &id)?, id })).collect()
}

fn name_of(reader: &dyn Reader, id: &str) -> Result<Option<String>, LogError> {
    let is_further = id.starts_with(ProviderKeyId::PREFIX);
    let kind = if is_further { StreamKind::ProviderKey } else { StreamKind::Provider };
    let events = reader.last_of_each_type(&Stream::new(kind, id), None)?;
    Ok(events.into_iter().rev().find_map(|recorded| match recorded.event {
        Event::Resource(Resource::Provider(Change::Created(provider) | Change::Changed(provider))) => {
            Some(provider.name)
        }
        Event::Resource(Resource::ProviderKey(Change::Created(key) | Change::Changed(key))) => Some(key.name),
        _ => None,
    }))
}
