//! `GET /v1/models`: OpenAI's list, with what our clients want to know beside it. Only what the key may use.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use events::event::admin::{Model, Permission, Target};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use projections::caller::Caller;
use projections::tables::{Entry, Tables};
use serde_json::{Value, json};

use super::Gateway;
use crate::reply;

pub async fn list(State(gateway): State<Arc<Gateway>>, Extension(caller): Extension<Arc<Caller>>) -> Response {
    if let Err(refusal) = caller.require(Permission::ModelsUse) {
        return reply::refused(refusal);
    }
    let tables = gateway.tables.load();
    let now = gateway.clock.now();
    let visible = tables.models_for(caller.chain.tenant);
    let allowed = visible.into_iter().filter(|model| caller.allows_model(&model.value.name));
    let data: Vec<Value> = allowed.map(|model| entry(&tables, model, now)).collect();
    let mut response = Response::new(json!({ "object": "list", "data": data }).to_string().into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The figures are those of the target that is tried first.
fn entry(tables: &Tables, model: &Entry<Model>, now: DateTime<Utc>) -> Value {
    let first = model.value.targets.iter().min_by_key(|target| target.priority);
    let provider = first.and_then(|target| tables.provider(target.provider_id)).map(|provider| &provider.value.name);
    let price = first.and_then(|target: &Target| tables.price_in_force(target.provider_id, &target.model, now));
    json!({
        "id": model.value.name,
        "object": "model",
        "created": model.created_at.timestamp(),
        "owned_by": provider.map_or("ledgerway", String::as_str),
        "provider": provider,
        "context_window": first.and_then(|target| target.context_window),
        "max_output_tokens": first.and_then(|target| target.max_output_tokens),
        "price": price.map(|price| price.value.rates),
    })
}
