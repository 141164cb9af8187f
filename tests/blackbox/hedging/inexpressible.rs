//! Targets at the front that cannot express the request are not called: which call is hedged, and by which target, goes by the others.

use super::*;

/// Asks a model whose first target has an API without `logit_bias`.
async fn asked_with_logit_bias(house: &House, name: &str) -> Vec<Value> {
    let mut body = house.tenant.ask(name);
    body["logit_bias"] = json!({ "50256": -100 });
    let request = house.tenant.app.post(OPENAI, &body).await.must(200).request_id();
    house.gateway.life(&request).await
}

/// Holds: inf.hedges, admin.canary
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_cannot_express_the_request_takes_no_hedge_from_it_and_gives_none_to_a_canary() {
    let house = House::new("openai", &["slow-700", "ok"], &[]).await;
    let (operator, tenant) = (house.gateway.operator(), &house.tenant);
    let other = json!({ "name": format!("{}-other", tenant.name), "kind": "anthropic", "api_key": "k",
                        "base_url": house.upstream.base_url("anthropic"), "allow_private_network": true });
    let other = made(operator, "/providers", other).await;
    let price = json!({ "provider_id": other, "model": "ok", "input_usd_per_mtok": "3", "output_usd_per_mtok": "15" });
    made(operator, "/prices", price).await;
    let mut targets = house.targets(&["slow-700", "ok"]);
    let first = json!({ "provider_id": other, "model": "ok", "priority": 0, "default_max_output_tokens": 256 });
    targets.iter_mut().for_each(|target| target["priority"] = json!(target["priority"].as_u64().unwrap_or(0) + 1));
    targets.insert(0, first);
    let model = json!({ "name": tenant.model("three"), "targets": targets, "hedge_after_ms": 100 });
    let model = made(operator, "/models", model).await;
    let life = asked_with_logit_bias(&house, "three").await;
    let completed = of_type(&life, "inference.completed.v1");
    assert_eq!(
        (&completed["hedge"], &completed["backend"]["model"]),
        (&json!("answered"), &json!("ok")),
        "{completed}"
    );
    let mut requests = vec![request_of(&life)];

    let canary = json!({ "provider_id": tenant.provider, "model": "ok", "share_percent": 1, "by": "request" });
    operator.patch(&format!("/v1/admin/models/{model}"), &json!({ "canary": canary })).await.must(200);
    let life = loop {
        let life = asked_with_logit_bias(&house, "three").await;
        if life[0]["data"]["route"]["canary"].is_null() {
            break life;
        }
    };
    let completed = of_type(&life, "inference.completed.v1");
    assert_eq!((completed.get("hedge"), &completed["backend"]["model"]), (None, &json!("slow-700")), "{completed}");
    assert!(life[0]["data"].get("hedge_after_ms").is_none(), "held for one call: {life:?}");
    requests.push(request_of(&life));
    house.must_be_sound(&requests).await;
}
