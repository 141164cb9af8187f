//! Fields of users, providers, their keys and prices that are not in the catalogue: personal data, secrets, whether a key is
//! set aside, and what is in force now.

use chrono::{DateTime, Utc};
use events::ids::{PriceId, ProviderId, ProviderKeyId, UserId};
use projections::resource::{key_state, no_own_key, own_key_state, put_person};
use projections::tables::Tables;
use serde_json::Value;

use crate::error::QueryError;
use crate::query_context::PermittedQuery;

/// Adds `name` and `email` to these users, unless they were erased.
pub async fn put_people(query: &PermittedQuery, users: Vec<&mut Value>) -> Result<(), QueryError> {
    let id = |user: &Value| user["id"].as_str()?.parse::<UserId>().ok();
    let subjects: Vec<UserId> = users.iter().filter_map(|user| id(user)).collect();
    let people = query.read(move |reader| reader.personal_data(&subjects)).await?;
    for user in users {
        let person = id(user).and_then(|id| people.get(&id));
        put_person(user, person);
    }
    Ok(())
}

/// Adds `api_key_set` to these providers or provider keys: whether they have an API key, which no event says of a sealed one.
pub async fn put_api_key_set(query: &PermittedQuery, providers: &mut [&mut Value]) -> Result<(), QueryError> {
    let ids = providers.iter().filter_map(|provider| provider["id"].as_str().map(str::to_owned)).collect();
    let with_secret = query.read(move |reader| reader.subjects_with_secret(ids)).await?;
    for provider in providers {
        let is_sealed = provider["id"].as_str().is_some_and(|id| with_secret.contains(id));
        provider["api_key_set"] = (is_sealed || provider["key_variable"].is_string()).into();
    }
    Ok(())
}

/// Adds `state` and `set_aside` to these provider keys: whether they are in use or set aside.
pub fn put_key_state(tables: &Tables, keys: &mut [&mut Value]) {
    for key in keys {
        let id = key["id"].as_str().and_then(|id| id.parse::<ProviderKeyId>().ok());
        if let (Some(id), Some(members)) = (id, key.as_object_mut()) {
            members.extend(key_state(tables, id));
        }
    }
}

/// Adds `key_state` and `key_set_aside` to these providers, which have `api_key_set`: whether their own key is in use or set
/// aside.
pub fn put_own_key_state(tables: &Tables, providers: &mut [&mut Value]) {
    for provider in providers {
        let id = provider["id"].as_str().and_then(|id| id.parse::<ProviderId>().ok());
        let has_key = provider["api_key_set"] == true;
        if let (Some(id), Some(members)) = (id, provider.as_object_mut()) {
            members.extend(if has_key { own_key_state(tables, id) } else { no_own_key() });
        }
    }
}

/// Adds `in_force` to these prices: whether requests are charged by them at a time.
pub fn put_in_force(tables: &Tables, at: DateTime<Utc>, prices: Vec<&mut Value>) {
    for price in prices {
        price["in_force"] = is_in_force(tables, at, price).unwrap_or(false).into();
    }
}

fn is_in_force(tables: &Tables, at: DateTime<Utc>, price: &Value) -> Option<bool> {
    let id: PriceId = price["id"].as_str()?.parse().ok()?;
    let provider: ProviderId = price["provider_id"].as_str()?.parse().ok()?;
    // Nothing is asked of a provider that has ended, or whose tenant has.
    tables.live_provider(provider)?;
    let in_force = tables.price_in_force(provider, price["model"].as_str()?, at)?;
    Some(in_force.value.price_id == id)
}
