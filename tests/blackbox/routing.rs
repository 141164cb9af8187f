//! Which target of a model is asked.

use serde_json::json;
use testing::upstream::MockUpstream;

use crate::gateway::Gateway;
use crate::tenant::{OPENAI, Setup, Tenant, made};

const ASKED: usize = 120;

async fn weighted(gateway: &Gateway, tenant: &Tenant, name: &str, backends: [(&str, u32); 2]) {
    let target = |(backend, weight): (&str, u32)| {
        json!({ "provider_id": tenant.provider, "model": backend, "weight": weight,
                "max_output_tokens": 64 })
    };
    let targets: Vec<_> = backends.into_iter().map(target).collect();
    let model = json!({ "name": tenant.model(name), "strategy": "weighted", "targets": targets });
    made(gateway.operator(), "/models", model).await;
}

/// Holds: admin.strategies
#[tokio::test(flavor = "multi_thread")]
async fn weights_share_out_the_requests_and_a_target_that_fails_is_made_up_for() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "slow-1", "e500"]).await;
    weighted(&gateway, &tenant, "shared", [("ok", 3), ("slow-1", 1)]).await;
    let mut heavier = 0;
    for _ in 0..ASKED {
        let backend = tenant.chat("shared").await.must(200).headers["x-ledgerway-backend"].clone();
        heavier += usize::from(backend == format!("{}/ok", tenant.name));
    }
    // Three of four; the bounds are five standard deviations away.
    assert!((66..=114).contains(&heavier), "{heavier} of {ASKED}");

    weighted(&gateway, &tenant, "limping", [("e500", 9), ("ok", 1)]).await;
    for _ in 0..10 {
        tenant.chat("limping").await.must(200);
    }
    let failed = tenant.events_of(&gateway, &["inference.attempt_failed"]).await;
    assert!(!failed.is_empty(), "the heavier target was never asked");
}

/// A large body is written off the connection thread, anew for each call.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_reaches_the_target_after_the_one_that_fails() {
    for kind in ["openai", "anthropic"] {
        let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
        let setup = Setup { kind, ..Setup::default() };
        let tenant = Tenant::with(&gateway, &upstream, &["e500", "ok"], setup).await;
        weighted(&gateway, &tenant, "limping", [("e500", 1), ("ok", 0)]).await;
        let mut body = tenant.ask("limping");
        body["messages"][0]["content"] = json!("a line\n".repeat(100_000));
        tenant.app.post(OPENAI, &body).await.must(200);
        let seen = upstream.seen();
        assert!(seen.len() >= 2, "the target that fails was asked first");
        for call in seen {
            assert!(call.body.to_string().contains(&"a line\\n".repeat(100_000)), "{}", call.model());
        }
    }
}
