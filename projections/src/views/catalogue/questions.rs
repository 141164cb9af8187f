//! Questions about resources of administration: a list, or one resource.

use events::event::StreamKind;
use events::ids::{PartnerId, ProviderId, TenantId, UserId};
use events::time::from_micros;
use rusqlite::{Connection, Row, named_params};
use serde_json::Value;

use crate::resource::{Lifetime, completed};
use crate::views::{PageBounds, Question, View, ViewsError};
use crate::visible::Visible;

const LIST: &str = concat!(include_str!("select.sql"), include_str!("list.sql"));
const ONE: &str = concat!(include_str!("select.sql"), include_str!("one.sql"));

/// A page of resources of a kind, newest first, and one more if there is another page.
pub struct ResourceList {
    pub visible: Visible,
    pub kind: StreamKind,
    pub filter: ResourceFilter,
    pub page: PageBounds,
}

/// The filter of resources. A field that is `None` matches every resource.
#[derive(Clone, Debug)]
pub struct ResourceFilter {
    pub partner: Option<PartnerId>,
    pub tenant: Option<TenantId>,
    pub user: Option<UserId>,
    /// The name; for a price, the provider's model.
    pub name: Option<String>,
    pub provider: Option<ProviderId>,
    pub slug: Option<String>,
    pub external_id: Option<String>,
    pub include_ended: bool,
}

/// One resource, which may have ended; `None` if the caller cannot see it.
pub struct OneResource {
    pub visible: Visible,
    pub kind: StreamKind,
    pub id: String,
}

/// A resource in its latest state.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Log position at which it was created.
    pub position: u64,
    pub body: Value,
    /// A resource that ended with its owner has the owner's end.
    pub lifetime: Lifetime,
    /// The first of its owners that ended, unless the resource ended by itself.
    pub ended_by: Option<String>,
    pub tenant: Option<String>,
}

impl Question for ResourceList {
    type Answer = Vec<Resource>;
    const VIEWS: &'static [View] = &[View::Catalogue];

    fn answer(self, db: &Connection) -> Result<Vec<Resource>, ViewsError> {
        let Self { visible, kind, filter, page } = self;
        let mut statement = db.prepare_cached(LIST)?;
        let parameters = named_params! {
            ":kind": kind.as_str(), ":before": page.before, ":rows": page.rows(),
            ":include_ended": filter.include_ended,
            ":visible_partner": visible.partner(), ":visible_tenant": visible.tenant(),
            ":partner": filter.partner.map(|id| id.to_string()), ":tenant": filter.tenant.map(|id| id.to_string()),
            ":user": filter.user.map(|id| id.to_string()), ":name": filter.name,
            ":provider": filter.provider.map(|id| id.to_string()),
            ":slug": filter.slug, ":external_id": filter.external_id,
        };
        statement.query_and_then(parameters, |row| resource(kind, row))?.collect()
    }
}

impl Question for OneResource {
    type Answer = Option<Resource>;
    const VIEWS: &'static [View] = &[View::Catalogue];

    fn answer(self, db: &Connection) -> Result<Option<Resource>, ViewsError> {
        let parameters = named_params! {
            ":kind": self.kind.as_str(), ":id": self.id,
            ":visible_partner": self.visible.partner(), ":visible_tenant": self.visible.tenant(),
        };
        let mut statement = db.prepare_cached(ONE)?;
        statement.query_and_then(parameters, |row| resource(self.kind, row))?.next().transpose()
    }
}

fn resource(kind: StreamKind, row: &Row<'_>) -> Result<Resource, ViewsError> {
    let (body, created_at, ended_at): (String, i64, Option<i64>) = (row.get(0)?, row.get(2)?, row.get(3)?);
    // The first of its owners that ended, and when.
    let mut owner_ended: Option<(i64, String)> = None;
    for (id, ended_at) in [(4, 5), (6, 7), (8, 9), (11, 12)] {
        let owner = row.get::<_, Option<i64>>(ended_at)?.zip(row.get(id)?);
        owner_ended = owner_ended.into_iter().chain(owner).min();
    }
    let (owner_ended_at, ended_by) = owner_ended.filter(|_| ended_at.is_none()).unzip();
    let ended_at = ended_at.or(owner_ended_at).map(from_micros);
    Ok(Resource {
        position: row.get(1)?,
        body: completed(&body, kind)?,
        lifetime: Lifetime { created_at: from_micros(created_at), ended_at },
        ended_by,
        tenant: row.get(10)?,
    })
}
