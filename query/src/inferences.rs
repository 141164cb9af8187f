//! `GET /v1/inferences` and `/v1/inferences/{request_id}`: one request's whole life, from admission or refusal to the
//! end of its hold. Reads the view `inferences`, which says where in the log its events stand, and then these.

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
use crate::page::{Cut, Page, Placed};
use crate::parameters::Parameters;
use crate::visible::Visible;
use life::{Facts, Life};

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
    let lives = found.value;
    let facts = facts(&state, &lives).await?;
    let mut placed = Vec::with_capacity(lives.len());
    for life in &lives {
        placed.push(Placed { position: life.position, item: shown(life, &facts)? });
    }
    Ok(Page::cut(found.position, placed, cut))
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
    let lives = [found.value.ok_or(QueryError::NotFound("request"))?];
    let facts = facts(&state, &lives).await?;
    let [life] = &lives;
    Ok(Json(shown(life, &facts)?))
}

/// The events of these lives, as far as the view had got: one that came later is at no position that the view names.
async fn facts(state: &QueryState, lives: &[Life]) -> Result<Facts, QueryError> {
    let positions: Vec<u64> = lives.iter().flat_map(Life::positions).collect();
    Ok(state.log.read(move |reader| reader.at(&positions)).await?)
}

fn shown(life: &Life, facts: &Facts) -> Result<Value, QueryError> {
    let json = life.json(facts).map_err(|error| QueryError::Answer(error.to_string()))?;
    json.ok_or_else(|| QueryError::Answer(format!("the log has no event at {}", life.position)))
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
