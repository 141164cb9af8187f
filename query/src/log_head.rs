//! `GET /v1/log/head`: where the log stands. Any key may ask.

use axum::Json;
use axum::extract::State;
use events::log::LogQueries;
use events::time::rfc3339;
use http::StatusCode;
use openapi::schema::{self, object};
use openapi::{Answer, Api, Operation};
use projections::views::PATIENCE;
use serde_json::{Value, json};

use crate::QueryState;
use crate::asker::{Asker, QueryString};
use crate::described;
use crate::error::QueryError;
use crate::parameters::Parameters;

pub fn routes() -> Api<QueryState> {
    Api::new().get("/v1/log/head", head, described_head)
}

fn described_head() -> Operation {
    let head = object().required("position", schema::count()).required("recorded_at", described::nullable_time());
    described::question("log_head", "Log", "Where the log stands")
        .says("Any key may ask.")
        .answers(StatusCode::OK, Answer::json("The last durable event; 0 and null for an empty log", head.open()))
}

/// `position` and `recorded_at` of the last durable event; 0 and null for an empty log.
/// Errors: 503 `VIEW_BEHIND` when it does not get to `min_position` in time.
async fn head(State(state): State<QueryState>, _: Asker, query: QueryString) -> Result<Json<Value>, QueryError> {
    let mut parameters = Parameters::parse(&query)?;
    let min_position = parameters.min_position()?;
    parameters.finish()?;
    wait_for(&state.log, min_position).await?;
    let head = state.log.head();
    Ok(Json(json!({ "position": head.position, "recorded_at": head.recorded_at.map(rfc3339) })))
}

/// Waits until the log has got to `position`.
pub async fn wait_for(log: &LogQueries, position: u64) -> Result<(), QueryError> {
    let mut heads = log.watch_head();
    let reached = tokio::time::timeout(PATIENCE, heads.wait_for(|head| head.position >= position)).await;
    match reached {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(QueryError::LogBehind { wanted: position }),
    }
}
