use serde_json::json;

use super::*;
use crate::admin::tests::lab::Lab;

#[tokio::test]
async fn a_caller_whose_owner_was_deleted_while_the_body_was_on_its_way_is_not_served() {
    for owner in ["partners", "tenants", "users", "keys"] {
        let lab = Lab::new().await;
        let caller = lab.key(&lab.tenancy.tenant.to_string(), json!([]), &[Permission::ModelsUse]).await;
        let now = lab.admin.clock.now();
        let chain = caller.chain;
        assert!(authorize(&lab.admin.tables.load(), &caller, None, now).is_ok());
        let id = match owner {
            "partners" => chain.partner.unwrap().to_string(),
            "tenants" => chain.tenant.unwrap().to_string(),
            "users" => chain.user.unwrap().to_string(),
            _ => chain.key.unwrap().to_string(),
        };
        let one = format!("/v1/admin/{owner}/{id}");
        lab.send(&lab.operator(), "DELETE", &one, &json!({})).await.must(200);
        let refused = authorize(&lab.admin.tables.load(), &caller, None, now).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Unauthenticated, "{owner}");
    }
}

/// Only the caller that sends the platform's copies is served without a tenant.
#[tokio::test]
async fn only_copies_are_sent_for_no_tenant() {
    let lab = Lab::new().await;
    let nobody = Caller::operator(Chain::default());
    let copies = Caller { actor: Actor::SHADOW, ..nobody.clone() };
    let tables = lab.admin.tables.load();
    let allowed = |caller: Caller| authorize(&tables, &Arc::new(caller), None, lab.admin.clock.now()).is_ok();
    assert_eq!((allowed(copies), allowed(nobody)), (true, false));
}

#[tokio::test]
async fn nobody_is_served_for_a_deleted_tenant() {
    let lab = Lab::new().await;
    let operator = lab.operator();
    assert!(authorize(&lab.admin.tables.load(), &operator, None, lab.admin.clock.now()).is_ok());
    let own = format!("/v1/admin/tenants/{}", lab.tenancy.tenant);
    lab.send(&operator, "DELETE", &own, &json!({})).await.must(200);
    let refused = authorize(&lab.admin.tables.load(), &operator, None, lab.admin.clock.now()).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Forbidden);
}
