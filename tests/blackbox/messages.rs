//! Anthropic's Messages API from outside: passed on to a provider of the same dialect, and translated for another.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use testing::upstream::{MESSAGE, MockUpstream, TEXT};

use crate::books::nano;
use crate::client::{Client, Reply, Sse};
use crate::gateway::{Gateway, type_of};
use crate::tenant::{PROVIDER_SECRET, Setup, Tenant, made};

pub const MESSAGES: &str = "/v1/messages";

async fn tenant(gateway: &Gateway, upstream: &MockUpstream, kind: &'static str, backends: &[&str]) -> Tenant {
    Tenant::with(gateway, upstream, backends, Setup { kind, ..Setup::default() }).await
}

pub fn asking(tenant: &Tenant, model: &str) -> Value {
    let mut body = tenant.ask(model);
    body["max_tokens"] = json!(100);
    body
}

pub fn streaming(tenant: &Tenant, model: &str) -> Value {
    let mut body = asking(tenant, model);
    body["stream"] = json!(true);
    body
}

/// Returns an error in Anthropic's form.
fn error(reply: &Reply) -> Value {
    let body = reply.json();
    assert_eq!((&body["type"], &body["request_id"]), (&json!("error"), &json!(reply.request_id())), "{body}");
    assert_eq!(reply.header("request-id"), reply.request_id());
    body["error"].clone()
}

fn names(events: &[Sse]) -> Vec<&str> {
    events.iter().map(|event| event.event.as_str()).collect()
}

fn text_of(events: &[Sse]) -> String {
    let text = |event: &Sse| event.json()["delta"]["text"].as_str().map(str::to_owned);
    events.iter().filter_map(text).collect()
}

/// Holds: inf.anthropic, inf.anthropic-passed-on, inf.frontend-name, inf.headers
#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_answered_and_charged_whoever_serves_it() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    for kind in ["anthropic", "openai"] {
        let tenant = tenant(&gateway, &upstream, kind, &["ok"]).await;
        let mut body = asking(&tenant, "ok");
        body["system"] = json!([{ "type": "text", "text": "be brief", "cache_control": { "type": "ephemeral" } }]);
        let reply = tenant.app.post(MESSAGES, &body).await.must(200);
        let answer = reply.json();
        assert_eq!((&answer["type"], &answer["role"]), (&json!("message"), &json!("assistant")), "{answer}");
        assert_eq!(answer["content"], json!([{ "type": "text", "text": TEXT }]));
        assert_eq!((&answer["model"], &answer["stop_reason"]), (&json!(tenant.model("ok")), &json!("end_turn")));
        assert_eq!((&answer["usage"]["input_tokens"], &answer["usage"]["output_tokens"]), (&json!(12), &json!(9)));
        assert!(answer["id"].as_str().is_some_and(|id| id.starts_with("msg_")), "{answer}");
        assert_eq!(reply.header("x-ledgerway-backend"), format!("{}/ok", tenant.name));
        let life = gateway.life(&reply.request_id()).await;
        assert_eq!((&life[0]["data"]["dialect"], type_of(&life[2])), (&json!("anthropic"), "inference.completed.v1"));
        assert_eq!(life[3]["data"]["charged_usd"], json!(reply.header("x-ledgerway-cost-usd")));
        assert_eq!(nano(&life[3]["data"]["charged_usd"]), 1_000_000 + 12 * 3_000 + 9 * 15_000);
        let sent = upstream.seen().pop().expect("a request");
        if kind == "anthropic" {
            body["model"] = json!("ok");
            assert_eq!(sent.body, body, "every byte but the model is the client's");
        } else {
            assert_eq!(sent.body["messages"][0], json!({ "role": "system", "content": "be brief" }));
            assert_eq!(sent.body["max_tokens"], 100);
        }
    }
}

/// Holds: inf.anthropic-stream, inf.frontend-name
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_anthropics_events_and_ends_once_it_is_settled() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    for kind in ["anthropic", "openai"] {
        let tenant = tenant(&gateway, &upstream, kind, &["ok"]).await;
        let stream = tenant.app.stream(MESSAGES, &streaming(&tenant, "ok")).await.expect("a stream");
        let request = stream.request_id();
        let (mut events, is_whole) = stream.rest().await;
        assert!(is_whole);
        events.retain(|event| event.event != "ping");
        assert_eq!(text_of(&events), TEXT, "{kind}");
        let mut names = names(&events);
        names.dedup();
        let wanted = [
            "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
            "message_stop",
        ];
        assert_eq!(names, wanted, "{kind}");
        assert!(events.iter().all(|event| event.json()["type"] == event.event), "{events:?}");
        assert_eq!(events[0].json()["message"]["model"], tenant.model("ok"));
        let end = events[events.len() - 2].json();
        assert_eq!((&end["delta"]["stop_reason"], &end["usage"]["output_tokens"]), (&json!("end_turn"), &json!(9)));
        let life = gateway.life(&request).await;
        assert_eq!(nano(&life[3]["data"]["charged_usd"]), 1_000_000 + 12 * 3_000 + 9 * 15_000, "{kind}");
    }
}

/// Holds: http.anthropic-errors, http.stream-error, http.upstream-rejected
#[tokio::test(flavor = "multi_thread")]
async fn errors_have_anthropics_form_before_and_in_a_stream() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    for kind in ["anthropic", "openai"] {
        let tenant = tenant(&gateway, &upstream, kind, &["ok", "cut", "reject-400", "e500"]).await;
        let rejected = tenant.app.post(MESSAGES, &asking(&tenant, "reject-400")).await.must(400);
        let said = error(&rejected);
        assert_eq!((&said["type"], &said["message"]), (&json!("invalid_request_error"), &json!(MESSAGE)));
        let failed = tenant.app.post(MESSAGES, &asking(&tenant, "e500")).await.must(502);
        assert_eq!(error(&failed)["type"], "api_error");
        let unknown = tenant.app.post(MESSAGES, &asking(&tenant, "nothing")).await.must(404);
        assert_eq!(error(&unknown)["type"], "not_found_error");
        let stream = tenant.app.stream(MESSAGES, &streaming(&tenant, "cut")).await.expect("a stream");
        let request = stream.request_id();
        let (events, _) = stream.rest().await;
        let last = events.last().expect("an event");
        let said = last.json();
        assert_eq!(
            (last.event.as_str(), &said["type"], &said["request_id"]),
            ("error", &json!("error"), &json!(request))
        );
        assert_eq!(said["error"]["type"], "api_error", "{said}");
        assert!(!names(&events).contains(&"message_stop"), "{events:?}");

        tenant.set_limit("0.0001").await;
        let refused = tenant.app.post(MESSAGES, &asking(&tenant, "ok")).await.must(429);
        assert_eq!(
            (error(&refused)["type"].as_str(), refused.header("x-should-retry")),
            (Some("rate_limit_error"), "false")
        );
    }
    let nobody = gateway.client(None).post(MESSAGES, &json!({})).await.must(401);
    assert_eq!(error(&nobody)["type"], "authentication_error");
    let wrong_method = gateway.operator().get(MESSAGES).await.must(405);
    assert_eq!(error(&wrong_method)["type"], "invalid_request_error");
}

/// Holds: inf.anthropic-bad-input
#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_a_400_that_names_the_field_and_nothing_is_sent() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant(&gateway, &upstream, "anthropic", &["ok"]).await;
    let user = |content: Value| json!([{ "role": "user", "content": content }]);
    for (field, name, value) in [
        ("max_tokens", "max_tokens", json!(0)),
        ("max_tokens", "max_tokens", Value::Null),
        ("max_tokens", "max_tokens", json!(1_000_000)),
        ("messages", "messages", json!([])),
        ("messages", "messages", json!("hello")),
        ("messages[0].role", "messages", json!([{ "role": "tool", "content": "x" }])),
        ("messages[0].content", "messages", user(json!(7))),
        (
            "messages[0].content[0].tool_use_id",
            "messages",
            user(json!([{ "type": "tool_result", "tool_use_id": "a" }])),
        ),
        (
            "messages[0].content[0].source.url",
            "messages",
            user(json!([{ "type": "image", "source": { "type": "url", "url": "file:///etc/passwd" } }])),
        ),
        ("system", "system", json!(7)),
        ("maxTokens", "maxTokens", json!(7)),
    ] {
        let mut body = asking(&tenant, "ok");
        body[name] = value;
        let said = error(&tenant.app.post(MESSAGES, &body).await.must(400));
        assert_eq!(
            (&said["type"], &said["details"]["field"]),
            (&json!("invalid_request_error"), &json!(field)),
            "{said}"
        );
    }
    let deep = format!(r#"{{"model":"m","max_tokens":1,"messages":{}"#, "[".repeat(100));
    error(&tenant.app.send(Method::POST, MESSAGES, deep).await.expect("an answer").must(400));
    assert!(upstream.seen().is_empty());
}

/// Holds: http.anthropic-headers, admin.allowed-fields, inf.idempotency
#[tokio::test(flavor = "multi_thread")]
async fn versions_and_betas_go_on_and_a_beta_that_may_cost_goes_where_it_is_allowed() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant(&gateway, &upstream, "anthropic", &["ok"]).await;
    let sent = |name: &'static str| upstream.seen().pop().expect("a request").headers.get(name).cloned();
    let body = asking(&tenant, "ok");
    tenant.app.post(MESSAGES, &body).await.must(200);
    assert_eq!(sent("anthropic-version").expect("a version"), "2023-06-01");
    assert!(sent("anthropic-beta").is_none());
    let newer = tenant.app.clone().with("anthropic-version", "2026-10-21");
    let harmless = newer.clone().with("anthropic-beta", "interleaved-thinking-2025-05-14");
    harmless.post(MESSAGES, &body).await.must(200);
    assert_eq!(sent("anthropic-version").expect("a version"), "2026-10-21");
    assert_eq!(sent("anthropic-beta").expect("a beta"), "interleaved-thinking-2025-05-14");
    let wrong = tenant.app.clone().with("anthropic-version", "yesterday");
    assert_eq!(error(&wrong.post(MESSAGES, &body).await.must(400))["details"]["field"], "anthropic-version");

    let dear = tenant.app.clone().with("anthropic-beta", "context-1m-2025-08-07");
    let reply = dear.post(MESSAGES, &body).await.must(200);
    assert_eq!(reply.header("x-ledgerway-ignored"), "anthropic-beta: context-1m-2025-08-07");
    assert!(sent("anthropic-beta").is_none());
    let mut fast = body.clone();
    fast["speed"] = json!("fast");
    assert_eq!(error(&tenant.app.post(MESSAGES, &fast).await.must(422))["details"]["field"], "speed");
    let row = format!("/v1/admin/providers/{}", tenant.provider);
    gateway.operator().patch(&row, &json!({ "allowed_fields": ["anthropic_beta", "speed"] })).await.must(200);
    assert_eq!(dear.post(MESSAGES, &body).await.must(200).header("x-ledgerway-ignored"), "");
    assert_eq!(sent("anthropic-beta").expect("a beta"), "context-1m-2025-08-07");
    tenant.app.post(MESSAGES, &fast).await.must(200);
    assert_eq!(upstream.seen().pop().expect("a request").body["speed"], "fast");

    // The same body with other betas is another request.
    let once = |client: &Client| client.clone().with("idempotency-key", "once");
    once(&tenant.app).post(MESSAGES, &body).await.must(200);
    let repeated = once(&tenant.app).post(MESSAGES, &body).await.must(409).json();
    assert!(repeated["error"]["details"]["cost_usd"].is_string(), "{repeated}");
    let other = once(&harmless).post(MESSAGES, &body).await.must(409).json();
    assert!(other["error"]["details"]["cost_usd"].is_null(), "{other}");
}

/// Holds: inf.anthropic-bound
#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_held_for_as_the_whole_context_and_counted_by_its_length() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant(&gateway, &upstream, "anthropic", &["ok", "said"]).await;
    let source = json!({ "type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQK" });
    let mut body = asking(&tenant, "ok");
    body["messages"][0]["content"] = json!([{ "type": "document", "source": source }]);
    let reply = tenant.app.post(MESSAGES, &body).await.must(200);
    let life = gateway.life(&reply.request_id()).await;
    assert_eq!(life[0]["data"]["input_tokens_bound"], 8192);
    assert_eq!(nano(&life[1]["data"]["held_usd"]), 1_000_000 + 8192 * 3_000 + 100 * 20_000);

    // A page of average length, if nobody says what it was.
    upstream.says("application/json", r#"{"role":"assistant","content":[{"type":"text","text":"hi"}]}"#);
    body["model"] = json!(tenant.model("said"));
    let reply = tenant.app.post(MESSAGES, &body).await.must(200);
    let life = gateway.life(&reply.request_id()).await;
    let counted = &life[2]["data"]["usage"];
    let input = counted["input_uncached_tokens"].as_u64().expect("tokens");
    assert!((3_000..3_150).contains(&input) && counted["output_text_tokens"] == 1, "{life:?}");

    // It never fills more than the context of the target that was called.
    let windows = [2_000, 1_000_000].into_iter().zip(["said", "ok"]).enumerate();
    let targets: Vec<_> = windows
        .map(|(rank, (window, model))| {
            json!({ "provider_id": tenant.provider, "model": model, "priority": rank, "context_window": window,
                    "max_output_tokens": 1024 })
        })
        .collect();
    let two = json!({ "name": tenant.model("two"), "strategy": "priority", "targets": targets });
    made(gateway.operator(), "/models", two).await;
    body["model"] = json!(tenant.model("two"));
    let reply = tenant.app.post(MESSAGES, &body).await.must(200);
    let life = gateway.life(&reply.request_id()).await;
    assert_eq!(life[0]["data"]["input_tokens_bound"], 1_000_000);
    assert_eq!(life[2]["data"]["usage"]["input_uncached_tokens"], 2_000, "{life:?}");

    let target = json!({ "provider_id": tenant.provider, "model": "ok", "max_output_tokens": 1024 });
    made(gateway.operator(), "/models", json!({ "name": tenant.model("boundless"), "targets": [target] })).await;
    body["model"] = json!(tenant.model("boundless"));
    let said = error(&tenant.app.post(MESSAGES, &body).await.must(422));
    assert!(said["message"].as_str().is_some_and(|message| message.contains("context_window")), "{said}");
}

/// Holds: inf.anthropic-count
#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_counted_by_anthropic_or_estimated_and_cost_nothing() {
    const COUNT: &str = "/v1/messages/count_tokens";
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let counted = tenant(&gateway, &upstream, "anthropic", &["said", "reject-400"]).await;
    upstream.says("application/json", r#"{"input_tokens":17,"more":1}"#);
    let mut body = counted.ask("said");
    body["system"] = json!("be brief");
    let client = counted.app.clone().with("anthropic-version", "2026-10-21");
    assert_eq!(client.post(COUNT, &body).await.must(200).json(), json!({ "input_tokens": 17 }));
    let sent = upstream.seen().pop().expect("a request");
    body["model"] = json!("said");
    assert_eq!((sent.path.as_str(), &sent.body), (COUNT, &body));
    assert_eq!(sent.headers["anthropic-version"], "2026-10-21");
    assert_eq!(sent.headers["x-api-key"], PROVIDER_SECRET);
    let rejected = counted.app.post(COUNT, &counted.ask("reject-400")).await.must(400);
    assert_eq!(error(&rejected)["message"], MESSAGE);
    upstream.says("text/html", "<html>");
    assert_eq!(error(&counted.app.post(COUNT, &counted.ask("said")).await.must(502))["type"], "api_error");

    let estimated = tenant(&gateway, &upstream, "openai", &["ok"]).await;
    let calls = upstream.seen().len();
    let count = |reply: Reply| reply.must(200).json()["input_tokens"].as_u64().expect("tokens");
    let short = count(estimated.app.post(COUNT, &estimated.ask("ok")).await);
    let mut long = estimated.ask("ok");
    long["messages"][0]["content"] = json!("The quick brown fox jumps over the lazy dog. ".repeat(100));
    let long = count(estimated.app.post(COUNT, &long).await);
    assert!((1..100).contains(&short) && (800..1500).contains(&long), "{short} {long}");
    assert_eq!(upstream.seen().len(), calls);

    assert_eq!(error(&estimated.app.post(COUNT, &estimated.ask("nothing")).await.must(404))["type"], "not_found_error");
    let (_, narrow) = estimated.new_key(&gateway, json!({ "models": ["*/other"] })).await;
    assert_eq!(error(&narrow.post(COUNT, &estimated.ask("ok")).await.must(403))["type"], "permission_error");
    error(&gateway.client(None).post(COUNT, &json!({})).await.must(401));
    let events = gateway.events().await;
    assert!(
        events.iter().all(|event| !type_of(event).starts_with("inference") && !type_of(event).starts_with("budget.r"))
    );
    let metrics = gateway.client(None).get("/metrics").await.must(200);
    let metrics = String::from_utf8_lossy(&metrics.body);
    for counter in [
        r#"token_counts_total{by="provider"} 1"#,
        r#"token_counts_total{by="estimate"} 2"#,
        r#"token_counts_total{by="failed"} 2"#,
        r#"http_requests_total{status="2xx",surface="anthropic"} 3"#,
        r#"http_requests_total{status="4xx",surface="anthropic"} 4"#,
        r#"http_requests_total{status="5xx",surface="anthropic"} 1"#,
    ] {
        assert!(metrics.contains(&format!("ledgerway_{counter}\n")), "{counter}: {metrics}");
    }
}

/// Holds: inf.anthropic-count, admin.limits
#[tokio::test(flavor = "multi_thread")]
async fn a_count_of_tokens_is_a_request_for_limits() {
    const COUNT: &str = "/v1/messages/count_tokens";
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant(&gateway, &upstream, "anthropic", &["said"]).await;
    upstream.says("application/json", r#"{"input_tokens":17}"#);
    let limit = json!({ "scope": { "key_id": tenant.key }, "requests_per_minute": 2 });
    gateway.operator().post("/v1/admin/rate-limits", &limit).await.must(201);
    let body = tenant.ask("said");
    for left in ["1", "0"] {
        let reply = tenant.app.post(COUNT, &body).await.must(200);
        let standing = (reply.header("x-ratelimit-measure"), reply.header("x-ratelimit-remaining"));
        assert_eq!(standing, ("requests_per_minute", left));
    }
    assert_eq!(error(&tenant.app.post(COUNT, &body).await.must(429))["type"], "rate_limit_error");
    assert_eq!(error(&tenant.app.post(MESSAGES, &asking(&tenant, "said")).await.must(429))["type"], "rate_limit_error");
    assert_eq!(upstream.seen().len(), 2);
}

/// The simulator calls tools; it speaks OpenAI's dialect.
///
/// Holds: inf.anthropic-tools
#[tokio::test(flavor = "multi_thread")]
async fn tools_are_called_in_anthropics_form_and_their_results_are_taken() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &[]).await;
    let provider = made(gateway.operator(), "/providers", json!({ "name": "echo", "kind": "simulator" })).await;
    let price =
        json!({ "provider_id": provider, "model": "echo", "input_usd_per_mtok": "3", "output_usd_per_mtok": "15" });
    made(gateway.operator(), "/prices", price).await;
    let targets = json!([{ "provider_id": provider, "model": "echo", "max_output_tokens": 1024 }]);
    made(gateway.operator(), "/models", json!({ "name": tenant.model("echo"), "targets": targets })).await;

    let mut body = asking(&tenant, "echo");
    body["messages"][0]["content"] = json!("ask the weather");
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    body["tools"] = json!([{ "name": "weather", "description": "The weather", "input_schema": schema }]);
    body["tool_choice"] = json!({ "type": "any" });
    let answer = tenant.app.post(MESSAGES, &body).await.must(200).json();
    let call = answer["content"].as_array().and_then(|blocks| blocks.last()).expect("a block").clone();
    assert_eq!(
        (&call["type"], &call["name"], &answer["stop_reason"]),
        (&json!("tool_use"), &json!("weather"), &json!("tool_use"))
    );
    assert!(call["input"]["city"].is_string(), "{answer}");

    body["stream"] = json!(true);
    let (events, _) = tenant.app.stream(MESSAGES, &body).await.expect("a stream").rest().await;
    let pieces: String =
        events.iter().filter_map(|event| event.json()["delta"]["partial_json"].as_str().map(str::to_owned)).collect();
    assert!(serde_json::from_str::<Value>(&pieces).is_ok_and(|input| input["city"].is_string()), "{events:?}");

    let result = json!([{ "type": "tool_result", "tool_use_id": call["id"], "content": "12 degrees" }]);
    let messages = json!([body["messages"][0], { "role": "assistant", "content": [call] },
                          { "role": "user", "content": result }]);
    let again = json!({ "model": body["model"], "max_tokens": 100, "messages": messages });
    let told = tenant.app.post(MESSAGES, &again).await.must(200).json();
    assert_eq!((&told["content"][0]["type"], &told["stop_reason"]), (&json!("text"), &json!("end_turn")), "{told}");
}

/// Holds: event.life
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_client_leaves_is_settled() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    for kind in ["anthropic", "openai"] {
        let tenant = tenant(&gateway, &upstream, kind, &["paced-300"]).await;
        let mut stream = tenant.app.stream(MESSAGES, &streaming(&tenant, "paced-300")).await.expect("a stream");
        let request = stream.request_id();
        while stream.next().await.expect("an event").expect("a whole stream").event != "content_block_delta" {}
        drop(stream);
        gateway.books_when_all_ended(Duration::from_secs(10)).await;
        let life = gateway.life(&request).await;
        assert_eq!(type_of(&life[2]), "inference.aborted.v1", "{kind}: {life:?}");
        assert!(nano(&life[3]["data"]["charged_usd"]) > 0, "{kind}: {life:?}");
    }
}
