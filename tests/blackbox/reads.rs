//! Records of reads, and of changes that a rule refused: their content, and that they cannot be switched off.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::client::Client;
use crate::configuration::said;
use crate::gateway::{Gateway, OPERATOR_KEY, ledgerway, type_of};
use crate::grpc::{self, GRPC};
use crate::tenant::{NATIVE, Tenant};

const READ: &str = "access.read.v1";
const RECORDED: (&str, &str) = ("LEDGERWAY_RECORD_READS", "true");
const REJECTED: &str = "admin.rejected.v1";
const RECORDED_WITHIN: Duration = Duration::from_secs(10);

fn count(event: &Value) -> u64 {
    event["data"]["count"].as_u64().expect("a count")
}

/// Reads by kind of this actor.
fn reads_of(log: &[Value], actor: &str) -> BTreeMap<String, u64> {
    let mut reads = BTreeMap::new();
    for event in log.iter().filter(|event| type_of(event) == READ && event["actor"] == actor) {
        *reads.entry(event["data"]["kind"].as_str().expect("a kind").to_owned()).or_default() += count(event);
    }
    reads
}

/// Panics if a minute has more than two events for an actor and a kind.
#[track_caller]
fn must_be_rolled_up(log: &[Value]) {
    let mut events: BTreeMap<String, u64> = BTreeMap::new();
    for event in log.iter().filter(|event| type_of(event) == READ) {
        let (data, minute) = (&event["data"], event["data"]["minute"].as_str().expect("a minute"));
        assert!(minute.ends_with(":00.000000Z"), "{event}");
        let events = events.entry(format!("{} {} {minute}", event["actor"], data["kind"])).or_default();
        *events += 1;
        assert!(*events <= 2, "{event}");
    }
}

/// The log once it has what is waited for.
async fn log_with(gateway: &Gateway, is_there: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let log = gateway.events().await;
        if is_there(&log) {
            return log;
        }
        assert!(began.elapsed() < RECORDED_WITHIN, "not recorded: {log:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn auditor(tenant: &Tenant, gateway: &Gateway) -> (String, Client, String) {
    let fields = json!({ "user_id": tenant.user, "name": "auditor",
                         "permissions": ["audit:read", "events:read", "usage:read"] });
    let key = gateway.operator().post("/v1/admin/keys", &fields).await.must(201).json();
    let secret = key["secret"].as_str().expect("a secret").to_owned();
    (key["id"].as_str().expect("an id").to_owned(), gateway.client(Some(&secret)), secret)
}

/// Holds: query.as-of
#[tokio::test(flavor = "multi_thread")]
async fn a_read_of_an_earlier_state_is_recorded_as_any_other() {
    let (gateway, upstream) = (Gateway::start_with(&[RECORDED]), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let (id, auditor, _) = auditor(&tenant, &gateway).await;
    let head = gateway.head().await;
    auditor.get(&format!("/v1/usage?as_of={head}")).await.must(200);
    auditor.get(&format!("/v1/usage?as_of={}", u64::MAX)).await.must(400);
    let expected = BTreeMap::from([("usage".to_owned(), 1)]);
    log_with(&gateway, |log| reads_of(log, &id) == expected).await;
}

/// Holds: event.reads
#[tokio::test(flavor = "multi_thread")]
async fn reads_through_every_surface_are_counted_and_a_shutdown_loses_none() {
    let (mut gateway, upstream) = (Gateway::start_with(&[GRPC, RECORDED]), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let other = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let request = tenant.chat("ok").await.must(200).request_id();
    let (id, reader, secret) = auditor(&tenant, &gateway).await;
    let settled = format!("min_position={}", gateway.head().await);
    for path in [
        "/v1/audit",
        "/v1/audit?format=csv",
        "/v1/audit?category=reads",
        "/v1/events",
        "/v1/events?limit=1",
        "/v1/usage",
        "/v1/usage?group_by=model&format=ndjson",
        "/v1/inferences",
        "/v1/inferences?format=csv",
        // None of these are reads of the record.
        "/v1/budgets",
        "/v1/me",
        "/v1/log/head",
    ] {
        reader.get(path).await.must(200);
    }
    for _ in 0..2 {
        reader.get(&format!("/v1/inferences/{request}?{settled}")).await.must(200);
    }
    let stream = reader.clone().with("accept", "text/event-stream");
    let stream = stream.open(Method::GET, "/v1/events", "").await.expect("a stream");
    assert_eq!(stream.status(), 200);
    let channel = grpc::connect(&gateway).await;
    grpc::rest(grpc::tail(&channel, &secret, ::grpc::proto::TailRequest::default()).await.expect("a tail")).await;
    grpc::report(&channel, &secret, ::grpc::proto::ReportRequest::default()).await.expect("a report");
    // Nor is what was refused.
    for (path, status) in [
        ("/v1/audit?colour=red", 400),
        ("/v1/inferences/req_00000000000000000000000000000001", 404),
        ("/v1/projections", 403),
    ] {
        reader.get(path).await.must(status);
    }
    tenant.app.get("/v1/audit").await.must_be(403, "FORBIDDEN");

    // The first one of each kind is recorded at once.
    let log = log_with(&gateway, |log| reads_of(log, &id).len() == 4).await;
    let first = log.iter().find(|event| type_of(event) == READ && event["actor"] == *id).expect("a read");
    assert_eq!(
        [&first["stream"], &first["tenant_id"], &first["partner_id"], &first["user_id"], &first["key_id"]],
        [&json!(format!("access-{id}")), &json!(tenant.id), &json!(tenant.partner), &json!(tenant.user), &json!(id)]
    );
    assert_eq!(count(first), 1);
    // A tenant's auditors see the reads of its keys, and of nobody else's.
    let (_, neighbour, _) = auditor(&other, &gateway).await;
    for event in neighbour.get("/v1/events?types=access.read.v1").await.must(200).body.split(|byte| *byte == b'\n') {
        assert!(!String::from_utf8_lossy(event).contains(&*id));
    }
    drop(stream);
    gateway.stop();
    let (code, words) = gateway.verify();
    assert_eq!(code, Some(0), "{words}");
    gateway.start_again();
    // Reading the log may be recorded while it is read.
    let (before, mut log) = (gateway.head().await, gateway.events().await);
    log.retain(|event| event["position"].as_u64() <= Some(before));
    let expected = [("audit", 3), ("events", 4), ("inferences", 4), ("usage", 3)];
    assert_eq!(reads_of(&log, &id), expected.map(|(kind, count)| (kind.to_owned(), count)).into());
    assert!(reads_of(&log, &tenant.key).is_empty(), "what was denied is no read");
    assert!(reads_of(&log, "operator")["events"] > 0, "the operator is recorded as well");
    must_be_rolled_up(&log);
}

/// Holds: event.reads
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_reads_leaves_two_events_a_minute_and_a_kill_loses_only_what_was_not_recorded() {
    let (mut gateway, upstream) = (Gateway::start_with(&[RECORDED]), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let (id, reader, _) = auditor(&tenant, &gateway).await;
    const FLOOD: u64 = 300;
    for _ in 0..FLOOD {
        reader.get("/v1/usage").await.must(200);
    }
    log_with(&gateway, |log| reads_of(log, &id).contains_key("usage")).await;
    gateway.kill();
    gateway.start_again();
    let log = gateway.events().await;
    let recorded = reads_of(&log, &id)["usage"];
    assert!((1..=FLOOD).contains(&recorded), "{recorded}");
    must_be_rolled_up(&log);
    reader.get("/v1/audit").await.must(200);
    log_with(&gateway, |log| reads_of(log, &id).get("audit") == Some(&1)).await;
    gateway.stop();
    assert_eq!(gateway.verify().0, Some(0));
}

/// Holds: event.rejected, event.nothing-personal
#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_change_is_recorded_without_anything_of_its_body() {
    const PERSON: &str = "Grace Quux-Hopper";
    const EMAIL: &str = "grace.quux@";
    const SECRET: &str = "sk-rejected-7f3c19d2a0";
    let (mut gateway, upstream) = (Gateway::start_with(&[RECORDED]), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let other = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let operator = gateway.operator().clone();
    let since = gateway.events().await.len();
    let budget = format!("/v1/admin/budgets/{}", tenant.budget);
    operator.delete(&format!("/v1/admin/keys/{}", tenant.key)).await.must(200);
    let user = json!({ "tenant_id": tenant.id, "name": PERSON, "email": EMAIL });
    operator.post("/v1/admin/users", &user).await.must_be(400, "INVALID_REQUEST");
    let provider = json!({ "name": PERSON, "kind": "openai", "base_url": "ftp://example.com", "api_key": SECRET });
    operator.post("/v1/admin/providers", &provider).await.must_be(400, "INVALID_REQUEST");
    operator.patch(&budget, &json!({ "colour": SECRET })).await.must_be(400, "INVALID_REQUEST");
    operator
        .patch(&format!("/v1/admin/keys/{}", tenant.key), &json!({ "name": PERSON }))
        .await
        .must_be(409, "CONFLICT");
    operator.post(&format!("/v1/admin/keys/{}/rotate", tenant.key), &json!({})).await.must_be(409, "CONFLICT");
    let absent = "/v1/admin/models/mdl_00000000000000000000000000000001";
    operator.delete(absent).await.must_be(404, "NOT_FOUND");
    let untyped = operator.clone().with("content-type", "text/plain");
    untyped.post("/v1/admin/partners", &json!({ "name": PERSON })).await.must_be(415, "UNSUPPORTED_MEDIA_TYPE");
    // The administrator of another tenant is told that there is no such budget, and so is the log.
    let admin = json!({ "permissions": ["admin:access"] });
    let (spy_id, spy) = other.new_key(&gateway, admin).await;
    spy.patch(&budget, &json!({ "limit_usd": "1" })).await.must_be(404, "NOT_FOUND");
    // None of these are rejected changes: a missing permission, a read, a request to a model, a path that is none.
    tenant.app.post("/v1/admin/partners", &json!({ "name": PERSON })).await.must(401);
    other.app.post("/v1/admin/partners", &json!({ "name": PERSON })).await.must(403);
    operator.get("/v1/admin/keys/key_00000000000000000000000000000001").await.must(404);
    other.app.post(NATIVE, &other.ask("nothing")).await.must(404);
    operator.post("/v1/admin/nothing", &json!({})).await.must(404);

    let log =
        log_with(&gateway, |log| log.iter().filter(|event| type_of(event) == REJECTED).map(count).sum::<u64>() >= 8);
    let mut log = log.await;
    // The rest of a second, if there is one.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    log = if gateway.events().await.len() > log.len() { gateway.events().await } else { log };
    let rejected: Vec<&Value> = log.iter().skip(since).filter(|event| type_of(event) == REJECTED).collect();
    let shown = |event: &Value| {
        let data = &event["data"];
        let [code, method, resource, id] =
            ["code", "method", "resource", "resource_id"].map(|field| data[field].as_str().unwrap_or("-").to_owned());
        (event["actor"].as_str().expect("an actor").to_owned(), code, method, resource, id)
    };
    let mut all: Vec<_> = rejected.iter().map(|event| shown(event)).collect();
    all.sort();
    let row = |actor: &str, rest: [&str; 4]| {
        let [code, method, resource, id] = rest.map(str::to_owned);
        (actor.to_owned(), code, method, resource, id)
    };
    let mut expected = vec![
        row("operator", ["INVALID_REQUEST", "POST", "user", "-"]),
        row("operator", ["INVALID_REQUEST", "POST", "provider", "-"]),
        row("operator", ["INVALID_REQUEST", "PATCH", "budget", &tenant.budget]),
        row("operator", ["CONFLICT", "PATCH", "key", &tenant.key]),
        row("operator", ["CONFLICT", "POST", "key", &tenant.key]),
        row("operator", ["NOT_FOUND", "DELETE", "model", "-"]),
        row("operator", ["UNSUPPORTED_MEDIA_TYPE", "POST", "partner", "-"]),
        row(&spy_id, ["NOT_FOUND", "PATCH", "budget", "-"]),
    ];
    expected.sort();
    assert_eq!(all, expected);
    let of_budget = rejected.iter().find(|event| event["data"]["resource_id"] == *tenant.budget).expect("the budget's");
    assert_eq!(
        (&of_budget["tenant_id"], &of_budget["stream"]),
        (&json!(tenant.id), &json!("access-operator")),
        "about its owner, as the change would have been"
    );
    let path =
        format!("/v1/audit?resource={}&action=admin.rejected&min_position={}", tenant.budget, gateway.head().await);
    let audit = operator.get(&path).await.must(200).json();
    let entry = &audit["items"][0];
    assert_eq!(
        [&entry["category"], &entry["severity"], &entry["outcome"], &entry["resource"]],
        [&json!("administration"), &json!("notice"), &json!("denied"), &json!(format!("budget/{}", tenant.budget))]
    );

    gateway.stop();
    assert_eq!(gateway.verify().0, Some(0));
    for file in ["ledger.db", "ledger.db-wal", "views.db", "views.db-wal"] {
        let bytes = fs::read(gateway.data().join(file)).unwrap_or_default();
        for secret in [PERSON, EMAIL, SECRET, "ftp://example.com", "colour"] {
            assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "{secret} is in {file}");
        }
    }
    let words = gateway.stderr();
    assert!(![PERSON, EMAIL, SECRET].iter().any(|secret| words.contains(secret)), "{words}");
}

/// Holds: event.rejected
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_rejected_changes_is_rolled_up() {
    let gateway = Gateway::start_with(&[RECORDED]);
    const FLOOD: u64 = 200;
    let began = Instant::now();
    for _ in 0..FLOOD {
        gateway.operator().post("/v1/admin/partners", &json!({})).await.must(400);
    }
    let rejected =
        |log: &[Value]| -> Vec<u64> { log.iter().filter(|event| type_of(event) == REJECTED).map(count).collect() };
    let log = log_with(&gateway, |log| rejected(log).iter().sum::<u64>() == FLOOD).await;
    let counts = rejected(&log);
    let seconds = began.elapsed().as_secs() + 2;
    assert!(counts.len() as u64 <= 2 * seconds && seconds < FLOOD / 4, "{counts:?} in {seconds} s");
}

/// Holds: query.audit-category
#[tokio::test(flavor = "multi_thread")]
async fn the_audit_is_asked_for_categories() {
    let (gateway, upstream) = (Gateway::start_with(&[RECORDED]), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let operator = gateway.operator().clone();
    tenant.app.get("/v1/audit").await.must(403);
    tenant.app.post(NATIVE, &tenant.ask("nothing")).await.must(404);
    operator.get("/v1/audit").await.must(200);
    operator.get("/v1/usage").await.must(200);
    operator.post("/v1/admin/partners", &json!({})).await.must(400);
    let names = ["access.denied.v1", "inference.refused.v1", REJECTED];
    let is_there = |log: &[Value]| {
        names.iter().all(|name| log.iter().any(|event| type_of(event) == *name))
            && ["audit", "events", "usage"].iter().all(|kind| reads_of(log, "operator").contains_key(*kind))
    };
    log_with(&gateway, is_there).await;
    let head = gateway.head().await;
    let entries = async |query: &str| {
        let page = operator.get(&format!("/v1/audit?limit=1000&min_position={head}{query}")).await.must(200).json();
        page["items"].as_array().expect("items").clone()
    };
    let category = |entry: &Value| entry["category"].as_str().expect("a category").to_owned();
    let all = entries("&category=administration,money,access,inference,reads").await;
    for (name, actions) in [
        ("administration", &["partner.created", "key.created", "model.created", "admin.rejected"][..]),
        ("money", &["budget.opened", "price.created"]),
        ("access", &["access.denied"]),
        ("inference", &["inference.refused"]),
        ("reads", &["access.read"]),
    ] {
        let of_category = entries(&format!("&category={name}")).await;
        assert!(of_category.iter().all(|entry| category(entry) == name), "{of_category:#?}");
        for action in actions {
            assert!(of_category.iter().any(|entry| entry["action"] == *action), "{action} is not in {name}");
        }
    }
    // Unless somebody asks for reads, an audit has none: they go on meanwhile.
    let without_reads = entries("").await;
    assert_eq!(without_reads.len(), all.iter().filter(|entry| category(entry) != "reads").count());
    let read = &entries("&category=reads&q=usage").await[0];
    assert_eq!(
        [&read["actor"], &read["resource"], &read["severity"], &read["outcome"], &read["changes"]["kind"]],
        ["operator", "access/operator", "info", "success", "usage"].map(|text| json!(text)).each_ref()
    );
    let table = operator.get("/v1/audit?format=csv&category=money&limit=1").await.must(200);
    let table = String::from_utf8(table.body.to_vec()).expect("UTF-8");
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].ends_with(",category") && lines[1].ends_with(",money"), "{table}");
    for wrong in ["gossip", "", "reads,,money"] {
        let refused = operator.get(&format!("/v1/audit?category={wrong}")).await.must_be(400, "INVALID_REQUEST").json();
        assert_eq!(refused["error"]["details"]["field"], "category", "{refused}");
    }
}

/// Holds: bin.audit-stays-on
#[test]
fn the_record_cannot_be_switched_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let serve = |value: &str| {
        let mut command = ledgerway();
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(&data);
        said(command.env("LEDGERWAY_ADMIN_KEY", OPERATOR_KEY).env("ENABLE_AUDIT_LOGGING", value))
    };
    for off in ["false", "0", "no", "off", "FALSE"] {
        let (code, words) = serve(off);
        assert_eq!(code, Some(2), "{words}");
        assert_eq!(
            words.trim(),
            format!(
                "ledgerway: ENABLE_AUDIT_LOGGING is {off}, but the record of this gateway is its ledger and cannot be \
                 switched off, for example ENABLE_AUDIT_LOGGING=true"
            )
        );
        assert!(!data.exists(), "nothing was begun");
    }
    let gateway = Gateway::start_with(&[("ENABLE_AUDIT_LOGGING", "true")]);
    assert!(!gateway.stderr().contains("ENABLE_AUDIT_LOGGING"), "{}", gateway.stderr());
}
