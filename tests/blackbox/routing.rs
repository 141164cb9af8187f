//! Which target of a model is asked.

use serde_json::json;
use testing::upstream::MockUpstream;

use crate::gateway::Gateway;
use crate::tenant::{Tenant, made};

const ASKED: usize = 120;

async fn weighted(gateway: &Gateway, tenant: &Tenant, name: &str, backends: [(&str, u32); 2]) {
    let target = |(backend, weight): (&str, u32)| {
        json!({ "provider_id": tenant.provider, "model": backend, "weight": weight, "priority": 100 - weight,
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
