//! Two partners with two tenants each, every tenant with one of everything, and whoever might look at what is not
//! theirs.

use serde_json::{Value, json};

use crate::client::Client;
use crate::gateway::Gateway;
use crate::tenant::{made, text};

/// A tenant with one of everything.
pub struct House {
    pub partner: String,
    pub partner_slug: String,
    pub tenant: String,
    pub slug: String,
    pub user: String,
    pub team: String,
    pub key: String,
    pub provider: String,
    pub provider_key: String,
    pub model: String,
    pub model_name: String,
    pub price: String,
    pub budget: String,
    pub limit: String,
    pub search: String,
    pub request: String,
    /// Marks of the house that nobody else may be shown.
    pub marks: Vec<String>,
}

impl House {
    pub async fn build(gateway: &Gateway, partner: &(String, String), name: &str) -> Self {
        let operator = gateway.operator();
        let external = format!("ext-{name}");
        let tenant =
            json!({ "partner_id": partner.0, "name": format!("Tenant {name}"), "slug": name, "external_id": external });
        let tenant = made(operator, "/tenants", tenant).await;
        let user = json!({
            "tenant_id": tenant, "name": format!("User {name}"), "email": format!("{name}@example.com"),
            "slug": format!("user-{name}"), "external_id": external,
        });
        let user = made(operator, "/users", user).await;
        let team = json!({ "tenant_id": tenant, "name": format!("Team {name}"), "slug": format!("team-{name}"), "user_ids": [user] });
        let team = made(operator, "/teams", team).await;
        let key = json!({ "user_id": user, "name": format!("Key {name}") });
        let key = operator.post("/v1/admin/keys", &key).await.must(201).json();
        let provider = json!({ "name": format!("Provider {name}"), "kind": "simulator", "tenant_id": tenant });
        let provider = made(operator, "/providers", provider).await;
        // The simulator takes no keys.
        let upstream = json!({ "name": format!("Upstream {name}"), "kind": "openai", "tenant_id": tenant,
                               "base_url": "https://api.example.com/v1" });
        let upstream = made(operator, "/providers", upstream).await;
        let provider_key = json!({ "provider_id": upstream, "name": format!("Provider key {name}"), "api_key": "k" });
        let provider_key = made(operator, "/provider-keys", provider_key).await;
        let price =
            json!({ "provider_id": provider, "model": "echo", "input_usd_per_mtok": "1", "output_usd_per_mtok": "1" });
        let price = made(operator, "/prices", price).await;
        let model_name = format!("model-{name}");
        let target = json!({ "provider_id": provider, "model": "echo", "default_max_output_tokens": 16 });
        let model = json!({ "name": model_name, "tenant_id": tenant, "targets": [target] });
        let model = made(operator, "/models", model).await;
        let budget = json!({ "scope": { "tenant_id": tenant }, "limit_usd": "5", "period": "total" });
        let budget = made(operator, "/budgets", budget).await;
        let limit = json!({ "scope": { "tenant_id": tenant }, "requests_per_minute": 1_000_000 });
        let limit = made(operator, "/rate-limits", limit).await;
        let filter = json!({ "resource": format!("tenant/{tenant}") });
        let search = json!({ "name": format!("Search {name}"), "tenant_id": tenant, "filter": filter });
        let search = made(operator, "/audit-searches", search).await;
        let app = gateway.client(key["secret"].as_str());
        let ask = json!({ "model": model_name, "messages": [{ "role": "user", "content": "hello" }] });
        let request = app.post("/v1/inference/chat", &ask).await.must(200).request_id();
        let mut house = Self {
            partner: partner.0.clone(),
            partner_slug: partner.1.clone(),
            tenant,
            slug: name.to_owned(),
            user,
            team,
            key: text(&key["id"]),
            provider,
            provider_key,
            model,
            model_name,
            price,
            budget,
            limit,
            search,
            request,
            marks: vec![],
        };
        house.marks = house.marked(name, &external);
        house
    }

    fn marked(&self, name: &str, external: &str) -> Vec<String> {
        let named = ["Tenant", "User", "Team", "Key", "Provider", "Upstream", "Provider key", "Search"]
            .map(|what| format!("{what} {name}"));
        let ids = [
            &self.tenant, &self.user, &self.team, &self.key, &self.provider, &self.provider_key, &self.model,
            &self.price, &self.budget, &self.limit, &self.search, &self.request, &self.model_name,
        ];
        let marks = ids.into_iter().cloned().chain(named);
        marks.chain([format!("{name}@example.com"), format!("user-{name}"), external.to_owned()]).collect()
    }
}

/// Whoever sends requests: how far it reaches, and what it may do there.
pub struct Stranger {
    pub who: &'static str,
    pub client: Client,
    /// Its key's; none where it has no key.
    pub permissions: Option<&'static [&'static str]>,
    /// Whether all of its partner is within its reach.
    pub reaches_partner: bool,
}

const ALL: &[&str] =
    &["models:use", "usage:read", "audit:read", "events:read", "content:read", "admin:access", "routing:choose"];

impl Stranger {
    /// One of each role that lives in `house`, and nobody.
    pub async fn all_of(gateway: &Gateway, house: &House) -> Vec<Self> {
        let own = json!({ "tenant_id": house.tenant });
        let wide = json!({ "partner_id": house.partner });
        let mut strangers =
            vec![Self { who: "nobody", client: gateway.client(None), permissions: None, reaches_partner: false }];
        let rows: [(&'static str, &Value, &'static [&'static str], bool); 5] = [
            ("member", &own, &["models:use"], false),
            ("analyst", &own, &["usage:read"], false),
            ("auditor", &own, &["usage:read", "audit:read", "events:read"], false),
            ("tenant_admin", &own, ALL, false),
            ("partner_admin", &wide, ALL, true),
        ];
        for (who, scope, permissions, reaches_partner) in rows {
            let user = json!({ "tenant_id": house.tenant, "name": who, "roles": [{ "role": who, "scope": scope }] });
            let user = made(gateway.operator(), "/users", user).await;
            let key = json!({ "user_id": user, "name": who, "permissions": permissions });
            let key = gateway.operator().post("/v1/admin/keys", &key).await.must(201).json();
            let client = gateway.client(key["secret"].as_str());
            strangers.push(Self { who, client, permissions: Some(permissions), reaches_partner });
        }
        strangers
    }

    pub fn may(&self, permission: &str) -> bool {
        self.permissions.is_some_and(|permissions| permissions.contains(&permission))
    }
}
