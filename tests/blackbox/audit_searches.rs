//! Saved searches of the audit: one definition for all who read it, whose changes are on record.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::client::{Client, Reply};
use crate::gateway::Gateway;
use crate::shared_ledger::{folders, migrated, node};
use crate::tenant::{made, text};

const SEARCHES: &str = "/v1/admin/audit-searches";
/// Parameters of the audit that filter nothing.
const NO_FILTERS: [&str; 5] = ["format", "cursor", "limit", "min_position", "search"];

/// A tenant, and a key that reads its audit.
struct Audited {
    tenant: String,
    auditor: Client,
    /// Its tenant's administrator, which reads no audit.
    admin: Client,
}

async fn client(gateway: &Gateway, tenant: &str, role: Value, permission: &str) -> Client {
    let user = json!({ "tenant_id": tenant, "name": permission, "roles": [role] });
    let user = made(gateway.operator(), "/users", user).await;
    let key = json!({ "user_id": user, "name": permission, "permissions": [permission] });
    let key = gateway.operator().post("/v1/admin/keys", &key).await.must(201).json();
    gateway.client(key["secret"].as_str())
}

impl Audited {
    async fn new(gateway: &Gateway, partner: &str) -> Self {
        let name = gateway.next_name();
        let tenant = made(gateway.operator(), "/tenants", json!({ "partner_id": partner, "name": name })).await;
        let auditor = client(gateway, &tenant, json!("auditor"), "audit:read").await;
        let admin = client(gateway, &tenant, json!("tenant_admin"), "admin:access").await;
        Self { tenant, auditor, admin }
    }

    fn search(&self, name: &str, filter: &Value) -> Value {
        json!({ "name": name, "tenant_id": self.tenant, "filter": filter })
    }
}

async fn partner(gateway: &Gateway) -> String {
    made(gateway.operator(), "/partners", json!({ "name": gateway.next_name() })).await
}

async fn save(client: &Client, search: &Value) -> String {
    text(&client.post(SEARCHES, search).await.must(201).json()["id"])
}

fn positions(page: &Reply) -> Vec<u64> {
    let page = page.json();
    let items = page["items"].as_array().expect("items");
    items.iter().map(|entry| entry["position"].as_u64().expect("a position")).collect()
}

/// The entries that a query of the audit finds, which has all that is recorded now.
async fn found(gateway: &Gateway, client: &Client, query: &str) -> Vec<u64> {
    let path = format!("/v1/audit?limit=1000&min_position={}&{query}", gateway.head().await);
    positions(&client.get(&path).await.must(200))
}

/// The field and the reason of a 400.
fn wrong(reply: Reply) -> (String, String) {
    let details = reply.must_be(400, "INVALID_REQUEST").json()["error"]["details"].take();
    (text(&details["field"]), text(&details["reason"]))
}

/// Holds: query.audit-search
#[tokio::test(flavor = "multi_thread")]
async fn a_search_finds_what_its_filter_finds_and_others_narrow_it() {
    let gateway = Gateway::start();
    let operator = gateway.operator();
    let partner = partner(&gateway).await;
    let audited = Audited::new(&gateway, &partner).await;
    let filter = json!({ "category": "administration,money", "actor": "operator", "action": "key.created" });
    let search = save(operator, &json!({ "name": "new keys", "filter": filter })).await;
    let direct = "category=administration,money&actor=operator&action=key.created";
    let all = found(&gateway, operator, direct).await;
    assert!(all.len() >= 2, "{all:?}");
    let by_search = format!("search={search}");
    assert_eq!(found(&gateway, operator, &by_search).await, all);
    for narrower in [format!("q={}", audited.tenant), "severity=warning".into(), "from=2100-01-01".into()] {
        let narrowed = found(&gateway, operator, &format!("{by_search}&{narrower}")).await;
        assert_eq!(narrowed, found(&gateway, operator, &format!("{direct}&{narrower}")).await, "{narrower}");
        assert!(narrowed.len() < all.len(), "{narrower}: {narrowed:?}");
    }
    let page = operator.get(&format!("/v1/audit?{by_search}&limit=1")).await.must(200).json();
    let cursor = text(&page["next_cursor"]);
    let next = operator.get(&format!("/v1/audit?{by_search}&limit=1&cursor={cursor}")).await.must(200);
    assert_eq!(positions(&next), all[1..2]);
    for format in ["ndjson", "csv", "ocsf", "cef"] {
        let lines = |query: &str| format!("/v1/audit?{query}&format={format}");
        let reply = operator.get(&lines(&by_search)).await.must(200);
        assert!(reply.body == operator.get(&lines(direct)).await.must(200).body, "{format}");
    }
    // What the search sets cannot be given beside it, not even with the same value.
    for (name, value) in [("category", "reads"), ("actor", "system:x"), ("action", "key.created")] {
        let (field, reason) = wrong(operator.get(&format!("/v1/audit?{by_search}&{name}={value}")).await);
        assert_eq!(field, name);
        assert!(reason.contains(&search), "{reason}");
    }
    assert_eq!(wrong(operator.get("/v1/audit?search=new%20keys").await).0, "search");
    operator.get(&format!("/v1/audit?search=asr_{}", "0".repeat(32))).await.must_be(404, "NOT_FOUND");
}

/// Holds: query.audit-search, admin.audit-search
#[tokio::test(flavor = "multi_thread")]
async fn a_search_is_used_as_it_is_now_and_every_change_of_it_is_an_event() {
    let gateway = Gateway::start();
    let operator = gateway.operator();
    let partner = partner(&gateway).await;
    let since = gateway.head().await;
    let body = json!({ "name": "partners", "filter": { "resource": format!("partner/{partner}") } });
    let made = operator.post(SEARCHES, &body).await.must(201).json();
    assert_eq!((&made["tenant_id"], &made["ended_at"], &made["filter"]), (&json!(null), &json!(null), &body["filter"]));
    let id = text(&made["id"]);
    let one = format!("{SEARCHES}/{id}");
    assert_eq!(operator.get(&one).await.must(200).json(), made);
    assert_eq!(found(&gateway, operator, &format!("search={id}")).await.len(), 1);

    // A change replaces the whole filter.
    let filter = json!({ "severity": "notice", "action": "audit_search.changed" });
    let changed = operator.patch(&one, &json!({ "filter": filter })).await.must(200);
    assert_eq!(changed.json()["filter"], filter);
    assert_eq!(found(&gateway, operator, &format!("search={id}")).await, [changed.position()]);
    operator.patch(&one, &json!({ "tenant_id": null })).await.must_be(400, "INVALID_REQUEST");

    // The name is taken until the search ends.
    let taken = operator.post(SEARCHES, &body).await.must_be(409, "CONFLICT").json();
    assert_eq!(taken["error"]["details"]["field"], "name");
    operator.delete(&one).await.must(200);
    operator.get(&format!("/v1/audit?search={id}")).await.must_be(404, "NOT_FOUND");
    assert!(operator.get(&one).await.must(200).json()["ended_at"].is_string());
    operator.patch(&one, &json!({ "name": "again" })).await.must_be(409, "CONFLICT");
    let again = save(operator, &body).await;
    let listed = operator.get(SEARCHES).await.must(200).json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(listed["items"][0]["id"], again);
    let named = operator.get(&format!("{SEARCHES}?name=partners&include_ended=true")).await.must(200).json();
    assert_eq!(named["items"].as_array().map(Vec::len), Some(2));

    let log = gateway.events().await;
    let told = log.iter().filter(|event| event["position"].as_u64() > Some(since));
    let told: Vec<_> = told.filter(|event| event["stream"] == format!("audit_search-{id}")).collect();
    let types: Vec<_> = told.iter().map(|event| text(&event["type"])).collect();
    assert_eq!(types, ["audit_search.created.v1", "audit_search.changed.v1", "audit_search.ended.v1"]);
    assert_eq!(told[1]["data"], json!({ "audit_search_id": id, "name": "partners", "filter": filter }));
    let entries = format!("/v1/audit?resource=audit_search/{id}&min_position={}", gateway.head().await);
    let entries = operator.get(&entries).await.must(200).json();
    let entries = entries["items"].as_array().expect("items");
    assert!(entries.len() >= 3, "{entries:?}");
    for entry in entries {
        let shown = [&entry["category"], &entry["severity"], &entry["resource_name"]];
        assert_eq!(shown, ["administration", "notice", "partners"], "{entry}");
    }
    assert_eq!(gateway.verify().0, Some(0));
}

/// Holds: admin.audit-search
#[tokio::test(flavor = "multi_thread")]
async fn a_search_has_the_filters_of_the_audit_and_none_that_the_audit_would_refuse() {
    let gateway = Gateway::start();
    let operator = gateway.operator();
    let document = gateway.client(None).get("/openapi.json").await.must(200).json();
    let parameters = document["paths"]["/v1/audit"]["get"]["parameters"].as_array().expect("parameters");
    let of_query = parameters.iter().filter(|parameter| parameter["in"] == "query");
    let filters: BTreeSet<String> = of_query.map(|parameter| text(&parameter["name"])).collect();
    let filters: BTreeSet<_> = filters.iter().map(String::as_str).filter(|name| !NO_FILTERS.contains(name)).collect();
    let saved = &document["components"]["schemas"]["NewAuditSearch"]["properties"]["filter"]["properties"];
    assert_eq!(saved.as_object().expect("filters").keys().map(String::as_str).collect::<BTreeSet<_>>(), filters);

    for (name, value) in [
        ("from", "tomorrow"),
        ("to", "2026-11-31"),
        ("category", "money,moneys"),
        ("category", ","),
        ("severity", "loud"),
    ] {
        let (field, reason) = wrong(operator.get(&format!("/v1/audit?{name}={value}")).await);
        assert_eq!(field, name);
        let body = json!({ "name": gateway.next_name(), "filter": { name: value } });
        assert_eq!(wrong(operator.post(SEARCHES, &body).await), (format!("filter.{name}"), reason));
    }
    for name in NO_FILTERS {
        let body = json!({ "name": "s", "filter": { name: "5" } });
        assert_eq!(wrong(operator.post(SEARCHES, &body).await).0, format!("filter.{name}"));
    }
    assert_eq!(wrong(operator.post(SEARCHES, &json!({ "name": "s", "filter": {} })).await).0, "filter");
    let every = json!({
        "from": "2026-11-20", "to": "2100-01-01T00:00:00+01:00", "actor": "operator", "action": "key.created",
        "resource": "key/key_00000000000000000000000000000009", "category": "money, access,money", "severity": "info", "q": "é%_&=+",
    });
    let id = save(operator, &json!({ "name": "every", "filter": every })).await;
    assert_eq!(operator.get(&format!("{SEARCHES}/{id}")).await.must(200).json()["filter"], every);
    assert_eq!(found(&gateway, operator, &format!("search={id}")).await, [0_u64; 0]);
}

/// Holds: query.audit-search, admin.audit-search
#[tokio::test(flavor = "multi_thread")]
async fn a_search_widens_nothing_and_is_seen_by_those_whose_audit_it_is_of() {
    let gateway = Gateway::start();
    let operator = gateway.operator();
    let (near, far) = (partner(&gateway).await, partner(&gateway).await);
    let [one, sister] = [Audited::new(&gateway, &near).await, Audited::new(&gateway, &near).await];
    let stranger = Audited::new(&gateway, &far).await;
    let wide = json!({ "role": "auditor", "scope": { "partner_id": near } });
    let of_partner = client(&gateway, &one.tenant, wide, "audit:read").await;
    let platform = json!({ "role": "auditor", "scope": "platform" });
    let of_platform = client(&gateway, &one.tenant, platform, "audit:read").await;

    let filter = json!({ "action": "key.created" });
    let own = save(&one.admin, &one.search("keys", &filter)).await;
    // Each scope has its own names.
    let theirs = save(&stranger.admin, &stranger.search("keys", &filter)).await;
    let shared = save(operator, &json!({ "name": "keys", "filter": filter })).await;

    let direct = "action=key.created";
    for (who, sees) in [
        (&one.auditor, vec![&own]),
        (&sister.auditor, vec![]),
        (&stranger.auditor, vec![&theirs]),
        (&of_partner, vec![&own]),
        (&of_platform, vec![&shared, &theirs, &own]),
        (operator, vec![&shared, &theirs, &own]),
    ] {
        let list = who.get(SEARCHES).await.must(200).json();
        let listed: Vec<_> = list["items"].as_array().expect("items").iter().map(|one| text(&one["id"])).collect();
        assert_eq!(listed.iter().collect::<Vec<_>>(), sees);
        for search in [&own, &theirs, &shared] {
            if sees.contains(&search) {
                who.get(&format!("{SEARCHES}/{search}")).await.must(200);
                let rows = found(&gateway, who, &format!("search={search}")).await;
                assert_eq!(rows, found(&gateway, who, direct).await, "as far as the caller reaches, whosever it is");
                assert!(!rows.is_empty());
            } else {
                who.get(&format!("{SEARCHES}/{search}")).await.must_be(404, "NOT_FOUND");
                who.get(&format!("/v1/audit?search={search}")).await.must_be(404, "NOT_FOUND");
            }
        }
    }
    let chosen = operator.clone().with("x-tenant-id", &stranger.tenant);
    let rows = found(&gateway, &chosen, &format!("search={own}")).await;
    assert_eq!(rows, found(&gateway, &stranger.auditor, direct).await, "the tenant that was chosen bounds the rows");

    // Whoever reads changes nothing, and whoever changes reads nothing without the permission.
    let renamed = json!({ "name": "renamed" });
    one.auditor.patch(&format!("{SEARCHES}/{own}"), &renamed).await.must_be(403, "FORBIDDEN");
    one.auditor.post(SEARCHES, &one.search("n", &filter)).await.must_be(403, "FORBIDDEN");
    one.admin.get(SEARCHES).await.must_be(403, "FORBIDDEN");
    one.admin.get(&format!("/v1/audit?search={own}")).await.must_be(403, "FORBIDDEN");
    one.admin.patch(&format!("{SEARCHES}/{own}"), &renamed).await.must(200);
    for foreign in [&theirs, &shared] {
        one.admin.patch(&format!("{SEARCHES}/{foreign}"), &renamed).await.must_be(404, "NOT_FOUND");
        one.admin.delete(&format!("{SEARCHES}/{foreign}")).await.must_be(404, "NOT_FOUND");
    }
    one.admin.post(SEARCHES, &stranger.search("n", &filter)).await.must_be(404, "NOT_FOUND");
    one.admin.post(SEARCHES, &json!({ "name": "n", "filter": filter })).await.must_be(403, "FORBIDDEN");

    // With its tenant, a search ends.
    operator.delete(&format!("/v1/admin/tenants/{}", stranger.tenant)).await.must(200);
    operator.get(&format!("/v1/audit?search={theirs}")).await.must_be(404, "NOT_FOUND");
    let ended = operator.get(&format!("{SEARCHES}/{theirs}")).await.must(200).json();
    assert_eq!(ended["ended_by"], stranger.tenant);
}

/// Holds: query.audit-search
#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_one_ledger_use_one_definition() {
    let database = migrated();
    let [first, second] = folders();
    let (one, other) = (node(&database.url(), first.path(), &[]), node(&database.url(), second.path(), &[]));
    let body = json!({ "name": "searches", "filter": { "action": "audit_search.created" } });
    let saved = one.operator().post(SEARCHES, &body).await.must(201);
    let id = text(&saved.json()["id"]);
    let used = |position: u64| format!("/v1/audit?search={id}&min_position={position}");
    let created = saved.position();
    assert_eq!(positions(&other.operator().get(&used(created)).await.must(200)), [created]);
    let filter = json!({ "filter": { "action": "audit_search.changed" } });
    let changed = other.operator().patch(&format!("{SEARCHES}/{id}"), &filter).await.must(200).position();
    assert_eq!(positions(&one.operator().get(&used(changed)).await.must(200)), [changed]);
    one.operator().post(SEARCHES, &body).await.must_be(409, "CONFLICT");
    let ended = one.operator().delete(&format!("{SEARCHES}/{id}")).await.must(200).position();
    other.operator().get(&used(ended)).await.must_be(404, "NOT_FOUND");
    save(other.operator(), &body).await;
}
