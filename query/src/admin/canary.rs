//! `GET /v1/admin/models/{id}/canary`: how the canary of a model does beside its other targets. Reads the view `usage_by_hour`.

use std::sync::Arc;

use axum::extract::Path;
use chrono::TimeDelta;
use events::event::admin::{Canary, CanaryBy, Model, Permission};
use events::ids::{ModelId, ProviderId};
use events::money::NanoUsdSum;
use http::StatusCode;
use openapi::schema::{self, Shape, object};
use openapi::{Answer, Api, Entrance, Json, Operation};
use projections::tables::Tables;
use projections::views::usage_by_hour::{
    COUNTS, Dimension, FAILED, GroupKey, REQUESTS, Range, Selection, Span, Sums, Totals, Usage,
};
use projections::views::{RequestFilter, View};
use projections::visible::Visible;
use serde_json::{Value, json};

use super::TAG;
use super::one_model::{count, hours, shown, visible_model};
use crate::QueryState;
use crate::described;
use crate::error::QueryError;
use crate::query_context::QueryContext;

/// The hours that are counted if no `from` is given.
const HOURS: i64 = 24;
/// More than a model's targets: it may have had others before.
const BACKENDS_MAX: usize = 1000;

pub fn routes() -> Api<QueryState> {
    Api::of(Entrance::Administration).get("/v1/admin/models/{id}/canary", canary, described_canary)
}

fn described_canary() -> Operation {
    let operation =
        described::permitted("compare_model_canary", TAG, "How the canary of a model does", Permission::AdminAccess)
            .says(
                "By the backend that answered or failed at last, the requests for the model's name in the last 24 hours, or between `from` \
                 and `to`, which are extended to whole hours. Each administrator sees the requests within reach.",
            )
            .path("id", schema::id(ModelId::PREFIX), "Id of the model");
    described::between(operation)
        .answers(StatusCode::OK, Answer::json("The backends", schema::reference("CanaryComparison")))
        .defines("CanaryComparison", shape())
}

fn shape() -> Shape {
    let canary = object()
        .required("provider_id", schema::id(ProviderId::PREFIX))
        .required("model", schema::string())
        .required("share_percent", schema::count())
        .required("by", schema::one_of(CanaryBy::words()))
        .open();
    let item = object()
        .required_as(
            "backend",
            schema::nullable(schema::string()),
            "As in usage; null for requests that no backend has served yet",
        )
        .required_as(
            "is_canary",
            schema::nullable(schema::boolean()),
            "Whether it is the canary of now; null if you do not see the model",
        )
        .required_each(["requests", "failed"], schema::count())
        .required("cost_usd", schema::money())
        .required_each(["input_tokens", "output_tokens"], schema::count())
        .required_each(["latency_ms_p50", "latency_ms_p95"], schema::nullable(schema::count()))
        .open();
    object()
        .required_as("as_of_position", schema::count(), "The log position that the answer reflects")
        .required_as("from", schema::time(), "The first hour that is counted")
        .required_as("to", schema::time(), "The end of the last one")
        .required_as("is_visible", schema::boolean(), "Whether you see the model")
        .required_as(
            "canary",
            schema::nullable(canary),
            "The canary of now; null if the model has none, or you do not see it",
        )
        .required("items", schema::list(item, None))
        .open()
}

/// Errors: 404 for a model that the caller does not see; 400 for a range that ends before it begins.
async fn canary(mut context: QueryContext, Path(id): Path<String>) -> Result<Json<Value>, QueryError> {
    let (mut parameters, min_position) = context.begin(Permission::AdminAccess)?;
    let hours = hours(&mut parameters, context.state.clock.now(), TimeDelta::hours(HOURS))?;
    parameters.finish()?;
    context.wait_for(View::UsageByHour, min_position).await?;
    let query = context.admit().await?;
    let model = visible_model(&query, &id).ok_or(QueryError::NotFound("model"))?;
    let visible = Visible::for_caller(&query.caller);
    // Of a model that all tenants share, the targets are the platform's to see.
    let is_visible = model.tenant_id.is_some() || visible == Visible::Platform;
    let answer = query.ask(Usage { visible, selection: Arc::new(selection(&model, hours)) }).await?;
    let canary = model.canary.as_ref().filter(|_| is_visible);
    let canary_backend = canary.and_then(|canary| name_of(canary, &query.state.tables.load()));
    let is_canary = |name: &str| is_visible.then(|| canary_backend.as_deref() == Some(name));
    let mut items: Vec<Value> =
        answer.value.rows.iter().map(|row| item(backend_of(&row.key), &row.sums, is_canary)).collect();
    // One that fails each time answers no request: to leave it out would look as if all were well.
    let missing = canary_backend.as_deref().filter(|name| !items.iter().any(|item| item["backend"] == **name));
    items.extend(missing.map(|name| item(Some(name), &Sums::default(), is_canary)));
    Ok(Json(json!({
        "as_of_position": answer.position,
        "from": shown(hours.from),
        "to": shown(hours.to),
        "is_visible": is_visible,
        "canary": canary,
        "items": items,
    })))
}

/// The requests for the model's name, by backend.
fn selection(model: &Model, hours: Span) -> Selection {
    let micros = |seconds: i64| Some(seconds.saturating_mul(1_000_000));
    Selection {
        group_by: vec![Dimension::Backend],
        range: Range { from: micros(hours.from), to: micros(hours.to) },
        requests: RequestFilter {
            model: Some(model.name.clone()),
            tenant: model.tenant_id,
            ..RequestFilter::default()
        },
        after: None,
        limit: BACKENDS_MAX,
        totals: Totals::Never,
    }
}

/// The backend of the canary as usage names it: by the name of its provider.
fn name_of(canary: &Canary, tables: &Tables) -> Option<String> {
    let provider = tables.provider(canary.provider_id)?;
    Some(format!("{}/{}", provider.value.name, canary.model))
}

fn backend_of(key: &GroupKey) -> Option<&str> {
    let at = Dimension::ALL.iter().position(|dimension| *dimension == Dimension::Backend)?;
    key.dimensions.get(at).map(String::as_str).filter(|name| !name.is_empty())
}

fn item(backend: Option<&str>, sums: &Sums, is_canary: impl Fn(&str) -> Option<bool>) -> Value {
    let counts = sums.amounts.counts;
    let number = |index: usize| counts.get(index).map_or(0, |sum| count(*sum));
    let tokens = |is_it: fn(&str) -> bool| {
        let of_kind = COUNTS.iter().zip(counts).filter(|(name, _)| name.ends_with("_tokens") && is_it(name));
        count(of_kind.map(|(_, sum)| sum).fold(0, i128::saturating_add))
    };
    json!({
        "backend": backend,
        "is_canary": is_canary(backend.unwrap_or_default()),
        "requests": number(REQUESTS),
        "failed": number(FAILED),
        "cost_usd": NanoUsdSum::new(sums.amounts.cost_nanos).to_string(),
        "input_tokens": tokens(|class| class.starts_with("input_") || class.starts_with("citation_")),
        "output_tokens": tokens(|class| class.starts_with("output_")),
        "latency_ms_p50": sums.latencies.percentile(50),
        "latency_ms_p95": sums.latencies.percentile(95),
    })
}
