//! `GET /v1/inferences/{id}` tells the routing decision in words, to each caller what it may see of it.

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::client::Client;
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Tenant, made, text};

/// The route of a request, as this caller sees it.
/// The route without its digest, which differs for each request.
async fn route(gateway: &Gateway, client: &Client, request: &str) -> Value {
    let path = format!("/v1/inferences/{request}?min_position={}", gateway.head().await);
    let mut route = client.get(&path).await.must(200).json()["route"].clone();
    let digest = route.as_object_mut().and_then(|route| route.remove("features_digest"));
    assert!(digest.is_none_or(|digest| digest.as_str().is_some_and(|digest| digest.len() == 32)), "{route}");
    route
}

fn target(tenant: &Tenant, backend: &str) -> Value {
    json!({ "provider_id": tenant.provider, "model": backend, "default_max_output_tokens": 64 })
}

/// Holds: query.route-in-words
#[tokio::test(flavor = "multi_thread")]
async fn each_call_is_told_with_why_it_failed_and_what_was_called_next() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "e500"]).await;
    tenant.add_model("second", &["e500", "ok"]).await;
    let n = &tenant.name;
    let request = tenant.chat("second").await.must(200).request_id();
    let failed = format!("{n}/e500 failed: the provider answered with an error (status 500)");
    let calls = format!(
        "Call 1 to {failed}; it was called again. Call 2 to {failed}; {n}/ok was called next. {n}/ok answered."
    );
    let order = format!(
        "{n}/second tries its targets by priority (the lowest number first), as the model says: {n}/e500 (priority 0), {n}/ok (priority 1)."
    );
    let seen = route(&gateway, gateway.operator(), &request).await;
    assert_eq!(seen, json!({ "in_words": format!("{order} {calls}"), "is_visible": true, "strategy": "priority" }));
    let (_, reader) = tenant.new_key(&gateway, json!({ "permissions": ["usage:read"] })).await;
    let seen = route(&gateway, &reader, &request).await;
    assert_eq!(seen, json!({ "in_words": calls, "is_visible": false }), "what explain hides");

    let request = tenant.chat("e500").await;
    let request = request.must_be(502, "UPSTREAM_ERROR").request_id();
    let told = text(&route(&gateway, &reader, &request).await["in_words"]);
    assert_eq!(
        told,
        format!(
            "Call 1 to {failed}; it was called again. Call 2 to {failed}. No other target was called, and the request failed."
        )
    );
    let told = text(&route(&gateway, gateway.operator(), &request).await["in_words"]);
    assert!(told.ends_with(" No other target was called (none was left), and the request failed."), "{told}");
    tenant.set_limit("0.000000001").await;
    let refused = tenant.chat("ok").await.must_be(429, "BUDGET_EXCEEDED").request_id();
    for client in [gateway.operator(), &reader] {
        let seen = route(&gateway, client, &refused).await;
        let told = text(&seen["in_words"]);
        let begin = format!(
            "The request for {n}/ok was refused before any target was called: this request could cost up to 0.0"
        );
        let budget = format!(" US dollars, but the budget {} of ", tenant.budget);
        assert!(told.starts_with(&begin) && told.contains(&budget) && told.ends_with(" and never resets."), "{told}");
        assert_eq!(seen["is_visible"], true);
    }
}

/// Holds: query.route-in-words
#[tokio::test(flavor = "multi_thread")]
async fn why_no_target_was_called_is_told_to_everybody_who_sees_the_refusal() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let (operator, n) = (gateway.operator(), &tenant.name);
    made(operator, "/models", json!({ "name": tenant.model("free"), "targets": [target(&tenant, "unpriced")] })).await;
    let (_, other) = tenant.new_key(&gateway, json!({ "permissions": ["models:use"], "models": ["other"] })).await;
    let refusals = [
        (
            tenant
                .app
                .clone()
                .with("x-ledgerway-residency", "eu")
                .post(NATIVE, &tenant.ask("ok"))
                .await
                .must_be(403, "TERMS_NOT_MET"),
            "ok",
            "the request required residency eu, and no target that could serve it was stated to meet this and the other requirements",
        ),
        (
            other.post(NATIVE, &tenant.ask("ok")).await.must_be(403, "MODEL_NOT_ALLOWED"),
            "ok",
            "the allow list of its key, or that of its tenant, does not name the model",
        ),
        (
            tenant.app.post(NATIVE, &tenant.ask("free")).await.must_be(422, "MODEL_UNPRICED"),
            "free",
            "no target that it may use had a live provider, a price in force and, if the request has documents, a known context window",
        ),
        (
            tenant.app.post(NATIVE, &tenant.ask("none")).await.must_be(404, "MODEL_NOT_FOUND"),
            "none",
            "there was no model of that name that its key could see",
        ),
    ];
    let (_, reader) = tenant.new_key(&gateway, json!({ "permissions": ["usage:read"] })).await;
    for (refused, model, why) in refusals {
        let request = refused.request_id();
        for client in [operator, &reader] {
            let told = format!("The request for {n}/{model} was refused before any target was called: {why}.");
            assert_eq!(route(&gateway, client, &request).await, json!({ "in_words": told, "is_visible": true }));
        }
    }
}

/// Holds: query.route-in-words
#[tokio::test(flavor = "multi_thread")]
async fn why_nothing_else_was_called_is_told() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["reject-400", "cut", "ok"]).await;
    tenant.add_model("rejecting", &["reject-400", "ok"]).await;
    tenant.add_model("cutting", &["cut", "ok"]).await;
    let n = &tenant.name;
    let (_, reader) = tenant.new_key(&gateway, json!({ "permissions": ["usage:read"] })).await;
    let rejected = tenant.chat("rejecting").await.must_be(400, "UPSTREAM_REJECTED").request_id();
    let mut streamed = tenant.ask("cutting");
    streamed["stream"] = json!(true);
    let cut = tenant.app.post(NATIVE, &streamed).await.must(200).request_id();
    for client in [gateway.operator(), &reader] {
        let told = text(&route(&gateway, client, &rejected).await["in_words"]);
        let why = " No other target was called (the provider had rejected the request itself, as other providers would), and the request failed.";
        assert!(told.contains(&format!("Call 1 to {n}/reject-400 failed: ")) && told.ends_with(why), "{told}");
        let told = text(&route(&gateway, client, &cut).await["in_words"]);
        let why = "the provider closed the connection. A part of the answer had been sent, after which no other target is called.";
        assert!(told.ends_with(&format!("{n}/cut was called, and the request failed: {why}")), "{told}");
    }
}

/// Holds: query.route-in-words
#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_measured_has_no_figure_and_a_missing_default_is_told() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "slow-1"]).await;
    let n = &tenant.name;
    for strategy in ["latency", "balanced", "tenant_default"] {
        let targets = [target(&tenant, "ok"), target(&tenant, "slow-1")];
        let model = json!({ "name": tenant.model(strategy), "strategy": strategy, "targets": targets });
        made(gateway.operator(), "/models", model).await;
    }
    let words = async |model: &str| {
        let request = tenant.chat(model).await.must(200).request_id();
        text(&route(&gateway, gateway.operator(), &request).await["in_words"])
    };
    let told = words("latency").await;
    assert_eq!(told.matches("(expected time not measured lately)").count(), 2, "{told}");
    let told = words("latency").await;
    assert_eq!(told.matches("(expected time not measured lately)").count(), 1, "{told}");
    let told = words("balanced").await;
    assert_eq!(told.matches(" (cost and time ").count(), 2, "{told}");
    assert!(told.contains(" (cost and time 2.000)"), "{told}");
    let told = words("tenant_default").await;
    let begin = format!(
        "{n}/tenant_default tries its targets by priority (the lowest number first), because the model leaves it to the tenant, which has chosen none: "
    );
    assert!(told.starts_with(&begin), "{told}");
}

/// Holds: query.route-in-words
#[tokio::test(flavor = "multi_thread")]
async fn who_chose_the_alias_the_rule_and_what_was_left_out_are_told() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "slow-1", "slow-2"]).await;
    let (operator, n) = (gateway.operator(), &tenant.name);
    let mut planned = target(&tenant, "slow-1");
    planned["maintenance"] = json!([{ "from": "2026-01-01T00:00:00Z", "to": "2126-01-01T00:00:00Z" }]);
    let named = |backend: &str| format!("{}/{backend}", tenant.provider);
    let ruled = json!({
        "name": tenant.model("ruled"), "strategy": "rules",
        "targets": [target(&tenant, "slow-2"), target(&tenant, "ok"), planned, target(&tenant, "unpriced")],
        "rules": [{ "when": "tools", "targets": [named("slow-2")] },
                  { "when": "input_tokens > 0", "targets": [named("slow-1"), named("ok"), named("unpriced")] }],
    });
    made(operator, "/models", ruled).await;
    made(operator, "/models", json!({ "name": tenant.model("alias"), "alias": [{ "model": tenant.model("ruled") }] }))
        .await;
    let request = tenant.chat("alias").await.must(200).request_id();
    let seen = route(&gateway, operator, &request).await;
    let alias = format!("The alias {n}/alias stood for the model {n}/ruled.");
    let told = format!(
        "{alias} {n}/ruled tries its targets by rules (in the order in which the rule names them), as rules[1] of the model says, which held \
         for the request: {n}/ok (place 1); left out: {n}/slow-1 (under maintenance), {n}/unpriced (no price in force), {n}/slow-2 (the rule \
         that holds does not name it). {n}/ok answered."
    );
    assert_eq!(seen["in_words"], told);
    assert_eq!((&seen["rule"], &seen["left_out"][named("slow-1")]), (&json!(1), &json!("maintenance")), "{seen}");
    let (_, reader) = tenant.new_key(&gateway, json!({ "permissions": ["usage:read"] })).await;
    let seen = route(&gateway, &reader, &request).await;
    assert_eq!(seen["in_words"], format!("{alias} {n}/ok answered."));
    let listed = reader.get("/v1/inferences?limit=1").await.must(200).json()["items"][0]["route"].clone();
    for route in [&seen, &listed] {
        for hidden in ["strategy", "chosen_by", "figures", "left_out", "rule"] {
            assert_eq!(route[hidden], Value::Null, "{route}");
        }
        assert_eq!(
            (&route["stands_for"], route["features"].is_object()),
            (&json!(tenant.model("ruled")), true),
            "{route}"
        );
    }
    assert_eq!(listed["in_words"], Value::Null, "lists are short");

    // By the tenant and by the request, with a target that could not serve.
    let mut targets = vec![target(&tenant, "ok"), target(&tenant, "unpriced")];
    targets[0]["quality"] = json!(7);
    made(operator, "/models", json!({ "name": tenant.model("plain"), "targets": targets })).await;
    made(
        operator,
        "/models",
        json!({ "name": tenant.model("left"), "strategy": "tenant_default", "targets": targets }),
    )
    .await;
    operator
        .patch(&format!("/v1/admin/tenants/{}", tenant.id), &json!({ "default_strategy": "quality" }))
        .await
        .must(200);
    let (_, chooser) = tenant.new_key(&gateway, json!({ "permissions": ["models:use", "routing:choose"] })).await;
    let left_out = format!("{n}/unpriced (no price in force). {n}/ok answered.");
    let words = async |request: String| text(&route(&gateway, operator, &request).await["in_words"]);
    assert_eq!(
        words(tenant.openai("left").await.must(200).request_id()).await,
        format!(
            "{n}/left tries its targets by quality (the highest score first), by its tenant's default, because the model leaves the choice to the tenant: {n}/ok (quality 7); left out: {left_out}"
        )
    );
    let requested = chooser.with("x-ledgerway-strategy", "cost").post(OPENAI, &tenant.ask("plain")).await.must(200);
    let told = words(requested.request_id()).await;
    let begin = format!(
        "{n}/plain tries its targets by cost (the cheapest one for this request first), as the request asked: {n}/ok (expected cost 0.0"
    );
    assert!(told.starts_with(&begin) && told.ends_with(&format!(" USD); left out: {left_out}")), "{told}");
    // What it asked for is told to whoever sees the request.
    let (_, reader) = tenant.new_key(&gateway, json!({ "permissions": ["usage:read"] })).await;
    let seen = route(&gateway, &reader, &requested.request_id()).await;
    assert_eq!(
        seen,
        json!({ "strategy": "cost", "chosen_by": "request", "is_visible": false,
                "in_words": format!("Its targets were ordered by cost, as the request asked. {n}/ok answered.") })
    );
    let explained = reader.get(&format!("/v1/inferences/{}/explain", requested.request_id())).await.must(200).json();
    let part = &explained["route"];
    assert_eq!(
        (&part["strategy"], &part["chosen_by"], &part["is_visible"]),
        (&json!("cost"), &json!("request"), &json!(false))
    );
    let unrecorded = tenant.app.post(NATIVE, &tenant.ask("plain")).await.must(200).request_id();
    assert_eq!(
        words(unrecorded).await,
        format!(
            "{n}/plain tries its targets by priority (the lowest number first), as the model says: {n}/ok (priority 0); left out: \
             {n}/unpriced (no price in force). {n}/ok answered."
        )
    );
}
