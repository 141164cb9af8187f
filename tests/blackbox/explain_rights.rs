//! Visibility of a request, in `/v1/inferences/{id}` and in its explanation: both follow one rule.

use std::collections::HashMap;

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::client::Client;
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, PROVIDER_SECRET, Tenant, made, text};

/// A caller, and the resources of others that it sees.
struct Viewer {
    name: &'static str,
    /// `None` for the operator.
    key: Option<Value>,
    sees_partners_budgets: bool,
    sees_shared_prices: bool,
    sees_own_prices: bool,
    sees_own_limits: bool,
    sees_partners_limits: bool,
    sees_models: bool,
    /// Those of the tenant's own that have targets on its own providers alone.
    sees_own_models: bool,
}

const NOTHING: Viewer = Viewer {
    name: "",
    key: None,
    sees_partners_budgets: false,
    sees_shared_prices: false,
    sees_own_prices: false,
    sees_own_limits: false,
    sees_partners_limits: false,
    sees_models: false,
    sees_own_models: false,
};

fn viewers(partner: &str) -> [Viewer; 6] {
    let of_partner = |role: &str| json!([{ "role": role, "scope": { "partner_id": partner } }]);
    let analyst = json!([{ "role": "analyst", "scope": "platform" }]);
    let key = |roles: Value, permissions: Value| Some(json!({ "roles": roles, "permissions": permissions }));
    let reading = || json!(["usage:read"]);
    let administering = || json!(["usage:read", "admin:access"]);
    [
        Viewer { name: "an analyst of the tenant", key: key(json!(["analyst"]), reading()), ..NOTHING },
        Viewer {
            name: "an administrator of the tenant",
            key: key(json!(["tenant_admin"]), administering()),
            sees_own_prices: true,
            sees_own_limits: true,
            sees_own_models: true,
            ..NOTHING
        },
        Viewer {
            name: "an analyst of the partner",
            key: key(of_partner("analyst"), reading()),
            sees_partners_budgets: true,
            ..NOTHING
        },
        Viewer {
            name: "an administrator of the partner",
            key: key(of_partner("partner_admin"), administering()),
            sees_partners_budgets: true,
            sees_own_prices: true,
            sees_own_limits: true,
            sees_partners_limits: true,
            sees_own_models: true,
            ..NOTHING
        },
        Viewer {
            name: "an analyst of the platform",
            key: key(analyst, reading()),
            sees_partners_budgets: true,
            ..NOTHING
        },
        Viewer {
            name: "the operator",
            key: None,
            sees_partners_budgets: true,
            sees_shared_prices: true,
            sees_own_prices: true,
            sees_own_limits: true,
            sees_partners_limits: true,
            sees_models: true,
            sees_own_models: true,
        },
    ]
}

/// Four requests of one tenant, and what bound them.
struct Story {
    gateway: Gateway,
    tenant: Tenant,
    /// The ids of requests, budgets and limits.
    ids: HashMap<&'static str, String>,
}

impl Story {
    async fn tell() -> Self {
        let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
        let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
        let operator = gateway.operator();
        let (of_partner, of_tenant) = (json!({ "partner_id": tenant.partner }), json!({ "tenant_id": tenant.id }));
        let budget = |scope: &Value, limit: &str, enforcement: &str| json!({ "scope": scope, "limit_usd": limit, "period": "total", "enforcement": enforcement });
        let mut ids = HashMap::new();
        for (name, budget) in [
            ("partners", budget(&of_partner, "7.654321", "hard")),
            ("partners observing", budget(&of_partner, "0.000321", "observe")),
            ("own observing", budget(&of_tenant, "0.000456", "observe")),
        ] {
            ids.insert(name, made(operator, "/budgets", budget).await);
        }
        for (name, scope, rate) in [("partners limit", &of_partner, 98_765), ("own limit", &of_tenant, 87_650)] {
            let limit = json!({ "scope": scope, "requests_per_minute": rate });
            ids.insert(name, made(operator, "/rate-limits", limit).await);
        }
        add_own_models(operator, &tenant, &upstream).await;
        ids.insert("shared", tenant.chat("ok").await.must(200).request_id());
        ids.insert("own", tenant.app.post(NATIVE, &tenant.ask("own")).await.must(200).request_id());
        ids.insert("mixed", tenant.app.post(NATIVE, &tenant.ask("mixed")).await.must(200).request_id());
        let path = format!("/v1/admin/budgets/{}", ids["partners"]);
        operator.patch(&path, &json!({ "limit_usd": "0.004321" })).await.must(200);
        ids.insert("refused", tenant.chat("ok").await.must_be(429, "BUDGET_EXCEEDED").request_id());
        Self { gateway, tenant, ids }
    }

    async fn client(&self, key: Option<&Value>) -> Client {
        let (operator, name) = (self.gateway.operator(), self.gateway.next_name());
        let Some(key) = key else { return operator.clone() };
        let user = json!({ "tenant_id": self.tenant.id, "name": name, "email": format!("{name}@example.com"),
                           "roles": key["roles"] });
        let user = made(operator, "/users", user).await;
        let key = json!({ "user_id": user, "name": name, "permissions": key["permissions"] });
        let key = operator.post("/v1/admin/keys", &key).await.must(201).json();
        self.gateway.client(key["secret"].as_str())
    }

    /// The request as `/v1/inferences` has it, and its explanation.
    async fn seen_by(&self, client: &Client, request: &str) -> (Value, Value) {
        let path = format!("/v1/inferences/{}", self.ids[request]);
        let query = format!("?min_position={}", self.gateway.head().await);
        let life = client.get(&format!("{path}{query}")).await.must(200).json();
        (life, client.get(&format!("{path}/explain{query}")).await.must(200).json())
    }

    /// The order, what it went by and the target that was not called, in `/v1/inferences`, in its list and in the explanation.
    async fn must_tell_the_route(&self, client: &Client, request: &str, is_whole: bool, name: &str) {
        let (life, said) = self.seen_by(client, request).await;
        let list = client.get("/v1/inferences?limit=10").await.must(200).json();
        let listed = item(&list["items"], "request_id", &self.ids[request]);
        for of in [&life, listed] {
            let route = &of["route"];
            let seen = (&route["is_visible"], route["strategy"] == "cost", route["figures"].is_object());
            assert_eq!(seen, (&json!(is_whole), is_whole, is_whole), "{name} {request}: {route}");
            let prices = of["versions"]["prices"].as_object().map(serde_json::Map::len);
            assert_eq!(prices, Some(if is_whole { 2 } else { 1 }), "{name} {request}: {of}");
        }
        let told = text(&life["route"]["in_words"]);
        let is_told = told.contains("by cost") && told.contains("/e500 (expected cost");
        assert_eq!(is_told, is_whole, "{name} {request}: {told}");
        let route = &said["route"];
        let targets = route["targets"].as_array().map(Vec::len);
        let seen = (&route["is_visible"], route["strategy"] == "cost", targets);
        assert_eq!(seen, (&json!(is_whole), is_whole, Some(if is_whole { 2 } else { 1 })), "{name} {request}: {route}");
    }

    fn must_be_of_the_shared_model(&self, (life, said): &(Value, Value), by: &Viewer) {
        let name = by.name;
        let observing = item(&life["would_have_refused"], "budget_id", &self.ids["partners observing"]);
        for (budget, is_visible) in [
            (observing, by.sees_partners_budgets),
            (item(&life["would_have_refused"], "budget_id", &self.ids["own observing"]), true),
            (self.explained_budget(said, "partners"), by.sees_partners_budgets),
            (self.explained_budget(said, "partners observing"), by.sees_partners_budgets),
            (self.explained_budget(said, "own observing"), true),
        ] {
            assert_eq!(budget["is_visible"], is_visible, "{name}: {budget}");
            for amount in ["limit_usd", "settled_usd", "held_usd"] {
                assert_eq!(budget[amount].is_string(), is_visible, "{name} {amount}: {budget}");
            }
        }
        // Positions are not amounts.
        let versions = &life["versions"]["budgets"];
        let version = &self.explained_budget(said, "partners")["version"];
        assert_eq!((version.is_u64(), &versions[&self.ids["partners"]]), (true, version), "{name}");
        for (limit, is_visible) in [("partners limit", by.sees_partners_limits), ("own limit", by.sees_own_limits)] {
            let limit = item(&said["admission"]["rate_limits"], "limit_id", &self.ids[limit]);
            let seen = (&limit["is_visible"], limit["measures"].is_object());
            assert_eq!(seen, (&json!(is_visible), is_visible), "{name}: {limit}");
        }
        must_price(said, by.sees_shared_prices, name);
        let route = &said["route"];
        let seen = (&route["is_visible"], route["strategy"].is_string(), route["targets"][0]["reason"].is_string());
        assert_eq!(seen, (&json!(by.sees_models), by.sees_models, by.sees_models), "{name}: {route}");
        let told = text(&life["route"]["in_words"]);
        assert_eq!(told.contains("tries its targets by priority"), by.sees_models, "{name}: {told}");
        assert!(told.ends_with("/ok answered."), "{name}: {told}");
    }

    fn explained_budget<'v>(&self, said: &'v Value, name: &str) -> &'v Value {
        item(&said["admission"]["budgets"], "budget_id", &self.ids[name])
    }
}

/// Two models of the tenant's own: one on a provider of its own, and one with another target on a shared provider.
async fn add_own_models(operator: &Client, tenant: &Tenant, upstream: &MockUpstream) {
    let provider = json!({ "name": "own", "kind": "openai", "base_url": upstream.base_url("openai"), "tenant_id": tenant.id,
                           "api_key": PROVIDER_SECRET, "allow_private_network": true });
    let provider = made(operator, "/providers", provider).await;
    for (provider, model, per_mtok) in
        [(&provider, "ok", "0.2"), (&provider, "e500", "40"), (&tenant.provider, "e500", "40")]
    {
        let price = json!({ "provider_id": provider, "model": model, "input_usd_per_mtok": per_mtok, "output_usd_per_mtok": per_mtok });
        made(operator, "/prices", price).await;
    }
    for (name, other) in [("own", &provider), ("mixed", &tenant.provider)] {
        let target = |provider: &str, model: &str| json!({ "provider_id": provider, "model": model, "default_max_output_tokens": 16 });
        let targets = [target(&provider, "ok"), target(other, "e500")];
        let model =
            json!({ "name": tenant.model(name), "tenant_id": tenant.id, "strategy": "cost", "targets": targets });
        made(operator, "/models", model).await;
    }
}

fn item<'v>(list: &'v Value, field: &str, id: &str) -> &'v Value {
    let items = list.as_array().unwrap_or_else(|| panic!("no list: {list}"));
    items.iter().find(|item| item[field] == id).unwrap_or_else(|| panic!("no {id} in {list:#}"))
}

/// The figures of prices are there or null, and costs are there.
fn must_price(said: &Value, is_visible: bool, name: &str) {
    let (target, call) = (&said["bound"]["targets"][0], &said["settlement"]["calls"][0]);
    let figures =
        ["input_usd_per_mtok", "output_usd_per_mtok", "request_usd", "computed_usd"].map(|name| &target[name]);
    assert!(figures.iter().all(|figure| figure.is_string() == is_visible), "{name}: {target}");
    let seen = (&target["is_visible"], &call["is_visible"], call["items"].is_array());
    assert_eq!(seen, (&json!(is_visible), &json!(is_visible), is_visible), "{name}: {said:#}");
    assert!(call["computed_usd"].is_string() && said["bound"]["computed_usd"].is_string(), "{name}: {said:#}");
}

/// The partner's budgets were there, and their amounts are the partner's. Prices, limits and models are for administrators.
/// Holds: query.explain-rights
#[tokio::test(flavor = "multi_thread")]
async fn each_caller_sees_of_a_request_what_it_sees_elsewhere() {
    let story = Story::tell().await;
    for viewer in viewers(&story.tenant.partner) {
        let client = story.client(viewer.key.as_ref()).await;
        let seen = story.seen_by(&client, "shared").await;
        assert_eq!(seen.1["follows"], true, "{}: {:#}", viewer.name, seen.1);
        story.must_be_of_the_shared_model(&seen, &viewer);
        let (_, said) = story.seen_by(&client, "own").await;
        must_price(&said, viewer.sees_own_prices, viewer.name);
        story.must_tell_the_route(&client, "own", viewer.sees_own_models, viewer.name).await;
        story.must_tell_the_route(&client, "mixed", viewer.sees_models, viewer.name).await;
        let words = format!("{}{}", seen.0, seen.1);
        for amount in ["7.654321", "0.000321"] {
            assert_eq!(words.contains(amount), viewer.sees_partners_budgets, "{} {amount}: {words}", viewer.name);
        }
        assert_eq!(words.contains("98765"), viewer.sees_partners_limits, "{}: {words}", viewer.name);
    }
}

/// Holds: query.explain-rights
#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_was_told_of_the_budget_that_refused_it_both_show_to_everybody() {
    let story = Story::tell().await;
    for viewer in viewers(&story.tenant.partner) {
        let client = story.client(viewer.key.as_ref()).await;
        let (life, said) = story.seen_by(&client, "refused").await;
        let name = viewer.name;
        assert_eq!((&said["follows"], &life["budget_id"]), (&json!(true), &json!(story.ids["partners"])), "{name}");
        let budget = story.explained_budget(&said, "partners");
        for amount in ["limit_usd", "settled_usd", "held_usd", "resets_at"] {
            assert_eq!(budget[amount], life[amount], "{name} {amount}: {budget}");
        }
        assert_eq!((text(&budget["limit_usd"]), &budget["fits"]), ("0.004321000".to_owned(), &json!(false)));
        assert_eq!(budget["is_visible"], viewer.sees_partners_budgets, "{name}");
        // Nobody was told of the other one.
        let other = story.explained_budget(&said, "partners observing");
        assert_eq!(other["limit_usd"].is_string(), viewer.sees_partners_budgets, "{name}: {other}");
        assert_eq!(other["fits"].is_boolean(), viewer.sees_partners_budgets, "{name}: {other}");
    }
}

/// Holds: query.explain-rights
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_explained_to_those_who_may_see_it() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let request = tenant.chat("ok").await.must(200).request_id();
    let path = format!("/v1/inferences/{request}/explain?min_position={}", gateway.head().await);
    tenant.app.get(&path).await.must_be(403, "FORBIDDEN");
    let reading = || json!({ "permissions": ["usage:read"] });
    let (_, own) = tenant.new_key(&gateway, reading()).await;
    own.get(&path).await.must(200);
    let stranger = Tenant::new(&gateway, &upstream, &[]).await;
    let (_, stranger) = stranger.new_key(&gateway, reading()).await;
    stranger.get(&path).await.must_be(404, "NOT_FOUND");
}

/// Holds: query.explain-rights
#[tokio::test(flavor = "multi_thread")]
async fn what_targets_were_expected_to_cost_is_for_those_who_see_the_model() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "e500"]).await;
    let target =
        |backend: &str| json!({ "provider_id": tenant.provider, "model": backend, "default_max_output_tokens": 64 });
    let model =
        json!({ "name": tenant.model("by-cost"), "strategy": "cost", "targets": [target("ok"), target("e500")] });
    made(gateway.operator(), "/models", model).await;
    let request = tenant.chat("by-cost").await.must(200).request_id();
    let (_, own) = tenant.new_key(&gateway, json!({ "permissions": ["usage:read"] })).await;
    let path = format!("/v1/inferences/{request}?min_position={}", gateway.head().await);
    let list = format!("/v1/inferences?min_position={}", gateway.head().await);
    for (client, sees_all) in [(gateway.operator(), true), (&own, false)] {
        let one = client.get(&path).await.must(200).json();
        let listed = client.get(&list).await.must(200).json()["items"][0].clone();
        for route in [&one["route"], &listed["route"]] {
            let seen = (&route["is_visible"], route["strategy"].is_string(), route["figures"].is_object());
            assert_eq!(seen, (&json!(sees_all), sees_all, sees_all), "{route}");
        }
    }
}
