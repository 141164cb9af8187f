//! Targets that a request does not fit: a context window that its prompt is too long for, and abilities that it needs and that are stated
//! to be lacking. Such targets are left out, by every strategy and on every surface, and the log says why.

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::client::Reply;
use crate::embeddings::EMBEDDINGS;
use crate::explain::explained;
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant, made};

const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";
const COMPLETIONS: &str = "/v1/completions";

pub const STRATEGIES: [&str; 6] = ["priority", "weighted", "cost", "latency", "balanced", "quality"];
/// About 2,000 tokens.
const LONG: usize = 2_000;
const SMALL_WINDOW: u64 = 300;
const LARGE_WINDOW: u64 = 200_000;

fn words(count: usize) -> String {
    "word ".repeat(count)
}

/// A target that every strategy but `latency` and `balanced` tries first, and one that could stand in.
pub async fn model(gateway: &Gateway, tenant: &Tenant, name: &str, strategy: &str, stated: [Value; 2]) {
    let target = |(at, stated): (usize, Value)| {
        let backend = ["ok", "slow-1"][at];
        let mut target = json!({ "provider_id": tenant.provider, "model": backend, "priority": at, "weight": 1000 >> (10 * at),
                                 "quality": 90 - at, "default_max_output_tokens": 64 });
        for (name, value) in stated.as_object().expect("facts") {
            target[name] = value.clone();
        }
        target
    };
    let targets: Vec<Value> = stated.into_iter().enumerate().map(target).collect();
    let body = json!({ "name": tenant.model(name), "strategy": strategy, "targets": targets });
    made(gateway.operator(), "/models", body).await;
}

/// A tenant whose second backend costs more than its first one.
pub async fn tenant(gateway: &Gateway, upstream: &MockUpstream) -> Tenant {
    let tenant = Tenant::with(gateway, upstream, &[], Setup::default()).await;
    for (backend, price) in [("ok", "1"), ("slow-1", "9")] {
        let price = json!({ "provider_id": tenant.provider, "model": backend, "input_usd_per_mtok": price, "output_usd_per_mtok": price });
        made(gateway.operator(), "/prices", price).await;
    }
    tenant
}

/// A request of each surface for chat, with this text in its prompt.
pub fn on_all_surfaces(model: &str, text: &str) -> [(&'static str, Value); 5] {
    let messages = json!([{ "role": "user", "content": text }]);
    [
        (NATIVE, json!({ "model": model, "max_output_tokens": 16, "messages": messages })),
        (OPENAI, json!({ "model": model, "max_tokens": 16, "messages": messages })),
        (MESSAGES, json!({ "model": model, "max_tokens": 16, "messages": messages })),
        (RESPONSES, json!({ "model": model, "max_output_tokens": 16, "input": messages })),
        (COMPLETIONS, json!({ "model": model, "max_tokens": 16, "prompt": text })),
    ]
}

pub fn backend(reply: &Reply) -> &str {
    reply.header("x-ledgerway-backend").rsplit('/').next().unwrap_or_default()
}

/// The reason in the log why the first target was left out.
async fn left_out(gateway: &Gateway, reply: &Reply) -> Value {
    let said = explained(gateway, &reply.request_id()).await;
    // The bound may be undecided: the log does not have how many answers were asked for.
    assert_eq!(said["route"]["follows"], true, "{said:#}");
    let targets = said["route"]["targets"].as_array().expect("targets");
    let first = targets.iter().find(|target| target["model"] == "ok").expect("the first target");
    assert_eq!((&first["rank"], &first["was_called"]), (&Value::Null, &json!(false)), "{said:#}");
    first["left_out"].clone()
}

async fn in_words(gateway: &Gateway, reply: &Reply) -> String {
    let head = gateway.operator().get("/v1/log/head").await.must(200).json()["position"].clone();
    let path = format!("/v1/inferences/{}?min_position={head}", reply.request_id());
    gateway.operator().get(&path).await.must(200).json()["route"]["in_words"].to_string()
}

/// Holds: inf.context-window
#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_goes_to_a_window_that_it_fits_into_by_every_strategy_and_surface() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant(&gateway, &upstream).await;
    let windows = || [SMALL_WINDOW, LARGE_WINDOW].map(|window| json!({ "context_window": window }));
    for strategy in STRATEGIES {
        model(&gateway, &tenant, strategy, strategy, windows()).await;
        for (path, body) in on_all_surfaces(&tenant.model(strategy), &words(LONG)) {
            let reply = tenant.app.post(path, &body).await.must(200);
            assert_eq!(backend(&reply), "slow-1", "{strategy} {path}");
            assert_eq!(left_out(&gateway, &reply).await, "context_window", "{strategy} {path}");
        }
        if !matches!(strategy, "latency" | "balanced") {
            let short =
                tenant.app.post(OPENAI, &on_all_surfaces(&tenant.model(strategy), "hello")[1].1).await.must(200);
            assert_eq!(backend(&short), "ok", "{strategy}");
        }
    }
    let listed = json!({ "model": tenant.model("cost"), "max_tokens": 16, "prompt": [words(LONG)] });
    assert_eq!(backend(&tenant.app.post(COMPLETIONS, &listed).await.must(200)), "slow-1");
    // A single text of more than a megabyte, and one that cannot be cut.
    for text in [words(240_000), "xyz".repeat(LONG)] {
        let reply = tenant.app.post(OPENAI, &on_all_surfaces(&tenant.model("priority"), &text)[1].1).await;
        let backend = reply.headers.get("x-ledgerway-backend").and_then(|backend| backend.to_str().ok());
        assert!(!backend.is_some_and(|backend| backend.ends_with("/ok")), "{backend:?}");
    }
    let reply = tenant.app.post(OPENAI, &on_all_surfaces(&tenant.model("cost"), &words(LONG))[1].1).await.must(200);
    let said = in_words(&gateway, &reply).await;
    assert!(said.contains("its context window is too small for the prompt"), "{said}");
}

/// Holds: inf.context-window
#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_fits_into_no_window_is_refused_with_the_largest_one() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant(&gateway, &upstream).await;
    model(
        &gateway,
        &tenant,
        "small",
        "priority",
        [json!({ "context_window": 100 }), json!({ "context_window": 1_500 })],
    )
    .await;
    for (path, body) in on_all_surfaces(&tenant.model("small"), &words(LONG)) {
        let refused = tenant.app.post(path, &body).await.must(400).json();
        let error = &refused["error"];
        assert!(error["message"].as_str().is_some_and(|message| message.contains("1500 tokens")), "{path}: {refused}");
        match path {
            NATIVE => {
                assert_eq!(error["code"], "INVALID_REQUEST");
                assert_eq!(error["details"]["field"], "messages");
                assert_eq!(error["details"]["context_window"], 1_500);
            }
            MESSAGES => assert_eq!(error["type"], "invalid_request_error"),
            _ => assert_eq!(error["code"], "context_length_exceeded", "{path}: {refused}"),
        }
    }
    assert!(upstream.seen().is_empty(), "nothing was sent");
}

/// The bytes of these prompts are above the window, and their tokens are not.
/// Holds: inf.context-window
#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_is_measured_by_its_tokens_and_not_by_its_bytes() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant(&gateway, &upstream).await;
    let window = |more: Value| {
        let mut stated = json!({ "context_window": LONG + 500 });
        for (name, value) in more.as_object().expect("facts") {
            stated[name] = value.clone();
        }
        stated
    };
    for (name, more) in [("unknown", json!({})), ("known", json!({ "tokenizer": "cl100k_base" }))] {
        model(&gateway, &tenant, name, "priority", [window(more), json!({})]).await;
        for (path, body) in on_all_surfaces(&tenant.model(name), &words(LONG)) {
            let reply = tenant.app.post(path, &body).await.must(200);
            assert_eq!(backend(&reply), "ok", "{name} {path}");
        }
        let longer = tenant.app.post(OPENAI, &on_all_surfaces(&tenant.model(name), &words(LONG + 600))[1].1).await;
        assert_eq!(backend(&longer.must(200)), "slow-1", "{name}");
    }
    // With the output cap beside it.
    model(&gateway, &tenant, "both", "priority", [window(json!({ "window_counts_output": true })), json!({})]).await;
    for (cap, expected) in [(400, "ok"), (600, "slow-1")] {
        let body = json!({ "model": tenant.model("both"), "max_tokens": cap,
                           "messages": [{ "role": "user", "content": words(LONG) }] });
        assert_eq!(backend(&tenant.app.post(OPENAI, &body).await.must(200)), expected, "{cap}");
    }
    // A system message of the model's own counts as well.
    let prefixed = json!({ "name": tenant.model("prefixed"), "system_prefix": words(LONG), "targets": [
        { "provider_id": tenant.provider, "model": "ok", "context_window": LONG - 100, "default_max_output_tokens": 64 },
        { "provider_id": tenant.provider, "model": "slow-1", "priority": 1, "default_max_output_tokens": 64 }] });
    made(gateway.operator(), "/models", prefixed).await;
    let body = on_all_surfaces(&tenant.model("prefixed"), "hello")[1].1.clone();
    assert_eq!(backend(&tenant.app.post(OPENAI, &body).await.must(200)), "slow-1");
}

/// Holds: inf.context-window
#[tokio::test(flavor = "multi_thread")]
async fn each_text_to_embed_has_to_fit_by_itself() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant(&gateway, &upstream).await;
    let stated = |window: u64| json!({ "context_window": window, "default_max_output_tokens": null });
    model(&gateway, &tenant, "vectors", "priority", [stated(SMALL_WINDOW), stated(LARGE_WINDOW)]).await;
    let many: Vec<String> = (0..20).map(|_| words(100)).collect();
    for (input, expected) in [
        (json!(many), "ok"),
        (json!(["hello", words(LONG)]), "slow-1"),
        (json!([vec![7; 200], vec![8; 200]]), "ok"),
        (json!([vec![7; 400], [8, 9]]), "slow-1"),
    ] {
        let body = json!({ "model": tenant.model("vectors"), "input": input });
        let reply = tenant.app.post(EMBEDDINGS, &body).await;
        assert_eq!(backend(&reply.must(200)), expected);
    }
}

/// Holds: inf.abilities
#[tokio::test(flavor = "multi_thread")]
async fn a_request_goes_to_a_target_that_can_do_what_it_needs_by_every_strategy() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant(&gateway, &upstream).await;
    let text_only = json!({ "abilities": { "inputs": ["text"], "tools": false, "structured_output": false, "reasoning": false,
                                           "n": false, "logprobs": false, "streaming": false } });
    let can = json!({ "abilities": { "inputs": ["text", "image"], "tools": true } });
    let image = json!([{ "type": "text", "text": "What is this?" },
                       { "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBORw0KGgo=" } }]);
    let tool = json!([{ "type": "function", "function": { "name": "look", "parameters": { "type": "object" } } }]);
    for strategy in STRATEGIES {
        model(&gateway, &tenant, strategy, strategy, [text_only.clone(), can.clone()]).await;
        let body = |more: Value| {
            let mut body = json!({ "model": tenant.model(strategy), "max_tokens": 16, "messages": [{ "role": "user", "content": "hello" }] });
            for (name, value) in more.as_object().expect("fields") {
                body[name] = value.clone();
            }
            body
        };
        for (more, lacked) in [
            (json!({ "messages": [{ "role": "user", "content": image }] }), "image"),
            (json!({ "tools": tool }), "tools"),
            (json!({ "response_format": { "type": "json_object" } }), "structured_output"),
            (json!({ "n": 2 }), "n"),
            (json!({ "logprobs": true }), "logprobs"),
        ] {
            let reply = tenant.app.post(OPENAI, &body(more)).await.must(200);
            assert_eq!(backend(&reply), "slow-1", "{strategy}");
            assert_eq!(left_out(&gateway, &reply).await, json!({ "ability": [lacked] }), "{strategy}");
        }
        // What needs nothing that is lacked, and what only looks as if it did.
        for more in
            [json!({}), json!({ "tools": [], "n": 1, "response_format": { "type": "text" }, "logprobs": false })]
        {
            let reply = tenant.app.post(OPENAI, &body(more)).await.must(200);
            let is_measured = matches!(strategy, "latency" | "balanced");
            assert!(is_measured || backend(&reply) == "ok", "{strategy}");
        }
    }
    let streamed = json!({ "model": tenant.model("priority"), "stream": true, "max_tokens": 16, "messages": [{ "role": "user", "content": "hello" }] });
    let reply = tenant.app.post(OPENAI, &streamed).await.must(200);
    assert_eq!(backend(&reply), "slow-1");
}

/// Holds: inf.abilities
#[tokio::test(flavor = "multi_thread")]
async fn an_ability_that_no_target_has_is_named_and_an_unknown_one_serves() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant(&gateway, &upstream).await;
    let blind = || json!({ "abilities": { "inputs": ["text"] } });
    model(&gateway, &tenant, "blind", "priority", [blind(), blind()]).await;
    model(&gateway, &tenant, "unknown", "priority", [json!({}), blind()]).await;
    let url = "data:image/png;base64,iVBORw0KGgo=";
    let source = json!({ "type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo=" });
    for (path, cap, image) in [
        (NATIVE, "max_output_tokens", json!({ "type": "image", "url": url })),
        (OPENAI, "max_tokens", json!({ "type": "image_url", "image_url": { "url": url } })),
        (MESSAGES, "max_tokens", json!({ "type": "image", "source": source })),
    ] {
        let body = |name: &str| {
            let messages = json!([{ "role": "user", "content": [image] }]);
            json!({ "model": tenant.model(name), cap: 16, "messages": messages })
        };
        let refused = tenant.app.post(path, &body("blind")).await.must(400).json();
        assert!(
            refused["error"]["message"].as_str().is_some_and(|message| message.contains("image")),
            "{path}: {refused}"
        );
        assert_eq!(backend(&tenant.app.post(path, &body("unknown")).await.must(200)), "ok", "{path}");
    }
    // Embeddings are another endpoint than chat.
    let of_chat = || json!({ "abilities": { "endpoints": ["chat"] }, "default_max_output_tokens": null });
    model(&gateway, &tenant, "chats", "priority", [of_chat(), of_chat()]).await;
    let refused = tenant
        .app
        .post(EMBEDDINGS, &json!({ "model": tenant.model("chats"), "input": "hello" }))
        .await
        .must(400)
        .json();
    assert!(refused["error"]["message"].as_str().is_some_and(|message| message.contains("embeddings")), "{refused}");
}

/// Holds: inf.abilities
#[tokio::test(flavor = "multi_thread")]
async fn abilities_are_checked_when_they_are_stated_and_shown_again() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant(&gateway, &upstream).await;
    let abilities = json!({ "inputs": ["text", "image"], "endpoints": ["chat"], "tools": true, "n": false });
    model(&gateway, &tenant, "stated", "priority", [json!({ "abilities": abilities }), json!({})]).await;
    let listed = tenant.app.get("/v1/models").await.must(200).json();
    let entry =
        listed["data"].as_array().into_iter().flatten().find(|entry| entry["id"] == tenant.model("stated").as_str());
    let entry = entry.expect("the model");
    assert_eq!(entry["abilities"], abilities, "{entry}");
    for (wrong, field) in [
        (json!({ "inputs": ["smell"] }), "targets[0].abilities.inputs[0]"),
        (json!({ "tools": "yes" }), "targets[0].abilities.tools"),
        (json!({ "telepathy": true }), "targets[0].abilities.telepathy"),
    ] {
        let target = json!({ "provider_id": tenant.provider, "model": "ok", "abilities": wrong });
        let body = json!({ "name": tenant.model("wrong"), "targets": [target] });
        let refused = gateway.operator().post("/v1/admin/models", &body).await.must(400).json();
        assert_eq!(refused["error"]["details"]["field"], field, "{refused}");
    }
}
