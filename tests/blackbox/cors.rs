//! CORS: requests that web pages may make.

use std::collections::BTreeSet;

use http::{HeaderMap, Method};
use serde_json::Value;

use crate::gateway::Gateway;

const PAGE: &str = "https://app.example.com";

fn listed(headers: &HeaderMap, name: &str) -> Vec<String> {
    let text = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(',').map(|part| part.trim().to_ascii_lowercase()).collect()
}

/// Holds: bin.cors
#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_is_answered_before_anybody_asks_for_a_key() {
    let gateway = Gateway::start_with(&[("LEDGERWAY_CORS_ORIGINS", "https://app.example.com,http://localhost:3000")]);
    let page = gateway
        .client(None)
        .with("origin", PAGE)
        .with("access-control-request-method", "POST")
        .with("access-control-request-headers", "authorization, content-type, x-stainless-os");
    let preflight = page.send(Method::OPTIONS, "/v1/chat/completions", "").await.expect("an answer").must(200);
    assert_eq!(preflight.headers["access-control-allow-origin"], PAGE);
    assert!(listed(&preflight.headers, "access-control-allow-methods").contains(&"patch".to_owned()));
    assert!(listed(&preflight.headers, "access-control-allow-headers").contains(&"x-stainless-os".to_owned()));
    assert!(preflight.headers.contains_key("x-request-id"));

    let stranger = page.with("origin", "https://evil.example");
    let preflight = stranger.send(Method::OPTIONS, "/v1/models", "").await.expect("an answer").must(200);
    assert!(!preflight.headers.contains_key("access-control-allow-origin"));
}

/// Every header of an answer that the description names, wherever it stands.
fn headers_in(description: &Value) -> BTreeSet<String> {
    let inner: Vec<&Value> = match description {
        Value::Object(members) => members.values().collect(),
        Value::Array(items) => items.iter().collect(),
        _ => Vec::new(),
    };
    let own = description["headers"].as_object().into_iter().flatten();
    // A property may be called so as well.
    let own = own.filter(|(_, header)| header["schema"].is_object()).map(|(name, _)| name.to_ascii_lowercase());
    own.chain(inner.into_iter().flat_map(headers_in)).collect()
}

/// Holds: bin.cors
#[tokio::test(flavor = "multi_thread")]
async fn a_page_may_read_our_headers_also_of_a_refusal() {
    let gateway = Gateway::start_with(&[("LEDGERWAY_CORS_ORIGINS", PAGE)]);
    let described = headers_in(&gateway.client(None).get("/openapi.json").await.must(200).json());
    assert!(described.len() > 10, "{described:?}");
    for (client, status) in [(gateway.operator().clone(), 200), (gateway.client(None), 401)] {
        let answer = client.with("origin", PAGE).get("/v1/models").await.must(status);
        assert_eq!(answer.headers["access-control-allow-origin"], PAGE);
        let exposed = listed(&answer.headers, "access-control-expose-headers");
        for header in &described {
            assert!(exposed.contains(header), "{header} is not among {exposed:?}");
        }
        assert!(!answer.headers.contains_key("access-control-allow-credentials"));
    }
}

/// Holds: bin.cors
#[tokio::test(flavor = "multi_thread")]
async fn without_origins_no_page_may_anything() {
    let gateway = Gateway::start();
    let page = gateway.operator().clone().with("origin", PAGE);
    assert!(!page.get("/v1/models").await.must(200).headers.contains_key("access-control-allow-origin"));
    page.with("access-control-request-method", "GET")
        .send(Method::OPTIONS, "/v1/models", "")
        .await
        .expect("an answer")
        .must(405);
}
