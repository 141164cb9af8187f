//! `GET /v1/budgets` and `/v1/budgets/{id}`: what is left of budgets in their current windows. Reads the view `budgets`; no
//! decision depends on it.

use axum::extract::{Path, State};
use events::event::admin::Permission;
use events::ids::BudgetId;
use events::time::rfc3339;
use http::StatusCode;
use openapi::schema::{self, object};
use openapi::{Answer, Api, Entrance, Json, Operation, Shape, refusals};
use projections::views::View;
use projections::views::budgets::{BudgetStatus, List, One};
use serde_json::Value;

use crate::QueryState;
use crate::described;
use crate::error::QueryError;
use crate::lookup;
use crate::names::name_scopes;
use crate::page::{LIMIT_DEFAULT, LIMIT_MAX, Page, PageRequest, Positioned};
use crate::parameters::QueryString;
use crate::query_caller::QueryCaller;

pub fn routes() -> Api<QueryState> {
    Api::of(Entrance::Key).get("/v1/budgets", list, described_list).get("/v1/budgets/{id}", one, described_one)
}

const TAG: &str = "Usage";

fn described_list() -> Operation {
    let list = described::permitted("list_budget_standings", TAG, "What is left of budgets", Permission::UsageRead);
    let list = list.paged(LIMIT_DEFAULT, LIMIT_MAX).query("include_ended", schema::boolean(), "Include closed ones");
    described::answers_page(list, "Newest first", "BudgetStanding").defines("BudgetStanding", shape())
}

fn described_one() -> Operation {
    described::permitted("get_budget_standing", TAG, "What is left of a budget", Permission::UsageRead)
        .path("id", schema::id(BudgetId::PREFIX), "Id of the budget")
        .answers(StatusCode::OK, Answer::json("The budget in its current window", schema::reference("BudgetStanding")))
        .defines("BudgetStanding", shape())
}

/// The schema of a budget with what is left of it.
pub fn shape() -> Shape {
    object()
        .required("id", schema::id(BudgetId::PREFIX))
        .required("scope", refusals::scope())
        .optional("scope_name", schema::described(schema::nullable(schema::string()), "Null if you may not see it"))
        .required("limit_usd", schema::money())
        .required("period", schema::one_of(["total", "day", "week", "month"]))
        .required("alert_at", schema::list(schema::string(), None))
        .required("when_short", schema::one_of(["refuse", "shrink"]))
        .required("enforcement", schema::one_of(["hard", "observe"]))
        .required("settled_usd", schema::money())
        .required("held_usd", schema::money())
        .required("remaining_usd", schema::money())
        .required("period_start", described::nullable_time())
        .required("resets_at", described::nullable_time())
        .required("ended_at", described::nullable_time())
        .open()
}

/// Newest first; closed ones only with `include_ended=true`.
async fn list(
    State(state): State<QueryState>,
    mut query_caller: QueryCaller,
    query: QueryString,
) -> Result<Json<Page>, QueryError> {
    let (mut parameters, min_position) = query_caller.begin(Permission::UsageRead, &query, &state.log)?;
    let requested = PageRequest::take(&mut parameters, "standings")?;
    let include_ended = parameters.flag("include_ended")?;
    parameters.finish()?;
    state.views.wait_for(View::Budgets, min_position).await?;
    let list = |visible| List { visible, page: requested.bounds(), include_ended, at: state.clock.now() };
    let (permit, answer) = state.ask(&mut query_caller, list).await?;
    let positioned = |status: BudgetStatus| Positioned { position: status.position, item: item(status) };
    let mut budgets: Vec<Positioned> = answer.value.into_iter().map(positioned).collect();
    name_scopes(&state, &permit, &query_caller, budgets.iter_mut().map(|budget| &mut budget.item).collect()).await?;
    Ok(Page::cut(answer.position, budgets, requested))
}

/// Errors: 404 if the caller cannot see it.
async fn one(
    State(state): State<QueryState>,
    mut query_caller: QueryCaller,
    Path(id): Path<String>,
    query: QueryString,
) -> Result<Json<Value>, QueryError> {
    let (parameters, min_position) = query_caller.begin(Permission::UsageRead, &query, &state.log)?;
    parameters.finish()?;
    let budget: BudgetId = id.parse().map_err(|_| QueryError::NotFound("budget"))?;
    state.views.wait_for(View::Budgets, min_position).await?;
    let at = state.clock.now();
    let found = lookup::find(&state, &mut query_caller, View::Budgets, |visible| One { visible, budget, at }).await?;
    let (permit, budget) = found.ok_or(QueryError::NotFound("budget"))?;
    let mut budget = item(budget);
    name_scopes(&state, &permit, &query_caller, vec![&mut budget]).await?;
    Ok(Json(budget))
}

/// A budget with what is left of it, as JSON.
pub fn item(status: BudgetStatus) -> Value {
    let mut item = status.body;
    if let Some(fields) = item.as_object_mut() {
        let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        put("settled_usd", status.settled.to_string().into());
        put("held_usd", status.held.to_string().into());
        put("remaining_usd", status.remaining.to_string().into());
        put("period_start", status.window.start.map(rfc3339).into());
        put("resets_at", status.window.end.map(rfc3339).into());
        put("ended_at", status.ended_at.map(rfc3339).into());
    }
    item
}
