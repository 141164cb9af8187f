//! Models of a tenant's own whose targets are on a provider that all tenants share: they bound a request, and what is believed of
//! a report, as the platform's models do.

use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;

use crate::books::nano;
use crate::client::{Client, Reply};
use crate::gateway::{Gateway, type_of};
use crate::tenant::{PROVIDER_SECRET, Setup, Tenant, made, text};

const MESSAGES: &str = "/v1/messages";
const INPUT: u64 = 3_000;
const OUTPUT: u64 = 15_000;
const DEAREST_OUTPUT: u64 = 20_000;
const REQUEST: u64 = 1_000_000;

/// A tenant, and a client that administers it and asks its models.
async fn administered(gateway: &Gateway, upstream: &MockUpstream, limit_usd: &'static str) -> (Tenant, Client) {
    let tenant = Tenant::with(gateway, upstream, &[], Setup { kind: "anthropic", limit_usd, ..Setup::default() }).await;
    let user = json!({ "tenant_id": tenant.id, "name": "admin", "roles": ["tenant_admin"] });
    let user = made(gateway.operator(), "/users", user).await;
    let key = json!({ "user_id": user, "name": "admin", "permissions": ["admin:access", "models:use"] });
    let key = gateway.operator().post("/v1/admin/keys", &key).await.must(201).json();
    let admin = gateway.client(key["secret"].as_str());
    (tenant, admin)
}

fn target(tenant: &Tenant, backend: &str, limits: &Value) -> Value {
    let mut target = json!({ "provider_id": tenant.provider, "model": backend });
    for (name, value) in limits.as_object().expect("limits") {
        target[name] = value.clone();
    }
    target
}

/// A priced backend, with a shared model of these limits.
async fn shared(gateway: &Gateway, tenant: &Tenant, backend: &str, limits: Value) {
    tenant.price(backend).await;
    let model = json!({ "name": tenant.model(backend), "targets": [target(tenant, backend, &limits)] });
    made(gateway.operator(), "/models", model).await;
}

/// A model of the tenant's own, made by its administrator.
async fn own(admin: &Client, tenant: &Tenant, name: &str, backend: &str, limits: Value) {
    let targets = [target(tenant, backend, &limits)];
    let model = json!({ "name": tenant.model(name), "tenant_id": tenant.id, "targets": targets });
    admin.post("/v1/admin/models", &model).await.must(201);
}

fn asking(tenant: &Tenant, model: &str) -> Value {
    let mut body = tenant.ask(model);
    body["max_tokens"] = json!(1);
    body
}

/// A request with a document, whose pages nobody can count, and a text beside it.
fn with_document(tenant: &Tenant, model: &str, beside: &str) -> Value {
    let mut body = asking(tenant, model);
    let source = json!({ "type": "url", "url": "https://example.com/a.pdf" });
    body["messages"][0]["content"] =
        json!([{ "type": "document", "source": source }, { "type": "text", "text": beside }]);
    body
}

struct ChargedRequest {
    input_tokens_bound: u64,
    held: u64,
    charged: u64,
    source: String,
}

async fn life(gateway: &Gateway, reply: &Reply) -> ChargedRequest {
    let life = gateway.life(&reply.request_id()).await;
    let of = |name: &str| life.iter().find(|event| type_of(event) == name).expect("an event")["data"].clone();
    let money = |event: &Value, field: &str| u64::try_from(nano(&event[field])).expect("not negative");
    let settled = of("budget.settled.v1");
    ChargedRequest {
        input_tokens_bound: of("inference.admitted.v1")["input_tokens_bound"].as_u64().expect("a bound"),
        held: money(&of("budget.reserved.v1"), "held_usd"),
        charged: money(&settled, "charged_usd"),
        source: text(&of("inference.completed.v1")["usage"]["source"]),
    }
}

/// Holds: admin.tenants-targets
#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_own_model_is_held_for_and_charged_as_the_platform_knows_its_backend() {
    const LONG: &str = "usage-600000-1-600001";
    const WORDY: &str = "usage-12-40000-40012";
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let (tenant, admin) = administered(&gateway, &upstream, "100").await;
    let platform = json!({ "context_window": 1_000_000, "max_output_tokens": 64_000 });
    for backend in [LONG, WORDY] {
        shared(&gateway, &tenant, backend, platform.clone()).await;
    }
    let narrow = json!({ "context_window": 1, "max_output_tokens": 100_000_000, "default_max_output_tokens": 1 });
    own(&admin, &tenant, "long", LONG, narrow).await;
    own(&admin, &tenant, "wordy", WORDY, json!({ "max_output_tokens": 10 })).await;

    for _ in 0..3 {
        let reply = admin.post(MESSAGES, &with_document(&tenant, "long", "sum")).await.must(200);
        let ChargedRequest { input_tokens_bound, held, charged, source } = life(&gateway, &reply).await;
        assert_eq!((input_tokens_bound, held), (1_000_000, 1_000_000 * INPUT + DEAREST_OUTPUT + REQUEST));
        assert_eq!((charged, source.as_str()), (600_000 * INPUT + OUTPUT + REQUEST, "provider"));
    }
    // A document does not make the text beside it cheaper.
    let text = "x ".repeat(600_000);
    let reply = admin.post(MESSAGES, &with_document(&tenant, "long", &text)).await.must(200);
    let bounded = life(&gateway, &reply).await;
    assert!(bounded.input_tokens_bound > 1_200_000, "{}", bounded.input_tokens_bound);
    assert!(bounded.held > 1_200_000 * INPUT, "{}", bounded.held);

    let reply = admin.post(MESSAGES, &asking(&tenant, "wordy")).await.must(200);
    let ChargedRequest { charged, source, .. } = life(&gateway, &reply).await;
    assert_eq!((charged, source.as_str()), (12 * INPUT + 40_000 * OUTPUT + REQUEST, "provider"));

    // Its own cap may be lower than the platform's, and is never higher.
    for (model, cap, status) in [("wordy", 10, 200), ("wordy", 11, 400), ("long", 64_000, 200), ("long", 64_001, 400)] {
        let mut body = asking(&tenant, model);
        body["max_tokens"] = json!(cap);
        admin.post(MESSAGES, &body).await.must(status);
    }
    for (model, cap) in [("long", 64_000), ("wordy", 10)] {
        let listed = admin.get(&format!("/v1/models/{}", tenant.model(model))).await.must(200).json();
        assert_eq!((&listed["context_window"], &listed["max_output_tokens"]), (&json!(1_000_000), &json!(cap)));
    }
    assert_eq!(gateway.verify().0, Some(0));
}

/// Holds: admin.tenants-targets
#[tokio::test(flavor = "multi_thread")]
async fn budgets_and_token_limits_bind_whatever_a_tenants_own_model_says() {
    const BACKEND: &str = "usage-131072-1-131073";
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let (tenant, admin) = administered(&gateway, &upstream, "2").await;
    shared(&gateway, &tenant, BACKEND, json!({ "context_window": 200_000, "max_output_tokens": 64_000 })).await;
    own(&admin, &tenant, "own", BACKEND, json!({ "context_window": 1, "max_output_tokens": 1 })).await;
    let mut asked = JoinSet::new();
    for _ in 0..20 {
        let (admin, body) = (admin.clone(), with_document(&tenant, "own", "sum"));
        asked.spawn(async move { admin.post(MESSAGES, &body).await });
    }
    let (mut answered, mut refused, mut position) = (0, 0, 0);
    while let Some(reply) = asked.join_next().await {
        let reply = reply.expect("a reply");
        position = position.max(reply.position());
        match reply.status {
            200 => answered += 1,
            429 => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert!(answered > 0 && refused > 0, "{answered} {refused}");
    let budget = gateway
        .operator()
        .get(&format!("/v1/budgets/{}?min_position={position}", tenant.budget))
        .await
        .must(200)
        .json();
    let settled = nano(&budget["settled_usd"]);
    assert!(0 < settled && settled <= 2_000_000_000, "{settled}");

    tenant.set_limit("100").await;
    admin.post(MESSAGES, &with_document(&tenant, "own", "sum")).await.must(200);
    let limit = json!({ "scope": { "tenant_id": tenant.id }, "tokens_per_minute": 200_000 });
    made(gateway.operator(), "/rate-limits", limit).await;
    let calls = upstream.seen_of(BACKEND);
    for _ in 0..5 {
        admin.post(MESSAGES, &with_document(&tenant, "own", "sum")).await.must(429);
    }
    assert_eq!(upstream.seen_of(BACKEND), calls);
}

/// Holds: admin.tenants-targets
#[tokio::test(flavor = "multi_thread")]
async fn of_a_backend_that_no_shared_model_has_a_tenants_model_takes_no_documents_and_reports_are_believed() {
    const BACKEND: &str = "usage-600000-40000-640000";
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let (tenant, admin) = administered(&gateway, &upstream, "100").await;
    tenant.price(BACKEND).await;
    let narrow = json!({ "context_window": 1, "max_output_tokens": 1, "default_max_output_tokens": 1 });
    own(&admin, &tenant, "own", BACKEND, narrow.clone()).await;
    let said = admin.post(MESSAGES, &with_document(&tenant, "own", "sum")).await.must(422).json();
    assert!(said["error"]["message"].as_str().is_some_and(|said| said.contains("context_window")), "{said}");
    let reply = admin.post(MESSAGES, &asking(&tenant, "own")).await.must(200);
    let ChargedRequest { charged, source, .. } = life(&gateway, &reply).await;
    assert_eq!((charged, source.as_str()), (600_000 * INPUT + 40_000 * OUTPUT + REQUEST, "provider"));
    // Once the platform says what it is, documents are taken.
    let limits = json!({ "context_window": 1_000_000 });
    let model = json!({ "name": tenant.model("shared"), "targets": [target(&tenant, BACKEND, &limits)] });
    made(gateway.operator(), "/models", model).await;
    let reply = admin.post(MESSAGES, &with_document(&tenant, "own", "sum")).await.must(200);
    assert_eq!(life(&gateway, &reply).await.input_tokens_bound, 1_000_000);

    // At a provider of its own, a tenant's model says what it is: the account is the tenant's.
    let provider = json!({ "tenant_id": tenant.id, "name": "ours", "kind": "anthropic", "api_key": PROVIDER_SECRET,
        "base_url": upstream.base_url("anthropic"), "allow_private_network": true });
    let provider = made(gateway.operator(), "/providers", provider).await;
    let price =
        json!({ "provider_id": provider, "model": BACKEND, "input_usd_per_mtok": "3", "output_usd_per_mtok": "15" });
    made(gateway.operator(), "/prices", price).await;
    let mut ours = target(&tenant, BACKEND, &narrow);
    ours["provider_id"] = json!(provider);
    let model = json!({ "name": tenant.model("ours"), "tenant_id": tenant.id, "targets": [ours] });
    made(gateway.operator(), "/models", model).await;
    let reply = admin.post(MESSAGES, &with_document(&tenant, "ours", "sum")).await.must(200);
    let ChargedRequest { input_tokens_bound, held, charged, source } = life(&gateway, &reply).await;
    assert!(input_tokens_bound < 2_000, "{input_tokens_bound}");
    assert_eq!((charged, source.as_str()), (held, "unknown"));
}

/// Holds: admin.model-allow-list
#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_an_allow_list_cannot_give_its_names_another_model() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let (tenant, admin) = administered(&gateway, &upstream, "5").await;
    for backend in ["ok", "said"] {
        shared(&gateway, &tenant, backend, json!({ "max_output_tokens": 64 })).await;
    }
    let limits = json!({ "max_output_tokens": 64 });
    own(&admin, &tenant, "ours", "ok", limits.clone()).await;
    let models = [tenant.model("ok"), tenant.model("ours")];
    let list = json!({ "models": models, "permissions": ["admin:access", "models:use"] });
    let (_, narrow) = tenant.new_key(&gateway, list).await;
    narrow.post(MESSAGES, &asking(&tenant, "said")).await.must(403);

    let shadow =
        json!({ "name": tenant.model("ok"), "tenant_id": tenant.id, "targets": [target(&tenant, "said", &limits)] });
    let said = narrow.post("/v1/admin/models", &shadow).await.must_be(403, "FORBIDDEN").json();
    assert!(said["error"]["message"].as_str().is_some_and(|said| said.contains("allow list")), "{said}");
    // Nor by another name, by other targets, or by the end of what covers a shared model.
    let listed = admin.get("/v1/admin/models").await.must(200).json();
    let ours = listed["items"].as_array().expect("models").iter().find(|model| model["name"] == tenant.model("ours"));
    let path = format!("/v1/admin/models/{}", text(&ours.expect("the tenant's model")["id"]));
    for change in [json!({ "name": tenant.model("other") }), json!({ "targets": shadow["targets"] })] {
        narrow.patch(&path, &change).await.must_be(403, "FORBIDDEN");
    }
    narrow.delete(&path).await.must_be(403, "FORBIDDEN");
    // Nor by another key.
    let freer = json!({ "name": "freer", "permissions": ["admin:access"] });
    narrow.post("/v1/admin/keys", &freer).await.must_be(403, "FORBIDDEN");
    assert_eq!(
        narrow.post(MESSAGES, &asking(&tenant, "ok")).await.must(200).header("x-ledgerway-backend"),
        tenant.model("ok")
    );
    // Without a list it can.
    admin.patch(&path, &json!({ "name": tenant.model("other") })).await.must(200);
    admin.post("/v1/admin/models", &shadow).await.must(201);
    admin.delete(&path).await.must(200);
}
