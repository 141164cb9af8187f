//! Fields that would change what a request costs: refused by name, or let through where the operator vouches for them.

use http::Method;
use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Tenant, made};

async fn asked_with(tenant: &Tenant, fields: &str) -> crate::client::Reply {
    let model = tenant.model("ok");
    let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hello"}}],{fields}}}"#);
    tenant.app.send(Method::POST, OPENAI, body).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_changes_the_price_is_refused_by_name() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    for (field, value) in [
        ("provider", r#"{"order":["dear"]}"#),
        ("models", r#"["a/dear-one"]"#),
        ("route", r#""fallback""#),
        ("plugins", r#"[{"id":"web"}]"#),
        ("transforms", r#"["middle-out"]"#),
        ("max_output_tokens", "4096"),
        ("data_sources", r#"[{"type":"azure_search"}]"#),
        ("extra_body", r#"{"google":{"cached_content":"cachedContents/1"}}"#),
        ("cached_content", r#""cachedContents/1""#),
        ("fallbacks", r#"["dear"]"#),
        ("additional_drop_params", r#"["max_tokens"]"#),
        ("candidateCount", "8"),
        ("headers", r#"{"anthropic-beta":"context-1m"}"#),
        ("max_length", "99999"),
        ("parameters", r#"{"max_new_tokens":9999}"#),
    ] {
        let reply = asked_with(&tenant, &format!("\"{field}\":{value}")).await;
        let said = reply.json();
        assert_eq!((reply.status, &said["error"]["code"]), (422, &json!("model_unpriced")), "{field}");
        assert_eq!(said["error"]["param"], field);
        let request = reply.request_id();
        let event =
            gateway.events().await.into_iter().find(|event| event["request_id"] == *request).expect("a refusal");
        assert_eq!((&event["type"], &event["data"]["field"]), (&json!("inference.refused.v1"), &json!(field)));
        asked_with(&tenant, &format!("\"{field}\":null")).await.must(200);
    }
    assert!(gateway.books().await.open_holds().is_empty());
}

/// A client that comes from another gateway is told what this one has in place of the field, and only then how a
/// provider gets it.
/// Holds: event.unpriced
#[tokio::test(flavor = "multi_thread")]
async fn the_refusal_of_another_gateways_field_names_what_is_in_its_place() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    for (field, value, instead) in [
        ("models", r#"["a"]"#, "the fallbacks of a model are its targets"),
        ("fallbacks", r#"["a"]"#, "the fallbacks of a model are its targets"),
        ("route", r#""fallback""#, "x-ledgerway-strategy"),
        ("provider", r#"{"data_collection":"deny"}"#, "x-ledgerway-zero-retention"),
        ("allowed_model_region", r#""eu""#, "x-ledgerway-residency"),
        ("deployment_id", r#""a""#, "ask for a model that has the target"),
        ("tags", r#"["free"]"#, "send metadata such as"),
        ("priority", "1", "x-ledgerway-priority"),
    ] {
        let reply = asked_with(&tenant, &format!("\"{field}\":{value}")).await;
        let said = reply.json()["error"]["message"].to_string();
        let last = format!("if the provider itself should act on it, add {field} to the provider's allowed_fields");
        let places = (said.find(instead), said.find(&last));
        assert!(places.0.is_some() && places.0 < places.1, "{field}: {said}");

        let model = tenant.model("ok");
        let body =
            format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hello"}}],"{field}":{value}}}"#);
        let native = tenant.app.send(Method::POST, NATIVE, body).await.expect("an answer");
        let native = native.must_be(400, "INVALID_REQUEST").json();
        let reason = native["error"]["details"]["reason"].to_string();
        assert!(reason.contains("unknown field: leave it out") && reason.contains(instead), "{field}: {native}");

        let body = format!(r#"{{"model":"{model}","input":"hello","{field}":{value}}}"#);
        let responses = tenant.app.send(Method::POST, "/v1/responses", body).await.expect("an answer");
        let error = responses.must(400).json()["error"].take();
        let reason = error["message"].to_string();
        assert_eq!(error["type"], "invalid_request_error", "{field}: {error}");
        assert!(reason.contains("unknown field: leave it out") && reason.contains(instead), "{field}: {reason}");
    }
    // A misspelled name is still one.
    let body = r#"{"model":"m","messages":[],"modle":1}"#.to_owned();
    let misspelled = tenant.app.send(Method::POST, NATIVE, body).await.expect("an answer").json();
    assert!(misspelled["error"]["message"].to_string().contains("did you mean model?"), "{misspelled}");
}

/// Holds: event.unpriced
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_priced_is_refused_inside_of_templates_tools_and_messages() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    for fields in [
        r#""chat_template_kwargs":{"chat_template":"{% for i in range(9999) %}x{% endfor %}"}"#,
        r#""tools":[{"type":"function","googleSearch":{}}]"#,
        r#""tools":[{"type":"function","function":{"name":"$web_search"}}]"#,
    ] {
        let refused = asked_with(&tenant, fields).await;
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (422, &json!("model_unpriced")), "{fields}");
    }
    for message in [
        json!({ "role": "cache", "content": "tag=x" }),
        json!({ "role": "user", "content": "x", "file_ids": ["x"] }),
        json!({ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "gs://b/v.mp4" } }] }),
        json!({ "role": "user", "content": [{ "type": "image_url",
                "image_url": { "url": "data:image/png;base64,JVBERi0=", "format": "application/pdf" } }] }),
        json!({ "role": "user", "content": [{ "type": "image_url",
                "image_url": { "url": "DATA:application/pdf;BASE64,JVBERi0=" } }] }),
    ] {
        let body = json!({ "model": tenant.model("ok"), "messages": [message] });
        let refused = tenant.app.post(OPENAI, &body).await;
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (422, &json!("model_unpriced")), "{body}");
    }
    assert_eq!(upstream.seen_of("ok"), 0);
    let image = json!({ "url": "Data:Image/PNG;Base64,iVBORw0KGgo=", "detail": "low" });
    let messages = json!([{ "role": "user", "content": [{ "type": "image_url", "image_url": image }] }]);
    tenant.app.post(OPENAI, &json!({ "model": tenant.model("ok"), "messages": messages })).await.must(200);
}

/// Holds: admin.allowed-fields
#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_the_providers_row_allows_goes_to_that_provider_alone() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let operator = gateway.operator();
    let row = format!("/v1/admin/providers/{}", tenant.provider);
    let provider = operator.get(&row).await.must(200).json();
    assert_eq!(provider["allowed_fields"], json!([]));
    let routed = r#""provider":{"order":["dear"]},"models":["a"]"#;
    asked_with(&tenant, routed).await.must(422);

    let changed = operator.patch(&row, &json!({ "allowed_fields": ["provider", "models"] })).await.must(200);
    assert_eq!(changed.json()["allowed_fields"], json!(["models", "provider"]));
    asked_with(&tenant, routed).await.must(200);
    let sent = upstream.seen().pop().expect("a request");
    assert_eq!((&sent.body["provider"]["order"], &sent.body["models"]), (&json!(["dear"]), &json!(["a"])));
    let one_more = asked_with(&tenant, r#""models":["a"],"plugins":[{"id":"web"}]"#).await;
    assert_eq!((one_more.status, &one_more.json()["error"]["param"]), (422, &json!("plugins")));
    let event = gateway.events().await.into_iter().rfind(|event| event["type"] == "provider.changed.v1").expect("it");
    assert_eq!(event["data"]["allowed_fields"], json!(["models", "provider"]));

    // A target that comes first and does not allow them is passed over.
    let other = json!({ "name": "other", "kind": "openai", "base_url": upstream.base_url("openai"), "api_key": "other",
                        "allow_private_network": true });
    let other = made(operator, "/providers", other).await;
    let price =
        json!({ "provider_id": other, "model": "first", "input_usd_per_mtok": "3", "output_usd_per_mtok": "15" });
    made(operator, "/prices", price).await;
    let target = |provider: &str, model: &str, priority: u32| {
        json!({ "provider_id": provider, "model": model, "priority": priority, "max_output_tokens": 64,
                "default_max_output_tokens": 64 })
    };
    let targets = json!([target(&other, "first", 0), target(&tenant.provider, "ok", 1)]);
    made(operator, "/models", json!({ "name": tenant.model("two"), "strategy": "priority", "targets": targets })).await;
    let mut ask = tenant.ask("two");
    tenant.app.post(OPENAI, &ask).await.must(200);
    assert_eq!(upstream.seen().pop().expect("a request").model(), "first");
    ask["models"] = json!(["a"]);
    tenant.app.post(OPENAI, &ask).await.must(200);
    assert_eq!(upstream.seen().pop().expect("a request").model(), "ok");

    operator.patch(&row, &json!({ "allowed_fields": [] })).await.must(200);
    asked_with(&tenant, routed).await.must(422);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_fields_that_would_be_refused_can_be_allowed() {
    let gateway = Gateway::start();
    let made = |kind: &'static str, allowed: Value| {
        let base_url = (kind != "simulator").then_some("https://api.example.com");
        json!({ "name": kind, "kind": kind, "base_url": base_url, "allowed_fields": allowed })
    };
    for (kind, allowed) in [
        ("openai", json!(["max_tokens"])),
        ("openai", json!(["Provider"])),
        ("openai", json!(["provider", "provider"])),
        ("openai", json!("provider")),
        ("openai", json!([7])),
        ("ollama", json!(["provider"])),
    ] {
        let refused = gateway.operator().post("/v1/admin/providers", &made(kind, allowed.clone())).await;
        let field = refused.must_be(400, "INVALID_REQUEST").json()["error"]["details"]["field"].clone();
        assert!(field.as_str().is_some_and(|field| field.starts_with("allowed_fields")), "{allowed}: {field}");
    }
    for (kind, allowed) in [("openai", json!(["tools", "provider"])), ("simulator", json!(["modalities"]))] {
        let made = gateway.operator().post("/v1/admin/providers", &made(kind, allowed)).await.must(201).json();
        assert!(made["allowed_fields"].as_array().is_some_and(|fields| !fields.is_empty()), "{made}");
    }
}
