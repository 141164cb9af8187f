//! Fields of a key from outside of the catalogue: its owners' names, the public part of its secrets, and its last use. The
//! last use comes from this process's memory, and for requests before its start or on other nodes from the view `inferences`.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use events::ids::KeyId;
use events::time::rfc3339;
use projections::views::ViewsError;
use projections::views::inferences::LastRequests;
use serde_json::Value;

use crate::error::QueryError;
use crate::names::Names;
use crate::query_context::PermittedQuery;

/// Adds the fields to these keys.
pub async fn complete(query: &PermittedQuery, mut keys: Vec<&mut Value>) -> Result<(), QueryError> {
    let ids: Vec<KeyId> = keys.iter().filter_map(|key| key["id"].as_str()?.parse().ok()).collect();
    let last_inferences = last_inferences(query, ids).await?;
    for key in &mut keys {
        let Some(id) = key["id"].as_str().and_then(|id| id.parse::<KeyId>().ok()) else { continue };
        // The memory has only the newest use, whatever the position.
        let in_memory = query.state.last_uses.of(id).filter(|_| !query.is_past());
        let last = in_memory.max(last_inferences.get(&id).copied());
        key["prefix"] = id.public_part().into();
        key["last_used_at"] = last.map(rfc3339).into();
    }
    Names::put_beside(query, keys, &["tenant", "user"]).await
}

/// When each of these keys last sent an inference request, according to the view. Empty while the view cannot be read, so
/// that keys are still shown.
async fn last_inferences(
    query: &PermittedQuery,
    keys: Vec<KeyId>,
) -> Result<HashMap<KeyId, DateTime<Utc>>, QueryError> {
    match query.ask(LastRequests { keys }).await {
        Ok(found) => Ok(found.value),
        Err(ViewsError::Rebuilding(_)) => Ok(HashMap::new()),
        Err(error) => Err(error.into()),
    }
}
