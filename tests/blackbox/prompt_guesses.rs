//! Guesses at prompts: whoever has every file and guesses a prompt right does not see it, unless the tenant's policy keeps digests.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use http::Method;
use ring::digest::{SHA256, digest};
use rusqlite::Connection;
use serde_json::json;
use testing::upstream::{MockUpstream, TEXT};

use crate::answers::simulated;
use crate::client::Client;
use crate::gateway::Gateway;
use crate::sealed_content::gateway_with_store;
use crate::secrets::forms::Wanted;
use crate::secrets::{Place, collect};
use crate::shared_ledger::{folders, migrated, node};
use crate::tenant::{NATIVE, OPENAI, Tenant, made};

const SOON: Duration = Duration::from_secs(5);
const PROMPT: &str = "is the canary 5518 ill";
const SURFACES: [(&str, &str); 2] = [(NATIVE, "native"), (OPENAI, "openai")];

/// The ids of the simulator's answers begin so: a digest of the request follows.
const SIMULATED: &str = "chatcmpl-sim-";

/// A user who asks the tenant's models, whole and streamed and on two surfaces, each time under a key of its own.
struct Person {
    id: String,
    own: Client,
}

impl Person {
    async fn new(gateway: &Gateway, tenant: &Tenant) -> Self {
        let id = made(gateway.operator(), "/users", json!({ "tenant_id": tenant.id, "name": "Canary" })).await;
        let key = json!({ "user_id": id, "name": "app" });
        let key = gateway.operator().post("/v1/admin/keys", &key).await.must(201).json();
        Self { own: gateway.client(key["secret"].as_str()), id }
    }

    /// Asks everything, and then again: each retry is recognized. Returns the digests in the ids of the simulator's answers.
    async fn ask(&self, tenant: &Tenant, prefix: &str) -> BTreeSet<String> {
        let mut simulated = BTreeSet::new();
        for (number, (path, body)) in bodies(tenant, PROMPT).into_iter().enumerate() {
            let once = self.own.clone().with("idempotency-key", &format!("{prefix}-{number}"));
            let reply = once.send(Method::POST, path, body.clone()).await.expect("an answer").must(200);
            let answer = String::from_utf8_lossy(&reply.body).into_owned();
            simulated.extend(answer.split(SIMULATED).skip(1).map(|id| id.chars().take(16).collect::<String>()));
            must_be_recognized(&once, path, &body).await;
        }
        simulated
    }

    async fn is_deleted_and_erased(&self, gateway: &Gateway) {
        gateway.operator().delete(&format!("/v1/admin/users/{}", self.id)).await.must(200);
        gateway.operator().post(&format!("/v1/admin/subjects/{}/erase", self.id), &json!({})).await.must(200);
    }
}

/// All requests with this prompt, each with its path.
fn bodies(tenant: &Tenant, prompt: &str) -> Vec<(&'static str, String)> {
    let mut bodies = Vec::new();
    for (path, _) in SURFACES {
        for (model, streamed) in [("ok", false), ("ok", true), ("echo", false), ("echo", true)] {
            let body = json!({ "model": tenant.model(model), "messages": [{ "role": "user", "content": prompt }],
                               "stream": streamed });
            bodies.push((path, body.to_string()));
        }
    }
    bodies
}

/// The digest that was once stored beside the log: SHA-256 of the surface and of the body's digest.
fn fingerprint(surface: &str, body: &str) -> Vec<u8> {
    let body: String = digest(&SHA256, body.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    digest(&SHA256, format!("inference\0{surface}\0{body}").as_bytes()).as_ref().to_vec()
}

/// Everything that follows from a guess, with the answer, and could confirm it.
fn digests_of(tenant: &Tenant, guess: &str) -> BTreeSet<Vec<u8>> {
    let sha256 = |text: &str| digest(&SHA256, text.as_bytes()).as_ref().to_vec();
    let mut digests = BTreeSet::from([sha256(guess), sha256(TEXT)]);
    for (_, body) in bodies(tenant, guess) {
        digests.insert(sha256(&body));
        digests.extend(SURFACES.map(|(_, surface)| fingerprint(surface, &body)));
    }
    digests
}

/// The files in which a guess, among others that are wrong, is confirmed.
fn confirming(folders: &[&Path], tenant: &Tenant) -> Vec<String> {
    let mut places = Vec::<Place>::new();
    folders.iter().for_each(|folder| collect(folder, &mut places));
    let mut found = Vec::new();
    for guess in [PROMPT, "is the canary 5518 well", "is the canary 5519 ill"] {
        for wanted in digests_of(tenant, guess).iter().map(|digest| Wanted::of_bytes(digest)) {
            let has = |place: &&Place| wanted.form_in(&place.bytes).is_some();
            found.extend(places.iter().filter(has).map(|place| format!("{}: {guess}", place.name)));
        }
    }
    found
}

/// The files with one of these texts, in whatever form.
fn containing(folders: &[&Path], texts: &BTreeSet<String>) -> Vec<String> {
    let mut places = Vec::<Place>::new();
    folders.iter().for_each(|folder| collect(folder, &mut places));
    let wanted: Vec<Wanted> = texts.iter().map(|text| Wanted::new(text)).collect();
    let has = |place: &Place| wanted.iter().any(|wanted| wanted.form_in(&place.bytes).is_some());
    places.into_iter().filter(has).map(|place| place.name).collect()
}

async fn set_policy(gateway: &Gateway, tenant: &Tenant, policy: &str) {
    let path = format!("/v1/admin/tenants/{}", tenant.id);
    gateway.operator().patch(&path, &json!({ "content_policy": policy })).await.must(200);
}

/// Holds: inf.no-digests, content.erased
#[tokio::test(flavor = "multi_thread")]
async fn no_file_confirms_a_guess_at_a_prompt_before_or_after_an_erasure() {
    let ((mut gateway, store), upstream) = (gateway_with_store(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    simulated(&gateway, &tenant, "echo", "echo").await;
    let person = Person::new(&gateway, &tenant).await;
    let mut simulated = BTreeSet::new();
    for policy in ["none", "sealed"] {
        set_policy(&gateway, &tenant, policy).await;
        simulated.append(&mut person.ask(&tenant, policy).await);
    }
    assert!(!simulated.is_empty(), "the simulator has answered");
    let data = gateway.data();
    gateway.stop();
    let folders = [data.as_path(), store.path()];
    assert_eq!(confirming(&folders, &tenant), Vec::<String>::new());
    assert_eq!(containing(&folders, &simulated), Vec::<String>::new());
    // The search finds what is there.
    let planted = data.join("planted");
    fs::write(&planted, fingerprint("native", &bodies(&tenant, PROMPT)[0].1)).expect("a file");
    assert_eq!(confirming(&folders, &tenant), [format!("planted: {PROMPT}")]);
    fs::remove_file(&planted).expect("it is removed");

    let ledger = Connection::open(data.join("ledger.db")).expect("the ledger");
    let salt: Vec<u8> = ledger
        .query_row("SELECT salt FROM personal_data WHERE subject = ?1", [&person.id], |row| row.get(0))
        .expect("a salt");
    ledger.close().expect("it closes");
    gateway.start_again();
    person.is_deleted_and_erased(&gateway).await;
    gateway.stop();
    assert_eq!(gateway.verify().0, Some(0));
    assert_eq!(confirming(&folders, &tenant), Vec::<String>::new());
    // Without it, nobody makes the fingerprints anew, whatever key they have.
    let (mut places, salt) = (Vec::<Place>::new(), Wanted::of_bytes(&salt));
    folders.iter().for_each(|folder| collect(folder, &mut places));
    let with_salt: Vec<_> = places.iter().filter(|place| salt.form_in(&place.bytes).is_some()).collect();
    assert!(with_salt.is_empty(), "{:?}", with_salt.iter().map(|place| &place.name).collect::<Vec<_>>());
}

/// Under the policy `digest`, the event has the digest of the body, and nothing else has one.
/// Holds: inf.no-digests, shared.idempotency
#[tokio::test(flavor = "multi_thread")]
async fn every_node_recognizes_a_retry_by_what_nobody_else_can_compute() {
    let (database, [here, there], upstream) = (migrated(), folders(), MockUpstream::start().await);
    let url = database.gateway_url();
    let (one, mut two) = (node(&url, here.path(), &[]), node(&url, there.path(), &[]));
    let tenant = Tenant::new(&one, &upstream, &["ok"]).await;
    simulated(&one, &tenant, "echo", "echo").await;
    let person = Person::new(&one, &tenant).await;
    person.ask(&tenant, "once").await;
    let bytes_of = |digest: &[u8]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for (_, body) in bodies(&tenant, PROMPT) {
        for (_, surface) in SURFACES {
            let digest = bytes_of(&fingerprint(surface, &body));
            let stored = format!("SELECT count(*) FROM ledger.inference_keys WHERE fingerprint = '\\x{digest}'");
            assert_eq!(database.number(&stored), 0, "{surface} {body}");
        }
    }
    // A new name keeps the salt, and so does a start.
    one.operator().patch(&format!("/v1/admin/users/{}", person.id), &json!({ "name": "Another" })).await.must(200);
    two.stop();
    two.start_again();
    let secret = one.operator().post("/v1/admin/keys", &json!({ "user_id": person.id, "name": "second" })).await;
    let other_key = two.client(secret.must(201).json()["secret"].as_str()).with("idempotency-key", "once-0");
    let (path, body) = bodies(&tenant, PROMPT).remove(0);
    must_be_recognized(&other_key, path, &body).await;
}

/// A retry is refused with the cost of the first request, once that one is recorded and the node knows the key.
async fn must_be_recognized(client: &Client, path: &str, body: &str) {
    let began = Instant::now();
    loop {
        let reply = client.send(Method::POST, path, body.to_owned()).await.expect("an answer");
        if reply.json()["error"]["details"]["cost_usd"].is_string() {
            reply.must(409);
            return;
        }
        assert!(began.elapsed() < SOON, "{path} {body}: {} {}", reply.status, reply.json());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
