//! Rights to add providers of a tenant's own, and to set their prices: the tenant's policy and the reach of callers.

use std::sync::Arc;

use events::event::admin::Permission;
use projections::caller::Caller;
use serde_json::{Value, json};

use super::lab::Lab;

struct House {
    lab: Lab,
    tenant: String,
    /// A provider that the platform brought for the tenant.
    brought: String,
    shared: String,
    /// The platform, the partner's administrator, the tenant's, and one of another tenant of the partner.
    callers: [Arc<Caller>; 4],
}

impl House {
    async fn new(own_providers: bool) -> Self {
        let lab = Lab::new().await;
        let partner = lab.make("/partners", json!({"name": "p"})).await;
        let policy = |allowed: bool| json!({"partner_id": partner, "name": "t", "own_providers": allowed});
        let tenant = lab.make("/tenants", policy(own_providers)).await;
        let sister = lab.make("/tenants", policy(true)).await;
        let of_partner = json!([{"role": "partner_admin", "scope": {"partner_id": partner}}]);
        let callers = [
            lab.operator(),
            lab.key(&tenant, of_partner, Permission::ALL).await,
            lab.key(&tenant, json!(["tenant_admin"]), Permission::ALL).await,
            lab.key(&sister, json!(["tenant_admin"]), Permission::ALL).await,
        ];
        let brought = lab.make("/providers", json!({"name": "b", "kind": "simulator", "tenant_id": tenant})).await;
        let shared = lab.make("/providers", json!({"name": "s", "kind": "simulator"})).await;
        Self { lab, tenant, brought, shared, callers }
    }

    /// The statuses that the callers get, one after the other.
    async fn statuses(&self, method: &str, path: &str, body: impl Fn(usize) -> Value) -> [u16; 4] {
        let mut statuses = [0; 4];
        for (number, status) in statuses.iter_mut().enumerate() {
            let caller = &self.callers[number];
            *status = self.lab.send(caller, method, &format!("/v1/admin{path}"), &body(number)).await.status;
        }
        statuses
    }

    fn openai(&self, name: usize, private: bool) -> Value {
        let base_url = if private { "http://10.0.0.1/v1" } else { "https://llm.example.com/v1" };
        json!({"name": format!("openai-{name}"), "kind": "openai", "base_url": base_url, "api_key": "sk-1",
            "tenant_id": self.tenant, "allow_private_network": private})
    }
}

fn price(provider: &str, model: &str) -> Value {
    json!({"provider_id": provider, "model": model, "input_usd_per_mtok": "1", "output_usd_per_mtok": "1"})
}

/// Holds: admin.own-provider, admin.own-prices
#[tokio::test]
async fn a_tenants_administrator_brings_providers_and_their_prices_if_the_policy_allows_it() {
    for (allowed, tenant) in [(false, 403), (true, 201)] {
        let house = House::new(allowed).await;
        let changed = if allowed { 200 } else { 403 };
        assert_eq!(
            house.statuses("POST", "/providers", |number| house.openai(number, false)).await,
            [201, 201, tenant, 404]
        );
        let one = format!("/providers/{}", house.brought);
        assert_eq!(house.statuses("PATCH", &one, |_| json!({"timeout_ms": 5})).await, [200, 200, changed, 404]);
        let own_price = |number: usize| price(&house.brought, &format!("m-{number}"));
        assert_eq!(house.statuses("POST", "/prices", own_price).await, [201, 201, tenant, 404]);
        let made = house.lab.make("/prices", price(&house.brought, "m")).await;
        let cheaper = |_| json!({"input_usd_per_mtok": "0"});
        assert_eq!(house.statuses("PATCH", &format!("/prices/{made}"), cheaper).await, [200, 200, changed, 404]);
        let keyed = house.lab.make("/providers", house.openai(9, false)).await;
        let key = |number: usize| json!({"provider_id": keyed, "name": format!("k-{number}"), "api_key": "sk-2"});
        assert_eq!(house.statuses("POST", "/provider-keys", key).await, [201, 201, tenant, 404]);
        let key_path = format!("/provider-keys/{}", house.lab.make("/provider-keys", key(9)).await);
        assert_eq!(house.statuses("PATCH", &key_path, |_| json!({"weight": 2})).await, [200, 200, changed, 404]);
        // A model of the tenant's own needs no policy: it has no address and no key.
        let model = |number: usize| {
            json!({"name": format!("m-{number}"), "tenant_id": house.tenant,
                "targets": [{"provider_id": house.brought, "model": "echo", "name": "1-primary"}]})
        };
        assert_eq!(house.statuses("POST", "/models", model).await, [201, 201, 201, 404]);
        // To give something up needs none either.
        let price_path = format!("/prices/{made}");
        assert_eq!(
            house.lab.send(&house.callers[3], "DELETE", &format!("/v1/admin{price_path}"), &json!({})).await.status,
            404
        );
        for path in [price_path, key_path, one] {
            let reply = house.lab.send(&house.callers[2], "DELETE", &format!("/v1/admin{path}"), &json!({})).await;
            assert_eq!(reply.status, 200, "{path}");
        }
    }
}

/// Holds: admin.own-prices, admin.platform-only
#[tokio::test]
async fn prices_of_shared_providers_are_the_platforms_whatever_the_policy() {
    let house = House::new(true).await;
    let shared_price = |number: usize| price(&house.shared, &format!("m-{number}"));
    assert_eq!(house.statuses("POST", "/prices", shared_price).await, [201, 403, 403, 403]);
    let made = house.lab.make("/prices", price(&house.shared, "m")).await;
    let cheaper = |_| json!({"input_usd_per_mtok": "0"});
    assert_eq!(house.statuses("PATCH", &format!("/prices/{made}"), cheaper).await, [200, 403, 403, 403]);
    let nobody = "prv_00000000000000000000000000000001";
    assert_eq!(house.statuses("POST", "/prices", |_| price(nobody, "m")).await, [404; 4]);
    // A price stays with its provider.
    let moved = |_| json!({"provider_id": house.brought});
    assert_eq!(house.statuses("PATCH", &format!("/prices/{made}"), moved).await, [400, 403, 403, 403]);
}

/// Holds: admin.own-provider
#[tokio::test]
async fn the_policy_is_changed_from_above_and_opens_no_private_network() {
    let house = House::new(false).await;
    let path = format!("/tenants/{}", house.tenant);
    assert_eq!(house.statuses("PATCH", &path, |_| json!({"own_providers": true})).await, [200, 200, 403, 404]);
    let renamed = house.lab.send(&house.callers[2], "PATCH", &format!("/v1/admin{path}"), &json!({"name": "n"})).await;
    assert_eq!(renamed.must(200)["own_providers"], true, "it keeps what it does not set");
    assert_eq!(house.statuses("POST", "/providers", |number| house.openai(number, true)).await, [201, 403, 403, 404]);
    let made = house.lab.make("/providers", house.openai(9, false)).await;
    let opened = |_| json!({"allow_private_network": true});
    assert_eq!(house.statuses("PATCH", &format!("/providers/{made}"), opened).await, [200, 403, 403, 404]);
    // Taking the policy back stops changes, and nothing else.
    house
        .lab
        .send(&house.callers[1], "PATCH", &format!("/v1/admin{path}"), &json!({"own_providers": false}))
        .await
        .must(200);
    let rotated = |_| json!({"api_key": "sk-2"});
    assert_eq!(house.statuses("PATCH", &format!("/providers/{made}"), rotated).await, [200, 200, 403, 404]);
}
