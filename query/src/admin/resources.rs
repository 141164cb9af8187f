//! Resources, as they stand in the catalogue.

use events::event::StreamKind;
use events::ids::{PartnerId, ProviderId, TenantId, UserId};
use events::time::from_micros;
use events::wire::Refusal;
use projections::resource::{Lifetime, with_lifetime};
use projections::views::ViewsError;
use projections::visible::Visible;
use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde_json::Value;

use crate::page::{Cut, Placed};
use crate::parameters::Parameters;

const LIST: &str = concat!(include_str!("select.sql"), include_str!("list.sql"));
const ONE: &str = concat!(include_str!("select.sql"), include_str!("one.sql"));

/// Which resources of a kind; `None` where all count.
#[derive(Clone, Debug)]
pub struct Filter {
    partner: Option<String>,
    tenant: Option<String>,
    user: Option<String>,
    /// Of a price: the provider's model.
    name: Option<String>,
    provider: Option<String>,
    slug: Option<String>,
    external_id: Option<String>,
    include_ended: bool,
}

impl Filter {
    pub fn take(parameters: &mut Parameters, kind: StreamKind) -> Result<Self, Refusal> {
        let has_handles = matches!(kind, StreamKind::Partner | StreamKind::Tenant | StreamKind::User);
        let mut handle = |name: &str| if has_handles { parameters.text(name) } else { None };
        let (slug, external_id) = (handle("slug"), handle("external_id"));
        let (provider, model) = match kind {
            StreamKind::Price => (parameters.id::<ProviderId>("provider_id")?, parameters.text("model")),
            _ => (None, None),
        };
        Ok(Self {
            slug,
            external_id,
            provider,
            partner: parameters.id::<PartnerId>("partner_id")?,
            tenant: parameters.id::<TenantId>("tenant_id")?,
            user: parameters.id::<UserId>("user_id")?,
            name: parameters.text("name").or(model),
            include_ended: parameters.flag("include_ended")?,
        })
    }
}

/// Newest first; one more than the page where there is another.
pub fn list(
    db: &Connection,
    visible: Visible,
    kind: StreamKind,
    filter: &Filter,
    cut: Cut,
) -> Result<Vec<Placed>, ViewsError> {
    let mut statement = db.prepare_cached(LIST)?;
    let mut rows = statement.query(named_params! {
        ":kind": kind.as_str(), ":before": cut.before, ":rows": cut.rows(), ":include_ended": filter.include_ended,
        ":visible_partner": visible.partner(), ":visible_tenant": visible.tenant(),
        ":partner": filter.partner, ":tenant": filter.tenant, ":user": filter.user, ":name": filter.name,
        ":provider": filter.provider,
        ":slug": filter.slug, ":external_id": filter.external_id,
    })?;
    let mut resources = Vec::new();
    while let Some(row) = rows.next()? {
        resources.push(ResourceRow::read(row)?.placed(kind)?);
    }
    Ok(resources)
}

/// `None` for what the caller cannot see.
pub fn one(db: &Connection, visible: Visible, kind: StreamKind, id: &str) -> Result<Option<Value>, ViewsError> {
    let parameters = named_params! {
        ":kind": kind.as_str(), ":id": id,
        ":visible_partner": visible.partner(), ":visible_tenant": visible.tenant(),
    };
    let row = db.prepare_cached(ONE)?.query_row(parameters, ResourceRow::read).optional()?;
    Ok(row.map(|row| row.placed(kind)).transpose()?.map(|placed| placed.item))
}

struct ResourceRow {
    body: String,
    created_position: u64,
    created_at: i64,
    ended_at: Option<i64>,
    /// The first of its owners that ended, and when.
    owner_ended: Option<(i64, String)>,
    tenant: Option<String>,
}

impl ResourceRow {
    fn read(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        let mut owner_ended = None;
        for (id, ended_at) in [(4, 5), (6, 7), (8, 9)] {
            let owner: Option<(i64, String)> = row.get::<_, Option<i64>>(ended_at)?.zip(row.get(id)?);
            owner_ended = owner_ended.into_iter().chain(owner).min();
        }
        Ok(Self {
            body: row.get(0)?,
            created_position: row.get(1)?,
            created_at: row.get(2)?,
            ended_at: row.get(3)?,
            owner_ended,
            tenant: row.get(10)?,
        })
    }

    /// What its owner's end has ended says so: it has that one's `ended_at`, and its id as `ended_by`.
    /// A key, whose body has its user alone, has its tenant as well.
    fn placed(self, kind: StreamKind) -> Result<Placed, ViewsError> {
        let by_owner = self.owner_ended.filter(|_| self.ended_at.is_none());
        let ended_at = self.ended_at.or(by_owner.as_ref().map(|(ended_at, _)| *ended_at));
        let lifetime = Lifetime { created_at: from_micros(self.created_at), ended_at: ended_at.map(from_micros) };
        let mut item = with_lifetime(serde_json::from_str(&self.body)?, lifetime);
        if let (Some((_, owner)), Some(fields)) = (by_owner, item.as_object_mut()) {
            fields.insert("ended_by".to_owned(), owner.into());
        }
        if kind == StreamKind::Key {
            item["tenant_id"] = self.tenant.into();
        }
        Ok(Placed { position: self.created_position, item })
    }
}
