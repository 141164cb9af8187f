//! Names beside ids. They come from the catalogue, which keeps the last name of ended resources. Names of people come
//! from the erasable side table, are read for every response, and are shown only to callers with `admin:access`. What is
//! beyond the caller's reach has no name.

mod reference;

use std::collections::{BTreeSet, HashMap};

use events::event::admin::{NarrowedScope, Permission};
use projections::views::catalogue::{NameScope, NamesById, ResolvedNames};
use projections::visible::Visible;
use serde_json::Value;

use crate::QueryState;
use crate::error::QueryError;
use crate::query_context::PermittedQuery;

pub use reference::{resolve_actor_and_resource, resolve_owners};

/// The resources whose names the caller may see.
fn name_scope(state: &QueryState, visible: Visible) -> NameScope {
    let own_partner = match visible {
        Visible::Tenant(id) => state.tables.load().tenant(id).map(|entry| entry.value.partner_id),
        Visible::Platform | Visible::Partner(_) => None,
    };
    NameScope { visible, own_partner }
}

/// Names by id.
#[derive(Debug, Default)]
pub struct Names(HashMap<String, String>);

impl Names {
    /// The names of these ids, of any kind.
    pub async fn find(query: &PermittedQuery, ids: BTreeSet<String>) -> Result<Self, QueryError> {
        if ids.is_empty() {
            return Ok(Self::default());
        }
        let scope = name_scope(&query.state, Visible::within_reach(&query.caller));
        let ResolvedNames { mut names, users } = query.ask(NamesById { scope, ids }).await?.value;
        if query.caller.may(Permission::AdminAccess) && !users.is_empty() {
            let people = query.read(move |reader| reader.personal_data(&users)).await?;
            names.extend(people.into_values().map(|person| (person.subject.to_string(), person.name)));
        }
        Ok(Self(names))
    }

    /// Adds the names of these owners to each item: `tenant_name` beside `tenant_id`.
    pub async fn put_beside(query: &PermittedQuery, items: Vec<&mut Value>, owners: &[&str]) -> Result<(), QueryError> {
        let fields: Vec<_> = owners.iter().map(|owner| [format!("{owner}_id"), format!("{owner}_name")]).collect();
        let ids =
            items.iter().flat_map(|item| fields.iter().filter_map(|[id, _]| item[id].as_str().map(str::to_owned)));
        let names = Self::find(query, ids.collect()).await?;
        for item in items {
            for [id, name] in &fields {
                item[name] = item[id].as_str().and_then(|id| names.get(id)).into();
            }
        }
        Ok(())
    }

    pub fn get(&self, id: &str) -> Option<&str> {
        self.0.get(id).map(String::as_str)
    }
}

/// Adds `scope_name` beside the `scope` of each of these budgets or limits.
pub async fn name_scopes(query: &PermittedQuery, bound: Vec<&mut Value>) -> Result<(), QueryError> {
    let owner = |one: &Value| NarrowedScope::owner_in(&one["scope"]).map_or_else(String::new, |(_, id)| id.to_owned());
    let names = Names::find(query, bound.iter().map(|one| owner(one)).collect()).await?;
    for one in bound {
        one["scope_name"] = names.get(&owner(one)).into();
    }
    Ok(())
}
