//! A tenant with everything that it takes to ask a model.

use serde_json::{Value, json};
use testing::request;
use testing::upstream::MockUpstream;

use crate::client::{Client, Reply, Stream};
use crate::gateway::Gateway;

pub const NATIVE: &str = "/v1/inference/chat";
pub const OPENAI: &str = "/v1/chat/completions";
pub const PROVIDER_SECRET: &str = "provider-secret-4b1f7a90c2";

/// The setup that differs between tests.
pub struct Setup {
    pub kind: &'static str,
    pub limit_usd: &'static str,
    pub timeout_ms: u64,
    /// The context window of the targets: a prompt that is longer is refused.
    pub context_window: u64,
    /// The tenant's `required_terms`, from its creation on.
    pub required_terms: Value,
    /// The tenant's `default_strategy`, from its creation on.
    pub default_strategy: Value,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            kind: "openai",
            limit_usd: "5",
            timeout_ms: 8000,
            context_window: 8192,
            required_terms: json!({}),
            default_strategy: Value::Null,
        }
    }
}

pub struct Tenant {
    pub name: String,
    pub partner: String,
    pub id: String,
    pub user: String,
    pub provider: String,
    pub budget: String,
    pub key: String,
    pub secret: String,
    pub app: Client,
    operator: Client,
    context_window: u64,
}

impl Tenant {
    pub async fn new(gateway: &Gateway, upstream: &MockUpstream, backends: &[&str]) -> Self {
        Self::with(gateway, upstream, backends, Setup::default()).await
    }

    /// A partner, a tenant, a user, a provider, a budget of the tenant, an app key, and a priced model a backend.
    pub async fn with(gateway: &Gateway, upstream: &MockUpstream, backends: &[&str], setup: Setup) -> Self {
        let (name, operator) = (gateway.next_name(), gateway.operator().clone());
        let partner = made(&operator, "/partners", json!({ "name": name })).await;
        let tenant = json!({ "partner_id": partner, "name": name, "required_terms": setup.required_terms,
                             "default_strategy": setup.default_strategy });
        let tenant = made(&operator, "/tenants", tenant).await;
        let user = json!({ "tenant_id": tenant, "name": name, "email": format!("{name}@example.com") });
        let user = made(&operator, "/users", user).await;
        let provider = json!({
            "name": name, "kind": setup.kind, "base_url": upstream.base_url(setup.kind), "api_key": PROVIDER_SECRET,
            "allow_private_network": true, "timeout_ms": setup.timeout_ms, "idle_timeout_ms": setup.timeout_ms,
        });
        let provider = made(&operator, "/providers", provider).await;
        let budget = json!({ "scope": { "tenant_id": tenant }, "limit_usd": setup.limit_usd, "period": "total" });
        let budget = made(&operator, "/budgets", budget).await;
        let key = json!({ "user_id": user, "name": "app" });
        let key = operator.post("/v1/admin/keys", &key).await.must(201).json();
        let secret = text(&key["secret"]);
        let app = gateway.client(Some(&secret));
        let (key, context_window) = (text(&key["id"]), setup.context_window);
        let tenant =
            Self { name, partner, id: tenant, user, provider, budget, key, secret, app, operator, context_window };
        for backend in backends {
            tenant.price(backend).await;
            tenant.add_model(backend, &[backend]).await;
        }
        tenant
    }

    pub fn model(&self, name: &str) -> String {
        format!("{}/{name}", self.name)
    }

    pub async fn price(&self, backend: &str) {
        let price = json!({
            "provider_id": self.provider, "model": backend, "input_usd_per_mtok": "3", "output_usd_per_mtok": "15",
            "cache_read_usd_per_mtok": "0.3", "reasoning_usd_per_mtok": "20", "request_usd": "0.001",
        });
        made(&self.operator, "/prices", price).await;
    }

    /// A frontend model whose targets are tried in this order.
    pub async fn add_model(&self, name: &str, backends: &[&str]) {
        let target = |(rank, backend): (usize, &&str)| {
            json!({
                "provider_id": self.provider, "model": backend, "priority": rank, "weight": 1, "context_window": self.context_window,
                "max_output_tokens": 1024, "default_max_output_tokens": 256,
            })
        };
        let targets: Vec<Value> = backends.iter().enumerate().map(target).collect();
        let model = json!({ "name": self.model(name), "strategy": "priority", "targets": targets });
        made(&self.operator, "/models", model).await;
    }

    /// A priced model of a provider of its own, which is at this address.
    pub async fn add_model_at(&self, name: &str, base_url: &str) {
        self.add_model_of(name, json!({ "base_url": base_url })).await;
    }

    /// A priced model of a provider of its own, which has these fields. Returns the provider.
    pub async fn add_model_of(&self, name: &str, mut provider: Value) -> String {
        provider["name"] = json!(format!("{}-{name}", self.name));
        provider["kind"] = json!("openai");
        provider["api_key"] = json!("k");
        provider["allow_private_network"] = json!(true);
        let provider = made(&self.operator, "/providers", provider).await;
        let price = json!({ "provider_id": provider, "model": "m", "input_usd_per_mtok": "3",
                            "output_usd_per_mtok": "15", "request_usd": "0.001" });
        made(&self.operator, "/prices", price).await;
        let targets = json!([{ "provider_id": provider, "model": "m", "default_max_output_tokens": 256 }]);
        made(&self.operator, "/models", json!({ "name": self.model(name), "targets": targets })).await;
        provider
    }

    /// A key's id and a client that uses it; `fields` are those of `POST /v1/admin/keys`.
    pub async fn new_key(&self, gateway: &Gateway, mut fields: Value) -> (String, Client) {
        fields["user_id"] = json!(self.user);
        fields["name"] = json!("another");
        let key = self.operator.post("/v1/admin/keys", &fields).await.must(201).json();
        (text(&key["id"]), gateway.client(key["secret"].as_str()))
    }

    pub async fn set_limit(&self, limit_usd: &str) {
        let path = format!("/v1/admin/budgets/{}", self.budget);
        self.operator.patch(&path, &json!({ "limit_usd": limit_usd })).await.must(200);
    }

    /// A body that is right in the native and in the OpenAI dialect.
    pub fn ask(&self, model: &str) -> Value {
        json!({ "model": self.model(model), "messages": [{ "role": "user", "content": "hello" }] })
    }

    pub fn ask_streamed(&self, model: &str) -> Value {
        let mut body = self.ask(model);
        body["stream"] = json!(true);
        body
    }

    /// A request with the tenant's key as bytes, with more headers, each ended by `\r\n`.
    pub fn request(&self, path: &str, more: &str, body: &str) -> String {
        format!("{}content-length: {}\r\n{more}\r\n{body}", self.request_head(path), body.len())
    }

    /// The same up to what says how long its body is.
    pub fn request_head(&self, path: &str) -> String {
        request::head("POST", path, &self.secret)
    }

    pub async fn chat(&self, model: &str) -> Reply {
        self.app.post(NATIVE, &self.ask(model)).await
    }

    pub async fn openai(&self, model: &str) -> Reply {
        self.app.post(OPENAI, &self.ask(model)).await
    }

    pub async fn stream(&self, path: &str, model: &str) -> Stream {
        self.app.stream(path, &self.ask_streamed(model)).await.expect("a stream")
    }

    /// The tenant's events of these types, without `.vN`.
    pub async fn events_of(&self, gateway: &Gateway, types: &[&str]) -> Vec<Value> {
        let mut events = gateway.events().await;
        events.retain(|event| {
            let name = event["type"].as_str().and_then(|name| name.rsplit_once(".v")).map(|(name, _)| name);
            event["tenant_id"] == self.id && name.is_some_and(|name| types.contains(&name))
        });
        events
    }
}

/// The id of a resource that is made now.
pub async fn made(operator: &Client, path: &str, body: Value) -> String {
    text(&operator.post(&format!("/v1/admin{path}"), &body).await.must(201).json()["id"])
}

pub fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}
