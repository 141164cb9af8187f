//! Refusals: their content, and where they are recorded.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::client::Reply;
use crate::gateway::{Gateway, type_of};
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant, made};

fn fields(value: &Value) -> BTreeSet<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// Holds: http.upstreams-all, http.upstream-429, http.upstream-alone
#[tokio::test(flavor = "multi_thread")]
async fn upstreams_that_all_fail_are_unavailable_and_one_that_is_busy_says_when_to_come_back() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["e500", "e503", "e429", "e429-7", "ok"]).await;
    tenant.add_model("all", &["e500", "e503"]).await;
    tenant.add_model("busy", &["e429", "ok"]).await;
    tenant.chat("all").await.must_be(503, "ALL_PROVIDERS_UNAVAILABLE");
    tenant.openai("all").await.must(503);
    tenant.chat("e500").await.must_be(502, "UPSTREAM_ERROR");
    tenant.chat("busy").await.must(200);
    let busy = tenant.chat("e429-7").await.must_be(429, "RATE_LIMITED");
    assert_eq!(busy.header("retry-after"), "7", "what the upstream said, not a guess");
}

/// Holds: http.budget-exceeded, http.openai-errors, http.should-retry, http.position, event.refusals
#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_is_short_says_its_numbers_to_the_client_and_to_the_log() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let day = json!({ "scope": { "user_id": tenant.user }, "limit_usd": "0.000001", "period": "day" });
    let day = made(gateway.operator(), "/budgets", day).await;
    let refused = tenant.chat("ok").await.must_be(429, "BUDGET_EXCEEDED");
    assert_eq!(refused.header("x-should-retry"), "false");
    let details = refused.json()["error"]["details"].clone();
    for (name, value) in [
        ("budget_id", json!(day)),
        ("scope", json!({ "user_id": tenant.user })),
        ("limit_usd", json!("0.000001000")),
        ("settled_usd", json!("0.000000000")),
        ("held_usd", json!("0.000000000")),
    ] {
        assert_eq!(details[name], value, "{name}: {details}");
    }
    assert!(details["requested_usd"].as_str().is_some_and(|usd| usd > "0.000001000"), "{details}");
    assert!(details["resets_at"].as_str().is_some_and(|at| at.ends_with("T00:00:00.000000Z")), "{details}");
    let log = gateway.events().await;
    let event = log.iter().find(|event| event["position"] == refused.position()).expect("its event");
    assert_eq!((type_of(event), &event["request_id"]), ("inference.refused.v1", &json!(refused.request_id())));
    assert_eq!(
        (&event["data"]["code"], &event["data"]["model"]),
        (&json!("BUDGET_EXCEEDED"), &json!(tenant.model("ok")))
    );
    for name in fields(&details) {
        assert_eq!(event["data"][name], details[name], "{name}: {event}");
    }
    let openai = tenant.openai("ok").await.must(429);
    let error = openai.json()["error"].clone();
    assert_eq!(fields(&error), BTreeSet::from(["code", "details", "message", "param", "type"]));
    assert_eq!(fields(&error["details"]), fields(&details));
    assert_eq!(error["details"]["requested_usd"], details["requested_usd"]);
    assert_eq!((&error["type"], &error["code"]), (&json!("insufficient_quota"), &json!("insufficient_quota")));
    assert_eq!(openai.header("x-should-retry"), "false");
}

/// Holds: http.position, event.refusals
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_was_rolled_up_has_no_position_and_any_other_that_of_its_event() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let setup = Setup { limit_usd: "0.000001", ..Setup::default() };
    let tenant = Tenant::with(&gateway, &upstream, &["ok"], setup).await;
    let asked = (0..150).map(|_| tenant.chat("ok"));
    let refused: Vec<Reply> = futures_util::future::join_all(asked).await;
    let mut alone = 0;
    let log = gateway.events().await;
    for reply in &refused {
        assert_eq!(reply.code(), "BUDGET_EXCEEDED");
        if reply.headers.contains_key("x-ledgerway-position") {
            alone += 1;
            let at = usize::try_from(reply.position() - 1).expect("a position");
            assert_eq!(log[at]["request_id"], reply.request_id());
        }
    }
    assert!(alone > 0 && alone < refused.len(), "{alone} of {}", refused.len());
}

/// Holds: http.request-id, http.errors, http.unauthenticated, http.not-found, http.forbidden, http.media-type
#[tokio::test(flavor = "multi_thread")]
async fn every_response_has_a_request_id_and_every_refusal_one_form() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "e500"]).await;
    let nobody = gateway.client(None);
    for path in ["/health", "/health/live", "/health/ready", "/metrics", "/openapi.json"] {
        let id = nobody.get(path).await.must(200).request_id();
        assert!(id.starts_with("req_"), "{path}: {id}");
    }
    let post = |path: &'static str, body: Value| tenant.app.send(Method::POST, path, body.to_string());
    let get = |path: &'static str| tenant.app.send(Method::GET, path, "");
    let text = tenant.app.clone().with("content-type", "text/plain");
    for (reply, status, code) in [
        (get("/v1/nothing").await, 404, "NOT_FOUND"),
        (get("/v1/admin/keys").await, 403, "FORBIDDEN"),
        (get("/v1/usage").await, 403, "FORBIDDEN"),
        (post("/v1/log/head", json!({})).await, 405, "METHOD_NOT_ALLOWED"),
        (post(NATIVE, json!({})).await, 400, "INVALID_REQUEST"),
        (post(NATIVE, tenant.ask("nothing")).await, 404, "MODEL_NOT_FOUND"),
        (post(NATIVE, tenant.ask("e500")).await, 502, "UPSTREAM_ERROR"),
        (text.send(Method::POST, NATIVE, "{}").await, 415, "UNSUPPORTED_MEDIA_TYPE"),
        (nobody.send(Method::GET, "/v1/log/head", "").await, 401, "UNAUTHENTICATED"),
        (gateway.operator().send(Method::GET, "/v1/admin/keys/nothing", "").await, 404, "NOT_FOUND"),
    ] {
        let reply = reply.expect("an answer").must_be(status, code);
        let said = reply.json();
        assert_eq!(fields(&said), BTreeSet::from(["error"]));
        assert_eq!(fields(&said["error"]), BTreeSet::from(["code", "details", "message", "request_id"]), "{said}");
        assert_eq!(said["error"]["request_id"], reply.request_id());
        assert!(reply.request_id().starts_with("req_"), "{said}");
    }
    for path in [NATIVE, OPENAI] {
        assert!(tenant.app.post(path, &tenant.ask("ok")).await.must(200).request_id().starts_with("req_"));
    }
}
