//! Messages after a slip: what was wrong, and what to write instead.

use http::Method;
use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Tenant};

/// Message, and the field that it is about.
fn said(error: &Value) -> (&str, &str) {
    let (message, field) = (&error["error"]["message"], &error["error"]["details"]["field"]);
    (message.as_str().expect("a message"), field.as_str().unwrap_or_default())
}

/// Holds: http.unauthenticated, http.openai-errors
#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_that_works_one_is_told_what_to_send() {
    const NO_KEY: &str = "the request has no API key; send authorization: Bearer sgk_… or x-api-key: sgk_…";
    const NOT_BEARER: &str = "the authorization header must begin with Bearer";
    const INVALID: &str =
        "this API key is not valid: it is unknown, has expired, was revoked or rotated out, or its owner has ended";
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let (revoked, client) = tenant.new_key(&gateway, json!({})).await;
    gateway.operator().delete(&format!("/v1/admin/keys/{revoked}")).await.must(200);
    let nobody = gateway.client(None);
    let with = |value: &str| nobody.clone().with("authorization", value);
    let made_up = format!("{}x", tenant.secret);
    for (client, expected) in [
        (nobody.clone(), NO_KEY),
        (with("Bearer"), NO_KEY),
        (with("Bearer "), NO_KEY),
        (nobody.clone().with("x-api-key", ""), NO_KEY),
        (with(&tenant.secret), NOT_BEARER),
        (with(&format!("Token {}", tenant.secret)), NOT_BEARER),
        // One text for all of these: nothing is told of a key that somebody has found.
        (client, INVALID),
        (gateway.client(Some(&made_up)), INVALID),
        (gateway.client(Some("sgk_wrong")), INVALID),
        (nobody.clone().with("x-api-key", "sk-of-another-vendor"), INVALID),
    ] {
        let native = client.post(NATIVE, &tenant.ask("ok")).await.must_be(401, "UNAUTHENTICATED").json();
        assert_eq!(said(&native).0, expected);
        let openai = client.post(OPENAI, &tenant.ask("ok")).await.must_be(401, "invalid_api_key").json();
        // Without a key, none is incorrect.
        let prefix = if expected == NO_KEY { "" } else { "Incorrect API key provided: " };
        assert_eq!(said(&openai).0, format!("{prefix}{expected}"));
    }
}

/// Holds: http.unknown-fields, http.invalid-request
#[tokio::test(flavor = "multi_thread")]
async fn a_field_with_a_mistaken_name_is_told_with_the_right_one() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let operator = gateway.operator();
    let target = json!({ "provider": tenant.provider, "model": "ok" });
    for (path, body, field, message) in [
        ("/partners", json!({ "nmae": "X" }), "nmae", "nmae: unknown field; did you mean name?"),
        ("/partners", json!({ "colour": "red" }), "colour", "colour: unknown field"),
        (
            "/providers",
            json!({ "name": "p", "kind": "openai", "apikey": "k" }),
            "apikey",
            "apikey: unknown field; did you mean api_key?",
        ),
        (
            "/providers",
            json!({ "name": "p", "kind": "simulator", "api_key_set": true }),
            "api_key_set",
            "api_key_set: unknown field; did you mean api_key?",
        ),
        ("/budgets", json!({ "limit": "5" }), "limit", "limit: unknown field; did you mean limit_usd?"),
        (
            "/models",
            json!({ "name": "m", "targets": [target] }),
            "targets[0].provider",
            "targets[0].provider: unknown field; did you mean provider_id?",
        ),
        (
            "/users",
            json!({ "name": "u", "roles": [{ "roel": "member" }] }),
            "roles[0].roel",
            "roles[0].roel: unknown field; did you mean role?",
        ),
    ] {
        let error = operator.post(&format!("/v1/admin{path}"), &body).await.must_be(400, "INVALID_REQUEST").json();
        assert_eq!(said(&error), (message, field));
    }
    let budget = format!("/v1/admin/budgets/{}", tenant.budget);
    let error = operator.patch(&budget, &json!({ "limit_us": "5" })).await.must_be(400, "INVALID_REQUEST").json();
    assert_eq!(said(&error).0, "limit_us: unknown field; did you mean limit_usd?");
    for (path, message) in [
        ("/v1/usage?groupby=model", "groupby: is not a parameter of this path; did you mean group_by?"),
        ("/v1/admin/keys?tenant=x", "tenant: is not a parameter of this path; did you mean tenant_id?"),
        ("/v1/inferences?colour=red", "colour: is not a parameter of this path"),
    ] {
        assert_eq!(said(&operator.get(path).await.must_be(400, "INVALID_REQUEST").json()).0, message);
    }
}

/// Holds: http.unknown-fields, http.invalid-request
#[tokio::test(flavor = "multi_thread")]
async fn a_chat_with_a_mistaken_field_is_told_the_right_one() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let message = |message: Value| json!({ "model": tenant.model("ok"), "messages": [message] });
    for (body, expected) in [
        (json!({ "modle": "m", "messages": [] }), "modle: unknown field; did you mean model?"),
        (json!({ "max_tokens": 9 }), "max_tokens: unknown field: use max_output_tokens"),
        (json!({ "stop_sequences": ["."] }), "stop_sequences: unknown field: use stop"),
        (json!({ "colour": "red" }), "colour: unknown field"),
        (message(json!({ "rôle": "user" })), "messages[0].rôle: has a name that is not ASCII"),
        (
            message(json!({ "role": "user", "contnet": "hi" })),
            "messages[0].contnet: unknown field; did you mean content?",
        ),
        (
            message(json!({ "role": "user", "content": [{ "type": "text", "txet": "hi" }] })),
            "messages[0].content[0].txet: unknown field; did you mean text?",
        ),
    ] {
        let error = tenant.app.post(NATIVE, &body).await.must_be(400, "INVALID_REQUEST").json();
        assert_eq!(said(&error).0, expected);
    }
    let broken = r#"{"model":"m","messages":[{"role":"user","content":"hello"}],}"#;
    for path in [NATIVE, OPENAI] {
        let error = tenant.app.send(Method::POST, path, broken).await.expect("an answer").must(400).json();
        assert_eq!(said(&error).0, "the body is not valid JSON at byte 60");
    }
}
