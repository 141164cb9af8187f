//! `GET /v1/projections`: where every view stands.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use events::event::admin::Permission;
use serde_json::Value;

use crate::QueryState;
use crate::asker::{Asker, QueryString};
use crate::error::QueryError;
use crate::log_head::wait_for;
use crate::page::Page;
use crate::parameters::Parameters;

pub fn routes() -> Router<QueryState> {
    Router::new().route("/v1/projections", get(list))
}

/// Per view: `name`, `version`, `position`, `lag_events`, `lag_ms`, `rebuilding` and `error`.
/// Errors: 403 without `admin:access`; 503 `VIEW_BEHIND` when the log does not get to `min_position` in time.
async fn list(State(state): State<QueryState>, asker: Asker, query: QueryString) -> Result<Json<Page>, QueryError> {
    asker.require(Permission::AdminAccess)?;
    let mut parameters = Parameters::parse(&query)?;
    let min_position = parameters.min_position()?;
    parameters.finish()?;
    wait_for(&state.log, min_position).await?;
    let as_of = state.log.head().position;
    let items: Result<Vec<Value>, _> = state.views.status().iter().map(serde_json::to_value).collect();
    Ok(Page::whole(as_of, items.map_err(|error| QueryError::Answer(error.to_string()))?))
}
