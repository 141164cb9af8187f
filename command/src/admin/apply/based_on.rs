//! The position that changes are based on: they were planned on what the gateway had there. A resource that somebody else has changed
//! since is not changed, and nothing is created beside what has the same identity in files. Names are unique anyway, so that concerns
//! budgets, rate limits and prices.
//!
//! The log refuses changes if a resource of such a kind and of the same tenant is created while they are decided; they are then decided
//! anew.

use std::collections::HashSet;

use events::event::admin::Budget;
use events::event::{Change, Event, Resource, Stream, StreamKind};
use events_log::KindOfTenant;
use projections::tables::Tables;

use super::super::resource_kind::DecidedCommand;
use super::super::store::StoredStream;
use crate::admin::error::CommandError;

/// The kinds whose resources have no name.
const UNNAMED: [StreamKind; 3] = [StreamKind::Budget, StreamKind::RateLimit, StreamKind::Price];

/// The kinds without names that the commands create, each with its tenant: the gateway must know every resource of these.
pub fn unnamed(commands: &[DecidedCommand]) -> Vec<KindOfTenant> {
    let created = commands.iter().filter(|command| command.stored.events.is_empty());
    let kinds = created.map(|command| KindOfTenant { kind: command.stored.stream.kind, tenant: command.chain.tenant });
    kinds.filter(|of| UNNAMED.contains(&of.kind)).collect::<HashSet<_>>().into_iter().collect()
}

/// A resource without a name that was made or changed since.
struct Later {
    kind: StreamKind,
    id: String,
    position: u64,
}

/// The later changes, after the position that the changes of a request are based on.
pub struct ChangedSince<'a> {
    pub based_on: u64,
    /// Their state before the changes of the request.
    pub tables: &'a Tables,
}

impl ChangedSince<'_> {
    /// The error for a resource that somebody else has changed since; `None` if nobody has.
    pub fn changed(&self, stored: &StoredStream) -> Option<CommandError> {
        // The gateway records these by itself, and they change nothing of the resource.
        let is_observed =
            |event: &Event| matches!(event, Event::Resource(Resource::BreakerOpened(_) | Resource::BreakerClosed(_)));
        let changed = stored.events.iter().rfind(|recorded| !is_observed(&recorded.event))?;
        let Stream { kind, id } = &stored.stream;
        let later = || Later { kind: *kind, id: id.clone(), position: changed.position };
        (changed.position > self.based_on).then(|| self.error(later()))
    }

    /// Errors: somebody else has changed the resource of this command since, or has made one of the same identity in files.
    pub fn check(&self, command: &DecidedCommand) -> Result<(), CommandError> {
        if let Some(changed) = self.changed(&command.stored) {
            return Err(changed);
        }
        let later = command.events.iter().find_map(|event| self.same_as_created(event));
        later.map_or(Ok(()), |later| Err(self.error(later)))
    }

    /// The resource of the same identity as one that is created. The tables have it beside those that bind the same requests, of which
    /// there are few.
    fn same_as_created(&self, event: &Event) -> Option<Later> {
        let Self { based_on, tables } = self;
        match event {
            Event::Resource(Resource::Budget(Change::Created(budget))) => {
                let mut beside = tables.budgets_under_same_condition(&budget.scope);
                let same = beside.find(|entry| {
                    let Budget { scope, period, .. } = &*entry.value;
                    entry.version > *based_on && *scope == budget.scope && *period == budget.period
                })?;
                Some(Later { kind: StreamKind::Budget, id: same.value.budget_id.to_string(), position: same.version })
            }
            Event::Resource(Resource::RateLimit(Change::Created(limit))) => {
                let mut beside = tables.rate_limits_under_same_condition(&limit.scope);
                let same = beside.find(|entry| entry.version > *based_on && entry.value.scope == limit.scope)?;
                Some(Later { kind: StreamKind::RateLimit, id: same.value.limit_id.to_string(), position: same.version })
            }
            Event::Resource(Resource::Price(Change::Created(price))) => {
                let mut of_backend = tables.prices_of_backend(price.provider_id, &price.model);
                let same = of_backend.find(|entry| entry.version > *based_on && entry.value.origin.is_none())?;
                Some(Later { kind: StreamKind::Price, id: same.value.price_id.to_string(), position: same.version })
            }
            _ => None,
        }
    }

    fn error(&self, Later { kind, id, position }: Later) -> CommandError {
        CommandError::ChangedSince { kind, id, changed_at: position, based_on: self.based_on }
    }
}
