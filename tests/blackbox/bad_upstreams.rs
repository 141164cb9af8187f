//! Whatever an upstream does: a stable code, none of its words, no hold left open.

use std::time::Duration;

use serde_json::json;
use testing::upstream::MockUpstream;

use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, PROVIDER_SECRET, Setup, Tenant, made};

const FAILS: [&str; 10] =
    ["e500", "e429", "html", "halfjson", "empty", "close", "cut", "leaky", "redirect", "brokensse"];

/// Holds: http.upstream-alone, http.upstream-429, http.upstream-words
#[tokio::test(flavor = "multi_thread")]
async fn broken_answers_have_codes_and_cost_nothing() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    for kind in ["openai", "anthropic"] {
        let tenant = Tenant::with(&gateway, &upstream, &FAILS, Setup { kind, ..Setup::default() }).await;
        for model in FAILS {
            let (native, openai) = (tenant.chat(model).await, tenant.openai(model).await);
            let wanted = if model == "e429" { (429, "RATE_LIMITED") } else { (502, "UPSTREAM_ERROR") };
            assert_eq!((native.status, native.code().as_str()), wanted, "{model} of {kind}");
            assert_eq!(openai.status, wanted.0, "{model} of {kind} on OpenAI's surface");
            if model == "e429" {
                assert!(!native.header("retry-after").is_empty(), "no Retry-After");
            }
            for reply in [native, openai] {
                let said = String::from_utf8_lossy(&reply.body).into_owned();
                for word in [PROVIDER_SECRET, "boom", "nginx", "bad key", "horses"] {
                    assert!(!said.contains(word), "{model} of {kind} says {word:?}: {said}");
                }
                let types = gateway.types_of(&reply.request_id()).await;
                assert!(types.contains(&"inference.failed.v1".to_owned()), "{model} of {kind}: {types:?}");
            }
        }
    }
    assert!(upstream.seen().iter().all(|seen| seen.path != "/elsewhere"), "a redirect was followed");
    let books = gateway.books().await;
    assert!(books.open_holds().is_empty(), "{:?}", books.open_holds());
}

/// Holds: http.stream-error
#[tokio::test(flavor = "multi_thread")]
async fn broken_streams_end_with_an_error_and_without_done() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    for kind in ["openai", "anthropic"] {
        let tenant = Tenant::with(&gateway, &upstream, &FAILS, Setup { kind, ..Setup::default() }).await;
        for model in FAILS {
            for path in [NATIVE, OPENAI] {
                let stream = tenant.stream(path, model).await;
                let (status, request) = (stream.status, stream.request_id());
                let (events, _) = stream.rest().await;
                assert!(!events.iter().any(|event| event.is_done() || event.event == "completed"), "{model} of {kind}");
                if status == 200 {
                    let last = events.last().expect("an event");
                    assert!(last.event == "error" || last.json()["error"].is_object(), "{model} of {kind}: {last:?}");
                }
                let types = gateway.types_of(&request).await;
                assert!(types.contains(&"inference.failed.v1".to_owned()), "{model} of {kind}: {types:?}");
            }
        }
    }
    let books = gateway.books().await;
    assert!(books.open_holds().is_empty(), "{:?}", books.open_holds());
}

/// Holds: http.upstream-alone, admin.timeouts
#[tokio::test(flavor = "multi_thread")]
async fn silence_is_a_timeout() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant =
        Tenant::with(&gateway, &upstream, &["hang", "paced-5000"], Setup { timeout_ms: 800, ..Setup::default() }).await;
    tenant.chat("hang").await.must_be(504, "UPSTREAM_TIMEOUT");
    tenant.openai("hang").await.must(504);
    // Silent between bytes, after the first of them.
    let (events, _) = tenant.stream(OPENAI, "paced-5000").await.rest().await;
    assert!(!events.iter().any(|event| event.is_done()), "{events:?}");
    gateway.books_when_all_ended(Duration::from_secs(5)).await;
}

/// Holds: admin.private-network
#[tokio::test(flavor = "multi_thread")]
async fn a_private_address_is_never_called_without_the_opt_in() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let port = upstream.origin().rsplit_once(':').expect("a port").1.to_owned();
    for (number, host) in
        ["127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "127.1"].iter().enumerate()
    {
        let provider = json!({
            "name": format!("private-{number}"), "kind": "openai", "base_url": format!("http://{host}:{port}/v1"),
            "api_key": "k",
        });
        let reply = gateway.operator().post("/v1/admin/providers", &provider).await;
        if reply.status == 400 {
            continue; // refused before it could be called
        }
        let provider = reply.must(201).json()["id"].clone();
        let price = json!({ "provider_id": provider, "model": "ok", "input_usd_per_mtok": "1",
                            "output_usd_per_mtok": "1" });
        made(gateway.operator(), "/prices", price).await;
        let name = tenant.model(&format!("private-{number}"));
        let targets = json!([{ "provider_id": provider, "model": "ok", "priority": 0, "weight": 1,
                               "max_output_tokens": 64, "default_max_output_tokens": 64 }]);
        let model = json!({ "name": name, "strategy": "priority", "targets": targets });
        made(gateway.operator(), "/models", model).await;
        tenant.chat(&format!("private-{number}")).await.must_be(502, "UPSTREAM_ERROR");
    }
    assert!(upstream.seen().is_empty(), "a private address was called");
    assert!(gateway.books().await.open_holds().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_addresses_are_never_called_not_even_with_the_opt_in() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &[]).await;
    for (number, host) in ["169.254.169.254", "[::ffff:169.254.169.254]", "[fd00:ec2::254]"].iter().enumerate() {
        let provider = json!({
            "name": format!("metadata-{number}"), "kind": "openai", "base_url": format!("http://{host}/v1"),
            "api_key": "k", "allow_private_network": true, "timeout_ms": 3000,
        });
        let reply = gateway.operator().post("/v1/admin/providers", &provider).await;
        if reply.status == 400 {
            continue;
        }
        let provider = reply.must(201).json()["id"].clone();
        let price = json!({ "provider_id": provider, "model": "ok", "input_usd_per_mtok": "1",
                            "output_usd_per_mtok": "1" });
        made(gateway.operator(), "/prices", price).await;
        let name = tenant.model(&format!("metadata-{number}"));
        let targets = json!([{ "provider_id": provider, "model": "ok", "priority": 0, "weight": 1,
                               "max_output_tokens": 64, "default_max_output_tokens": 64 }]);
        made(gateway.operator(), "/models", json!({ "name": name, "strategy": "priority", "targets": targets })).await;
        // At once: it is refused, not tried.
        let started = std::time::Instant::now();
        tenant.chat(&format!("metadata-{number}")).await.must_be(502, "UPSTREAM_ERROR");
        assert!(started.elapsed() < Duration::from_secs(2), "it was tried");
    }
}
