//! `verify --content`: whether the store of sealed prompts and answers has what the events say, as it was sealed.

use std::fs;
use std::path::Path;

use http::Method;
use serde_json::{Value, json};
use testing::upstream::{MockUpstream, TEXT};

use crate::archive::{run, run_with};
use crate::client::Client;
use crate::gateway::{Gateway, ledgerway, type_of};
use crate::sealed_content::{gateway_with_store, seal, stored_content, url_of};
use crate::shared_ledger::{NODE_KEY, folders, migrated, node};
use crate::tenant::{NATIVE, Tenant};

const CANARY: &str = "canary prompt 4408 of Grace Hopper";
const OTHER_KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A prompt or an answer in the store, and the position of the event that has its digest.
struct StoredObject {
    name: String,
    position: u64,
}

/// The counts of a store from which nothing is gone.
fn counts(opened: u64, unopened: u64, unnamed: u64) -> Value {
    json!({ "opened": opened, "unopened": unopened, "gone": 0, "pending": 0, "unnamed": unnamed })
}

/// Asks for this client, and returns what the store has of it.
async fn ask(gateway: &Gateway, tenant: &Tenant, client: &Client) -> [StoredObject; 2] {
    let body = json!({ "model": tenant.model("ok"), "messages": [{ "role": "user", "content": CANARY }] });
    let reply = client.send(Method::POST, NATIVE, body.to_string()).await.expect("an answer").must(200);
    let request = reply.request_id();
    stored_content(gateway, gateway.operator(), &request).await;
    let life = gateway.life(&request).await;
    let parts = [("prompt", "inference.admitted.v1"), ("answer", "inference.completed.v1")];
    let day = life[0]["recorded_at"].as_str().expect("a time")[..10].to_owned();
    parts.map(|(part, name)| {
        let event = life.iter().find(|event| type_of(event) == name).expect("an event");
        StoredObject {
            name: format!("content/{}/{day}/{request}.{part}", tenant.id),
            position: event["position"].as_u64().expect("a position"),
        }
    })
}

/// Returns the JSON of `verify --content`, which shows no text.
#[track_caller]
fn verified(code: i32, data: &str, content: &str) -> Value {
    let words = run(code, &["verify", "--json", "--log-only", "--data", data, "--content", content]);
    assert!(!words.contains(CANARY) && !words.contains(TEXT), "{words}");
    let line = words.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{words}"));
    serde_json::from_str(line).expect("JSON")
}

#[track_caller]
fn must_be_named(data: &str, content: &str, object: &StoredObject, part: &str) {
    let broken = &verified(1, data, content)["broken"];
    assert_eq!((&broken["object"], &broken["position"]), (&json!(object.name), &json!(object.position)), "{broken}");
    let reason = broken["reason"].as_str().expect("a reason");
    assert!(!reason.contains(&object.name) && reason.contains(part), "{reason}");
}

/// An object that is not there, and that a gateway may still be about to store: its request is younger than eight minutes.
#[track_caller]
fn must_be_pending(data: &str, content: &str, opened: u64, unopened: u64) {
    let sound = verified(0, data, content);
    let found = &sound["content"];
    assert_eq!(
        (&found["pending"], &found["opened"], &found["unopened"]),
        (&json!(1), &json!(opened), &json!(unopened))
    );
    let unchecked = sound["unchecked"]["content"].as_str().expect("a reason");
    assert!(unchecked.contains("1 objects may still be on their way"), "{unchecked}");
}

/// Another byte at this place of a file.
fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).expect("an object");
    bytes[at] ^= 1;
    fs::write(file, bytes).expect("another byte");
}

/// Holds: content.verify
#[tokio::test(flavor = "multi_thread")]
async fn verify_names_the_object_of_content_that_is_gone_or_is_not_what_was_sealed() {
    let ((mut gateway, store), upstream) = (gateway_with_store(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    seal(&gateway, &tenant).await;
    let operator = gateway.operator().clone().with("x-tenant-id", &tenant.id);
    let [prompt, answer] = ask(&gateway, &tenant, &tenant.app).await;
    let of_tenant = ask(&gateway, &tenant, &operator).await;
    let (data, url) = (gateway.data().display().to_string(), url_of(store.path()));
    assert_eq!(verified(0, &data, &url)["content"], counts(4, 0, 0), "while it is served");
    gateway.stop();
    let words = run(0, &["verify", "--data", &data, "--content", &url]);
    assert!(
        words.contains("4 objects of content as they were sealed") && !words.contains("unchecked: sealed"),
        "{words}"
    );
    let (proven, not_proven) = words.split_once("NOT PROVEN").expect("a table");
    assert!(proven.contains("\ncontent ") && !not_proven.contains("\ncontent "), "{words}");
    for object in [&prompt, &answer, &of_tenant[0], &of_tenant[1]] {
        let file = store.path().join(&object.name);
        let whole = fs::read(&file).expect("an object");
        for (at, part) in [(0, "form"), (1, "a key"), (5, "does not open"), (whole.len() - 1, "does not open")] {
            flip(&file, at);
            must_be_named(&data, &url, object, part);
            fs::write(&file, &whole).expect("as it was");
        }
    }
    // All of them are named, in the order of the log.
    let objects = [&prompt, &answer, &of_tenant[0], &of_tenant[1]];
    objects.iter().for_each(|object| flip(&store.path().join(&object.name), 5));
    let broken = &verified(1, &data, &url)["broken"];
    let named = broken["objects"].as_array().expect("a list").iter().map(|object| object["object"].as_str());
    assert!(named.eq(objects.iter().map(|object| Some(object.name.as_str()))), "{broken}");
    assert_eq!(broken["count"], 4, "{broken}");
    let words = run(1, &["verify", "--log-only", "--data", &data, "--content", &url]);
    assert!(
        words.matches("broken: position ").count() == 4 && words.contains("\nrestore these objects from"),
        "{words}"
    );
    objects.iter().for_each(|object| flip(&store.path().join(&object.name), 5));
    // The object of another request, in its place.
    let (file, other) = (store.path().join(&prompt.name), store.path().join(&of_tenant[0].name));
    let whole = fs::read(&file).expect("an object");
    fs::copy(&other, &file).expect("a copy");
    must_be_named(&data, &url, &prompt, "its owner does not have");
    fs::remove_file(&file).expect("removed");
    must_be_pending(&data, &url, 3, 0);
    fs::write(&file, &whole).expect("as it was");
    // An object that no event names is counted.
    fs::write(file.with_extension("left"), "by hand").expect("written");
    assert_eq!(verified(0, &data, &url)["content"], counts(4, 0, 1));
    // Without the node's key, the bytes are not checked, and it says so.
    let (key, away) = (gateway.data().join("node.key"), gateway.data().join("away.key"));
    fs::rename(&key, &away).expect("away");
    flip(&file, whole.len() - 1);
    let without = verified(0, &data, &url);
    assert_eq!(without["content"], counts(0, 4, 1));
    let not_proven = without["not_proven"].as_array().expect("a list");
    assert!(not_proven.contains(&json!("content")), "{without}");
    assert!(
        without["unchecked"]["content"].as_str().is_some_and(|why| why.contains("LEDGERWAY_NODE_KEY")),
        "{without}"
    );
    flip(&file, 0);
    must_be_named(&data, &url, &prompt, "form");
    fs::remove_file(&file).expect("removed");
    must_be_pending(&data, &url, 0, 3);
    // Another node's key is not taken for damage.
    let mut command = ledgerway();
    command.env("LEDGERWAY_NODE_KEY", OTHER_KEY).env("LEDGERWAY_CONTENT_URL", &url);
    let words = run_with(2, &["verify", "--log-only", "--data", &data, "--content"], command);
    assert!(words.contains("LEDGERWAY_NODE_KEY") && words.contains("give the key of this ledger"), "{words}");
    let words = run(2, &["verify", "--data", &data, "--content"]);
    assert!(words.contains("LEDGERWAY_CONTENT_URL"), "{words}");
    for (wrong, why) in [
        ("s3://Bucket_X", "name of the bucket"),
        ("/tmp/store", "--content is not the address of an object store"),
        ("file:///no/such/store", "there is no folder /no/such/store"),
    ] {
        let words = run(2, &["verify", "--data", &data, "--content", wrong]);
        assert!(words.contains(why), "{words}");
    }
}

/// Content that was deleted or that nobody can open any more is no damage.
///
/// Holds: content.verify
#[tokio::test(flavor = "multi_thread")]
async fn content_that_has_ended_is_counted_and_not_missed() {
    let ((mut gateway, store), upstream) = (gateway_with_store(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    seal(&gateway, &tenant).await;
    let [prompt, answer] = ask(&gateway, &tenant, &tenant.app).await;
    gateway.operator().delete(&format!("/v1/admin/tenants/{}", tenant.id)).await.must(200);
    gateway.stop();
    let (data, url) = (gateway.data().display().to_string(), url_of(store.path()));
    flip(&store.path().join(&prompt.name), 30);
    let ended = verified(0, &data, &url);
    assert_eq!(ended["content"], counts(0, 2, 0));
    assert!(ended["unchecked"]["content"].as_str().is_some_and(|why| why.contains("erased")), "{ended}");
    fs::remove_file(store.path().join(&answer.name)).expect("removed");
    let found = json!({ "opened": 0, "unopened": 1, "gone": 1, "pending": 0, "unnamed": 0 });
    assert_eq!(verified(0, &data, &url)["content"], found);
}

/// Beside a database, a folder that nobody named may be the one of another ledger.
///
/// Holds: content.verify
#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_shared_ledger_is_read_from_the_folder_that_is_named() {
    let (database, upstream, [folder, store, keys]) = (migrated(), MockUpstream::start().await, folders());
    let content = url_of(store.path());
    let mut gateway = node(&database.url(), folder.path(), &[("LEDGERWAY_CONTENT_URL", &content)]);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    seal(&gateway, &tenant).await;
    ask(&gateway, &tenant, &tenant.app).await;
    gateway.stop();
    let data = keys.path().join("ledgerway-data");
    fs::create_dir(&data).expect("a folder");
    let data = data.display().to_string();
    let check = |code: i32, key: &str, more: &[&str]| {
        fs::write(keys.path().join("ledgerway-data/node.key"), key).expect("a key");
        let mut command = ledgerway();
        command.current_dir(keys.path()).env("LEDGERWAY_DATABASE_URL", database.url());
        run_with(code, &[&["verify", "--log-only", "--content", content.as_str()], more].concat(), command)
    };
    let words = check(0, NODE_KEY, &["--data", &data]);
    assert!(words.contains("2 objects of content as they were sealed") && !words.contains("unchecked"), "{words}");
    let words = check(2, OTHER_KEY, &["--data", &data]);
    assert!(words.contains("give the key of this ledger"), "{words}");
    let words = check(0, OTHER_KEY, &[]);
    assert!(words.contains(", 2 not opened") && words.contains("unchecked: sealed content"), "{words}");
}
