use std::time::Duration;

use events::content::ContentSalts;
use events::event::{Actor, Chain};
use events::refusal::ErrorCode;
use serde_json::json;

use super::*;
use crate::admin::tests::lab::Lab;
use crate::body::memory::{BodyBounds, BodyMemory};
use crate::inference::node::large_bodies::LargeBodies;
use crate::inference::planned::plan::{self, NodeKnowledge};
use crate::inference::received::reading::parse;
use crate::inference::targets::breakers::{BreakerSettings, Breakers};
use crate::inference::targets::observed_targets::ObservedTargets;

/// Holds: http.large-bodies
#[tokio::test(start_paused = true)]
async fn only_large_bodies_wait_for_their_turn() {
    let memory = BodyMemory::new(BodyBounds::of_administration());
    let permit = Arc::new(memory.permit(BodyOwner::of_inference(&Caller::operator(Chain::default()))));
    let full = LargeBodies::new(0);
    for (len, expected) in [(128 * 1024, None), (128 * 1024 + 1, Some(ErrorCode::Overloaded))] {
        let body = |text: &str| json!({ "model": "m", "messages": [{ "role": "user", "content": text }] }).to_string();
        let body = body(&"x".repeat(len - body("").len()));
        let read = read(&full, &permit, Surface::OpenAi, body.into()).await;
        assert_eq!(read.err().map(|refusal| refusal.code), expected, "{len} bytes");
    }
}

/// A body is written again only if the new plan's first target gets another one.
#[tokio::test]
async fn a_plan_has_the_first_body_of_a_stale_one_unless_its_first_target_takes_another() {
    let lab = Lab::new().await;
    let provider = |name: &str| json!({ "name": name, "kind": "simulator" });
    let (first, other) =
        (lab.make("/providers", provider("first")).await, lab.make("/providers", provider("other")).await);
    let price = |provider: &str, model: &str, input: &str| {
        json!({ "provider_id": provider, "model": model,
                "input_usd_per_mtok": input, "output_usd_per_mtok": "1" })
    };
    for (provider, model) in [(&first, "echo"), (&first, "lorem"), (&other, "echo")] {
        lab.make("/prices", price(provider, model, "1")).await;
    }
    let targets = |targets: &[(&str, &str)]| {
        let of = |(provider, model): &(&str, &str)| json!({ "provider_id": provider, "model": model });
        targets.iter().map(of).collect::<Vec<_>>()
    };
    let model = json!({ "name": "m", "targets": targets(&[(&first, "echo")]) });
    let model = format!("/v1/admin/models/{}", lab.make("/models", model).await);
    let body = json!({ "model": "m", "max_tokens": 5, "messages": [{ "role": "user", "content": "hello" }] });
    let (request, _) = parse(Surface::OpenAi, body.to_string().into()).unwrap();
    let clock = || Arc::clone(&lab.admin.clock);
    let observed = ObservedTargets::new(clock());
    let settings = BreakerSettings { failures: 5, open: Duration::from_secs(60) };
    let breakers = Breakers::new(settings, lab.admin.log.clone(), lab.admin.tables.clone(), clock());
    let salts = ContentSalts::new(b"secret");
    let node = NodeKnowledge { observed: &observed, breakers: &breakers, salts: &salts, counted: None };
    let planned = || {
        let (tables, now) = (lab.admin.tables.load(), lab.admin.clock.now());
        plan::plan(&tables, &lab.operator(), &request, lab.admin.ids.make(), now, node).unwrap()
    };
    let mut stale = planned();
    lab.make("/prices", price(&first, "echo", "2")).await;
    lab.wait(1);
    assert!(planned().has_first_body_of(&stale), "another price");
    for (change, is_same) in [
        (json!({ "targets": targets(&[(&first, "echo"), (&other, "echo")]) }), true),
        (json!({ "targets": targets(&[(&other, "echo"), (&first, "echo")]) }), true),
        (json!({ "targets": targets(&[(&first, "lorem")]) }), false),
        (json!({ "system_prefix": "Be brief." }), false),
        (json!({ "system_prefix": "Be long." }), false),
        (json!({ "strategy": "weighted" }), true),
    ] {
        lab.send(&lab.operator(), "PATCH", &model, &change).await.must(200);
        let fresh = planned();
        assert_eq!(fresh.has_first_body_of(&stale), is_same, "{change}");
        stale = fresh;
    }
}

#[tokio::test]
async fn a_caller_whose_owner_was_deleted_while_the_body_was_on_its_way_is_not_served() {
    for owner in ["partners", "tenants", "users", "keys"] {
        let lab = Lab::new().await;
        let caller = lab.key(&lab.tenancy.tenant.to_string(), json!([]), &[Permission::ModelsUse]).await;
        let now = lab.admin.clock.now();
        let chain = caller.chain;
        assert!(authorize(&lab.admin.tables.load(), &caller, now).is_ok());
        let id = match owner {
            "partners" => chain.partner.unwrap().to_string(),
            "tenants" => chain.tenant.unwrap().to_string(),
            "users" => chain.user.unwrap().to_string(),
            _ => chain.key.unwrap().to_string(),
        };
        let one = format!("/v1/admin/{owner}/{id}");
        lab.send(&lab.operator(), "DELETE", &one, &json!({})).await.must(200);
        let refused = authorize(&lab.admin.tables.load(), &caller, now).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Unauthenticated, "{owner}");
    }
}

/// Only the caller that sends the platform's copies is served without a tenant.
#[tokio::test]
async fn only_copies_are_sent_for_no_tenant() {
    let lab = Lab::new().await;
    let nobody = Caller::operator(Chain::default());
    let copies = Caller { actor: Actor::SHADOW, ..nobody.clone() };
    let tables = lab.admin.tables.load();
    let allowed = |caller: Caller| authorize(&tables, &Arc::new(caller), lab.admin.clock.now()).is_ok();
    assert_eq!((allowed(copies), allowed(nobody)), (true, false));
}

#[tokio::test]
async fn nobody_is_served_for_a_deleted_tenant() {
    let lab = Lab::new().await;
    let operator = lab.operator();
    assert!(authorize(&lab.admin.tables.load(), &operator, lab.admin.clock.now()).is_ok());
    let own = format!("/v1/admin/tenants/{}", lab.tenancy.tenant);
    lab.send(&operator, "DELETE", &own, &json!({})).await.must(200);
    let refused = authorize(&lab.admin.tables.load(), &operator, lab.admin.clock.now()).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Forbidden);
}
