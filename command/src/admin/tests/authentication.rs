//! Authentication over a real log: keys are created by administration and sent as clients send them.

use std::time::Instant;

use events::event::Actor;
use events::event::admin::{Permission, Reach};
use events::refusal::ErrorCode;
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::lab::{Lab, OPERATOR_KEY, bearer, json_type};

async fn key(lab: &Lab, body: Value) -> (String, String) {
    let made = lab.made("/keys", body).await;
    (made["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
}

fn for_tenant(secret: &str, tenant: &str) -> HeaderMap {
    let mut headers = bearer(secret);
    headers.insert("x-tenant-id", tenant.parse().unwrap());
    headers
}

/// Holds: http.authorization, admin.keys
#[tokio::test]
async fn a_key_is_its_users_and_does_what_it_was_given() {
    let lab = Lab::new().await;
    let (id, secret) = key(&lab, json!({"name": "app", "permissions": ["usage:read"], "models": ["sim-*"]})).await;
    let caller = lab.caller(&secret).await.unwrap();
    assert_eq!(caller.actor, Actor::Key(id.parse().unwrap()));
    assert_eq!(caller.chain.user, Some(lab.tenancy.user));
    assert_eq!((caller.may(Permission::UsageRead), caller.may(Permission::ModelsUse)), (true, false));
    assert!(caller.allows_model("sim-small") && !caller.allows_model("gpt"));
    assert_eq!(caller.reach, Reach::Tenant(lab.tenancy.tenant));
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", secret.parse().unwrap());
    assert!(lab.auth.authenticate(&headers).await.is_ok(), "as the Anthropic SDKs send it");
    headers.insert("authorization", format!("bearer  {secret}").parse().unwrap());
    assert!(lab.auth.authenticate(&headers).await.is_ok(), "the scheme in any case");
}

/// Holds: http.unauthenticated
#[tokio::test]
async fn other_texts_than_our_keys_are_unauthenticated() {
    let lab = Lab::new().await;
    let (_, secret) = key(&lab, json!({"name": "app"})).await;
    let last = if secret.ends_with('a') { "b" } else { "a" };
    let other = format!("{}{last}", &secret[..secret.len() - 1]);
    for wrong in ["", "sgk_garbage", "Bearer", &other, &secret[1..], &format!("{OPERATOR_KEY}x")] {
        assert_eq!(lab.caller(wrong).await.err(), Some(ErrorCode::Unauthenticated), "{wrong}");
    }
    assert!(lab.auth.authenticate(&HeaderMap::new()).await.is_err());
    let mut basic = HeaderMap::new();
    basic.insert("authorization", format!("Basic {secret}").parse().unwrap());
    assert!(lab.auth.authenticate(&basic).await.is_err());
    basic.insert("authorization", HeaderValue::from_bytes(b"Bearer \xff").unwrap());
    assert!(lab.auth.authenticate(&basic).await.is_err());
}

/// Holds: admin.parent-ends, admin.in-force
#[tokio::test]
async fn a_revoked_key_stops_at_once_and_so_do_the_keys_of_an_ended_parent() {
    let lab = Lab::new().await;
    let (id, secret) = key(&lab, json!({"name": "app"})).await;
    let (_, other) = key(&lab, json!({"name": "other"})).await;
    lab.caller(&secret).await.unwrap();
    lab.caller(&other).await.unwrap();
    lab.send(&lab.operator(), "DELETE", &format!("/v1/admin/keys/{id}"), &json!({})).await.must(200);
    assert_eq!(lab.caller(&secret).await.err(), Some(ErrorCode::Unauthenticated));
    assert_eq!(lab.auth.presented_key(&bearer(&secret)).map(|key| key.to_string()), Some(id));
    assert_eq!(lab.auth.presented_key(&bearer(&secret.replace("sgk_0", "sgk_1"))), None);
    lab.caller(&other).await.unwrap();
    let user = format!("/v1/admin/users/{}", lab.tenancy.user);
    lab.send(&lab.operator(), "DELETE", &user, &json!({})).await.must(200);
    assert_eq!(lab.caller(&other).await.err(), Some(ErrorCode::Unauthenticated));
}

/// Holds: admin.keys
#[tokio::test]
async fn a_key_that_was_used_before_expires() {
    let lab = Lab::new().await;
    let (_, secret) = key(&lab, json!({"name": "app", "expires_at": "2026-11-20T08:00:03Z"})).await;
    lab.caller(&secret).await.unwrap();
    lab.wait(2);
    lab.caller(&secret).await.unwrap();
    lab.wait(1);
    assert_eq!(lab.caller(&secret).await.err(), Some(ErrorCode::Unauthenticated));
}

/// Holds: admin.rotate
#[tokio::test]
async fn a_rotated_key_overlaps_with_the_new_one_for_the_requested_time() {
    let lab = Lab::new().await;
    let (id, first) = key(&lab, json!({"name": "app"})).await;
    let rotate = async |seconds: u64| {
        let path = format!("/v1/admin/keys/{id}/rotate");
        let reply = lab.send(&lab.operator(), "POST", &path, &json!({"overlap_seconds": seconds})).await.must(200);
        reply["secret"].as_str().unwrap().to_owned()
    };
    let second = rotate(2).await;
    lab.caller(&first).await.unwrap();
    lab.caller(&second).await.unwrap();
    lab.wait(2);
    assert_eq!(lab.caller(&first).await.err(), Some(ErrorCode::Unauthenticated));
    let third = rotate(60).await;
    lab.caller(&second).await.unwrap();
    let fourth = rotate(60).await;
    assert_eq!(
        lab.caller(&second).await.err(),
        Some(ErrorCode::Unauthenticated),
        "the one before the last ends at once"
    );
    for secret in [&third, &fourth] {
        lab.caller(secret).await.unwrap();
    }
    let fresh = lab.new_door();
    assert!(fresh.authenticate(&bearer(&third)).await.is_ok() && fresh.authenticate(&bearer(&first)).await.is_err());
}

/// Holds: admin.rotate
#[tokio::test]
async fn by_default_a_rotation_keeps_the_previous_secret_for_an_hour_and_zero_stops_it_at_once() {
    let lab = Lab::new().await;
    let (id, mut before) = key(&lab, json!({"name": "app"})).await;
    let path = format!("/v1/admin/keys/{id}/rotate");
    let mut hour = 8;
    for (body, headers) in [
        ("", HeaderMap::new()),
        ("", json_type()),
        ("{}", HeaderMap::new()),
        ("{}", json_type()),
        ("{\"overlap_seconds\":null}", json_type()),
    ] {
        let reply = lab.request(&lab.operator(), "POST", &path, body.into(), headers).await.must(200);
        hour += 1;
        assert_eq!(reply["previous_expires_at"], format!("2026-11-20T{hour:02}:00:00.000000Z"), "{body:?}");
        lab.wait(3599);
        lab.caller(&before).await.unwrap();
        lab.wait(1);
        assert_eq!(lab.caller(&before).await.err(), Some(ErrorCode::Unauthenticated), "{body:?}");
        reply["secret"].as_str().unwrap().clone_into(&mut before);
    }
    lab.caller(&before).await.unwrap();
    let cut = lab.send(&lab.operator(), "POST", &path, &json!({"overlap_seconds": 0})).await.must(200);
    assert_eq!(cut["previous_expires_at"], "2026-11-20T13:00:00.000000Z");
    assert_eq!(lab.caller(&before).await.err(), Some(ErrorCode::Unauthenticated), "known or not");
    lab.caller(cut["secret"].as_str().unwrap()).await.unwrap();
}

#[tokio::test]
async fn no_secret_outlives_its_key() {
    let lab = Lab::new().await;
    let (id, _) = key(&lab, json!({"name": "app", "expires_at": "2026-11-20T08:30:00Z"})).await;
    let path = format!("/v1/admin/keys/{id}/rotate");
    let reply = lab.send(&lab.operator(), "POST", &path, &json!({})).await.must(200);
    assert_eq!(reply["previous_expires_at"], "2026-11-20T08:30:00.000000Z");
}

#[tokio::test]
async fn rotating_a_key_that_has_expired_says_so_unless_it_was_revoked() {
    let lab = Lab::new().await;
    let (id, _) = key(&lab, json!({"name": "app", "expires_at": "2026-11-20T08:30:00Z"})).await;
    let path = format!("/v1/admin/keys/{id}");
    let refusal = async || {
        let reply = lab.send(&lab.operator(), "POST", &format!("{path}/rotate"), &json!({})).await;
        format!("{:?}", reply.refused())
    };
    lab.wait(3600);
    assert!(refusal().await.contains("expired"), "{}", refusal().await);
    lab.send(&lab.operator(), "DELETE", &path, &json!({})).await.must(200);
    assert!(refusal().await.contains("ended"), "{}", refusal().await);
}

/// Holds: bin.operator-infers, http.tenant-header
#[tokio::test]
async fn the_operator_infers_as_the_default_tenant_or_the_one_it_names() {
    let lab = Lab::new().await;
    let caller = lab.caller(OPERATOR_KEY).await.unwrap();
    assert_eq!((&caller.actor, caller.chain), (&Actor::Operator, lab.tenancy.chain()));
    let other = lab.make("/tenants", json!({"name": "other"})).await;
    let chosen = lab.auth.authenticate(&for_tenant(OPERATOR_KEY, &other)).await.unwrap();
    assert_eq!((chosen.chain.tenant, chosen.chain.user), (Some(other.parse().unwrap()), None));
    for nowhere in ["ten_00000000000000000000000000000001", "nonsense"] {
        let refused = lab.auth.authenticate(&for_tenant(OPERATOR_KEY, nowhere)).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Forbidden);
    }
}

/// Holds: http.tenant-choice, http.tenant-header
#[tokio::test]
async fn a_key_chooses_a_tenant_within_its_reach_and_takes_its_own_name_along() {
    let lab = Lab::new().await;
    let (own, partner) = (lab.tenancy.tenant.to_string(), lab.tenancy.partner.to_string());
    let sister = lab.make("/tenants", json!({"name": "sister"})).await;
    let (_, narrow) = key(&lab, json!({"name": "narrow"})).await;
    let roles = json!([{"role": "partner_admin", "scope": {"partner_id": partner}}]);
    let user = lab.make("/users", json!({"name": "boss", "roles": roles})).await;
    let (id, wide) = key(&lab, json!({"user_id": user, "name": "wide"})).await;
    assert!(lab.auth.authenticate(&for_tenant(&narrow, &own)).await.is_ok());
    let refused = lab.auth.authenticate(&for_tenant(&narrow, &sister)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Forbidden);
    let chosen = lab.auth.authenticate(&for_tenant(&wide, &sister)).await.unwrap();
    assert_eq!(chosen.chain.tenant, Some(sister.parse().unwrap()));
    assert_eq!((chosen.chosen_tenant, lab.caller(&wide).await.unwrap().chosen_tenant), (chosen.chain.tenant, None));
    assert_eq!((chosen.chain.key, chosen.chain.user), (Some(id.parse().unwrap()), Some(user.parse().unwrap())));
}

/// Holds: http.tenant-header, http.tenant-choice
#[tokio::test]
async fn a_tenant_is_named_by_its_slug_within_reach_and_by_its_partner_where_that_means_several() {
    let lab = Lab::new().await;
    let other = lab.make("/partners", json!({"name": "q", "slug": "other"})).await;
    let acme = lab.make("/tenants", json!({"name": "a", "slug": "acme"})).await;
    let theirs = lab.make("/tenants", json!({"name": "b", "slug": "acme", "partner_id": other})).await;
    let beta = lab.make("/tenants", json!({"name": "c", "slug": "beta", "partner_id": other})).await;
    let partner = json!([{"role": "partner_admin", "scope": {"partner_id": lab.tenancy.partner.to_string()}}]);
    let boss = lab.make("/users", json!({"name": "boss", "roles": partner})).await;
    let (_, wide) = key(&lab, json!({"user_id": boss, "name": "wide"})).await;
    let (_, narrow) = key(&lab, json!({"name": "narrow"})).await;
    let own = lab.tenancy.tenant.to_string();
    let qualified = format!("{other}/acme");
    let rows: Vec<(&str, &str, Option<&String>)> = vec![
        (OPERATOR_KEY, "beta", Some(&beta)),
        (OPERATOR_KEY, "default", Some(&own)),
        (OPERATOR_KEY, "acme", None),
        (OPERATOR_KEY, "default/acme", Some(&acme)),
        (OPERATOR_KEY, "other/acme", Some(&theirs)),
        (OPERATOR_KEY, &qualified, Some(&theirs)),
        (OPERATOR_KEY, "other/default", None),
        (OPERATOR_KEY, "nobody/acme", None),
        (OPERATOR_KEY, "", None),
        (OPERATOR_KEY, "/", None),
        (&wide, "acme", Some(&acme)),
        (&wide, "beta", None),
        (&wide, "other/acme", None),
        (&narrow, "default", Some(&own)),
        (&narrow, "default/default", Some(&own)),
        (&narrow, "acme", None),
        (&narrow, "beta", None),
    ];
    for (secret, named, wanted) in rows {
        let chosen = lab.auth.authenticate(&for_tenant(secret, named)).await;
        let tenant = chosen.map(|caller| caller.chosen_tenant.map(|tenant| tenant.to_string()));
        let tenant = tenant.map_err(|refusal| assert_eq!(refusal.code, ErrorCode::Forbidden, "{named}"));
        assert_eq!(tenant.ok().flatten().as_ref(), wanted, "{named:?}");
    }
    // A slug follows its tenant: moved, it means the new one; ended, none.
    let named = async |slug: &str| lab.auth.authenticate(&for_tenant(&wide, slug)).await.is_ok();
    let one = format!("/v1/admin/tenants/{acme}");
    lab.send(&lab.operator(), "PATCH", &one, &json!({"slug": "moved"})).await.must(200);
    assert_eq!((named("acme").await, named("moved").await), (false, true));
    lab.send(&lab.operator(), "DELETE", &one, &json!({})).await.must(200);
    assert!(!named("moved").await);
}

#[tokio::test]
async fn nobody_can_choose_an_ended_tenant() {
    let lab = Lab::new().await;
    let own = lab.tenancy.tenant.to_string();
    lab.auth.authenticate(&for_tenant(OPERATOR_KEY, &own)).await.unwrap();
    lab.send(&lab.operator(), "DELETE", &format!("/v1/admin/tenants/{own}"), &json!({})).await.must(200);
    let refused = lab.auth.authenticate(&for_tenant(OPERATOR_KEY, &own)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Forbidden);
}

/// Holds: admin.roles, admin.in-force
#[tokio::test]
async fn a_change_of_roles_acts_on_the_keys_that_the_user_has() {
    let lab = Lab::new().await;
    let sister = lab.make("/tenants", json!({"name": "sister"})).await;
    let user = lab.make("/users", json!({"name": "boss"})).await;
    let permissions = json!(["usage:read", "audit:read"]);
    let (_, secret) = key(&lab, json!({"user_id": user, "name": "k", "permissions": permissions})).await;
    let partner = Reach::Partner(lab.tenancy.partner);
    let scope = json!({"partner_id": lab.tenancy.partner.to_string()});
    for (roles, wanted) in [
        (json!([]), Reach::Tenant(lab.tenancy.tenant)),
        (json!([{"role": "auditor", "scope": scope}]), partner),
        (json!([{"role": "analyst", "scope": scope}]), Reach::Tenant(lab.tenancy.tenant)),
        (json!([{"role": "auditor", "scope": "platform"}]), Reach::Platform),
        (json!(["auditor"]), Reach::Tenant(lab.tenancy.tenant)),
    ] {
        let one = format!("/v1/admin/users/{user}");
        lab.send(&lab.operator(), "PATCH", &one, &json!({ "roles": roles })).await.must(200);
        assert_eq!(lab.caller(&secret).await.unwrap().reach, wanted, "{roles}");
        let reaches_sister = lab.auth.authenticate(&for_tenant(&secret, &sister)).await.is_ok();
        assert_eq!(reaches_sister, wanted != Reach::Tenant(lab.tenancy.tenant), "{roles}");
    }
}

#[tokio::test]
async fn a_new_snapshot_of_the_tables_does_not_hash_again() {
    let lab = Lab::new().await;
    let (_, secret) = key(&lab, json!({"name": "app"})).await;
    lab.store_slow_hash(&secret).await;
    lab.caller(&secret).await.unwrap();
    lab.store_slow_hash(&secret).await;
    // The tenant's permit is taken: a request that had to hash would wait for ten seconds and be refused.
    let _permit = lab.admin.hasher.permit(Some(lab.tenancy.tenant)).await.unwrap();
    lab.made("/partners", json!({"name": "something changed"})).await;
    let started = Instant::now();
    lab.caller(&secret).await.unwrap();
    assert!(started.elapsed().as_secs() < 1);
}

#[tokio::test]
async fn a_key_that_ends_or_changes_while_it_is_being_hashed_is_what_it_is_then() {
    let lab = Lab::new().await;
    for (method, body, wanted) in [
        ("DELETE", json!({}), Err(ErrorCode::Unauthenticated)),
        ("PATCH", json!({"permissions": ["usage:read"]}), Ok(false)),
    ] {
        let (id, secret) = key(&lab, json!({"name": "app"})).await;
        lab.store_slow_hash(&secret).await;
        let permit = lab.admin.hasher.permit(Some(lab.tenancy.tenant)).await.unwrap();
        // The first of them runs until it waits for its turn.
        let (caller, ()) = tokio::join!(biased; lab.caller(&secret), async {
            lab.send(&lab.operator(), method, &format!("/v1/admin/keys/{id}"), &body).await.must(200);
            drop(permit);
        });
        assert_eq!(caller.map(|caller| caller.may(Permission::ModelsUse)), wanted, "{method}");
    }
}

#[tokio::test]
async fn a_new_key_waits_for_no_hash_and_that_of_an_earlier_version_only_at_its_first_use() {
    let lab = Lab::new().await;
    let (_, old) = key(&lab, json!({"name": "old"})).await;
    lab.store_slow_hash(&old).await;
    lab.caller(&old).await.unwrap();
    let _permit = lab.admin.hasher.permit(Some(lab.tenancy.tenant)).await.unwrap();
    let (_, new) = key(&lab, json!({"name": "new"})).await;
    let started = Instant::now();
    let restarted = lab.new_door();
    for secret in [&old, &new] {
        assert!(restarted.authenticate(&bearer(secret)).await.is_ok());
    }
    assert!(started.elapsed().as_secs() < 5);
}

#[tokio::test]
async fn a_slow_hash_waits_for_those_of_no_other_tenant() {
    let lab = Lab::new().await;
    let sister = lab.make("/tenants", json!({"name": "sister"})).await;
    let user = lab.make("/users", json!({"tenant_id": sister, "name": "someone"})).await;
    let (_, secret) = key(&lab, json!({"user_id": user, "name": "app"})).await;
    lab.store_slow_hash(&secret).await;
    // All that another tenant, and keys of none, may hash at a time.
    let hasher = &lab.admin.hasher;
    let _permits = [hasher.permit(Some(lab.tenancy.tenant)).await.unwrap(), hasher.permit(None).await.unwrap()];
    assert!(lab.caller(&secret).await.is_ok());
}

#[tokio::test]
async fn many_requests_with_one_new_key_are_all_authenticated() {
    let lab = std::sync::Arc::new(Lab::new().await);
    let (_, secret) = key(&lab, json!({"name": "app"})).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (lab, secret) = (lab.clone(), secret.clone());
        tasks.spawn(async move { lab.caller(&secret).await.is_ok() });
    }
    assert!(tasks.join_all().await.into_iter().all(|let_in| let_in));
}
