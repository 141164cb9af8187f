//! A provider whose address leads back to the gateway itself.

use serde_json::json;
use testing::upstream::MockUpstream;

use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Tenant, made};

/// Holds: http.loop
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_back_to_the_gateway_is_refused_after_one_call() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let operator = gateway.operator();
    let provider = json!({ "name": "circle", "kind": "openai", "api_key": tenant.secret, "allow_private_network": true,
                           "base_url": format!("http://127.0.0.1:{}/v1", gateway.port()) });
    let provider = made(operator, "/providers", provider).await;
    let price =
        json!({ "provider_id": provider, "model": "circle", "input_usd_per_mtok": "1", "output_usd_per_mtok": "1" });
    made(operator, "/prices", price).await;
    let targets = json!([{ "provider_id": provider, "model": "circle", "default_max_output_tokens": 9 }]);
    made(operator, "/models", json!({ "name": "circle", "targets": targets })).await;
    let before = gateway.head().await;
    let ask = json!({ "model": "circle", "messages": [{ "role": "user", "content": "hello" }] });
    let reply = tenant.app.post(OPENAI, &ask).await.must(508);
    assert_eq!(reply.json()["error"]["code"], "loop_detected");
    assert_eq!(reply.header("x-should-retry"), "false");
    assert!(gateway.head().await - before < 8, "{:?}", gateway.events().await);
    gateway.books().await;
}

/// Holds: http.loop, http.loop-entries
#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_that_a_request_has_passed_are_passed_on_up_to_eight() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    tenant.openai("ok").await.must(200);
    let lines = || {
        let seen = upstream.seen();
        let lines = seen.last().expect("a request").headers.get_all("cdn-loop").iter();
        lines.map(|line| line.to_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    let own = lines();
    assert!(own.len() == 1 && own[0].starts_with("ledgerway; id="), "{own:?}");
    let chain = |length: usize| vec![format!("ledgerway; id={}", "01".repeat(16)); length].join(", ");
    let with = |entries: &str| tenant.app.clone().with("cdn-loop", entries);
    with(&format!("cdn-of-another-kind, {}", chain(8))).post(OPENAI, &tenant.ask("ok")).await.must(200);
    assert_eq!(lines(), [chain(8), own[0].clone()]);
    let words = format!("cloudflare; loops=9, ledgerway; id=1, {}", "a-secret;,".repeat(1_500));
    for surface in [OPENAI, NATIVE] {
        with(&words).post(surface, &tenant.ask("ok")).await.must(200);
        assert_eq!(lines(), own, "a client's own words stay here");
    }
    for loops in [chain(9), format!("other, {}", own[0])] {
        with(&loops).post(OPENAI, &tenant.ask("ok")).await.must(508);
        with(&loops).post(NATIVE, &tenant.ask("ok")).await.must_be(508, "LOOP_DETECTED");
    }
}
