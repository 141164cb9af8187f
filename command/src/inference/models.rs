//! `GET /v1/models` and `/v1/models/{name}`: OpenAI's list, with what our clients want to know beside it. Only what the
//! key may use. A name may have slashes in it, as they are or encoded.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Path, RawQuery, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use events::event::admin::{Model, Permission};
use events::wire::{ErrorCode, Refusal};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use projections::caller::Caller;
use projections::tables::{Entry, Tables};
use projections::views::PATIENCE;
use serde_json::{Value, json};

use super::Gateway;
use super::plan::{Priced, first_priced, not_found};
use crate::reply;

/// What follows on a write that the client knows of may be behind it for no longer than this.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Errors: 400 where `min_position` is beyond the log's end; 503 `VIEW_BEHIND` when the tables do not get there in time.
pub async fn list(
    State(gateway): State<Arc<Gateway>>,
    Extension(caller): Extension<Arc<Caller>>,
    query: RawQuery,
) -> Response {
    match usable(&gateway, &caller, query).await {
        Ok(models) => answered(&json!({ "object": "list", "data": models })),
        Err(refusal) => reply::refused(refusal),
    }
}

/// Errors: those of the list, and 404 `MODEL_NOT_FOUND` for what is not in it.
pub async fn one(
    State(gateway): State<Arc<Gateway>>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(name): Path<String>,
    query: RawQuery,
) -> Response {
    let models = match usable(&gateway, &caller, query).await {
        Ok(models) => models,
        Err(refusal) => return reply::refused(refusal),
    };
    match models.iter().find(|model| model["id"] == name.as_str()) {
        Some(model) => answered(model),
        None => reply::refused(not_found(&name)),
    }
}

async fn usable(gateway: &Gateway, caller: &Arc<Caller>, RawQuery(query): RawQuery) -> Result<Vec<Value>, Refusal> {
    caller.require(Permission::ModelsUse)?;
    if let Some(position) = min_position(query.as_deref().unwrap_or_default())? {
        wait_for(gateway, position).await?;
    }
    let tables = gateway.tables.load();
    let caller = caller.looked_up_again(&tables, gateway.clock.now())?;
    caller.require(Permission::ModelsUse)?;
    Ok(listed(&tables, &caller, gateway.now()))
}

/// OpenAI's clients may send parameters of their own.
fn min_position(query: &str) -> Result<Option<u64>, Refusal> {
    let Some(text) = query.split('&').find_map(|pair| pair.strip_prefix("min_position=")) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Refusal::invalid("min_position", "must be a whole number"))
}

async fn wait_for(gateway: &Gateway, position: u64) -> Result<(), Refusal> {
    gateway.log.head().require(position)?;
    if gateway.tables.wait_for(position, PATIENCE).await {
        return Ok(());
    }
    let refusal = Refusal::new(ErrorCode::ViewBehind, format!("the models are not yet those at {position}"));
    Err(refusal.with("min_position", position).retry_after(RETRY_AFTER))
}

fn answered(body: &Value) -> Response {
    let mut response = Response::new(format!("{body}\n").into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn listed(tables: &Tables, caller: &Caller, now: DateTime<Utc>) -> Vec<Value> {
    let visible = tables.models_for(caller.chain.tenant);
    let allowed = visible.into_iter().filter(|model| caller.allows_model(&model.value.name));
    allowed.filter_map(|model| Some(entry(model, &first_priced(tables, caller, &model.value, now)?))).collect()
}

/// The figures are those of the target that is tried first.
fn entry(model: &Entry<Model>, first: &Priced<'_>) -> Value {
    json!({
        "id": model.value.name,
        "object": "model",
        "created": model.created_at.timestamp(),
        "owned_by": first.provider.name,
        "provider": first.provider.name,
        "context_window": first.target.context_window,
        "max_output_tokens": first.target.max_output_tokens,
        "price": first.rates,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::tests::lab::Lab;

    /// Holds: inf.models
    #[tokio::test]
    async fn a_model_shows_the_target_that_is_tried_first_and_none_that_nobody_can_serve() {
        let lab = Lab::new().await;
        let names = |lab: &Lab| -> Vec<String> {
            let listed = listed(&lab.admin.tables.load(), &lab.operator(), lab.admin.clock.now());
            listed.iter().map(|model| format!("{} by {}", model["id"], model["provider"])).collect()
        };
        let first = lab.make("/providers", json!({"name": "first", "kind": "simulator"})).await;
        let second = lab.make("/providers", json!({"name": "second", "kind": "simulator"})).await;
        let target =
            |provider: &str, priority: u32| json!({"provider_id": provider, "model": "echo", "priority": priority});
        let targets = [target(&second, 2), target(&first, 1)];
        lab.make("/models", json!({"name": "m", "targets": targets})).await;
        assert!(names(&lab).is_empty(), "it has no price");
        for provider in [&first, &second] {
            let price = json!({"provider_id": provider, "model": "echo", "input_usd_per_mtok": "1",
                               "output_usd_per_mtok": "1"});
            lab.make("/prices", price).await;
        }
        assert_eq!(names(&lab), [r#""m" by "first""#]);
        lab.send(&lab.operator(), "DELETE", &format!("/v1/admin/providers/{first}"), &json!({})).await.must(200);
        assert_eq!(names(&lab), [r#""m" by "second""#]);
        lab.send(&lab.operator(), "DELETE", &format!("/v1/admin/providers/{second}"), &json!({})).await.must(200);
        assert!(names(&lab).is_empty(), "nobody serves it any more");
    }
}
