//! `as_of`: the answers that queries would have got at an earlier position.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::client::{Client, Reply};
use crate::gateway::Gateway;
use crate::shared_ledger::{folders, migrated, node};
use crate::tenant::{NATIVE, Tenant, made, text};
use crate::views::{caught_up, leave_traces};

/// The answers to questions that were asked at one time.
struct Asked {
    position: u64,
    recorded_at: String,
    answers: Vec<(String, Reply)>,
}

const KINDS: [&str; 12] = [
    "partners", "tenants", "users", "teams", "keys", "providers", "provider-keys", "models", "prices", "budgets",
    "rate-limits", "audit-searches",
];

/// The paths of lists that take `as_of`, and of single things of this tenant; each ends where a parameter may be added.
fn paths(tenant: &Tenant) -> Vec<String> {
    let all = KINDS.iter().map(|kind| format!("/v1/admin/{kind}?include_ended=true&limit=1000&"));
    let of_tenant = KINDS.iter().map(|kind| format!("/v1/admin/{kind}?tenant_id={}&", tenant.id));
    let single = [
        format!("partners/{}", tenant.partner),
        format!("tenants/{}", tenant.id),
        format!("users/{}", tenant.user),
        format!("keys/{}", tenant.key),
        format!("providers/{}", tenant.provider),
        format!("budgets/{}", tenant.budget),
    ];
    let single = single.iter().map(|one| format!("/v1/admin/{one}?"));
    let budgets = ["/v1/budgets?include_ended=true&".to_owned(), format!("/v1/budgets/{}?", tenant.budget)];
    let by_key = format!("/v1/usage?key={}&", tenant.key);
    let usage = [
        "",
        "group_by=tenant,key,model&",
        "group_by=day,backend&limit=1&",
        "group_by=metadata.team&",
        "from=2026-01-01T00:00:01Z&",
        "format=csv&group_by=user&",
        "format=ndjson&group_by=payer&",
    ];
    let usage = usage.iter().map(|usage| format!("/v1/usage?{usage}")).chain([by_key]);
    all.chain(of_tenant).chain(single).chain(budgets).chain(usage).collect()
}

/// Those that a tenant's key may ask.
fn paths_of_a_tenant(tenant: &Tenant) -> Vec<String> {
    let all = paths(tenant).into_iter();
    let others = ["/partners", "/providers/", "tenant_id="];
    all.filter(|path| !others.iter().any(|other| path.contains(other))).collect()
}

/// The answer without `last_used_at` of keys: in memory, it is newer than in any view.
fn comparable(path: &str, reply: &Reply) -> String {
    let mut answer = reply.json();
    if !path.starts_with("/v1/admin/keys") {
        return String::from_utf8_lossy(&reply.body).into_owned();
    }
    let without_last_use = |one: &mut Value| {
        one.as_object_mut().expect("a key").remove("last_used_at").expect("a time, or null");
    };
    match answer["items"].as_array_mut() {
        Some(keys) => keys.iter_mut().for_each(without_last_use),
        None => without_last_use(&mut answer),
    }
    answer.to_string()
}

async fn ask_now(gateway: &Gateway, asker: &Client, paths: Vec<String>) -> Asked {
    caught_up(gateway).await;
    let head = gateway.operator().get("/v1/log/head").await.must(200).json();
    let mut answers = Vec::new();
    for path in paths {
        let reply = asker.get(path.trim_end_matches(['?', '&'])).await.must(200);
        answers.push((path, reply));
    }
    assert_eq!(gateway.operator().get("/v1/log/head").await.json(), head, "nothing is recorded meanwhile");
    Asked { position: head["position"].as_u64().expect("a position"), recorded_at: text(&head["recorded_at"]), answers }
}

/// Checks the answers by the position, and by the time of the event there.
async fn must_be_as_then(asker: &Client, asked: &Asked) {
    let (position, at) = (asked.position.to_string(), asked.recorded_at.replace(':', "%3A"));
    for (path, then) in &asked.answers {
        for as_of in [&position, &at] {
            let reply = asker.get(&format!("{path}as_of={as_of}")).await.must(200);
            assert_eq!(comparable(path, &reply), comparable(path, then), "{path} as of {as_of}");
            match reply.json().get("as_of_position") {
                Some(of) => assert_eq!(of, &json!(asked.position), "{path}"),
                None => assert_eq!(reply.header("x-ledgerway-as-of-position"), position, "{path}"),
            }
        }
    }
}

/// Changes something of everything.
async fn change(gateway: &Gateway, tenant: &Tenant) {
    let operator = gateway.operator();
    for _ in 0..3 {
        tenant.chat("ok").await.must(200);
    }
    let mut tagged = tenant.ask("ok");
    tagged["metadata"] = json!({ "team": "blue" });
    tenant.app.post(NATIVE, &tagged).await.must(200);
    let name = gateway.next_name();
    operator.patch(&format!("/v1/admin/tenants/{}", tenant.id), &json!({ "name": name })).await.must(200);
    tenant.set_limit("17").await;
    tenant.price("ok").await;
    tenant.new_key(gateway, json!({ "permissions": ["usage:read"] })).await;
    let budget = json!({ "scope": { "tenant_id": tenant.id }, "limit_usd": "1", "period": "total" });
    let budget = made(operator, "/budgets", budget).await;
    operator.delete(&format!("/v1/admin/budgets/{budget}")).await.must(200);
}

fn files(gateway: &Gateway) -> Vec<PathBuf> {
    let Ok(files) = fs::read_dir(gateway.data().join("as-of")) else { return Vec::new() };
    files.flatten().map(|file| file.path()).collect()
}

fn has_a_price_in_force((path, reply): &(String, Reply)) -> bool {
    path.contains("/prices") && String::from_utf8_lossy(&reply.body).contains("\"in_force\":true")
}

/// Holds: query.as-of
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_as_of_a_position_is_the_one_that_was_given_then() {
    let snapshots = [("LEDGERWAY_SNAPSHOT_EVENTS", "100")];
    let (mut gateway, upstream) = (Gateway::start_with(&snapshots), MockUpstream::start().await);
    leave_traces(&gateway, &upstream).await;
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "other"]).await;
    let key = json!({ "provider_id": tenant.provider, "name": "second", "api_key": "sk-another-key-of-the-provider" });
    made(gateway.operator(), "/provider-keys", key).await;
    let limit = json!({ "scope": { "tenant_id": tenant.id }, "concurrent_requests": 100 });
    made(gateway.operator(), "/rate-limits", limit).await;
    let team = json!({ "name": "Search", "tenant_id": tenant.id, "user_ids": [tenant.user] });
    made(gateway.operator(), "/teams", team).await;
    let search = json!({ "name": "refusals", "tenant_id": tenant.id, "filter": { "severity": "warning" } });
    made(gateway.operator(), "/audit-searches", search).await;
    let all = json!({ "permissions": ["usage:read", "audit:read", "admin:access"] });
    let (_, auditor) = tenant.new_key(&gateway, all).await;
    let mut then = Vec::new();
    for _ in 0..3 {
        then.push(ask_now(&gateway, gateway.operator(), paths(&tenant)).await);
        change(&gateway, &tenant).await;
    }
    let of_auditor = ask_now(&gateway, &auditor, paths_of_a_tenant(&tenant)).await;
    for asked in &then {
        assert!(asked.answers.iter().any(has_a_price_in_force));
        must_be_as_then(gateway.operator(), asked).await;
    }
    must_be_as_then(&auditor, &of_auditor).await;
    // Also after the end of what was in use then, and after a restart, which deletes what was built.
    gateway.operator().delete(&format!("/v1/admin/providers/{}", tenant.provider)).await.must(200);
    gateway.operator().delete(&format!("/v1/admin/partners/{}", tenant.partner)).await.must(200);
    gateway.stop();
    gateway.start_again();
    assert_eq!(files(&gateway).len(), 0);
    for asked in then.iter_mut().rev() {
        // With a provider, its API key is deleted, and no event says that it had one.
        asked.answers.retain(|(path, _)| !path.contains("/provider"));
        assert!(asked.answers.iter().any(has_a_price_in_force));
        must_be_as_then(gateway.operator(), asked).await;
    }
}

/// Holds: query.as-of
#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_one_ledger_give_the_answers_of_then() {
    let database = migrated();
    let [first, second] = folders();
    let (one, other) = (node(&database.url(), first.path(), &[]), node(&database.url(), second.path(), &[]));
    let upstream = MockUpstream::start().await;
    let tenant = Tenant::new(&one, &upstream, &["ok"]).await;
    tenant.chat("ok").await.must(200);
    let asked = ask_now(&one, one.operator(), paths(&tenant)).await;
    change(&one, &tenant).await;
    must_be_as_then(one.operator(), &asked).await;
    must_be_as_then(other.operator(), &asked).await;
    // A position that the other node may not have read yet is one of the log all the same.
    for _ in 0..20 {
        let name = one.next_name();
        let made = one.operator().post("/v1/admin/partners", &json!({ "name": name })).await.must(201).position();
        let path = format!("/v1/admin/partners?limit=1&as_of={made}");
        let list = other.operator().get(&path).await.must(200).json();
        assert_eq!((&list["as_of_position"], &list["items"][0]["name"]), (&json!(made), &json!(name)));
    }
}

/// Holds: query.as-of
#[tokio::test(flavor = "multi_thread")]
async fn rights_are_those_of_now() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let ours = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let before_the_other = gateway.head().await;
    let theirs = Tenant::new(&gateway, &upstream, &["ok"]).await;
    ours.chat("ok").await.must(200);
    theirs.chat("ok").await.must(200);
    let (key, auditor) = theirs.new_key(&gateway, json!({ "permissions": ["usage:read", "admin:access"] })).await;
    let head = gateway.head().await;
    for (position, tenants) in [(before_the_other, 0), (head, 1)] {
        let list = auditor.get(&format!("/v1/admin/tenants?as_of={position}")).await.must(200).json();
        assert_eq!(list["items"].as_array().map(Vec::len), Some(tenants), "{list}");
        let usage = auditor.get(&format!("/v1/usage?as_of={position}")).await.must(200).json();
        assert_eq!(usage["totals"]["requests"], tenants, "{usage}");
    }
    for path in [format!("/v1/admin/tenants/{}", ours.id), format!("/v1/budgets/{}", ours.budget)] {
        auditor.get(&format!("{path}?as_of={head}")).await.must(404);
        gateway.operator().get(&format!("{path}?as_of={head}")).await.must(200);
    }
    gateway.operator().get(&format!("/v1/admin/tenants/{}?as_of={before_the_other}", theirs.id)).await.must(404);
    let keys = gateway.operator().get(&format!("/v1/admin/keys?as_of={head}")).await.must(200).json();
    let keys = keys["items"].as_array().expect("keys");
    assert!(keys.iter().any(|key| key["id"] == ours.key.as_str() && key["last_used_at"].is_string()), "{keys:?}");
    ours.app.get(&format!("/v1/admin/keys?as_of={head}")).await.must_be(403, "FORBIDDEN");
    let narrowed = json!({ "permissions": ["models:use"] });
    gateway.operator().patch(&format!("/v1/admin/keys/{key}"), &narrowed).await.must(200);
    auditor.get(&format!("/v1/usage?as_of={head}")).await.must_be(403, "FORBIDDEN");
    gateway.operator().delete(&format!("/v1/admin/keys/{key}")).await.must(200);
    auditor.get(&format!("/v1/usage?as_of={head}")).await.must(401);
}

/// Holds: query.as-of
#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_recorded_or_is_not_asked_of_views_is_refused() {
    let gateway = Gateway::start();
    let operator = gateway.operator();
    let head = gateway.head().await;
    for (wrong, said) in [
        (format!("{}", head + 1), "is beyond the newest event of the log"),
        ("99999999999999999999".to_owned(), "is beyond the newest event of the log"),
        ("2999-01-01T00:00:00Z".to_owned(), "is in the future"),
        ("yesterday".to_owned(), "must be a position such as 1200, or an RFC 3339 time"),
        (String::new(), "must be a position such as 1200, or an RFC 3339 time"),
        (format!("{head}&min_position={head}"), "cannot be given together with min_position"),
    ] {
        for path in ["/v1/usage", "/v1/budgets", "/v1/admin/models", "/v1/admin/prices", "/v1/admin/keys/key_1"] {
            let reply = operator.get(&format!("{path}?as_of={wrong}")).await.must_be(400, "INVALID_REQUEST");
            let refusal = reply.json();
            assert_eq!(refusal["error"]["details"]["field"], "as_of", "{refusal}");
            assert!(refusal["error"]["message"].as_str().is_some_and(|message| message.contains(said)), "{refusal}");
        }
    }
    for path in ["/v1/audit", "/v1/inferences", "/v1/events", "/v1/me", "/v1/log/head", "/v1/projections"] {
        let refusal = operator.get(&format!("{path}?as_of={head}")).await.must_be(400, "INVALID_REQUEST").json();
        assert!(refusal.to_string().contains("is not a parameter of this path"), "{path}: {refusal}");
    }
    for path in ["/v1/models", "/oai/v1/models", "/v1/models/any"] {
        let refusal = operator.get(&format!("{path}?foreign=1&as_of={head}")).await.must(400).json();
        assert!(refusal.to_string().contains("/v1/admin/models takes it"), "{path}: {refusal}");
    }
    // A wrong query builds nothing.
    operator.get(&format!("/v1/usage?as_of={head}&limit=0")).await.must(400);
    operator.get(&format!("/v1/admin/keys?as_of={head}&colour=red")).await.must(400);
    assert_eq!(files(&gateway).len(), 0);
    for nothing in ["0", "2001-01-01T00:00:00Z"] {
        let list = operator.get(&format!("/v1/admin/partners?include_ended=true&as_of={nothing}")).await.must(200);
        assert_eq!(list.json(), json!({ "as_of_position": 0, "items": [], "next_cursor": null }));
        operator.get(&format!("/v1/budgets?as_of={nothing}")).await.must(200);
        let usage = operator.get(&format!("/v1/usage?as_of={nothing}")).await.must(200).json();
        assert_eq!(usage["totals"]["requests"], 0, "{usage}");
    }
}

/// Holds: query.as-of
#[tokio::test(flavor = "multi_thread")]
async fn few_files_are_kept_and_none_outlives_the_next_start() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let mut of_tenants = Vec::new();
    for _ in 0..3 {
        let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
        of_tenants.push(tenant.new_key(&gateway, json!({ "permissions": ["usage:read"] })).await.1);
    }
    for _ in 0..10 {
        let name = gateway.next_name();
        gateway.operator().post("/v1/admin/partners", &json!({ "name": name })).await.must(201);
    }
    let head = gateway.head().await;
    for position in head - 9..=head {
        let list = gateway.operator().get(&format!("/v1/admin/partners?limit=1&as_of={position}")).await;
        assert_eq!(list.must(200).json()["as_of_position"], position);
    }
    let of_operator = files(&gateway);
    assert_eq!(of_operator.len(), 2, "{of_operator:?}");
    for key in &of_tenants {
        for position in head - 9..head - 6 {
            key.get(&format!("/v1/usage?as_of={position}")).await.must(200);
        }
    }
    let kept = files(&gateway);
    assert_eq!(kept.len(), 4, "{kept:?}");
    assert!(of_operator.iter().all(|file| kept.contains(file)), "tenants push out the operator's: {kept:?}");
    let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode(&gateway.data().join("as-of")), 0o700);
    assert!(kept.iter().all(|path| mode(path) == 0o600), "{kept:?}");
    // Each by several at once.
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..12 {
        let operator = gateway.operator().clone();
        let path = format!("/v1/admin/partners?as_of={}", head - number % 2);
        asked.spawn(async move { operator.get(&path).await.must(200) });
    }
    asked.join_all().await;
    gateway.kill();
    assert!(!files(&gateway).is_empty());
    gateway.start_again();
    assert_eq!(files(&gateway).len(), 0);
}

/// Holds: query.as-of
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_views_leaves_it_to_others() {
    let database = migrated();
    let [of_views, of_none] = folders();
    let with = node(&database.url(), of_views.path(), &[]);
    let without = node(&database.url(), of_none.path(), &[("LEDGERWAY_VIEWS", "off")]);
    let head = with.head().await;
    without.operator().get(&format!("/v1/usage?as_of={head}")).await.must_be(421, "VIEWS_OFF");
    with.operator().get(&format!("/v1/usage?as_of={head}")).await.must(200);
    assert!(!without.data().join("as-of").exists());
}
