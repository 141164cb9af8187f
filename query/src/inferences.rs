//! `GET /v1/inferences` and `/v1/inferences/{request_id}`: one request's whole life, from admission or refusal to the
//! end of its hold. Reads the view `inferences`.

mod life;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use events::event::admin::Permission;
use events::ids::{KeyId, PartnerId, RequestId, TenantId, UserId};
use events::wire::Refusal;
use projections::views::View;
use serde_json::Value;

use crate::QueryState;
use crate::asker::{Asker, QueryString};
use crate::error::QueryError;
use crate::page::{Cut, Page};
use crate::parameters::Parameters;
use crate::visible::Visible;

const STATUSES: [&str; 5] = ["admitted", "refused", "completed", "failed", "aborted"];

pub fn routes() -> Router<QueryState> {
    Router::new().route("/v1/inferences", get(list)).route("/v1/inferences/{request_id}", get(one))
}

/// What is asked of the requests. Filters are `None` where everything counts; times in microseconds since 1970.
#[derive(Clone, Debug)]
struct Filter {
    from: Option<i64>,
    to: Option<i64>,
    partner: Option<String>,
    tenant: Option<String>,
    user: Option<String>,
    key: Option<String>,
    model: Option<String>,
    provider: Option<String>,
    backend: Option<String>,
    status: Option<String>,
    cut: Cut,
}

/// Newest first. Parameters: `from`, `to`, `partner`, `tenant`, `user`, `key`, `model`, `provider`, `backend`,
/// `status`, `limit`, `cursor`, `min_position`.
/// Errors: 403 without `usage:read`; 503 `VIEW_BEHIND`.
async fn list(State(state): State<QueryState>, asker: Asker, query: QueryString) -> Result<Json<Page>, QueryError> {
    asker.require(Permission::UsageRead)?;
    let mut parameters = Parameters::parse(&query)?;
    let min_position = parameters.min_position()?;
    let filter = Filter::take(parameters)?;
    state.views.wait_for(View::Inferences, min_position).await?;
    let (visible, cut) = (Visible::to(&asker), filter.cut);
    let found = state.views.read(View::Inferences, move |db| life::list(db, visible, &filter)).await?;
    Ok(Page::cut(found.position, found.value, cut))
}

/// Parameter: `min_position`.
/// Errors: 403 without `usage:read`; 404 for what the caller cannot see; 503 `VIEW_BEHIND`.
async fn one(
    State(state): State<QueryState>,
    asker: Asker,
    Path(request): Path<String>,
    query: QueryString,
) -> Result<Json<Value>, QueryError> {
    asker.require(Permission::UsageRead)?;
    let mut parameters = Parameters::parse(&query)?;
    let min_position = parameters.min_position()?;
    parameters.finish()?;
    let request: RequestId = request.parse().map_err(|_| QueryError::NotFound("request"))?;
    state.views.wait_for(View::Inferences, min_position).await?;
    let visible = Visible::to(&asker);
    let found = state.views.read(View::Inferences, move |db| life::one(db, visible, request)).await?;
    found.value.map(Json).ok_or(QueryError::NotFound("request"))
}

impl Filter {
    fn take(mut parameters: Parameters) -> Result<Self, Refusal> {
        let filter = Self {
            from: parameters.time("from")?.map(|at| at.timestamp_micros()),
            to: parameters.time("to")?.map(|at| at.timestamp_micros()),
            partner: parameters.id::<PartnerId>("partner")?,
            tenant: parameters.id::<TenantId>("tenant")?,
            user: parameters.id::<UserId>("user")?,
            key: parameters.id::<KeyId>("key")?,
            model: parameters.text("model"),
            provider: parameters.text("provider"),
            backend: parameters.text("backend"),
            status: status(&mut parameters)?,
            cut: Cut::take(&mut parameters)?,
        };
        parameters.finish()?;
        Ok(filter)
    }
}

fn status(parameters: &mut Parameters) -> Result<Option<String>, Refusal> {
    match parameters.text("status") {
        Some(status) if !STATUSES.contains(&status.as_str()) => {
            Err(Refusal::invalid("status", format!("must be one of {}", STATUSES.join(", "))))
        }
        status => Ok(status),
    }
}
