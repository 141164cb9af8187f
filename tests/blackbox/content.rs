//! Prompts and answers in the record, by the policy of the tenant, and who is shown them.

use std::time::{Duration, Instant};

use http::Method;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use testing::upstream::{MockUpstream, TEXT};

use crate::client::Client;
use crate::gateway::{Gateway, type_of};
use crate::messages::{MESSAGES, asking, streaming};
use crate::tenant::{NATIVE, OPENAI, Tenant, text};

const SOON: Duration = Duration::from_secs(10);

async fn set_policy(gateway: &Gateway, tenant: &Tenant, policy: &str) -> u64 {
    let path = format!("/v1/admin/tenants/{}", tenant.id);
    let changed = gateway.operator().patch(&path, &json!({ "content_policy": policy })).await.must(200);
    assert_eq!(changed.json()["content_policy"], policy);
    changed.position()
}

pub async fn content(gateway: &Gateway, reader: &Client, request: &str) -> Value {
    let head = gateway.head().await;
    reader.get(&format!("/v1/inferences/{request}/content?min_position={head}")).await.must(200).json()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &Value) -> Vec<u8> {
    let text = text.as_str().expect("hex");
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex")).collect()
}

/// SHA-256 of the salt and of the text, as the documentation says.
pub fn salted(salt: &Value, text: &str) -> String {
    hex(digest(&SHA256, &[&unhex(salt), text.as_bytes()].concat()).as_ref())
}

/// Holds: content.digest
#[tokio::test(flavor = "multi_thread")]
async fn who_has_an_answer_proves_it_whole_or_streamed_on_every_surface() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let (_, reader) = tenant.new_key(&gateway, json!({ "permissions": ["content:read"] })).await;
    let mut digests = Vec::new();
    let asked = [tenant.ask("ok"), tenant.ask_streamed("ok")];
    let messages = [asking(&tenant, "ok"), streaming(&tenant, "ok")];
    for (path, bodies) in [(NATIVE, &asked), (OPENAI, &asked), (MESSAGES, &messages)] {
        for body in bodies {
            let body = body.to_string();
            let reply = tenant.app.send(Method::POST, path, body.clone()).await.expect("an answer").must(200);
            let kept = content(&gateway, &reader, &reply.request_id()).await;
            assert_eq!(kept["content_policy"], "digest", "{kept}");
            assert_eq!(kept["body_sha256"], hex(digest(&SHA256, body.as_bytes()).as_ref()), "{kept}");
            assert_eq!(kept["answer_digest"], salted(&kept["salt"], TEXT), "{path} {body}: {kept}");
            let life = gateway.life(&reply.request_id()).await;
            let ended = life.iter().find(|event| type_of(event) == "inference.completed.v1").expect("an end");
            assert_eq!(ended["data"]["answer_digest"], kept["answer_digest"]);
            // The salt is in no event, and another one for each request.
            assert!(!gateway.events().await.iter().any(|event| event.to_string().contains(&text(&kept["salt"]))));
            digests.push(text(&kept["answer_digest"]));
        }
    }
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), 6, "equal answers have different digests");
}

/// Holds: content.none
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_wants_nothing_kept_has_no_digests_in_the_log() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    set_policy(&gateway, &tenant, "none").await;
    let body = tenant.ask("ok").to_string();
    let keyed = tenant.app.clone().with("idempotency-key", "once");
    for client in [&tenant.app, &keyed] {
        let reply = client.send(Method::POST, NATIVE, body.clone()).await.expect("an answer").must(200);
        let kept = content(&gateway, gateway.operator(), &reply.request_id()).await;
        assert_eq!(
            kept,
            json!({ "request_id": reply.request_id(), "content_policy": "none", "body_sha256": null,
                    "prompt_digest": null, "answer_digest": null, "salt": null, "prompt": null, "answer": null, "missing": [] })
        );
        let life = gateway.life(&reply.request_id()).await;
        assert_eq!((&life[0]["data"]["body_sha256"], &life[0]["data"]["content_policy"]), (&json!(""), &json!("none")));
        assert!(life.iter().all(|event| event["data"].get("answer_digest").is_none()), "{life:?}");
    }
    // A retry is still known, and another request under its key is not taken for one.
    keyed.send(Method::POST, NATIVE, body).await.expect("an answer").must(409);
    // From the change on, a digest is kept again.
    set_policy(&gateway, &tenant, "digest").await;
    let request = tenant.chat("ok").await.must(200).request_id();
    assert!(content(&gateway, gateway.operator(), &request).await["answer_digest"].is_string());
}

/// Holds: content.read
#[tokio::test(flavor = "multi_thread")]
async fn content_is_shown_with_its_permission_alone_and_each_reading_is_recorded() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let other = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let request = tenant.chat("ok").await.must(200).request_id();
    let path = format!("/v1/inferences/{request}/content");
    let (_, auditor) =
        tenant.new_key(&gateway, json!({ "permissions": ["audit:read", "events:read", "usage:read"] })).await;
    auditor.get(&path).await.must(403);
    let (_, stranger) = other.new_key(&gateway, json!({ "permissions": ["content:read"] })).await;
    stranger.get(&path).await.must(404);
    let (key, reader) = tenant.new_key(&gateway, json!({ "permissions": ["content:read"] })).await;
    reader.get("/v1/inferences/req_00000000000000000000000000000001/content").await.must(404);
    reader.get(&format!("{path}?limit=1")).await.must(400);
    let head = gateway.head().await;
    reader.get(&format!("{path}?min_position={head}")).await.must(200);
    let began = Instant::now();
    let is_recorded = |event: &Value| {
        type_of(event) == "access.read.v1" && event["data"]["kind"] == "content" && event["actor"] == key
    };
    while !gateway.events().await.iter().any(is_recorded) {
        assert!(began.elapsed() < SOON, "the reading is not recorded");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Only what was shown is a reading.
    let reads: Vec<Value> =
        gateway.events().await.into_iter().filter(|event| type_of(event) == "access.read.v1").collect();
    assert_eq!(reads.len(), 1, "{reads:?}");
}

/// Holds: content.policy
#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_administrator_sets_its_policy() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let path = format!("/v1/admin/tenants/{}", tenant.id);
    let (_, own) = tenant.new_key(&gateway, json!({ "permissions": ["admin:access"] })).await;
    assert_eq!(own.get(&path).await.must(200).json()["content_policy"], "digest");
    assert_eq!(own.patch(&path, &json!({ "content_policy": "none" })).await.must(200).json()["content_policy"], "none");
    assert_eq!(own.patch(&path, &json!({ "content_policy": null })).await.must(200).json()["content_policy"], "digest");
    own.patch(&path, &json!({ "content_policy": "all" })).await.must(400);
}
