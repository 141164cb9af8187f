//! The terms of targets: what a tenant or a request requires, no target is called that is not stated to meet it, and the log proves it.

use events::log::LEDGER_FILE;
use rusqlite::Connection;
use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::client::{Client, Reply};
use crate::embeddings::EMBEDDINGS;
use crate::explain::explained;
use crate::gateway::{Gateway, type_of};
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant, made, text};

const MESSAGES: &str = "/v1/messages";
const COUNT: &str = "/v1/messages/count_tokens";

/// A target that is tried the earlier the lower its number is, with what is stated of it.
fn target(tenant: &Tenant, (priority, backend): (usize, &str), stated: &Value) -> Value {
    let mut target = json!({ "provider_id": tenant.provider, "model": backend, "priority": priority,
                             "default_max_output_tokens": 64 });
    for (name, value) in stated.as_object().expect("terms") {
        target[name] = value.clone();
    }
    target
}

/// A shared model whose targets are tried in this order.
async fn model(gateway: &Gateway, tenant: &Tenant, name: &str, targets: &[(&str, Value)]) -> String {
    let targets: Vec<Value> =
        targets.iter().enumerate().map(|(at, (backend, stated))| target(tenant, (at, *backend), stated)).collect();
    made(gateway.operator(), "/models", json!({ "name": tenant.model(name), "targets": targets })).await
}

async fn tenant_requiring(gateway: &Gateway, upstream: &MockUpstream, kind: &'static str, terms: Value) -> Tenant {
    let setup = Setup { kind, required_terms: terms, ..Setup::default() };
    let tenant = Tenant::with(gateway, upstream, &[], setup).await;
    for backend in ["ok", "e500", "slow-1"] {
        tenant.price(backend).await;
    }
    tenant
}

fn asking(tenant: &Tenant, name: &str) -> Value {
    let mut body = tenant.ask(name);
    body["max_tokens"] = json!(16);
    body
}

fn backend(reply: &Reply) -> &str {
    reply.header("x-ledgerway-backend").rsplit('/').next().unwrap_or_default()
}

/// Returns the term in a native refusal.
fn unmet(refused: &Reply) -> [Value; 3] {
    ["term", "required", "required_by"].map(|name| refused.json()["error"]["details"][name].clone())
}

fn called(upstream: &MockUpstream) -> Vec<String> {
    let mut called: Vec<String> = upstream.seen().iter().map(|call| call.model().to_owned()).collect();
    called.dedup();
    called
}

/// Neither after failures of all others, nor while their breakers are open.
/// Holds: inf.terms
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_does_not_meet_a_term_is_never_called_and_the_log_proves_it() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant_requiring(&gateway, &upstream, "openai", json!({ "residency": "eu" })).await;
    let (eu, us) = (json!({ "region": "eu-central-1" }), json!({ "region": "us" }));
    model(&gateway, &tenant, "second", &[("slow-1", us.clone()), ("ok", eu.clone())]).await;
    let reply = tenant.chat("second").await.must(200);
    assert_eq!(backend(&reply), "ok");
    let said = explained(&gateway, &reply.request_id()).await;
    assert_eq!(said["follows"], true, "{said:#}");
    assert_eq!(said["route"]["terms"], json!({ "tenant": { "residency": "eu" }, "request": {} }), "{said:#}");
    assert_eq!(said["route"]["targets"][1]["left_out"], "residency_not_met", "{said:#}");

    model(&gateway, &tenant, "failing", &[("e500", eu), ("ok", us), ("slow-1", json!({}))]).await;
    let before = upstream.seen().len();
    for _ in 0..7 {
        let failed = tenant.chat("failing").await;
        assert!(failed.status >= 500, "{failed:?}");
        assert_eq!(explained(&gateway, &failed.request_id()).await["follows"], true);
    }
    assert!(upstream.seen()[before..].iter().all(|call| call.model() == "e500"));
    // The others met it from the beginning, so that they stand for what is not required.
    let free = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let reply = free.chat("ok").await.must(200);
    assert_eq!(explained(&gateway, &reply.request_id()).await["route"]["terms"], Value::Null);
}

/// Holds: inf.terms
#[tokio::test(flavor = "multi_thread")]
async fn without_a_target_that_meets_the_terms_every_surface_refuses_and_names_the_term() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let required = json!({ "residency": "eu", "zero_retention": true, "training": false });
    let tenant = tenant_requiring(&gateway, &upstream, "anthropic", required).await;
    let most = json!({ "region": "eu", "zero_retention": true });
    model(&gateway, &tenant, "unmet", &[("ok", most.clone())]).await;
    model(&gateway, &tenant, "elsewhere", &[("ok", json!({ "region": "us" }))]).await;
    for path in [OPENAI, MESSAGES, "/v1/responses"] {
        let mut body = asking(&tenant, "unmet");
        if path == "/v1/responses" {
            body = json!({ "model": tenant.model("unmet"), "input": "hello" });
        }
        let refused = tenant.app.post(path, &body).await.must(403).json();
        assert_eq!(refused["error"]["type"], "permission_error", "{path}: {refused}");
        assert!(refused["error"]["message"].as_str().is_some_and(|said| said.contains("requires training false")));
    }
    tenant.app.post(OPENAI, &tenant.ask("unmet")).await.must_be(403, "terms_not_met");
    tenant.app.post(COUNT, &asking(&tenant, "unmet")).await.must(403);
    let refused = tenant.chat("unmet").await.must_be(403, "TERMS_NOT_MET");
    assert_eq!(unmet(&refused), [json!("training"), json!(false), json!("tenant")]);
    let refused = tenant.chat("elsewhere").await.must_be(403, "TERMS_NOT_MET");
    assert_eq!(unmet(&refused), [json!("residency"), json!("eu"), json!("tenant")]);
    assert!(upstream.seen().is_empty(), "{:?}", called(&upstream));

    let recorded = gateway.life(&refused.request_id()).await;
    assert_eq!(type_of(&recorded[0]), "inference.refused.v1");
    let data = &recorded[0]["data"];
    assert_eq!(
        (&data["code"], &data["term"], &data["required"], &data["required_by"]),
        (&json!("TERMS_NOT_MET"), &json!("residency"), &json!("eu"), &json!("tenant"))
    );
    // Its models are those that can serve it.
    let listed = tenant.app.get("/v1/models").await.must(200).json();
    assert!(!listed.to_string().contains(&tenant.model("unmet")), "{listed}");
    let mut stated = most;
    stated["training"] = json!(false);
    model(&gateway, &tenant, "met", &[("ok", stated)]).await;
    let counted = json!({ "region": "eu", "zero_retention": true, "training": false });
    tenant.price("said").await;
    model(&gateway, &tenant, "counted", &[("ok", json!({})), ("said", counted)]).await;
    upstream.says("application/json", r#"{"input_tokens":17}"#);
    let count = tenant.app.post(COUNT, &asking(&tenant, "counted")).await.must(200).json();
    assert_eq!(count, json!({ "input_tokens": 17 }));
    assert_eq!(called(&upstream), ["said"]);
    // What the request requires counts as well.
    let stating = |region: &str| json!({ "region": region, "zero_retention": true, "training": false });
    model(&gateway, &tenant, "nearer", &[("ok", stating("eu")), ("said", stating("eu-west-3"))]).await;
    let nearer = tenant.app.clone().with("x-ledgerway-residency", "eu-west-3");
    nearer.post(COUNT, &asking(&tenant, "nearer")).await.must(200);
    assert_eq!(called(&upstream), ["said"]);
    // The tenant's requirement alone does not explain why no target can serve.
    let elsewhere = tenant.app.clone().with("x-ledgerway-residency", "us");
    let refused = elsewhere.post(NATIVE, &tenant.ask("nearer")).await.must_be(403, "TERMS_NOT_MET");
    assert_eq!(unmet(&refused), [json!("residency"), json!("us"), json!("request")]);
    // Also of a target that does not meet another term of the tenant.
    model(&gateway, &tenant, "only-region", &[("ok", json!({ "region": "eu" }))]).await;
    let other = elsewhere.post(NATIVE, &tenant.ask("only-region")).await.must_be(403, "TERMS_NOT_MET");
    assert_eq!(unmet(&other), [json!("residency"), json!("us"), json!("request")]);
    let message = refused.json()["error"]["message"].to_string();
    assert!(
        message.contains("the tenant requires residency eu and the request residency us, and no region is within both"),
        "{message}"
    );
    assert_eq!(backend(&tenant.chat("met").await.must(200)), "ok");
    assert!(tenant.app.get("/v1/models").await.must(200).json().to_string().contains(&tenant.model("met")));
}

/// Holds: inf.terms-of-requests
#[tokio::test(flavor = "multi_thread")]
async fn a_request_adds_to_what_its_tenant_requires() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant_requiring(&gateway, &upstream, "openai", json!({ "residency": "eu" })).await;
    let keeping = json!({ "region": "eu" });
    let keeping_nothing = json!({ "region": "eu-west-3", "zero_retention": true, "training": false });
    model(&gateway, &tenant, "both", &[("slow-1", keeping), ("ok", keeping_nothing)]).await;
    let with = |headers: &[(&'static str, &str)]| {
        headers.iter().fold(tenant.app.clone(), |app: Client, (name, value)| app.with(name, value))
    };
    let paths = [NATIVE, OPENAI, "/v1/completions"];
    for (headers, served) in [
        (&[][..], "slow-1"),
        (&[("x-ledgerway-zero-retention", "true")][..], "ok"),
        (&[("x-ledgerway-training", "false")][..], "ok"),
        (&[("x-ledgerway-residency", "eu-west-3")][..], "ok"),
        (&[("x-ledgerway-residency", "eu"), ("x-ledgerway-training", "true")][..], "slow-1"),
    ] {
        for path in paths {
            let mut body = tenant.ask("both");
            if path == "/v1/completions" {
                body = json!({ "model": tenant.model("both"), "prompt": "hello" });
            }
            let reply = with(headers).post(path, &body).await.must(200);
            assert_eq!(backend(&reply), served, "{path} {headers:?}");
            assert_eq!(explained(&gateway, &reply.request_id()).await["route"]["follows"], true);
        }
    }
    // What the tenant requires stays required, whatever the request adds.
    tenant.price("slow-2").await;
    let abroad = json!({ "region": "us", "zero_retention": true, "training": false });
    let near = json!({ "region": "eu-west-3", "zero_retention": true, "training": false });
    model(&gateway, &tenant, "abroad-first", &[("slow-2", abroad), ("ok", near)]).await;
    for added in [("x-ledgerway-zero-retention", "true"), ("x-ledgerway-training", "false")] {
        let reply = with(&[added]).post(NATIVE, &tenant.ask("abroad-first")).await.must(200);
        assert_eq!((backend(&reply), upstream.seen_of("slow-2")), ("ok", 0), "{added:?}");
    }
    let mut of_body = tenant.ask("both");
    of_body["terms"] = json!({ "zero_retention": true });
    let reply = tenant.app.post(NATIVE, &of_body).await.must(200);
    let said = explained(&gateway, &reply.request_id()).await;
    assert_eq!(
        (backend(&reply), &said["route"]["terms"]["request"]),
        ("ok", &json!({ "zero_retention": true })),
        "{said:#}"
    );
    let refused = with(&[("x-ledgerway-residency", "us")]).post(NATIVE, &tenant.ask("both")).await;
    assert_eq!(unmet(&refused.must_be(403, "TERMS_NOT_MET")), [json!("residency"), json!("us"), json!("request")]);
    let embedding = json!({ "model": tenant.model("both"), "input": "hello" });
    with(&[("x-ledgerway-residency", "us")]).post(EMBEDDINGS, &embedding).await.must_be(403, "terms_not_met");

    of_body["terms"] = json!({ "residency": "us" });
    for (app, body, field) in [
        (with(&[("x-ledgerway-residency", "EU")]), tenant.ask("both"), "x-ledgerway-residency"),
        (with(&[("x-ledgerway-training", "no")]), tenant.ask("both"), "x-ledgerway-training"),
        (with(&[("x-ledgerway-residency", "eu")]), of_body.clone(), "x-ledgerway-residency"),
    ] {
        let refused = app.post(NATIVE, &body).await.must_be(400, "INVALID_REQUEST").json();
        assert_eq!(refused["error"]["details"]["field"], field, "{refused}");
    }
    for (terms, field) in [
        (json!({ "residency": "EU" }), "terms.residency"),
        (json!({ "region": "eu" }), "terms.region"),
        (json!({ "training": 0 }), "terms.training"),
        (json!("eu"), "terms"),
    ] {
        of_body["terms"] = terms;
        let refused = tenant.app.post(NATIVE, &of_body).await.must_be(400, "INVALID_REQUEST").json();
        assert_eq!(refused["error"]["details"]["field"], field, "{refused}");
    }
    // Another requirement makes another request of it.
    let once = |headers: &[(&'static str, &str)]| with(headers).with("idempotency-key", "once");
    once(&[]).post(NATIVE, &tenant.ask("both")).await.must(200);
    let again = once(&[("x-ledgerway-training", "false")]).post(NATIVE, &tenant.ask("both")).await;
    let again = again.must_be(409, "IDEMPOTENCY_KEY_REUSED").json();
    assert!(again["error"]["details"].get("cost_usd").is_none(), "{again}");
}

async fn administrator(gateway: &Gateway, tenant: &Tenant) -> Client {
    let user = json!({ "tenant_id": tenant.id, "name": "admin", "roles": ["tenant_admin"] });
    let user = made(gateway.operator(), "/users", user).await;
    let key = json!({ "user_id": user, "name": "admin", "permissions": ["admin:access", "models:use"] });
    let key = gateway.operator().post("/v1/admin/keys", &key).await.must(201).json();
    gateway.client(key["secret"].as_str())
}

/// Holds: admin.required-terms
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_adds_to_its_terms_and_takes_nothing_out() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant_requiring(&gateway, &upstream, "openai", json!({ "residency": "eu" })).await;
    let admin = administrator(&gateway, &tenant).await;
    let path = format!("/v1/admin/tenants/{}", tenant.id);
    let set = |terms: Value| json!({ "required_terms": terms });
    let added = admin.patch(&path, &set(json!({ "residency": "eu-west-3", "training": false }))).await.must(200).json();
    assert_eq!(added["required_terms"], json!({ "residency": "eu-west-3", "training": false }));
    for fewer in
        [json!({ "residency": "eu-west-3" }), json!({ "residency": "eu", "training": false }), json!({}), json!(null)]
    {
        admin.patch(&path, &set(fewer)).await.must_be(403, "FORBIDDEN");
    }
    let none = gateway.operator().patch(&path, &set(json!(null))).await.must(200).json();
    assert_eq!(none["required_terms"], json!({}));
    for (wrong, field) in [
        (json!({ "residency": "EU" }), "required_terms.residency"),
        (json!({ "retention": true }), "required_terms.retention"),
        (json!([]), "required_terms"),
    ] {
        let refused = gateway.operator().patch(&path, &set(wrong)).await.must_be(400, "INVALID_REQUEST").json();
        assert_eq!(refused["error"]["details"]["field"], field, "{refused}");
    }
}

/// Holds: admin.terms-of-shared-providers
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_promises_nothing_for_a_provider_that_is_shared() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant_requiring(&gateway, &upstream, "openai", json!({ "residency": "eu" })).await;
    let admin = administrator(&gateway, &tenant).await;
    let claimed = target(&tenant, (0, "ok"), &json!({ "region": "eu" }));
    let own = json!({ "name": tenant.model("own"), "tenant_id": tenant.id, "targets": [claimed] });
    admin.post("/v1/admin/models", &own).await.must(201);
    tenant.chat("own").await.must_be(403, "TERMS_NOT_MET");
    let shared = model(&gateway, &tenant, "shared", &[("ok", json!({ "region": "eu" }))]).await;
    let reply = tenant.chat("own").await.must(200);
    let said = explained(&gateway, &reply.request_id()).await;
    assert_eq!(said["follows"], true, "{said:#}");
    gateway.operator().delete(&format!("/v1/admin/models/{shared}")).await.must(200);
    tenant.chat("own").await.must_be(403, "TERMS_NOT_MET");
    // What was so then stays proven.
    assert_eq!(explained(&gateway, &reply.request_id()).await["follows"], true);
}

/// Holds: admin.model-explain
#[tokio::test(flavor = "multi_thread")]
async fn a_model_explains_which_targets_meet_the_terms() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant_requiring(&gateway, &upstream, "openai", json!({ "residency": "eu" })).await;
    let targets = [("slow-1", json!({ "region": "us" })), ("ok", json!({ "region": "eu" })), ("e500", json!({}))];
    let id = model(&gateway, &tenant, "asked", &targets).await;
    let acting = gateway.operator().clone().with("x-tenant-id", &tenant.id);
    let explain = async |terms: Value| {
        let body = json!({ "request": { "messages": [{ "role": "user", "content": "hello" }] }, "terms": terms });
        acting.post(&format!("/v1/admin/models/{id}/explain"), &body).await.must(200).json()
    };
    let said = explain(json!(null)).await;
    let why: Vec<(String, &Value)> = said["targets"]
        .as_array()
        .expect("targets")
        .iter()
        .map(|target| (text(&target["model"]), &target["left_out"]))
        .collect();
    let unmet = json!("residency_not_met");
    assert_eq!(why, [("ok".into(), &Value::Null), ("slow-1".into(), &unmet), ("e500".into(), &unmet)]);
    assert_eq!(said["terms"], json!({ "tenant": { "residency": "eu" }, "request": {} }));
    let said = explain(json!({ "zero_retention": true })).await;
    let of_ok = said["targets"].as_array().expect("targets").iter().find(|target| target["model"] == "ok");
    assert_eq!(of_ok.expect("a target")["left_out"], "zero_retention_not_met", "{said}");
    assert!(text(&said["in_words"]).contains("does not meet the required zero_retention"), "{said}");
}

/// Holds: inf.terms
#[tokio::test(flavor = "multi_thread")]
async fn verify_reports_an_admission_whose_terms_no_shared_model_states() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let setup = Setup { required_terms: json!({ "residency": "eu" }), ..Setup::default() };
    let tenant = Tenant::with(&gateway, &upstream, &[], setup).await;
    tenant.price("ok").await;
    model(&gateway, &tenant, "shared", &[("ok", json!({ "region": "eu" }))]).await;
    let of_another = model(&gateway, &tenant, "other", &[("e500", json!({ "region": "eu" }))]).await;
    let owned = json!({ "name": tenant.model("owned"), "tenant_id": tenant.id,
                        "targets": [target(&tenant, (0, "ok"), &json!({}))] });
    made(gateway.operator(), "/models", owned).await;
    tenant.chat("owned").await.must(200);
    gateway.stop();
    let (code, words) = gateway.verify();
    assert_eq!(code, Some(0), "{words}");

    let ledger = gateway.data().join(LEDGER_FILE);
    let kept = std::fs::read(&ledger).expect("the ledger");
    for version in [
        "json_extract(payload, '$.versions.model')".to_owned(),
        format!("(SELECT position FROM events WHERE event_type = 'model.created' AND aggregate_id = '{of_another}')"),
    ] {
        let db = Connection::open(&ledger).expect("the ledger");
        db.execute_batch("DROP TRIGGER events_are_never_changed").expect("unlocked");
        let forge = format!(
            "UPDATE events SET payload = json_set(payload, '$.route.terms.stated_by', (SELECT json_group_object(key, \
             json_array({version})) FROM json_each(payload, '$.route.terms.stated_by'))) WHERE event_type = 'inference.admitted'"
        );
        assert_eq!(db.execute(&forge, []).expect("changed"), 1);
        drop(db);
        let (code, words) = gateway.verify();
        assert!(
            code != Some(0) && words.contains("no model that all tenants share states the terms of"),
            "{code:?} {words}"
        );
        std::fs::write(&ledger, &kept).expect("written");
    }
}
