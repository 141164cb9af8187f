//! `ledgerway reseal`: another node's key, and what goes on working behind it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::gateway::{Gateway, OPERATOR_KEY, ledgerway, serve_to_its_end, type_of};
use crate::tenant::{PROVIDER_SECRET, Tenant};

const NEW: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const OTHER: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

/// Variables and flags that do not do, and what is said of them.
type Wrong<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], &'a str);

/// Exit code, and what it says on either output.
fn reseal(data: &Path, env: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = ledgerway();
    command.args(["reseal", "--data"]).arg(data).args(arguments).envs(env.iter().copied());
    let ended = command.output().expect("it starts");
    (ended.status.code(), String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned())
}

pub fn replaced_by(data: &Path, old: &str, new: &str) -> String {
    let env = [("LEDGERWAY_NODE_KEY_PREVIOUS", old), ("LEDGERWAY_NODE_KEY", new)];
    let (code, words) = reseal(data, &env, &[]);
    assert_eq!(code, Some(0), "{words}");
    words
}

pub fn key_in(path: &Path) -> String {
    fs::read_to_string(path).expect("a key").trim().to_owned()
}

/// Returns the output of `serve` for a folder that it must not serve.
fn refused(data: &Path, env: &[(&'static str, String)]) -> String {
    let (code, words) = serve_to_its_end(data, env);
    assert_eq!(code, Some(2), "{words}");
    assert_eq!(words.lines().filter(|line| line.starts_with("ledgerway: ")).count(), 1, "{words}");
    assert!(!words.contains("panicked") && !words.contains(NEW), "{words}");
    words
}

/// Every blob that hangs on the node's key.
fn sealed(data: &Path) -> Vec<Vec<u8>> {
    let ledger = Connection::open(data.join("ledger.db")).expect("the ledger");
    let sql = "SELECT wrapped FROM wrapped_keys UNION ALL SELECT sealed FROM sealed_secrets
               UNION ALL SELECT wrapped FROM tenant_keys";
    let mut statement = ledger.prepare(sql).expect("a statement");
    let rows = statement.query_map([], |row| row.get(0)).expect("rows");
    rows.collect::<Result<_, _>>().expect("blobs")
}

/// A gateway that has served a tenant whose provider has an API key, stopped.
struct SealedSetup {
    gateway: Gateway,
    upstream: MockUpstream,
    tenant: Tenant,
    old: String,
}

impl SealedSetup {
    async fn new(folder: &Path) -> Self {
        let (mut gateway, upstream) = (Gateway::start_in(folder, &[]), MockUpstream::start().await);
        let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
        tenant.chat("ok").await.must(200);
        gateway.stop();
        let old = key_in(&gateway.data().join("node.key"));
        Self { gateway, upstream, tenant, old }
    }

    fn data(&self) -> PathBuf {
        self.gateway.data()
    }

    /// Checks that it serves, that the key that was given out works, and that the provider gets its own.
    async fn must_work(&mut self) {
        self.gateway.start_again();
        let before = self.upstream.seen().len();
        self.tenant.chat("ok").await.must(200);
        let seen = self.upstream.seen();
        let sent = seen.get(before).expect("a request").headers["authorization"].to_str().expect("text").to_owned();
        assert_eq!(sent, format!("Bearer {PROVIDER_SECRET}"));
        self.gateway.stop();
    }
}

/// Holds: bin.reseal
#[tokio::test(flavor = "multi_thread")]
async fn a_new_node_key_takes_the_old_ones_place_and_every_key_goes_on_working() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut used = SealedSetup::new(folder.path()).await;
    let (data, old) = (used.data(), used.old.clone());
    let before = sealed(&data);
    assert!(before.len() >= 3, "the check key, a data key and a secret: {}", before.len());
    let words = replaced_by(&data, &old, NEW);
    assert!(!words.contains(NEW) && !words.contains(&old), "{words}");
    assert_eq!(key_in(&data.join("node.key")), NEW);
    let kept = words.split_whitespace().find(|word| word.contains("/node-")).expect("where the old key is");
    assert_eq!(key_in(Path::new(kept.trim_end_matches(':'))), old);
    assert!(!data.join("node-next.key").exists());
    // Neither in rows nor in what SQLite leaves of deleted ones.
    for file in ["ledger.db", "ledger.db-wal"] {
        let bytes = fs::read(data.join(file)).unwrap_or_default();
        let is_left = |blob: &&Vec<u8>| bytes.windows(blob.len()).any(|window| window == blob.as_slice());
        assert_eq!(before.iter().filter(is_left).count(), 0, "{file}");
    }
    assert_eq!(used.gateway.verify().0, Some(0));
    used.must_work().await;
    used.gateway.start_again();
    let events = used.gateway.events().await;
    let replaced = events.iter().find(|event| type_of(event) == "node_key.replaced.v1").expect("the event");
    assert_eq!((&replaced["actor"], &replaced["data"]["resealed"]), (&json!("system:reseal"), &json!(1)));
    assert_eq!(
        replaced["stream"],
        format!("node_key-{}", replaced["data"]["node_key"].as_str().expect("a fingerprint"))
    );
    assert!(replaced["data"]["previous"] != replaced["data"]["node_key"], "{replaced}");
    let audit = format!("/v1/audit?action=node_key.replaced&min_position={}", used.gateway.head().await);
    let audit = used.gateway.operator().get(&audit).await.must(200).json();
    assert_eq!(audit["items"].as_array().map(Vec::len), Some(1), "{audit}");
    // What is made from now on is made under the new key, and to go back is a change like any other.
    let (_, another) = used.tenant.new_key(&used.gateway, json!({})).await;
    another.get("/v1/models").await.must(200);
    used.gateway.stop();
    replaced_by(&data, NEW, &old);
    used.must_work().await;
    used.gateway.start_again();
    another.get("/v1/models").await.must(200);
}

/// Holds: bin.reseal
#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_the_variable_alone_and_a_file_that_was_replaced_by_hand_do_as_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut used = SealedSetup::new(folder.path()).await;
    let data = used.data();
    // By hand: the new key stands in the file already.
    fs::write(data.join("node.key"), format!("{NEW}\n")).expect("the new key");
    let (code, words) = reseal(&data, &[("LEDGERWAY_NODE_KEY_PREVIOUS", &used.old)], &[]);
    assert_eq!(code, Some(0), "{words}");
    used.must_work().await;
    // Without a file.
    fs::remove_file(data.join("node.key")).expect("no file");
    let words = replaced_by(&data, NEW, OTHER);
    assert!(words.contains("LEDGERWAY_NODE_KEY"), "{words}");
    assert!(!data.join("node.key").exists() && !data.join("node-next.key").exists());
    let again = Gateway::start_in(folder.path(), &[("LEDGERWAY_NODE_KEY", OTHER)]);
    again.client(Some(&used.tenant.secret)).get("/v1/models").await.must(200);
}

/// Every state that a kill can leave, made by hand.
/// Holds: bin.reseal
#[tokio::test(flavor = "multi_thread")]
async fn wherever_it_is_interrupted_one_key_opens_everything_and_the_message_says_which() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut used = SealedSetup::new(folder.path()).await;
    let data = used.data();
    let (file, next) = (data.join("node.key"), data.join("node-next.key"));
    // Before it was recorded: the new key opens nothing, and is in nobody's way.
    fs::write(&next, OTHER).expect("a key");
    used.must_work().await;
    replaced_by(&data, &used.old, NEW);
    // Behind it, with the old key's file in place.
    let interrupted = || {
        fs::rename(&file, &next).expect("the new key");
        fs::write(&file, &used.old).expect("the old key");
    };
    interrupted();
    let words = refused(&data, &[]);
    assert!(words.contains("node-next.key") && words.contains("`ledgerway reseal --data "), "{words}");
    let (code, words) = reseal(&data, &[], &[]);
    assert_eq!(code, Some(0), "{words}");
    assert_eq!((key_in(&file).as_str(), next.exists()), (NEW, false));
    // Or by the same command once more.
    interrupted();
    replaced_by(&data, &used.old, NEW);
    assert_eq!((key_in(&file).as_str(), next.exists()), (NEW, false));
    let words = replaced_by(&data, &used.old, NEW);
    assert!(words.contains("already"), "{words}");
    used.must_work().await;
}

/// Holds: bin.reseal
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_instant_it_is_finished_by_asking_again() {
    const ROUNDS: u32 = 24;
    let folder = tempfile::tempdir().expect("a folder");
    let mut used = SealedSetup::new(folder.path()).await;
    let data = used.data();
    let (mut old, mut new) = (used.old.clone(), NEW.to_owned());
    // How long one takes from its beginning to its end.
    let began = Instant::now();
    replaced_by(&data, &old, &new);
    let whole = began.elapsed();
    (old, new) = (new, old);
    for round in 0..ROUNDS {
        let mut command = ledgerway();
        command.args(["reseal", "--data"]).arg(&data).env("LEDGERWAY_NODE_KEY_PREVIOUS", &old);
        command.env("LEDGERWAY_NODE_KEY", &new).stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = command.spawn().expect("it starts");
        std::thread::sleep(whole * round / ROUNDS);
        // It may have ended already, which is one of the instants.
        let _ = running.kill();
        running.wait().expect("its end");
        let file = key_in(&data.join("node.key"));
        assert!(file == old || file == new, "round {round}: one of both is in its place");
        replaced_by(&data, &old, &new);
        assert_eq!(key_in(&data.join("node.key")), new, "round {round}");
        (old, new) = (new, old);
    }
    assert_eq!(used.gateway.verify().0, Some(0));
    used.must_work().await;
}

/// Holds: bin.reseal
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_said_in_a_sentence_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut used = SealedSetup::new(folder.path()).await;
    let (data, old) = (used.data(), used.old.clone());
    let before = sealed(&data);
    let (previous, given) = ("LEDGERWAY_NODE_KEY_PREVIOUS", "LEDGERWAY_NODE_KEY");
    let table: [Wrong<'_>; 9] = [
        (&[], &[], given),
        (&[(previous, &old)], &[], given),
        (&[(previous, &old), (given, &old)], &[], given),
        (&[(given, NEW)], &[], previous),
        (&[(previous, OTHER), (given, NEW)], &[], "node.key has that key"),
        (&[(previous, "0f"), (given, NEW)], &[], previous),
        (&[(previous, &old), (given, "0f")], &[], given),
        (&[(given, NEW)], &["--previous-key-lost"], "is not lost"),
        (&[(given, NEW)], &["--previous-key-lost=perhaps"], "perhaps"),
    ];
    for (env, arguments, said) in table {
        let (code, words) = reseal(&data, env, arguments);
        assert_eq!(code, Some(2), "{env:?} {arguments:?}: {words}");
        assert!(words.starts_with("ledgerway: ") && words.trim().lines().count() == 1, "{words}");
        assert!(words.contains(said) && !words.contains(&old) && !words.contains(NEW), "{said}: {words}");
    }
    let (code, words) = reseal(&folder.path().join("nothing"), &[(previous, &old), (given, NEW)], &[]);
    assert!(code == Some(2) && words.contains("--data"), "{words}");
    assert_eq!(sealed(&data), before);
    used.must_work().await;
    used.gateway.start_again();
    let (code, words) = reseal(&data, &[(previous, &old), (given, NEW)], &[]);
    assert!(code == Some(2) && words.contains("another process is using"), "{words}");
    let stop = format!("{} (http://127.0.0.1:{}): stop it first", data.display(), used.gateway.port());
    assert!(words.contains(&stop), "{words}");
}

/// Holds: bin.reseal
#[tokio::test(flavor = "multi_thread")]
async fn keys_in_the_wrong_variables_replace_nothing_and_are_no_success() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut used = SealedSetup::new(folder.path()).await;
    let (data, old) = (used.data(), used.old.clone());
    let before = sealed(&data);
    let (previous, given) = ("LEDGERWAY_NODE_KEY_PREVIOUS", "LEDGERWAY_NODE_KEY");
    let refused = |env: &[(&str, &str)], arguments: &[&str]| {
        let (code, words) = reseal(&data, env, arguments);
        assert_eq!(code, Some(2), "{env:?}: {words}");
        assert!(words.starts_with("ledgerway: ") && words.trim().lines().count() == 1, "{words}");
        assert!(!words.contains(&old) && !words.contains(NEW) && !words.contains(OTHER), "{words}");
        words
    };
    let swapped = "the key in LEDGERWAY_NODE_KEY_PREVIOUS opens nothing here; are the two swapped?";
    let words = refused(&[(previous, NEW), (given, &old)], &[]);
    let beginning = format!("ledgerway: nothing to do: {} is sealed under the key in {given} (", data.display());
    assert!(words.starts_with(&beginning) && words.contains(swapped), "{words}");
    let words = refused(&[(previous, NEW)], &[]);
    assert!(words.contains("/node.key (") && words.contains(swapped), "{words}");
    // Neither a flag nor a key that is in force already asks for another key.
    assert!(refused(&[], &["--previous-key-lost"]).contains("nothing is lost"));
    assert!(refused(&[(given, &old)], &[]).contains("there is no new key"));
    let (key, away) = (data.join("node.key"), folder.path().join("away"));
    fs::rename(&key, &away).expect("moved");
    let words = refused(&[], &["--previous-key-lost"]);
    assert!(words.contains("or write one to ") && !words.contains("cat") && !words.contains(previous), "{words}");
    fs::rename(&away, &key).expect("moved back");
    assert_eq!(sealed(&data), before);
    used.must_work().await;
    // What was done may be asked for once more, and no other way round.
    replaced_by(&data, &old, NEW);
    assert!(replaced_by(&data, &old, NEW).contains("already"));
    let words = refused(&[(previous, OTHER), (given, NEW)], &[]);
    assert!(words.contains(swapped), "{words}");
    used.must_work().await;
}

/// Holds: bin.wrong-node-key
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_not_served_with_a_wrong_key_and_the_right_one_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let used = SealedSetup::new(folder.path()).await;
    let data = used.data();
    let given = |name: &'static str, key: &str| (name, key.to_owned());
    let words = refused(&data, &[given("LEDGERWAY_NODE_KEY", OTHER)]);
    assert!(words.contains("ledgerway: LEDGERWAY_NODE_KEY ") && words.contains("unset"), "{words}");
    fs::write(data.join("node.key"), OTHER).expect("a wrong key");
    let words = refused(&data, &[]);
    assert!(words.contains("node.key is not the key") && words.contains("docs/keys.md"), "{words}");
    let words = refused(&data, &[given("LEDGERWAY_NODE_KEY_PREVIOUS", &used.old)]);
    assert!(words.contains("LEDGERWAY_NODE_KEY_PREVIOUS is") && words.contains("ledgerway reseal"), "{words}");
    fs::remove_file(data.join("node.key")).expect("no key");
    let words = refused(&data, &[]);
    assert!(
        words.contains("sealed under, is missing, and LEDGERWAY_NODE_KEY is not set") && words.contains("docs/keys.md"),
        "{words}"
    );
    assert!(!data.join("node.key").exists(), "none is made in its place");
}

/// A gateway that has no provider with an API key knows a wrong key too: API keys hang on it.
/// Holds: bin.wrong-node-key
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_noticed_also_where_no_provider_has_a_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut gateway = Gateway::start_in(folder.path(), &[]);
    gateway.stop();
    let words = refused(&gateway.data(), &[("LEDGERWAY_NODE_KEY", OTHER.to_owned())]);
    assert!(words.contains("LEDGERWAY_NODE_KEY is not the key"), "{words}");
}

/// Holds: bin.reseal-lost
#[tokio::test(flavor = "multi_thread")]
async fn without_the_old_key_all_but_what_was_sealed_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut used = SealedSetup::new(folder.path()).await;
    let data = used.data();
    fs::remove_file(data.join("node.key")).expect("it is lost");
    fs::write(data.join("node.key"), NEW).expect("a new key");
    let (code, words) = reseal(&data, &[], &["--previous-key-lost"]);
    assert_eq!(code, Some(0), "{words}");
    assert!(words.contains(&format!("{} ({})", used.tenant.name, used.tenant.provider)), "{words}");
    let (code, words) = reseal(&data, &[], &["--previous-key-lost"]);
    assert!(code == Some(0) && words.contains("already"), "asked for once more: {words}");
    used.gateway.start_again();
    let operator = used.gateway.operator().clone();
    let one = format!("/v1/admin/providers/{}", used.tenant.provider);
    let listed = |name: &str| format!("/v1/admin/providers?name={name}");
    assert_eq!(operator.get(&one).await.must(200).json()["api_key_set"], false);
    assert_eq!(operator.get(&listed(&used.tenant.name)).await.must(200).json()["items"][0]["api_key_set"], false);
    let renamed = operator.patch(&one, &json!({ "timeout_ms": 7000 })).await.must(200).json();
    assert_eq!(renamed["api_key_set"], false, "{renamed}");
    let status = |arguments: &[&str]| {
        let mut command = ledgerway();
        let ended = command.args(["status", "--data"]).arg(&data).args(arguments).output().expect("it starts");
        String::from_utf8_lossy(&ended.stdout).into_owned()
    };
    let line = format!("not called until you give them an API key: {} {}", used.tenant.name, used.tenant.provider);
    assert!(status(&[]).contains(&line), "{}", status(&[]));
    let of_status: Value = serde_json::from_str(&status(&["--json"])).expect("one object");
    let keyless = json!([{ "provider_id": used.tenant.provider, "name": used.tenant.name }]);
    assert_eq!(of_status["providers_without_key"], keyless, "{of_status}");
    let replaced = &used.gateway.events().await;
    let replaced = replaced.iter().find(|event| type_of(event) == "node_key.replaced.v1").expect("the event");
    assert_eq!((&replaced["data"]["discarded"], &replaced["data"]["previous"]), (&json!(1), &Value::Null));
    used.tenant.chat("ok").await.must_be(401, "UNAUTHENTICATED");
    let rotated =
        operator.post(&format!("/v1/admin/keys/{}/rotate", used.tenant.key), &json!({})).await.must(200).json();
    let app = used.gateway.client(rotated["secret"].as_str());
    // Nothing goes out without a key.
    let before = used.upstream.seen().len();
    let refused = app.post(crate::tenant::NATIVE, &used.tenant.ask("ok")).await.must_be(502, "UPSTREAM_ERROR").json();
    assert_eq!(refused["error"]["details"]["reason"], "credentials", "{refused}");
    assert!(refused["error"]["message"].as_str().is_some_and(|said| said.contains("a new api_key")), "{refused}");
    assert_eq!(used.upstream.seen().len(), before);
    let given = operator.patch(&one, &json!({ "api_key": "another-provider-secret" })).await.must(200).json();
    assert_eq!(given["api_key_set"], true, "{given}");
    assert_eq!(operator.get(&one).await.must(200).json()["api_key_set"], true);
    assert!(!status(&[]).contains("API key"), "{}", status(&[]));
    app.post(crate::tenant::NATIVE, &used.tenant.ask("ok")).await.must(200);
    let seen = used.upstream.seen();
    assert_eq!(seen.last().expect("a request").headers["authorization"], "Bearer another-provider-secret");
    let began = Instant::now();
    while used.gateway.budget(&used.tenant.budget).await["held_usd"] != "0.000000000" {
        assert!(began.elapsed() < Duration::from_secs(5));
    }
    used.gateway.stop();
    assert_eq!(used.gateway.verify().0, Some(0));
}

/// A folder of version 0.1.0 has nothing but sealed secrets, and keys that were checked with what the node's key gives.
/// Holds: bin.reseal
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_before_keeps_its_keys_and_keeps_them_when_it_is_resealed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut used = SealedSetup::new(folder.path()).await;
    let data = used.data();
    let kept = || {
        let ledger = Connection::open(data.join("ledger.db")).expect("the ledger");
        let sql = "SELECT count(*) FROM wrapped_keys WHERE scope = 'key_check'";
        ledger.query_row(sql, [], |row| row.get::<_, u64>(0)).expect("a number")
    };
    let forget =
        |sql: &str| Connection::open(data.join("ledger.db")).expect("it opens").execute_batch(sql).expect("gone");
    forget("DELETE FROM wrapped_keys WHERE scope = 'key_check'");
    let head = {
        used.gateway.start_again();
        used.gateway.head().await
    };
    used.gateway.stop();
    assert_eq!(kept(), 1, "it is kept from the first start on");
    used.gateway.start_again();
    assert_eq!(used.gateway.head().await, head, "without an event");
    used.gateway.stop();
    used.must_work().await;
    replaced_by(&data, &used.old, NEW);
    used.must_work().await;
    // Where nothing at all tells a right key from a wrong one, a wrong one must not be believed.
    forget("DELETE FROM wrapped_keys; DELETE FROM sealed_secrets");
    let env = [("LEDGERWAY_NODE_KEY_PREVIOUS", NEW), ("LEDGERWAY_NODE_KEY", OTHER)];
    let (code, words) = reseal(&data, &env, &[]);
    assert!(code == Some(2) && words.contains("start `ledgerway serve` once"), "{words}");
    let operator = [("LEDGERWAY_ADMIN_KEY", OPERATOR_KEY), ("LEDGERWAY_NODE_KEY", NEW)];
    let again = Gateway::start_in(folder.path(), &operator);
    again.operator().get("/v1/me").await.must(200);
}
