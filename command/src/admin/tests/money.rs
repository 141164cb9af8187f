//! Which callers may change budgets, limits, prices and providers: every role, operation and scope.

use std::sync::Arc;

use events::event::admin::Permission;
use projections::caller::Caller;
use serde_json::{Value, json};

use super::lab::{Lab, OPERATOR_KEY};

/// The resources whose bounds a caller could try to loosen.
struct House {
    lab: Lab,
    partner: String,
    tenant: String,
    user: String,
    key: String,
}

/// A caller, with the expected statuses by the scope of the bound that it tries to loosen.
struct Row {
    who: &'static str,
    caller: Arc<Caller>,
    partner: u16,
    tenant: u16,
    below: u16,
    platform: u16,
}

impl House {
    async fn new() -> Self {
        let lab = Lab::new().await;
        let partner = lab.make("/partners", json!({"name": "p"})).await;
        let tenant = lab.make("/tenants", json!({"name": "t", "partner_id": partner})).await;
        let user = lab.make("/users", json!({"name": "u", "tenant_id": tenant})).await;
        let key = lab.make("/keys", json!({"name": "k", "user_id": user})).await;
        Self { lab, partner, tenant, user, key }
    }

    async fn callers(&self) -> Vec<Row> {
        let of_partner = json!({"partner_id": self.partner});
        let role = |role: &str, scope: &Value| json!([{"role": role, "scope": scope}]);
        let own = json!({"tenant_id": self.tenant});
        let all = Permission::ALL;
        let widest = role("partner_admin", &json!("platform"));
        let mut rows = Vec::new();
        for (who, roles, permissions, [partner, tenant, below, platform]) in [
            ("a platform's administrator", widest, all, [200, 200, 200, 200]),
            ("a partner's administrator", role("partner_admin", &of_partner), all, [403, 200, 200, 403]),
            (
                "a tenant's administrator with a partner's reach",
                role("tenant_admin", &of_partner),
                all,
                [403, 200, 200, 403],
            ),
            ("a tenant's administrator", role("tenant_admin", &own), all, [404, 403, 200, 403]),
            ("a partner's auditor who administrates", role("auditor", &of_partner), all, [404, 403, 200, 403]),
            ("nobody of a role who administrates", json!([]), &[Permission::AdminAccess], [404, 403, 200, 403]),
            ("a platform's auditor", role("auditor", &json!("platform")), &[Permission::AuditRead], [403; 4]),
            ("a platform's analyst", role("analyst", &json!("platform")), &[Permission::UsageRead], [403; 4]),
            ("a partner's member", role("member", &of_partner), &[Permission::ModelsUse], [403; 4]),
            (
                "a partner's administrator without the permission",
                role("partner_admin", &of_partner),
                &[Permission::ModelsUse, Permission::UsageRead],
                [403; 4],
            ),
        ] {
            let caller = self.lab.key(&self.tenant, roles, permissions).await;
            rows.push(Row { who, caller, partner, tenant, below, platform });
        }
        let operator = self.lab.caller(OPERATOR_KEY).await.unwrap();
        rows.push(Row { who: "the operator", caller: operator, partner: 200, tenant: 200, below: 200, platform: 200 });
        rows
    }

    async fn must(&self, row: &Row, (method, path): (&str, &str), body: &Value, wanted: u16) {
        let reply = self.lab.send(&row.caller, method, &format!("/v1/admin{path}"), body).await;
        let got = if reply.status == 201 { 200 } else { reply.status };
        assert_eq!(got, wanted, "{} {method} {path} {body}: {:?}", row.who, reply.refusal);
    }

    /// Creates a resource as the caller, then changes and ends one of the operator's.
    async fn tries(&self, row: &Row, path: &str, made: &Value, change: &Value, wanted: u16) {
        let existing = self.lab.make(path, made.clone()).await;
        let one = format!("{path}/{existing}");
        self.must(row, ("POST", path), made, wanted).await;
        self.must(row, ("PATCH", &one), change, wanted).await;
        self.must(row, ("DELETE", &one), &json!({}), wanted).await;
    }
}

/// Holds: admin.wider, admin.platform-only, admin.roles
#[tokio::test]
async fn budgets_and_limits_are_changed_from_a_wider_scope_and_shared_prices_by_the_platform_alone() {
    let house = House::new().await;
    let provider = house.lab.make("/providers", json!({"name": "s", "kind": "simulator"})).await;
    let price = |provider: &str| json!({"provider_id": provider, "model": "echo", "input_usd_per_mtok": "1", "output_usd_per_mtok": "1"});
    let model = |name: &str| json!({"name": name, "targets": [{"provider_id": provider, "model": "echo"}]});
    for (number, row) in house.callers().await.iter().enumerate() {
        for (scope, wanted) in [
            (json!({"partner_id": house.partner}), row.partner),
            (json!({"tenant_id": house.tenant}), row.tenant),
            (json!({"user_id": house.user}), row.below),
            (json!({"key_id": house.key}), row.below),
        ] {
            let budget = json!({"scope": scope, "limit_usd": "1", "period": "total"});
            house.tries(row, "/budgets", &budget, &json!({"limit_usd": "9"}), wanted).await;
            let limit = json!({"scope": scope, "requests_per_minute": 1});
            house.tries(row, "/rate-limits", &limit, &json!({"requests_per_minute": 9}), wanted).await;
        }
        let cheap = json!({"input_usd_per_mtok": "0"});
        house.tries(row, "/prices", &price(&provider), &cheap, row.platform).await;
        // Names are unique, so the new resource has a different name than the changed one.
        let shared = |name: String| json!({"name": name, "kind": "simulator"});
        let one = format!("/providers/{}", house.lab.make("/providers", shared(format!("old-{number}"))).await);
        house.must(row, ("POST", "/providers"), &shared(format!("new-{number}")), row.platform).await;
        house.must(row, ("PATCH", &one), &json!({"timeout_ms": 5}), row.platform).await;
        house.must(row, ("DELETE", &one), &json!({}), row.platform).await;
        let (existing, made) = (model(&format!("old-{number}")), model(&format!("new-{number}")));
        let one = format!("/models/{}", house.lab.make("/models", existing).await);
        house.must(row, ("POST", "/models"), &made, row.platform).await;
        house.must(row, ("PATCH", &one), &json!({"system_prefix": "x"}), row.platform).await;
        house.must(row, ("DELETE", &one), &json!({}), row.platform).await;
    }
}
