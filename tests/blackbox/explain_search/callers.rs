//! The callers and their requests: two partners with three tenants, seven keys, and models of several shapes.

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use super::Draws;
use crate::client::Client;
use crate::gateway::Gateway;
use crate::tenant::{Setup, Tenant, made, text};

/// Their prices change.
pub const BACKENDS: [&str; 6] = ["ok", "chaos-1", "chaos-2", "usage-40-7-47", "paced-10", "e500"];
/// How long a provider has for its answer: some never answer.
const TIMEOUT_MS: u64 = 600;

pub struct Callers {
    pub clients: Vec<Client>,
    /// Their frontend names.
    pub models: Vec<String>,
    /// The owner of the providers and prices.
    pub tenant: Tenant,
    /// Whom budgets and rate limits can bind.
    pub scopes: Vec<Value>,
}

impl Callers {
    pub async fn new(gateway: &Gateway, upstream: &MockUpstream, draws: &mut Draws) -> Self {
        let setup = || Setup { timeout_ms: TIMEOUT_MS, ..Setup::default() };
        let tenant = Tenant::with(gateway, upstream, &BACKENDS, setup()).await;
        let stranger = Tenant::with(gateway, upstream, &[], setup()).await;
        tenant.add_model("failing-over", &["e500", "ok"]).await;
        tenant.add_model("of-three", &["chaos-1", "chaos-2", "ok"]).await;
        tenant.add_model("free-of-use", &["usage-40-7-47", "ok"]).await;
        let targets = ["ok", "chaos-2", "usage-40-7-47"].map(|backend| {
            json!({ "provider_id": tenant.provider, "model": backend, "weight": 1 + draws.below(5), "max_output_tokens": 512,
                    "default_max_output_tokens": 128 })
        });
        let drawn = json!({ "name": tenant.model("drawn"), "strategy": "weighted", "targets": targets });
        made(gateway.operator(), "/models", drawn).await;
        let names = ["failing-over", "of-three", "free-of-use", "drawn"];
        let models = BACKENDS.iter().chain(&names).map(|name| tenant.model(name)).collect();
        let mut callers = Self { clients: Vec::new(), models, scopes: Vec::new(), tenant };
        callers.add_keys(gateway, &stranger).await;
        for scope in callers.scopes.clone() {
            made(gateway.operator(), "/budgets", budget(scope.clone(), draws)).await;
            if draws.one_in(2) {
                let limit = json!({ "scope": scope, "requests_per_minute": 50 + draws.below(2_000), "tokens_per_day": 10_000_000 });
                made(gateway.operator(), "/rate-limits", limit).await;
            }
        }
        callers
    }

    async fn add_keys(&mut self, gateway: &Gateway, stranger: &Tenant) {
        let (operator, tenant) = (gateway.operator(), &self.tenant);
        let sister = json!({ "partner_id": tenant.partner, "name": "sister" });
        let sister = made(operator, "/tenants", sister).await;
        let user = json!({ "tenant_id": sister, "name": "sister", "email": "sister@example.com" });
        let user = made(operator, "/users", user).await;
        let key = json!({ "user_id": user, "name": "sister" });
        let key = operator.post("/v1/admin/keys", &key).await.must(201).json();
        // A user whose keys act in other tenants of its partner.
        let roles = json!([{ "role": "partner_admin", "scope": { "partner_id": tenant.partner } }]);
        operator.patch(&format!("/v1/admin/users/{}", tenant.user), &json!({ "roles": roles })).await.must(200);
        let (second, second_client) = tenant.new_key(gateway, json!({})).await;
        self.clients.extend([tenant.app.clone(), tenant.app.clone(), second_client]);
        self.clients.extend([tenant.app.clone().with("x-tenant-id", &sister), stranger.app.clone()]);
        self.clients.push(gateway.client(key["secret"].as_str()));
        self.scopes = vec![
            json!({ "partner_id": tenant.partner }),
            json!({ "partner_id": stranger.partner }),
            json!({ "tenant_id": tenant.id }),
            json!({ "tenant_id": sister }),
            json!({ "user_id": tenant.user }),
            json!({ "user_id": user }),
            json!({ "key_id": tenant.key }),
            json!({ "key_id": second }),
            json!({ "key_id": text(&key["id"]) }),
        ];
    }
}

/// A budget of any kind. Some are short soon.
pub fn budget(scope: Value, draws: &mut Draws) -> Value {
    json!({
        "scope": scope, "limit_usd": draws.of(&["0.02", "0.2", "1", "20", "200"]), "period": draws.of(&["total", "day", "week", "month"]),
        "enforcement": draws.of(&["hard", "hard", "observe"]), "when_short": draws.of(&["refuse", "shrink"]),
    })
}
