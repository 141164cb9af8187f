//! Which caller may change which resource. Rows are attempts, columns are callers.

use std::sync::Arc;

use events::event::admin::Permission;
use projections::caller::Caller;
use serde_json::{Value, json};

use super::lab::Lab;

/// Two tenants of one partner and one of another, each with a user, a team, a key and a budget.
struct House {
    lab: Lab,
    partner: String,
    provider: String,
    own: Tenant,
    sister: Tenant,
    stranger: Tenant,
}

struct Tenant {
    id: String,
    user: String,
    team: String,
    key: String,
    tenant_budget: String,
    user_budget: String,
}

impl House {
    async fn new() -> Self {
        let lab = Lab::new().await;
        let partner = lab.make("/partners", json!({"name": "p"})).await;
        let other = lab.make("/partners", json!({"name": "q"})).await;
        let provider = lab.make("/providers", json!({"name": "s", "kind": "simulator"})).await;
        let own = Tenant::new(&lab, &partner).await;
        let sister = Tenant::new(&lab, &partner).await;
        let stranger = Tenant::new(&lab, &other).await;
        Self { lab, partner, provider, own, sister, stranger }
    }

    async fn callers(&self) -> [Arc<Caller>; 3] {
        let of_partner = json!([{"role": "partner_admin", "scope": {"partner_id": self.partner}}]);
        [
            self.lab.operator(),
            self.lab.key(&self.own.id, of_partner, Permission::ALL).await,
            self.lab.key(&self.own.id, json!([]), Permission::ALL).await,
        ]
    }
}

impl Tenant {
    async fn new(lab: &Lab, partner: &str) -> Self {
        let id = lab.make("/tenants", json!({"partner_id": partner, "name": "t", "own_providers": true})).await;
        let user = lab.make("/users", json!({"tenant_id": id, "name": "u"})).await;
        let key = lab.make("/keys", json!({"user_id": user, "name": "k"})).await;
        let budget = |scope: Value| json!({"scope": scope, "limit_usd": "1", "period": "total"});
        let tenant_budget = lab.make("/budgets", budget(json!({"tenant_id": id}))).await;
        let user_budget = lab.make("/budgets", budget(json!({"user_id": user}))).await;
        let team = lab.make("/teams", json!({"tenant_id": id, "name": "t", "user_ids": [user]})).await;
        Self { id, user, team, key, tenant_budget, user_budget }
    }
}

/// Holds: admin.roles, admin.foreign, admin.wider, admin.platform-only, admin.own-provider
#[tokio::test]
async fn each_reach_manages_what_lies_within_it_and_sees_nothing_else() {
    let house = House::new().await;
    let House { partner, provider, own, sister, stranger, .. } = &house;
    let user = |tenant: &Tenant| json!({"tenant_id": tenant.id, "name": "n"});
    let team = |tenant: &Tenant| json!({"tenant_id": tenant.id, "name": "n", "user_ids": [tenant.user]});
    let key = |tenant: &Tenant| json!({"user_id": tenant.user, "name": "n"});
    let budget = |scope: Value| json!({"scope": scope, "limit_usd": "1", "period": "total"});
    let limit = |scope: Value| json!({"scope": scope, "requests_per_minute": 1});
    let name = json!({"name": "n"});
    let more = json!({"limit_usd": "9"});
    let own_provider = json!({"name": "n", "kind": "simulator", "tenant_id": own.id});
    let strange_provider = json!({"name": "n", "kind": "simulator", "tenant_id": stranger.id});
    let open_provider = json!({"name": "open", "kind": "openai", "base_url": "http://10.0.0.1", "tenant_id": own.id,
                               "allow_private_network": true});
    let price = json!({"provider_id": provider, "model": "m", "input_usd_per_mtok": "1", "output_usd_per_mtok": "1"});
    let model = |name: &str, tenant: Option<&Tenant>| {
        json!({"name": name, "targets": [{"provider_id": provider, "model": "echo"}],
               "tenant_id": tenant.map(|tenant| tenant.id.clone())})
    };
    let search = |name: &str, tenant: Option<&Tenant>| json!({"name": name, "filter": {"q": "x"}, "tenant_id": tenant.map(|tenant| tenant.id.clone())});
    // The statuses for the platform, the partner and the tenant.
    let rows: Vec<(&str, String, Value, [u16; 3])> = vec![
        ("POST", "/partners".into(), name.clone(), [201, 403, 403]),
        ("PATCH", format!("/partners/{partner}"), name.clone(), [200, 200, 404]),
        ("POST", "/tenants".into(), json!({"partner_id": partner, "name": "n"}), [201, 201, 403]),
        ("PATCH", format!("/tenants/{}", own.id), name.clone(), [200, 200, 200]),
        ("PATCH", format!("/tenants/{}", sister.id), name.clone(), [200, 200, 404]),
        ("PATCH", format!("/tenants/{}", stranger.id), name.clone(), [200, 404, 404]),
        ("POST", "/users".into(), user(own), [201, 201, 201]),
        ("POST", "/users".into(), user(sister), [201, 201, 404]),
        ("POST", "/users".into(), user(stranger), [201, 404, 404]),
        ("PATCH", format!("/users/{}", stranger.user), name.clone(), [200, 404, 404]),
        ("POST", "/teams".into(), team(own), [201, 201, 201]),
        ("POST", "/teams".into(), team(sister), [201, 201, 404]),
        ("POST", "/teams".into(), team(stranger), [201, 404, 404]),
        ("PATCH", format!("/teams/{}", own.team), json!({"user_ids": [sister.user]}), [404, 404, 404]),
        ("PATCH", format!("/teams/{}", stranger.team), name.clone(), [200, 404, 404]),
        ("POST", "/budgets".into(), budget(json!({"team_id": own.team})), [201, 201, 201]),
        ("POST", "/budgets".into(), budget(json!({"team_id": stranger.team})), [201, 404, 404]),
        ("POST", "/rate-limits".into(), limit(json!({"team_id": sister.team})), [201, 201, 404]),
        ("POST", "/keys".into(), key(own), [201, 201, 201]),
        ("POST", "/keys".into(), key(sister), [201, 201, 404]),
        ("POST", "/keys".into(), key(stranger), [201, 404, 404]),
        ("PATCH", format!("/keys/{}", stranger.key), name.clone(), [200, 404, 404]),
        ("POST", format!("/keys/{}/rotate", stranger.key), json!({}), [200, 404, 404]),
        ("POST", format!("/keys/{}/rotate", own.key), json!({}), [200, 200, 200]),
        ("POST", "/budgets".into(), budget(json!({"partner_id": partner})), [201, 403, 404]),
        ("POST", "/budgets".into(), budget(json!({"tenant_id": own.id})), [201, 201, 403]),
        ("POST", "/budgets".into(), budget(json!({"user_id": own.user})), [201, 201, 201]),
        ("POST", "/budgets".into(), budget(json!({"key_id": own.key})), [201, 201, 201]),
        ("POST", "/budgets".into(), budget(json!({"key_id": stranger.key})), [201, 404, 404]),
        ("PATCH", format!("/budgets/{}", own.tenant_budget), more.clone(), [200, 200, 403]),
        ("PATCH", format!("/budgets/{}", own.user_budget), more.clone(), [200, 200, 200]),
        ("PATCH", format!("/budgets/{}", stranger.tenant_budget), more.clone(), [200, 404, 404]),
        ("DELETE", format!("/budgets/{}", stranger.user_budget), json!({}), [200, 404, 404]),
        ("POST", "/rate-limits".into(), limit(json!({"tenant_id": own.id})), [201, 201, 403]),
        ("POST", "/rate-limits".into(), limit(json!({"user_id": own.user})), [201, 201, 201]),
        ("POST", "/providers".into(), json!({"name": "n", "kind": "simulator"}), [201, 403, 403]),
        ("POST", "/providers".into(), own_provider, [201, 409, 409]),
        ("POST", "/providers".into(), strange_provider, [201, 404, 404]),
        ("POST", "/providers".into(), open_provider, [201, 403, 403]),
        ("PATCH", format!("/providers/{provider}"), json!({"name": "renamed"}), [200, 403, 403]),
        ("POST", "/prices".into(), price, [201, 403, 403]),
        ("POST", "/models".into(), model("shared", None), [201, 403, 403]),
        ("POST", "/models".into(), model("a", Some(own)), [201, 409, 409]),
        ("POST", "/models".into(), model("b", Some(stranger)), [201, 404, 404]),
        ("POST", "/audit-searches".into(), search("a", None), [201, 403, 403]),
        ("POST", "/audit-searches".into(), search("a", Some(own)), [201, 409, 409]),
        ("POST", "/audit-searches".into(), search("a", Some(sister)), [201, 409, 404]),
        ("POST", "/audit-searches".into(), search("a", Some(stranger)), [201, 404, 404]),
        ("DELETE", format!("/tenants/{}", own.id), json!({}), [0, 0, 403]),
    ];
    let callers = house.callers().await;
    for (method, path, body, wanted) in rows {
        for (caller, wanted) in callers.iter().zip(wanted).filter(|(_, wanted)| *wanted != 0) {
            let reply = house.lab.send(caller, method, &format!("/v1/admin{path}"), &body).await;
            assert_eq!(reply.status, wanted, "{:?} {method} {path} {body}: {:?}", caller.reach, reply.refusal);
        }
    }
}

#[tokio::test]
async fn an_administrators_key_needs_the_permission() {
    let lab = Lab::new().await;
    let user = lab.key(&lab.tenancy.tenant.to_string(), json!([]), &[Permission::ModelsUse]).await;
    assert_eq!(lab.send(&user, "POST", "/v1/admin/users", &json!({"name": "n"})).await.status, 403);
}

/// Holds: admin.giver
#[tokio::test]
async fn a_caller_gives_no_rights_that_it_does_not_have() {
    let lab = Lab::new().await;
    let tenant = lab.tenancy.tenant.to_string();
    let admin = lab.key(&tenant, json!(["tenant_admin"]), &[Permission::AdminAccess, Permission::UsageRead]).await;
    let wide = json!([{"role": "partner_admin", "scope": {"partner_id": lab.tenancy.partner.to_string()}}]);
    let boss = lab.make("/users", json!({"name": "boss", "roles": wide})).await;
    let boss_key = lab.make("/keys", json!({"user_id": boss, "name": "k", "permissions": ["admin:access"]})).await;
    let audit_key = lab.make("/keys", json!({"name": "k", "permissions": ["audit:read"]})).await;
    let status = async |method: &str, path: &str, body: Value| {
        lab.send(&admin, method, &format!("/v1/admin{path}"), &body).await.status
    };
    // Permissions.
    assert_eq!(status("POST", "/keys", json!({"name": "n", "permissions": ["usage:read"]})).await, 201);
    assert_eq!(status("POST", "/keys", json!({"name": "n", "permissions": ["audit:read"]})).await, 403);
    assert_eq!(status("PATCH", &format!("/keys/{audit_key}"), json!({"permissions": ["events:read"]})).await, 403);
    assert_eq!(status("POST", &format!("/keys/{audit_key}/rotate"), json!({})).await, 403);
    // Roles.
    assert_eq!(status("POST", "/users", json!({"name": "n", "roles": ["tenant_admin"]})).await, 201);
    assert_eq!(status("POST", "/users", json!({"name": "n", "roles": wide})).await, 403);
    let platform = json!([{"role": "auditor", "scope": "platform"}]);
    assert_eq!(status("POST", "/users", json!({"name": "n", "roles": platform})).await, 403);
    // Whoever reaches further is neither changed, ended nor impersonated.
    assert_eq!(
        status("POST", "/keys", json!({"user_id": boss, "name": "n", "permissions": ["usage:read"]})).await,
        403
    );
    assert_eq!(status("PATCH", &format!("/users/{boss}"), json!({"roles": []})).await, 403);
    assert_eq!(status("DELETE", &format!("/users/{boss}"), json!({})).await, 403);
    assert_eq!(status("POST", &format!("/keys/{boss_key}/rotate"), json!({})).await, 403);
}

/// Holds: admin.giver
#[tokio::test]
async fn extending_a_key_needs_the_rights_to_create_it() {
    let lab = Lab::new().await;
    let tenant = lab.tenancy.tenant.to_string();
    let admin = lab.key(&tenant, json!(["tenant_admin"]), &[Permission::AdminAccess]).await;
    let until = "2026-12-01T00:00:00Z";
    let audit = json!({"name": "k", "permissions": ["audit:read"], "expires_at": until});
    let audit = format!("/v1/admin/keys/{}", lab.make("/keys", audit).await);
    let status = async |body: Value| lab.send(&admin, "PATCH", &audit, &body).await.status;
    assert_eq!(status(json!({"name": "renamed"})).await, 200);
    assert_eq!(status(json!({"expires_at": "2026-12-02T00:00:00Z"})).await, 403);
    assert_eq!(status(json!({"expires_at": null})).await, 403);
    assert_eq!(status(json!({"expires_at": "2026-11-30T00:00:00Z"})).await, 200);
    assert_eq!(status(json!({"permissions": []})).await, 200);
}

/// Holds: admin.giver
#[tokio::test]
async fn a_caller_with_an_allow_list_gives_no_other_models() {
    let lab = Lab::new().await;
    let permissions = json!(["admin:access", "models:use"]);
    let admin = lab.made("/keys", json!({"name": "k", "permissions": permissions, "models": ["sim-*"]})).await;
    let admin = lab.caller(admin["secret"].as_str().unwrap()).await.unwrap();
    let open = lab.make("/keys", json!({"name": "open"})).await;
    let given = lab.make("/keys", json!({"name": "given", "models": ["sim-small"]})).await;
    let status = async |method: &str, path: String, body: Value| {
        lab.send(&admin, method, &format!("/v1/admin/keys{path}"), &body).await.status
    };
    for (models, wanted) in [
        (json!(["sim-*"]), 201),
        (json!(["sim-large"]), 201),
        (json!([]), 201),
        (json!(["*"]), 403),
        (json!(["gpt-4o"]), 403),
        (json!(["sim-*", "gpt-4o"]), 403),
        (Value::Null, 403),
    ] {
        let body = json!({"name": "n", "models": models});
        assert_eq!(status("POST", String::new(), body).await, wanted, "{models}");
    }
    // A key that administers could give the names of the list other models.
    assert_eq!(status("POST", String::new(), json!({"name": "n", "permissions": ["admin:access"]})).await, 403);
    // One that neither uses nor administers models needs no allow list.
    assert_eq!(status("POST", String::new(), json!({"name": "n", "permissions": []})).await, 201);
    assert_eq!(status("PATCH", format!("/{given}"), json!({"models": null})).await, 403);
    assert_eq!(status("PATCH", format!("/{given}"), json!({"models": ["sim-large"]})).await, 200);
    assert_eq!(status("POST", format!("/{open}/rotate"), json!({})).await, 403);
    assert_eq!(status("POST", format!("/{given}/rotate"), json!({})).await, 200);
}

#[tokio::test]
async fn only_owners_above_a_tenant_change_its_handles() {
    let house = House::new().await;
    let callers = house.callers().await;
    for handle in [json!({"slug": "acme"}), json!({"external_id": "C-1"}), json!({"slug": null})] {
        for (path, wanted) in [
            (format!("/partners/{}", house.partner), [200, 403, 404]),
            (format!("/tenants/{}", house.own.id), [200, 200, 403]),
            (format!("/users/{}", house.own.user), [200, 200, 200]),
        ] {
            for (caller, wanted) in callers.iter().zip(wanted) {
                let reply = house.lab.send(caller, "PATCH", &format!("/v1/admin{path}"), &handle).await;
                assert_eq!(reply.status, wanted, "{:?} {path} {handle}", caller.reach);
            }
        }
    }
}

#[tokio::test]
async fn a_role_contains_the_users_own_tenant() {
    let lab = Lab::new().await;
    let other = lab.make("/tenants", json!({"name": "other"})).await;
    let roles = json!([{"role": "auditor", "scope": {"tenant_id": other}}]);
    let reply = lab.send(&lab.operator(), "POST", "/v1/admin/users", &json!({"name": "n", "roles": roles})).await;
    assert_eq!(reply.wrong_field(), "roles[0].scope");
}

#[tokio::test]
async fn nothing_is_created_under_an_ended_or_unknown_owner() {
    let lab = Lab::new().await;
    let tenant = lab.make("/tenants", json!({"name": "t"})).await;
    lab.send(&lab.operator(), "DELETE", &format!("/v1/admin/tenants/{tenant}"), &json!({})).await.must(200);
    let nobody = "ten_00000000000000000000000000000001";
    for (tenant, status) in [(tenant.as_str(), 409), (nobody, 404)] {
        let reply =
            lab.send(&lab.operator(), "POST", "/v1/admin/users", &json!({"tenant_id": tenant, "name": "n"})).await;
        assert_eq!(reply.status, status);
        assert_eq!(reply.refused().details["field"], "tenant_id");
    }
    for one in ["/tenants/nonsense", "/tenants/ten_00000000000000000000000000000001"] {
        assert_eq!(lab.send(&lab.operator(), "DELETE", &format!("/v1/admin{one}"), &json!({})).await.status, 404);
    }
}

#[tokio::test]
async fn a_tenant_does_not_choose_a_private_address_by_a_key_that_names_one() {
    let house = House::new().await;
    let provider = json!({"name": "v", "kind": "vertex", "base_url": "http://10.0.0.1/v1", "tenant_id": house.own.id,
        "allow_private_network": true});
    let id = house.lab.make("/providers", provider).await;
    let mut key: Value = serde_json::from_str(crate::service_account::tests::KEY).expect("a key");
    let googles = key.to_string();
    key["token_uri"] = json!("http://127.0.0.1:8080/v1/admin/anything");
    // A key that names no address of its own, or is not exchanged, can be rotated by whoever owns the provider.
    for (key, wanted) in [(key.to_string(), [200, 403, 403]), (googles, [200; 3]), ("ya29.token".to_owned(), [200; 3])]
    {
        for (caller, status) in house.callers().await.iter().zip(wanted) {
            let path = format!("/v1/admin/providers/{id}");
            let reply = house.lab.send(caller, "PATCH", &path, &json!({ "api_key": key })).await;
            assert_eq!(reply.status, status, "{:?} {key:.10}", caller.reach);
        }
    }
}

#[tokio::test]
async fn nor_by_one_that_waits_for_the_permission() {
    let house = House::new().await;
    let with_key = |token_uri: &str| {
        let mut key: Value = serde_json::from_str(crate::service_account::tests::KEY).expect("a key");
        key["token_uri"] = json!(token_uri);
        json!({"name": "v", "kind": "vertex", "base_url": "https://aiplatform.googleapis.com/v1/projects/p/locations/global",
            "api_key": key.to_string(),
            "tenant_id": house.own.id})
    };
    for caller in house.callers().await {
        for elsewhere in [
            "http://127.0.0.1:8080/token",
            "https://oauth2.googleapis.com.example.com/token",
            "https://oauth2.googleapis.com",
        ] {
            let reply = house.lab.send(&caller, "POST", "/v1/admin/providers", &with_key(elsewhere)).await;
            assert!(reply.refused().message.contains("token_uri"), "{:?} {elsewhere}", caller.reach);
        }
        let google = with_key("https://accounts.google.com/o/oauth2/token");
        let id = house.lab.send(&caller, "POST", "/v1/admin/providers", &google).await.must(201)["id"].take();
        let one = format!("/v1/admin/providers/{}", id.as_str().expect("an id"));
        let key = json!({"api_key": with_key("http://127.0.0.1:8080/token")["api_key"]});
        assert_eq!(house.lab.send(&caller, "PATCH", &one, &key).await.status, 400);
        house.lab.send(&caller, "DELETE", &one, &json!({})).await.must(200);
    }
    let both = json!({"allow_private_network": true, "api_key": with_key("http://127.0.0.1:8080/token")["api_key"]});
    let id = house.lab.make("/providers", with_key("https://oauth2.googleapis.com/token")).await;
    for (caller, status) in house.callers().await.iter().zip([200, 403, 403]) {
        let reply = house.lab.send(caller, "PATCH", &format!("/v1/admin/providers/{id}"), &both).await;
        assert_eq!(reply.status, status, "{:?}", caller.reach);
    }
}
