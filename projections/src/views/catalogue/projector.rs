//! `catalogue`: the latest state of every resource of administration, including ended ones. Reads administration.
//! Rebuild: from the log.

use std::sync::Arc;

use events::event::admin::{
    AuditSearch, Budget, Key, Model, Partner, Price, Provider, ProviderKey, RateLimit, Scope, Team, Tenant, User,
};
use events::event::{Change, Event, Recorded, Resource, ResourceState};
use events::ids::{PartnerId, ProviderId, TenantId, UserId};
use events::on_change;
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
            let Event::Resource(resource) = &recorded.event else { continue };
            match on_change!(resource, change => apply_change(db, recorded, change)) {
                Some(applied) => applied?,
                // The state is unchanged; only the position of the last event moves.
                None if is_of_a_row(resource) => {
                    let (kind, id) = (resource.kind(), resource.id());
                    write_row(db, TOUCH, &id, params![kind.as_str(), id, recorded.position])?;
                }
                None => {}
            }
        }
        Ok(())
    }
}

/// Whether an event is of a resource that has a row.
fn is_of_a_row(resource: &Resource) -> bool {
    match resource {
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
        | Resource::ProviderKey(_)
        | Resource::Model(_)
        | Resource::Price(_)
        | Resource::Budget(_)
        | Resource::RateLimit(_)
        | Resource::AuditSearch(_) => true,
        // A provider's own key has none.
        Resource::ProviderKeySetAside(_) | Resource::ProviderKeyRestored(_) => {
            !resource.id().starts_with(ProviderId::PREFIX)
        }
        Resource::NodeKeyReplaced(_)
        | Resource::LogKeyCreated(_)
        | Resource::PriceRevalued(_)
        | Resource::CatalogueImported(_) => false,
    }
}

fn apply_change<R: CatalogueResource>(
    db: &Connection,
    recorded: &Recorded,
    change: &Change<R>,
) -> Result<(), ProjectionError> {
    let (kind, at) = (R::KIND.as_str(), recorded.recorded_at.timestamp_micros());
    let state = match change {
        Change::Created(state) | Change::Changed(state) => state,
        Change::Ended(id) => {
            return write_row(db, END, id, params![kind, id.to_string(), at, recorded.position]);
        }
    };
    let (partner, tenant) = (recorded.context.partner_id, recorded.context.tenant_id);
    let Columns { partner, tenant, user, name } = state.columns(Columns { partner, tenant, user: None, name: None });
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

/// The columns for a resource's owners and name.
struct Columns<'a> {
    partner: Option<PartnerId>,
    tenant: Option<TenantId>,
    user: Option<UserId>,
    name: Option<&'a str>,
}

/// The state of a resource that has a row in the view.
trait CatalogueResource: ResourceState {
    /// Fills the columns from the state. `about` has the owners in the event's context, for those that the state lacks.
    fn columns<'a>(&'a self, about: Columns<'a>) -> Columns<'a>;
}

impl CatalogueResource for Partner {
    fn columns<'a>(&'a self, about: Columns<'a>) -> Columns<'a> {
        Columns { partner: Some(self.partner_id), tenant: None, name: Some(&self.name), ..about }
    }
}

impl CatalogueResource for Tenant {
    fn columns<'a>(&'a self, about: Columns<'a>) -> Columns<'a> {
        let (partner, tenant) = (Some(self.partner_id), Some(self.tenant_id));
        Columns { partner, tenant, name: Some(&self.name), ..about }
    }
}

impl CatalogueResource for User {
    fn columns<'a>(&'a self, about: Columns<'a>) -> Columns<'a> {
        Columns { tenant: Some(self.tenant_id), user: Some(self.user_id), ..about }
    }
}

impl CatalogueResource for Team {
    fn columns<'a>(&'a self, about: Columns<'a>) -> Columns<'a> {
        Columns { tenant: Some(self.tenant_id), name: Some(&self.name), ..about }
    }
}

impl CatalogueResource for Key {
    fn columns<'a>(&'a self, about: Columns<'a>) -> Columns<'a> {
        Columns { user: Some(self.user_id), name: Some(&self.name), ..about }
    }
}

impl CatalogueResource for Provider {
    fn columns<'a>(&'a self, about: Columns<'a>) -> Columns<'a> {
        Columns { tenant: self.tenant_id, name: Some(&self.name), ..about }
    }
}

impl CatalogueResource for ProviderKey {
    fn columns<'a>(&'a self, about: Columns<'a>) -> Columns<'a> {
        Columns { name: Some(&self.name), ..about }
    }
}

impl CatalogueResource for Model {
    fn columns<'a>(&'a self, about: Columns<'a>) -> Columns<'a> {
        Columns { tenant: self.tenant_id, name: Some(&self.name), ..about }
    }
}

impl CatalogueResource for Price {
    fn columns<'a>(&'a self, about: Columns<'a>) -> Columns<'a> {
        Columns { name: Some(&self.model), ..about }
    }
}

impl CatalogueResource for Budget {
    fn columns<'a>(&'a self, about: Columns<'a>) -> Columns<'a> {
        scoped(self.scope.owner, about)
    }
}

impl CatalogueResource for RateLimit {
    fn columns<'a>(&'a self, about: Columns<'a>) -> Columns<'a> {
        scoped(self.scope.owner, about)
    }
}

impl CatalogueResource for AuditSearch {
    fn columns<'a>(&'a self, about: Columns<'a>) -> Columns<'a> {
        Columns { tenant: self.tenant_id, name: Some(&self.name), ..about }
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
