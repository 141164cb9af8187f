//! `GET /v1/usage`: requests, tokens, cost and latencies, grouped and filtered by any dimension. Reads the view
//! `usage_by_hour`; counts whole hours: `from` is rounded down to one, `to` up.

mod question;
mod sums;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use events::event::admin::Permission;
use projections::views::View;

use crate::QueryState;
use crate::asker::{Asker, QueryString};
use crate::error::QueryError;
use crate::page::Page;
use crate::parameters::Parameters;
use crate::visible::Visible;
use question::Question;

pub fn routes() -> Router<QueryState> {
    Router::new().route("/v1/usage", get(usage))
}

/// A row a group; times first, then names in the order of their texts. `requests` counts what was admitted, `refused`
/// is not among them, `failed` is. A dimension that is not known (a request under way has no backend yet) is null.
/// Errors: 400 for what is no parameter; 403 without `usage:read`; 503 `VIEW_BEHIND`.
async fn usage(State(state): State<QueryState>, asker: Asker, query: QueryString) -> Result<Json<Page>, QueryError> {
    asker.require(Permission::UsageRead)?;
    let mut parameters = Parameters::parse(&query)?;
    let min_position = parameters.min_position()?;
    let question = Question::take(parameters)?;
    state.views.wait_for(View::UsageByHour, min_position).await?;
    let (visible, limits) = (Visible::to(&asker), question.limits);
    let found = state.views.read(View::UsageByHour, move |db| sums::of(db, visible, &question)).await?;
    let mut items = found.value;
    let more = items.len() > limits.limit;
    items.truncate(limits.limit);
    let next_cursor = more.then(|| limits.next().to_string());
    Ok(Json(Page { as_of_position: found.position, items, next_cursor }))
}
