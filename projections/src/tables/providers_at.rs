//! The tables as of an earlier position, as far as they say which providers, keys of them and prices there were.

use events::event::{Resource, StreamKind};
use events_log::{EventFilter, LogError, Part, Reader};

use super::Tables;

/// Changes of administration that are read at a time.
const PAGE_EVENTS: usize = 1000;

impl Tables {
    /// Builds tables of the providers, their keys and prices as of a position, with their owners. Reads the log in pages.
    pub fn of_providers_at(log: &dyn Reader, position: u64) -> Result<Self, LogError> {
        let filter = EventFilter { types: Some(types()), ..EventFilter::default() };
        Self::of_pages(position, |after| log.filtered(&filter, after, PAGE_EVENTS))
    }

    /// Folds the events of these pages up to a position; each page begins after a position.
    pub(super) fn of_pages(
        position: u64,
        mut page: impl FnMut(u64) -> Result<Part, LogError>,
    ) -> Result<Self, LogError> {
        let (mut tables, mut after) = (Self::default(), 0);
        while after < position {
            let part = page(after)?;
            let events = part.events.iter().take_while(|recorded| recorded.position <= position);
            events.for_each(|recorded| tables.fold(recorded));
            if !part.has_more() {
                break;
            }
            after = part.until;
        }
        Ok(tables)
    }
}

/// The types of the events that are folded.
pub(super) fn types() -> Vec<(String, u32)> {
    let kinds = StreamKind::ALL.iter().filter(|kind| is_about_providers(**kind));
    let names: Vec<&str> = kinds.flat_map(|kind| Resource::names_on(*kind)).copied().collect();
    let types = Resource::TYPES.iter().filter(|(name, _)| names.contains(name));
    types.map(|(name, version)| ((*name).to_owned(), *version)).collect()
}

/// Whether events on streams of this kind change which providers, keys of them and prices there are.
const fn is_about_providers(kind: StreamKind) -> bool {
    match kind {
        StreamKind::Partner
        | StreamKind::Tenant
        | StreamKind::Provider
        | StreamKind::ProviderKey
        | StreamKind::Price => true,
        StreamKind::Inference
        | StreamKind::Hold
        | StreamKind::User
        | StreamKind::Team
        | StreamKind::Key
        | StreamKind::Model
        | StreamKind::Budget
        | StreamKind::RateLimit
        | StreamKind::AuditSearch
        | StreamKind::NodeKey
        | StreamKind::LogKey
        | StreamKind::Revaluation
        | StreamKind::Import
        | StreamKind::PublishedLog
        | StreamKind::Access
        | StreamKind::Alert => false,
    }
}
