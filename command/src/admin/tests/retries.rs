//! `Idempotency-Key`: a retry gets the same reply and changes nothing.

use std::sync::Arc;

use events::event::admin::Permission;
use events::event::{Chain, Change, Event, Recorded, Resource};
use events::ids::ProviderId;
use events::refusal::ErrorCode;
use http::HeaderValue;
use projections::caller::Caller;
use secrets::Secret;
use secrets::vault::Sealing;
use serde_json::{Value, json};

use super::lab::{Lab, Reply, json_type};

async fn send(lab: &Lab, key: &'static str, method: &str, path: &str, body: &Value) -> Reply {
    let mut headers = json_type();
    headers.insert("idempotency-key", HeaderValue::from_static(key));
    let path = format!("/v1/admin{path}");
    lab.request(&lab.operator(), method, &path, body.to_string().into_bytes(), headers).await
}

/// Holds: admin.idempotency
#[tokio::test]
async fn a_retry_gets_the_same_reply_and_changes_nothing() {
    let lab = Lab::new().await;
    let first = send(&lab, "once", "POST", "/partners", &json!({"name": "Alpha"})).await;
    let position = first.position;
    let first = first.must(201);
    let one = format!("/partners/{}", first["id"].as_str().unwrap());
    send(&lab, "change", "PATCH", &one, &json!({"name": "Beta"})).await.must(200);
    let events = lab.events().await.len();
    let again = send(&lab, "once", "POST", "/partners", &json!({"name": "Alpha"})).await;
    assert_eq!((again.position, again.must(201)), (position, first), "as it was then, not as it is now");
    assert_eq!(lab.events().await.len(), events);
}

/// Holds: admin.idempotency-reused
#[tokio::test]
async fn the_same_key_with_another_body_path_or_method_is_a_conflict() {
    let lab = Lab::new().await;
    send(&lab, "once", "POST", "/partners", &json!({"name": "Alpha"})).await.must(201);
    for (method, path, body) in [
        ("POST", "/partners", json!({"name": "Beta"})),
        ("POST", "/tenants", json!({"name": "Alpha"})),
        ("DELETE", "/partners/par_00000000000000000000000000000001", json!({})),
    ] {
        assert_eq!(send(&lab, "once", method, path, &body).await.refused().code, ErrorCode::IdempotencyKeyReused);
    }
}

#[tokio::test]
async fn the_same_key_for_another_tenant_is_a_conflict() {
    let lab = Lab::new().await;
    let other = lab.make("/tenants", json!({"name": "other"})).await;
    let mut headers = json_type();
    headers.insert("idempotency-key", HeaderValue::from_static("once"));
    let body = json!({"name": "Ada"}).to_string().into_bytes();
    lab.request(&lab.operator(), "POST", "/v1/admin/users", body.clone(), headers.clone()).await.must(201);
    let chain = Chain { tenant: Some(other.parse().unwrap()), ..lab.tenancy.chain() };
    let there = Arc::new(Caller::operator(chain));
    let reply = lab.request(&there, "POST", "/v1/admin/users", body, headers).await;
    assert_eq!(reply.refused().code, ErrorCode::IdempotencyKeyReused);
}

/// Holds: admin.idempotency, http.key-shown-once
#[tokio::test]
async fn a_retried_key_has_no_secret() {
    let lab = Lab::new().await;
    let mut first = send(&lab, "once", "POST", "/keys", &json!({"name": "app"})).await.must(201);
    let again = send(&lab, "once", "POST", "/keys", &json!({"name": "app"})).await.must(201);
    let secret = first.as_object_mut().unwrap().remove("secret").unwrap();
    assert!(secret.as_str().unwrap().starts_with("sgk_"));
    assert_eq!(again, first);
    let one = format!("/keys/{}/rotate", first["id"].as_str().unwrap());
    let mut turned = send(&lab, "turn", "POST", &one, &json!({})).await.must(200);
    assert!(turned.as_object_mut().unwrap().remove("secret").unwrap().is_string());
    assert_eq!(turned["previous_expires_at"], "2026-11-20T09:00:00.000000Z");
    lab.wait(5);
    send(&lab, "later", "POST", &one, &json!({"overlap_seconds": 0})).await.must(200);
    assert_eq!(send(&lab, "turn", "POST", &one, &json!({})).await.must(200), turned, "as it was then");
}

#[tokio::test]
async fn retries_at_the_same_time_make_one_resource() {
    let lab = Lab::new().await;
    let before = lab.events().await.len();
    let body = json!({"name": "Alpha"});
    let (one, two, three) = tokio::join!(
        send(&lab, "once", "POST", "/partners", &body),
        send(&lab, "once", "POST", "/partners", &body),
        send(&lab, "once", "POST", "/partners", &body),
    );
    let [one, two, three] = [one.must(201), two.must(201), three.must(201)];
    assert_eq!((&one, &one), (&two, &three));
    assert_eq!(lab.events().await.len(), before + 1);
}

#[tokio::test]
async fn changes_at_the_same_time_all_happen() {
    let lab = Lab::new().await;
    let partner = format!("/v1/admin/partners/{}", lab.tenancy.partner);
    let operator = lab.operator();
    let before = lab.events().await.len();
    let rename = |name: &'static str| {
        let (lab, operator, partner) = (&lab, &operator, &partner);
        async move { lab.send(operator, "PATCH", partner, &json!({ "name": name })).await.must(200) }
    };
    let (one, two) = tokio::join!(rename("one"), rename("two"));
    assert_eq!((&one["name"], &two["name"]), (&json!("one"), &json!("two")));
    assert_eq!(lab.events().await.len(), before + 2);
}

/// Takes a right away from a caller while it waits, or before it retries.
async fn take_away(lab: &Lab, caller: &Caller, what: &str) {
    let (key, user) = (caller.chain.key.unwrap(), caller.chain.user.unwrap());
    let (method, path, body) = match what {
        "the key" => ("DELETE", format!("/v1/admin/keys/{key}"), json!({})),
        "the permission" => ("PATCH", format!("/v1/admin/keys/{key}"), json!({"permissions": ["usage:read"]})),
        "the role" => ("PATCH", format!("/v1/admin/users/{user}"), json!({"roles": []})),
        other => unreachable!("{other}"),
    };
    lab.send(&lab.operator(), method, &path, &body).await.must(200);
}

async fn partner_admin(lab: &Lab) -> Arc<Caller> {
    let roles = json!([{"role": "partner_admin", "scope": {"partner_id": lab.tenancy.partner.to_string()}}]);
    lab.key(&lab.tenancy.tenant.to_string(), roles, &[Permission::AdminAccess, Permission::UsageRead]).await
}

/// Holds: http.caller-when-complete
#[tokio::test]
async fn a_right_that_is_taken_away_while_a_secret_waits_to_be_sealed_is_not_used() {
    for (what, wanted) in [
        ("the key", ErrorCode::Unauthenticated),
        ("the permission", ErrorCode::Forbidden),
        ("the role", ErrorCode::NotFound),
    ] {
        let lab = Lab::new().await;
        let sister = lab.make("/tenants", json!({"name": "sister"})).await;
        let admin = partner_admin(&lab).await;
        let (mut sealing, other) = (Sealing::default(), lab.admin.ids.make::<ProviderId>());
        lab.admin.vault.seal(&mut sealing, None, other, 1, &Secret::new("sk-1")).await.unwrap();
        let body = json!({"name": "late", "kind": "openai", "base_url": "https://llm.example.com/v1", "api_key": "sk-2",
            "tenant_id": sister});
        // The first of them runs until it waits for its turn.
        let (reply, ()) = tokio::join!(biased; lab.send(&admin, "POST", "/v1/admin/providers", &body), async {
            take_away(&lab, &admin, what).await;
            drop(sealing);
        });
        assert_eq!(reply.refused().code, wanted, "{what}");
        let is_late = |recorded: &Recorded| matches!(&recorded.event, Event::Resource(Resource::Provider(Change::Created(made))) if made.name == "late");
        assert!(!lab.events().await.iter().any(is_late), "{what}");
    }
}

/// Holds: admin.idempotency-visible
#[tokio::test]
async fn a_replay_shows_nothing_that_its_caller_can_no_longer_see() {
    for (what, wanted) in [
        ("the key", ErrorCode::Unauthenticated),
        ("the permission", ErrorCode::Forbidden),
        ("the role", ErrorCode::NotFound),
    ] {
        let lab = Lab::new().await;
        let sister = lab.make("/tenants", json!({"name": "sister"})).await;
        let admin = partner_admin(&lab).await;
        let retried = async |key: &'static str, method: &str, path: &str, body: &Value| {
            let mut headers = json_type();
            headers.insert("idempotency-key", HeaderValue::from_static(key));
            lab.request(&admin, method, path, body.to_string().into_bytes(), headers).await
        };
        let create = json!({"tenant_id": sister, "name": "Ada"});
        let user = retried("made", "POST", "/v1/admin/users", &create).await.must(201);
        let one = format!("/v1/admin/users/{}", user["id"].as_str().unwrap());
        let rename = json!({"name": "Ada L."});
        retried("changed", "PATCH", &one, &rename).await.must(200);
        retried("changed", "PATCH", &one, &rename).await.must(200);
        take_away(&lab, &admin, what).await;
        for (key, method, path, body) in
            [("made", "POST", "/v1/admin/users", &create), ("changed", "PATCH", one.as_str(), &rename)]
        {
            assert_eq!(retried(key, method, path, body).await.refused().code, wanted, "{what}: {method}");
        }
    }
}

#[tokio::test]
async fn a_replay_shows_no_user_that_its_caller_can_no_longer_manage() {
    let lab = Lab::new().await;
    let admin = partner_admin(&lab).await;
    let body = json!({"name": "Ada"}).to_string().into_bytes();
    let mut headers = json_type();
    headers.insert("idempotency-key", HeaderValue::from_static("made"));
    let retried = async || lab.request(&admin, "POST", "/v1/admin/users", body.clone(), headers.clone()).await;
    let user = retried().await.must(201);
    let one = format!("/v1/admin/users/{}", user["id"].as_str().unwrap());
    let wider = json!({"roles": [{"role": "auditor", "scope": "platform"}]});
    lab.send(&lab.operator(), "PATCH", &one, &wider).await.must(200);
    assert_eq!(retried().await.refused().code, ErrorCode::Forbidden);
}
