//! Owners: their handles, their ends, and what there is without any.

use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, Setup, Tenant, made, text};

async fn items(client: &Client, path: &str) -> Vec<Value> {
    client.get(path).await.must(200).json()["items"].as_array().expect("items").clone()
}

fn ids(items: &[Value]) -> Vec<String> {
    items.iter().map(|item| text(&item["id"])).collect()
}

/// Holds: http.slug
#[tokio::test(flavor = "multi_thread")]
async fn lists_find_owners_by_slug_and_external_id() {
    let gateway = Gateway::start();
    let operator = gateway.operator();
    for path in ["/partners", "/tenants", "/users"] {
        let first = made(operator, path, json!({ "name": "a", "slug": "acme", "external_id": "C 1" })).await;
        let second = made(operator, path, json!({ "name": "b", "slug": "beta", "external_id": "C 1" })).await;
        let list = format!("/v1/admin{path}");
        assert_eq!(ids(&items(operator, &format!("{list}?slug=acme")).await), std::slice::from_ref(&first), "{path}");
        assert_eq!(ids(&items(operator, &format!("{list}?external_id=C%201")).await), [second.clone(), first.clone()]);
        assert_eq!(ids(&items(operator, &format!("{list}?external_id=C%201&slug=beta")).await), [second]);
        operator.patch(&format!("{list}/{first}"), &json!({ "slug": "moved", "external_id": null })).await.must(200);
        assert!(items(operator, &format!("{list}?slug=acme")).await.is_empty());
        assert_eq!(items(operator, &format!("{list}?slug=moved")).await[0]["external_id"], Value::Null);
    }
    operator.get("/v1/admin/keys?slug=acme").await.must_be(400, "INVALID_REQUEST");
}

/// The path of an owner of the tenant's key.
fn owner_of(tenant: &Tenant, level: &str) -> String {
    let id = match level {
        "partners" => &tenant.partner,
        "tenants" => &tenant.id,
        _ => &tenant.user,
    };
    format!("/v1/admin/{level}/{id}")
}

/// Holds: admin.parent-ends, admin.in-force
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_an_owner_stops_its_keys_at_once_and_what_runs_ends_well() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    for level in ["partners", "tenants", "users"] {
        upstream.close_gate();
        let tenant = Tenant::new(&gateway, &upstream, &["ok", "gate", "paced-100"]).await;
        tenant.chat("ok").await.must(200);
        let seen = upstream.seen_of("gate");
        let (app, body) = (tenant.app.clone(), tenant.ask("gate"));
        let mut running = JoinSet::new();
        running.spawn(async move { app.post(NATIVE, &body).await });
        let mut stream = tenant.stream(NATIVE, "paced-100").await;
        stream.next().await.expect("an event").expect("a whole one");
        while upstream.seen_of("gate") == seen {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        gateway.operator().delete(&owner_of(&tenant, level)).await.must(200);
        tenant.chat("ok").await.must_be(401, "UNAUTHENTICATED");
        upstream.open_gate();
        let (whole, streamed) = (running.join_all().await.remove(0).must(200).request_id(), stream.request_id());
        let (events, ended) = stream.rest().await;
        assert!(ended && events.last().is_some_and(|last| last.event == "completed"), "{level}: {events:?}");
        for request in [whole, streamed] {
            let types = gateway.types_of(&request).await;
            assert_eq!(types.last().map(String::as_str), Some("budget.settled.v1"), "{level}: {types:?}");
        }
        // What it has spent stays readable, in the list as well.
        let budget = gateway.budget(&tenant.budget).await;
        assert_eq!((&budget["ended_at"], budget["settled_usd"] != "0.000000000"), (&Value::Null, true), "{level}");
        assert!(ids(&items(gateway.operator(), "/v1/budgets").await).contains(&tenant.budget), "{level}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_leave_out_what_an_owners_end_has_ended_and_say_who_that_was() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let operator = gateway.operator();
    for (level, under) in
        [("partners", &["tenants", "users", "keys"][..]), ("tenants", &["users", "keys"]), ("users", &["keys"])]
    {
        let tenant = Tenant::new(&gateway, &upstream, &[]).await;
        let owner = operator.delete(&owner_of(&tenant, level)).await.must(200).json();
        for kind in under {
            let id = match *kind {
                "tenants" => &tenant.id,
                "users" => &tenant.user,
                _ => &tenant.key,
            };
            let list = format!("/v1/admin/{kind}");
            assert!(!ids(&items(operator, &list).await).contains(id), "{kind} of {level}");
            let all = items(operator, &format!("{list}?include_ended=true")).await;
            let listed = all.iter().find(|item| item["id"] == *id.as_str()).expect("it is among all");
            assert_eq!(
                (&listed["ended_at"], &listed["ended_by"]),
                (&owner["ended_at"], &owner["id"]),
                "{kind} of {level}"
            );
            let one = operator.get(&format!("{list}/{id}")).await.must(200).json();
            assert_eq!(&one, listed);
            operator.delete(&format!("{list}/{id}")).await.must(200);
            let one = operator.get(&format!("{list}/{id}")).await.must(200).json();
            assert!(one.get("ended_by").is_none() && one["ended_at"].is_string(), "{kind} of {level}: {one}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_on_an_ended_provider_are_skipped() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let other = Tenant::with(&gateway, &upstream, &["ok"], Setup { kind: "anthropic", ..Setup::default() }).await;
    let operator = gateway.operator();
    let target = |provider: &str, rank: u64| json!({ "provider_id": provider, "model": "ok", "priority": rank, "default_max_output_tokens": 64 });
    let targets = json!([target(&tenant.provider, 0), target(&other.provider, 1)]);
    made(operator, "/models", json!({ "name": tenant.model("both"), "targets": targets })).await;
    let backend = |reply: &crate::client::Reply| reply.header("x-ledgerway-backend").to_owned();
    let first = tenant.chat("both").await.must(200);
    operator.delete(&format!("/v1/admin/providers/{}", tenant.provider)).await.must(200);
    let second = tenant.chat("both").await.must(200);
    assert_eq!((backend(&first), backend(&second)), (format!("{}/ok", tenant.name), format!("{}/ok", other.name)));
    operator.delete(&format!("/v1/admin/providers/{}", other.provider)).await.must(200);
    tenant.chat("both").await.must_be(422, "MODEL_UNPRICED");
    let listed = tenant.app.get("/v1/models").await.must(200);
    assert!(!String::from_utf8_lossy(&listed.body).contains("both"), "what nobody serves is not offered");
}

/// Holds: bin.default-tenancy, bin.operator-infers, http.tenant-header, http.tenant-choice
#[tokio::test(flavor = "multi_thread")]
async fn without_owners_of_its_own_everything_is_the_default_ones() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let operator = gateway.operator();
    let default = |items: Vec<Value>| items.into_iter().find(|item| item["slug"] == "default").expect("a default one");
    let partner = default(items(operator, "/v1/admin/partners").await);
    let tenant = default(items(operator, "/v1/admin/tenants").await);
    let user = default(items(operator, "/v1/admin/users").await);
    for resource in [&partner, &tenant, &user] {
        assert_eq!(resource["name"], "default");
    }
    assert_eq!((&tenant["partner_id"], &user["tenant_id"]), (&partner["id"], &tenant["id"]));
    let name = json!({ "name": "n" });
    let made = |path: &'static str| {
        let name = name.clone();
        async move { operator.post(&format!("/v1/admin{path}"), &name).await.must(201).json() }
    };
    assert_eq!(made("/tenants").await["partner_id"], partner["id"]);
    assert_eq!(made("/users").await["tenant_id"], tenant["id"]);
    let key = made("/keys").await;
    assert_eq!(key["user_id"], user["id"]);
    // The operator's own requests are the default tenant's, or those of the one that it names.
    let other = Tenant::new(&gateway, &upstream, &["ok"]).await;
    operator.patch(&format!("/v1/admin/tenants/{}", other.id), &json!({ "slug": "acme" })).await.must(200);
    let app = gateway.client(key["secret"].as_str());
    for (client, tenant, user) in [
        (operator.clone(), &text(&tenant["id"]), Some(&user["id"])),
        (app, &text(&tenant["id"]), Some(&user["id"])),
        (operator.clone().with("x-tenant-id", &other.id), &other.id, None),
        (operator.clone().with("x-tenant-id", "acme"), &other.id, None),
    ] {
        let request = client.post(NATIVE, &other.ask("ok")).await.must(200).request_id();
        for event in gateway.life(&request).await {
            assert_eq!((&event["tenant_id"], event.get("user_id")), (&json!(tenant), user), "{event}");
        }
    }
    assert_eq!(items(&operator.clone().with("x-tenant-id", "acme"), "/v1/budgets").await.len(), 1);
    operator.clone().with("x-tenant-id", "nobody").get("/v1/budgets").await.must_be(403, "FORBIDDEN");
}

/// Holds: http.tenant-header, http.tenant-choice
#[tokio::test(flavor = "multi_thread")]
async fn a_slug_of_several_tenants_selects_one_only_with_its_partner() {
    let gateway = Gateway::start();
    let operator = gateway.operator();
    let mut tenants = Vec::new();
    for slug in ["north", "south"] {
        let partner = made(operator, "/partners", json!({ "name": slug, "slug": slug })).await;
        let tenant = json!({ "name": "a", "slug": "acme", "partner_id": partner });
        tenants.push((slug, partner, made(operator, "/tenants", tenant).await));
    }
    let chosen = |named: &str| operator.clone().with("x-tenant-id", named);
    chosen("acme").get("/v1/me").await.must_be(403, "FORBIDDEN");
    for (slug, partner, tenant) in &tenants {
        for named in [tenant.clone(), format!("{slug}/acme"), format!("{partner}/acme")] {
            let me = chosen(&named).get("/v1/me").await.must(200).json();
            assert_eq!(me["tenant"]["id"], json!(tenant), "{named}");
        }
    }
    chosen("east/acme").get("/v1/me").await.must_be(403, "FORBIDDEN");
}
