//! `GET /v1/models` and `/v1/models/{name}`: OpenAI's list, with what our clients want to know beside it. Only what the
//! key may use. A name may have slashes in it, as they are or encoded.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use events::event::admin::{Model, Permission};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use projections::caller::Caller;
use projections::tables::{Entry, Tables};
use serde_json::{Value, json};

use super::Gateway;
use super::plan::{Priced, first_priced, not_found};
use crate::reply;

pub async fn list(State(gateway): State<Arc<Gateway>>, Extension(caller): Extension<Arc<Caller>>) -> Response {
    if let Err(refusal) = caller.require(Permission::ModelsUse) {
        return reply::refused(refusal);
    }
    answered(&json!({ "object": "list", "data": listed(&gateway.tables.load(), &caller, gateway.now()) }))
}

/// Errors: 404 `MODEL_NOT_FOUND` for what is not in the list.
pub async fn one(
    State(gateway): State<Arc<Gateway>>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(name): Path<String>,
) -> Response {
    if let Err(refusal) = caller.require(Permission::ModelsUse) {
        return reply::refused(refusal);
    }
    let mut listed = listed(&gateway.tables.load(), &caller, gateway.now()).into_iter();
    match listed.find(|model| model["id"] == name.as_str()) {
        Some(model) => answered(&model),
        None => reply::refused(not_found(&name)),
    }
}

fn answered(body: &Value) -> Response {
    let mut response = Response::new(body.to_string().into());
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
