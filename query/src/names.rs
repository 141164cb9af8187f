//! Names beside ids. They stand in the catalogue, which keeps the last name of what has ended; people's names stand in the
//! erasable side table, are read from there for every answer, and are shown to those alone who may administrate. What lies
//! out of the caller's reach has no name.

mod reference;

use std::collections::{BTreeSet, HashMap};

use events::concurrency::QueryPermit;
use events::event::StreamKind;
use events::event::admin::Permission;
use events::ids::{BudgetId, KeyId, LimitId, ModelId, PartnerId, PriceId, ProviderId, TenantId, UserId};
use projections::views::{View, ViewsError};
use projections::visible::Visible;
use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;

use crate::QueryState;
use crate::asker::Asker;
use crate::error::QueryError;

pub use reference::{resolve_actor_and_resource, resolve_owners};

const NAMED: &str = include_str!("names/named.sql");

/// How the ids of each kind begin.
const PREFIXES: [(&str, StreamKind); 9] = [
    (PartnerId::PREFIX, StreamKind::Partner),
    (TenantId::PREFIX, StreamKind::Tenant),
    (UserId::PREFIX, StreamKind::User),
    (KeyId::PREFIX, StreamKind::Key),
    (ProviderId::PREFIX, StreamKind::Provider),
    (ModelId::PREFIX, StreamKind::Model),
    (PriceId::PREFIX, StreamKind::Price),
    (BudgetId::PREFIX, StreamKind::Budget),
    (LimitId::PREFIX, StreamKind::RateLimit),
];

/// What a caller may be told the names of.
#[derive(Clone, Copy, Debug)]
struct Sight {
    visible: Visible,
    /// A tenant's key knows its partner, as `/v1/me` says it.
    own_partner: Option<PartnerId>,
    people: bool,
}

impl Sight {
    fn of(state: &QueryState, asker: &Asker, visible: Visible) -> Self {
        let own_partner = match visible {
            Visible::Tenant(id) => state.tables.load().tenant(id).map(|entry| entry.value.partner_id),
            Visible::Platform | Visible::Partner(_) => None,
        };
        Self { visible, own_partner, people: asker.may(Permission::AdminAccess) }
    }

    fn sees(self, id: &str, partner: Option<&str>, tenant: Option<&str>) -> bool {
        let is = |id: Option<&str>, own: String| id == Some(own.as_str());
        match self.visible {
            Visible::Platform => true,
            Visible::Partner(own) => is(partner, own.to_string()),
            Visible::Tenant(own) => {
                is(tenant, own.to_string()) || self.own_partner.is_some_and(|own| is(Some(id), own.to_string()))
            }
        }
    }
}

/// Names by id.
#[derive(Debug, Default)]
pub struct Names(HashMap<String, String>);

impl Names {
    /// Of these, whatever kinds they are of.
    pub async fn find(
        state: &QueryState,
        permit: &QueryPermit,
        asker: &Asker,
        ids: BTreeSet<String>,
    ) -> Result<Self, QueryError> {
        if ids.is_empty() {
            return Ok(Self::default());
        }
        let sight = Sight::of(state, asker, Visible::within_reach(asker));
        let found = state.views.read(permit, View::Catalogue, move |db| found(db, sight, ids)).await?.value;
        let Found { mut names, people } = found;
        if sight.people && !people.is_empty() {
            let people = state.log.read(permit, move |reader| reader.personal_data(&people)).await?;
            names.extend(people.into_values().map(|person| (person.subject.to_string(), person.name)));
        }
        Ok(Self(names))
    }

    pub fn get(&self, id: &str) -> Option<&str> {
        self.0.get(id).map(String::as_str)
    }
}

/// Puts `scope_name` beside the `scope` of each of these budgets or limits.
pub async fn name_scopes(
    state: &QueryState,
    permit: &QueryPermit,
    asker: &Asker,
    bound: Vec<&mut Value>,
) -> Result<(), QueryError> {
    let owner = |one: &Value| {
        let owner = one["scope"].as_object().and_then(|scope| scope.values().next());
        owner.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let names = Names::find(state, permit, asker, bound.iter().map(|one| owner(one)).collect()).await?;
    for one in bound {
        one["scope_name"] = names.get(&owner(one)).into();
    }
    Ok(())
}

/// What the catalogue says.
struct Found {
    names: HashMap<String, String>,
    /// Users that the caller sees, whose names stand elsewhere.
    people: Vec<UserId>,
}

fn found(db: &Connection, sight: Sight, ids: BTreeSet<String>) -> Result<Found, ViewsError> {
    let mut statement = db.prepare_cached(NAMED)?;
    let mut found = Found { names: HashMap::new(), people: Vec::new() };
    for id in ids {
        let Some(kind) = kind_of(&id) else { continue };
        type Row = (Option<String>, Option<String>, Option<String>);
        let row: Option<Row> =
            statement.query_row((kind.as_str(), &id), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
        let Some((name, partner, tenant)) = row else { continue };
        if !sight.sees(&id, partner.as_deref(), tenant.as_deref()) {
            continue;
        }
        match (kind, name) {
            (StreamKind::User, _) => found.people.extend(id.parse::<UserId>()),
            (_, Some(name)) => drop(found.names.insert(id, name)),
            (_, None) => {}
        }
    }
    Ok(found)
}

/// Of what has the length of an id and begins like one.
fn kind_of(text: &str) -> Option<StreamKind> {
    const DIGITS: usize = 32;
    let is_of = |prefix: &str| text.strip_prefix(prefix).is_some_and(|digits| digits.len() == DIGITS);
    PREFIXES.into_iter().find(|(prefix, _)| is_of(prefix)).map(|(_, kind)| kind)
}
