//! What a key shows of itself besides its body: whose it is by name, the part of its secrets that is no secret, and when it
//! was last used. That is as fresh as this process' memory for any request, and as the view `inferences` for what was
//! before its start or came by another node.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use events::concurrency::QueryPermit;
use events::ids::KeyId;
use events::time::rfc3339;
use projections::views::ViewsError;
use projections::views::inferences::LastUses;
use serde_json::Value;

use crate::QueryState;
use crate::error::QueryError;
use crate::names::Names;
use crate::query_caller::QueryCaller;

/// Puts it into these keys.
pub async fn complete(
    state: &QueryState,
    permit: &QueryPermit,
    query_caller: &QueryCaller,
    keys: Vec<&mut Value>,
) -> Result<(), QueryError> {
    let text = |key: &Value, field: &str| key[field].as_str().map(str::to_owned);
    let ids: Vec<KeyId> = keys.iter().filter_map(|key| key["id"].as_str()?.parse().ok()).collect();
    let owners = keys.iter().flat_map(|key| ["tenant_id", "user_id"].into_iter().filter_map(|field| text(key, field)));
    let names = Names::find(state, permit, query_caller, owners.collect()).await?;
    let asked_for_models = asked_for_models(state, permit, ids).await?;
    for key in keys {
        let Some(id) = key["id"].as_str().and_then(|id| id.parse::<KeyId>().ok()) else { continue };
        let last = state.last_uses.of(id).max(asked_for_models.get(&id).copied());
        key["prefix"] = id.public_part().into();
        key["last_used_at"] = last.map(rfc3339).into();
        for (owner, field) in [("tenant_id", "tenant_name"), ("user_id", "user_name")] {
            let name = text(key, owner).and_then(|owner| names.get(&owner).map(str::to_owned));
            key[field] = name.into();
        }
    }
    Ok(())
}

/// When each of these keys last asked for a model, as the view knows it. Nothing while it has no rows that can be read:
/// keys have to be shown all the same.
async fn asked_for_models(
    state: &QueryState,
    permit: &QueryPermit,
    keys: Vec<KeyId>,
) -> Result<HashMap<KeyId, DateTime<Utc>>, QueryError> {
    match state.views.ask(permit, LastUses { keys }).await {
        Ok(found) => Ok(found.value),
        Err(ViewsError::Rebuilding(_)) => Ok(HashMap::new()),
        Err(error) => Err(error.into()),
    }
}
