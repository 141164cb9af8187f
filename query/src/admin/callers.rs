//! `GET /v1/admin/models/{id}/callers`: who calls a model, to be asked before it is retired. Reads the view `usage_by_hour`.

use axum::extract::Path;
use chrono::TimeDelta;
use events::event::admin::Permission;
use events::ids::{KeyId, ModelId, TenantId, UserId};
use http::StatusCode;
use openapi::schema::{self, Shape, object};
use openapi::{Answer, Api, Entrance, Json, Operation};
use projections::views::View;
use projections::views::usage_by_hour::{Callers, ModelCaller};
use projections::visible::Visible;
use serde::Serialize;
use serde_json::{Value, json};

use super::TAG;
use super::one_model::{count, hours, shown, visible_model};
use crate::QueryState;
use crate::described;
use crate::error::QueryError;
use crate::names::Names;
use crate::page::{LIMIT_DEFAULT, LIMIT_MAX, cursor_of, last_of};
use crate::query_context::QueryContext;

/// The days that are counted if no `from` is given.
const DAYS: i64 = 30;
const LIST: &str = "callers";

pub fn routes() -> Api<QueryState> {
    Api::of(Entrance::Administration).get("/v1/admin/models/{id}/callers", callers, described_callers)
}

fn described_callers() -> Operation {
    let operation = described::permitted("list_model_callers", TAG, "Who calls a model", Permission::AdminAccess)
        .says(
            "By key, those with requests for the model's name in the last 30 days, or between `from` and `to`, which are extended to \
             whole hours. Each administrator sees the callers within reach.",
        )
        .path("id", schema::id(ModelId::PREFIX), "Id of the model")
        .paged(LIMIT_DEFAULT, LIMIT_MAX);
    described::between(operation)
        .answers(StatusCode::OK, Answer::json("The callers", page()))
        .defines("ModelCaller", shape())
}

fn page() -> Shape {
    object()
        .required_as("as_of_position", schema::count(), "The log position that the page reflects")
        .required_as("from", schema::time(), "The first hour that is counted")
        .required_as("to", schema::time(), "The end of the last one")
        .required("items", schema::list(schema::reference("ModelCaller"), None))
        .required("next_cursor", schema::nullable(schema::string()))
        .open()
}

fn shape() -> Shape {
    let name = || schema::nullable(schema::string());
    object()
        .required("tenant_id", described::nullable_id(TenantId::PREFIX))
        .required("tenant_name", name())
        .required("user_id", described::nullable_id(UserId::PREFIX))
        .required("user_name", name())
        .required("key_id", described::nullable_id(KeyId::PREFIX))
        .required("key_name", name())
        .required_as("requests", schema::count(), "Admitted requests, with those that failed")
        .required("failed", schema::count())
        .required_as("refused", schema::count(), "Refused requests, such as those after it was retired")
        .required_as("last_hour", schema::time(), "The hour of its last request")
        .open()
}

#[derive(Debug, Serialize)]
struct CallersPage {
    as_of_position: u64,
    from: String,
    to: String,
    items: Vec<Value>,
    next_cursor: Option<String>,
}

/// Errors: 404 for a model that the caller does not see; 400 for a range that ends before it begins.
async fn callers(mut context: QueryContext, Path(id): Path<String>) -> Result<Json<CallersPage>, QueryError> {
    let (mut parameters, min_position) = context.begin(Permission::AdminAccess)?;
    let hours = hours(&mut parameters, context.state.clock.now(), TimeDelta::days(DAYS))?;
    let limit = parameters.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let after = parameters.text("cursor").map(|text| last_of(LIST, &text)).transpose()?;
    parameters.finish()?;
    context.wait_for(View::UsageByHour, min_position).await?;
    let query = context.admit().await?;
    let model = visible_model(&query, &id).ok_or(QueryError::NotFound("model"))?;
    let question = Callers {
        visible: Visible::for_caller(&query.caller),
        model: model.name.clone(),
        tenant: model.tenant_id.map(|tenant| tenant.to_string()),
        hours,
        after,
        limit,
    };
    let answer = query.ask(question).await?;
    let mut rows = answer.value;
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| has_more).map(|last| cursor_of(LIST, &last.key)).transpose()?;
    let mut items: Vec<Value> = rows.iter().map(item).collect();
    Names::put_beside(&query, items.iter_mut().collect(), &["tenant", "user", "key"]).await?;
    let [from, to] = [hours.from, hours.to].map(shown);
    Ok(Json(CallersPage { as_of_position: answer.position, from, to, items, next_cursor }))
}

fn item(caller: &ModelCaller) -> Value {
    let [_, tenant, user, key] = &caller.key;
    let known = |id: &String| (!id.is_empty()).then(|| id.clone());
    json!({
        "tenant_id": known(tenant),
        "user_id": known(user),
        "key_id": known(key),
        "requests": count(caller.requests),
        "failed": count(caller.failed),
        "refused": count(caller.refused),
        "last_hour": shown(caller.last_hour),
    })
}
