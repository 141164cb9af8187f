//! Names of providers: unique among the live ones that all tenants share, and among each tenant's own.

use std::time::Duration;

use dialects::ProviderKind;
use events::event::admin::Provider;
use events::event::{Actor, Change, Context, Event, Stream, StreamKind};
use events::ids::ProviderId;
use events::refusal::ErrorCode;
use events_log::{Append, Basis};
use serde_json::{Value, json};

use super::lab::{Lab, Reply};

/// Holds: admin.provider-names
#[tokio::test]
async fn a_providers_name_is_taken_once_among_the_live_ones_of_its_scope() {
    let lab = Lab::new().await;
    let operator = lab.operator();
    let other = lab.make("/tenants", json!({"name": "other"})).await;
    let tenant = lab.tenancy.tenant.to_string();
    let simulator = |name: &str, tenant: Option<&str>| json!({"name": name, "kind": "simulator", "tenant_id": tenant});
    let post = async |body: Value| lab.send(&operator, "POST", "/v1/admin/providers", &body).await;
    let patch =
        async |id: &str, body: Value| lab.send(&operator, "PATCH", &format!("/v1/admin/providers/{id}"), &body).await;
    let must_be_taken = |reply: Reply| {
        let refusal = reply.refused();
        assert_eq!((refusal.code, &refusal.details["field"]), (ErrorCode::Conflict, &json!("name")), "{refusal:?}");
    };
    let shared = lab.make("/providers", simulator("sim", None)).await;
    let own = lab.make("/providers", simulator("sim", Some(&tenant))).await;
    lab.make("/providers", simulator("sim", Some(&other))).await;
    for scope in [None, Some(tenant.as_str()), Some(other.as_str())] {
        must_be_taken(post(simulator("sim", scope)).await);
    }
    // A name that was given up is free, an unchanged one stays, and a taken one is refused.
    patch(&own, json!({"name": "sim"})).await.must(200);
    patch(&own, json!({"name": "two"})).await.must(200);
    let second = lab.make("/providers", simulator("sim", Some(&tenant))).await;
    must_be_taken(patch(&own, json!({"name": "sim"})).await);
    must_be_taken(patch(&second, json!({"name": "two"})).await);
    // The end of a provider also frees its name.
    let one = format!("/v1/admin/providers/{shared}");
    lab.send(&operator, "DELETE", &one, &json!({})).await.must(200);
    lab.make("/providers", simulator("sim", None)).await;
    assert_eq!(patch(&shared, json!({"name": "three"})).await.status, 409, "it has ended");
    lab.make("/providers", simulator("three", None)).await;
}

#[tokio::test]
async fn of_concurrent_claims_to_a_providers_name_one_succeeds() {
    let lab = Lab::new().await;
    let operator = lab.operator();
    let post = || async {
        lab.send(&operator, "POST", "/v1/admin/providers", &json!({"name": "sim", "kind": "simulator"})).await.status
    };
    let (one, two, three) = tokio::join!(post(), post(), post());
    let mut statuses = [one, two, three];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409]);
}

/// Earlier versions allowed duplicate names.
#[tokio::test]
async fn providers_that_already_share_a_name_keep_it_and_can_be_renamed() {
    let lab = Lab::new().await;
    let operator = lab.operator();
    let mut twins = Vec::new();
    for _ in 0..2 {
        let id = lab.admin.ids.make();
        let twin = Provider { timeout_ms: 1, idle_timeout_ms: 1, ..Provider::new(id, "twin", ProviderKind::Simulator) };
        let append = Append {
            stream: Stream::new(StreamKind::Provider, id),
            expected_sequence: 0,
            events: vec![Event::from(Change::created(twin))],
            context: Context::of(Actor::Operator),
            side: vec![],
            idempotency: None,
            basis: Basis::default(),
        };
        let position = lab.admin.log.append(append).await.unwrap().last;
        assert!(lab.admin.tables.wait_for(position, Duration::from_secs(5)).await);
        twins.push(id);
    }
    let patch = async |id: ProviderId, body: Value| {
        lab.send(&operator, "PATCH", &format!("/v1/admin/providers/{id}"), &body).await
    };
    let make = json!({"name": "twin", "kind": "simulator"});
    let make = async || lab.send(&operator, "POST", "/v1/admin/providers", &make).await.status;
    assert_eq!(make().await, 409);
    patch(twins[0], json!({"name": "twin", "timeout_ms": 7})).await.must(200);
    patch(twins[0], json!({"name": "first"})).await.must(200);
    assert_eq!(make().await, 409, "the other one has it still");
    assert_eq!(patch(twins[0], json!({"name": "twin"})).await.status, 409);
    patch(twins[1], json!({"name": "second"})).await.must(200);
    assert_eq!(make().await, 201);
}
