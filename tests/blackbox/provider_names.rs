//! Two live providers of one scope cannot have one name.

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::gateway::Gateway;
use crate::tenant::{Tenant, made};

/// Holds: admin.provider-names
#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_give_a_provider_one_name_at_once_one_does() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let operator = gateway.operator();
    for owner in [Value::Null, json!(tenant.id)] {
        let body = json!({ "name": "one", "kind": "simulator", "tenant_id": owner });
        let asked = (0..20).map(|_| operator.post("/v1/admin/providers", &body));
        let replies = futures_util::future::join_all(asked).await;
        let (fine, taken): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 201);
        assert_eq!(fine.len(), 1);
        for reply in taken {
            let error = reply.must_be(409, "CONFLICT").json()["error"].clone();
            assert_eq!(error["details"]["field"], "name", "{error}");
        }
        // The end of the one frees its name.
        let id = fine[0].json()["id"].as_str().expect("an id").to_owned();
        operator.delete(&format!("/v1/admin/providers/{id}")).await.must(200);
        let again = made(operator, "/providers", body).await;
        let other = json!({ "name": "other", "kind": "simulator", "tenant_id": owner });
        let other = made(operator, "/providers", other).await;
        let rename = json!({ "name": "one" });
        operator.patch(&format!("/v1/admin/providers/{other}"), &rename).await.must_be(409, "CONFLICT");
        operator.patch(&format!("/v1/admin/providers/{again}"), &json!({ "name": "first" })).await.must(200);
        operator.patch(&format!("/v1/admin/providers/{other}"), &rename).await.must(200);
    }
}
