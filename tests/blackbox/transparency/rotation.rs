//! Rotation of the key that signs checkpoints: on the record, without a restart, and so that whoever has only the key before finds a
//! checkpoint that leads to the next one.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tlog::{Checkpoint, SignedCheckpoint, Signer, VerifierKey};
use tokio::task::JoinSet;

use super::{CHECKPOINT_MAX, PUBLISHED, checkpoint_of, key, make_partners};
use crate::archive::{address, run, wait_until_archived};
use crate::client::Client;
use crate::gateway::Gateway;
use crate::shared_ledger::{folders, migrated, node};

const ROTATE: &str = "/v1/admin/log/key/rotate";
/// How often the checkpoint is looked at: much more often than it changes.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often a gateway is killed.
const KILLS: usize = 3;

/// The keys that a gateway shows, oldest first.
async fn keys(client: &Client) -> Vec<VerifierKey> {
    let keys = client.get("/v1/log/key").await.must(200);
    let keys = String::from_utf8(keys.body.to_vec()).expect("a text");
    keys.lines().map(|line| line.parse().expect("a key")).collect()
}

async fn newest(client: &Client) -> SignedCheckpoint {
    SignedCheckpoint::parse(&client.get("/v1/log/checkpoint").await.must(200).body).expect("a checkpoint")
}

/// The generations of the keys that have signed a checkpoint, in the order of their signatures.
fn generations(signed: &SignedCheckpoint, keys: &[VerifierKey]) -> Vec<usize> {
    let signers = signed.signers(signed.unverified().origin(), keys).expect("signed by keys of the log");
    let generation = |signer| keys.iter().position(|key| key == signer).map(|index| index + 1);
    signers.into_iter().map(|signer| generation(signer).expect("a key of the log")).collect()
}

fn size(signed: &SignedCheckpoint) -> u64 {
    signed.unverified().head().size
}

/// Rotates the key; the reply.
async fn rotate(client: &Client) -> Value {
    let reply = client.post(ROTATE, &json!({})).await.must(200);
    let body = reply.json();
    assert_eq!(body["position"], reply.position(), "{body}");
    body
}

/// Waits for the first checkpoint that has an event.
async fn first_with(client: &Client, position: &Value) -> SignedCheckpoint {
    let (began, position) = (Instant::now(), position.as_u64().expect("a position"));
    loop {
        let found = newest(client).await;
        if size(&found) >= position {
            return found;
        }
        assert!(began.elapsed() < CHECKPOINT_MAX, "no checkpoint of {position} events: {found}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A file with a checkpoint that was kept.
fn keep(folder: &Path, name: &str, checkpoint: &SignedCheckpoint) -> String {
    let file = folder.join(name);
    fs::write(&file, checkpoint.to_string()).expect("written");
    file.display().to_string()
}

/// Holds: log.published-rotation
#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_signs_without_a_restart_and_the_one_before_leads_to_it() {
    let mut gateway = Gateway::start_with(&[PUBLISHED, ("LEDGERWAY_DEV", "true")]);
    let (operator, anybody) = (gateway.operator().clone(), gateway.client(None));
    let old = key(&anybody).await;
    checkpoint_of(&operator, &old, gateway.head().await).await;
    let early = newest(&anybody).await;
    let dev = fs::read_to_string(gateway.data().join("dev.key")).expect("the app key");
    let mut load = JoinSet::new();
    for _ in 0..2 {
        let app = gateway.client(Some(dev.trim()));
        load.spawn(async move {
            let ask = json!({ "model": "sim-small", "messages": [{ "role": "user", "content": "hello" }] });
            loop {
                app.post("/v1/inference/chat", &ask).await.must(200);
            }
        });
    }
    let rotated = operator.clone().with("idempotency-key", "once");
    let body = rotate(&rotated).await;
    let both = first_with(&anybody, &body["position"]).await;
    let known = keys(&anybody).await;
    assert_eq!((known.len(), known[0].to_string()), (2, old.clone()));
    let new = known[1].to_string();
    let expected = json!({ "origin": known[1].name().to_string(), "generation": 2, "verifier_key": new });
    for (name, value) in expected.as_object().expect("fields") {
        assert_eq!(&body[name], value, "{body}");
    }
    assert_eq!(generations(&both, &known), [1, 2], "{both}");
    let began = Instant::now();
    let later = loop {
        let found = newest(&anybody).await;
        if size(&found) > size(&both) {
            break found;
        }
        assert!(began.elapsed() < CHECKPOINT_MAX, "{found}");
        tokio::time::sleep(LOOK_EVERY).await;
    };
    assert_eq!(generations(&later, &known), [2], "{later}");
    load.shutdown().await;
    // It is on the record, and a retry changes nothing.
    let event =
        &gateway.events().await[usize::try_from(body["position"].as_u64().expect("a number")).expect("few") - 1];
    assert_eq!((&event["type"], &event["actor"]), (&json!("log_key.created.v1"), &json!("operator")), "{event}");
    assert_eq!(event["data"], expected);
    assert_eq!(rotate(&rotated).await, body);
    assert_eq!(keys(&anybody).await.len(), 2);
    gateway.stop();
    let kept = [("early", &early), ("both", &both), ("later", &later)];
    let [early, both, later] = kept.map(|(name, signed)| keep(&gateway.data(), name, signed));
    let data = gateway.data().display().to_string();
    let verify = |code: i32, keys: &[&str], kept: &[&String]| {
        let mut arguments = vec!["verify", "--log-only", "--data", &data];
        keys.iter().for_each(|key| arguments.extend(["--checkpoint-key", key]));
        kept.iter().for_each(|kept| arguments.extend(["--checkpoint", kept.as_str()]));
        run(code, &arguments)
    };
    verify(0, &[&old, &new], &[&early, &both, &later]);
    verify(0, &[&new], &[]);
    // The checkpoint that both have signed names the new key to whoever has the old one alone.
    verify(0, &[&old], &[&both]);
    verify(0, &[&old], &[&later, &early, &both]);
    // What the old key has signed before names none.
    let words = verify(1, &[&old], &[&early]);
    assert!(words.contains("give that as well") && words.contains("/v1/log/key"), "{words}");
    let words = verify(2, &[&old], &[&later]);
    assert!(words.contains("later: ") && words.contains("no known key has signed"), "{words}");
    // Nor does a key that the log does not name, under the same name and for the same tree.
    let checkpoint = Checkpoint::new(&known[0].name().to_string(), *kept[2].1.unverified().head()).expect("one");
    let forger = Signer::from_seed(known[0].name().clone(), &[9; 32]).expect("a key");
    let forged = SignedCheckpoint::sign(checkpoint, &forger).expect("signed");
    let forged = keep(&gateway.data(), "forged", &forged);
    verify(2, &[&old, &new], &[&forged]);
    fs::copy(&forged, gateway.data().join("objects/tlog/checkpoint")).expect("replaced");
    verify(1, &[&old, &new], &[&both]);
}

/// Holds: log.published-rotation
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_after_a_rotation_signs_with_both_keys() {
    let mut gateway = Gateway::start_with(&[PUBLISHED]);
    let first = key(gateway.operator()).await;
    checkpoint_of(gateway.operator(), &first, gateway.head().await).await;
    for round in 1..=KILLS {
        let body = rotate(gateway.operator()).await;
        gateway.kill();
        gateway.start_again();
        let both = first_with(gateway.operator(), &body["position"]).await;
        let known = keys(gateway.operator()).await;
        assert_eq!((known.len(), generations(&both, &known)), (round + 1, vec![round, round + 1]), "{both}");
    }
    let newest_key = key(gateway.operator()).await;
    gateway.stop();
    run(0, &["verify", "--data", &gateway.data().display().to_string(), "--checkpoint-key", &newest_key]);
}

/// Holds: log.published-rotation
#[tokio::test(flavor = "multi_thread")]
async fn rotations_at_once_follow_each_other_and_each_leads_to_the_next() {
    let mut gateway = Gateway::start_with(&[PUBLISHED]);
    let operator = gateway.operator().clone();
    let first = key(&operator).await;
    checkpoint_of(&operator, &first, gateway.head().await).await;
    let (one, other) = tokio::join!(rotate(&operator), rotate(&operator));
    let mut generations_made = [one["generation"].as_u64(), other["generation"].as_u64()];
    generations_made.sort_unstable();
    assert_eq!(generations_made, [Some(2), Some(3)]);
    let last = one["position"].as_u64().max(other["position"].as_u64());
    // One checkpoint has both events, or a first one the first of them.
    let (began, mut seen) = (Instant::now(), Vec::<SignedCheckpoint>::new());
    let known = keys(&operator).await;
    while seen.last().is_none_or(|newest| Some(size(newest)) < last) {
        let found = newest(&operator).await;
        if seen.last() != Some(&found) {
            seen.push(found);
        }
        assert!(began.elapsed() < CHECKPOINT_MAX, "{seen:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let mut signers: Vec<usize> = seen.iter().flat_map(|signed| generations(signed, &known)).collect();
    signers.dedup();
    assert_eq!(signers, [1, 2, 3], "{seen:?}");
    make_partners(&operator, 1).await;
    let after = first_with(&operator, &json!(gateway.head().await)).await;
    assert_eq!(generations(&after, &known), [3]);
    gateway.stop();
}

/// Holds: log.published-rotation
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_did_not_rotate_publishes_with_the_new_key_and_so_does_the_next_one() {
    let database = migrated();
    let [objects, one, other] = folders();
    let store = address(objects.path());
    let env = [PUBLISHED, ("LEDGERWAY_OBJECT_STORE_URL", store.as_str()), ("LEDGERWAY_ARCHIVE_SEGMENT_SECONDS", "1")];
    let mut first = node(&database.url(), one.path(), &env);
    let second = node(&database.url(), other.path(), &env);
    let old = key(first.operator()).await;
    checkpoint_of(second.operator(), &old, first.head().await).await;
    // Whichever of them has the role, one of these is on the other.
    let mut kept = Vec::new();
    for (generation, node) in [(2, &second), (3, &first)] {
        let body = rotate(node.operator()).await;
        assert_eq!(body["generation"], generation);
        let both = first_with(first.operator(), &body["position"]).await;
        let known = keys(second.operator()).await;
        assert_eq!(generations(&both, &known), [generation - 1, generation], "{both}");
        kept.push(both);
    }
    // Both at the same time, on two nodes; and the one that publishes dies, or the other one.
    let (third, fourth) = tokio::join!(rotate(first.operator()), rotate(second.operator()));
    first.kill();
    let last = third["position"].as_u64().max(fourth["position"].as_u64());
    let covered = first_with(second.operator(), &json!(last)).await;
    let known = keys(second.operator()).await;
    assert_eq!((known.len(), generations(&covered, &known).last()), (5, Some(&5)), "{covered}");
    make_partners(second.operator(), 2).await;
    let head = second.head().await;
    let late = first_with(second.operator(), &json!(head)).await;
    assert_eq!(generations(&late, &known), [5], "{late}");
    // From files alone, with the newest key; and with the first one, through a checkpoint of each rotation.
    wait_until_archived(&store, head);
    run(0, &["verify", "--archive", &store, "--checkpoint-key", &known[4].to_string()]);
    let files = [keep(one.path(), "2", &kept[0]), keep(one.path(), "3", &kept[1]), keep(one.path(), "5", &covered)];
    let mut verify = vec!["verify", "--archive", &store, "--checkpoint-key", &old];
    files.iter().take(2).for_each(|file| verify.extend(["--checkpoint", file]));
    if generations(&covered, &known)[0] == 3 {
        verify.extend(["--checkpoint", &files[2]]);
        run(0, &verify);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_platform_rotates_the_key_and_only_where_there_is_a_published_log() {
    let gateway = Gateway::start_with(&[PUBLISHED]);
    let operator = gateway.operator();
    let user = operator.post("/v1/admin/users", &json!({ "name": "admin", "roles": ["tenant_admin"] })).await.must(201);
    let body = json!({ "user_id": user.json()["id"], "name": "admin", "permissions": ["admin:access"] });
    let secret = operator.post("/v1/admin/keys", &body).await.must(201).json()["secret"].clone();
    let of_tenant = gateway.client(secret.as_str());
    of_tenant.post(ROTATE, &json!({})).await.must_be(403, "FORBIDDEN");
    gateway.client(None).post(ROTATE, &json!({})).await.must_be(401, "UNAUTHENTICATED");
    operator.post(ROTATE, &json!({ "generation": 7 })).await.must_be(400, "INVALID_REQUEST");
    assert_eq!(keys(operator).await.len(), 1);
    // A body is not needed.
    let once = operator.clone().with("idempotency-key", "k");
    once.send(http::Method::POST, ROTATE, "").await.expect("an answer").must(200);
    once.post(ROTATE, &json!({})).await.must_be(409, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(keys(operator).await.len(), 2);
    let unpublished = Gateway::start();
    let refused = unpublished.operator().post(ROTATE, &json!({})).await.must_be(404, "NOT_FOUND");
    assert!(refused.json().to_string().contains("LEDGERWAY_TRANSPARENCY=true"), "{refused:?}");
}
