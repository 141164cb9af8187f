//! Providers of a tenant's own: who brings them, who pays them, and which nodes can use them.

use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;

use crate::books::nano;
use crate::client::{Client, Reply};
use crate::explain::explained;
use crate::gateway::{Gateway, serve_to_its_end};
use crate::reseal::{key_in, replaced_by};
use crate::tenant::{NATIVE, OPENAI, PROVIDER_SECRET, Setup, Tenant, made, text};

/// A client that administers the tenant alone, and reads its usage.
async fn administrator(gateway: &Gateway, tenant: &Tenant) -> Client {
    let user = json!({ "tenant_id": tenant.id, "name": "admin", "roles": ["tenant_admin"] });
    let user = made(gateway.operator(), "/users", user).await;
    let key = json!({ "user_id": user, "name": "admin", "permissions": ["admin:access", "usage:read", "models:use"] });
    let key = gateway.operator().post("/v1/admin/keys", &key).await.must(201).json();
    gateway.client(key["secret"].as_str())
}

fn price(provider: &str, model: &str) -> Value {
    json!({ "provider_id": provider, "model": model, "input_usd_per_mtok": "2", "output_usd_per_mtok": "4" })
}

async fn items(client: &Client, path: &str) -> Vec<Value> {
    client.get(path).await.must(200).json()["items"].as_array().expect("items").clone()
}

/// Holds: admin.own-provider, admin.own-prices, query.usage-payer
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_brings_its_own_provider_and_every_request_says_who_pays() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let admin = administrator(&gateway, &tenant).await;
    let own = json!({ "name": "ours", "kind": "simulator", "tenant_id": tenant.id });
    admin.post("/v1/admin/providers", &own).await.must_be(403, "FORBIDDEN");
    let path = format!("/v1/admin/tenants/{}", tenant.id);
    let allowed = json!({ "own_providers": true });
    admin.patch(&path, &allowed).await.must_be(403, "FORBIDDEN");
    assert_eq!(gateway.operator().patch(&path, &allowed).await.must(200).json()["own_providers"], true);

    // What a tenant's administrator would have to set is nothing that it may set.
    let private =
        json!({ "name": "inside", "kind": "openai", "base_url": "http://10.0.0.1/v1", "tenant_id": tenant.id });
    let said = admin.post("/v1/admin/providers", &private).await.must_be(400, "INVALID_REQUEST").json();
    assert!(text(&said["error"]["message"]).contains("only the platform may allow that"), "{said}");

    let provider = text(&admin.post("/v1/admin/providers", &own).await.must(201).json()["id"]);
    admin.post("/v1/admin/prices", &price(&tenant.provider, "ok")).await.must_be(403, "FORBIDDEN");
    admin.post("/v1/admin/prices", &price(&provider, "echo")).await.must(201);
    let target = json!({ "provider_id": provider, "model": "echo", "default_max_output_tokens": 64 });
    let model = json!({ "name": tenant.model("own"), "tenant_id": tenant.id, "targets": [target] });
    admin.post("/v1/admin/models", &model).await.must(201);

    // Another tenant sees none of it.
    let stranger = Tenant::new(&gateway, &upstream, &[]).await;
    let foreign = administrator(&gateway, &stranger).await;
    gateway.operator().patch(&format!("/v1/admin/tenants/{}", stranger.id), &allowed).await.must(200);
    foreign.get(&format!("/v1/admin/providers/{provider}")).await.must_be(404, "NOT_FOUND");
    foreign.patch(&format!("/v1/admin/providers/{provider}"), &json!({ "timeout_ms": 5 })).await.must(404);
    foreign.post("/v1/admin/prices", &price(&provider, "echo")).await.must_be(404, "NOT_FOUND");
    stranger.app.post(NATIVE, &tenant.ask("own")).await.must_be(404, "MODEL_NOT_FOUND");

    let own_request = tenant.chat("own").await.must(200);
    let brokered = tenant.chat("ok").await.must(200);
    for (reply, payer) in [(&own_request, "own"), (&brokered, "brokered")] {
        let ends = gateway.life(&reply.request_id()).await;
        let end = ends.iter().find(|event| event["type"] == "inference.completed.v1").expect("an end");
        assert_eq!(end["data"]["payer"], payer);
        let path = format!("/v1/inferences/{}?min_position={}", reply.request_id(), reply.position());
        assert_eq!(admin.get(&path).await.must(200).json()["payer"], payer);
    }
    let query = |query: &str| format!("/v1/usage?min_position={}&{query}", brokered.position());
    let rows = items(&admin, &query("group_by=payer")).await;
    let shown: Vec<_> = rows.iter().map(|row| (row["payer"].clone(), row["requests"].clone())).collect();
    assert_eq!(shown, [(json!("brokered"), json!(1)), (json!("own"), json!(1))]);
    let costs = |reply: &Reply| reply.json()["cost_usd"].clone();
    for filter in ["payer=own", "payer=own&from=2026-01-01T00:00:01Z", "payer=own&group_by=metadata.team"] {
        let rows = items(&admin, &query(filter)).await;
        assert_eq!((rows.len(), &rows[0]["cost_usd"]), (1, &costs(&own_request)), "{filter}: {rows:?}");
    }
    let listed = items(&admin, &format!("/v1/inferences?min_position={}&payer=own", brokered.position())).await;
    assert_eq!(listed.iter().map(|one| text(&one["request_id"])).collect::<Vec<_>>(), [own_request.request_id()]);
    assert_eq!(items(&admin, "/v1/inferences?payer=brokered").await.len(), 1);
    admin.get("/v1/usage?payer=me").await.must_be(400, "INVALID_REQUEST");
    // A budget binds both.
    tenant.set_limit("0.000001").await;
    for model in ["own", "ok"] {
        tenant.chat(model).await.must_be(429, "BUDGET_EXCEEDED");
    }
    assert_eq!(gateway.verify().0, Some(0));
}

/// A priced model of a provider of the tenant's own, at this address, with a key.
pub async fn with_own_key(gateway: &Gateway, upstream: &MockUpstream) -> (Tenant, String) {
    let tenant = Tenant::new(gateway, upstream, &[]).await;
    let provider = json!({ "name": "own", "kind": "openai", "base_url": upstream.base_url("openai"),
        "allow_private_network": true, "tenant_id": tenant.id, "api_key": PROVIDER_SECRET });
    let provider = made(gateway.operator(), "/providers", provider).await;
    made(gateway.operator(), "/prices", price(&provider, "ok")).await;
    let target = json!({ "provider_id": provider, "model": "ok", "default_max_output_tokens": 64 });
    let model = json!({ "name": tenant.model("ok"), "tenant_id": tenant.id, "targets": [target] });
    made(gateway.operator(), "/models", model).await;
    (tenant, provider)
}

/// A partner with a budget of one dollar, and a tenant whose administrator made a model of its own providers.
struct UnderOnePartner {
    gateway: Gateway,
    upstream: MockUpstream,
    tenant: Tenant,
    sibling: Client,
    partners_budget: String,
}

impl UnderOnePartner {
    /// `request_usd` is the tenant's own price of a request. The model `mixed` goes to the tenant's own `own_backend` first and then to
    /// `shared_backend` of a provider that all share.
    async fn begin(request_usd: &str, own_backend: &str, shared_backend: &str) -> Self {
        let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
        let setup = Setup { limit_usd: "100000", timeout_ms: 30_000, ..Setup::default() };
        let tenant = Tenant::with(&gateway, &upstream, &["ok"], setup).await;
        let operator = gateway.operator();
        if shared_backend != "ok" {
            tenant.price(shared_backend).await;
        }
        let budget = json!({ "scope": { "partner_id": tenant.partner }, "limit_usd": "1", "period": "total" });
        let partners_budget = made(operator, "/budgets", budget).await;
        let sibling = json!({ "partner_id": tenant.partner, "name": format!("{}-sibling", tenant.name) });
        let sibling = made(operator, "/tenants", sibling).await;
        let user = made(operator, "/users", json!({ "tenant_id": sibling, "name": "sibling" })).await;
        let key = json!({ "user_id": user, "name": "sibling" });
        let key = operator.post("/v1/admin/keys", &key).await.must(201).json();
        let sibling = gateway.client(key["secret"].as_str());
        let own = json!({ "name": "own", "kind": "openai", "base_url": upstream.base_url("openai"),
            "allow_private_network": true, "tenant_id": tenant.id, "api_key": PROVIDER_SECRET });
        let own = made(operator, "/providers", own).await;
        let mut own_price = price(&own, own_backend);
        own_price["request_usd"] = json!(request_usd);
        made(operator, "/prices", own_price).await;
        let target = |provider: &str, model: &str, priority: u32| {
            json!({ "provider_id": provider, "model": model, "priority": priority, "context_window": 8192,
                    "max_output_tokens": 1024, "default_max_output_tokens": 64 })
        };
        for (name, targets) in [
            ("own", vec![target(&own, own_backend, 0)]),
            ("mixed", vec![target(&own, own_backend, 0), target(&tenant.provider, shared_backend, 1)]),
        ] {
            let model = json!({ "name": tenant.model(name), "tenant_id": tenant.id, "strategy": "priority", "targets": targets });
            made(operator, "/models", model).await;
        }
        Self { gateway, upstream, tenant, sibling, partners_budget }
    }

    /// The settled and held amounts of a budget.
    async fn amounts(&self, budget: &str) -> [i64; 2] {
        let budget = self.gateway.budget(budget).await;
        [nano(&budget["settled_usd"]), nano(&budget["held_usd"])]
    }

    async fn sibling_is_served(&self) {
        self.sibling.post(NATIVE, &self.tenant.ask("ok")).await.must(200);
    }

    async fn must_follow(mut self, requests: &[String]) {
        for request in requests {
            let explained = explained(&self.gateway, request).await;
            assert_eq!(explained["follows"], true, "{explained:#}");
        }
        self.gateway.stop();
        assert_eq!(self.gateway.verify().0, Some(0), "{}", self.gateway.verify().1);
    }
}

/// Holds: admin.own-charges
#[tokio::test(flavor = "multi_thread")]
async fn what_a_tenant_says_of_its_own_provider_is_not_spent_from_its_partners_budget() {
    let world = UnderOnePartner::begin("999.99", "ok", "ok").await;
    let served = world.tenant.chat("own").await.must(200);
    let cost = nano(&served.json()["cost_usd"]);
    assert!(cost > nano(&json!("999.990000000")), "the price is the tenant's");
    assert_eq!(world.amounts(&world.partners_budget).await, [0, 0]);
    assert_eq!(world.amounts(&world.tenant.budget).await, [cost, 0]);
    let shown = |budget: &Value| nano(&budget["own_usd"]);
    assert_eq!(shown(&world.gateway.budget(&world.partners_budget).await), cost, "it is shown");
    assert_eq!(shown(&world.gateway.budget(&world.tenant.budget).await), 0, "there it is spent");
    world.sibling_is_served().await;
    let spent = world.amounts(&world.partners_budget).await;
    assert!(spent[0] > 0, "what is shared counts");
    world.tenant.set_limit("1000").await;
    let refused = world.tenant.chat("own").await.must_be(429, "BUDGET_EXCEEDED");
    assert_eq!(refused.json()["error"]["details"]["budget_id"], world.tenant.budget, "its own budget binds it");
    world.must_follow(&[served.request_id(), refused.request_id()]).await;
}

/// Holds: admin.own-charges
#[tokio::test(flavor = "multi_thread")]
async fn a_dear_own_target_beside_a_shared_one_holds_and_charges_only_what_the_shared_one_costs() {
    let world = UnderOnePartner::begin("999.99", "e503", "gate").await;
    let (app, body) = (world.tenant.app.clone(), world.tenant.ask("mixed"));
    let mut asking = JoinSet::new();
    asking.spawn(async move { app.post(NATIVE, &body).await });
    world.upstream.until_seen("gate", 1).await;
    let [_, partners] = world.amounts(&world.partners_budget).await;
    let [_, tenants] = world.amounts(&world.tenant.budget).await;
    assert!(0 < partners && partners < nano(&json!("1.000000000")), "{partners} are held of the partner's");
    assert!(tenants > nano(&json!("999.000000000")), "{tenants} are held of the tenant's");
    world.upstream.open_gate();
    let served = asking.join_next().await.expect("a task").expect("no panic").must(200);
    let cost = nano(&served.json()["cost_usd"]);
    assert_eq!(world.amounts(&world.partners_budget).await, [cost, 0]);
    assert_eq!(world.amounts(&world.tenant.budget).await, [cost, 0]);
    world.must_follow(&[served.request_id()]).await;
}

/// Holds: admin.own-charges
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_cannot_hide_what_shared_providers_cost_behind_a_target_of_its_own() {
    let world = UnderOnePartner::begin("0", "e503", "ok").await;
    let path = format!("/v1/admin/budgets/{}", world.partners_budget);
    world.gateway.operator().patch(&path, &json!({ "limit_usd": "0.000001" })).await.must(200);
    let refused = world.tenant.chat("mixed").await.must_be(429, "BUDGET_EXCEEDED");
    assert_eq!(refused.json()["error"]["details"]["budget_id"], world.partners_budget);
    let own = world.tenant.chat("own").await;
    assert!(own.status > 500, "it is sent, and its provider is overloaded: {}", own.status);
    world.must_follow(&[refused.request_id()]).await;
}

/// Holds: admin.own-charges
#[tokio::test(flavor = "multi_thread")]
async fn an_own_target_that_cannot_express_the_request_takes_its_price_with_it() {
    let world = UnderOnePartner::begin("0", "ok", "ok").await;
    let (operator, tenant) = (world.gateway.operator(), &world.tenant);
    let own = json!({ "name": "other", "kind": "anthropic", "base_url": world.upstream.base_url("anthropic"),
        "allow_private_network": true, "tenant_id": tenant.id, "api_key": PROVIDER_SECRET });
    let own = made(operator, "/providers", own).await;
    let mut own_price = price(&own, "ok");
    own_price["request_usd"] = json!("999.99");
    made(operator, "/prices", own_price).await;
    let target =
        |provider: &str, priority: u32| json!({ "provider_id": provider, "model": "ok", "priority": priority });
    let targets = [target(&own, 0), target(&tenant.provider, 1)];
    let model =
        json!({ "name": tenant.model("unlike"), "tenant_id": tenant.id, "strategy": "priority", "targets": targets });
    made(operator, "/models", model).await;
    let mut body = tenant.ask("unlike");
    body["max_tokens"] = json!(64);
    body["logit_bias"] = json!({ "50256": -100 });
    let served = tenant.app.post(OPENAI, &body).await.must(200);
    let life = world.gateway.life(&served.request_id()).await;
    let reserved = life.iter().find(|event| event["type"] == "budget.reserved.v1").expect("a hold");
    let held = nano(&reserved["data"]["held_usd"]);
    assert!(0 < held && held < nano(&json!("1.000000000")), "{held} are held");
    let [charged, _] = world.amounts(&world.partners_budget).await;
    assert!(0 < charged && charged <= held, "{charged} are charged");
    world.must_follow(&[served.request_id()]).await;
}

/// Holds: admin.own-charges
#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_an_own_provider_take_nothing_of_the_partners_token_limit() {
    let world = UnderOnePartner::begin("0", "usage-30000-9-30009", "ok").await;
    let limits = json!({ "scope": { "partner_id": world.tenant.partner }, "tokens_per_minute": 2000 });
    made(world.gateway.operator(), "/rate-limits", limits).await;
    let limits = json!({ "scope": { "tenant_id": world.tenant.id }, "tokens_per_minute": 50_000 });
    made(world.gateway.operator(), "/rate-limits", limits).await;
    world.tenant.chat("own").await.must(200);
    world.sibling_is_served().await;
    world.tenant.chat("own").await.must(200);
    world.tenant.chat("own").await.must_be(429, "RATE_LIMITED");
    world.must_follow(&[]).await;
}

/// Holds: admin.own-charges
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_acts_in_another_tenant_is_not_charged_that_tenants_own_prices() {
    let world = UnderOnePartner::begin("999.99", "ok", "ok").await;
    let operator = world.gateway.operator();
    let home = Tenant::new(&world.gateway, &world.upstream, &[]).await;
    let roles = json!([{ "role": "partner_admin", "scope": "platform" }]);
    let user = json!({ "tenant_id": home.id, "name": "agent", "roles": roles });
    let user = made(operator, "/users", user).await;
    let key = json!({ "user_id": user, "name": "agent" });
    let key = operator.post("/v1/admin/keys", &key).await.must(201).json();
    let budget = json!({ "scope": { "key_id": key["id"] }, "limit_usd": "1", "period": "total" });
    let keys_budget = made(operator, "/budgets", budget).await;
    let agent = world.gateway.client(key["secret"].as_str()).with("x-tenant-id", &world.tenant.id);
    let own = agent.post(NATIVE, &world.tenant.ask("own")).await.must(200);
    assert_eq!(world.amounts(&keys_budget).await, [0, 0]);
    let shared = agent.post(NATIVE, &world.tenant.ask("ok")).await.must(200);
    assert_eq!(world.amounts(&keys_budget).await, [nano(&shared.json()["cost_usd"]), 0]);
    world.must_follow(&[own.request_id(), shared.request_id()]).await;
}

/// Rows of this table, by its first column.
fn rows(data: &Path, table: &str) -> Vec<String> {
    let ledger = Connection::open(data.join("ledger.db")).expect("the ledger");
    let mut statement = ledger.prepare(&format!("SELECT * FROM {table} ORDER BY 1")).expect("a statement");
    let rows = statement.query_map([], |row| row.get(0)).expect("rows");
    rows.collect::<Result<_, _>>().expect("texts")
}

/// Holds: keys.tenant-key, keys.serves-tenants
#[tokio::test(flavor = "multi_thread")]
async fn a_node_serves_the_tenants_that_it_is_started_for_and_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut all, upstream) = (Gateway::start_in(folder.path(), &[]), MockUpstream::start().await);
    let (ours, _) = with_own_key(&all, &upstream).await;
    let (theirs, their_provider) = with_own_key(&all, &upstream).await;
    for tenant in [&ours, &theirs] {
        tenant.chat("ok").await.must(200);
    }
    let slug = json!({ "slug": "theirs" });
    all.operator().patch(&format!("/v1/admin/tenants/{}", theirs.id), &slug).await.must(200);
    all.stop();
    let data = all.data();
    assert_eq!(
        rows(&data, "wrapped_keys"),
        ["key_check", "platform"],
        "no key of a tenant is under the node's key alone"
    );
    let mut tenants = vec![ours.id.clone(), theirs.id.clone()];
    tenants.sort();
    assert_eq!((rows(&data, "tenant_keys"), rows(&data, "nodes").len()), (tenants, 1));

    let mut node = Gateway::start_in(folder.path(), &[("LEDGERWAY_SERVES_TENANTS", &ours.id)]);
    let client = |gateway: &Gateway, tenant: &Tenant| gateway.client(Some(&tenant.secret));
    client(&node, &ours).post(NATIVE, &ours.ask("ok")).await.must(200);
    let seen = upstream.seen_of("ok");
    client(&node, &theirs).post(NATIVE, &theirs.ask("ok")).await.must_be(421, "TENANT_NOT_SERVED");
    let openai = client(&node, &theirs).post(OPENAI, &theirs.ask("ok")).await.must(421).json();
    assert_eq!(openai["error"]["code"], "tenant_not_served", "{openai}");
    let counting = client(&node, &theirs).post("/v1/messages/count_tokens", &theirs.ask("ok")).await;
    assert_eq!(counting.must(421).json()["type"], "error");
    // The operator's own requests are for the tenant that it names.
    let operator = node.operator().clone().with("x-tenant-id", &theirs.id);
    operator.post(NATIVE, &theirs.ask("ok")).await.must_be(421, "TENANT_NOT_SERVED");
    let rotated = json!({ "api_key": "another-key" });
    let one = format!("/v1/admin/providers/{their_provider}");
    node.operator().patch(&one, &rotated).await.must_be(421, "TENANT_NOT_SERVED");
    node.operator().patch(&one, &json!({ "timeout_ms": 5000 })).await.must(200);
    assert_eq!(upstream.seen_of("ok"), seen, "nothing was sent");
    node.stop();

    let served = format!("{}/theirs, default/default", theirs.partner);
    let mut node = Gateway::start_in(folder.path(), &[("LEDGERWAY_SERVES_TENANTS", &served)]);
    client(&node, &theirs).post(NATIVE, &theirs.ask("ok")).await.must(200);
    client(&node, &ours).post(NATIVE, &ours.ask("ok")).await.must_be(421, "TENANT_NOT_SERVED");
    node.stop();
    all.start_again();
    for tenant in [&ours, &theirs] {
        tenant.chat("ok").await.must(200);
    }
    for file in std::fs::read_dir(&data).expect("the data folder") {
        let bytes = std::fs::read(file.expect("a file").path()).expect("a readable file");
        assert!(!bytes.windows(PROVIDER_SECRET.len()).any(|part| part == PROVIDER_SECRET.as_bytes()));
    }
    let bearer = format!("Bearer {PROVIDER_SECRET}");
    assert!(upstream.seen().iter().all(|seen| seen.headers["authorization"] == bearer.as_str()));
}

/// Holds: admin.secrets-of-ended-tenants
#[tokio::test(flavor = "multi_thread")]
async fn with_a_tenant_or_its_partner_end_the_keys_of_its_own_providers_and_its_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut gateway, upstream) = (Gateway::start_in(folder.path(), &[]), MockUpstream::start().await);
    let (alone, own) = with_own_key(&gateway, &upstream).await;
    let (with_partner, of_partner) = with_own_key(&gateway, &upstream).await;
    let (living, _) = with_own_key(&gateway, &upstream).await;
    let further = |provider: &str| json!({ "provider_id": provider, "name": "further", "api_key": PROVIDER_SECRET });
    let mut of_ended = vec![format!("providers/{own}"), format!("providers/{of_partner}")];
    for provider in [&own, &own, &of_partner] {
        of_ended.push(format!("provider-keys/{}", made(gateway.operator(), "/provider-keys", further(provider)).await));
    }
    for tenant in [&alone, &with_partner, &living] {
        tenant.chat("ok").await.must(200);
    }
    let set = async |gateway: &Gateway, one: &String| {
        gateway.operator().get(&format!("/v1/admin/{one}")).await.must(200).json()["api_key_set"].clone()
    };
    for one in &of_ended {
        assert_eq!(set(&gateway, one).await, true, "{one}");
    }
    gateway.operator().delete(&format!("/v1/admin/tenants/{}", alone.id)).await.must(200);
    gateway.operator().delete(&format!("/v1/admin/partners/{}", with_partner.partner)).await.must(200);
    for one in &of_ended {
        assert_eq!(set(&gateway, one).await, false, "{one}");
        let again = json!({ "api_key": PROVIDER_SECRET });
        gateway.operator().patch(&format!("/v1/admin/{one}"), &again).await.must_be(409, "CONFLICT");
    }
    for provider in [&own, &of_partner] {
        gateway.operator().post("/v1/admin/provider-keys", &further(provider)).await.must_be(409, "CONFLICT");
    }
    gateway.stop();
    let data = gateway.data();
    let must_be_gone = || {
        assert_eq!(rows(&data, "tenant_keys"), [living.id.as_str()]);
        let sealed = rows(&data, "sealed_secrets");
        let left = of_ended.iter().filter(|one| sealed.iter().any(|subject| one.ends_with(subject)));
        assert_eq!(left.collect::<Vec<_>>(), [""; 0]);
        // Its own key and those of the shared providers.
        assert_eq!(sealed.len(), 4);
    };
    must_be_gone();
    for new in [None, Some("00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff")] {
        if let Some(new) = new {
            replaced_by(&data, &key_in(&data.join("node.key")), new);
        }
        gateway.start_again();
        living.chat("ok").await.must(200);
        assert_eq!(gateway.verify().0, Some(0));
        gateway.stop();
        must_be_gone();
    }
}

/// Holds: keys.served-names
#[tokio::test(flavor = "multi_thread")]
async fn a_namesake_of_another_partner_neither_ends_a_node_nor_is_served_by_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut gateway = Gateway::start_in(folder.path(), &[]);
    let mut tenants = Vec::new();
    for partner in ["north", "south"] {
        let partner = made(gateway.operator(), "/partners", json!({ "name": partner, "slug": partner })).await;
        let tenant = json!({ "partner_id": partner, "name": "t", "slug": "acme" });
        tenants.push(made(gateway.operator(), "/tenants", tenant).await);
    }
    gateway.stop();
    let (code, words) = serve_to_its_end(&gateway.data(), &[("LEDGERWAY_SERVES_TENANTS", "acme".to_owned())]);
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("\"acme\", which is neither the id of a tenant nor PARTNER/TENANT"), "{words}");

    let mut node = Gateway::start_in(folder.path(), &[("LEDGERWAY_SERVES_TENANTS", "north/acme")]);
    let ask = json!({ "model": "none", "max_tokens": 9, "messages": [{ "role": "user", "content": "hello" }] });
    let asked = async |node: &Gateway, tenant: &String| {
        node.operator().clone().with("x-tenant-id", tenant).post(OPENAI, &ask).await.status
    };
    assert_eq!((asked(&node, &tenants[0]).await, asked(&node, &tenants[1]).await), (404, 421));
    assert!(!node.stderr().contains("names a tenant that there is not"), "{}", node.stderr());
    node.operator().delete(&format!("/v1/admin/tenants/{}", tenants[0])).await.must(200);
    node.stop();
    node.start_again();
    assert_eq!(asked(&node, &tenants[1]).await, 421);
    let warned = node.stderr();
    assert!(warned.contains("names a tenant that does not exist or has ended"), "{warned}");
    assert!(warned.contains("north/acme"), "{warned}");
}

/// Holds: inf.named-targets
#[tokio::test(flavor = "multi_thread")]
async fn named_targets_are_tried_in_the_order_of_their_names() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "e500", "leaky"]).await;
    let target = |model: &str, name: Option<&str>| json!({ "provider_id": tenant.provider, "model": model, "name": name, "default_max_output_tokens": 64 });
    let named = json!([target("leaky", None), target("ok", Some("2-backup")), target("e500", Some("1-primary"))]);
    let body = json!({ "name": tenant.model("named"), "targets": named });
    let model = gateway.operator().post("/v1/admin/models", &body).await.must(201).json();
    let names: Vec<_> = model["targets"].as_array().expect("targets").iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, [Value::Null, json!("2-backup"), json!("1-primary")], "as they were given");
    let reply = tenant.chat("named").await.must(200);
    assert_eq!(reply.header("x-ledgerway-backend"), format!("{}/ok", tenant.name));
    assert_eq!((upstream.seen_of("e500") > 0, upstream.seen_of("leaky")), (true, 0));
    let twice = json!({ "targets": [target("ok", Some("a")), target("e500", Some("a"))] });
    let path = format!("/v1/admin/models/{}", text(&model["id"]));
    let refused = gateway.operator().patch(&path, &twice).await.must_be(400, "INVALID_REQUEST").json();
    assert_eq!(refused["error"]["details"]["field"], "targets[1].name");
}
