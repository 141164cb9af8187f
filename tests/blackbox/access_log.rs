//! The access log: an entry for each request, as lines and as a view, and for nobody who may not see it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::client::Client;
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, Tenant};

const WRITTEN_WITHIN: Duration = Duration::from_secs(10);

/// The entries that this caller sees, once the request's is there.
async fn entries_with(caller: &Client, request: &str) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let page = caller.get("/v1/access-log?limit=1000").await.must(200).json();
        let entries = page["items"].as_array().expect("items").clone();
        if entries.iter().any(|entry| entry["request_id"] == request) {
            return entries;
        }
        assert!(began.elapsed() < WRITTEN_WITHIN, "{request} is not there: {entries:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn entry<'a>(entries: &'a [Value], request: &str) -> &'a Value {
    let mut found = entries.iter().filter(|entry| entry["request_id"] == request);
    let entry = found.next().expect("an entry");
    assert!(found.next().is_none(), "an entry for each request: {entries:#?}");
    entry
}

async fn auditor(tenant: &Tenant, gateway: &Gateway) -> Client {
    tenant.new_key(gateway, json!({ "permissions": ["audit:read"] })).await.1
}

/// Holds: query.access-log
#[tokio::test(flavor = "multi_thread")]
async fn each_request_leaves_one_entry_as_a_line_and_in_the_view() {
    const BODY: &str = "a very private prompt";
    let (mut gateway, upstream) =
        (Gateway::start_with(&[("LEDGERWAY_ACCESS_LOG", "both")]), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let other = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let (reader, neighbour) = (auditor(&tenant, &gateway).await, auditor(&other, &gateway).await);
    let operator = gateway.operator().clone();

    let anonymous = gateway.client(Some("lw_wrong")).get("/v1/usage").await.must(401).request_id();
    let unknown = operator.get("/v1/admin/nothing?secret=hunter2").await.must(404).request_id();
    let denied = tenant.app.get("/v1/audit").await.must(403).request_id();
    let mut question = tenant.ask("ok");
    question["messages"][0]["content"] = json!(BODY);
    let asked = tenant.app.post(NATIVE, &question).await.must(200).request_id();
    question["stream"] = json!(true);
    let stream = tenant.app.stream(NATIVE, &question).await.expect("a stream");
    let streamed = stream.request_id();
    assert!(stream.rest().await.1, "the stream is whole");
    let budget = operator.get(&format!("/v1/admin/budgets/{}", tenant.budget)).await.must(200).request_id();
    gateway.client(None).get("/health/live").await.must(200);
    let neighbours = other.chat("ok").await.must(200).request_id();

    let all = entries_with(&operator, &neighbours).await;
    for (request, method, route, status, code, actor, tenant_id) in [
        (&anonymous, "GET", json!("/v1/usage"), 401, json!("UNAUTHENTICATED"), Value::Null, Value::Null),
        (&unknown, "GET", Value::Null, 404, json!("NOT_FOUND"), json!("operator"), Value::Null),
        (&denied, "GET", json!("/v1/audit"), 403, json!("FORBIDDEN"), json!(tenant.key), json!(tenant.id)),
        (&asked, "POST", json!(NATIVE), 200, Value::Null, json!(tenant.key), json!(tenant.id)),
        (&streamed, "POST", json!(NATIVE), 200, Value::Null, json!(tenant.key), json!(tenant.id)),
        (&budget, "GET", json!("/v1/admin/budgets/{id}"), 200, Value::Null, json!("operator"), Value::Null),
    ] {
        let entry = entry(&all, request);
        assert_eq!(
            [&entry["method"], &entry["route"], &entry["status"], &entry["code"], &entry["actor"]],
            [&json!(method), &route, &json!(status), &code, &actor],
            "{entry}"
        );
        assert!(actor == "operator" || entry["tenant_id"] == tenant_id, "{entry}");
        assert!(entry["latency_us"].as_u64().is_some_and(|micros| micros > 0), "{entry}");
        let named = operator.get(&format!("/v1/access-log?request_id={request}")).await.must(200).json();
        assert_eq!(named["items"], json!([entry]));
    }
    assert!(!all.iter().any(|entry| entry["route"] == "/health/live"), "open routes leave none");
    let times: Vec<&str> = all.iter().filter_map(|entry| entry["answered_at"].as_str()).collect();
    assert!(times.len() == all.len() && times.is_sorted_by(|newer, older| newer >= older), "newest first");

    // A tenant's auditor sees the requests of its own tenant, and nobody else those.
    let own = entries_with(&reader, &streamed).await;
    assert!(own.iter().all(|entry| entry["tenant_id"] == tenant.id), "{own:#?}");
    let foreign = entries_with(&neighbour, &neighbours).await;
    assert!(foreign.iter().all(|entry| entry["tenant_id"] == other.id), "{foreign:#?}");
    let named = neighbour.get(&format!("/v1/access-log?request_id={asked}")).await.must(200).json();
    assert_eq!(named["items"], json!([]));
    tenant.app.get("/v1/access-log").await.must_be(403, "FORBIDDEN");

    // Every filter leaves what it names.
    type Matches = fn(&Value) -> bool;
    let filters: [(&str, Matches); 5] = [
        ("status=4xx", |entry| entry["status"].as_u64().is_some_and(|status| status / 100 == 4)),
        ("status=401", |entry| entry["status"] == 401),
        ("method=POST", |entry| entry["method"] == "POST"),
        ("actor=operator", |entry| entry["actor"] == "operator"),
        ("route=/v1/audit", |entry| entry["route"] == "/v1/audit"),
    ];
    for (filter, matches) in filters {
        let page = operator.get(&format!("/v1/access-log?limit=1000&{filter}")).await.must(200).json();
        let found: BTreeSet<String> = page["items"].as_array().expect("items").iter().map(Value::to_string).collect();
        for entry in &all {
            assert_eq!(found.contains(&entry.to_string()), matches(entry), "{filter}: {entry}");
        }
    }
    for wrong in ["status=6xx", "request_id=key_1", "colour=red", "cursor=audit-1"] {
        operator.get(&format!("/v1/access-log?{wrong}")).await.must_be(400, "INVALID_REQUEST");
    }

    // Pages go through all of them, each once.
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    let end = format!("to={}", times[0]);
    loop {
        let page = operator.get(&format!("/v1/access-log?limit=7&{end}{cursor}")).await.must(200).json();
        seen.extend(page["items"].as_array().expect("items").iter().map(|entry| entry["request_id"].to_string()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let earlier: Vec<String> = (all.iter())
        .filter(|entry| entry["answered_at"].as_str() < Some(times[0]))
        .map(|entry| entry["request_id"].to_string())
        .collect();
    assert_eq!(seen, earlier);

    // A shutdown loses nothing, and neither the lines nor the file have what was said.
    let last = operator.get("/v1/usage").await.must(200).request_id();
    gateway.stop();
    let file = gateway.data().join("access.db");
    assert_eq!(fs::metadata(&file).expect("the file").permissions().mode() & 0o777, 0o600);
    let bytes = fs::read(&file).expect("the file");
    for private in [BODY, "hunter2", "127.0.0.1"] {
        assert!(!bytes.windows(private.len()).any(|part| part == private.as_bytes()), "{private}");
    }
    let stderr = gateway.stderr();
    let lines: Vec<Value> = stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let lines: Vec<&Value> = lines.iter().filter(|line| line["target"] == "access_log").collect();
    for request in all.iter().map(|entry| &entry["request_id"]).chain([&json!(last)]) {
        assert_eq!(lines.iter().filter(|line| &line["request_id"] == request).count(), 1, "{request}");
    }
    let line = lines.iter().find(|line| line["request_id"] == denied.as_str()).expect("a line");
    let wanted = entry(&all, &denied);
    for field in ["answered_at", "method", "route", "status", "code", "actor", "tenant_id", "latency_us"] {
        assert_eq!(line[field], wanted[field], "{field}");
    }
    gateway.start_again();
    entries_with(&operator, &last).await;
}

/// Holds: query.access-log
#[tokio::test(flavor = "multi_thread")]
async fn the_view_keeps_the_newest_entries_alone_and_is_absent_unless_it_is_asked_for() {
    let settings = [("LEDGERWAY_ACCESS_LOG", "view"), ("LEDGERWAY_ACCESS_LOG_ENTRIES", "40")];
    let mut gateway = Gateway::start_with(&settings);
    let operator = gateway.operator().clone();
    let mut last = String::new();
    for _ in 0..80 {
        last = operator.get("/v1/log/head").await.must(200).request_id();
    }
    let kept = entries_with(&operator, &last).await;
    assert!(kept.len() <= 40, "{kept:#?}");
    assert!(!gateway.stderr().contains("access_log"), "no lines");
    gateway.stop();
    // Whatever becomes of the file, it can be deleted.
    fs::write(gateway.data().join("access.db"), "no database, but a text that is long enough").expect("a file");
    let (code, words) = crate::gateway::serve_to_its_end(&gateway.data(), gateway.env());
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("access.db") && words.contains("delete it"), "{words}");
    fs::remove_file(gateway.data().join("access.db")).expect("the file");
    gateway.start_again();
    operator.get("/v1/access-log").await.must(200);

    let without = Gateway::start();
    without.operator().get("/v1/access-log").await.must(404);
    assert!(!without.data().join("access.db").exists());
    let described = without.operator().send(Method::GET, "/openapi.json", "").await.expect("a reply").json();
    assert!(described["paths"]["/v1/access-log"].is_null());
}

/// Holds: query.access-log
#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_before_the_answer_and_who_makes_up_a_method_leave_an_entry_too() {
    let (gateway, upstream) = (Gateway::start_with(&[("LEDGERWAY_ACCESS_LOG", "view")]), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["hang"]).await;
    let operator = gateway.operator().clone();
    let (client, body) = (gateway.client(Some(&tenant.secret)), tenant.ask("hang"));
    let leaves = async move { client.try_post(NATIVE, &body).await.map(|_| ()) };
    assert!(tokio::time::timeout(Duration::from_millis(500), leaves).await.is_err(), "it is not answered");
    let long = "BREW".repeat(2_000);
    let method = Method::from_bytes(long.as_bytes()).expect("a method");
    let brewed = gateway.client(None).send(method, "/v1/usage", "").await.expect("a reply").request_id();
    let all = entries_with(&operator, &brewed).await;
    assert_eq!(entry(&all, &brewed)["method"], "OTHER");
    let began = Instant::now();
    loop {
        let page = operator.get("/v1/access-log?status=499").await.must(200).json();
        if let [left] = page["items"].as_array().expect("items").as_slice() {
            assert_eq!([&left["actor"], &left["route"]], [&json!(tenant.key), &json!(NATIVE)], "{left}");
            break;
        }
        assert!(began.elapsed() < WRITTEN_WITHIN, "no entry of who left");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
