//! A ledger that was built anew from its archive is the one that was archived, on either engine.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use super::{SMALL, address, run, run_with, verified, wait_until_archived};
use crate::configuration::said;
use crate::gateway::{Gateway, ledgerway};
use crate::secrets::forms::Wanted;
use crate::shared_ledger::{command, folders, migrated, node};
use crate::tenant::{PROVIDER_SECRET, Tenant, made};
use crate::views::{caught_up, dump, leave_traces};

/// The unique names of a ledger.
fn names(data: &Path) -> Vec<[String; 4]> {
    let ledger = Connection::open(data.join("ledger.db")).expect("the ledger");
    let mut select = ledger.prepare("SELECT kind, scope, name, owner FROM names ORDER BY 1, 2, 3").expect("the names");
    let rows = select.query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?])).expect("rows");
    rows.collect::<Result<_, _>>().expect("names")
}

/// A bit of everything, also what has names of its own.
async fn story(gateway: &Gateway, upstream: &MockUpstream) {
    leave_traces(gateway, upstream).await;
    let operator = gateway.operator();
    let partner = made(operator, "/partners", json!({ "name": "North", "slug": "north", "external_id": "C-1" })).await;
    let tenant = made(operator, "/tenants", json!({ "partner_id": partner, "name": "Acme", "slug": "acme" })).await;
    let person = json!({ "tenant_id": tenant, "name": "Canary Q. Person", "email": "canary@example.com", "slug": "q" });
    let user = made(operator, "/users", person).await;
    operator.patch(&format!("/v1/admin/users/{user}"), &json!({ "slug": "quinn" })).await.must(200);
    let gone = made(operator, "/tenants", json!({ "partner_id": partner, "name": "Gone", "slug": "gone" })).await;
    operator.delete(&format!("/v1/admin/tenants/{gone}")).await;
    let provider = json!({ "name": "second", "kind": "openai", "base_url": "https://example.com/v1",
                           "api_key": PROVIDER_SECRET });
    let provider = made(operator, "/providers", provider).await;
    let key = json!({ "provider_id": provider, "name": "more", "api_key": format!("{PROVIDER_SECRET}-2") });
    made(operator, "/provider-keys", key).await;
    let model = json!({ "name": "renamed-later", "targets": [{ "provider_id": provider, "model": "m" }] });
    let model = made(operator, "/models", model).await;
    operator.patch(&format!("/v1/admin/models/{model}"), &json!({ "name": "renamed" })).await.must(200);
}

/// Holds: bin.restore, bin.verify-archive, bin.archive-secrets
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_was_wiped_comes_back_with_its_events_its_views_and_its_names() {
    let [folder, other] = folders();
    let (mut gateway, upstream) = (Gateway::start_in(folder.path(), &[]), MockUpstream::start().await);
    story(&gateway, &upstream).await;
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    tenant.chat("ok").await.must(200);
    caught_up(&gateway).await;
    let facts = gateway.facts().await;
    gateway.stop();
    let (views, claimed) = (dump(&gateway), names(&gateway.data()));
    assert!(claimed.len() >= 8, "{claimed:?}");
    let (archive, data) = (address(&folder.path().join("archive")), gateway.data().display().to_string());
    run(0, &["archive", "--data", &data, "--archive", &archive]);
    let head = verified(0, &archive, &[])["events"].as_u64().expect("a number");
    assert!(head >= facts.len() as u64);
    holds_no_secret(&archive, &tenant, &gateway.data());
    fs::remove_dir_all(gateway.data()).expect("the data folder");
    // In the same place: nothing of the old one is left.
    let words = run(0, &["restore", "--archive", &archive, "--to", &data]);
    assert!(words.contains(&format!("restored {head} events")) && words.contains("rotated"), "{words}");
    let words = run(2, &["restore", "--archive", &archive, "--to", &data]);
    assert!(words.contains("ledger.db exists"), "{words}");
    run(0, &["verify", "--data", &data]);
    assert_eq!(names(&gateway.data()), claimed);
    gateway.start_again();
    caught_up(&gateway).await;
    assert_eq!(gateway.facts().await, facts);
    works_again(&gateway, &tenant, &upstream).await;
    gateway.stop();
    assert_eq!(gateway.verify().0, Some(0));
    // Its views, before anything else was recorded.
    let restored = other.path().join("data");
    run(0, &["restore", "--archive", &archive, "--to", &restored.display().to_string()]);
    let mut again = Gateway::start_in(other.path(), &[]);
    caught_up(&again).await;
    assert_eq!(again.head().await, head, "a start records nothing");
    again.stop();
    let after = dump(&again);
    for (table, rows) in views {
        assert_eq!(after[&table], rows, "rows of {table}");
    }
}

/// Checks that no secret is in an archive, which may be given to an auditor.
fn holds_no_secret(archive: &str, tenant: &Tenant, data: &Path) {
    let exported = run(0, &["export", "--archive", archive]);
    let ledger = Connection::open(data.join("ledger.db")).expect("the ledger");
    let mac: String =
        ledger.query_row("SELECT hex(mac) FROM key_secrets LIMIT 1", [], |row| row.get(0)).expect("an HMAC");
    for secret in [
        tenant.secret.as_str(),
        tenant.secret.rsplit('_').next().expect("a last part"),
        PROVIDER_SECRET,
        "Canary Q. Person",
        "canary@example.com",
        &mac,
    ] {
        assert_eq!(Wanted::new(secret).form_in(exported.as_bytes()), None, "{}…", &secret[..6]);
    }
    assert!(!exported.to_lowercase().contains(&mac.to_lowercase()));
}

/// The keys are given anew, and everything goes on.
async fn works_again(gateway: &Gateway, tenant: &Tenant, _upstream: &MockUpstream) {
    let operator = gateway.operator();
    gateway.client(Some(&tenant.secret)).get("/v1/me").await.must(401);
    let rotated = operator.post(&format!("/v1/admin/keys/{}/rotate", tenant.key), &json!({})).await.must(200).json();
    let secret = rotated["secret"].as_str().expect("a secret").to_owned();
    let key = json!({ "api_key": PROVIDER_SECRET });
    operator.patch(&format!("/v1/admin/providers/{}", tenant.provider), &key).await.must(200);
    gateway.client(Some(&secret)).post(crate::tenant::NATIVE, &tenant.ask("ok")).await.must(200);
    operator.post("/v1/admin/partners", &json!({ "name": "again", "slug": "north" })).await.must(409);
    let taken: Value = json!({ "name": "renamed", "targets": [{ "provider_id": tenant.provider, "model": "ok" }] });
    operator.post("/v1/admin/models", &taken).await.must(409);
    made(operator, "/partners", json!({ "name": "free again", "slug": "gone" })).await;
}

/// Holds: bin.restore
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_in_a_database_comes_back_in_another_one() {
    let (database, other) = (migrated(), migrated());
    let [folder, restored] = folders();
    let (mut gateway, upstream) = (node(&database.url(), folder.path(), &[]), MockUpstream::start().await);
    story(&gateway, &upstream).await;
    caught_up(&gateway).await;
    let facts = gateway.facts().await;
    gateway.stop();
    let views = dump(&gateway);
    let archive = address(&folder.path().join("archive"));
    run_with(0, &["--archive", &archive], command(&database.url(), &["archive"]));
    let head = verified(0, &archive, &[])["events"].as_u64().expect("a number");
    let restore = || said(&mut command("", &["restore", "--archive", &archive, "--to", &other.url()]));
    let (code, words) = restore();
    assert!(code == Some(0) && words.contains(&format!("restored {head} events")), "{words}");
    let (code, words) = restore();
    assert!(code == Some(1) && words.contains("has a ledger with events"), "{words}");
    run_with(0, &[], command(&other.url(), &["verify"]));
    let mut again = node(&other.url(), restored.path(), &[]);
    caught_up(&again).await;
    assert_eq!(again.head().await, head);
    again.stop();
    let after = dump(&again);
    for (table, rows) in views {
        assert_eq!(after[&table], rows, "rows of {table}");
    }
    again.start_again();
    assert_eq!(again.facts().await, facts);
}

/// An interrupted restore leaves nothing that could be served, and the next one does it all.
/// Holds: bin.restore
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_was_killed_leaves_no_ledger_and_is_run_again() {
    let [folder] = folders();
    let mut gateway = Gateway::start_in(folder.path(), &SMALL);
    for number in 0..10 {
        gateway.operator().post("/v1/admin/partners", &json!({ "name": format!("p{number}") })).await.must(201);
    }
    let (head, objects) = (gateway.head().await, gateway.data().join("objects"));
    let (archive, to) = (address(&objects), folder.path().join("restored"));
    wait_until_archived(&archive, head);
    gateway.stop();
    let archived = verified(0, &archive, &[])["events"].as_u64().expect("a number");
    let entries = fs::read_dir(objects.join("archive/v1/segments")).expect("the segments");
    let last = entries.map(|entry| entry.expect("an entry").path()).max().expect("a segment");
    // It stands still before the last segment: nobody writes into the pipe in its place.
    let segment = fs::read(&last).expect("a segment");
    fs::remove_file(&last).expect("a file");
    assert!(Command::new("mkfifo").arg(&last).status().expect("mkfifo").success());
    let arguments = ["restore", "--archive", &archive, "--to", &to.display().to_string()].map(str::to_owned);
    let mut restore = ledgerway();
    let mut restore = restore.args(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let (partial, started) = (to.join("restore.partial"), Instant::now());
    while !partial.join("ledger.db").exists() {
        assert!(started.elapsed() < Duration::from_secs(30) && restore.try_wait().expect("its state").is_none());
        std::thread::sleep(Duration::from_millis(10));
    }
    restore.kill().expect("a process to kill");
    assert_eq!(restore.wait().expect("its end").signal(), Some(9));
    assert!(partial.exists() && !to.join("ledger.db").exists());
    fs::remove_file(&last).expect("the pipe");
    fs::write(&last, segment).expect("the segment");
    let words = run(0, &arguments.each_ref().map(String::as_str));
    assert!(words.contains(&format!("restored {archived} events")), "{words}");
    assert!(!partial.exists());
    run(0, &["verify", "--data", &to.display().to_string()]);
}

/// SQLite would write its last pages into the restored ledger.
/// Holds: bin.restore
#[tokio::test(flavor = "multi_thread")]
async fn what_a_gateway_that_was_killed_has_left_is_not_mixed_with_a_restored_ledger() {
    let [folder] = folders();
    let mut gateway = Gateway::start_in(folder.path(), &[]);
    gateway.operator().post("/v1/admin/partners", &json!({ "name": "archived" })).await.must(201);
    let (archive, data) = (address(&folder.path().join("archive")), gateway.data().display().to_string());
    run(0, &["archive", "--data", &data, "--archive", &archive]);
    let archived = verified(0, &archive, &[])["events"].as_u64().expect("a number");
    gateway.operator().post("/v1/admin/partners", &json!({ "name": "late" })).await.must(201);
    gateway.kill();
    assert!(fs::metadata(gateway.data().join("ledger.db-wal")).expect("a write-ahead log").len() > 0);
    let mut removed = Vec::new();
    for file in ["ledger.db", "ledger.db-wal", "ledger.db-shm", "views.db", "views.db-wal", "views.db-shm"] {
        let words = run(2, &["restore", "--archive", &archive, "--to", &data]);
        assert!(words.contains(&format!("{file} exists")), "{removed:?}: {words}");
        fs::remove_file(gateway.data().join(file)).expect("a file");
        removed.push(file);
    }
    run(0, &["restore", "--archive", &archive, "--to", &data]);
    gateway.start_again();
    assert_eq!(gateway.head().await, archived);
    gateway.stop();
    assert_eq!(gateway.verify().0, Some(0));
}
