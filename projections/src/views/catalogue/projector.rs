//! `catalogue`: the latest state of every resource of administration, including ended ones. Reads administration.
//! Rebuild: from the log.

use std::sync::Arc;

use events::event::admin::Scope;
use events::event::{Change, Event, Recorded, Resource, ResourceState};
use events::ids::{PartnerId, ProviderId, TenantId, UserId};
use rusqlite::{Connection, ToSql, params};

use crate::views::View;
use crate::views::projector::{ProjectionError, Projector, write_row};

const SCHEMA: &str = include_str!("../../../../migrations/sqlite/views/0006_catalogue.sql");
const CREATE: &str = include_str!("create.sql");
const CHANGE: &str = include_str!("change.sql");
const END: &str = include_str!("end.sql");
const TOUCH: &str = include_str!("touch.sql");

pub struct Catalogue;

impl Projector for Catalogue {
    fn view(&self) -> View {
        View::Catalogue
    }

    fn version(&self) -> u32 {
        6
    }

    fn schema(&self) -> &'static str {
        SCHEMA
    }

    fn apply(&mut self, db: &Connection, events: &[Arc<Recorded>]) -> Result<(), ProjectionError> {
        for recorded in events {
            if let Event::Resource(resource) = &recorded.event {
                RowChange { db, recorded }.write(resource)?;
            }
        }
        Ok(())
    }
}

/// The columns for a resource's owners and name.
#[derive(Clone, Copy)]
struct Columns<'a> {
    partner: Option<PartnerId>,
    tenant: Option<TenantId>,
    user: Option<UserId>,
    name: Option<&'a str>,
}

/// The change of a row by an event.
#[derive(Clone, Copy)]
struct RowChange<'a> {
    db: &'a Connection,
    recorded: &'a Recorded,
}

impl<'a> RowChange<'a> {
    fn write(self, resource: &'a Resource) -> Result<(), ProjectionError> {
        // The owners in the event's context, for those that a state lacks.
        let (partner, tenant) = (self.recorded.context.partner_id, self.recorded.context.tenant_id);
        let about = Columns { partner, tenant, user: None, name: None };
        match resource {
            Resource::Partner(change) => self.change(change, |of| Columns {
                partner: Some(of.partner_id),
                tenant: None,
                name: Some(&of.name),
                ..about
            }),
            Resource::Tenant(change) => self.change(change, |of| {
                let (partner, tenant) = (Some(of.partner_id), Some(of.tenant_id));
                Columns { partner, tenant, name: Some(&of.name), ..about }
            }),
            Resource::User(change) => {
                self.change(change, |of| Columns { tenant: Some(of.tenant_id), user: Some(of.user_id), ..about })
            }
            Resource::Team(change) => {
                self.change(change, |of| Columns { tenant: Some(of.tenant_id), name: Some(&of.name), ..about })
            }
            Resource::Key(change) => {
                self.change(change, |of| Columns { user: Some(of.user_id), name: Some(&of.name), ..about })
            }
            Resource::Provider(change) => {
                self.change(change, |of| Columns { tenant: of.tenant_id, name: Some(&of.name), ..about })
            }
            Resource::ProviderKey(change) => self.change(change, |of| Columns { name: Some(&of.name), ..about }),
            Resource::Model(change) => {
                self.change(change, |of| Columns { tenant: of.tenant_id, name: Some(&of.name), ..about })
            }
            Resource::Price(change) => self.change(change, |of| Columns { name: Some(&of.model), ..about }),
            Resource::Budget(change) => self.change(change, |of| scoped(of.scope.owner, about)),
            Resource::RateLimit(change) => self.change(change, |of| scoped(of.scope.owner, about)),
            Resource::AuditSearch(change) => {
                self.change(change, |of| Columns { tenant: of.tenant_id, name: Some(&of.name), ..about })
            }
            // A provider's own key has no row.
            Resource::ProviderKeySetAside(_) | Resource::ProviderKeyRestored(_)
                if resource.id().starts_with(ProviderId::PREFIX) =>
            {
                Ok(())
            }
            // The state is unchanged; only the position of the last event moves.
            Resource::UserErased(_)
            | Resource::KeyRotated(_)
            | Resource::BreakerOpened(_)
            | Resource::BreakerClosed(_)
            | Resource::ProviderKeySetAside(_)
            | Resource::ProviderKeyRestored(_) => {
                let (kind, id) = (resource.kind().as_str(), resource.id());
                write_row(self.db, TOUCH, &id, params![kind, id, self.recorded.position])
            }
            Resource::NodeKeyReplaced(_)
            | Resource::LogKeyCreated(_)
            | Resource::PriceRevalued(_)
            | Resource::CatalogueImported(_)
            | Resource::PublishedLogRepaired(_) => Ok(()),
        }
    }

    fn change<R: ResourceState>(
        self,
        change: &'a Change<R>,
        columns: impl FnOnce(&'a R) -> Columns<'a>,
    ) -> Result<(), ProjectionError> {
        let Self { db, recorded } = self;
        let (kind, at) = (R::KIND.as_str(), recorded.recorded_at.timestamp_micros());
        let state = match change {
            Change::Created(state) | Change::Changed(state) => state,
            Change::Ended(id) => {
                return write_row(db, END, id, params![kind, id.to_string(), at, recorded.position]);
            }
        };
        let Columns { partner, tenant, user, name } = columns(state);
        let created: [&dyn ToSql; 9] = [
            &kind,
            &state.id().to_string(),
            &partner.map(|id| id.to_string()),
            &tenant.map(|id| id.to_string()),
            &user.map(|id| id.to_string()),
            &name,
            &state.body().to_string(),
            &recorded.position,
            &at,
        ];
        let [changed @ .., _created_at] = &created;
        let (sql, parameters): (_, &[_]) = match change {
            Change::Created(_) => (CREATE, &created),
            Change::Changed(_) | Change::Ended(_) => (CHANGE, changed),
        };
        write_row(db, sql, state.id(), parameters)
    }
}

fn scoped(scope: Scope, columns: Columns<'_>) -> Columns<'_> {
    match scope {
        Scope::Partner(id) => Columns { partner: Some(id), tenant: None, ..columns },
        Scope::Tenant(id) => Columns { tenant: Some(id), ..columns },
        Scope::User(id) => Columns { user: Some(id), ..columns },
        Scope::Team(_) | Scope::Key(_) => columns,
    }
}
