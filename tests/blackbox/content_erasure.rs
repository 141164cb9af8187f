//! Deletion of sealed content: the erasure of its owner, the end of a tenant, and the end of the days for which it is
//! kept; and the legal hold above all of these.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http::Method;
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;
use testing::upstream::{MockUpstream, TEXT};

use crate::client::Client;
use crate::gateway::Gateway;
use crate::sealed_content::{files_with, gateway_with_store, objects_in, seal, stored_content, url_of};
use crate::secrets::{Place, collect};
use crate::shared_ledger::{folders, migrated, node};
use crate::tenant::{NATIVE, Tenant, made, text};

const NAME: &str = "Canary Lovelace-9920";
const PROMPT: &str = "canary question 9920 about the engine";
const SOON: Duration = Duration::from_secs(20);

/// A user who asks a tenant's model something and is deleted, with the id of the request.
struct Person {
    id: String,
    request: String,
}

impl Person {
    async fn who_has_asked_and_left(gateway: &Gateway, tenant: &Tenant, home: &str) -> Self {
        let operator = gateway.operator();
        let roles = json!([{ "role": "partner_admin", "scope": { "partner_id": tenant.partner } }]);
        let user = json!({ "tenant_id": home, "name": NAME, "roles": roles });
        let id = made(operator, "/users", user).await;
        let key = operator.post("/v1/admin/keys", &json!({ "user_id": id, "name": "app" })).await.must(201).json();
        let own = gateway.client(key["secret"].as_str());
        let own = own.with("x-tenant-id", &tenant.id);
        let body = json!({ "model": tenant.model("ok"), "messages": [{ "role": "user", "content": PROMPT }] });
        let request = own.send(Method::POST, NATIVE, body.to_string()).await.expect("an answer").must(200).request_id();
        stored_content(gateway, operator, &request).await;
        operator.delete(&format!("/v1/admin/users/{id}")).await.must(200);
        Self { id, request }
    }

    fn erase(&self) -> String {
        format!("/v1/admin/subjects/{}/erase", self.id)
    }

    fn content(&self) -> String {
        format!("/v1/inferences/{}/content", self.request)
    }
}

/// The key of a person's content as it is in the ledger, which alone opens what is in the store.
fn sealed_key_of(data: &Path, user: &str) -> Vec<u8> {
    let ledger = Connection::open(data.join("ledger.db")).expect("the ledger");
    let name = format!("content {user} %");
    ledger
        .query_row("SELECT sealed FROM sealed_secrets WHERE subject LIKE ?1", [name], |row| row.get(0))
        .expect("one key")
}

/// The files of a folder that have these bytes.
fn files_with_bytes(folder: &Path, bytes: &[u8]) -> Vec<String> {
    let mut places = Vec::<Place>::new();
    collect(folder, &mut places);
    let has = |place: &Place| place.bytes.windows(bytes.len()).any(|window| window == bytes);
    places.into_iter().filter(has).map(|place| place.name).collect()
}

async fn must_be_erased(reader: &Client, path: &str) {
    let refused = reader.get(path).await.must_be(410, "CONTENT_GONE").json();
    assert_eq!(refused["error"]["details"]["reason"], "erased", "{refused}");
}

/// Holds: content.erased
#[tokio::test(flavor = "multi_thread")]
async fn after_an_erasure_no_byte_of_the_content_or_the_name_is_anywhere_and_verify_proves() {
    let ((mut gateway, store), upstream) = (gateway_with_store(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    seal(&gateway, &tenant).await;
    let other = tenant.chat("ok").await.must(200).request_id();
    stored_content(&gateway, gateway.operator(), &other).await;
    let person = Person::who_has_asked_and_left(&gateway, &tenant, &tenant.id).await;
    assert!(!files_with(&[&gateway.data()], &[NAME]).is_empty(), "the name is nowhere before");
    let key = sealed_key_of(&gateway.data(), &person.id);
    assert!(!files_with_bytes(&gateway.data(), &key).is_empty(), "the key is nowhere before");
    let before = gateway.books().await;
    gateway.operator().post(&person.erase(), &json!({})).await.must(200);
    must_be_erased(gateway.operator(), &person.content()).await;
    assert_eq!(stored_content(&gateway, gateway.operator(), &other).await["answer"], TEXT, "of somebody else");
    assert_eq!(format!("{:?}", gateway.books().await.balances), format!("{:?}", before.balances), "money adds up");
    let began = Instant::now();
    let data = gateway.data();
    let left = || [files_with(&[store.path(), &data], &[NAME, PROMPT, TEXT]), files_with_bytes(&data, &key)].concat();
    while !left().is_empty() {
        assert!(began.elapsed() < SOON, "{:?}", left());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(objects_in(store.path()), 4, "what nobody opens is still there");
    gateway.stop();
    let (code, words) = gateway.verify();
    assert_eq!(code, Some(0), "{words}");
    assert_eq!(left(), Vec::<String>::new());
    gateway.start_again();
    must_be_erased(gateway.operator(), &person.content()).await;
}

/// Holds: content.erased
#[tokio::test(flavor = "multi_thread")]
async fn the_content_of_a_tenant_ends_with_it() {
    let ((gateway, _store), upstream) = (gateway_with_store(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    seal(&gateway, &tenant).await;
    let request = tenant.chat("ok").await.must(200).request_id();
    stored_content(&gateway, gateway.operator(), &request).await;
    gateway.operator().delete(&format!("/v1/admin/tenants/{}", tenant.id)).await.must(200);
    must_be_erased(gateway.operator(), &format!("/v1/inferences/{request}/content")).await;
}

/// Holds: content.erased
#[tokio::test(flavor = "multi_thread")]
async fn content_that_one_node_has_erased_is_gone_for_all() {
    let (database, [here, there], upstream) = (migrated(), folders(), MockUpstream::start().await);
    let store = TempDir::new().expect("a folder");
    let (url, content_url) = (database.gateway_url(), url_of(store.path()));
    let settings = [("LEDGERWAY_CONTENT_URL", content_url.as_str())];
    let (one, two) = (node(&url, here.path(), &settings), node(&url, there.path(), &settings));
    let tenant = Tenant::new(&one, &upstream, &["ok"]).await;
    seal(&one, &tenant).await;
    let person = Person::who_has_asked_and_left(&one, &tenant, &tenant.id).await;
    let keys = || {
        database
            .number(&format!("SELECT count(*) FROM ledger.sealed_secrets WHERE subject LIKE 'content {} %'", person.id))
    };
    assert_eq!(keys(), 1);
    two.operator().post(&person.erase(), &json!({})).await.must(200);
    for node in [&one, &two] {
        must_be_erased(node.operator(), &person.content()).await;
    }
    assert_eq!(keys(), 0);
}

/// Holds: content.legal-hold
#[tokio::test(flavor = "multi_thread")]
async fn under_legal_hold_nothing_of_a_tenant_is_deleted_or_erased() {
    let ((gateway, _store), upstream) = (gateway_with_store(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    seal(&gateway, &tenant).await;
    let operator = gateway.operator();
    // A person of another tenant of the partner, with content in this one.
    let elsewhere = json!({ "partner_id": tenant.partner, "name": "elsewhere" });
    let elsewhere = made(operator, "/tenants", elsewhere).await;
    let guest = Person::who_has_asked_and_left(&gateway, &tenant, &elsewhere).await;
    let person = Person::who_has_asked_and_left(&gateway, &tenant, &tenant.id).await;
    let path = format!("/v1/admin/tenants/{}", tenant.id);
    let (_, own) = tenant.new_key(&gateway, json!({ "permissions": ["admin:access"] })).await;
    own.patch(&path, &json!({ "legal_hold": true })).await.must(403);
    assert_eq!(operator.patch(&path, &json!({ "legal_hold": true })).await.must(200).json()["legal_hold"], true);
    own.patch(&path, &json!({ "legal_hold": false })).await.must(403);
    let head = gateway.head().await;
    for erase in [person.erase(), guest.erase()] {
        let refused = operator.post(&erase, &json!({})).await.must_be(409, "LEGAL_HOLD").json();
        assert_eq!(refused["error"]["details"]["tenant_id"], tenant.id, "{refused}");
    }
    // Nobody has to delete a person to learn that.
    let live = made(operator, "/users", json!({ "tenant_id": tenant.id, "name": "live" })).await;
    let erase = format!("/v1/admin/subjects/{live}/erase");
    operator.post(&erase, &json!({})).await.must_be(409, "LEGAL_HOLD");
    operator.delete(&path).await.must_be(409, "LEGAL_HOLD");
    operator.delete(&format!("/v1/admin/partners/{}", tenant.partner)).await.must_be(409, "LEGAL_HOLD");
    let changes =
        gateway.operator().get(&format!("/v1/events?after={head}&types=user.erased.v1,tenant.ended.v1")).await;
    assert!(changes.must(200).body.is_empty(), "nothing was erased or ended");
    for person in [&person, &guest] {
        assert!(text(&stored_content(&gateway, operator, &person.request).await["prompt"]).contains(PROMPT));
    }
    operator.patch(&path, &json!({ "legal_hold": false })).await.must(200);
    for person in [&person, &guest] {
        operator.post(&person.erase(), &json!({})).await.must(200);
        must_be_erased(operator, &person.content()).await;
    }
    operator.delete(&path).await.must(200);
}

/// Makes what the tenant has in the store older: it was put on that day.
fn put_earlier(store: &Path, tenant: &str, day: &str) -> PathBuf {
    let folder = store.join("content").join(tenant);
    let today = fs::read_dir(&folder).expect("a folder").next().expect("a day").expect("a day").path();
    let earlier = folder.join(day);
    fs::rename(today, &earlier).expect("it moves");
    earlier
}

fn files_in(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

/// Holds: content.retention, content.legal-hold
#[tokio::test(flavor = "multi_thread")]
async fn content_is_deleted_after_its_days_unless_it_is_held() {
    let ((mut gateway, store), upstream) = (gateway_with_store(), MockUpstream::start().await);
    let mut tenants = Vec::new();
    for (days, is_held) in [(Some(30), false), (Some(30), true), (None, false)] {
        let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
        seal(&gateway, &tenant).await;
        let fields = json!({ "content_days": days, "legal_hold": is_held });
        let path = format!("/v1/admin/tenants/{}", tenant.id);
        assert_eq!(gateway.operator().patch(&path, &fields).await.must(200).json()["content_days"], json!(days));
        let request = tenant.chat("ok").await.must(200).request_id();
        stored_content(&gateway, gateway.operator(), &request).await;
        tenants.push((tenant, request));
    }
    let path = format!("/v1/admin/tenants/{}", tenants[0].0.id);
    for wrong in [json!(0), json!(36_501), json!("30")] {
        gateway.operator().patch(&path, &json!({ "content_days": wrong })).await.must(400);
    }
    gateway.stop();
    let earlier: Vec<PathBuf> =
        tenants.iter().map(|(tenant, _)| put_earlier(store.path(), &tenant.id, "2026-01-31")).collect();
    gateway.start_again();
    let began = Instant::now();
    while files_in(&earlier[0]) > 0 {
        assert!(began.elapsed() < SOON, "content is still there");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!((files_in(&earlier[1]), files_in(&earlier[2])), (2, 2));
    // It is not older than its days by the record: the objects were moved.
    let shown = gateway.operator().get(&format!("/v1/inferences/{}/content", tenants[0].1)).await.must(200).json();
    assert_eq!((&shown["prompt"], &shown["missing"]), (&Value::Null, &json!(["prompt", "answer"])), "{shown}");
}
