//! Budgets and rate limits that are narrowed to a model or to metadata.

use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;

use crate::books::{nano, usd};
use crate::client::Reply;
use crate::explain::{explained, requests as requests_of};
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant, made, text};
use crate::views::caught_up;

/// A request of a project.
fn of_project(tenant: &Tenant, model: &str, project: &str) -> Value {
    let mut body = tenant.ask(model);
    body["metadata"] = json!({ "project": project });
    body
}

fn apollo_on(tenant: &Tenant, model: &str) -> Value {
    json!({ "tenant_id": tenant.id, "model": tenant.model(model), "metadata.project": "apollo" })
}

/// Holds: admin.narrowed, event.never-over, http.budget-exceeded, query.explain
#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_a_narrowed_budget_admits_what_it_holds_and_binds_no_others() {
    const ALL: usize = 60;
    const FITS: i64 = 11;
    const OTHERS: usize = 5;
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let setup = Setup { limit_usd: "100", timeout_ms: 30_000, ..Setup::default() };
    let tenant = Tenant::with(&gateway, &upstream, &["gate"], setup).await;
    upstream.open_gate();
    let probe = tenant.app.post(NATIVE, &of_project(&tenant, "gate", "gemini")).await.must(200).json();
    let held = nano(&probe["ledger"]["held_usd"]);
    upstream.close_gate();
    let scope = apollo_on(&tenant, "gate");
    let limit = usd(FITS * held + held / 2);
    let budget = json!({ "scope": scope, "limit_usd": limit, "period": "total" });
    let budget = made(gateway.operator(), "/budgets", budget).await;

    let mut requests = JoinSet::new();
    for project in std::iter::repeat_n("apollo", ALL).chain(std::iter::repeat_n("gemini", OTHERS)) {
        let (app, body) = (tenant.app.clone(), of_project(&tenant, "gate", project));
        requests.spawn(async move { app.post(NATIVE, &body).await });
    }
    let (app, without_metadata) = (tenant.app.clone(), tenant.ask("gate"));
    requests.spawn(async move { app.post(OPENAI, &without_metadata).await });
    // As long as the gate is closed only refusals are answered.
    let refusals = ALL - usize::try_from(FITS).expect("small");
    let mut refused = Vec::new();
    while refused.len() < refusals {
        let answer = requests.join_next().await.expect("a refusal").expect("an answer");
        refused.push(answer.must_be(429, "BUDGET_EXCEEDED"));
    }
    assert_eq!(gateway.budget(&budget).await["held_usd"], usd(FITS * held));
    upstream.open_gate();
    let admitted = requests.join_all().await;
    assert!(admitted.iter().all(|reply| reply.status == 200));
    assert_eq!(admitted.len(), ALL + OTHERS + 1 - refusals);
    for reply in &refused {
        let details = &reply.json()["error"]["details"];
        assert_eq!((&details["budget_id"], &details["scope"]), (&json!(budget), &scope));
    }
    let charged = gateway.budget(&budget).await;
    assert_eq!((&charged["held_usd"], &charged["scope"]), (&json!(usd(0)), &scope));
    let each = nano(&probe["cost_usd"]);
    assert_eq!(nano(&charged["settled_usd"]), FITS * each);

    // Of as many refusals at once, some are recorded as a count, and the one that was answered first may be among them.
    let events = gateway.events().await;
    let recorded = requests_of(&events);
    let one = refused.iter().map(Reply::request_id).find(|request| recorded.contains(request));
    for request in [one.expect("a refusal that is recorded by itself"), admitted[0].request_id()] {
        let said = explained(&gateway, &request).await;
        assert_eq!(said["follows"], true, "{said:#}");
    }
    let me = tenant.app.get("/v1/me").await.must(200).json();
    let shown = me["budgets"].as_array().expect("budgets").iter().find(|shown| shown["id"] == budget.as_str());
    assert_eq!(shown.map(|shown| &shown["scope"]), Some(&scope));

    // What was charged outlasts the process, and the budget still refuses.
    gateway.kill();
    gateway.start_again();
    assert_eq!(gateway.budget(&budget).await["settled_usd"], charged["settled_usd"]);
    let small = json!({ "limit_usd": "0" });
    gateway.operator().patch(&format!("/v1/admin/budgets/{budget}"), &small).await.must(200);
    let apollo = of_project(&tenant, "gate", "apollo");
    tenant.app.post(NATIVE, &apollo).await.must_be(429, "BUDGET_EXCEEDED");
    tenant.app.post(NATIVE, &of_project(&tenant, "gate", "gemini")).await.must(200);
    gateway.operator().delete(&format!("/v1/admin/budgets/{budget}")).await.must(200);
    tenant.app.post(NATIVE, &apollo).await.must(200);
    gateway.stop();
    let (code, said) = gateway.verify();
    assert_eq!(code, Some(0), "{said}");
}

/// Holds: admin.narrowed, admin.limits
#[tokio::test(flavor = "multi_thread")]
async fn a_narrowed_limit_counts_its_requests_alone_and_what_it_refuses_counts_nowhere() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "other"]).await;
    let scope = apollo_on(&tenant, "ok");
    let whole = json!({ "scope": { "tenant_id": tenant.id }, "requests_per_day": 6 });
    made(gateway.operator(), "/rate-limits", whole).await;
    let narrowed = json!({ "scope": scope, "requests_per_day": 2, "tokens_per_day": 1_000_000 });
    let narrowed = made(gateway.operator(), "/rate-limits", narrowed).await;
    let apollo = of_project(&tenant, "ok", "apollo");
    tenant.app.post(NATIVE, &apollo).await.must(200);
    let second = tenant.app.post(OPENAI, &apollo).await.must(200);
    assert_eq!((second.header("x-ratelimit-limit"), second.header("x-ratelimit-remaining")), ("2", "0"));
    for _ in 0..3 {
        let refused = tenant.app.post(NATIVE, &apollo).await.must_be(429, "RATE_LIMITED").json();
        let details = &refused["error"]["details"];
        assert_eq!((&details["limit_id"], &details["scope"]), (&json!(narrowed), &scope));
    }
    // Two of six were counted by all limits.
    for body in [of_project(&tenant, "other", "apollo"), of_project(&tenant, "ok", "gemini"), tenant.ask("ok")] {
        tenant.app.post(NATIVE, &body).await.must(200);
    }
    let sixth = tenant.chat("ok").await.must(200);
    assert_eq!((sixth.header("x-ratelimit-limit"), sixth.header("x-ratelimit-remaining")), ("6", "0"));
    tenant.chat("ok").await.must_be(429, "RATE_LIMITED");
    let me = tenant.app.get("/v1/me").await.must(200).json();
    let limits = me["limits"].as_array().expect("limits").iter();
    let shown: Vec<&Value> = limits.filter(|limit| limit["limit_id"] == narrowed.as_str()).collect();
    assert_eq!(shown.len(), 2, "{me:#}");
    assert!(shown.iter().all(|limit| limit["scope"] == scope));
}

/// Holds: admin.narrowed, admin.aliases, query.explain
#[tokio::test(flavor = "multi_thread")]
async fn what_is_narrowed_to_a_model_binds_its_aliases_too() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "other"]).await;
    let alias = json!({ "name": tenant.model("current"), "alias": [{ "model": tenant.model("ok") }] });
    made(gateway.operator(), "/models", alias).await;
    let scope = json!({ "tenant_id": tenant.id, "model": tenant.model("ok") });
    let budget = json!({ "scope": scope, "limit_usd": "10", "period": "total" });
    let budget = made(gateway.operator(), "/budgets", budget).await;
    let admitted = tenant.chat("current").await.must(200);
    let cost = admitted.json()["cost_usd"].clone();
    assert_eq!(gateway.budget(&budget).await["settled_usd"], cost);
    let path = format!("/v1/admin/budgets/{budget}");
    gateway.operator().patch(&path, &json!({ "limit_usd": "0" })).await.must(200);
    let refused = tenant.chat("current").await.must_be(429, "BUDGET_EXCEEDED");
    assert_eq!(refused.json()["error"]["details"]["scope"], scope);
    let recorded = gateway.life(&refused.request_id()).await[0]["data"].clone();
    assert_eq!(recorded["scoped_by"], json!({ "stands_for": tenant.model("ok") }), "{recorded}");
    for reply in [&admitted, &refused] {
        let said = explained(&gateway, &reply.request_id()).await;
        assert_eq!(said["follows"], true, "{said:#}");
    }
    tenant.chat("other").await.must(200);
    gateway.operator().delete(&path).await.must(200);

    let limit = made(gateway.operator(), "/rate-limits", json!({ "scope": scope, "requests_per_day": 1 })).await;
    tenant.chat("current").await.must(200);
    for model in ["current", "ok"] {
        let refused = tenant.chat(model).await.must_be(429, "RATE_LIMITED").json();
        assert_eq!(refused["error"]["details"]["limit_id"], limit.as_str(), "{model}");
    }
    tenant.chat("other").await.must(200);
    gateway.stop();
    let (code, said) = gateway.verify();
    assert_eq!(code, Some(0), "{said}");
}

/// A scope that a partner narrows has metadata of other tenants: only those see it who may see the partner's budgets.
/// Holds: admin.narrowed
#[tokio::test(flavor = "multi_thread")]
async fn what_a_partner_narrows_is_shown_to_nobody_below_it() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let scope = json!({ "partner_id": tenant.partner, "metadata.project": "of-another-tenant" });
    let budget = json!({ "scope": scope, "limit_usd": "1", "period": "day" });
    made(gateway.operator(), "/budgets", budget).await;
    made(gateway.operator(), "/rate-limits", json!({ "scope": scope, "requests_per_day": 9 })).await;
    let own = json!({ "scope": apollo_on(&tenant, "ok"), "limit_usd": "1", "period": "day" });
    made(gateway.operator(), "/budgets", own).await;
    let key = |role: &str, scope: Value| {
        let user = json!({ "tenant_id": tenant.id, "name": role, "roles": [{ "role": role, "scope": scope }] });
        let gateway = &gateway;
        async move {
            let user = made(gateway.operator(), "/users", user).await;
            let key = json!({ "user_id": user, "name": "reads", "permissions": ["usage:read"] });
            let key = gateway.operator().post("/v1/admin/keys", &key).await.must(201).json();
            gateway.client(key["secret"].as_str())
        }
    };
    let of_tenant = key("tenant_admin", json!({ "tenant_id": tenant.id })).await;
    let of_partner = key("partner_admin", json!({ "partner_id": tenant.partner })).await;
    caught_up(&gateway).await;
    for (client, partners_shown) in [(&tenant.app, false), (&of_tenant, false), (&of_partner, true)] {
        let me = client.get("/v1/me").await.must(200).json();
        for list in ["budgets", "limits"] {
            let mut shown = me[list].as_array().expect("a list").iter();
            assert_eq!(shown.any(|shown| shown["scope"] == scope), partners_shown, "{me:#}");
        }
        let mut shown = me["budgets"].as_array().expect("budgets").iter();
        assert!(shown.any(|shown| shown["scope"] == apollo_on(&tenant, "ok")), "{me:#}");
    }
}

/// Holds: admin.narrowed
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_has_few_budgets_under_one_condition_and_many_under_different_ones() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let budget = |project: &str, model: usize| {
        let scope = json!({ "tenant_id": tenant.id, "metadata.project": project, "model": format!("m{model}") });
        json!({ "scope": scope, "limit_usd": "1", "period": "day" })
    };
    let mut last = String::new();
    for model in 0..32 {
        last = made(gateway.operator(), "/budgets", budget("apollo", model)).await;
    }
    let refused = gateway.operator().post("/v1/admin/budgets", &budget("apollo", 32)).await;
    assert_eq!(refused.must_be(400, "INVALID_REQUEST").json()["error"]["details"]["field"], "scope");
    made(gateway.operator(), "/budgets", budget("gemini", 32)).await;
    gateway.operator().delete(&format!("/v1/admin/budgets/{last}")).await.must(200);
    made(gateway.operator(), "/budgets", budget("apollo", 33)).await;
    let wrong = json!({ "scope": { "tenant_id": tenant.id, "modell": "m" }, "limit_usd": "1", "period": "day" });
    let refused = gateway.operator().post("/v1/admin/budgets", &wrong).await.must_be(400, "INVALID_REQUEST").json();
    assert_eq!(text(&refused["error"]["details"]["field"]), "scope.modell");
}
