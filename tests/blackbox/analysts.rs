//! The copy for analysts that running gateways keep, and `verify --copy`.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::json;
use testing::postgres::TestDatabase;
use testing::upstream::MockUpstream;

use crate::configuration::said;
use crate::gateway::{Gateway, ledgerway};
use crate::shared_ledger::{PASSWORD, command, folders, migrated, node};
use crate::tenant::{Tenant, made};

const LONG: Duration = Duration::from_secs(60);

/// Waits until a number is reached.
async fn until(wanted: i64, number: impl Fn() -> i64) {
    let began = Instant::now();
    while number() != wanted {
        assert!(began.elapsed() < LONG, "{} instead of {wanted}", number());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How many requests a file has; 0 if there is none.
fn requests_in_file(data: &Path) -> i64 {
    let count = |file: Connection| file.query_row("SELECT count(*) FROM requests", [], |row| row.get(0));
    let path = data.join("analytics.db");
    if path.exists() { Connection::open(path).and_then(count).unwrap_or(0) } else { 0 }
}

fn requests_in(database: &TestDatabase) -> i64 {
    database.number("SELECT count(*) FROM views.requests")
}

async fn chat(tenant: &Tenant, times: usize) {
    for _ in 0..times {
        tenant.chat("ok").await.must(200);
    }
}

/// Holds: bin.analytics, bin.verify-copy
#[tokio::test]
async fn a_gateway_with_a_ledger_of_its_own_keeps_a_copy_in_a_file() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let team = json!({ "tenant_id": tenant.id, "name": "Search", "user_ids": [tenant.user] });
    let team = made(gateway.operator(), "/teams", team).await;
    let budget = json!({ "scope": { "team_id": team }, "limit_usd": "9", "period": "total" });
    made(gateway.operator(), "/budgets", budget).await;
    chat(&tenant, 5).await;
    let data = gateway.data();
    until(5, || requests_in_file(&data)).await;
    let verify = || said(ledgerway().args(["verify", "--copy"]).arg(&data));
    let (code, words) = verify();
    assert!(code == Some(0) && words.contains(" rows of the copy for analysts as of position "), "{code:?} {words}");
    assert!(words.lines().next().is_some_and(|line| line.ends_with(" events behind")), "{words}");
    let (code, words) = said(ledgerway().args(["verify", "--json", "--copy"]).arg(&data));
    let object: serde_json::Value = serde_json::from_str(&words).expect("JSON");
    assert!(code == Some(0) && object["copy"]["rows"].as_u64() > Some(20), "{code:?} {words}");
    let [position, lag] = ["position", "lag_events"].map(|name| object["copy"][name].as_u64().expect("a number"));
    assert_eq!(position + lag, object["events"].as_u64().expect("a number"), "{words}");
    let file = Connection::open(data.join("analytics.db")).expect("the file opens");
    let of_team = "SELECT count(*) FROM budgets WHERE scope = 'team' AND scope_id = ?1";
    assert_eq!(file.query_row(of_team, [&team], |row| row.get::<_, i64>(0)), Ok(1));
    file.execute(
        "UPDATE rows_requests SET status = 'failed' WHERE position = (SELECT min(position) FROM rows_requests)",
        [],
    )
    .expect("a wrong row");
    let (code, words) = verify();
    assert_eq!(code, Some(1), "{words}");
    assert!(words.starts_with("broken: the copy for analysts as of position "), "{words}");
    assert!(words.contains("of requests differs from the log in status"), "{words}");
    drop(file);
    gateway.stop();
    std::fs::remove_file(data.join("analytics.db")).expect("it is deleted");
    let (code, words) = verify();
    assert!(code == Some(2) && words.contains("there is no copy for analysts there yet"), "{code:?} {words}");
    gateway.start_again();
    until(5, || requests_in_file(&data)).await;
    assert_eq!(verify().0, Some(0));
}

/// Holds: bin.analytics
#[tokio::test]
async fn a_gateway_that_is_told_not_to_copy_leaves_nothing_behind() {
    let (gateway, upstream) = (Gateway::start_with(&[("LEDGERWAY_ANALYTICS", "off")]), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    chat(&tenant, 3).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(!gateway.data().join("analytics.db").exists());
    let views = Connection::open(gateway.data().join("views.db")).expect("the views open");
    let notes = views.query_row("SELECT count(*) FROM sqlite_master WHERE name LIKE 'touched%'", [], |row| row.get(0));
    assert_eq!(notes, Ok(0));
}

/// The nodes have no more rights than `migrate` gives them.
/// Holds: bin.analytics, bin.verify-copy
#[tokio::test]
async fn nodes_keep_one_copy_in_their_database_and_another_goes_on_when_the_first_is_killed() {
    let (database, upstream) = (migrated(), MockUpstream::start().await);
    let [one_folder, two_folder] = folders();
    let mut one = node(&database.gateway_url(), one_folder.path(), &[]);
    let tenant = Tenant::new(&one, &upstream, &["ok"]).await;
    chat(&tenant, 5).await;
    until(5, || requests_in(&database)).await;
    let two = node(&database.gateway_url(), two_folder.path(), &[]);
    chat(&tenant, 3).await;
    until(8, || requests_in(&database)).await;
    one.kill();
    let killed = Instant::now();
    let app = two.client(Some(&tenant.secret));
    app.post(crate::tenant::NATIVE, &tenant.ask("ok")).await.must(200);
    until(9, || requests_in(&database)).await;
    assert!(killed.elapsed() < Duration::from_secs(5), "another node copies {:?} after the kill", killed.elapsed());
    let url = database.url();
    let (code, words) = said(&mut command("", &["verify", "--copy", &url]));
    assert!(code == Some(0) && words.contains(" rows of the copy for analysts"), "{code:?} {words}");
    database.execute("DELETE FROM views_rows.requests");
    let (code, words) = said(&mut command("", &["verify", "--copy", &url]));
    assert!(code == Some(1) && words.contains("of requests is missing"), "{code:?} {words}");
}

/// Holds: bin.verify-copy
#[test]
fn a_copy_that_cannot_be_compared_is_exit_code_2_and_no_password_is_shown() {
    let database = TestDatabase::create();
    let (code, words) = said(&mut command(&database.url(), &["verify", "--copy", &database.url()]));
    assert_eq!(code, Some(2), "{words}");
    let database = migrated();
    for flag in ["--copy", "--views"] {
        let (code, words) = said(&mut command("", &["verify", flag, &database.url()]));
        assert!(code == Some(2) && words.contains("there is no copy for analysts there yet"), "{code:?} {words}");
    }
    database.execute("DROP SCHEMA views CASCADE; DROP SCHEMA views_rows CASCADE");
    let (code, words) = said(&mut command(&database.url(), &["verify", "--copy", &database.url()]));
    assert!(code == Some(2) && words.contains("run `ledgerway migrate`"), "{code:?} {words}");
    for wrong in [format!("postgres://u:{PASSWORD}@127.0.0.1:1/x"), format!("mysql://u:{PASSWORD}@h/x")] {
        let (code, words) = said(&mut command("", &["verify", "--copy", &wrong]));
        assert!(code == Some(2) && !words.contains(PASSWORD), "{code:?} {words}");
    }
}
