//! The effect of an owner's end on the resources under it.

use events::refusal::ErrorCode;
use serde_json::{Value, json};

use super::lab::Lab;

/// One resource of each kind that an owner can have, with a change of it.
struct Family {
    lab: Lab,
    partner: String,
    tenant: String,
    user: String,
    key: String,
    secret: String,
    under: Vec<(String, Value)>,
}

impl Family {
    async fn new() -> Self {
        let lab = Lab::new().await;
        let partner = lab.make("/partners", json!({"name": "p"})).await;
        let tenant = lab.make("/tenants", json!({"name": "t", "partner_id": partner})).await;
        let user = lab.make("/users", json!({"name": "u", "tenant_id": tenant})).await;
        let key = lab.made("/keys", json!({"name": "k", "user_id": user})).await;
        let provider = lab.make("/providers", json!({"name": "s", "kind": "simulator", "tenant_id": tenant})).await;
        let target = json!({"provider_id": provider, "model": "echo"});
        let model = lab.make("/models", json!({"name": "m", "tenant_id": tenant, "targets": [target]})).await;
        let (key, secret) = (text(&key["id"]), text(&key["secret"]));
        let budget = json!({"scope": {"key_id": key}, "limit_usd": "1", "period": "total"});
        let budget = lab.make("/budgets", budget).await;
        let limit = lab.make("/rate-limits", json!({"scope": {"key_id": key}, "requests_per_minute": 1})).await;
        let team = lab.make("/teams", json!({"name": "t", "tenant_id": tenant, "user_ids": [user]})).await;
        let name = json!({"name": "n"});
        let under = vec![
            (format!("/budgets/{budget}"), json!({"limit_usd": "2"})),
            (format!("/rate-limits/{limit}"), json!({"requests_per_minute": 2})),
            (format!("/keys/{key}"), name.clone()),
            (format!("/users/{user}"), name.clone()),
            (format!("/teams/{team}"), name.clone()),
            (format!("/models/{model}"), name.clone()),
            (format!("/providers/{provider}"), name.clone()),
            (format!("/tenants/{tenant}"), name),
        ];
        Self { lab, partner, tenant, user, key, secret, under }
    }

    async fn status(&self, method: &str, path: &str, body: &Value) -> u16 {
        self.lab.send(&self.lab.operator(), method, &format!("/v1/admin{path}"), body).await.status
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Holds: admin.parent-ends
#[tokio::test]
async fn resources_under_an_ended_owner_can_be_ended_but_not_changed() {
    let ends = [("partners", 8), ("tenants", 7), ("users", 3), ("keys", 2)];
    for (owner, under) in ends {
        let family = Family::new().await;
        let id = match owner {
            "partners" => &family.partner,
            "tenants" => &family.tenant,
            "users" => &family.user,
            _ => &family.key,
        };
        for (path, change) in &family.under {
            assert_eq!(family.status("PATCH", path, change).await, 200, "{path}");
        }
        assert_eq!(family.status("DELETE", &format!("/{owner}/{id}"), &json!({})).await, 200);
        for (path, change) in &family.under[..under] {
            assert_eq!(family.status("PATCH", path, change).await, 409, "{path} under one of {owner}");
        }
        let rotate = format!("/keys/{}/rotate", family.key);
        assert_eq!(family.status("POST", &rotate, &json!({})).await, 409, "a key under one of {owner}");
        assert_eq!(family.lab.caller(&family.secret).await.err(), Some(ErrorCode::Unauthenticated), "{owner}");
        for (path, _) in &family.under[..under] {
            assert_eq!(family.status("DELETE", path, &json!({})).await, 200, "{path} under one of {owner}");
        }
    }
}

#[tokio::test]
async fn nothing_is_created_under_an_ended_owner() {
    for owner in ["partners", "tenants", "users"] {
        let family = Family::new().await;
        let (id, rows) = match owner {
            "partners" => (&family.partner, 0..),
            "tenants" => (&family.tenant, 1..),
            _ => (&family.user, 5..),
        };
        let budget = |scope: Value| json!({"scope": scope, "limit_usd": "1", "period": "total"});
        let bodies = [
            ("/tenants", json!({"name": "n", "partner_id": family.partner})),
            ("/users", json!({"name": "n", "tenant_id": family.tenant})),
            ("/teams", json!({"name": "n", "tenant_id": family.tenant})),
            ("/providers", json!({"name": "n", "kind": "simulator", "tenant_id": family.tenant})),
            ("/budgets", budget(json!({"tenant_id": family.tenant}))),
            ("/keys", json!({"name": "n", "user_id": family.user})),
            ("/teams", json!({"name": "n", "tenant_id": family.tenant, "user_ids": [family.user]})),
            ("/budgets", budget(json!({"user_id": family.user}))),
            ("/budgets", budget(json!({"key_id": family.key}))),
            ("/rate-limits", json!({"scope": {"key_id": family.key}, "requests_per_minute": 1})),
        ];
        assert_eq!(family.status("DELETE", &format!("/{owner}/{id}"), &json!({})).await, 200);
        for (path, body) in &bodies[rows] {
            assert_eq!(family.status("POST", path, body).await, 409, "{path} {body} under one of {owner}");
        }
    }
}
