//! Errors in a body are reported with the path of the field.

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::lab::{Lab, json_type};
use crate::admin::fields::Fields;

const PATHS: [&str; 12] = [
    "/partners", "/tenants", "/users", "/teams", "/keys", "/providers", "/provider-keys", "/models", "/prices",
    "/budgets", "/rate-limits", "/audit-searches",
];

/// Holds: http.unknown-fields, http.invalid-request, http.money
#[tokio::test]
async fn every_wrong_field_is_a_400_that_names_it() {
    let lab = Lab::new().await;
    let operator = lab.operator();
    let (tenant, provider) =
        (lab.tenancy.tenant.to_string(), lab.make("/providers", json!({"name": "sim", "kind": "simulator"})).await);
    let with = |body: &Value, field: &str, value: Value| {
        let mut body = body.clone();
        body[field] = value;
        body
    };
    let budget = json!({"scope": {"tenant_id": tenant}, "limit_usd": "1", "period": "total"});
    let price = json!({"provider_id": provider, "model": "m", "input_usd_per_mtok": "1", "output_usd_per_mtok": "1"});
    let openai = json!({"name": "o", "kind": "openai", "base_url": "https://api.example.com/v1"});
    let upstream = json!({"name": "up", "kind": "openai", "base_url": "https://up.example.com/v1"});
    let further = json!({"provider_id": lab.make("/providers", upstream).await, "name": "second", "api_key": "k"});
    let model = json!({"name": "m", "targets": [{"provider_id": provider, "model": "echo"}]});
    let target = |field: &str, value: Value| {
        with(&model, "targets", json!([with(&json!({"provider_id": provider, "model": "echo"}), field, value)]))
    };
    let cases = [
        ("/partners", json!({"name": 1}), "name"),
        ("/partners", json!({"name": ""}), "name"),
        ("/partners", json!({"name": "x".repeat(201)}), "name"),
        ("/tenants", json!({"name": "x", "partner_id": "ten_1"}), "partner_id"),
        ("/users", json!({"name": "x", "email": "nobody"}), "email"),
        ("/teams", json!({"name": "x", "tenant_id": tenant, "user_ids": "nobody"}), "user_ids"),
        ("/teams", json!({"name": "x", "tenant_id": tenant, "user_ids": [tenant]}), "user_ids[0]"),
        ("/users", json!({"name": "x", "roles": "auditor"}), "roles"),
        ("/users", json!({"name": "x", "roles": ["king"]}), "roles[0]"),
        ("/users", json!({"name": "x", "roles": [{"role": "auditor", "scope": "galaxy"}]}), "roles[0].scope"),
        (
            "/users",
            json!({"name": "x", "roles": [{"role": "auditor", "scope": {"user_id": "u"}}]}),
            "roles[0].scope.user_id",
        ),
        ("/keys", json!({"name": "x", "permissions": ["fly"]}), "permissions[0]"),
        ("/keys", json!({"name": "x", "models": ["bad["]}), "models"),
        ("/keys", json!({"name": "x", "expires_at": "tomorrow"}), "expires_at"),
        ("/keys", json!({"name": "x", "expires_at": "2001-01-01T00:00:00Z"}), "expires_at"),
        ("/provider-keys", with(&further, "provider_id", json!(provider)), "provider_id"),
        ("/provider-keys", with(&further, "provider_id", json!(null)), "provider_id"),
        ("/provider-keys", with(&further, "api_key", json!(null)), "api_key"),
        ("/provider-keys", with(&further, "api_key", json!("not for a header")), "api_key"),
        ("/provider-keys", with(&further, "weight", json!(0)), "weight"),
        ("/provider-keys", with(&further, "weight", json!(1001)), "weight"),
        ("/provider-keys", with(&further, "requests_per_minute", json!(0)), "requests_per_minute"),
        ("/provider-keys", with(&further, "state", json!("in_use")), "state"),
        ("/providers", with(&openai, "kind", json!("of_nobody")), "kind"),
        ("/providers", with(&openai, "region", json!("us-east-1")), "region"),
        ("/providers", with(&openai, "server", json!("of_nobody")), "server"),
        ("/providers", with(&openai, "api_version", json!("2024/10")), "api_version"),
        ("/providers", with(&openai, "base_url", json!(null)), "base_url"),
        ("/providers", with(&openai, "base_url", json!("http://127.0.0.1:1/v1")), "base_url"),
        ("/providers", with(&openai, "base_url", json!("https://me:pw@example.com")), "base_url"),
        ("/providers", with(&openai, "timeout_ms", json!(0)), "timeout_ms"),
        ("/providers", with(&openai, "timeout_ms", json!(1.5)), "timeout_ms"),
        ("/providers", with(&openai, "headers", json!({"Authorization": "x"})), "headers.Authorization"),
        ("/providers", with(&openai, "headers", json!({"x-api-key": "x"})), "headers.x-api-key"),
        ("/providers", with(&openai, "headers", json!({"host": "x"})), "headers.host"),
        ("/providers", with(&openai, "headers", json!({"X-Fine": "1", "x-fine": "2"})), "headers.x-fine"),
        ("/providers", with(&openai, "headers", json!({"x-fine": "a\nb"})), "headers.x-fine"),
        ("/providers", with(&openai, "headers", json!({"x-auth": "a"})), "headers.x-auth"),
        ("/providers", with(&openai, "headers", json!({"X-Functions-Key": "a"})), "headers.X-Functions-Key"),
        ("/providers", with(&openai, "headers", json!({"x-team": "sk-proj-1"})), "headers.x-team"),
        ("/providers", with(&openai, "headers", json!({"x-team": "Bearer abc"})), "headers.x-team"),
        ("/providers", with(&openai, "secret_headers", json!({"host": "a"})), "secret_headers.host"),
        ("/providers", with(&openai, "secret_headers", json!({"x-auth": "a\nb"})), "secret_headers.x-auth"),
        ("/providers", with(&openai, "secret_headers", json!({"x-auth": "a".repeat(4097)})), "secret_headers.x-auth"),
        ("/providers", with(&openai, "secret_headers", json!(["x-auth"])), "secret_headers"),
        ("/providers", with(&openai, "secret_header_names", json!(["x-auth"])), "secret_header_names"),
        ("/providers", json!({"name": "s", "kind": "simulator", "secret_headers": {"x-auth": "a"}}), "secret_headers"),
        ("/providers", json!({"name": "s", "kind": "simulator", "base_url": "https://example.com"}), "base_url"),
        ("/providers", json!({"name": "s", "kind": "simulator", "api_key": "k"}), "api_key"),
        ("/models", with(&model, "targets", json!([])), "targets"),
        ("/models", with(&model, "strategy", json!("cheapest")), "strategy"),
        ("/models", with(&model, "name", json!("two words")), "name"),
        ("/models", target("colour", json!("red")), "targets[0].colour"),
        ("/models", target("max_output_tokens", json!(-1)), "targets[0].max_output_tokens"),
        ("/models", target("tokenizer", json!("gpt2")), "targets[0].tokenizer"),
        ("/prices", with(&price, "input_usd_per_mtok", json!(1)), "input_usd_per_mtok"),
        ("/prices", with(&price, "request_usd", json!("-1")), "request_usd"),
        ("/budgets", with(&budget, "limit_usd", json!(1.5)), "limit_usd"),
        ("/budgets", with(&budget, "limit_usd", json!("-1")), "limit_usd"),
        ("/budgets", with(&budget, "period", json!("year")), "period"),
        ("/budgets", with(&budget, "scope", json!({})), "scope"),
        ("/budgets", with(&budget, "scope", json!({"tenant_id": tenant, "key_id": "k"})), "scope"),
        ("/budgets", with(&budget, "alert_at", json!("0.5")), "alert_at"),
        ("/budgets", with(&budget, "alert_at", json!([0.5])), "alert_at[0]"),
        ("/budgets", with(&budget, "alert_at", json!(["0.5", "1.1"])), "alert_at[1]"),
        ("/budgets", with(&budget, "alert_at", json!(["0.0000000001"])), "alert_at[0]"),
        ("/budgets", with(&budget, "alert_at", json!(["0.5", "0.50"])), "alert_at"),
        ("/budgets", with(&budget, "alert_at", json!(vec!["0.5"; 17])), "alert_at"),
        ("/budgets", with(&budget, "when_short", json!("shrinks")), "when_short"),
        ("/budgets", with(&budget, "enforcement", json!("soft")), "enforcement"),
        ("/rate-limits", json!({"scope": {"tenant_id": tenant}, "requests_per_minute": 0}), "requests_per_minute"),
        ("/rate-limits", json!({"scope": {"tenant_id": tenant}, "tokens_per_day": "9"}), "tokens_per_day"),
        ("/rate-limits", json!({"scope": {"tenant_id": tenant}, "concurrent_requests": 1.5}), "concurrent_requests"),
        ("/rate-limits", json!({"scope": {"tenant_id": tenant}, "tokens_per_hour": 9}), "tokens_per_hour"),
        ("/rate-limits", json!({"scope": {"tenant_id": tenant}, "requests_per_day": null}), ""),
        ("/audit-searches", json!({"name": "s", "filter": {}}), "filter"),
        ("/audit-searches", json!({"name": "s", "filter": {"severity": "loud"}}), "filter.severity"),
        ("/audit-searches", json!({"name": "s", "filter": {"q": "x", "limit": "5"}}), "filter.limit"),
        ("/audit-searches", json!({"name": "s", "filter": {"q": "x"}, "tenant_id": "par_1"}), "tenant_id"),
    ];
    let before = lab.events().await.len();
    for (path, body, field) in cases {
        let reply = lab.send(&operator, "POST", &format!("/v1/admin{path}"), &body).await;
        assert_eq!(reply.wrong_field(), field, "{path} {body}");
    }
    assert_eq!(lab.events().await.len(), before, "a refusal leaves nothing");
    let as_number = lab.send(&operator, "POST", "/v1/admin/budgets", &with(&budget, "alert_at", json!([0.5]))).await;
    assert_eq!(as_number.refused().message, "alert_at[0]: must be a fraction as a string such as \"0.5\"");
}

#[tokio::test]
async fn an_empty_body_lacks_the_first_required_field() {
    let lab = Lab::new().await;
    let fields = [
        "name", "name", "name", "name", "name", "name", "provider_id", "name", "provider_id", "scope", "scope", "name",
    ];
    for (path, field) in PATHS.iter().zip(fields) {
        let reply = lab.send(&lab.operator(), "POST", &format!("/v1/admin{path}"), &json!({})).await;
        assert_eq!(reply.wrong_field(), field, "{path}");
    }
}

#[tokio::test]
async fn fixed_fields_cannot_be_changed() {
    let lab = Lab::new().await;
    let tenant = lab.tenancy.tenant.to_string();
    let budget =
        lab.make("/budgets", json!({"scope": {"tenant_id": tenant}, "limit_usd": "1", "period": "total"})).await;
    let provider = lab.make("/providers", json!({"name": "s", "kind": "simulator"})).await;
    let team = lab.make("/teams", json!({"name": "t", "tenant_id": tenant})).await;
    for (one, field) in [
        (format!("/tenants/{tenant}"), "partner_id"),
        (format!("/teams/{team}"), "tenant_id"),
        (format!("/users/{}", lab.tenancy.user), "tenant_id"),
        (format!("/budgets/{budget}"), "scope"),
        (format!("/budgets/{budget}"), "period"),
        (format!("/providers/{provider}"), "kind"),
    ] {
        let reply = lab.send(&lab.operator(), "PATCH", &format!("/v1/admin{one}"), &json!({ field: "x" })).await;
        assert_eq!(reply.wrong_field(), field, "{one}");
    }
}

/// Holds: http.json, http.media-type
#[tokio::test]
async fn a_body_is_json_with_a_json_content_type() {
    let lab = Lab::new().await;
    let operator = lab.operator();
    let send = async |body: &[u8], headers: HeaderMap| {
        lab.request(&operator, "POST", "/v1/admin/partners", body.to_vec(), headers).await
    };
    let text = HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain"))]);
    assert_eq!(send(b"{\"name\":\"x\"}", text).await.status, 415);
    assert_eq!(send(b"{\"name\":\"x\"}", HeaderMap::new()).await.status, 415);
    for body in [b"[]".as_slice(), b"{", b"null", b"{\"name\":\"\\u0000\"}", b"{\"name\":\"\xff\"}"] {
        assert_eq!(send(body, json_type()).await.wrong_field(), "");
    }
    // An empty body needs no content type; a body of a different content type is not read.
    for nothing in [b"".as_slice(), b" ", b"{}", b" { \n} "] {
        assert_eq!(send(nothing, HeaderMap::new()).await.wrong_field(), "name");
        assert_eq!(send(nothing, json_type()).await.wrong_field(), "name");
    }
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    let form = HeaderMap::from_iter([(http::header::CONTENT_TYPE, form)]);
    assert_eq!(send(b"{}", form.clone()).await.status, 415);
    assert_eq!(send(b"", form).await.wrong_field(), "name");
    let charset = HeaderValue::from_static("application/json; charset=utf-8");
    let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, charset)]);
    send(b"{\"name\":\"x\"}", headers).await.must(201);
}

#[test]
fn a_body_has_a_bounded_number_of_values() {
    // The object and the list are values as well.
    let with = |values: usize| format!(r#"{{"targets":[{}]}}"#, vec!["[]"; values - 2].join(","));
    assert!(Fields::of_body(with(10_000).as_bytes()).is_ok());
    let refused = Fields::of_body(with(10_001).as_bytes()).err().unwrap();
    assert_eq!(refused.reason, "the body has more than 10000 values");
    let twice = Fields::of_body(br#"{"a":[],"b":{"c":1,"c":2}}"#).err().unwrap();
    assert_eq!(twice.reason, "a field of the body is given twice");
}
