//! The tables that analysts read of running gateways: the views' own file, or the copy in a database, and `verify --copy`.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::json;
use testing::postgres::TestDatabase;
use testing::upstream::MockUpstream;

use crate::configuration::said;
use crate::gateway::{Gateway, ledgerway};
use crate::shared_ledger::{PASSWORD, command, folders, migrated, node};
use crate::tenant::{Tenant, made};

const LONG: Duration = Duration::from_secs(60);
const COMPLETED: &str = "SELECT count(*) FROM requests WHERE status = 'completed'";

/// Waits until a number is reached.
async fn until(wanted: i64, number: impl Fn() -> i64) {
    let began = Instant::now();
    while number() != wanted {
        assert!(began.elapsed() < LONG, "{} instead of {wanted}", number());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How many completed requests the file of the views has, as an SQLite that knows nothing of the gateway reads it.
fn completed_in_file(data: &Path) -> i64 {
    let file = Connection::open_with_flags(data.join("views.db"), OpenFlags::SQLITE_OPEN_READ_ONLY);
    let count = |file: Connection| file.query_row(COMPLETED, [], |row| row.get(0));
    file.and_then(count).expect("the SQL views")
}

fn requests_in(database: &TestDatabase) -> i64 {
    database.number("SELECT count(*) FROM views.requests")
}

async fn chat(tenant: &Tenant, times: usize) {
    for _ in 0..times {
        tenant.chat("ok").await.must(200);
    }
}

/// Holds: bin.analytics
#[tokio::test]
async fn analysts_read_the_views_of_a_gateway_with_a_ledger_of_its_own_and_there_is_no_copy() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let team = json!({ "tenant_id": tenant.id, "name": "Search", "user_ids": [tenant.user] });
    let team = made(gateway.operator(), "/teams", team).await;
    let budget = json!({ "scope": { "team_id": team }, "limit_usd": "9", "period": "total" });
    made(gateway.operator(), "/budgets", budget).await;
    chat(&tenant, 5).await;
    let data = gateway.data();
    until(5, || completed_in_file(&data)).await;
    let file = Connection::open(data.join("views.db")).expect("the file opens");
    let number = |sql: &str| file.query_row(sql, [], |row| row.get::<_, i64>(0)).expect(sql);
    let of_team = "SELECT count(*) FROM budgets WHERE scope = 'team' AND scope_id = ?1";
    assert_eq!(file.query_row(of_team, [&team], |row| row.get::<_, i64>(0)), Ok(1));
    assert_eq!(number(&format!("{COMPLETED} AND key_name IS NOT NULL")), 5);
    assert_eq!(
        number("SELECT count(*) FROM sqlite_master WHERE name LIKE 'touched%'"),
        0,
        "nothing is noted for a copy"
    );
    let health = gateway.operator().get("/health").await.must(200).json();
    assert!(health["parts"]["analysts"].is_null(), "{health}");
    let (code, words) = said(ledgerway().args(["verify", "--data"]).arg(&data));
    assert!(code == Some(0) && words.contains(" rows of views"), "{code:?} {words}");
    file.execute_batch("UPDATE rows_inferences SET status = 'failed'").expect("wrong rows");
    let (code, words) = said(ledgerway().args(["verify", "--data"]).arg(&data));
    assert!(code == Some(1) && words.contains("of inferences and the log differ"), "{code:?} {words}");
    drop(file);
    gateway.stop();
    std::fs::remove_file(data.join("views.db")).expect("it is deleted");
    gateway.start_again();
    until(5, || completed_in_file(&data)).await;
}

/// Holds: bin.analytics
#[test]
fn the_copy_of_an_earlier_version_is_deleted_from_a_data_folder() {
    let mut gateway = Gateway::start();
    gateway.stop();
    let files = ["analytics.db", "analytics.db-wal", "analytics.db-shm"].map(|name| gateway.data().join(name));
    files.iter().for_each(|file| std::fs::write(file, "old rows").expect("a file"));
    gateway.start_again();
    assert!(files.iter().all(|file| !file.exists()));
    assert_eq!(gateway.stderr().matches("deleted analytics.db").count(), 1, "{}", gateway.stderr());
    gateway.stop();
    gateway.start_again();
    assert_eq!(gateway.stderr().matches("deleted analytics.db").count(), 1, "{}", gateway.stderr());
}

/// Neither value of the setting keeps a gateway with a ledger of its own from starting.
/// Holds: bin.analytics
#[tokio::test]
async fn a_gateway_that_is_told_not_to_copy_has_views_for_analysts_all_the_same() {
    let (gateway, upstream) = (Gateway::start_with(&[("LEDGERWAY_ANALYTICS", "off")]), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    chat(&tenant, 3).await;
    until(3, || completed_in_file(&gateway.data())).await;
    assert!(!gateway.data().join("analytics.db").exists());
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
    let folder = Gateway::start();
    let (code, words) = said(ledgerway().args(["verify", "--copy"]).arg(folder.data()));
    assert!(code == Some(2) && words.contains("`ledgerway verify --data "), "a folder has no copy: {code:?} {words}");
    database.execute("DROP SCHEMA views CASCADE; DROP SCHEMA views_rows CASCADE");
    let (code, words) = said(&mut command(&database.url(), &["verify", "--copy", &database.url()]));
    assert!(code == Some(2) && words.contains("run `ledgerway migrate`"), "{code:?} {words}");
    for wrong in [format!("postgres://u:{PASSWORD}@127.0.0.1:1/x"), format!("mysql://u:{PASSWORD}@h/x")] {
        let (code, words) = said(&mut command("", &["verify", "--copy", &wrong]));
        assert!(code == Some(2) && !words.contains(PASSWORD), "{code:?} {words}");
    }
}
