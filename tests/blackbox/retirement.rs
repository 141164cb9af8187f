//! The end of a model's life: what clients are told of it, and who still calls it.

use chrono::TimeDelta;
use events::time::{Clock, SystemClock, rfc3339};
use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::client::Client;
use crate::gateway::Gateway;
use crate::tenant::{OPENAI, Tenant, made, text};

/// So many seconds from now.
fn at(seconds: i64) -> String {
    rfc3339(SystemClock::new().now() + TimeDelta::seconds(seconds))
}

async fn model_of(gateway: &Gateway, tenant: &Tenant, name: &str) -> String {
    let path = format!("/v1/admin/models?name={}", tenant.model(name));
    text(&gateway.operator().get(&path).await.must(200).json()["items"][0]["id"])
}

async fn change(gateway: &Gateway, model: &str, fields: &Value) -> Value {
    gateway.operator().patch(&format!("/v1/admin/models/{model}"), fields).await.must(200).json()
}

fn listed<'a>(list: &'a Value, name: &str) -> Option<&'a Value> {
    list["data"].as_array().expect("models").iter().find(|item| item["id"] == name)
}

/// Holds: admin.retirement
#[tokio::test(flavor = "multi_thread")]
async fn clients_are_told_that_a_model_is_deprecated_and_what_to_use_once_it_is_retired() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let (id, name) = (model_of(&gateway, &tenant, "ok").await, tenant.model("ok"));
    let (soon, later) = (at(3000), at(9000));
    change(&gateway, &id, &json!({ "deprecated_at": soon, "retires_at": later })).await;
    let reply = tenant.chat("ok").await.must(200);
    assert_eq!((reply.header("deprecation"), reply.header("sunset")), ("", ""), "it is only planned");
    let list = tenant.app.get("/v1/models").await.must(200).json();
    assert_eq!(listed(&list, &name).expect("the model")["deprecated_at"], soon);
    assert_eq!(tenant.app.get("/v1/me").await.must(200).json()["deprecated_models"], json!([]));

    let since = "2026-01-01T00:00:00.000000Z";
    let planned = json!({ "deprecated_at": since, "retires_at": "2126-01-01T00:00:00Z", "successor": "next" });
    change(&gateway, &id, &planned).await;
    for path in [OPENAI, "/v1/inference/chat"] {
        let reply = tenant.app.post(path, &tenant.ask("ok")).await.must(200);
        assert_eq!(reply.header("deprecation"), "@1767225600", "{path}");
        assert_eq!(reply.header("sunset"), "Tue, 01 Jan 2126 00:00:00 GMT", "{path}");
    }
    let stream = tenant.stream(OPENAI, "ok").await;
    assert_eq!(stream.headers["deprecation"], "@1767225600");
    let one = tenant.app.get(&format!("/v1/models/{name}")).await.must(200).json();
    let planned =
        json!({ "id": name, "deprecated_at": since, "retires_at": "2126-01-01T00:00:00.000000Z", "successor": "next" });
    for (field, value) in planned.as_object().expect("fields") {
        assert_eq!(&one[field], value, "{one}");
    }
    assert_eq!(tenant.app.get("/v1/me").await.must(200).json()["deprecated_models"], json!([planned]));
    change(&gateway, &id, &json!({ "retires_at": null })).await;
    let reply = tenant.chat("ok").await.must(200);
    assert_eq!((reply.header("deprecation"), reply.header("sunset")), ("@1767225600", ""));

    let gone = at(-5);
    let changed = change(&gateway, &id, &json!({ "retires_at": gone })).await;
    assert_eq!((&changed["retires_at"], &changed["successor"]), (&json!(gone), &json!("next")));
    let called = upstream.seen().len();
    let counted = tenant.app.post("/v1/messages/count_tokens", &tenant.ask("ok")).await;
    assert_eq!(counted.status, 404);
    let refused = tenant.chat("ok").await.must_be(404, "MODEL_NOT_FOUND").json();
    let details = &refused["error"]["details"];
    assert_eq!((&details["retired_at"], &details["successor"]), (&json!(gone), &json!("next")), "{refused}");
    assert!(text(&refused["error"]["message"]).contains("was retired at"), "{refused}");
    let one = tenant.app.get(&format!("/v1/models/{name}")).await;
    assert_eq!((one.status, one.header("x-ledgerway-position")), (404, ""));
    assert!(String::from_utf8_lossy(&one.body).contains("use next"));
    assert_eq!(listed(&tenant.app.get("/v1/models").await.must(200).json(), &name), None);
    assert_eq!(tenant.app.get("/v1/me").await.must(200).json()["deprecated_models"], json!([]));
    assert_eq!(upstream.seen().len(), called);

    // The dates can be moved again.
    change(&gateway, &id, &json!({ "deprecated_at": null, "retires_at": null, "successor": null })).await;
    let reply = tenant.chat("ok").await.must(200);
    assert_eq!(reply.header("deprecation"), "");
    let explained = gateway.operator().get(&format!("/v1/inferences/{}/explain", reply.request_id())).await;
    assert_eq!(explained.must(200).json()["follows"], true);
}

/// Holds: admin.retirement
#[tokio::test(flavor = "multi_thread")]
async fn dates_that_make_no_sense_are_refused() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let path = format!("/v1/admin/models/{}", model_of(&gateway, &tenant, "ok").await);
    let name = tenant.model("ok");
    for (fields, field) in [
        (json!({ "retires_at": "2027-01-01" }), "retires_at"),
        (json!({ "retires_at": "2027-01-01T00:00:00Z" }), "deprecated_at"),
        (json!({ "deprecated_at": "2027-01-02T00:00:00Z", "retires_at": "2027-01-01T00:00:00Z" }), "retires_at"),
        (json!({ "successor": name }), "successor"),
        (json!({ "successor": "two words" }), "successor"),
    ] {
        let refused = gateway.operator().patch(&path, &fields).await.must_be(400, "INVALID_REQUEST").json();
        assert_eq!(refused["error"]["details"]["field"], field, "{refused}");
    }
}

/// The callers that somebody is shown, with their requests, as names of tenants and keys.
async fn callers(client: &Client, model: &str, query: &str) -> Vec<(Value, Value, u64, u64)> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/admin/models/{model}/callers?limit=1{query}{cursor}");
        let page = client.get(&path).await.must(200).json();
        assert!(page["as_of_position"].is_u64() && page["items"].as_array().is_some_and(|items| items.len() <= 1));
        for item in page["items"].as_array().expect("items") {
            let number = |name: &str| item[name].as_u64().expect("a number");
            found.push((item["tenant_name"].clone(), item["key_id"].clone(), number("requests"), number("refused")));
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

/// Holds: query.callers
#[tokio::test(flavor = "multi_thread")]
async fn administrators_see_who_calls_a_model_within_their_reach() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let one = Tenant::new(&gateway, &upstream, &["ok", "e500"]).await;
    let other = Tenant::new(&gateway, &upstream, &[]).await;
    let id = model_of(&gateway, &one, "ok").await;
    let asks = |tenant: &Tenant| {
        let (app, body) = (tenant.app.clone(), one.ask("ok"));
        async move { app.post(OPENAI, &body).await }
    };
    for _ in 0..3 {
        asks(&one).await.must(200);
    }
    let (second, client) = one.new_key(&gateway, json!({})).await;
    client.post(OPENAI, &one.ask("ok")).await.must(200);
    one.openai("e500").await;
    asks(&other).await.must(200);
    let dates = json!({ "deprecated_at": "2026-01-01T00:00:00Z", "retires_at": at(-1) });
    change(&gateway, &id, &dates).await;
    asks(&other).await.must(404);
    let head = format!("&min_position={}", gateway.head().await);

    let of = |tenant: &Tenant, key: &str, requests, refused| (json!(tenant.name), json!(key), requests, refused);
    let sorted = |mut callers: Vec<(Value, Value, u64, u64)>| {
        callers.sort_by_key(|caller| caller.1.to_string());
        callers
    };
    let of_one = vec![of(&one, &one.key, 3, 0), of(&one, &second, 1, 0)];
    let all: Vec<_> = of_one.iter().cloned().chain([of(&other, &other.key, 1, 1)]).collect();
    assert_eq!(sorted(callers(gateway.operator(), &id, &head).await), sorted(all.clone()));
    let (_, admin) = one.new_key(&gateway, json!({ "permissions": ["admin:access"] })).await;
    assert_eq!(sorted(callers(&admin, &id, &head).await), sorted(of_one));
    let (from, to) = (at(-7200), at(7200));
    assert_eq!(callers(gateway.operator(), &id, &format!("{head}&from={from}&to={to}")).await.len(), 3);
    assert_eq!(callers(gateway.operator(), &id, &format!("{head}&from={to}&to={}", at(9000))).await, []);

    let path = format!("/v1/admin/models/{id}/callers");
    for (query, field) in
        [("from=2026-02-01&to=2026-01-01", "from"), ("cursor=usage-00", "cursor"), ("limit=0", "limit"), ("x=1", "x")]
    {
        let refused = gateway.operator().get(&format!("{path}?{query}")).await.must_be(400, "INVALID_REQUEST").json();
        assert_eq!(refused["error"]["details"]["field"], field, "{refused}");
    }
    one.app.get(&path).await.must_be(403, "FORBIDDEN");
    // A model of its own is nobody else's concern.
    let own =
        json!({ "name": "own", "tenant_id": one.id, "targets": [{ "provider_id": one.provider, "model": "ok" }] });
    let own = format!("/v1/admin/models/{}/callers", made(gateway.operator(), "/models", own).await);
    assert_eq!(admin.get(&own).await.must(200).json()["items"], json!([]));
    let (_, stranger) = other.new_key(&gateway, json!({ "permissions": ["admin:access"] })).await;
    stranger.get(&own).await.must_be(404, "NOT_FOUND");
    stranger.get("/v1/admin/models/none/callers").await.must_be(404, "NOT_FOUND");
}
