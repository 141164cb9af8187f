//! The field `api_key_set` of a provider: whether it has an API key, which no event says.

use serde_json::Value;

use crate::error::QueryError;
use crate::query_context::PermittedQuery;

/// Adds the field to these providers.
pub async fn complete(query: &PermittedQuery, providers: Vec<&mut Value>) -> Result<(), QueryError> {
    let ids = providers.iter().filter_map(|provider| provider["id"].as_str().map(str::to_owned)).collect();
    let with_secret = query.read(move |reader| reader.subjects_with_secret(ids)).await?;
    for provider in providers {
        let is_set = provider["id"].as_str().is_some_and(|id| with_secret.contains(id));
        provider["api_key_set"] = is_set.into();
    }
    Ok(())
}
