//! Prompts and answers that are kept sealed: who is shown them, that nobody else finds a byte of them, and that no request waits
//! for their store.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use testing::s3::{ACCESS_KEY, S3Server};
use testing::upstream::{MockUpstream, TEXT};

use crate::abandoned::until_metric_is;
use crate::client::Client;
use crate::content::salted;
use crate::embeddings::{EMBEDDINGS, tenant_with};
use crate::gateway::{Gateway, type_of};
use crate::secrets::forms::Wanted;
use crate::secrets::{Place, collect};
use crate::shared_ledger::{folders, migrated, node};
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant, text};

const CANARY: &str = "canary prompt 7731 of Ada Hopper";
const SOON: Duration = Duration::from_secs(20);

pub fn url_of(folder: &Path) -> String {
    format!("file://{}", folder.display())
}

/// A gateway that keeps sealed content in a folder.
pub fn gateway_with_store() -> (Gateway, TempDir) {
    let store = TempDir::new().expect("a folder");
    (Gateway::start_with(&[("LEDGERWAY_CONTENT_URL", &url_of(store.path()))]), store)
}

pub async fn seal(gateway: &Gateway, tenant: &Tenant) {
    let path = format!("/v1/admin/tenants/{}", tenant.id);
    gateway.operator().patch(&path, &json!({ "content_policy": "sealed" })).await.must(200);
}

fn ask(tenant: &Tenant, streamed: bool) -> String {
    json!({ "model": tenant.model("ok"), "messages": [{ "role": "user", "content": CANARY }], "stream": streamed })
        .to_string()
}

/// Returns the content that is shown once everything is in the store.
pub async fn stored_content(gateway: &Gateway, reader: &Client, request: &str) -> Value {
    let (path, began) =
        (format!("/v1/inferences/{request}/content?min_position={}", gateway.head().await), Instant::now());
    loop {
        let kept = reader.get(&path).await.must(200).json();
        if kept["missing"] == json!([]) {
            return kept;
        }
        assert!(began.elapsed() < SOON, "{kept}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The files of these folders that have one of these texts, in any form.
pub fn files_with(folders: &[&Path], texts: &[&str]) -> Vec<String> {
    let mut places = Vec::<Place>::new();
    folders.iter().for_each(|folder| collect(folder, &mut places));
    let wanted: Vec<Wanted> = texts.iter().map(|text| Wanted::new(text)).collect();
    let has = |place: &Place| wanted.iter().any(|wanted| wanted.form_in(&place.bytes).is_some());
    places.into_iter().filter(has).map(|place| place.name).collect()
}

pub fn objects_in(folder: &Path) -> usize {
    let mut places = Vec::<Place>::new();
    collect(folder, &mut places);
    places.len()
}

/// Holds: content.sealed
#[tokio::test(flavor = "multi_thread")]
async fn sealed_content_is_shown_with_its_permission_and_is_in_no_file() {
    let ((mut gateway, store), upstream) = (gateway_with_store(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    seal(&gateway, &tenant).await;
    let (_, reader) = tenant.new_key(&gateway, json!({ "permissions": ["content:read"] })).await;
    for (path, streamed) in [(NATIVE, false), (OPENAI, true)] {
        let body = ask(&tenant, streamed);
        let reply = tenant.app.send(Method::POST, path, body.clone()).await.expect("an answer").must(200);
        let kept = stored_content(&gateway, &reader, &reply.request_id()).await;
        assert_eq!((&kept["content_policy"], &kept["body_sha256"]), (&json!("sealed"), &Value::Null), "{kept}");
        assert_eq!((&kept["prompt"], &kept["answer"]), (&json!(body), &json!(TEXT)), "{kept}");
        assert_eq!(kept["prompt_digest"], salted(&kept["salt"], &body), "{kept}");
        assert_eq!(kept["answer_digest"], salted(&kept["salt"], TEXT), "{kept}");
        let life = gateway.life(&reply.request_id()).await;
        let of = |name: &str| life.iter().find(|event| type_of(event) == name).expect("an event")["data"].clone();
        let (admitted, completed) = (of("inference.admitted.v1"), of("inference.completed.v1"));
        assert_eq!((&admitted["body_sha256"], &admitted["content_policy"]), (&json!(""), &json!("sealed")));
        assert_eq!(admitted["prompt_digest"], kept["prompt_digest"]);
        assert_eq!(completed["answer_digest"], kept["answer_digest"]);
        assert_eq!(completed.get("content_lost"), None);
        // Whoever may only read requests sees neither text.
        let (_, auditor) = tenant.new_key(&gateway, json!({ "permissions": ["usage:read", "events:read"] })).await;
        auditor.get(&format!("/v1/inferences/{}/content", reply.request_id())).await.must(403);
    }
    assert_eq!(objects_in(store.path()), 4);
    // An answer of a tenant that keeps only digests is not in the store.
    let other = Tenant::new(&gateway, &upstream, &["ok"]).await;
    other.chat("ok").await.must(200);
    // The operator's own requests have no user: they are sealed for the tenant.
    let operator = gateway.operator().clone().with("x-tenant-id", &tenant.id);
    let body = ask(&tenant, false);
    let reply = operator.send(Method::POST, NATIVE, body.clone()).await.expect("an answer").must(200);
    assert_eq!(stored_content(&gateway, &reader, &reply.request_id()).await["prompt"], json!(body));
    gateway.stop();
    assert_eq!(objects_in(store.path()), 6);
    let found = files_with(&[store.path(), &gateway.data()], &[CANARY, TEXT]);
    assert!(found.is_empty(), "{found:?}");
    let (code, words) = gateway.verify();
    assert_eq!(code, Some(0), "{words}");
}

/// Holds: content.sealed
#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_was_sent_is_kept_although_its_request_fails() {
    let ((gateway, _store), upstream) = (gateway_with_store(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "e500"]).await;
    seal(&gateway, &tenant).await;
    let request = tenant.chat("e500").await.request_id();
    let kept = stored_content(&gateway, gateway.operator(), &request).await;
    assert!(kept["prompt"].as_str().is_some_and(|prompt| prompt.contains("hello")), "{kept}");
    assert_eq!((&kept["answer"], &kept["answer_digest"]), (&Value::Null, &Value::Null), "{kept}");
}

/// Their answer has no text: it is not lost.
///
/// Holds: content.sealed
#[tokio::test(flavor = "multi_thread")]
async fn the_prompt_of_embeddings_is_kept_and_nothing_is_lost() {
    let ((gateway, _store), upstream) = (gateway_with_store(), MockUpstream::start().await);
    let tenant = tenant_with(&gateway, &upstream, &["ok"], Setup::default()).await;
    seal(&gateway, &tenant).await;
    let asked = json!({ "model": tenant.model("ok"), "input": CANARY });
    let request = tenant.app.post(EMBEDDINGS, &asked).await.must(200).request_id();
    let kept = stored_content(&gateway, gateway.operator(), &request).await;
    assert!(text(&kept["prompt"]).contains(CANARY), "{kept}");
    assert_eq!((&kept["answer"], &kept["answer_digest"]), (&Value::Null, &Value::Null), "{kept}");
    let life = gateway.life(&request).await;
    assert!(life.iter().all(|event| event["data"].get("content_lost").is_none()), "{life:?}");
}

/// The client has the whole answer.
///
/// Holds: content.sealed-store
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_long_to_be_kept_is_recorded_and_counted_as_lost() {
    let ((gateway, _store), upstream) = (gateway_with_store(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["said"]).await;
    seal(&gateway, &tenant).await;
    let answer = json!({ "id": "x", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": "x".repeat(5 * 1024 * 1024) }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 } });
    upstream.says("application/json", answer.to_string());
    let request = tenant.chat("said").await.must(200).request_id();
    let life = gateway.life(&request).await;
    let end = life.iter().find(|event| type_of(event) == "inference.completed.v1").expect("its end");
    assert_eq!(end["data"]["content_lost"], json!(["answer"]), "{end}");
    until_metric_is(&gateway, "ledgerway_content_lost_total", 1).await;
    let path = format!("/v1/inferences/{request}/content?min_position={}", gateway.head().await);
    let kept = gateway.operator().get(&path).await.must(200).json();
    assert_eq!((&kept["answer"], kept["answer_digest"].is_string()), (&Value::Null, true), "{kept}");
    assert!(kept["missing"].as_array().is_some_and(|missing| missing.contains(&json!("answer"))), "{kept}");
}

/// Holds: content.sealed-store
#[tokio::test(flavor = "multi_thread")]
async fn content_cannot_be_sealed_without_a_store() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let path = format!("/v1/admin/tenants/{}", tenant.id);
    let refused = gateway.operator().patch(&path, &json!({ "content_policy": "sealed" })).await.must(400).json();
    assert_eq!(refused["error"]["details"]["field"], "content_policy", "{refused}");
    assert!(text(&refused["error"]["message"]).contains("LEDGERWAY_CONTENT_URL"), "{refused}");
    let tenant = json!({ "partner_id": tenant.partner, "name": "another", "content_policy": "sealed" });
    gateway.operator().post("/v1/admin/tenants", &tenant).await.must(400);
}

/// Holds: content.sealed-store
#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_while_the_store_is_away_and_content_follows_when_it_is_back() {
    let above = TempDir::new().expect("a folder");
    let (store, away) = (above.path().join("store"), above.path().join("away"));
    fs::create_dir(&store).expect("a folder");
    let url = url_of(&store);
    let (gateway, upstream) = (Gateway::start_with(&[("LEDGERWAY_CONTENT_URL", &url)]), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    seal(&gateway, &tenant).await;
    fs::rename(&store, &away).expect("it moves");
    fs::write(&store, "no folder").expect("a file");
    let began = Instant::now();
    let request = tenant.chat("ok").await.must(200).request_id();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    fs::remove_file(&store).expect("it goes");
    fs::rename(&away, &store).expect("it comes back");
    assert_eq!(stored_content(&gateway, gateway.operator(), &request).await["answer"], TEXT);
}

/// Holds: content.sealed, content.sealed-store
#[tokio::test(flavor = "multi_thread")]
async fn content_in_s3_is_sealed_as_well_and_follows_after_an_outage() {
    let mut server = tokio::task::block_in_place(S3Server::start);
    let url = server.url_with_key("kept");
    let (mut gateway, upstream) =
        (Gateway::start_with(&[("LEDGERWAY_CONTENT_URL", &url)]), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    seal(&gateway, &tenant).await;
    let mut requests = Vec::new();
    for is_away in [false, true] {
        if is_away {
            tokio::task::block_in_place(|| server.kill());
        }
        let asked = tenant.app.send(Method::POST, NATIVE, ask(&tenant, false)).await.expect("an answer");
        requests.push(asked.must(200).request_id());
        if is_away {
            tokio::task::block_in_place(|| server.start_again());
        }
        for request in &requests {
            let kept = stored_content(&gateway, gateway.operator(), request).await;
            assert_eq!((&kept["prompt"], &kept["answer"]), (&json!(ask(&tenant, false)), &json!(TEXT)), "{kept}");
        }
    }
    gateway.stop();
    let bucket = server.bucket();
    assert!(objects_in(&bucket) >= 4, "two of each request");
    assert_eq!(files_with(&[&bucket, &gateway.data()], &[CANARY, TEXT]), Vec::<String>::new());
    let words = [gateway.stdout(), gateway.stderr()].concat();
    assert!(!words.contains(ACCESS_KEY.1), "the access key is in the log");
}

/// Holds: content.sealed
#[tokio::test(flavor = "multi_thread")]
async fn every_node_opens_what_one_has_sealed() {
    let (database, [here, there], upstream) = (migrated(), folders(), MockUpstream::start().await);
    let store = TempDir::new().expect("a folder");
    let (url, content_url) = (database.gateway_url(), url_of(store.path()));
    let settings = [("LEDGERWAY_CONTENT_URL", content_url.as_str())];
    let (one, two) = (node(&url, here.path(), &settings), node(&url, there.path(), &settings));
    let [without] = folders();
    let bare = node(&url, without.path(), &[]);
    let tenant = Tenant::new(&one, &upstream, &["ok"]).await;
    seal(&one, &tenant).await;
    let on_two = two.client(Some(&tenant.secret));
    // Both make a key for the same person at the same time.
    let (body, other) = (ask(&tenant, false), ask(&tenant, true));
    let (first, second) = tokio::join!(
        tenant.app.send(Method::POST, NATIVE, body.clone()),
        on_two.send(Method::POST, NATIVE, other.clone())
    );
    for (reply, body) in [(first, body), (second, other)] {
        let request = reply.expect("an answer").must(200).request_id();
        for node in [&one, &two] {
            assert_eq!(stored_content(node, node.operator(), &request).await["prompt"], json!(body));
        }
        let path = format!("/v1/inferences/{request}/content?min_position={}", one.head().await);
        bare.operator().get(&path).await.must_be(503, "CONTENT_UNAVAILABLE");
    }
    // A node without a store sends nothing whose content would not be kept.
    let refused = bare.client(Some(&tenant.secret)).post(NATIVE, &tenant.ask("ok")).await;
    let refused = refused.must_be(503, "CONTENT_UNAVAILABLE").json();
    assert!(text(&refused["error"]["message"]).contains("set LEDGERWAY_CONTENT_URL"), "{refused}");
    drop(bare);
    let bare = node(&url, without.path(), &[]);
    assert!(bare.stderr().contains("this node refuses their requests"), "{}", bare.stderr());
    assert_eq!(database.number("SELECT count(*) FROM ledger.events WHERE payload LIKE '%canary prompt%'"), 0);
}
