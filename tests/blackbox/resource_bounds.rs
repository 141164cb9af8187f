//! Bounds of what a tenant, a partner and any other owner may have.

use serde_json::{Value, json};

use crate::client::Client;
use crate::gateway::Gateway;
use crate::tenant::{made, text};

/// A tenant with what its resources need.
struct House {
    partner: String,
    tenant: String,
    user: String,
    admin: Client,
    /// Providers of its own: one needs no key, and one may have several.
    simulator: String,
    upstream: String,
}

/// The collection of a kind, and the body that creates its resource of a number.
type Collection = (&'static str, fn(&House, usize) -> Value);

/// The kinds by their bounds.
const KINDS: [(&str, Collection); 10] = [
    ("users", ("/users", |house, number| json!({ "tenant_id": house.tenant, "name": format!("u{number}") }))),
    ("teams", ("/teams", |house, number| json!({ "tenant_id": house.tenant, "name": format!("t{number}") }))),
    ("keys", ("/keys", |house, number| json!({ "user_id": house.user, "name": format!("k{number}") }))),
    (
        "providers",
        (
            "/providers",
            |house, number| json!({ "tenant_id": house.tenant, "name": format!("p{number}"), "kind": "simulator" }),
        ),
    ),
    (
        "provider_keys",
        (
            "/provider-keys",
            |house, number| json!({ "provider_id": house.upstream, "name": format!("k{number}"), "api_key": format!("sk-{number}") }),
        ),
    ),
    ("models", ("/models", model)),
    (
        "prices",
        ("/prices", |house, number| {
            json!({ "provider_id": house.simulator, "model": format!("m{number}"), "input_usd_per_mtok": "1",
                "output_usd_per_mtok": "1" })
        }),
    ),
    (
        "budgets",
        ("/budgets", |house, number| {
            let scope = json!({ "tenant_id": house.tenant, "metadata.project": format!("p{number}") });
            json!({ "scope": scope, "limit_usd": "1", "period": "day" })
        }),
    ),
    (
        "rate_limits",
        ("/rate-limits", |house, number| {
            let scope = json!({ "tenant_id": house.tenant, "metadata.project": format!("p{number}") });
            json!({ "scope": scope, "requests_per_minute": 9 })
        }),
    ),
    (
        "audit_searches",
        (
            "/audit-searches",
            |house, number| json!({ "tenant_id": house.tenant, "name": format!("s{number}"), "filter": { "severity": "warning" } }),
        ),
    ),
];

fn model(house: &House, number: usize) -> Value {
    let targets = json!([{ "provider_id": house.simulator, "model": "echo" }]);
    json!({ "tenant_id": house.tenant, "name": format!("m{number}"), "targets": targets })
}

impl House {
    async fn new(gateway: &Gateway) -> Self {
        let operator = gateway.operator();
        let partner = made(operator, "/partners", json!({ "name": "p" })).await;
        let tenant =
            made(operator, "/tenants", json!({ "partner_id": partner, "name": "t", "own_providers": true })).await;
        let user = json!({ "tenant_id": tenant, "name": "Ada", "roles": ["tenant_admin"] });
        let user = made(operator, "/users", user).await;
        let key = json!({ "user_id": user, "name": "admin", "permissions": ["admin:access"] });
        let key = operator.post("/v1/admin/keys", &key).await.must(201).json();
        let admin = gateway.client(key["secret"].as_str());
        let simulator = json!({ "tenant_id": tenant, "name": "simulator", "kind": "simulator" });
        let simulator = made(operator, "/providers", simulator).await;
        let upstream = json!({ "tenant_id": tenant, "name": "upstream", "kind": "openai", "api_key": "sk",
                               "base_url": "http://127.0.0.1:9/v1", "allow_private_network": true });
        let upstream = made(operator, "/providers", upstream).await;
        Self { partner, tenant, user, admin, simulator, upstream }
    }

    fn path(&self) -> String {
        format!("/v1/admin/tenants/{}", self.tenant)
    }

    async fn set(&self, gateway: &Gateway, bounds: Value) {
        let changed = gateway.operator().patch(&self.path(), &json!({ "bounds": bounds })).await.must(200).json();
        assert_eq!(changed["bounds"], bounds);
    }

    /// The number of its resources of a kind, before a test makes more.
    fn has(kind: &str) -> u64 {
        match kind {
            "users" | "keys" => 1,
            "providers" => 2,
            _ => 0,
        }
    }
}

/// Holds: admin.bounds
#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_resource_has_a_bound_which_the_platform_raises() {
    let mut gateway = Gateway::start();
    let house = House::new(&gateway).await;
    let operator = gateway.operator().clone();
    for (kind, (collection, body)) in KINDS {
        let path = format!("/v1/admin{collection}");
        let limit = House::has(kind) + 2;
        house.set(&gateway, json!({ kind: limit })).await;
        let first = made(&operator, collection, body(&house, 0)).await;
        made(&operator, collection, body(&house, 1)).await;
        let refused = operator.post(&path, &body(&house, 2)).await.must_be(409, "CONFLICT").json();
        let reached = json!({ "bound": kind, "owner": { "tenant_id": house.tenant }, "limit": limit, "used": limit });
        assert_eq!(refused["error"]["details"], reached, "{refused}");
        let room = format!("({limit} of at most {limit})");
        assert!(refused["error"]["message"].as_str().is_some_and(|why| why.contains(&room)), "{refused}");
        // A change needs no room.
        if !["users", "prices", "audit_searches", "budgets", "rate_limits"].contains(&kind) {
            operator.patch(&format!("{path}/{first}"), &json!({ "name": "renamed" })).await.must(200);
        }
        house.set(&gateway, json!({ kind: limit + 1 })).await;
        made(&operator, collection, body(&house, 3)).await;
        operator.post(&path, &body(&house, 4)).await.must_be(409, "CONFLICT");
        operator.delete(&format!("{path}/{first}")).await.must(200);
        made(&operator, collection, body(&house, 5)).await;
        operator.post(&path, &body(&house, 6)).await.must_be(409, "CONFLICT");
    }

    // Its administrators are bound like the platform, and cannot change that.
    house.set(&gateway, json!({ "models": 3 })).await;
    house.admin.post("/v1/admin/models", &model(&house, 7)).await.must_be(409, "CONFLICT");
    let raised = json!({ "bounds": { "models": 9 } });
    house.admin.patch(&house.path(), &raised).await.must_be(403, "FORBIDDEN");
    for wrong in [json!({ "tenants": 9 }), json!({ "models": -1 }), json!({ "colours": 9 }), json!([])] {
        operator.patch(&house.path(), &json!({ "bounds": wrong })).await.must_be(400, "INVALID_REQUEST");
    }
    let changes = gateway.events_of("tenant.changed.v1").await;
    assert_eq!(changes.last().map(|event| &event["data"]["bounds"]), Some(&json!({ "models": 3 })));

    // Another process counts the same from the log.
    gateway.kill();
    gateway.start_again();
    operator.post("/v1/admin/models", &model(&house, 8)).await.must_be(409, "CONFLICT");
    house.set(&gateway, json!({})).await;
    made(&operator, "/models", model(&house, 8)).await;
    gateway.stop();
    let (code, said) = gateway.verify();
    assert_eq!(code, Some(0), "{said}");
}

/// Holds: admin.bounds
#[tokio::test(flavor = "multi_thread")]
async fn changes_that_are_made_together_are_counted_one_after_the_other() {
    let gateway = Gateway::start();
    let house = House::new(&gateway).await;
    house.set(&gateway, json!({ "models": 2 })).await;
    let create = |number| json!({ "method": "POST", "path": "/v1/admin/models", "body": model(&house, number) });
    let three = json!({ "changes": [create(0), create(1), create(2)] });
    let refused = gateway.operator().post("/v1/admin/apply", &three).await.must_be(409, "CONFLICT").json();
    assert_eq!((&refused["error"]["details"]["change"], &refused["error"]["details"]["used"]), (&json!(2), &json!(2)));
    let two = json!({ "changes": [create(0), create(1)] });
    let applied = gateway.operator().post("/v1/admin/apply", &two).await.must(200).json();
    let end = json!({ "method": "DELETE", "path": format!("/v1/admin/models/{}", text(&applied["changes"][0]["id"])) });
    let replaced = json!({ "changes": [end, create(2)] });
    gateway.operator().post("/v1/admin/apply", &replaced).await.must(200);
}

/// Holds: admin.bounds
#[tokio::test(flavor = "multi_thread")]
async fn changes_that_are_sent_at_once_exceed_no_bound() {
    let gateway = Gateway::start();
    let house = House::new(&gateway).await;
    house.set(&gateway, json!({ "teams": 40 })).await;
    let mut sending = tokio::task::JoinSet::new();
    for round in 0..16 {
        let create = |number: usize| {
            let body = json!({ "tenant_id": house.tenant, "name": format!("t{round}-{number}") });
            json!({ "method": "POST", "path": "/v1/admin/teams", "body": body })
        };
        let (admin, changes) = (house.admin.clone(), json!({ "changes": (0..10).map(create).collect::<Vec<_>>() }));
        sending.spawn(async move { admin.post("/v1/admin/apply", &changes).await.status });
    }
    let made = sending.join_all().await.into_iter().filter(|status| *status == 200).count();
    assert!((1..=4).contains(&made), "{made}");
    house.set(&gateway, json!({ "teams": 0 })).await;
    let team = json!({ "tenant_id": house.tenant, "name": "one more" });
    let refused = house.admin.post("/v1/admin/teams", &team).await.must_be(409, "CONFLICT").json();
    assert_eq!(refused["error"]["details"]["used"], json!(10 * made), "{refused}");
}

/// Holds: admin.bounds
#[tokio::test(flavor = "multi_thread")]
async fn retries_that_wait_for_the_creation_of_the_last_resource_are_answered_like_it() {
    let gateway = Gateway::start();
    let house = House::new(&gateway).await;
    house.set(&gateway, json!({ "teams": 1 })).await;
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let admin = house.admin.clone().with("idempotency-key", "last");
        let team = json!({ "tenant_id": house.tenant, "name": "last" });
        sending.spawn(async move { text(&admin.post("/v1/admin/teams", &team).await.must(201).json()["id"]) });
    }
    let ids: std::collections::HashSet<String> = sending.join_all().await.into_iter().collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
}

/// Holds: admin.bounds
#[tokio::test(flavor = "multi_thread")]
async fn a_partner_has_a_bound_of_tenants_and_of_budgets_of_its_own() {
    let gateway = Gateway::start();
    let house = House::new(&gateway).await;
    let partner = format!("/v1/admin/partners/{}", house.partner);
    let bounds = json!({ "tenants": 2, "budgets": 1 });
    let operator = gateway.operator();
    operator.patch(&partner, &json!({ "bounds": { "models": 1 } })).await.must_be(400, "INVALID_REQUEST");
    operator.patch(&partner, &json!({ "bounds": bounds })).await.must(200);
    let tenant = json!({ "partner_id": house.partner, "name": "another" });
    let another = made(operator, "/tenants", tenant.clone()).await;
    let refused = operator.post("/v1/admin/tenants", &tenant).await.must_be(409, "CONFLICT").json();
    assert_eq!(refused["error"]["details"]["owner"], json!({ "partner_id": house.partner }));
    operator.delete(&format!("/v1/admin/tenants/{another}")).await.must(200);
    made(operator, "/tenants", tenant).await;
    // Those of its tenants do not count.
    let budget = |scope: Value| json!({ "scope": scope, "limit_usd": "1", "period": "day" });
    made(operator, "/budgets", budget(json!({ "tenant_id": house.tenant }))).await;
    let own = budget(json!({ "partner_id": house.partner }));
    made(operator, "/budgets", own.clone()).await;
    operator.post("/v1/admin/budgets", &own).await.must_be(409, "CONFLICT");
}

/// Holds: admin.bounds
#[tokio::test(flavor = "multi_thread")]
async fn the_17th_budget_or_limit_for_all_requests_of_an_owner_is_refused() {
    let gateway = Gateway::start();
    let house = House::new(&gateway).await;
    let operator = gateway.operator();
    let scope = json!({ "user_id": house.user });
    let narrowed = json!({ "user_id": house.user, "model": "large" });
    for (kind, path, measure) in [
        ("budgets", "/budgets", json!({ "limit_usd": "1", "period": "day" })),
        ("rate_limits", "/rate-limits", json!({ "requests_per_minute": 9 })),
    ] {
        let of = |scope: &Value| {
            let mut body = measure.clone();
            body["scope"] = scope.clone();
            body
        };
        let mut last = String::new();
        for _ in 0..16 {
            last = made(operator, path, of(&scope)).await;
        }
        let reached = json!({ "bound": kind, "owner": scope, "limit": 16, "used": 16 });
        let whole = format!("/v1/admin{path}");
        let refused = operator.post(&whole, &of(&scope)).await.must_be(409, "CONFLICT").json();
        assert_eq!(refused["error"]["details"], reached, "{refused}");
        let change = json!({ "changes": [{ "method": "POST", "path": whole, "body": of(&scope) }] });
        let refused = operator.post("/v1/admin/apply", &change).await.must_be(409, "CONFLICT").json();
        assert_eq!(refused["error"]["details"]["change"], json!(0));
        made(operator, path, of(&narrowed)).await;
        operator.delete(&format!("{whole}/{last}")).await.must(200);
        made(operator, path, of(&scope)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_providers_model_has_at_most_500_prices() {
    let gateway = Gateway::start();
    let house = House::new(&gateway).await;
    let price = |day: usize| {
        let from = format!("2126-{:02}-{:02}T{:02}:00:00Z", 1 + day / 24 / 28 % 12, 1 + day / 24 % 28, day % 24);
        json!({ "method": "POST", "path": "/v1/admin/prices", "body": { "provider_id": house.simulator, "model": "echo",
                "input_usd_per_mtok": "1", "output_usd_per_mtok": "1", "effective_from": from } })
    };
    let changes = |range: std::ops::Range<usize>| json!({ "changes": range.map(price).collect::<Vec<_>>() });
    let operator = gateway.operator();
    operator.post("/v1/admin/apply", &changes(0..500)).await.must(200);
    let refused = operator.post("/v1/admin/apply", &changes(500..501)).await.must_be(400, "INVALID_REQUEST").json();
    assert_eq!(refused["error"]["details"]["field"], "model", "{refused}");
}

/// A model with the longest `system_prefix`.
fn long_model(house: &House, number: usize) -> Value {
    let mut body = model(house, number);
    body["system_prefix"] = json!("x".repeat(100_000));
    body
}

/// Holds: admin.bounds-of-bytes
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_writes_more_than_its_bytes_of_a_day_waits_for_the_next() {
    let mut gateway = Gateway::start();
    let (house, other) = (House::new(&gateway).await, House::new(&gateway).await);
    house.set(&gateway, json!({ "admin_bytes_per_day": 350_000 })).await;
    let first = made(&house.admin, "/models", long_model(&house, 0)).await;
    let one = format!("/v1/admin/models/{first}");
    made(&house.admin, "/models", long_model(&house, 1)).await;
    // A change of one field counts as the whole resource.
    house.admin.patch(&one, &json!({ "name": "renamed" })).await.must(200);
    let refused = house.admin.post("/v1/admin/models", &long_model(&house, 2)).await.must_be(429, "RATE_LIMITED");
    let details = &refused.json()["error"]["details"];
    assert_eq!(details["measure"], "admin_bytes_per_day", "{details}");
    assert_eq!((&details["limit_id"], &details["limit"]), (&json!("built_in"), &json!(350_000)));
    assert_eq!(details["scope"], json!({ "tenant_id": house.tenant }));
    assert!(text(&details["resets_at"]).ends_with("T00:00:00.000000Z"), "{details}");
    assert_eq!(refused.header("retry-after"), details["retry_after"].to_string());
    let create = json!({ "method": "POST", "path": "/v1/admin/models", "body": long_model(&house, 2) });
    let together = json!({ "changes": [create] });
    house.admin.post("/v1/admin/apply", &together).await.must_be(429, "RATE_LIMITED");
    house.admin.patch(&one, &json!({ "name": "renamed-again" })).await.must_be(429, "RATE_LIMITED");

    // Others are not bound by it, nor are ends; a restart forgets nothing.
    made(&other.admin, "/models", long_model(&other, 0)).await;
    made(gateway.operator(), "/models", long_model(&house, 3)).await;
    gateway.kill();
    gateway.start_again();
    house.admin.post("/v1/admin/models", &long_model(&house, 4)).await.must_be(429, "RATE_LIMITED");
    house.admin.delete(&one).await.must(200);
    house.set(&gateway, json!({ "admin_bytes_per_day": 900_000 })).await;
    made(&house.admin, "/models", long_model(&house, 4)).await;
    gateway.stop();
    gateway.start_again();
    let recorded = gateway.events_of("access.rate_limited.v1").await;
    assert!(recorded.iter().any(|event| event["data"]["measure"] == "admin_bytes_per_day"), "{recorded:?}");
}

/// Holds: admin.bounds-of-bytes
#[tokio::test(flavor = "multi_thread")]
async fn the_rotations_of_keys_count_for_the_bytes_of_a_day() {
    let gateway = Gateway::start();
    let house = House::new(&gateway).await;
    let key = made(
        gateway.operator(),
        "/keys",
        json!({ "user_id": house.user, "name": "k", "permissions": ["admin:access"] }),
    )
    .await;
    house.set(&gateway, json!({ "admin_bytes_per_day": 1_000 })).await;
    let path = format!("/v1/admin/keys/{key}/rotate");
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(house.admin.post(&path, &json!({})).await.status);
    }
    assert_eq!((statuses.first(), statuses.last()), (Some(&200), Some(&429)), "{statuses:?}");
    gateway.operator().post(&path, &json!({})).await.must(200);
    house.admin.delete(&format!("/v1/admin/keys/{key}")).await.must(200);
}

/// Holds: admin.bounds-of-bytes
#[tokio::test(flavor = "multi_thread")]
async fn the_states_of_what_a_tenant_has_take_few_bytes() {
    let gateway = Gateway::start();
    let house = House::new(&gateway).await;
    house.set(&gateway, json!({ "admin_bytes_kept": 250_000 })).await;
    let first = made(&house.admin, "/models", long_model(&house, 0)).await;
    let second = made(&house.admin, "/models", long_model(&house, 1)).await;
    let refused = house.admin.post("/v1/admin/models", &long_model(&house, 2)).await.must_be(409, "CONFLICT").json();
    let details = &refused["error"]["details"];
    assert_eq!((&details["bound"], &details["limit"]), (&json!("admin_bytes_kept"), &json!(250_000)), "{refused}");
    assert!(details["used"].as_u64().is_some_and(|used| (200_000..250_000).contains(&used)), "{refused}");
    made(gateway.operator(), "/models", long_model(&house, 3)).await;
    // Now it has more than it may have: it may only have less.
    let paths = [first, second].map(|model| format!("/v1/admin/models/{model}"));
    house.admin.patch(&paths[0], &json!({ "name": "renamed-to-a-longer-name" })).await.must_be(409, "CONFLICT");
    house.admin.patch(&paths[0], &json!({ "system_prefix": null })).await.must(200);
    house.admin.post("/v1/admin/models", &long_model(&house, 4)).await.must_be(409, "CONFLICT");
    house.admin.delete(&paths[1]).await.must(200);
    made(&house.admin, "/models", long_model(&house, 4)).await;
}

/// A model whose rules name all of its targets, by the longest names.
fn model_with_long_rules(house: &House, prefix_chars: usize) -> Value {
    let name = |number: usize| format!("{}{number:03}", "\u{1f600}".repeat(197));
    let targets = || (0..32).map(name);
    let all: Vec<_> = targets().map(|name| format!("{}/{name}", house.upstream)).collect();
    let rule = json!({ "when": "input_tokens > 4000", "targets": all });
    let targets: Vec<_> = targets().map(|name| json!({ "provider_id": house.upstream, "model": name })).collect();
    json!({ "tenant_id": house.tenant, "name": "long", "strategy": "rules", "targets": targets, "rules": vec![rule; 32],
            "system_prefix": "x".repeat(prefix_chars) })
}

/// Holds: admin.bounds-of-bytes
#[tokio::test(flavor = "multi_thread")]
async fn a_resource_that_is_too_long_for_one_event_is_refused_when_it_is_made() {
    let gateway = Gateway::start();
    let house = House::new(&gateway).await;
    let (path, long) = ("/v1/admin/models", model_with_long_rules(&house, 100_000));
    for client in [&house.admin, gateway.operator()] {
        let refused = client.post(path, &long).await.must_be(400, "INVALID_REQUEST").json();
        assert!(refused["error"]["message"].as_str().is_some_and(|why| why.contains("950000")), "{refused}");
    }
    let shorter = made(&house.admin, "/models", model_with_long_rules(&house, 10_000)).await;
    let longer = json!({ "system_prefix": "x".repeat(100_000) });
    house.admin.patch(&format!("{path}/{shorter}"), &longer).await.must_be(400, "INVALID_REQUEST");
    gateway.operator().delete(&format!("{path}/{shorter}")).await.must(200);
}

/// Holds: admin.bounds-of-bytes
#[tokio::test(flavor = "multi_thread")]
async fn three_thousand_models_with_prefixes_take_little_memory() {
    let gateway = Gateway::start();
    let house = House::new(&gateway).await;
    let before = gateway.resident_kib();
    let mut made = 0;
    for number in 0..3_000 {
        match house.admin.post("/v1/admin/models", &long_model(&house, number)).await.status {
            201 => made += 1,
            409 | 429 => break,
            other => panic!("{other}"),
        }
    }
    assert!((300..340).contains(&made), "{made}");
    let grown = gateway.resident_kib().saturating_sub(before) / 1024;
    assert!(grown < 160, "{grown} MiB");
}
