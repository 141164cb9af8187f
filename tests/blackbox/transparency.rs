//! The published log: its checkpoints, what changes in the database they show, and that no two of them contradict each other.

mod attacks;
mod bundles;
mod damage;
mod defaults;
mod outages;
mod rotation;
mod witnesses;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::json;
use tlog::{
    Hash, LogPolicy, SignedCheckpoint, Signer, TlogProof, Tree, TreeHead, VerifierKey, verify_consistency,
    verify_inclusion,
};

use crate::archive::{address, run, wait_until_archived};
use crate::client::Client;
use crate::gateway::{Gateway, serve_to_its_end};
use crate::shared_ledger::{folders, migrated, node};

const PUBLISHED: (&str, &str) = ("LEDGERWAY_TRANSPARENCY", "true");
/// How long a checkpoint may take on a busy machine.
const CHECKPOINT_MAX: Duration = Duration::from_secs(30);

async fn make_partners(client: &Client, count: usize) {
    for number in 0..count {
        client.post("/v1/admin/partners", &json!({ "name": format!("partner {number}") })).await.must(201);
    }
}

async fn key(client: &Client) -> String {
    let keys = client.get("/v1/log/key").await.must(200);
    String::from_utf8(keys.body.to_vec()).expect("a text").lines().last().expect("a key").to_owned()
}

/// The newest checkpoint; `None` if there is none yet, or another key has signed it.
async fn checkpoint(client: &Client, key: &str) -> Option<TreeHead> {
    let reply = client.get("/v1/log/checkpoint").await;
    if reply.status == 404 {
        return None;
    }
    let signed = SignedCheckpoint::parse(&reply.must(200).body).expect("a checkpoint");
    let key: VerifierKey = key.parse().expect("a key");
    signed.verify(&key.name().to_string(), &[key]).ok().map(|checkpoint| *checkpoint.head())
}

/// Waits for a checkpoint of at least so many events.
async fn checkpoint_of(client: &Client, key: &str, events: u64) -> TreeHead {
    let began = Instant::now();
    loop {
        match checkpoint(client, key).await {
            Some(head) if head.size >= events => return head,
            found => assert!(began.elapsed() < CHECKPOINT_MAX, "no checkpoint of {events} events: {found:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The lines of `/v1/events`, without the line feeds.
async fn lines(client: &Client) -> Vec<String> {
    let events = client.get("/v1/events?limit=1000").await.must(200);
    String::from_utf8(events.body.to_vec()).expect("text").lines().map(str::to_owned).collect()
}

fn hashes(proof: &serde_json::Value) -> Vec<Hash> {
    let hashes = proof["hashes"].as_array().expect("hashes").iter();
    hashes.map(|hash| hash.as_str().and_then(|hash| hash.parse().ok()).expect("a hash")).collect()
}

/// Holds: log.published, log.published-proofs
#[tokio::test(flavor = "multi_thread")]
async fn the_checkpoint_is_the_root_of_the_events_as_they_are_served() {
    let gateway = Gateway::start_with(&[PUBLISHED, ("LEDGERWAY_LOG_ORIGIN", "gateway.example/ledger")]);
    let (operator, anybody) = (gateway.operator(), gateway.client(None));
    make_partners(operator, 20).await;
    let key = key(&anybody).await;
    assert!(key.starts_with("gateway.example/ledger+"), "{key}");
    let head = checkpoint_of(&anybody, &key, gateway.head().await).await;
    let lines = lines(operator).await;
    let (mut tree, mut tiles) = (Tree::new(), Vec::new());
    for line in lines.iter().take(usize::try_from(head.size).expect("few")) {
        tree.append(Hash::of_leaf(line.as_bytes()), &mut tiles).expect("not full");
    }
    assert_eq!(tree.head(), head);
    // The event of the key is in the log, and every view goes on after it.
    for path in ["/v1/admin/partners", "/v1/audit", "/v1/budgets", "/v1/inferences", "/v1/usage"] {
        operator.get(&format!("{path}?min_position={}", head.size)).await.must(200);
    }
    for position in 1..=head.size {
        let proof = anybody.get(&format!("/v1/log/proof?position={position}")).await.must(200).json();
        let of = TreeHead {
            size: proof["size"].as_u64().expect("a size"),
            root: proof["root"].as_str().expect("a root").parse().expect("a hash"),
        };
        let leaf = Hash::of_leaf(lines[usize::try_from(position).expect("few") - 1].as_bytes());
        assert_eq!(verify_inclusion(position - 1, &leaf, &of, &hashes(&proof)), Ok(()));
    }
    for wrong in ["", "?position=0", "?position=1&from_size=1", "?from_size=0", "?position=1&size=100000", "?x=1"] {
        anybody.get(&format!("/v1/log/proof{wrong}")).await.must_be(400, "INVALID_REQUEST");
    }
    let tile = anybody.get(&format!("/v1/log/tile/0/000.p/{}", head.size)).await.must(200);
    assert_eq!(tile.body.len() as u64, head.size * 32);
    for missing in ["/v1/log/tile/0/001", "/v1/log/tile/0/000.p/250", "/v1/log/tile/0/0", "/v1/log/tile/x/000"] {
        anybody.get(missing).await.must_be(404, "NOT_FOUND");
    }
}

/// Holds: log.published-entries
#[tokio::test(flavor = "multi_thread")]
async fn entries_are_for_those_who_may_read_the_audit_of_the_platform() {
    let gateway = Gateway::start_with(&[PUBLISHED]);
    let operator = gateway.operator();
    let user = operator.post("/v1/admin/users", &json!({ "name": "auditor", "roles": ["auditor"] })).await.must(201);
    let body = json!({ "user_id": user.json()["id"], "name": "audit", "permissions": ["audit:read"] });
    let secret = operator.post("/v1/admin/keys", &body).await.must(201).json()["secret"].clone();
    let of_tenant = gateway.client(secret.as_str());
    let events = gateway.head().await;
    let key = key(operator).await;
    let head = checkpoint_of(operator, &key, events).await;
    let path = format!("/v1/log/tile/entries/000.p/{}", head.size);
    gateway.client(None).get(&path).await.must_be(401, "UNAUTHENTICATED");
    of_tenant.get(&path).await.must_be(403, "FORBIDDEN");
    let bundle = operator.get(&path).await.must(200).body;
    let mut entries = Vec::new();
    for line in lines(operator).await.iter().take(usize::try_from(head.size).expect("few")) {
        entries.extend_from_slice(&u16::try_from(line.len()).expect("short").to_be_bytes());
        entries.extend_from_slice(line.as_bytes());
    }
    assert!(bundle[..] == entries[..], "the entries are the lines of /v1/events");
}

/// Holds: log.published-receipts, log.published-leaf
#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_verifies_without_the_gateway() {
    let gateway = Gateway::start_with(&[PUBLISHED, ("LEDGERWAY_DEV", "true")]);
    let dev = fs::read_to_string(gateway.data().join("dev.key")).expect("the app key");
    let app = gateway.client(Some(dev.trim()));
    let ask = json!({ "model": "sim-small", "messages": [{ "role": "user", "content": "hello" }] });
    let reply = app.post("/v1/inference/chat", &ask).await.must(200);
    let key: VerifierKey = key(gateway.operator()).await.parse().expect("a key");
    checkpoint_of(gateway.operator(), &key.to_string(), reply.position()).await;
    let path = format!("/v1/inferences/{}/receipt", reply.request_id());
    let receipt = gateway.operator().get(&path).await.must(200).json();
    let policy =
        LogPolicy { origin: key.name().to_string(), log_keys: vec![key], witnesses: Vec::new(), cosignatures_min: 0 };
    let entries = receipt["entries"].as_array().expect("entries");
    let types: Vec<String> = gateway.types_of(&reply.request_id()).await;
    assert_eq!(entries.len(), types.len(), "{receipt}");
    for entry in entries {
        let (leaf, proof) = (entry["entry"].as_str().expect("text"), entry["proof"].as_str().expect("text"));
        let proof = TlogProof::parse(proof.as_bytes()).expect("a proof");
        assert_eq!(Some(proof.index + 1), entry["position"].as_u64());
        assert!(proof.verify(&Hash::of_leaf(leaf.as_bytes()), &policy).is_ok(), "{entry}");
        let spoiled = leaf.replacen("req_", "req-", 1);
        assert!(proof.verify(&Hash::of_leaf(spoiled.as_bytes()), &policy).is_err(), "{entry}");
    }
    let settled = entries.iter().find(|entry| entry["position"] == reply.position()).expect("the settlement");
    let leaf = Hash::of_leaf(settled["entry"].as_str().expect("text").as_bytes());
    assert_eq!(reply.header("x-ledgerway-leaf-hash"), leaf.to_string());
    let mut streamed = ask.clone();
    streamed["stream"] = true.into();
    let stream = app.stream("/v1/inference/chat", &streamed).await.expect("a stream");
    assert!(stream.headers.get("x-ledgerway-leaf-hash").is_none(), "it is sent before its settlement");
    gateway.client(None).get(&path).await.must_be(401, "UNAUTHENTICATED");
}

/// Holds: log.receipt-changes
#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_was_changed_is_refused_with_the_position() {
    let gateway = Gateway::start_with(&[PUBLISHED, ("LEDGERWAY_DEV", "true")]);
    let dev = fs::read_to_string(gateway.data().join("dev.key")).expect("the app key");
    let ask = json!({ "model": "sim-small", "messages": [{ "role": "user", "content": "hello" }] });
    let app = gateway.client(Some(dev.trim()));
    let [reply, other] = [app.post("/v1/inference/chat", &ask).await, app.post("/v1/inference/chat", &ask).await];
    let (reply, other) = (reply.must(200), other.must(200));
    let of_log = key(gateway.operator()).await;
    checkpoint_of(gateway.operator(), &of_log, other.position()).await;
    let receipt =
        gateway.operator().get(&format!("/v1/inferences/{}/receipt", reply.request_id())).await.must(200).json();
    let others =
        gateway.operator().get(&format!("/v1/inferences/{}/receipt", other.request_id())).await.must(200).json();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("request.receipt").display().to_string();
    let verify = |code: i32, receipt: &serde_json::Value| {
        fs::write(&file, receipt.to_string()).expect("written");
        run(code, &["verify", "--receipt", &file, "--checkpoint-key", &of_log])
    };
    let words = verify(0, &receipt);
    let cost = reply.header("x-ledgerway-cost-usd");
    assert!(words.contains(&format!("4 events of {}", reply.request_id())) && words.contains(cost), "{words}");
    let at = |index: usize| receipt["entries"][index]["position"].as_u64().expect("a position");
    let with = |index: usize, member: &str, value: serde_json::Value| {
        let mut changed = receipt.clone();
        changed["entries"][index][member] = value;
        verify(1, &changed)
    };
    let entry = receipt["entries"][3]["entry"].as_str().expect("text");
    let found = with(3, "entry", json!(entry.replace("charged_usd\":\"0", "charged_usd\":\"1")));
    assert!(found.contains(&format!("broken: position {}: ", at(3))), "a charge: {found}");
    let found = with(2, "proof", receipt["entries"][3]["proof"].clone());
    assert!(found.contains(&format!("position {}: ", at(2))), "another proof: {found}");
    let found = with(3, "position", json!(at(3) + 1));
    assert!(found.contains("it is another event"), "another position: {found}");
    let found = verify(1, &json!({ "request_id": reply.request_id(), "entries": others["entries"] }));
    assert!(found.contains("and not to the request"), "another request: {found}");
    let twice = json!({ "request_id": reply.request_id(), "entries": [receipt["entries"][0], receipt["entries"][0]] });
    assert!(verify(1, &twice).contains("not after the event before"));
    assert!(verify(2, &json!({ "request_id": reply.request_id(), "entries": [] })).contains("no events"));
    assert!(verify(2, &json!([])).contains("/receipt"));
    assert!(run(2, &["verify", "--receipt", &file]).contains("--checkpoint-key"));
    let mut later = receipt.clone();
    let next = gateway.operator().post("/v1/admin/partners", &json!({ "name": "one" })).await.must(201).position();
    checkpoint_of(gateway.operator(), &of_log, next).await;
    let path = format!("/v1/inferences/{}/receipt", reply.request_id());
    later["entries"][3] = gateway.operator().get(&path).await.must(200).json()["entries"][3].clone();
    let found = verify(1, &later);
    assert!(found.contains("another checkpoint"), "the events of two checkpoints: {found}");
    fs::write(&file, receipt.to_string()).expect("written");
    let of_another_log = key(Gateway::start_with(&[PUBLISHED]).operator()).await;
    run(1, &["verify", "--receipt", &file, "--checkpoint-key", &of_another_log]);
    let witness = "witness.example.org/w1+a27d8a4d+BHMwCHH0TBaOfJSd4sdQ5gwsm7j/UwAXxaJnI06ctNuO";
    let cosigned = ["verify", "--receipt", &file, "--checkpoint-key", &of_log, "--witness-key", witness];
    assert!(run(1, &cosigned).contains("has not cosigned the checkpoint"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_setting_there_is_no_published_log() {
    let gateway = Gateway::start();
    for path in ["/v1/log/checkpoint", "/v1/log/key", "/v1/log/proof?position=1", "/v1/log/tile/0/000"] {
        gateway.operator().get(path).await.must_be(404, "NOT_FOUND");
    }
    assert!(!gateway.data().join("objects").exists());
    let described = |document: serde_json::Value| document["paths"].get("/v1/log/checkpoint").is_some();
    assert!(!described(gateway.client(None).get("/openapi.json").await.must(200).json()));
    let published = Gateway::start_with(&[PUBLISHED]);
    assert!(described(published.client(None).get("/openapi.json").await.must(200).json()));
}

/// The ledger of a folder without its triggers, which somebody with every right on the file can drop.
fn unlocked(folder: &Path) -> Connection {
    let db = Connection::open(folder.join("ledger.db")).expect("the ledger");
    let mut triggers = db.prepare("SELECT name FROM sqlite_master WHERE type = 'trigger'").expect("triggers");
    let names: Result<Vec<String>, _> = triggers.query_map([], |row| row.get(0)).expect("names").collect();
    drop(triggers);
    for name in names.expect("names") {
        db.execute_batch(&format!("DROP TRIGGER {name}")).expect("dropped");
    }
    db
}

/// A changed log that agrees with itself shows no change.
/// Holds: log.published-changes
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_actor_that_the_log_agrees_with_is_found_by_the_checkpoint() {
    let mut gateway = Gateway::start_with(&[PUBLISHED]);
    make_partners(gateway.operator(), 3).await;
    let position = gateway.operator().post("/v1/admin/partners", &json!({ "name": "one" })).await.must(201).position();
    let key = key(gateway.operator()).await;
    let published = checkpoint_of(gateway.operator(), &key, gateway.head().await).await;
    gateway.stop();
    let data = gateway.data().display().to_string();
    let words = run(0, &["verify", "--data", &data, "--checkpoint-key", &key]);
    assert!(words.contains("as they were published in the checkpoint of ledgerway/"), "{words}");
    let (proven, not_proven) = words.split_once("NOT PROVEN").expect("a table");
    let completeness = format!("none of the first {} events was changed", published.size);
    assert!(proven.contains(&completeness) && !not_proven.contains("completeness"), "{words}");
    let statement =
        format!("UPDATE events SET metadata = replace(metadata, 'operator', 'key_1') WHERE position = {position}");
    assert_eq!(unlocked(&gateway.data()).execute(&statement, []), Ok(1), "{statement}");
    run(0, &["verify", "--data", &data, "--log-only"]);
    let words = run(1, &["verify", "--data", &data, "--checkpoint-key", &key, "--log-only"]);
    assert!(
        words.contains(&format!("position {position}: ")) && words.contains("not the one that was published"),
        "{words}"
    );
    // Who has all rights can publish the changed log anew; whoever has kept a checkpoint notices.
    let kept = gateway.data().join("kept-checkpoint");
    fs::copy(gateway.data().join("objects/tlog/checkpoint"), &kept).expect("a copy");
    fs::remove_dir_all(gateway.data().join("objects/tlog")).expect("the published log");
    fs::remove_file(gateway.data().join("roles.json")).expect("what the publisher remembers");
    gateway.start_again();
    checkpoint_of(gateway.operator(), &key, gateway.head().await).await;
    gateway.stop();
    run(0, &["verify", "--data", &data, "--checkpoint-key", &key, "--log-only"]);
    let kept = kept.display().to_string();
    let words = run(1, &["verify", "--data", &data, "--checkpoint-key", &key, "--log-only", "--checkpoint", &kept]);
    assert!(
        words.contains("of the checkpoint that was kept are others, or were lost, from one after position 0 on"),
        "{words}"
    );
    // A log has several keys, once one was lost.
    let name = key.parse::<VerifierKey>().expect("a key").name().clone();
    let earlier = Signer::from_seed(name, &[5; 32]).expect("a key").verifier_key().to_string();
    let (both, alone) = (format!("{earlier}\n{key}\n"), &earlier);
    run(0, &["verify", "--data", &data, "--checkpoint-key", &both, "--log-only"]);
    run(0, &["verify", "--data", &data, "--checkpoint-key", &earlier, "--checkpoint-key", &key, "--log-only"]);
    run(1, &["verify", "--data", &data, "--checkpoint-key", alone, "--log-only"]);
    // Another key has not signed it.
    let other = format!("{}{}", &key[..key.len() - 1], if key.ends_with('A') { 'B' } else { 'A' });
    let words = run(2, &["verify", "--data", &data, "--checkpoint-key", &other]);
    assert!(words.contains("--checkpoint-key"), "{words}");
}

/// Holds: log.published-restored
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_was_restored_from_an_older_copy_is_not_served() {
    let mut gateway = Gateway::start_with(&[PUBLISHED]);
    let key = key(gateway.operator()).await;
    let older = checkpoint_of(gateway.operator(), &key, gateway.head().await).await.size;
    gateway.stop();
    let ledger = gateway.data().join("ledger.db");
    let copy = fs::read(&ledger).expect("the ledger");
    gateway.start_again();
    make_partners(gateway.operator(), 3).await;
    let newer = checkpoint_of(gateway.operator(), &key, gateway.head().await).await.size;
    gateway.stop();
    fs::write(&ledger, copy).expect("the older copy");
    for beside in ["ledger.db-wal", "ledger.db-shm", "views.db"] {
        let _ = fs::remove_file(gateway.data().join(beside));
    }
    let (code, words) = serve_to_its_end(&gateway.data(), gateway.env());
    assert_eq!(code, Some(1), "{words}");
    let sizes = format!("is of {newer} events, and the ledger has {older}");
    assert!(words.contains(&sizes) && words.contains("docs/transparency.md"), "{words}");
}

/// Holds: log.published-once
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_at_any_time_never_publishes_another_history() {
    let mut gateway = Gateway::start_with(&[PUBLISHED]);
    let rounds: u64 = std::env::var("LEDGERWAY_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(8);
    let key = key(gateway.operator()).await;
    let mut seen: Vec<TreeHead> = Vec::new();
    for round in 0..rounds {
        make_partners(gateway.operator(), 3).await;
        // Before, while and after it publishes.
        tokio::time::sleep(Duration::from_millis(round * 137 % 900)).await;
        seen.extend(checkpoint(gateway.operator(), &key).await);
        gateway.kill();
        gateway.start_again();
        seen.extend(checkpoint(gateway.operator(), &key).await);
    }
    let newest = checkpoint_of(gateway.operator(), &key, gateway.head().await).await;
    assert!(seen.len() as u64 > rounds / 2, "{seen:?}");
    for old in seen {
        let path = format!("/v1/log/proof?from_size={}&size={}", old.size, newest.size);
        let proof = gateway.operator().get(&path).await.must(200).json();
        assert_eq!(verify_consistency(&old, &newest, &hashes(&proof)), Ok(()), "{}", old.size);
    }
    gateway.stop();
    run(0, &["verify", "--data", &gateway.data().display().to_string(), "--checkpoint-key", &key]);
}

/// Holds: log.published-shared
#[tokio::test(flavor = "multi_thread")]
async fn nodes_publish_one_log_and_another_node_goes_on_with_it() {
    let database = migrated();
    let [objects, one, other] = folders();
    let store = address(objects.path());
    let env = [PUBLISHED, ("LEDGERWAY_OBJECT_STORE_URL", store.as_str()), ("LEDGERWAY_ARCHIVE_SEGMENT_SECONDS", "1")];
    let mut first = node(&database.url(), one.path(), &env);
    let second = node(&database.url(), other.path(), &env);
    make_partners(first.operator(), 3).await;
    let key = key(first.operator()).await;
    let early = checkpoint_of(second.operator(), &key, first.head().await).await;
    first.kill();
    make_partners(second.operator(), 3).await;
    let late = checkpoint_of(second.operator(), &key, second.head().await).await;
    let path = format!("/v1/log/proof?from_size={}&size={}", early.size, late.size);
    let proof = second.operator().get(&path).await.must(200).json();
    assert_eq!(verify_consistency(&early, &late, &hashes(&proof)), Ok(()));
    // From files alone: the archive's events are those of the checkpoint, as far as it has them.
    wait_until_archived(&store, late.size);
    let words = run(0, &["verify", "--archive", &store, "--checkpoint-key", &key]);
    assert!(words.contains("as they were published") && words.contains("\ncompleteness"), "{words}");
}
