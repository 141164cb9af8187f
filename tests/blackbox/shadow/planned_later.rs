//! A copy is planned once its request has been answered: by what is in force then, and without what its client asked for itself.

use tokio::task::JoinSet;

use super::*;

/// A request for a shared model that has a shadow is under way, and this is changed of its tenant meanwhile: no copy is planned.
async fn not_copied_after(change: impl AsyncFnOnce(&Gateway, &Tenant)) {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let setup = Setup { timeout_ms: 60_000, ..Setup::default() };
    let tenant = Tenant::with(&gateway, &upstream, &["gate", "ok"], setup).await;
    copy_to(&gateway, &tenant, "gate", "ok", 100).await;
    let other = Tenant::new(&gateway, &upstream, &[]).await;
    let (app, body) = (other.app.clone(), tenant.ask("gate"));
    let mut asked = JoinSet::new();
    asked.spawn(async move { app.post(NATIVE, &body).await });
    upstream.until_seen("gate", 1).await;
    change(&gateway, &other).await;
    upstream.open_gate();
    asked.join_next().await.expect("a request").expect("a reply").must(200);
    until_metric_is(&gateway, &outcome("refused"), 1).await;
    assert_eq!((upstream.seen_of("ok"), copies(&gateway).await.len()), (0, 0));
    must_be_sound(&mut gateway);
}

/// Holds: admin.shadow-terms
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_meets_what_its_tenant_requires_by_then() {
    not_copied_after(async |gateway, other| {
        let terms = json!({ "required_terms": { "residency": "eu" } });
        gateway.operator().patch(&format!("/v1/admin/tenants/{}", other.id), &terms).await.must(200);
    })
    .await;
}

/// Holds: admin.shadow-terms
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_copied_of_a_tenant_that_is_deleted_before_its_request_has_ended() {
    not_copied_after(async |gateway, other| {
        gateway.operator().delete(&format!("/v1/admin/tenants/{}", other.id)).await.must(200);
    })
    .await;
}

/// Holds: admin.shadow
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_has_neither_the_session_nor_the_strategy_of_its_request() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let mut targets = Vec::new();
    for backend in ["slow-1", "slow-2", "slow-3"] {
        tenant.price(backend).await;
        targets.push(json!({ "provider_id": tenant.provider, "model": backend, "default_max_output_tokens": 64 }));
    }
    let next = json!({ "name": tenant.model("next"), "affinity": "session", "targets": targets });
    made(gateway.operator(), "/models", next).await;
    copy_to(&gateway, &tenant, "ok", "next", 100).await;
    let (_, app) = tenant.new_key(&gateway, json!({ "permissions": ["models:use", "routing:choose"] })).await;
    let app = app.with("x-ledgerway-session", "s-1").with("x-ledgerway-strategy", "quality");
    let mut body = tenant.ask("ok");
    body["prompt_cache_key"] = json!("s-2");
    let original = app.post(OPENAI, &body).await.must(200).request_id();
    assert_eq!(data_of(&gateway, &original, "inference.admitted.v1").await["route"]["chosen_by"], "request");
    let copy = copy_of(&gateway, &original).await;
    assert_eq!(copy["data"].get("route"), None, "{copy}");
    must_be_sound(&mut gateway);
}
