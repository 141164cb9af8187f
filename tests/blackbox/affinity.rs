//! Session affinity: requests of a session go first to the same of several equal targets, and the log shows why.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::client::Reply;
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Tenant, made};

const HEADER: &str = "x-ledgerway-session";
const BACKENDS: [&str; 4] = ["ok", "slow-1", "slow-2", "slow-3"];

/// A model with these targets, one of which may be in maintenance.
fn model(tenant: &Tenant, affinity: &str, in_maintenance: Option<&str>) -> Value {
    let target = |backend: &&str| {
        let windows = match in_maintenance {
            Some(out) if out == *backend => json!([{ "from": "2026-01-01T00:00:00Z", "to": "2126-01-01T00:00:00Z" }]),
            _ => json!([]),
        };
        json!({ "provider_id": tenant.provider, "model": backend, "maintenance": windows, "default_max_output_tokens": 64 })
    };
    let targets: Vec<Value> = BACKENDS.iter().map(target).collect();
    json!({ "name": tenant.model(affinity), "affinity": affinity, "targets": targets })
}

fn backend(reply: &Reply) -> String {
    reply.header("x-ledgerway-backend").rsplit('/').next().unwrap_or_default().to_owned()
}

async fn asked(tenant: &Tenant, model: &str, session: &str) -> Reply {
    tenant.app.clone().with(HEADER, session).post(OPENAI, &tenant.ask(model)).await.must(200)
}

/// The backend of each of these sessions.
async fn homes(tenant: &Tenant) -> BTreeMap<String, String> {
    let mut homes = BTreeMap::new();
    for session in (0..12).map(|number| format!("session-{number}")) {
        let first = backend(&asked(tenant, "session", &session).await);
        assert_eq!(backend(&asked(tenant, "session", &session).await), first, "{session}");
        homes.insert(session, first);
    }
    homes
}

/// Holds: admin.affinity
#[tokio::test(flavor = "multi_thread")]
async fn a_session_stays_at_its_target_and_others_stay_when_one_leaves() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &[]).await;
    for backend in BACKENDS {
        tenant.price(backend).await;
    }
    let id = made(gateway.operator(), "/models", model(&tenant, "session", None)).await;
    made(gateway.operator(), "/models", model(&tenant, "none", None)).await;
    let before = homes(&tenant).await;
    let used: BTreeSet<&String> = before.values().collect();
    assert!(used.len() > 1, "{before:?}");
    let reply = asked(&tenant, "none", "session-1").await;
    assert_eq!(backend(&reply), "ok", "the model does not go by sessions");
    assert_eq!(backend(&tenant.openai("session").await.must(200)), "ok", "no session is given");

    // The same by the field of the body; the header counts first.
    let mut body = tenant.ask("session");
    body["prompt_cache_key"] = json!("session-3");
    let reply = tenant.app.post(OPENAI, &body).await.must(200);
    assert_eq!(backend(&reply), before["session-3"]);
    let reply = tenant.app.clone().with(HEADER, "session-4").post(OPENAI, &body).await.must(200);
    assert_eq!(backend(&reply), before["session-4"]);
    body["prompt_cache_key"] = json!(7);
    assert_eq!(backend(&tenant.app.post(OPENAI, &body).await.must(200)), "ok");
    let native = tenant.app.clone().with(HEADER, "session-5").post(NATIVE, &tenant.ask("session")).await.must(200);
    assert_eq!(backend(&native), before["session-5"]);

    // The log has a digest that says nothing of the session, and decides again by it.
    let admission = gateway.life(&native.request_id()).await[0]["data"].clone();
    let digest = admission["route"]["session"].as_str().expect("a digest").to_owned();
    assert!(digest.len() == 32 && !admission.to_string().contains("session-5"), "{admission}");
    // Another tenant's session of the same name is another one.
    let other = Tenant::new(&gateway, &upstream, &[]).await;
    let of_other = other.app.clone().with(HEADER, "session-5").post(NATIVE, &tenant.ask("session")).await.must(200);
    let of_other = gateway.life(&of_other.request_id()).await[0]["data"]["route"]["session"].clone();
    assert!(of_other.is_string() && of_other != json!(digest), "{of_other}");
    let path = format!("/v1/inferences/{}/explain", native.request_id());
    let explained = gateway.operator().get(&path).await.must(200).json();
    assert_eq!(explained["follows"], true, "{explained}");
    assert_eq!(explained["route"]["targets"][0]["model"], before["session-5"]);

    let gone = before["session-0"].clone();
    let targets = model(&tenant, "session", Some(&gone))["targets"].clone();
    let path = format!("/v1/admin/models/{id}");
    gateway.operator().patch(&path, &json!({ "targets": targets })).await.must(200);
    let after = homes(&tenant).await;
    for (session, home) in &before {
        assert_eq!(after[session] == *home, *home != gone, "{session}: {before:?} {after:?}");
    }
    let targets = model(&tenant, "session", None)["targets"].clone();
    gateway.operator().patch(&path, &json!({ "targets": targets })).await.must(200);
    assert_eq!(homes(&tenant).await, before, "it is back");

    let too_long = "x".repeat(257);
    for wrong in ["", "two words", &*too_long] {
        let body = tenant.ask("session");
        tenant.app.clone().with(HEADER, wrong).post(NATIVE, &body).await.must_be(400, "INVALID_REQUEST");
    }
}
