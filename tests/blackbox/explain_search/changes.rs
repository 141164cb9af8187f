//! Changes by administrators while requests run.

use serde_json::{Value, json};

use super::Draws;
use super::callers::{Callers, budget};
use crate::gateway::Gateway;
use crate::tenant::{made, text};

pub async fn make_one(gateway: &Gateway, callers: &Callers, draws: &mut Draws) {
    match draws.below(8) {
        0 | 1 => change_a_price(gateway, draws).await,
        2 | 3 => change_a_budget(gateway, draws).await,
        4 => drop(made(gateway.operator(), "/budgets", budget(draws.of(&callers.scopes).clone(), draws)).await),
        5 => close_a_budget(gateway, draws).await,
        6 => change_a_limit(gateway, draws).await,
        _ => change_a_model(gateway, draws).await,
    }
}

/// One of the resources of this kind, if there is any.
async fn any_of(gateway: &Gateway, kind: &str, draws: &mut Draws) -> Option<Value> {
    let all = gateway.operator().get(&format!("/v1/admin/{kind}?limit=100")).await.must(200).json();
    let all = all["items"].as_array().expect("a list");
    (!all.is_empty()).then(|| draws.of(all).clone())
}

async fn patch(gateway: &Gateway, kind: &str, one: &Value, change: &Value) {
    let path = format!("/v1/admin/{kind}/{}", text(&one["id"]));
    gateway.operator().patch(&path, change).await.must(200);
}

/// Requests that were charged by it are corrected.
async fn change_a_price(gateway: &Gateway, draws: &mut Draws) {
    let Some(price) = any_of(gateway, "prices", draws).await else { return };
    let mut change = json!({ "output_usd_per_mtok": draws.of(&["2", "9.5", "15", "40"]) });
    if draws.one_in(2) {
        change["input_usd_per_mtok"] = json!(draws.of(&["1", "3", "7.25"]));
    }
    if draws.one_in(3) {
        change["request_usd"] = json!(draws.of(&["0", "0.001", "0.0025"]));
    }
    patch(gateway, "prices", &price, &change).await;
}

async fn change_a_budget(gateway: &Gateway, draws: &mut Draws) {
    let Some(one) = any_of(gateway, "budgets", draws).await else { return };
    let change = match draws.below(3) {
        0 => json!({ "limit_usd": draws.of(&["0", "0.05", "0.5", "5"]) }),
        1 => json!({ "enforcement": draws.of(&["hard", "observe"]) }),
        _ => json!({ "when_short": draws.of(&["refuse", "shrink"]) }),
    };
    patch(gateway, "budgets", &one, &change).await;
}

async fn close_a_budget(gateway: &Gateway, draws: &mut Draws) {
    let Some(one) = any_of(gateway, "budgets", draws).await else { return };
    gateway.operator().delete(&format!("/v1/admin/budgets/{}", text(&one["id"]))).await;
}

async fn change_a_limit(gateway: &Gateway, draws: &mut Draws) {
    let Some(one) = any_of(gateway, "rate-limits", draws).await else { return };
    patch(gateway, "rate-limits", &one, &json!({ "requests_per_minute": 30 + draws.below(3_000) })).await;
}

async fn change_a_model(gateway: &Gateway, draws: &mut Draws) {
    let Some(one) = any_of(gateway, "models", draws).await else { return };
    let strategy = draws.of(&["priority", "weighted", "cost", "latency", "balanced", "quality", "rules"]);
    let (provider, model) = (&one["targets"][0]["provider_id"], &one["targets"][0]["model"]);
    let first = format!("{}/{}", text(provider), text(model));
    let rules = json!([
        { "when": "streaming", "strategy": draws.of(&["cost", "weighted", "latency"]) },
        { "when": "language == \"und\" || input_tokens > 300", "targets": [first] },
        { "when": "hour < 24 && !tools", "targets": [first], "strategy": "quality" },
    ]);
    let is_alone = one["targets"].as_array().is_none_or(|targets| targets.len() < 2);
    let by = draws.of(&["request", "tenant"]);
    let canary = match draws.below(3) {
        0 if !is_alone => {
            json!({ "provider_id": provider, "model": model, "share_percent": 20 + draws.below(31), "by": by })
        }
        _ => Value::Null,
    };
    let mut change = json!({ "strategy": strategy, "rules": rules, "canary": canary });
    if let Some(other) = any_of(gateway, "models", draws).await.filter(|other| other["name"] != one["name"]) {
        let shadow = json!({ "model": other["name"], "share_percent": 20 + draws.below(81) });
        change["shadow"] = if draws.one_in(2) { shadow } else { Value::Null };
    }
    patch(gateway, "models", &one, &change).await;
}
