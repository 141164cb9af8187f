//! Embeddings: held by an upper bound, settled by what was used, and right or an error.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use testing::upstream::{MockUpstream, SampleUpstream};
use tokio::task::JoinSet;

use crate::books::{nano, usd};
use crate::client::Reply;
use crate::gateway::{Gateway, type_of};
use crate::tenant::{PROVIDER_SECRET, Setup, Tenant, made, text};

pub const EMBEDDINGS: &str = "/v1/embeddings";
const SOON: Duration = Duration::from_secs(10);
const COMPLETED: [&str; 4] =
    ["inference.admitted.v1", "budget.reserved.v1", "inference.completed.v1", "budget.settled.v1"];

/// A tenant with models for embeddings: no target has a maximum or a default of output tokens.
pub async fn tenant_with(gateway: &Gateway, upstream: &MockUpstream, backends: &[&str], setup: Setup) -> Tenant {
    let tenant = Tenant::with(gateway, upstream, &[], setup).await;
    for backend in backends {
        let price = json!({ "provider_id": tenant.provider, "model": backend, "input_usd_per_mtok": "3",
                            "output_usd_per_mtok": "0", "request_usd": "0.001" });
        made(gateway.operator(), "/prices", price).await;
        let targets = json!([{ "provider_id": tenant.provider, "model": backend }]);
        made(gateway.operator(), "/models", json!({ "name": tenant.model(backend), "targets": targets })).await;
    }
    tenant
}

fn ask(tenant: &Tenant, model: &str, input: &Value) -> Value {
    json!({ "model": tenant.model(model), "input": input })
}

async fn embed(tenant: &Tenant, model: &str, input: Value) -> Reply {
    tenant.app.post(EMBEDDINGS, &ask(tenant, model, &input)).await
}

/// Holds: inf.embeddings
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_held_by_its_bound_and_settled_by_what_the_provider_reports() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant_with(&gateway, &upstream, &["ok"], Setup::default()).await;
    for path in [EMBEDDINGS, "/oai/v1/embeddings"] {
        let asked = json!({ "model": tenant.model("ok"), "input": ["a b c", "d"], "user": "u" });
        let reply = tenant.app.post(path, &asked).await.must(200);
        let answer = reply.json();
        assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!(tenant.model("ok"))));
        assert_eq!(answer["usage"], json!({ "prompt_tokens": 12, "total_tokens": 12 }));
        let second = json!({ "object": "embedding", "index": 1, "embedding": [0.5, -0.25, 1] });
        assert_eq!((answer["data"].as_array().map(Vec::len), &answer["data"][1]), (Some(2), &second));
        let seen = upstream.seen().pop().expect("a request");
        assert_eq!(
            (&*seen.path, &seen.body),
            ("/v1/embeddings", &json!({ "model": "ok", "input": ["a b c", "d"], "user": "u" }))
        );

        // 12 tokens at 3 USD a million, and a tenth of a cent for the request.
        let cost = 12 * 3_000 + 1_000_000;
        assert_eq!(reply.header("x-ledgerway-cost-usd"), usd(cost));
        assert_eq!(reply.header("x-ledgerway-backend"), format!("{}/ok", tenant.name));
        let life = gateway.life(&reply.request_id()).await;
        assert_eq!(life.iter().map(type_of).collect::<Vec<_>>(), COMPLETED);
        assert_eq!(life[3]["position"], reply.position());
        let (admitted, held) = (&life[0]["data"], &life[1]["data"]);
        assert_eq!((&admitted["dialect"], &admitted["streamed"]), (&json!("openai-embeddings"), &json!(false)));
        assert_eq!(admitted["max_output_tokens"], 0);
        let bound = admitted["input_tokens_bound"].as_i64().expect("a bound");
        // The texts, 16 for each, and what stands beside them.
        let beside = i64::try_from(asked.to_string().len() - r#"["a b c","d"]"#.len()).expect("small");
        assert_eq!(bound, 6 + 2 * 16 + beside);
        assert_eq!(nano(&held["held_usd"]), bound * 3_000 + 1_000_000);
        assert_eq!(nano(&life[3]["data"]["charged_usd"]), cost);
        let completed = &life[2]["data"];
        assert_eq!(
            (&completed["usage"]["source"], &completed["usage"]["input_uncached_tokens"]),
            (&json!("provider"), &json!(12))
        );
        assert_eq!(completed["usage"]["output_text_tokens"], 0);
    }
    gateway.stop();
    assert_eq!(gateway.verify().0, Some(0), "{}", gateway.verify().1);
}

/// Holds: inf.embeddings, event.never-over
#[tokio::test(flavor = "multi_thread")]
async fn however_many_ask_at_once_a_budget_is_not_exceeded() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant_with(&gateway, &upstream, &["slow-30"], Setup { limit_usd: "0.01", ..Setup::default() }).await;
    let mut asked = JoinSet::new();
    for _ in 0..40 {
        let (app, body) = (tenant.app.clone(), ask(&tenant, "slow-30", &json!("hello")));
        asked.spawn(async move { app.post(EMBEDDINGS, &body).await });
    }
    let replies = asked.join_all().await;
    let answered = replies.iter().filter(|reply| reply.status == 200).count();
    let refused = replies.iter().filter(|reply| reply.status == 429).collect::<Vec<_>>();
    assert!(answered > 0 && answered + refused.len() == 40, "{answered} of 40");
    for refusal in refused {
        let error = refusal.json()["error"].clone();
        assert_eq!((&error["type"], refusal.header("x-should-retry")), (&json!("insufficient_quota"), "false"));
        // There is no output cap that would make it fit.
        assert_eq!(error["details"].get("affordable_max_output_tokens"), None, "{error}");
    }
    assert_eq!(upstream.seen().len(), answered, "what was refused was not sent");
    let books = gateway.books().await;
    let balance = books.balance(&tenant.budget);
    assert!(balance.settled <= 10_000_000 && balance.held == 0, "{balance:?}");
    gateway.stop();
    assert_eq!(gateway.verify().0, Some(0));
}

/// Holds: inf.embeddings
#[tokio::test(flavor = "multi_thread")]
async fn token_ids_are_counted_if_nothing_is_reported() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant_with(&gateway, &upstream, &["said"], Setup::default()).await;
    upstream.says("application/json", r#"{"object":"list","data":[{"index":0,"embedding":[1]}],"model":"said"}"#);
    for (input, tokens) in [(json!([1, 22, 333]), 3), (json!("four score"), 3)] {
        let reply = embed(&tenant, "said", input).await.must(200);
        let life = gateway.life(&reply.request_id()).await;
        let usage = &life[2]["data"]["usage"];
        assert_eq!((&usage["source"], &usage["input_uncached_tokens"]), (&json!("counted"), &json!(tokens)));
        assert_eq!(reply.json()["usage"]["prompt_tokens"], tokens, "the client is told what it is billed");
    }
}

/// Holds: inf.embeddings
#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_before_anything_is_held() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant_with(&gateway, &upstream, &["ok"], Setup::default()).await;
    embed(&tenant, "ok", json!(vec!["x"; 2_048])).await.must(200);
    upstream.forget();
    let head = gateway.head().await;
    for (input, param) in [
        (json!(vec!["x"; 2_049]), "input"),
        (json!([]), "input"),
        (json!(""), "input"),
        (json!(["a", ""]), "input[1]"),
        (json!([[1], []]), "input[1]"),
    ] {
        let refused = embed(&tenant, "ok", input).await.must(400);
        let error = refused.json()["error"].clone();
        assert_eq!((&error["type"], &error["param"]), (&json!("invalid_request_error"), &json!(param)));
    }
    let mut streamed = ask(&tenant, "ok", &json!("x"));
    streamed["stream"] = json!(true);
    assert_eq!(tenant.app.post(EMBEDDINGS, &streamed).await.must(400).json()["error"]["param"], "stream");
    assert_eq!((gateway.head().await, upstream.seen().len()), (head, 0));
}

/// Holds: inf.embeddings
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_without_embeddings_is_left_out() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant_with(&gateway, &upstream, &["ok"], Setup { kind: "anthropic", ..Setup::default() }).await;
    let refused = embed(&tenant, "ok", json!("x")).await.must(400).json()["error"].clone();
    assert_eq!(refused["param"], "model");
    let message = refused["message"].as_str().expect("a message");
    assert!(message.contains(&tenant.model("ok")) && message.contains("have no embeddings"), "{message}");
    assert!(upstream.seen().is_empty());

    let other = json!({ "name": gateway.next_name(), "kind": "openai", "base_url": upstream.base_url("openai"),
                        "api_key": "k", "allow_private_network": true });
    let other = made(gateway.operator(), "/providers", other).await;
    let price = json!({ "provider_id": other, "model": "ok", "input_usd_per_mtok": "1", "output_usd_per_mtok": "0" });
    made(gateway.operator(), "/prices", price).await;
    let targets = json!([{ "provider_id": tenant.provider, "model": "ok", "priority": 0 },
                         { "provider_id": other, "model": "ok", "priority": 1 }]);
    made(gateway.operator(), "/models", json!({ "name": tenant.model("both"), "targets": targets })).await;
    embed(&tenant, "both", json!("x")).await.must(200);
    assert_eq!(upstream.seen().len(), 1);
}

/// Holds: inf.embeddings, inf.embeddings-exact
#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_the_encoding_that_it_asked_for() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant_with(&gateway, &upstream, &["ok", "said"], Setup::default()).await;
    let mut asked = ask(&tenant, "ok", &json!("x"));
    asked["encoding_format"] = json!("base64");
    // The mock gives floats all the same, as some servers do.
    let answer = tenant.app.post(EMBEDDINGS, &asked).await.must(200).json();
    assert_eq!(answer["data"][0]["embedding"], "AAAAPwAAgL4AAAAA", "0.5, -0.25 and 0");
    let said = json!({ "data": [{ "index": 0, "embedding": "zczMPQAAgD8AAGDA" }], "usage": { "prompt_tokens": 1 } });
    upstream.says("application/json", said.to_string());
    let answer = embed(&tenant, "said", json!("x")).await.must(200);
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(text.contains(r#""embedding":[0.1,1.0,-3.5]"#), "{text}");
}

/// Holds: inf.embeddings-exact
#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_is_passed_on_byte_for_byte_but_for_its_model() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant_with(&gateway, &upstream, &["said"], Setup::default()).await;
    let numbers = vec!["-0.006929283495992422"; 256].join(",\n");
    let vector = |index: usize| format!(r#"{{"object":"embedding","index":{index},"embedding":[{numbers}]}}"#);
    let data = (0..300).map(vector).collect::<Vec<_>>().join(",");
    let said =
        |model: &str| format!(r#"{{"object":"list","data":[{data}],"model":"{model}","usage":{{"prompt_tokens":9}}}}"#);
    upstream.says("application/json", said("text-embedding-3-small"));
    let reply = embed(&tenant, "said", json!(vec!["x"; 300])).await.must(200);
    assert!(reply.body.len() > 1_000_000 && reply.body == said(&tenant.model("said")) + "\n", "{}", reply.body.len());
}

/// Holds: inf.embeddings, event.one-end
#[tokio::test(flavor = "multi_thread")]
async fn wrong_answers_are_502_and_end_their_holds() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let backends = ["said", "cut", "html", "empty", "halfjson", "e500", "close"];
    let tenant = tenant_with(&gateway, &upstream, &backends, Setup::default()).await;
    let vector =
        |index: u32, numbers: &str| format!(r#"{{"object":"embedding","index":{index},"embedding":{numbers}}}"#);
    for data in [
        vec![vector(0, "[1]")],
        vec![vector(0, "[1]"), vector(1, "[2]"), vector(2, "[3]")],
        vec![vector(0, "[1]"), vector(0, "[2]")],
        vec![vector(0, "[1]"), vector(2, "[2]")],
        vec![vector(0, "[1]"), vector(1, "[2,3]")],
        vec![vector(0, "[NaN]"), vector(1, "[2]")],
        vec![vector(0, "[null]"), vector(1, "[2]")],
        vec![vector(0, "[1e999]"), vector(1, "[2]")],
        vec![vector(0, "[]"), vector(1, "[]")],
        vec![vector(0, r#""AADAfw==""#), vector(1, r#""AACAPw==""#)],
        vec![vector(0, "[1]"), r#"{"embedding":[2]}"#.to_owned()],
    ] {
        let data = data.join(",");
        let said = format!(r#"{{"object":"list","data":[{data}],"usage":{{"prompt_tokens":7,"total_tokens":7}}}}"#);
        upstream.says("application/json", said);
        let failed = embed(&tenant, "said", json!(["a", "b"])).await.must(502);
        assert_eq!(failed.json()["error"]["code"], "upstream_error", "{data}");
        let life = gateway.life(&failed.request_id()).await;
        // What the provider reported was used, and is charged.
        let attempt = life.iter().find(|event| type_of(event) == "inference.attempt_failed.v1").expect("an attempt");
        let is_json = !data.contains("NaN");
        assert_eq!(attempt["data"].get("usage").is_some(), is_json, "{attempt}");
        assert!(type_of(life.last().expect("an end")).starts_with("budget."), "{data}");
    }
    for backend in &backends[1..] {
        embed(&tenant, backend, json!(["a", "b"])).await.must(502);
    }
    let books = gateway.books().await;
    assert!(books.open_holds().is_empty(), "{:?}", books.open_holds());
    gateway.stop();
    assert_eq!(gateway.verify().0, Some(0));
}

/// Holds: inf.embeddings
#[tokio::test(flavor = "multi_thread")]
async fn another_target_takes_over() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant_with(&gateway, &upstream, &["ok", "e503"], Setup::default()).await;
    let target =
        |model: &str, priority| json!({ "provider_id": tenant.provider, "model": model, "priority": priority });
    let targets = json!([target("e503", 0), target("ok", 1)]);
    made(gateway.operator(), "/models", json!({ "name": tenant.model("two"), "targets": targets })).await;
    let reply = embed(&tenant, "two", json!([[1, 2], [3]])).await.must(200);
    assert_eq!((upstream.seen_of("e503"), upstream.seen_of("ok")), (2, 1));
    assert_eq!(reply.header("x-ledgerway-backend"), format!("{}/ok", tenant.name));
    assert_eq!(reply.json()["data"].as_array().map(Vec::len), Some(2));
}

/// More than the gateway takes in one answer.
const TOO_LARGE_BYTES: usize = 34 * 1024 * 1024;

/// Holds: inf.embeddings
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_large_for_a_short_request_is_its_providers_fault() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant_with(&gateway, &upstream, &["said", "ok"], Setup::default()).await;
    upstream.says("application/json", vec![b' '; TOO_LARGE_BYTES]);
    let failed = embed(&tenant, "said", json!("x")).await.must_be(502, "upstream_error");
    assert_eq!(failed.json()["error"]["details"]["reason"], "too_large");
    let life = gateway.life(&failed.request_id()).await;
    assert_eq!(type_of(life.last().expect("an end")), "budget.released.v1");

    let target =
        |model: &str, priority| json!({ "provider_id": tenant.provider, "model": model, "priority": priority });
    let targets = json!([target("said", 0), target("ok", 1)]);
    made(gateway.operator(), "/models", json!({ "name": tenant.model("two"), "targets": targets })).await;
    let reply = embed(&tenant, "two", json!("x")).await.must(200);
    assert_eq!(reply.header("x-ledgerway-backend"), format!("{}/ok", tenant.name));
}

/// Holds: inf.embeddings
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_for_too_many_vectors_is_told_so_and_charged_for_its_input() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant_with(&gateway, &upstream, &["said"], Setup::default()).await;
    upstream.says("application/json", vec![b' '; TOO_LARGE_BYTES]);
    let refused = embed(&tenant, "said", json!(vec![[1]; 300])).await.must(400);
    assert_eq!(refused.json()["error"]["param"], "input");
    assert_eq!(upstream.seen().len(), 1);
    let life = gateway.life(&refused.request_id()).await;
    let usage = &life[2]["data"]["usage"];
    assert_eq!((&usage["source"], &usage["input_uncached_tokens"]), (&json!("counted"), &json!(300)));
    // 300 tokens at 3 USD a million, and a tenth of a cent for the request.
    assert_eq!(nano(&life[3]["data"]["charged_usd"]), 300 * 3_000 + 1_000_000);

    // Shorter vectors would have had room.
    let mut asked = ask(&tenant, "said", &json!(vec![[1]; 300]));
    asked["dimensions"] = json!(256);
    tenant.app.post(EMBEDDINGS, &asked).await.must_be(502, "upstream_error");
}

/// Holds: inf.embeddings, inf.idempotency
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_not_paid_for_twice() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant_with(&gateway, &upstream, &["gate"], Setup::default()).await;
    let app = tenant.app.clone().with("idempotency-key", "index-1");
    let (asking, body) = (app.clone(), ask(&tenant, "gate", &json!("x")));
    let mut first = JoinSet::new();
    first.spawn(async move { asking.post(EMBEDDINGS, &body).await });
    upstream.until_seen("gate", 1).await;
    let again = ask(&tenant, "gate", &json!("x"));
    app.post(EMBEDDINGS, &again).await.must_be(409, "conflict");
    upstream.open_gate();
    first.join_next().await.expect("an answer").expect("an answer").must(200);
    app.post(EMBEDDINGS, &again).await.must_be(409, "idempotency_key_reused");
    assert_eq!(upstream.seen().len(), 1);
}

/// Holds: inf.embeddings, event.one-end
#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_a_killed_gateway_ends_when_its_hold_expires() {
    let mut gateway = Gateway::start_with(&[("LEDGERWAY_HOLD_TTL_SECONDS", "3")]);
    let upstream = MockUpstream::start().await;
    let tenant = tenant_with(&gateway, &upstream, &["gate"], Setup::default()).await;
    let (app, body) = (tenant.app.clone(), ask(&tenant, "gate", &json!("x")));
    let mut asking = JoinSet::new();
    asking.spawn(async move { app.try_post(EMBEDDINGS, &body).await.is_err() });
    upstream.until_seen("gate", 1).await;
    gateway.kill();
    assert!(asking.join_next().await.expect("an end").expect("an end"), "it was answered");
    gateway.start_again();
    let books = gateway.books_when_all_ended(Duration::from_secs(15)).await;
    let request = books.admitted().iter().next().expect("a request").clone();
    assert_eq!(books.end_of(&request), Some("budget.expired"));
    gateway.stop();
    assert_eq!(gateway.verify().0, Some(0));
}

/// Holds: inf.embeddings
#[tokio::test]
async fn every_family_gives_the_same_vectors_or_an_error_and_is_charged_what_it_reports() {
    let golden = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"));
    let (gateway, upstream) = (Gateway::start(), SampleUpstream::of_embeddings(golden).await);
    let operator = gateway.operator();
    let user = made(operator, "/users", json!({ "name": "u", "email": "u@example.com" })).await;
    let key = operator.post("/v1/admin/keys", &json!({ "user_id": user, "name": "app" })).await.must(201).json();
    let app = gateway.client(Some(&text(&key["secret"])));
    assert_eq!(upstream.kinds(), ["azure_openai", "cohere", "gemini", "ollama", "openai"]);
    for kind in upstream.kinds() {
        for sample in upstream.samples(&kind, false) {
            let name = format!("{kind}/{sample}");
            let provider = json!({ "name": name, "kind": kind, "base_url": upstream.address(&kind, &sample),
                                   "api_key": PROVIDER_SECRET, "allow_private_network": true });
            let provider = made(operator, "/providers", provider).await;
            let price = json!({ "provider_id": provider, "model": "m", "input_usd_per_mtok": "3",
                                "output_usd_per_mtok": "0" });
            made(operator, "/prices", price).await;
            let targets = json!([{ "provider_id": provider, "model": "m" }]);
            made(operator, "/models", json!({ "name": name, "targets": targets })).await;
            let case = sample.strip_suffix(".json").expect("JSON");
            let expected = |file: &str| {
                let file = golden.join(&kind).join("embeddings").join(format!("{case}.{file}"));
                serde_json::from_slice::<Value>(&std::fs::read(file).expect("a file")).unwrap_or_default()
            };
            let metered = expected("json.metered.json");
            let reply = app.post(EMBEDDINGS, &json!({ "model": name, "input": ["a", "b"] })).await;
            if metered["fault"] != Value::Null {
                assert_eq!(reply.status, 502, "{name}");
                continue;
            }
            let reply = reply.must(200).json();
            assert_eq!(reply["data"], expected("float.json")["data"], "{name}");
            let reported = &metered["reported"]["input_uncached_tokens"];
            if reported.is_u64() {
                assert_eq!(reply["usage"]["prompt_tokens"], *reported, "{name}");
            }
        }
    }
    gateway.books_when_all_ended(SOON).await;
}
