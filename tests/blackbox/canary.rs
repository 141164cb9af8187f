//! Canaries: a share of the requests goes first to one target, the log shows why, and its figures stand beside those of the others.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::client::Reply;
use crate::explain::explained;
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Tenant, made};

/// The target that is tried out: each of its answers has ten input tokens and five output tokens.
const CANARY: &str = "usage-10-5-15";

struct Trial {
    gateway: Gateway,
    upstream: MockUpstream,
    tenant: Tenant,
    model: String,
}

impl Trial {
    /// A model with a canary behind these targets.
    async fn start(others: &[&str], canary: Value) -> Self {
        let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
        let tenant = Tenant::new(&gateway, &upstream, &[]).await;
        for backend in others.iter().chain(&[CANARY]) {
            tenant.price(backend).await;
        }
        let targets: Vec<Value> = others.iter().chain(&[CANARY]).map(|backend| target(&tenant, backend)).collect();
        let mut model = json!({ "name": tenant.model("tried"), "targets": targets, "canary": canary });
        model["canary"]["provider_id"] = json!(tenant.provider);
        model["canary"]["model"] = json!(CANARY);
        let model = made(gateway.operator(), "/models", model).await;
        Self { gateway, upstream, tenant, model }
    }

    fn path(&self) -> String {
        format!("/v1/admin/models/{}", self.model)
    }

    async fn change(&self, fields: Value) {
        self.gateway.operator().patch(&self.path(), &fields).await.must(200);
    }

    fn canary(&self, backend: &str, share_percent: u32, by: &str) -> Value {
        json!({ "provider_id": self.tenant.provider, "model": backend, "share_percent": share_percent, "by": by })
    }

    fn named(&self, backend: &str) -> String {
        format!("{}/{backend}", self.tenant.provider)
    }

    /// Whether the canary came first for a request that must follow, as its admission says.
    async fn was_first(&self, reply: &Reply) -> bool {
        let request = reply.request_id();
        let admission = self.gateway.life(&request).await[0]["data"].clone();
        let recorded = admission["route"]["canary"].as_str().map(str::to_owned);
        let said = explained(&self.gateway, &request).await;
        assert_eq!(said["follows"], true, "{said:#}");
        let first = said["route"]["targets"][0].clone();
        assert_eq!(recorded, (first["model"] == CANARY).then(|| self.named(CANARY)), "{admission} {first}");
        recorded.is_some()
    }
}

fn target(tenant: &Tenant, backend: &str) -> Value {
    json!({ "provider_id": tenant.provider, "model": backend, "default_max_output_tokens": 64 })
}

fn backend(reply: &Reply) -> String {
    reply.header("x-ledgerway-backend").rsplit('/').next().unwrap_or_default().to_owned()
}

/// Holds: admin.canary
#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_the_requests_goes_first_to_the_canary_and_no_other() {
    let mut trial = Trial::start(&["ok", "paced-1"], json!({ "share_percent": 30, "by": "request" })).await;
    let mut backends: BTreeMap<String, usize> = BTreeMap::new();
    for number in 0..60 {
        // Weights, and the session, order the others.
        if number == 30 {
            trial.change(json!({ "strategy": "weighted", "affinity": "session" })).await;
        }
        let app = trial.tenant.app.clone().with("x-ledgerway-session", &format!("session-{}", number % 5));
        let reply = app.post(OPENAI, &trial.tenant.ask("tried")).await.must(200);
        assert_eq!(backend(&reply) == CANARY, trial.was_first(&reply).await);
        *backends.entry(backend(&reply)).or_default() += 1;
    }
    // Four standard deviations are 14.
    assert!((4..=32).contains(&backends[CANARY]), "{backends:?}");
    let asked = json!({ "request": { "messages": [{ "role": "user", "content": "hello" }] } });
    let said = trial.gateway.operator().post(&format!("{}/explain", trial.path()), &asked).await.must(200).json();
    let (canary, first) = (&said["canary"], said["targets"][0]["model"] == CANARY);
    assert_eq!(
        canary,
        &json!({ "provider_id": trial.tenant.provider, "model": CANARY, "share_percent": 30, "by": "request", "is_first": first }),
        "{said}"
    );
    let word = if first { "canary, in whose share the request is" } else { "canary, after all others" };
    assert!(said["in_words"].as_str().is_some_and(|words| words.contains(word)), "{said}");
    trial.gateway.stop();
    assert_eq!(trial.gateway.verify().0, Some(0));
}

/// Holds: admin.canary
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_in_the_share_with_all_its_requests_or_with_none() {
    let trial = Trial::start(&["ok"], json!({ "share_percent": 50, "by": "tenant" })).await;
    for _ in 0..8 {
        let other = Tenant::new(&trial.gateway, &trial.upstream, &[]).await;
        let mut seen = Vec::new();
        for _ in 0..4 {
            let reply = other.app.post(NATIVE, &trial.tenant.ask("tried")).await.must(200);
            seen.push(trial.was_first(&reply).await);
            assert_eq!(seen[seen.len() - 1], backend(&reply) == CANARY);
        }
        assert!(seen.iter().all(|first| *first == seen[0]), "{seen:?}");
    }
}

/// Holds: admin.canary
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_is_a_spare_for_the_others_and_is_left_out_like_any_target() {
    let trial = Trial::start(&["e500"], json!({ "share_percent": 1, "by": "request" })).await;
    for _ in 0..3 {
        let reply = trial.tenant.chat("tried").await.must(200);
        assert_eq!(backend(&reply), CANARY, "after the other one has failed");
        trial.was_first(&reply).await;
    }
    let mut planned = target(&trial.tenant, CANARY);
    planned["maintenance"] = json!([{ "from": "2026-01-01T00:00:00Z", "to": "2126-01-01T00:00:00Z" }]);
    let ok = target(&trial.tenant, "ok");
    trial.tenant.price("ok").await;
    let canary = trial.canary(CANARY, 50, "request");
    trial.change(json!({ "targets": [planned, ok], "canary": canary })).await;
    let left_alone = async |why: &str| {
        for _ in 0..6 {
            let reply = trial.tenant.chat("tried").await.must(200);
            assert_eq!((backend(&reply), trial.was_first(&reply).await), ("ok".to_owned(), false), "{why}");
        }
    };
    left_alone("it is under maintenance").await;
    let targets = json!([target(&trial.tenant, CANARY), ok]);
    let rule = |backends: &[&str]| json!([{ "when": "input_tokens > 0", "targets": backends.iter().map(|backend| trial.named(backend)).collect::<Vec<_>>() }]);
    trial.change(json!({ "targets": targets, "strategy": "rules", "rules": rule(&["ok"]) })).await;
    left_alone("the rule does not name it").await;
    trial.change(json!({ "rules": rule(&[CANARY, "ok"]) })).await;
    for _ in 0..6 {
        let reply = trial.tenant.chat("tried").await.must(200);
        assert_eq!(
            backend(&reply) == CANARY,
            trial.was_first(&reply).await,
            "it is not first although the rule names it first"
        );
    }
    trial.change(json!({ "rules": rule(&[CANARY]) })).await;
    for _ in 0..3 {
        assert_eq!(backend(&trial.tenant.chat("tried").await.must(200)), CANARY, "nothing else may serve");
    }
    let mut without_by = trial.canary(CANARY, 5, "request");
    without_by.as_object_mut().expect("an object").remove("by");
    for (wrong, field) in [
        (json!({ "canary": trial.canary("e500", 5, "request") }), "canary"),
        (json!({ "canary": trial.canary(CANARY, 0, "request") }), "canary.share_percent"),
        (json!({ "canary": trial.canary(CANARY, 51, "request") }), "canary.share_percent"),
        (json!({ "canary": trial.canary(CANARY, 5, "user") }), "canary.by"),
        (json!({ "canary": without_by }), "canary.by"),
        (json!({ "targets": [target(&trial.tenant, CANARY)] }), "canary"),
        (json!({ "targets": [target(&trial.tenant, "ok")], "rules": rule(&["ok"]) }), "canary"),
    ] {
        let refused =
            trial.gateway.operator().patch(&trial.path(), &wrong).await.must_be(400, "INVALID_REQUEST").json();
        assert_eq!(refused["error"]["details"]["field"], field, "{refused}");
    }
    trial.change(json!({ "canary": null })).await;
}

/// Holds: query.canary
#[tokio::test(flavor = "multi_thread")]
async fn its_figures_stand_beside_those_of_the_other_targets() {
    let trial = Trial::start(&["ok"], json!({ "share_percent": 50, "by": "request" })).await;
    // Without an answer, it has a row nevertheless.
    let path = format!("{}/canary", trial.path());
    let said = trial.gateway.operator().get(&path).await.must(200).json();
    let items = said["items"].as_array().expect("items");
    let of_canary = (&items[0]["is_canary"], &items[0]["requests"], &items[0]["cost_usd"]);
    assert_eq!((items.len(), of_canary), (1, (&json!(true), &json!(0), &json!("0.000000000"))), "{said}");
    let mut of_canary = 0;
    for _ in 0..20 {
        of_canary += usize::from(backend(&trial.tenant.chat("tried").await.must(200)) == CANARY);
    }
    let query = format!("?min_position={}", trial.gateway.head().await);
    let said = trial.gateway.operator().get(&format!("{path}{query}")).await.must(200).json();
    let canary = trial.canary(CANARY, 50, "request");
    assert_eq!((&said["canary"], &said["is_visible"]), (&canary, &json!(true)), "{said}");
    let items = said["items"].as_array().expect("items");
    let item = |backend: &str| {
        let name = format!("{}/{backend}", trial.tenant.name);
        items.iter().find(|item| item["backend"] == name).unwrap_or_else(|| panic!("no {name}: {said}")).clone()
    };
    for (backend, is_canary, requests) in [("ok", false, 20 - of_canary), (CANARY, true, of_canary)] {
        let item = item(backend);
        assert_eq!(
            (&item["is_canary"], &item["requests"], &item["failed"]),
            (&json!(is_canary), &json!(requests), &json!(0))
        );
        assert!(item["latency_ms_p50"].as_u64() <= item["latency_ms_p95"].as_u64(), "{item}");
    }
    // 10 tokens at 3 dollars a million, 5 at 15, and a tenth of a cent a request.
    let cost = u64::try_from(of_canary).expect("a number") * 1_105_000;
    let tried = item(CANARY);
    assert_eq!(
        (&tried["input_tokens"], &tried["output_tokens"], &tried["cost_usd"]),
        (&json!(10 * of_canary), &json!(5 * of_canary), &json!(format!("0.{cost:09}"))),
        "{tried}"
    );
    let (_, admin) = trial.tenant.new_key(&trial.gateway, json!({ "permissions": ["admin:access"] })).await;
    let seen = admin.get(&format!("{path}{query}")).await.must(200).json();
    assert_eq!((&seen["canary"], &seen["is_visible"]), (&Value::Null, &json!(false)), "the model is the platform's");
    assert_eq!((&seen["items"][0]["is_canary"], &seen["items"][0]["requests"]), (&Value::Null, &items[0]["requests"]));
    let stranger = Tenant::new(&trial.gateway, &trial.upstream, &[]).await;
    let (_, other) = stranger.new_key(&trial.gateway, json!({ "permissions": ["admin:access"] })).await;
    assert_eq!(other.get(&format!("{path}{query}")).await.must(200).json()["items"], json!([]));
    for (query, field) in [("from=2026-02-01&to=2026-01-01", "from"), ("x=1", "x")] {
        let refused =
            trial.gateway.operator().get(&format!("{path}?{query}")).await.must_be(400, "INVALID_REQUEST").json();
        assert_eq!(refused["error"]["details"]["field"], field, "{refused}");
    }
    trial.tenant.app.get(&path).await.must_be(403, "FORBIDDEN");
    admin.get("/v1/admin/models/none/canary").await.must_be(404, "NOT_FOUND");
}

/// Holds: query.canary
#[tokio::test(flavor = "multi_thread")]
async fn the_figures_of_a_tenants_own_model_are_of_its_own_requests_alone() {
    let trial = Trial::start(&["ok"], json!({ "share_percent": 50, "by": "request" })).await;
    let owner = Tenant::new(&trial.gateway, &trial.upstream, &[]).await;
    let targets = ["ok", CANARY].map(|backend| target(&trial.tenant, backend));
    let own = json!({ "name": trial.tenant.model("tried"), "tenant_id": owner.id, "targets": targets,
                      "canary": trial.canary(CANARY, 50, "request") });
    let own = made(trial.gateway.operator(), "/models", own).await;
    for (app, times) in [(&trial.tenant.app, 3), (&owner.app, 2)] {
        for _ in 0..times {
            app.post(NATIVE, &trial.tenant.ask("tried")).await.must(200);
        }
    }
    let path = format!("/v1/admin/models/{own}/canary?min_position={}", trial.gateway.head().await);
    let said = trial.gateway.operator().get(&path).await.must(200).json();
    let requests =
        said["items"].as_array().expect("items").iter().map(|item| item["requests"].as_u64().expect("a count"));
    assert_eq!(requests.sum::<u64>(), 2, "{said}");
}

/// The figures of a model, with everything that is recorded by now.
async fn figures(gateway: &Gateway, model: &str) -> Vec<Value> {
    let path = format!("/v1/admin/models/{model}/canary?min_position={}", gateway.head().await);
    let said = gateway.operator().get(&path).await.must(200).json();
    said["items"].as_array().expect("items").clone()
}

/// Holds: query.canary
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_fail_are_counted_although_another_target_answers() {
    let trial = Trial::start(&["ok"], json!({ "share_percent": 50, "by": "request" })).await;
    trial.tenant.price("e500").await;
    let targets = ["ok", "e500"].map(|backend| target(&trial.tenant, backend));
    trial.change(json!({ "targets": targets, "canary": trial.canary("e500", 50, "request") })).await;
    for _ in 0..16 {
        assert_eq!(backend(&trial.tenant.chat("tried").await.must(200)), "ok");
    }
    let failed = trial.gateway.events_of("inference.attempt_failed.v1").await.len();
    assert!(failed > 0, "none of sixteen was drawn at a half");
    let items = figures(&trial.gateway, &trial.model).await;
    let of = |item: &Value| {
        [&item["is_canary"], &item["requests"], &item["failed"], &item["failed_calls"]].map(Value::clone)
    };
    let expected = [[json!(true), json!(0), json!(0), json!(failed)], [json!(false), json!(16), json!(0), json!(0)]];
    assert_eq!(items.iter().map(of).collect::<Vec<_>>(), expected, "{items:?}");
    let (_, admin) = trial.tenant.new_key(&trial.gateway, json!({ "permissions": ["admin:access"] })).await;
    let seen = admin.get(&format!("{}/canary", trial.path())).await.must(200).json();
    let items = seen["items"].as_array().expect("items");
    assert!(items.iter().all(|item| item["failed_calls"].is_null()), "the targets are the platform's: {seen}");
}

/// Holds: query.canary
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_model_has_no_requests_for_tenants_own_models_of_its_name() {
    let trial = Trial::start(&["ok"], json!({ "share_percent": 50, "by": "request" })).await;
    let owner = Tenant::new(&trial.gateway, &trial.upstream, &[]).await;
    let own = json!({ "name": trial.tenant.model("tried"), "tenant_id": owner.id,
                      "targets": [target(&trial.tenant, "ok")] });
    made(trial.gateway.operator(), "/models", own).await;
    for (app, times) in [(&trial.tenant.app, 3), (&owner.app, 2)] {
        for _ in 0..times {
            app.post(NATIVE, &trial.tenant.ask("tried")).await.must(200);
        }
    }
    let requests = async || {
        let items = figures(&trial.gateway, &trial.model).await;
        items.iter().filter_map(|item| item["requests"].as_u64()).sum::<u64>()
    };
    assert_eq!(requests().await, 3);
    // With an allow list, the tenant means the shared model by the name.
    let list = json!({ "models": [trial.tenant.model("tried")] });
    trial.gateway.operator().patch(&format!("/v1/admin/tenants/{}", owner.id), &list).await.must(200);
    owner.app.post(NATIVE, &trial.tenant.ask("tried")).await.must(200);
    assert_eq!(requests().await, 6);
}

/// Holds: query.canary
#[tokio::test(flavor = "multi_thread")]
async fn two_providers_of_one_name_have_a_row_each() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let shared = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let owner = Tenant::new(&gateway, &upstream, &[]).await;
    let operator = gateway.operator();
    let own = json!({ "name": shared.name, "kind": "openai", "base_url": upstream.base_url("openai"), "api_key": "k",
                      "allow_private_network": true, "tenant_id": owner.id });
    let own = made(operator, "/providers", own).await;
    let price = json!({ "provider_id": own, "model": "ok", "input_usd_per_mtok": "3", "output_usd_per_mtok": "15" });
    made(operator, "/prices", price).await;
    let mut targets = [target(&shared, "ok"), target(&shared, "ok")];
    targets[1]["provider_id"] = json!(own);
    let canary = json!({ "provider_id": own, "model": "ok", "share_percent": 50, "by": "request" });
    let model = json!({ "name": "tried", "tenant_id": owner.id, "targets": targets, "canary": canary });
    let model = made(operator, "/models", model).await;
    let ask = json!({ "model": "tried", "messages": [{ "role": "user", "content": "hello" }] });
    for _ in 0..16 {
        owner.app.post(NATIVE, &ask).await.must(200);
    }
    let completed = gateway.events_of("inference.completed.v1").await;
    let by =
        |provider: &str| completed.iter().filter(|event| event["data"]["backend"]["provider_id"] == provider).count();
    let items = figures(&gateway, &model).await;
    let of = |item: &Value| [&item["payer"], &item["is_canary"], &item["requests"]].map(Value::clone);
    let expected =
        [[json!("brokered"), json!(false), json!(by(&shared.provider))], [json!("own"), json!(true), json!(by(&own))]];
    assert_eq!(items.iter().map(of).collect::<Vec<_>>(), expected, "{items:?}");
}
