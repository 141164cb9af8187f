//! Views are disposable.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::gateway::Gateway;
use crate::tenant::{Setup, Tenant, made};

/// Rows of every table, as sorted text.
pub type Dump = BTreeMap<String, Vec<String>>;

/// Holds: event.views-disposable
#[tokio::test(flavor = "multi_thread")]
async fn deleted_views_come_back_row_by_row() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    leave_traces(&gateway, &upstream).await;
    caught_up(&gateway).await;
    gateway.stop();
    let before = dump(&gateway);
    assert!(before.values().filter(|rows| !rows.is_empty()).count() >= 4, "views with rows: {before:?}");
    for entry in fs::read_dir(gateway.data()).expect("the data folder") {
        let path = entry.expect("an entry").path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("views.db")) {
            fs::remove_file(path).expect("a view to delete");
        }
    }
    gateway.start_again();
    caught_up(&gateway).await;
    gateway.stop();
    let after = dump(&gateway);
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "tables");
    for (table, rows) in before {
        assert_eq!(after[&table], rows, "rows of {table}");
    }
}

/// A bit of everything that views show.
pub async fn leave_traces(gateway: &Gateway, upstream: &MockUpstream) {
    let backends = ["ok", "e500", "cut"];
    let tenant = Tenant::new(gateway, upstream, &backends).await;
    let anthropic = Setup { kind: "anthropic", ..Setup::default() };
    let other = Tenant::with(gateway, upstream, &["ok"], anthropic).await;
    for model in backends {
        tenant.chat(model).await;
        tenant.stream(crate::tenant::OPENAI, model).await.rest().await;
    }
    for _ in 0..10 {
        other.chat("ok").await.must(200);
    }
    let mut tagged = other.ask("ok");
    tagged["metadata"] = json!({ "team": "red" });
    other.app.post(crate::tenant::NATIVE, &tagged).await.must(200);
    other.set_limit("0.000001").await;
    for _ in 0..30 {
        other.chat("ok").await.must(429);
    }
    tenant.new_key(gateway, json!({ "models": ["a*"], "permissions": ["usage:read"] })).await;
    gateway.operator().delete(&format!("/v1/admin/keys/{}", tenant.key)).await;
    gateway.client(Some("sgk_garbage")).get("/v1/models").await.must(401);
    // The rest of that second is rolled up after it.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
}

pub async fn caught_up(gateway: &Gateway) {
    // Asked of nothing that would be recorded as a read.
    let head = gateway.head().await;
    loop {
        let views = gateway.operator().get("/v1/projections").await.must(200).json();
        let views = views["items"].as_array().expect("a list").clone();
        let is_there = |view: &Value| view["position"].as_u64() >= Some(head);
        if views.iter().all(|view| is_there(view) && view["lag_events"] == 0 && view["rebuilding"] == false) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// All rows but the notes for a copy, which are of what has changed since the start.
pub fn dump(gateway: &Gateway) -> Dump {
    dump_of(&gateway.data().join("views.db"))
}

/// The same of another file with views.
pub fn dump_of(file: &Path) -> Dump {
    let views = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let views = views.expect("the views");
    let mut names = views.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").expect("the tables");
    let names = names.query_map([], |row| row.get(0)).expect("rows").collect::<Result<Vec<String>, _>>();
    let names =
        names.expect("names").into_iter().filter(|name| !name.starts_with("sqlite_") && !name.starts_with("touched_"));
    names.map(|name| (name.clone(), rows_of(&views, &name))).collect()
}

fn rows_of(views: &Connection, table: &str) -> Vec<String> {
    let mut statement = views.prepare(&format!("SELECT * FROM \"{table}\"")).expect("a table");
    let columns = statement.column_count();
    let read = |row: &rusqlite::Row<'_>| {
        let cells: Result<Vec<String>, _> = (0..columns).map(|column| row.get_ref(column).map(cell)).collect();
        cells.map(|cells| cells.join("|"))
    };
    let rows = statement.query_map([], read).expect("rows").collect::<Result<Vec<String>, _>>();
    let mut rows = rows.expect("whole rows");
    rows.sort();
    rows
}

fn cell(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "null".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => format!("{:016x}", number.to_bits()),
        ValueRef::Text(text) => format!("{:?}", String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_just_made_is_found_by_its_id_without_naming_its_position() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let budget = json!({ "scope": { "tenant_id": tenant.id }, "limit_usd": "1", "period": "day" });
    for _ in 0..5 {
        let id = made(gateway.operator(), "/budgets", budget.clone()).await;
        gateway.operator().get(&format!("/v1/budgets/{id}")).await.must(200);
        let request = tenant.chat("ok").await.must(200).request_id();
        let path = format!("/v1/inferences/{request}");
        gateway.operator().get(&path).await.must(200);
    }
    let nobody = format!("/v1/budgets/{}", tenant.budget.replace(|digit: char| digit.is_ascii_digit(), "0"));
    gateway.operator().get(&nobody).await.must_be(404, "NOT_FOUND");
}
