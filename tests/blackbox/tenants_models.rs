//! The allow list of a tenant: it binds all of its keys, whatever lists they have themselves.

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::client::Reply;
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Tenant, made};

fn names(listed: &Value) -> Vec<&str> {
    listed["data"].as_array().expect("models").iter().filter_map(|model| model["id"].as_str()).collect()
}

/// Holds: admin.tenants-models
#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_list_binds_each_of_its_keys() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "slow-1", "slow-2"]).await;
    let path = format!("/v1/admin/tenants/{}", tenant.id);
    let operator = gateway.operator();
    let list = json!({ "models": [tenant.model("slow-*"), tenant.model("gone")] });
    let changed = operator.patch(&path, &list).await.must(200).json();
    assert_eq!(changed["models"], list["models"]);
    let of_key = json!({ "models": [tenant.model("ok"), tenant.model("slow-1")] });
    let (_, narrow) = tenant.new_key(&gateway, of_key).await;

    for (app, usable) in [(&tenant.app, &["slow-1", "slow-2"][..]), (&narrow, &["slow-1"][..])] {
        for model in ["ok", "slow-1", "slow-2"] {
            let [asked, found] = if usable.contains(&model) { [200, 200] } else { [403, 404] };
            assert_eq!(app.post(OPENAI, &tenant.ask(model)).await.status, asked, "{model}");
            assert_eq!(app.get(&format!("/v1/models/{}", tenant.model(model))).await.status, found, "{model}");
        }
        let usable: Vec<String> = usable.iter().map(|name| tenant.model(name)).collect();
        let listed = app.get("/v1/models").await.must(200).json();
        assert_eq!(names(&listed), usable);
        assert_eq!(app.get("/v1/me").await.must(200).json()["models"], json!(usable));
    }
    let refused = tenant.chat("ok").await.must_be(403, "MODEL_NOT_ALLOWED").json();
    assert_eq!(refused["error"]["details"]["model"], tenant.model("ok"));
    // Whoever acts for the tenant is bound by it, and nobody else is.
    let acting = operator.clone().with("x-tenant-id", &tenant.id);
    acting.post(NATIVE, &tenant.ask("ok")).await.must_be(403, "MODEL_NOT_ALLOWED");
    operator.post(NATIVE, &tenant.ask("ok")).await.must(200);
    tenant.app.post("/v1/messages/count_tokens", &tenant.ask("ok")).await.must(403);
    tenant.app.post("/v1/messages/count_tokens", &tenant.ask("slow-1")).await.must(200);

    operator.patch(&path, &json!({ "models": null })).await.must(200);
    tenant.chat("ok").await.must(200);
    operator.patch(&path, &json!({ "models": [] })).await.must(200);
    tenant.chat("slow-1").await.must_be(403, "MODEL_NOT_ALLOWED");
    let wrong = operator.patch(&path, &json!({ "models": ["a["] })).await.must_be(400, "INVALID_REQUEST").json();
    assert_eq!(wrong["error"]["details"]["field"], "models", "{wrong}");
}

/// Neither by another list, nor by a model of its own with a name that the list has.
/// Holds: admin.tenants-models
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_cannot_widen_its_list() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let operator = gateway.operator();
    let user = json!({ "tenant_id": tenant.id, "name": "admin", "roles": ["tenant_admin"] });
    let user = made(operator, "/users", user).await;
    let key = json!({ "user_id": user, "name": "admin", "permissions": ["admin:access", "models:use"] });
    let key = operator.post("/v1/admin/keys", &key).await.must(201).json();
    let admin = gateway.client(key["secret"].as_str());
    let path = format!("/v1/admin/tenants/{}", tenant.id);
    let own = |name: &str| {
        let targets = json!([{ "provider_id": tenant.provider, "model": "ok" }]);
        json!({ "name": tenant.model(name), "tenant_id": tenant.id, "targets": targets })
    };
    let before = made(&admin, "/models", own("before")).await;
    admin.patch(&path, &json!({ "models": [tenant.model("ok")] })).await.must_be(403, "FORBIDDEN");
    operator.patch(&path, &json!({ "models": [tenant.model("named")] })).await.must(200);
    admin.patch(&path, &json!({ "models": null })).await.must_be(403, "FORBIDDEN");
    admin.post("/v1/admin/models", &own("named")).await.must_be(403, "FORBIDDEN");
    let rename = json!({ "name": tenant.model("named") });
    admin.patch(&format!("/v1/admin/models/{before}"), &rename).await.must_be(403, "FORBIDDEN");
    operator.post("/v1/admin/models", &own("named")).await.must(201);
}

/// Whoever made them, and whenever: a name of the list means the model that the platform shares.
/// Holds: admin.tenants-models
#[tokio::test(flavor = "multi_thread")]
async fn names_of_a_tenants_list_are_not_those_of_its_own_models() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "other"]).await;
    let operator = gateway.operator();
    let own = |name: &str| {
        let target = json!({ "provider_id": tenant.provider, "model": "other", "default_max_output_tokens": 64 });
        json!({ "name": tenant.model(name), "tenant_id": tenant.id, "targets": [target] })
    };
    for name in ["ok", "taken"] {
        made(operator, "/models", own(name)).await;
    }
    let served_by = |reply: Reply| reply.header("x-ledgerway-backend").rsplit('/').next().map(str::to_owned);
    assert_eq!(served_by(tenant.chat("ok").await.must(200)).as_deref(), Some("other"));
    let path = format!("/v1/admin/tenants/{}", tenant.id);
    operator.patch(&path, &json!({ "models": [tenant.model("ok"), tenant.model("taken")] })).await.must(200);
    assert_eq!(served_by(tenant.chat("ok").await.must(200)).as_deref(), Some("ok"));
    tenant.chat("taken").await.must_be(404, "MODEL_NOT_FOUND");
    assert_eq!(names(&tenant.app.get("/v1/models").await.must(200).json()), [tenant.model("ok")]);
    operator.patch(&path, &json!({ "models": null })).await.must(200);
    assert_eq!(served_by(tenant.chat("ok").await.must(200)).as_deref(), Some("other"));
}
