//! Names of providers whose name server does not answer: they keep nobody from the names of others. The gateway has a name server of
//! its own here, by a mount that only its process sees: that needs root, and UDP port 53.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;
use testing::name_server::NameServer;
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::body_memory::metric_of;
use crate::gateway::{Gateway, SHELL_FIRST};
use crate::tenant::{NATIVE, Tenant, made};

fn start_gateway(names: &NameServer) -> Gateway {
    Gateway::start_with(&[(SHELL_FIRST, &names.shell_first())])
}

/// Adds a priced model of a provider of the tenant's own, at this host.
async fn add_own(gateway: &Gateway, tenant: &Tenant, upstream: &MockUpstream, name: &str, host: &str) {
    let base_url = upstream.base_url("openai").replace("127.0.0.1", host);
    let provider = json!({ "name": name, "kind": "openai", "base_url": base_url, "allow_private_network": true,
                           "tenant_id": tenant.id, "api_key": "k" });
    let provider = made(gateway.operator(), "/providers", provider).await;
    let price =
        json!({ "provider_id": provider, "model": "ok", "input_usd_per_mtok": "2", "output_usd_per_mtok": "4" });
    made(gateway.operator(), "/prices", price).await;
    let target = json!({ "provider_id": provider, "model": "ok", "default_max_output_tokens": 64 });
    let model = json!({ "name": tenant.model(name), "tenant_id": tenant.id, "targets": [target] });
    made(gateway.operator(), "/models", model).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_hang_keep_nobody_from_the_names_of_others() {
    let names = NameServer::start().await.expect("root, and port 53");
    let (gateway, upstream) = (start_gateway(&names), MockUpstream::start().await);
    let hostile = Tenant::new(&gateway, &upstream, &[]).await;
    let honest = Tenant::new(&gateway, &upstream, &[]).await;
    for number in 0..20 {
        add_own(&gateway, &hostile, &upstream, &number.to_string(), &format!("n{number}.hang.test")).await;
    }
    add_own(&gateway, &honest, &upstream, "m", "here.test").await;
    let mut asking = JoinSet::new();
    for number in (0..20).chain(0..20) {
        let (app, body) = (gateway.client(Some(&hostile.secret)), hostile.ask(&number.to_string()));
        asking.spawn(async move { app.post(NATIVE, &body).await.status });
    }
    sleep(Duration::from_millis(500)).await;
    let began = Instant::now();
    honest.chat("m").await.must(200);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    for status in asking.join_all().await {
        assert!(status >= 500, "{status}");
    }
    let asked = names.asked();
    let hanging: BTreeSet<&String> = asked.keys().filter(|name| name.ends_with("hang.test")).collect();
    assert!((1..=8).contains(&hanging.len()), "a tenant has four turns, and as many late ones: {asked:?}");
    assert!(metric_of(&gateway, "ledgerway_blocking_work_running{pool=\"late-names\"} ").await <= 4);
    // Nothing of it is left for those who come now.
    honest.chat("m").await.must(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_looked_up_once_and_a_missing_one_not_again_at_once() {
    let names = NameServer::start().await.expect("root, and port 53");
    let (gateway, upstream) = (start_gateway(&names), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &[]).await;
    add_own(&gateway, &tenant, &upstream, "m", "here.test").await;
    add_own(&gateway, &tenant, &upstream, "missing", "missing.test").await;
    let mut asking = JoinSet::new();
    for _ in 0..20 {
        let (app, body) = (gateway.client(Some(&tenant.secret)), tenant.ask("m"));
        asking.spawn(async move { app.post(NATIVE, &body).await.status });
    }
    assert_eq!(asking.join_all().await, [200; 20]);
    for _ in 0..2 {
        assert!(tenant.chat("missing").await.status >= 500);
    }
    let asked = names.asked();
    assert_eq!((asked["here.test"], asked["missing.test"]), (1, 1), "{asked:?}");
}
