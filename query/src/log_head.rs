//! `GET /v1/log/head`: the last position of the log, for any key.

use events::time::rfc3339;
use http::StatusCode;
use openapi::schema::{self, object};
use openapi::{Answer, Api, Entrance, Json, Operation};
use serde_json::{Value, json};

use crate::QueryState;
use crate::described;
use crate::error::QueryError;
use crate::query_context::QueryContext;

pub fn routes() -> Api<QueryState> {
    Api::of(Entrance::Key).get("/v1/log/head", head, described_head)
}

fn described_head() -> Operation {
    let head = object().required("position", schema::count()).required("recorded_at", described::nullable_time());
    described::question("log_head", "Log", "The last position of the log")
        .says("Any key may call this.")
        .answers(StatusCode::OK, Answer::json("The last durable event; 0 and null for an empty log", head.open()))
}

async fn head(context: QueryContext) -> Result<Json<Value>, QueryError> {
    let (parameters, _) = context.parameters()?;
    parameters.finish()?;
    let head = context.state.log.head();
    Ok(Json(json!({ "position": head.position, "recorded_at": head.recorded_at.map(rfc3339) })))
}
