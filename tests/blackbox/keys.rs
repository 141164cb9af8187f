//! Permissions of keys.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use http::Method;
use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::client::Client;
use crate::gateway::{Gateway, type_of};
use crate::tenant::{NATIVE, OPENAI, Tenant};

/// Holds: http.unauthenticated, event.access, admin.keys, http.openai-errors
#[tokio::test(flavor = "multi_thread")]
async fn garbage_expired_and_revoked_keys_are_turned_away_and_counted() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let mut bad = vec![None, Some(String::new()), Some("sgk_garbage".to_owned()), Some("a".repeat(5000))];
    let last = if tenant.secret.ends_with('a') { "b" } else { "a" };
    bad.push(Some(format!("{}{last}", &tenant.secret[..tenant.secret.len() - 1])));
    bad.push(Some(tenant.secret.to_uppercase()));
    let mut refusals = 0;
    for key in bad {
        let client = gateway.client(key.as_deref());
        client.post(NATIVE, &tenant.ask("ok")).await.must_be(401, "UNAUTHENTICATED");
        client.post(OPENAI, &tenant.ask("ok")).await.must_be(401, "invalid_api_key");
        refusals += 2;
    }
    let expires_at = server_time(&gateway).await + TimeDelta::seconds(2);
    let fields = json!({ "expires_at": expires_at.to_rfc3339() });
    let (_, expiring) = tenant.new_key(&gateway, fields).await;
    expiring.get("/v1/models").await.must(200);
    refusals += until_401(&expiring, Duration::from_secs(5)).await;
    gateway.operator().delete(&format!("/v1/admin/keys/{}", tenant.key)).await;
    refusals += until_401(&tenant.app, Duration::from_secs(1)).await;

    let started = Instant::now();
    loop {
        let log = gateway.events().await;
        let denied = log.iter().filter(|event| type_of(event) == "access.denied.v1");
        let counted: u64 = denied.map(|event| event["data"]["count"].as_u64().expect("a count")).sum();
        if counted == refusals {
            break;
        }
        assert!(counted < refusals && started.elapsed() < Duration::from_secs(5), "{counted} of {refusals}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(upstream.seen().is_empty());
}

/// Holds: admin.rotate
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_rotated_without_a_word_keeps_its_old_secret_for_an_hour() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let path = format!("/v1/admin/keys/{}/rotate", tenant.key);
    let typed = gateway.operator().clone();
    let untyped = typed.clone().without("content-type");
    let rotated = async |client: &Client, body: &'static str| {
        client.send(Method::POST, &path, body).await.expect("an answer").must(200).json()
    };
    let works = async |secret: &Value| gateway.client(secret.as_str()).get("/v1/models").await.status == 200;
    let mut before = json!(tenant.secret);
    for (key, client, body) in [("a", &untyped, ""), ("b", &typed, ""), ("c", &untyped, "{}"), ("d", &typed, "{}")] {
        let client = client.clone().with("idempotency-key", key);
        let now = server_time(&gateway).await;
        let mut reply = rotated(&client, body).await;
        let until: DateTime<Utc> = reply["previous_expires_at"].as_str().expect("a time").parse().expect("RFC 3339");
        let seconds = (until - now).num_seconds();
        assert!((3600..3660).contains(&seconds), "{seconds} s, {body:?}");
        let secret = reply.as_object_mut().expect("a key").remove("secret").expect("a secret");
        assert!(works(&before).await && works(&secret).await, "both work: {body:?}");
        assert_eq!(rotated(&client, body).await, reply, "a retry says the same");
        before = secret;
    }
    let cut = gateway.operator().post(&path, &json!({ "overlap_seconds": 0 })).await.must(200).json();
    assert!(!works(&before).await, "the old secret works after it was cut off");
    assert!(works(&cut["secret"]).await);
}

/// Returns the time by the gateway's own clock.
async fn server_time(gateway: &Gateway) -> DateTime<Utc> {
    let head = gateway.operator().get("/v1/log/head").await.must(200).json();
    head["recorded_at"].as_str().expect("a time").parse().expect("RFC 3339")
}

/// How many times it was refused: once.
async fn until_401(client: &Client, max: Duration) -> u64 {
    let started = Instant::now();
    while client.get("/v1/models").await.status != 401 {
        assert!(started.elapsed() < max, "it still works after {max:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    1
}

/// Holds: admin.foreign, http.tenant-header, http.not-found
#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_key_sees_nothing_of_another_tenant() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let mine = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let other = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let theirs = other.chat("ok").await.must(200).request_id();
    let all = json!({ "permissions": ["models:use", "usage:read", "audit:read", "events:read", "admin:access"] });
    let (_, spy) = mine.new_key(&gateway, all).await;
    for path in [
        format!("/v1/admin/tenants/{}", other.id),
        format!("/v1/admin/users/{}", other.user),
        format!("/v1/admin/keys/{}", other.key),
        format!("/v1/admin/budgets/{}", other.budget),
        format!("/v1/budgets/{}", other.budget),
        format!("/v1/inferences/{theirs}"),
    ] {
        spy.get(&path).await.must_be(404, "NOT_FOUND");
    }
    for path in [
        "/v1/admin/tenants",
        "/v1/admin/users",
        "/v1/admin/keys",
        "/v1/admin/budgets",
        "/v1/budgets",
        "/v1/usage?group_by=tenant",
        "/v1/audit",
        "/v1/inferences",
        "/v1/events?after=0",
    ] {
        let seen = spy.get(path).await.must(200);
        let seen = String::from_utf8_lossy(&seen.body).into_owned();
        for secret in [&other.id, &other.user, &other.key, &other.budget, &theirs] {
            assert!(!seen.contains(secret.as_str()), "{path} shows {secret}");
        }
    }
    spy.clone().with("x-tenant-id", &other.id).post(NATIVE, &mine.ask("ok")).await.must_be(403, "FORBIDDEN");
    for (path, body) in [
        ("/users", json!({ "tenant_id": other.id, "name": "spy", "email": "spy@example.com" })),
        ("/keys", json!({ "user_id": other.user, "name": "spy" })),
        ("/budgets", json!({ "scope": { "tenant_id": other.id }, "limit_usd": "9", "period": "total" })),
        ("/partners", json!({ "name": "spy" })),
    ] {
        let reply = spy.post(&format!("/v1/admin{path}"), &body).await;
        assert!(matches!(reply.status, 403 | 404), "{path}: {}", reply.status);
    }
    for path in [format!("/v1/admin/keys/{}", other.key), format!("/v1/admin/budgets/{}", other.budget)] {
        assert!(matches!(spy.delete(&path).await.status, 403 | 404), "{path}");
    }
    other.chat("ok").await.must(200);
}

/// Holds: admin.giver, admin.wider, http.forbidden, query.permissions
#[tokio::test(flavor = "multi_thread")]
async fn a_key_gives_neither_more_permissions_nor_more_money_than_it_may() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let (_, admin) = tenant.new_key(&gateway, json!({ "permissions": ["admin:access"] })).await;
    let wider = json!({ "user_id": tenant.user, "name": "wider", "permissions": ["admin:access", "audit:read"] });
    admin.post("/v1/admin/keys", &wider).await.must_be(403, "FORBIDDEN");
    // A budget is changed from a scope strictly wider than its own.
    let budget = format!("/v1/admin/budgets/{}", tenant.budget);
    admin.patch(&budget, &json!({ "limit_usd": "999" })).await.must_be(403, "FORBIDDEN");
    let price = json!({ "provider_id": tenant.provider, "model": "ok", "input_usd_per_mtok": "0",
                        "output_usd_per_mtok": "0" });
    let reply = admin.post("/v1/admin/prices", &price).await;
    assert!(matches!(reply.status, 403 | 404), "{}", reply.status);
    for path in ["/v1/usage?group_by=model", "/v1/audit", "/v1/events?after=0", "/v1/projections", "/v1/admin/keys"] {
        tenant.app.get(path).await.must_be(403, "FORBIDDEN");
    }
}

/// Holds: http.rate-limited, event.access, inf.ratelimit-headers
#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_admits_its_number_and_every_refusal_is_counted() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let limit = json!({ "scope": { "tenant_id": tenant.id }, "requests_per_minute": 5 });
    let limit: Value = gateway.operator().post("/v1/admin/rate-limits", &limit).await.must(201).json();
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..60 {
        let (app, body) = (tenant.app.clone(), tenant.ask("ok"));
        requests.spawn(async move { app.post(NATIVE, &body).await });
    }
    let replies = requests.join_all().await;
    let (admitted, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 200);
    assert_eq!((admitted.len(), refused.len()), (5, 55));
    for reply in refused {
        let retry_after: u64 = reply.header("retry-after").parse().expect("Retry-After");
        assert!((1..=60).contains(&retry_after));
        assert_eq!((reply.header("x-ratelimit-limit"), reply.header("x-ratelimit-remaining")), ("5", "0"));
        let details = reply.must_be(429, "RATE_LIMITED").json()["error"]["details"].clone();
        assert_eq!((&details["limit_id"], &details["limit"]), (&limit["id"], &json!(5)));
        assert_eq!(details["measure"], "requests_per_minute");
    }
    let started = Instant::now();
    loop {
        let events = tenant.events_of(&gateway, &["access.rate_limited"]).await;
        let counted: u64 = events.iter().map(|event| event["data"]["count"].as_u64().expect("a count")).sum();
        if counted == 55 {
            assert!(events.len() < 20, "{} events for 55 refusals", events.len());
            return;
        }
        assert!(counted < 55 && started.elapsed() < Duration::from_secs(5), "{counted} of 55");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
