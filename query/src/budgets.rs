//! `GET /v1/budgets` and `/v1/budgets/{id}`: what every budget has left in its present window. Reads the view
//! `budgets`; nothing is decided from it.

use axum::Json;
use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use events::event::admin::Permission;
use events::ids::BudgetId;
use events::money::{NanoUsd, NanoUsdSum};
use events::time::{Period, from_micros, rfc3339};
use http::StatusCode;
use openapi::schema::{self, object};
use openapi::{Answer, Api, Operation, Shape, refusals};
use projections::views::exact::Exact;
use projections::views::{View, ViewsError};
use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde_json::Value;

use crate::QueryState;
use crate::asker::{Asker, QueryString};
use crate::described;
use crate::error::QueryError;
use crate::found::found;
use crate::names::name_scopes;
use crate::page::{Cut, LIMIT_DEFAULT, LIMIT_MAX, Page, Placed};
use crate::parameters::Parameters;
use crate::visible::Visible;

const LIST: &str = include_str!("budgets/list.sql");
const ONE: &str = include_str!("budgets/one.sql");
const WINDOW: &str = include_str!("budgets/window.sql");

pub fn routes() -> Api<QueryState> {
    Api::new().get("/v1/budgets", list, described_list).get("/v1/budgets/{id}", one, described_one)
}

const TAG: &str = "Usage";

fn described_list() -> Operation {
    let list = described::permitted("list_budget_standings", TAG, "What budgets have left", Permission::UsageRead);
    let list = list.paged(LIMIT_DEFAULT, LIMIT_MAX).query("include_ended", schema::boolean(), "Closed ones as well");
    described::answers_page(list, "Newest first", "BudgetStanding").defines("BudgetStanding", shape())
}

fn described_one() -> Operation {
    described::permitted("get_budget_standing", TAG, "What a budget has left", Permission::UsageRead)
        .path("id", schema::id(BudgetId::PREFIX), "Of the budget")
        .answers(StatusCode::OK, Answer::json("The budget in its present window", schema::reference("BudgetStanding")))
        .defines("BudgetStanding", shape())
}

/// A budget with what it has left.
pub fn shape() -> Shape {
    object()
        .required("id", schema::id(BudgetId::PREFIX))
        .required("scope", refusals::scope())
        .optional("scope_name", schema::described(schema::nullable(schema::string()), "Null where you may not see it"))
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

/// Newest first, closed ones only with `include_ended=true`. Parameters: `limit`, `cursor`, `min_position`.
/// Errors: 403 without `usage:read`; 503 `VIEW_BEHIND`.
async fn list(State(state): State<QueryState>, mut asker: Asker, query: QueryString) -> Result<Json<Page>, QueryError> {
    asker.require(Permission::UsageRead)?;
    let mut parameters = Parameters::parse(&query)?;
    let (min_position, cut) = (parameters.min_position(&state.log)?, Cut::take(&mut parameters, "standings")?);
    let include_ended = parameters.flag("include_ended")?;
    parameters.finish()?;
    state.views.wait_for(View::Budgets, min_position).await?;
    let permit = state.admit(&mut asker).await?;
    let (now, visible) = (state.clock.now(), Visible::to(&asker));
    let read = move |db: &Connection| standings(db, visible, now, cut, include_ended);
    let found = state.views.read(&permit, View::Budgets, read).await?;
    let mut budgets = found.value;
    name_scopes(&state, &permit, &asker, budgets.iter_mut().map(|budget| &mut budget.item).collect()).await?;
    Ok(Page::cut(found.position, budgets, cut))
}

/// Parameter: `min_position`. Errors: 403 without `usage:read`; 404 for what the caller cannot see; 503 `VIEW_BEHIND`.
async fn one(
    State(state): State<QueryState>,
    mut asker: Asker,
    Path(id): Path<String>,
    query: QueryString,
) -> Result<Json<Value>, QueryError> {
    asker.require(Permission::UsageRead)?;
    let mut parameters = Parameters::parse(&query)?;
    let min_position = parameters.min_position(&state.log)?;
    parameters.finish()?;
    let id: BudgetId = id.parse().map_err(|_| QueryError::NotFound("budget"))?;
    state.views.wait_for(View::Budgets, min_position).await?;
    let now = state.clock.now();
    let found = found(&state, &mut asker, View::Budgets, move |db, visible| standing(db, visible, now, id)).await?;
    let mut budget = found.ok_or(QueryError::NotFound("budget"))?.item;
    let permit = state.admit(&mut asker).await?;
    name_scopes(&state, &permit, &asker, vec![&mut budget]).await?;
    Ok(Json(budget))
}

fn standings(
    db: &Connection,
    visible: Visible,
    now: DateTime<Utc>,
    cut: Cut,
    include_ended: bool,
) -> Result<Vec<Placed>, ViewsError> {
    let mut statement = db.prepare_cached(LIST)?;
    let parameters = named_params! {
        ":before": cut.before, ":include_ended": include_ended, ":rows": cut.rows(),
        ":visible_partner": visible.partner(), ":visible_tenant": visible.tenant(),
    };
    let budgets: Vec<BudgetRow> = statement.query_map(parameters, BudgetRow::read)?.collect::<Result<_, _>>()?;
    budgets.iter().map(|budget| budget.standing(db, now)).collect()
}

/// What these have left, in their order; what is not in the view is left out.
pub fn standings_of(db: &Connection, ids: Vec<BudgetId>, now: DateTime<Utc>) -> Result<Vec<Value>, ViewsError> {
    let each = ids.into_iter().map(|id| Ok(standing(db, Visible::Platform, now, id)?.map(|placed| placed.item)));
    each.filter_map(Result::transpose).collect()
}

fn standing(db: &Connection, visible: Visible, now: DateTime<Utc>, id: BudgetId) -> Result<Option<Placed>, ViewsError> {
    let parameters = named_params! {
        ":budget": id.to_string(), ":visible_partner": visible.partner(), ":visible_tenant": visible.tenant(),
    };
    let budget = db.prepare_cached(ONE)?.query_row(parameters, BudgetRow::read).optional()?;
    budget.map(|budget| budget.standing(db, now)).transpose()
}

struct BudgetRow {
    id: String,
    body: String,
    limit: NanoUsd,
    period: String,
    opened_position: u64,
    closed_at: Option<i64>,
}

impl BudgetRow {
    fn read(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            id: row.get(0)?,
            body: row.get(1)?,
            limit: NanoUsd::new(row.get(2)?),
            period: row.get(3)?,
            opened_position: row.get(4)?,
            closed_at: row.get(5)?,
        })
    }

    /// The budget with what it has left in the window that `now` lies in. A window that nothing was held in has no row.
    fn standing(&self, db: &Connection, now: DateTime<Utc>) -> Result<Placed, ViewsError> {
        let period: Period = serde_json::from_value(Value::from(self.period.as_str()))?;
        let window = period.window(now);
        let start = window.start.map_or(0, |start| start.timestamp_micros());
        let sums =
            db.prepare_cached(WINDOW)?.query_row((&self.id, start), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let (Exact(settled), Exact(held)) = sums.unwrap_or_default();
        let mut item: Value = serde_json::from_str(&self.body)?;
        if let Some(fields) = item.as_object_mut() {
            let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
            put("settled_usd", NanoUsdSum::new(settled).to_string().into());
            put("held_usd", NanoUsdSum::new(held).to_string().into());
            put("remaining_usd", remaining(self.limit, settled, held).to_string().into());
            put("period_start", window.start.map(rfc3339).into());
            put("resets_at", window.end.map(rfc3339).into());
            put("ended_at", self.closed_at.map(|at| rfc3339(from_micros(at))).into());
        }
        Ok(Placed { position: self.opened_position, item })
    }
}

/// What a hold could still take; never below zero, also where a lowered limit or an overrun went past it.
fn remaining(limit: NanoUsd, settled: i128, held: i128) -> NanoUsdSum {
    NanoUsdSum::new(i128::from(limit.nanos()).saturating_sub(settled).saturating_sub(held).max(0))
}
