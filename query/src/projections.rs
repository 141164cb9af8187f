//! `GET /v1/projections`: the state of every view. `POST /v1/admin/views/{name}/rebuild`: rebuilds a view while the old
//! rows keep serving. A rebuild leaves no event: the rows come out as they were.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Path;
use events::event::admin::Permission;
use events::refusal::{ErrorCode, Refusal};
use http::StatusCode;
use openapi::schema::{self, object};
use openapi::{Answer, Api, Entrance, Json, Operation, Shape};
use projections::caller::Caller;
use projections::views::{View, ViewStatus};
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::QueryState;
use crate::described;
use crate::error::QueryError;
use crate::page::Page;
use crate::parameters::Parameters;
use crate::query_context::QueryContext;

/// Enough for an empty object.
const BODY_BYTES_MAX: usize = 1024;
const BODY_WAIT_MAX: Duration = Duration::from_secs(10);

pub fn routes() -> Api<QueryState> {
    let rebuilding =
        Api::of(Entrance::Administration).post("/v1/admin/views/{name}/rebuild", rebuild, described_rebuild);
    Api::of(Entrance::Key).get("/v1/projections", list, described_list).merge(rebuilding)
}

fn described_list() -> Operation {
    let list = described::permitted("list_projections", "Log", "The state of the views", Permission::AdminAccess);
    described::answers_page(list, "Every view, on one page", "Projection").defines("Projection", shape())
}

fn described_rebuild() -> Operation {
    let shown = Answer::json("The view, as `GET /v1/projections` shows it", schema::reference("Projection"));
    Operation::new("rebuild_view", "Log", "Rebuild a view while it keeps serving")
        .says("If the view is already being rebuilt, that rebuild is returned.")
        .needs(Permission::AdminAccess)
        .path("name", schema::one_of(View::words()), "Name of the view")
        .refuses(&[ErrorCode::InvalidRequest])
        .answers(StatusCode::ACCEPTED, shown)
        .defines("Projection", shape())
}

/// The schema of a view.
fn shape() -> Shape {
    let rebuild = object()
        .required("state", schema::one_of(["waiting", "building", "done", "failed"]))
        .required("started_at", schema::time())
        .required("finished_at", described::nullable_time())
        .required_each(["position", "target"], schema::count())
        .required("percent", schema::whole(0, 100))
        .required("error", schema::nullable(schema::string()))
        .open();
    object()
        .required("name", schema::string())
        .required_each(["version", "position", "lag_events", "lag_ms"], schema::count())
        .required("rebuilding", schema::boolean())
        .required("rebuild", schema::nullable(rebuild))
        .required("error", schema::nullable(schema::string()))
        .open()
}

/// Every view, with the rebuild in progress, or the last one since the start.
async fn list(mut context: QueryContext) -> Result<Json<Page>, QueryError> {
    let (parameters, _) = context.begin(Permission::AdminAccess)?;
    parameters.finish()?;
    let as_of_position = context.state.log.head().position;
    let items = context.state.views.status().iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
    Ok(Json(Page { as_of_position, items, next_cursor: None }))
}

/// 202 with the view as `GET /v1/projections` shows it. A rebuild that is already in progress is not started again.
///
/// Errors: 403 for a caller that does not reach the platform; 404 for an unknown view; 503 `DRAINING`.
async fn rebuild(
    mut context: QueryContext,
    Path(name): Path<String>,
    body: Body,
) -> Result<(StatusCode, Json<ViewStatus>), QueryError> {
    context.require(Permission::AdminAccess)?;
    // Checked before the body to fail early, and again after it, because rights may have ended meanwhile.
    require_platform(&context.caller)?;
    Parameters::parse(&context.query_string)?.finish()?;
    require_empty(body).await?;
    let _permit = context.state.concurrency.admit_command(context.caller.requester()).await?;
    context.look_up_again()?;
    require_platform(&context.caller)?;
    let view = View::parse(&name).ok_or(QueryError::NotFound("view"))?;
    context.state.views.rebuild(view)?;
    let shown = context.state.views.status().into_iter().find(|status| status.name == view.as_str());
    Ok((StatusCode::ACCEPTED, Json(shown.ok_or(QueryError::NotFound("view"))?)))
}

fn require_platform(caller: &Caller) -> Result<(), Refusal> {
    if caller.reaches_platform() {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::Forbidden, "rebuilding a view needs `admin:access` to the platform"))
}

/// No body, or an object without fields.
async fn require_empty(body: Body) -> Result<(), Refusal> {
    let bytes = timeout(BODY_WAIT_MAX, to_bytes(body, BODY_BYTES_MAX)).await;
    let bytes = bytes.map_err(|_| Refusal::invalid("", "the body did not arrive within 10 s"))?;
    let bytes = bytes.map_err(|_| Refusal::invalid("", "no body is expected"))?;
    if bytes.is_empty() {
        return Ok(());
    }
    let fields: Map<String, Value> =
        serde_json::from_slice(&bytes).map_err(|_| Refusal::invalid("", "no body is expected"))?;
    fields.into_iter().next().map_or(Ok(()), |(field, _)| Err(Refusal::invalid(field, "unknown field")))
}
