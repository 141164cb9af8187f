//! Slugs and external ids of partners, tenants, users and teams.

use std::sync::Arc;

use events::refusal::ErrorCode;
use serde_json::{Value, json};

use super::lab::{Lab, Reply};

async fn post(lab: &Lab, path: &str, body: Value) -> Reply {
    lab.send(&lab.operator(), "POST", &format!("/v1/admin{path}"), &body).await
}

async fn patch(lab: &Lab, path: &str, id: &str, body: Value) -> Reply {
    lab.send(&lab.operator(), "PATCH", &format!("/v1/admin{path}/{id}"), &body).await
}

#[track_caller]
fn is_taken(reply: Reply) {
    let refusal = reply.refused();
    assert_eq!((refusal.code, refusal.details["field"].as_str()), (ErrorCode::Conflict, Some("slug")));
}

/// A path, and two owners whose parts each have their own slugs.
async fn families(lab: &Lab) -> Vec<(&'static str, [Value; 2])> {
    let mut owners = Vec::new();
    for name in ["one", "two"] {
        let partner = lab.make("/partners", json!({ "name": name })).await;
        let tenant = lab.make("/tenants", json!({ "name": name, "partner_id": partner })).await;
        owners.push((json!({ "partner_id": partner }), json!({ "tenant_id": tenant })));
    }
    let [(partner, tenant), (other_partner, other_tenant)] = [owners[0].clone(), owners[1].clone()];
    let tenants = [tenant, other_tenant];
    vec![("/tenants", [partner, other_partner]), ("/users", tenants.clone()), ("/teams", tenants)]
}

fn named(owner: &Value, slug: &str) -> Value {
    let mut body = owner.clone();
    body["name"] = json!("n");
    body["slug"] = json!(slug);
    body
}

/// Holds: http.slug
#[tokio::test]
async fn a_slug_is_unique_beside_its_siblings_and_free_elsewhere() {
    let lab = Lab::new().await;
    lab.made("/partners", json!({"name": "n", "slug": "acme"})).await;
    is_taken(post(&lab, "/partners", json!({"name": "n", "slug": "acme"})).await);
    for (path, [own, other]) in families(&lab).await {
        let first = lab.made(path, named(&own, "acme")).await;
        assert_eq!(first["slug"], "acme");
        is_taken(post(&lab, path, named(&own, "acme")).await);
        lab.made(path, named(&other, "acme")).await;
        let second = lab.make(path, named(&own, "beta")).await;
        is_taken(patch(&lab, path, &second, json!({"slug": "acme"})).await);
        patch(&lab, path, &second, json!({"slug": "beta"})).await.must(200);
    }
}

/// Holds: http.slug
#[tokio::test]
async fn a_slug_that_is_changed_removed_or_ended_is_free() {
    let lab = Lab::new().await;
    let partner = json!({});
    for (path, owner) in
        families(&lab).await.into_iter().map(|(path, [own, _])| (path, own)).chain([("/partners", partner)])
    {
        let first = lab.make(path, named(&owner, "acme")).await;
        patch(&lab, path, &first, json!({"slug": "moved"})).await.must(200);
        let second = lab.make(path, named(&owner, "acme")).await;
        is_taken(patch(&lab, path, &first, json!({"slug": "acme"})).await);
        let removed = patch(&lab, path, &second, json!({"slug": null})).await.must(200);
        assert_eq!(removed["slug"], Value::Null);
        let third = lab.make(path, named(&owner, "acme")).await;
        lab.send(&lab.operator(), "DELETE", &format!("/v1/admin{path}/{third}"), &json!({})).await.must(200);
        patch(&lab, path, &first, json!({"slug": "acme"})).await.must(200);
    }
}

#[tokio::test]
async fn of_concurrent_claims_to_a_slug_one_succeeds() {
    let lab = Arc::new(Lab::new().await);
    let mut wanting = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let lab = Arc::clone(&lab);
        wanting.spawn(async move { post(&lab, "/tenants", json!({"name": "n", "slug": "acme"})).await.status });
    }
    let mut statuses = wanting.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
}

/// Holds: http.slug
#[tokio::test]
async fn an_external_id_is_kept_with_the_rest_of_the_state() {
    let lab = Lab::new().await;
    for path in ["/partners", "/tenants", "/users"] {
        let body = json!({"name": "n", "external_id": "C-1"});
        let (first, second) = (lab.made(path, body.clone()).await, lab.made(path, body).await);
        assert_eq!((&first["external_id"], &second["external_id"]), (&json!("C-1"), &json!("C-1")), "{path}");
        let id = first["id"].as_str().unwrap();
        let renamed = patch(&lab, path, id, json!({"name": "m"})).await.must(200);
        assert_eq!((&renamed["external_id"], &renamed["slug"]), (&json!("C-1"), &Value::Null), "{path}");
        let cleared = patch(&lab, path, id, json!({"external_id": null})).await.must(200);
        assert_eq!((&cleared["external_id"], &cleared["name"]), (&Value::Null, &json!("m")), "{path}");
    }
}

#[tokio::test]
async fn the_default_owners_have_the_slug_default() {
    let lab = Lab::new().await;
    is_taken(post(&lab, "/partners", json!({"name": "n", "slug": "default"})).await);
    is_taken(post(&lab, "/tenants", json!({"name": "n", "slug": "default"})).await);
    is_taken(post(&lab, "/users", json!({"name": "n", "slug": "default"})).await);
}
