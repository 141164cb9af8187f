//! Views are built anew while they answer, and by the command line.

use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use rusqlite::Connection;
use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;

use crate::gateway::{Gateway, OPERATOR_KEY, ledgerway};
use crate::tenant::Tenant;
use crate::views::{caught_up, dump};

const END_MAX: Duration = Duration::from_secs(30);

/// `ledgerway rebuild` on a gateway's data, with the key in a variable or not.
fn rebuild(gateway: &Gateway, views: &[&str], key: Option<&str>) -> Output {
    let mut command = ledgerway();
    command.arg("rebuild").args(views).arg("--data").arg(gateway.data());
    if let Some(key) = key {
        command.env("LEDGERWAY_ADMIN_KEY", key);
    }
    command.output().expect("the binary starts")
}

fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned())
}

async fn standing(gateway: &Gateway, view: &str) -> Value {
    let listed = gateway.operator().get("/v1/projections").await.must(200).json();
    let found = listed["items"].as_array().and_then(|items| items.iter().find(|item| item["name"] == view));
    found.cloned().expect("the view")
}

async fn rebuilt(gateway: &Gateway, view: &str) -> Value {
    let began = Instant::now();
    loop {
        let standing = standing(gateway, view).await;
        if standing["rebuilding"] == false {
            return standing;
        }
        assert!(began.elapsed() < END_MAX, "{standing}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn views_of(gateway: &Gateway) -> Connection {
    Connection::open(gateway.data().join("views.db")).expect("the views")
}

/// A gateway that was asked and has ended.
async fn used() -> (Gateway, MockUpstream, Tenant) {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    tenant.chat("ok").await.must(200);
    caught_up(&gateway).await;
    gateway.stop();
    (gateway, upstream, tenant)
}

/// One that runs on marked rows.
async fn with_old_rows() -> (Gateway, MockUpstream, Tenant) {
    let (mut gateway, upstream, tenant) = used().await;
    mark_audit(&gateway);
    gateway.start_again();
    (gateway, upstream, tenant)
}

/// Marks the rows of the audit, so that old ones can be told from new ones. For a gateway that does not run.
fn mark_audit(gateway: &Gateway) {
    views_of(gateway).execute_batch("UPDATE rows_audit SET actor = 'of the old rows'").expect("a mark");
}

async fn marked(gateway: &Gateway) -> usize {
    let listed = gateway.operator().get("/v1/audit?actor=of%20the%20old%20rows&limit=1000").await.must(200).json();
    listed["items"].as_array().map_or(0, Vec::len)
}

/// Holds: bin.rebuild
#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_built_anew_while_it_answers() {
    let (mut gateway, _upstream, tenant) = with_old_rows().await;
    let old = marked(&gateway).await;
    assert!(old > 3, "{old} rows");
    // While somebody else writes, no new rows can take the place of the old ones.
    let held = views_of(&gateway);
    held.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let begun = gateway.operator().post("/v1/admin/views/audit/rebuild", &json!({})).await.must(202).json();
    assert_eq!((&begun["name"], &begun["rebuilding"]), (&json!("audit"), &json!(true)));
    for field in ["state", "started_at", "position", "target", "percent"] {
        assert!(!begun["rebuild"][field].is_null(), "{field} of {begun}");
    }
    assert_eq!(marked(&gateway).await, old, "the old rows answer");
    let standing = standing(&gateway, "audit").await;
    assert_eq!(standing["rebuilding"], true, "it was over when it was read: {standing}");
    held.execute_batch("ROLLBACK").expect("the lock is given back");
    let ended = rebuilt(&gateway, "audit").await;
    assert_eq!((&ended["rebuild"]["state"], &ended["rebuild"]["percent"]), (&json!("done"), &json!(100)), "{ended}");
    assert_eq!(marked(&gateway).await, 0);
    tenant.chat("ok").await.must(200);
    caught_up(&gateway).await;
    gateway.stop();
    let (code, words) = gateway.verify();
    assert_eq!(code, Some(0), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn views_are_built_anew_by_who_administrates_the_platform() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let (_, admin) = tenant.new_key(&gateway, json!({ "permissions": ["admin:access"] })).await;
    let path = |view: &str| format!("/v1/admin/views/{view}/rebuild");
    admin.post(&path("audit"), &json!({})).await.must_be(403, "FORBIDDEN");
    tenant.app.post(&path("audit"), &json!({})).await.must_be(403, "FORBIDDEN");
    gateway.client(None).post(&path("audit"), &json!({})).await.must_be(401, "UNAUTHENTICATED");
    gateway.operator().post(&path("nothing"), &json!({})).await.must_be(404, "NOT_FOUND");
    let refused =
        gateway.operator().post(&path("audit"), &json!({ "fast": true })).await.must_be(400, "INVALID_REQUEST");
    assert_eq!(refused.json()["error"]["details"]["field"], "fast");
    gateway.operator().get(&path("audit")).await.must_be(405, "METHOD_NOT_ALLOWED");
    // As `curl -X POST` sends it: no body at all.
    gateway.operator().send(Method::POST, &path("audit"), "").await.expect("an answer").must(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_rebuilds_under_load_the_views_come_out_as_the_log_says() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Arc::new(Tenant::new(&gateway, &upstream, &["ok"]).await);
    for round in 0..6_u64 {
        let stopped = Arc::<AtomicBool>::default();
        let mut load = JoinSet::new();
        for _ in 0..4 {
            let (tenant, stopped) = (Arc::clone(&tenant), Arc::clone(&stopped));
            load.spawn(async move {
                let body = json!({ "model": tenant.model("ok"), "messages": [{ "role": "user", "content": "hi" }] });
                while !stopped.load(Ordering::SeqCst) && tenant.app.try_post(crate::tenant::NATIVE, &body).await.is_ok()
                {
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        for view in ["inferences", "usage_by_hour", "audit", "budgets", "catalogue"] {
            let begun = gateway.operator().post(&format!("/v1/admin/views/{view}/rebuild"), &json!({})).await;
            begun.must(202);
        }
        // Of some the old rows are left, of some the new ones, and of the last round all were taken.
        if round < 5 {
            tokio::time::sleep(Duration::from_millis(round * 23 % 90)).await;
        } else {
            for view in ["inferences", "catalogue"] {
                assert_eq!(rebuilt(&gateway, view).await["rebuild"]["state"], "done");
            }
        }
        gateway.kill();
        stopped.store(true, Ordering::SeqCst);
        load.join_all().await;
        gateway.start_again();
        assert!(!gateway.data().join("views-next.db").exists(), "what was not finished is deleted");
    }
    caught_up(&gateway).await;
    gateway.stop();
    let followed = dump(&gateway);
    assert!(followed["rows_inferences"].len() > 20, "{} requests", followed["rows_inferences"].len());
    let (code, words) = gateway.verify();
    assert_eq!(code, Some(0), "{words}");
    let built = rebuild(&gateway, &[], None);
    assert_eq!(built.status.code(), Some(0), "{built:?}");
    assert!(dump(&gateway) == followed, "rows differ");
    assert!(!gateway.stderr().contains("panicked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn views_of_another_version_are_built_anew_by_themselves() {
    let (mut gateway, _upstream, _tenant) = used().await;
    let expected = dump(&gateway);
    let older = "UPDATE rows_projections SET version = 0; DROP VIEW requests; ALTER TABLE rows_inferences DROP COLUMN cost_nanos; DELETE FROM rows_audit";
    views_of(&gateway).execute_batch(older).expect("an older version");
    gateway.start_again();
    for view in ["inferences", "audit", "catalogue"] {
        let ended = rebuilt(&gateway, view).await;
        assert_eq!(ended["rebuild"]["state"], "done", "{ended}");
    }
    gateway.stop();
    assert!(dump(&gateway) == expected, "rows differ");
    // After the rows were compared: that it was read becomes a row.
    gateway.start_again();
    gateway.operator().get("/v1/inferences").await.must(200);
}

/// Holds: bin.rebuild
#[tokio::test(flavor = "multi_thread")]
async fn the_command_asks_the_gateway_that_runs_and_works_alone_where_none_does() {
    let (mut gateway, _upstream, _tenant) = with_old_rows().await;
    let (code, words) = said(&rebuild(&gateway, &["audit"], None));
    assert!(code == Some(2) && words.contains("admin.key"), "no key is known: {words}");
    let file = gateway.data().join("admin.key");
    std::fs::write(&file, "not a key").expect("a file");
    let (code, words) = said(&rebuild(&gateway, &["audit"], None));
    assert!(code == Some(2) && words.contains("which holds no key; set LEDGERWAY_ADMIN_KEY"), "{words}");
    assert!(!words.contains("not a key"), "{words}");
    std::fs::remove_file(file).expect("the file");
    let (code, words) = said(&rebuild(&gateway, &["audit"], Some("another-key-than-the-operators-0123456789")));
    assert!(code == Some(2) && words.contains("401"), "{words}");
    assert!(marked(&gateway).await > 0);
    let (code, words) = said(&rebuild(&gateway, &["audit", "budgets"], Some(OPERATOR_KEY)));
    assert!(code == Some(0) && words.contains("rebuilt audit, budgets as of position "), "{words}");
    assert_eq!(marked(&gateway).await, 0);
    let (code, words) = said(&rebuild(&gateway, &["nothing"], Some(OPERATOR_KEY)));
    assert!(code == Some(2) && words.contains("there are budgets, usage_by_hour"), "{words}");
    caught_up(&gateway).await;
    gateway.stop();
    assert_eq!(gateway.verify().0, Some(0));
    let expected = dump(&gateway);
    mark_audit(&gateway);
    let output = rebuild(&gateway, &[], None);
    let (code, words) = said(&output);
    assert!(code == Some(0) && words.contains("100 %"), "{words}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("rebuilt budgets, "), "{words}");
    assert!(dump(&gateway) == expected, "rows differ");
    let output = ledgerway().args(["rebuild", "--data", "/nonexistent"]).output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(2));
}
