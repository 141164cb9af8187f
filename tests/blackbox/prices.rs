//! A price that changes while it is in use: what was left out goes on following what stands in for it.

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::books::nano;
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant, made, text};

fn tokens(answer: &Value, class: &str) -> i64 {
    answer["usage"][class].as_i64().expect("a number of tokens")
}

/// Holds: admin.price-defaults
#[tokio::test(flavor = "multi_thread")]
async fn reasoning_that_has_no_price_is_billed_as_output_also_when_output_becomes_dearer() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::with(&gateway, &upstream, &[], Setup::default()).await;
    let simulator = made(gateway.operator(), "/providers", json!({ "name": "thinking", "kind": "simulator" })).await;
    let backend = "echo?input_tokens=10&reasoning_tokens=40&output_tokens=60";
    let price = json!({
        "provider_id": simulator, "model": backend, "input_usd_per_mtok": "0", "output_usd_per_mtok": "10",
    });
    let price = made(gateway.operator(), "/prices", price).await;
    let target = json!({ "provider_id": simulator, "model": backend, "default_max_output_tokens": 256 });
    made(gateway.operator(), "/models", json!({ "name": tenant.model("ok"), "targets": [target] })).await;
    let path = format!("/v1/admin/prices/{price}");
    let cost_at = async |usd: i64| {
        let answer = tenant.chat("ok").await.must(200).json();
        let output = tokens(&answer, "output_text_tokens") + tokens(&answer, "output_reasoning_tokens");
        assert!(tokens(&answer, "output_reasoning_tokens") > 0, "{answer}");
        assert_eq!(nano(&answer["cost_usd"]), output * usd * 1000, "{answer}");
    };
    cost_at(10).await;
    let dearer = gateway.operator().patch(&path, &json!({ "output_usd_per_mtok": "20" })).await.must(200).json();
    assert_eq!(dearer["reasoning_usd_per_mtok"], "20.000000000", "{dearer}");
    assert!(dearer["defaulted"].as_array().expect("a list").contains(&json!("reasoning_usd_per_mtok")), "{dearer}");
    cost_at(20).await;
    // What is given stays, and null leaves it out again.
    let change = json!({ "reasoning_usd_per_mtok": "20" });
    gateway.operator().patch(&path, &change).await.must(200);
    let kept = gateway.operator().patch(&path, &json!({ "output_usd_per_mtok": "5" })).await.must(200).json();
    assert_eq!(text(&kept["reasoning_usd_per_mtok"]), "20.000000000");
    let mut removed =
        gateway.operator().patch(&path, &json!({ "reasoning_usd_per_mtok": null })).await.must(200).json();
    assert_eq!(text(&removed["reasoning_usd_per_mtok"]), "5.000000000");
    cost_at(5).await;
    // The list says the same as the reply, which adds what the change does to earlier requests.
    let revalues_from = removed.as_object_mut().and_then(|reply| reply.remove("revalues_from"));
    assert_eq!(revalues_from.as_ref(), Some(&removed["effective_from"]));
    let head = gateway.head().await;
    let mut listed = gateway.operator().get(&format!("{path}?min_position={head}")).await.must(200).json();
    assert_eq!(listed.as_object_mut().and_then(|listed| listed.remove("in_force")), Some(json!(true)));
    assert_eq!(listed, removed);
}

/// Holds: admin.prices-in-force
#[tokio::test(flavor = "multi_thread")]
async fn of_several_prices_of_a_model_the_list_says_which_is_in_force() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "other"]).await;
    let operator = gateway.operator();
    let model = "ok";
    let announced = json!({
        "provider_id": tenant.provider, "model": model, "input_usd_per_mtok": "4", "output_usd_per_mtok": "20",
        "effective_from": "2100-01-01T00:00:00Z",
    });
    let announced = made(operator, "/prices", announced).await;
    let newer = json!({
        "provider_id": tenant.provider, "model": model, "input_usd_per_mtok": "1", "output_usd_per_mtok": "2",
    });
    let newer = made(operator, "/prices", newer).await;
    let path = format!("/v1/admin/prices?provider_id={}&model={model}", tenant.provider);
    let listed = operator.get(&path).await.must(200).json();
    let in_force: Vec<_> = listed["items"]
        .as_array()
        .expect("prices")
        .iter()
        .map(|price| {
            assert_eq!((&price["model"], &price["provider_id"]), (&json!(model), &json!(tenant.provider)));
            (price["id"].as_str().expect("an id").to_owned(), price["in_force"].as_bool().expect("whether it is"))
        })
        .collect();
    assert_eq!(in_force.len(), 3);
    assert_eq!(in_force[..2], [(newer.clone(), true), (announced, false)]);
    assert!(!in_force[2].1, "the first one, which a later one has replaced");
    operator.delete(&format!("/v1/admin/prices/{newer}")).await.must(200);
    let first = operator.get(&format!("/v1/admin/prices/{}", in_force[2].0)).await.must(200).json();
    assert_eq!(first["in_force"], true);
    // Nothing is charged at a price of a provider that has ended.
    operator.delete(&format!("/v1/admin/providers/{}", tenant.provider)).await.must(200);
    let listed = operator.get(&path).await.must(200).json();
    let listed = listed["items"].as_array().expect("prices");
    assert!(!listed.is_empty() && listed.iter().all(|price| price["in_force"] == false), "{listed:?}");
    let elsewhere = operator.get("/v1/admin/prices?provider_id=prv_00000000000000000000000000000001").await.must(200);
    assert_eq!(elsewhere.json()["items"], json!([]));
    operator.get("/v1/admin/models?provider_id=prv_00000000000000000000000000000001").await.must(400);
}

/// A provider bills audio, a flex tier and long prompts apart.
///
/// Holds: admin.price-tiers, inf.cost, inf.service-tiers
#[tokio::test(flavor = "multi_thread")]
async fn the_tier_that_served_and_the_kinds_of_tokens_decide_what_a_request_costs() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let price = json!({
        "provider_id": tenant.provider, "model": "said", "input_usd_per_mtok": "2", "output_usd_per_mtok": "8",
        "input_audio_usd_per_mtok": "40", "search_usd": "0.01",
        "tiers": [
            { "service_tier": "flex", "input_usd_per_mtok": "1", "output_usd_per_mtok": "4" },
            { "service_tier": "priority", "input_usd_per_mtok": "90", "output_usd_per_mtok": "80" },
            { "above_input_tokens": 100, "input_usd_per_mtok": "3" },
        ],
    });
    made(gateway.operator(), "/prices", price).await;
    tenant.add_model("said", &["said"]).await;
    let says = |tier: &str, prompt: u64| {
        let answer = json!({
            "id": "a", "model": "said", "service_tier": tier,
            "choices": [{ "index": 0, "message": { "role": "assistant", "content": "x" }, "finish_reason": "stop" }],
            "usage": {
                "prompt_tokens": prompt, "completion_tokens": 5, "total_tokens": prompt + 5,
                "prompt_tokens_details": { "audio_tokens": 10 }, "server_tool_use": { "web_search_requests": 2 },
            },
        });
        upstream.says("application/json", answer.to_string());
    };
    let ask = |tier: Option<&str>| {
        let mut body = tenant.ask("said");
        body["service_tier"] = json!(tier);
        body
    };
    // Ten tokens of audio and two searches in each.
    let rest = 10 * 40_000 + 2 * 10_000_000;
    for (asked, served, prompt, wanted) in [
        (None, "default", 50, 40 * 2_000 + 5 * 8_000 + rest),
        (Some("flex"), "flex", 50, 40 * 1_000 + 5 * 4_000 + rest),
        // The provider had no room in the tier.
        (Some("flex"), "default", 50, 40 * 2_000 + 5 * 8_000 + rest),
        (Some("priority"), "priority", 50, 40 * 90_000 + 5 * 80_000 + rest),
        (None, "default", 101, 91 * 3_000 + 5 * 8_000 + rest),
        // A tier that the price does not have.
        (None, "batch", 50, 40 * 2_000 + 5 * 8_000 + rest),
    ] {
        says(served, prompt);
        let reply = tenant.app.post(OPENAI, &ask(asked)).await.must(200);
        let life = gateway.life(&reply.request_id()).await;
        let ended = &life[life.len() - 2]["data"];
        assert_eq!(nano(&ended["cost_usd"]), wanted, "{asked:?} {served}: {ended}");
        let tier = ended["usage"]["service_tier"].as_str();
        assert_eq!(tier, Some(served).filter(|served| *served != "default"), "{ended}");
        assert_eq!((tokens(ended, "input_audio_tokens"), tokens(ended, "searches")), (10, 2));
        assert_eq!(upstream.seen().last().expect("a request").body["service_tier"], json!(asked));
        // Searches alone are beyond what can be known before.
        let held = life.iter().find_map(|event| event["data"]["held_usd"].as_str()).expect("a hold");
        assert!(nano(&json!(held)) >= wanted - 20_000_000, "{held} for {wanted}");
    }
    // Where the price does not have the tier, nobody knows what it costs.
    let mut elsewhere = tenant.ask("ok");
    elsewhere["service_tier"] = json!("flex");
    tenant.app.post(OPENAI, &elsewhere).await.must_be(422, "model_unpriced");
    // The other surfaces ask for it in their own words.
    for (path, mut body) in
        [(NATIVE, tenant.ask("said")), ("/v1/responses", json!({ "model": tenant.model("said"), "input": "hello" }))]
    {
        says("flex", 50);
        body["service_tier"] = json!("flex");
        let reply = tenant.app.post(path, &body).await.must(200);
        assert_eq!(nano(&json!(reply.header("x-ledgerway-cost-usd"))), 40 * 1_000 + 5 * 4_000 + rest, "{path}");
        assert_eq!(upstream.seen().last().expect("a request").body["service_tier"], "flex");
        body["model"] = json!(tenant.model("ok"));
        assert_eq!(
            tenant.app.post(path, &body).await.must(422).json()["error"]["code"].as_str().map(str::to_uppercase),
            Some("MODEL_UNPRICED".to_owned()),
            "{path}"
        );
    }
    says("flex", 50);
    let native = tenant.app.post(NATIVE, &tenant.ask("said")).await.must(200).json();
    assert_eq!((native["usage"]["service_tier"].as_str(), tokens(&native, "searches")), (Some("flex"), 2), "{native}");
    let models = tenant.app.get("/v1/models").await.must(200).json();
    let listed = models["data"].as_array().expect("models").iter().find(|model| model["id"] == tenant.model("said"));
    let price = &listed.expect("the model")["price"];
    assert_eq!(price["tiers"][0]["service_tier"], "flex", "{price}");
    assert_eq!((&price["input_audio_usd_per_mtok"], &price["defaulted"]), (&json!("40.000000000"), &Value::Null));
    gateway.books().await;
    gateway.stop();
    assert_eq!(gateway.verify().0, Some(0), "{}", gateway.verify().1);
}

/// Writing to a cache of an hour costs more than to one of five minutes.
///
/// Holds: inf.cache-hour, inf.cache-by-ttl
#[tokio::test(flavor = "multi_thread")]
async fn a_cache_of_an_hour_is_for_targets_whose_price_knows_it() {
    const MESSAGES: &str = "/v1/messages";
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let setup = || Setup { kind: "anthropic", ..Setup::default() };
    let tenant = Tenant::with(&gateway, &upstream, &[], setup()).await;
    let price = json!({
        "provider_id": tenant.provider, "model": "said", "input_usd_per_mtok": "1", "output_usd_per_mtok": "5",
        "cache_write_usd_per_mtok": "1.25", "cache_write_1h_usd_per_mtok": "2",
    });
    let price = made(gateway.operator(), "/prices", price).await;
    tenant.add_model("said", &["said"]).await;
    let answer = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "said", "stop_reason": "end_turn",
        "stop_sequence": null, "content": [{ "type": "text", "text": "x" }],
        "usage": {
            "input_tokens": 3, "output_tokens": 7, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 15,
            "cache_creation": { "ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 11 },
        },
    });
    let marked = |ttl: &str| json!([{ "type": "text", "text": "hello, hello, hello", "cache_control": { "type": "ephemeral", "ttl": ttl } }]);
    let ask = |ttl: &str| {
        json!({ "model": tenant.model("said"), "max_tokens": 64,
                "messages": [{ "role": "user", "content": marked(ttl) }] })
    };
    let wanted = 3 * 1_000 + 4 * 1_250 + 11 * 2_000 + 7 * 5_000;
    // Passed on, and translated.
    for path in [MESSAGES, OPENAI] {
        upstream.says("application/json", answer.to_string());
        let reply = tenant.app.post(path, &ask("1h")).await.must(200);
        let life = gateway.life(&reply.request_id()).await;
        assert_eq!(nano(&life[3]["data"]["charged_usd"]), wanted, "{path}: {life:?}");
        let held = life.iter().find_map(|event| event["data"]["held_usd"].as_str()).expect("a hold");
        // Every byte could be a token that is written to it.
        assert!(nano(&json!(held)) >= 64 * 5_000 + 19 * 2_000, "{held}");
        let sent = upstream.seen().pop().expect("a request").body.to_string();
        assert!(sent.contains(r#""ttl":"1h""#), "{path}: {sent}");
    }
    for ttl in ["12h", "2h"] {
        tenant.app.post(MESSAGES, &ask(ttl)).await.must(422);
    }
    let mut both = ask("1h");
    both["system"] = marked("2h");
    tenant.app.post(MESSAGES, &both).await.must(422);
    gateway
        .operator()
        .patch(&format!("/v1/admin/prices/{price}"), &json!({ "cache_write_1h_usd_per_mtok": null }))
        .await
        .must(200);
    let refused = tenant.app.post(MESSAGES, &ask("1h")).await.must(422).json();
    assert!(text(&refused["error"]["message"]).contains("cache_control.ttl"), "{refused}");
    upstream.says("application/json", answer.to_string());
    tenant.app.post(MESSAGES, &ask("5m")).await.must(200);
    // Reports of OpenAI's dialect do not say for how long was written.
    let openai = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let price = json!({ "provider_id": openai.provider, "model": "ok", "input_usd_per_mtok": "1",
                        "output_usd_per_mtok": "5", "cache_write_1h_usd_per_mtok": "2" });
    made(gateway.operator(), "/prices", price).await;
    let mut unsaid = ask("1h");
    unsaid["model"] = json!(openai.model("ok"));
    openai.app.post(OPENAI, &unsaid).await.must(422);
    gateway.books().await;
    gateway.stop();
    assert_eq!(gateway.verify().0, Some(0), "{}", gateway.verify().1);
}
