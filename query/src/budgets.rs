//! `GET /v1/budgets` and `/v1/budgets/{id}`: what is left of budgets in their current windows. Reads the view `budgets`; no
//! decision depends on it.

use axum::extract::Path;
use events::event::admin::Permission;
use events::ids::BudgetId;
use events::time::rfc3339;
use http::{HeaderMap, StatusCode};
use openapi::schema::{self, object};
use openapi::{Answer, Api, Entrance, Json, Operation, Shape, refusals};
use projections::views::budgets::{BudgetList, BudgetStatus, OneBudget};
use serde_json::Value;

use crate::QueryState;
use crate::described;
use crate::error::QueryError;
use crate::lookup;
use crate::names::name_scopes;
use crate::page::{LIMIT_DEFAULT, LIMIT_MAX, Page, PageRequest};
use crate::query_context::QueryContext;

pub fn routes() -> Api<QueryState> {
    Api::of(Entrance::Key).get("/v1/budgets", list, described_list).get("/v1/budgets/{id}", one, described_one)
}

const TAG: &str = "Usage";

fn described_list() -> Operation {
    let list = described::permitted("list_budget_standings", TAG, "What is left of budgets", Permission::UsageRead);
    let list = described::as_of(list).paged(LIMIT_DEFAULT, LIMIT_MAX).query(
        "include_ended",
        schema::boolean(),
        "Include closed ones",
    );
    described::answers_page(list, "Newest first", "BudgetStanding").defines("BudgetStanding", shape())
}

fn described_one() -> Operation {
    let one = described::permitted("get_budget_standing", TAG, "What is left of a budget", Permission::UsageRead);
    described::as_of(one)
        .path("id", schema::id(BudgetId::PREFIX), "Id of the budget")
        .answers(
            StatusCode::OK,
            described::as_of_answer(Answer::json(
                "The budget in its current window",
                schema::reference("BudgetStanding"),
            )),
        )
        .defines("BudgetStanding", shape())
}

/// The schema of a budget with what is left of it.
pub fn shape() -> Shape {
    object()
        .required("id", schema::id(BudgetId::PREFIX))
        .required("scope", refusals::scope())
        .optional_as("scope_name", schema::nullable(schema::string()), "Null if you may not see it")
        .required("limit_usd", schema::money())
        .required("period", schema::one_of(["total", "day", "week", "month"]))
        .required("alert_at", schema::list(schema::string(), None))
        .required("when_short", schema::one_of(["refuse", "shrink"]))
        .required("enforcement", schema::one_of(["hard", "observe"]))
        .required_each(["settled_usd", "held_usd", "remaining_usd"], schema::money())
        .optional_as(
            "own_usd",
            schema::money(),
            "What tenants' own providers cost, which is not spent from this budget",
        )
        .required_each(["period_start", "resets_at", "ended_at"], described::nullable_time())
        .open()
}

/// Newest first; closed ones only with `include_ended=true`.
async fn list(mut context: QueryContext) -> Result<Json<Page>, QueryError> {
    let (mut parameters, min_position) = context.begin_as_of(Permission::UsageRead).await?;
    let requested = PageRequest::take(&mut parameters, "standings")?;
    let include_ended = parameters.flag("include_ended")?;
    parameters.finish()?;
    let at = context.at().await?;
    let list = |visible| BudgetList { visible, page: requested.bounds, include_ended, at };
    let (query, answer) = context.ask(min_position, list).await?;
    let (rows, next_cursor) = requested.page(answer.value, None, |status| status.position);
    let mut items: Vec<Value> = rows.into_iter().map(item).collect();
    name_scopes(&query, items.iter_mut().collect()).await?;
    Ok(Json(Page { as_of_position: answer.position, items, next_cursor }))
}

/// Errors: 404 if the caller cannot see it.
async fn one(mut context: QueryContext, Path(id): Path<String>) -> Result<(HeaderMap, Json<Value>), QueryError> {
    let (parameters, min_position) = context.begin_as_of(Permission::UsageRead).await?;
    parameters.finish()?;
    let budget: BudgetId = id.parse().map_err(|_| QueryError::NotFound("budget"))?;
    let at = context.at().await?;
    let found = lookup::find(&mut context, min_position, |visible| OneBudget { visible, budget, at }).await?;
    let (query, budget) = found.ok_or(QueryError::NotFound("budget"))?;
    let mut budget = item(budget);
    name_scopes(&query, vec![&mut budget]).await?;
    Ok((query.as_of_header(), Json(budget)))
}

/// A budget with what is left of it, as JSON.
pub fn item(status: BudgetStatus) -> Value {
    let mut item = status.body;
    item["settled_usd"] = status.settled.to_string().into();
    item["held_usd"] = status.held.to_string().into();
    item["remaining_usd"] = status.remaining.to_string().into();
    item["own_usd"] = status.own.to_string().into();
    item["period_start"] = status.window.start.map(rfc3339).into();
    item["resets_at"] = status.window.end.map(rfc3339).into();
    item["ended_at"] = status.ended_at.map(rfc3339).into();
    item
}
