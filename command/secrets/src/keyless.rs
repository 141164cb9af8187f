//! Providers whose API keys were given up together with a node's key that was lost: none is called until it has another one.

use events::event::{Change, Event, Resource, Stream, StreamKind};
use events::log::{LogError, Reader};

/// A provider that had an API key which nobody can open any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeylessProvider {
    pub id: String,
    /// `None` where the log has no such provider.
    pub name: Option<String>,
}

/// All that there are.
pub fn all(reader: &Reader) -> Result<Vec<KeylessProvider>, LogError> {
    let secrets = reader.sealed_secrets()?.into_iter().filter(|secret| secret.is_given_up());
    named(reader, secrets.map(|secret| secret.subject).collect())
}

/// These providers, with their names of today.
pub(super) fn named(reader: &Reader, providers: Vec<String>) -> Result<Vec<KeylessProvider>, LogError> {
    let named = providers.into_iter().map(|id| Ok(KeylessProvider { name: name_of(reader, &id)?, id }));
    named.collect()
}

fn name_of(reader: &Reader, provider: &str) -> Result<Option<String>, LogError> {
    let events = reader.last_of_each_type(&Stream::new(StreamKind::Provider, provider), None)?;
    let newest_first = events.into_iter().rev();
    let mut names = newest_first.filter_map(|recorded| match recorded.event {
        Event::Resource(Resource::Provider(Change::Created(provider) | Change::Changed(provider))) => {
            Some(provider.name)
        }
        _ => None,
    });
    Ok(names.next())
}
