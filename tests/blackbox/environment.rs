//! Providers from the environment, and models that appear by themselves.

mod beyond_its_settings;
mod catalogued_facts;
mod doctor;
mod first_try;
mod imports;
mod local_server;
mod models_of_another_api;
mod moved_servers;
mod several_nodes;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testing::upstream::{MockUpstream, SampleUpstream};

use crate::families::{golden, key, metered};
use crate::gateway::{Gateway, ledgerway, serve_to_its_end};
use crate::tenant::{OPENAI, made, text};
use local_server::LocalServer;

const KEY: &str = "sk-environment-canary-7d41c0be92";
const ON: (&str, &str) = ("LEDGERWAY_PROVIDERS_FROM_ENV", "on");

/// A gateway that looks at its environment, in a folder that outlives it. No server is at the usual address of Ollama, unless
/// the variables say so.
fn start_in(folder: &Path, env: &[(&'static str, &str)]) -> Gateway {
    let closed = ("OLLAMA_URL", "http://127.0.0.1:9");
    let has_ollama = env.iter().any(|(name, _)| *name == "OLLAMA_URL");
    let env: Vec<_> = [ON].into_iter().chain((!has_ollama).then_some(closed)).chain(env.iter().copied()).collect();
    Gateway::start_in(folder, &env)
}

fn chat(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "hello" }] })
}

/// The live resources under a path of administration that the gateway made.
async fn automatic(gateway: &Gateway, path: &str) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = gateway.operator().get(&format!("/v1/admin/{path}?limit=1000{cursor}")).await.must(200).json();
        let items = page["items"].as_array().expect("a list");
        all.extend(items.iter().filter(|item| item["origin"].is_string() && item["ended_at"].is_null()).cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

/// Every file below the folder, with the log of the process.
fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push((path.display().to_string(), fs::read(&path).expect("a file")));
        }
    }
}

fn assert_nowhere(gateway: &Gateway, folder: &Path, secret: &str) {
    let mut places = vec![("stdout".to_owned(), gateway.stdout().into_bytes())];
    files(folder, &mut places);
    for (place, bytes) in places {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "the key is in {place}");
    }
}

/// Returns the output of the start, once it has printed all.
async fn shown(gateway: &Gateway) -> String {
    let began = Instant::now();
    loop {
        let shown = gateway.stdout();
        if shown.contains("\nwho you are: ") {
            return shown;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{shown}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Holds: environment.providers, environment.models, environment.keys, environment.shown
#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_the_environment_is_enough_to_be_answered_and_charged_at_the_list_price() {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), MockUpstream::start().await);
    let base_url = upstream.base_url("openai");
    let env = [("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", base_url.as_str()), ("RUST_LOG", "trace")];
    let mut gateway = start_in(folder.path(), &env);
    let shown = shown(&gateway).await;
    let line = shown.lines().find(|line| line.starts_with("openai ")).expect("a line");
    assert!(line.contains("OPENAI_API_KEY") && line.contains(&base_url), "{line}");
    let secret = key(&gateway).await;
    let app = gateway.client(Some(&secret));
    for model in ["gpt-4o-mini", "openai/gpt-4o-mini"] {
        let listed = app.get(&format!("/v1/models/{model}")).await.must(200).json();
        assert_eq!((&listed["provider"], &listed["context_window"]), (&json!("openai"), &json!(128_000)));
        assert_eq!(listed["price"]["cache_read_usd_per_mtok"], "0.075000000");
        assert!(listed["capabilities"].as_array().is_some_and(|known| known.contains(&json!("tools"))), "{listed}");
        let reply = app.post(OPENAI, &chat(model)).await.must(200);
        assert_eq!(reply.header("x-ledgerway-backend"), "openai/gpt-4o-mini");
        let usage = &reply.json()["usage"];
        let tokens = |class: &str| usage[class].as_u64().expect("a number of tokens");
        // 0.15 and 0.60 US dollars per million tokens are 150 and 600 nano-dollars a token.
        let nanos = tokens("prompt_tokens") * 150 + tokens("completion_tokens") * 600;
        assert!(nanos > 0);
        assert_eq!(reply.header("x-ledgerway-cost-usd"), format!("0.{nanos:09}"));
    }
    let seen = upstream.seen();
    assert!(seen.iter().all(|seen| seen.headers["authorization"] == format!("Bearer {KEY}")));
    // Without a cap of the client's, the model's default one was sent.
    assert_eq!(seen.last().expect("a request").body["max_completion_tokens"], 4096);

    let provider = automatic(&gateway, "providers").await.into_iter().find(|provider| provider["name"] == "openai");
    let provider = provider.expect("the provider");
    assert_eq!((&provider["key_variable"], &provider["api_key_set"]), (&json!("OPENAI_API_KEY"), &json!(true)));
    assert_eq!((&provider["allow_private_network"], &provider["origin"]), (&json!(true), &json!("environment")));
    let events = gateway.events().await;
    let by_environment = |event: &&Value| event["actor"] == "system:environment";
    let types: BTreeSet<_> = events.iter().filter(by_environment).map(|event| text(&event["type"])).collect();
    assert_eq!(types, ["model.created.v1", "price.created.v1", "provider.created.v1"].map(str::to_owned).into());
    assert!(!events.iter().any(|event| event.to_string().contains(KEY)));
    gateway.books().await;

    let recorded = gateway.last_fact().await;
    gateway.stop();
    gateway.start_again();
    assert_eq!(gateway.last_fact().await, recorded, "nothing has changed");
    app.post(OPENAI, &chat("gpt-4o-mini")).await.must(200);
    gateway.stop();
    assert_nowhere(&gateway, folder.path(), KEY);
}

/// Holds: bin.catalogue-providers, bin.catalogue-damaged
#[tokio::test(flavor = "multi_thread")]
async fn a_catalogue_in_the_folder_redirects_no_key_and_a_damaged_one_ends_no_start() {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), MockUpstream::start().await);
    let mut document: Value =
        serde_json::from_str(include_str!("../../command/built_in_catalogue/data/catalogue.json")).expect("JSON");
    document["version"] = json!("2999-01-01");
    document["providers"][0]["base_url"] = json!(upstream.base_url("openai").replace("http:", "https:"));
    document["providers"][0]["key_variables"] = json!(["RUST_LOG"]);
    let file = folder.path().join("data/catalogue.json");
    fs::create_dir(folder.path().join("data")).expect("a folder");
    fs::write(&file, document.to_string()).expect("a file");
    let gateway = start_in(folder.path(), &[("OPENAI_API_KEY", KEY)]);
    let provider = automatic(&gateway, "providers").await.into_iter().find(|provider| provider["name"] == "openai");
    let provider = provider.expect("the provider");
    assert_eq!(provider["base_url"], "https://api.openai.com/v1");
    assert_eq!(provider["key_variable"], "OPENAI_API_KEY");
    let recorded = gateway.head().await;
    drop(gateway);

    fs::write(&file, "{").expect("a file");
    let gateway = start_in(folder.path(), &[("OPENAI_API_KEY", KEY)]);
    let shown = shown(&gateway).await;
    assert!(
        shown.contains("catalogue.json is not a catalogue: ") && shown.contains("is part of the binary"),
        "{shown}"
    );
    assert_eq!(gateway.head().await, recorded, "it is the same catalogue");
}

/// Holds: environment.gone
#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_is_gone_ends_what_it_made_and_another_value_changes_it() {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), MockUpstream::start().await);
    let base_url = upstream.base_url("openai");
    let first = start_in(folder.path(), &[("OPENAI_API_KEY", "k1"), ("OPENAI_BASE_URL", &base_url)]);
    let (recorded, of_first) = (first.head().await, automatic(&first, "providers").await);
    drop(first);

    let other_key = start_in(folder.path(), &[("OPENAI_API_KEY", "k2"), ("OPENAI_BASE_URL", &base_url)]);
    assert_eq!(other_key.head().await, recorded, "a key is not recorded");
    other_key.operator().post(OPENAI, &chat("gpt-4o-mini")).await.must(200);
    assert_eq!(upstream.seen().last().expect("a request").headers["authorization"], "Bearer k2");
    let recorded = other_key.head().await;
    drop(other_key);

    let moved_to = format!("{}/moved/v1", upstream.origin());
    let moved = start_in(folder.path(), &[("OPENAI_API_KEY", "k2"), ("OPENAI_BASE_URL", &moved_to)]);
    assert_eq!(moved.head().await, recorded + 1, "the provider has changed");
    moved.operator().post(OPENAI, &chat("gpt-4o-mini")).await.must(200);
    assert!(upstream.seen().last().expect("a request").path.starts_with("/moved/v1/"));
    let of_moved = automatic(&moved, "providers").await;
    let ids = |providers: &[Value]| providers.iter().map(|provider| text(&provider["id"])).collect::<BTreeSet<_>>();
    assert_eq!(ids(&of_first), ids(&of_moved));
    drop(moved);

    for env in [&[][..], &[("LEDGERWAY_PROVIDERS_FROM_ENV", "off"), ("OPENAI_API_KEY", "k2")][..]] {
        let gone = start_in(folder.path(), env);
        gone.operator().post(OPENAI, &chat("gpt-4o-mini")).await.must(404);
        assert!(automatic(&gone, "models").await.is_empty() && automatic(&gone, "prices").await.is_empty());
        let left = automatic(&gone, "providers").await;
        assert!(left.iter().all(|provider| provider["name"] == "ollama"), "{left:?}");
        gone.books().await;
    }
}

/// Holds: environment.orphans
#[tokio::test(flavor = "multi_thread")]
async fn a_price_of_ones_own_that_a_provider_has_left_behind_is_named_at_the_start() {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), MockUpstream::start().await);
    let base_url = upstream.base_url("openai");
    let env = [("OPENAI_API_KEY", "k1"), ("OPENAI_BASE_URL", base_url.as_str())];
    let first = start_in(folder.path(), &env);
    let provider = automatic(&first, "providers").await.into_iter().find(|provider| provider["name"] == "openai");
    let provider = text(&provider.expect("the provider")["id"]);
    let price = json!({ "provider_id": provider, "model": "gpt-4o-mini", "input_usd_per_mtok": "9", "output_usd_per_mtok": "9" });
    made(first.operator(), "/prices", price).await;
    let targets = json!([{ "provider_id": provider, "model": "gpt-4o-mini", "default_max_output_tokens": 9 }]);
    made(first.operator(), "/models", json!({ "name": "mine", "targets": targets })).await;
    assert!(!shown(&first).await.contains(&provider));
    drop(first);
    drop(start_in(folder.path(), &[]));
    let again = start_in(folder.path(), &env);
    let shown = shown(&again).await;
    let line = shown.lines().find(|line| line.starts_with("note: ") && line.contains(&provider)).expect("a note");
    assert!(line.contains("prices (gpt-4o-mini) and models (mine)"), "{line}");
    let listed = shown.lines().find(|line| line.starts_with("openai ")).expect("a line");
    assert!(listed.ends_with(" at list prices of openai"), "{listed}");
}

/// Holds: environment.names, environment.prices, environment.fixed
#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_makes_wins_and_what_the_gateway_made_stays_as_it_is() {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), MockUpstream::start().await);
    let base_url = upstream.base_url("openai");
    let off = Gateway::start_in(folder.path(), &[]);
    let own = json!({ "name": "openai", "kind": "openai", "base_url": base_url, "api_key": "own",
                      "allow_private_network": true });
    let own = made(off.operator(), "/providers", own).await;
    drop(off);
    let gateway = start_in(folder.path(), &[("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", &base_url)]);
    let operator = gateway.operator();
    let reply = operator.post(OPENAI, &chat("gpt-4o-mini")).await.must(200);
    assert_eq!(reply.header("x-ledgerway-backend"), "openai-2/gpt-4o-mini");
    operator.post(OPENAI, &chat("openai-2/gpt-4o-mini")).await.must(200);

    let provider = automatic(&gateway, "providers").await.into_iter().find(|provider| provider["name"] == "openai-2");
    let provider = text(&provider.expect("the provider")["id"]);
    let named = |items: Vec<Value>, field: &str, name: &str| {
        text(&items.into_iter().find(|item| item[field] == name).expect("a resource")["id"])
    };
    let model = named(automatic(&gateway, "models").await, "name", "gpt-4o-mini");
    let price = named(automatic(&gateway, "prices").await, "model", "gpt-4o-mini");
    for (path, change) in [
        (format!("/v1/admin/providers/{provider}"), json!({ "name": "mine" })),
        (format!("/v1/admin/models/{model}"), json!({ "name": "mine" })),
        (format!("/v1/admin/prices/{price}"), json!({ "input_usd_per_mtok": "0" })),
    ] {
        let changed = operator.patch(&path, &change).await.must_be(409, "CONFLICT").json();
        assert!(text(&changed["error"]["message"]).contains("OPENAI_API_KEY"), "{changed}");
        operator.delete(&path).await.must_be(409, "CONFLICT");
        operator.get(&path).await.must(200);
    }

    let cheap = json!({ "provider_id": provider, "model": "gpt-4o-mini", "input_usd_per_mtok": "0",
                        "output_usd_per_mtok": "0", "request_usd": "0.5" });
    let cheap = made(operator, "/prices", cheap).await;
    let cost = |reply: crate::client::Reply| reply.header("x-ledgerway-cost-usd").to_owned();
    assert_eq!(cost(operator.post(OPENAI, &chat("gpt-4o-mini")).await.must(200)), "0.500000000");
    let of = |id: &str| format!("/v1/admin/prices/{id}");
    assert_eq!(operator.get(&of(&price)).await.json()["in_force"], false);
    operator.delete(&of(&cheap)).await.must(200);
    assert!(cost(operator.post(OPENAI, &chat("gpt-4o-mini")).await.must(200)).starts_with("0.0000"));

    let price =
        json!({ "provider_id": own, "model": "usage-1-1-2", "input_usd_per_mtok": "1", "output_usd_per_mtok": "1" });
    made(operator, "/prices", price).await;
    let targets = json!([{ "provider_id": own, "model": "usage-1-1-2", "default_max_output_tokens": 9 }]);
    let model = made(operator, "/models", json!({ "name": "gpt-4o-mini", "targets": targets })).await;
    let reply = operator.post(OPENAI, &chat("gpt-4o-mini")).await.must(200);
    assert_eq!(reply.header("x-ledgerway-backend"), "openai/usage-1-1-2");
    operator.delete(&format!("/v1/admin/models/{model}")).await.must(200);
    let reply = operator.post(OPENAI, &chat("gpt-4o-mini")).await.must(200);
    assert_eq!(reply.header("x-ledgerway-backend"), "openai-2/gpt-4o-mini");
}

/// The variables that put a provider of a kind at an address.
fn variables(kind: &str, address: &str) -> Option<Vec<(&'static str, String)>> {
    let (key, base_url) = match kind {
        "openai" => ("OPENAI_API_KEY", "OPENAI_BASE_URL"),
        "anthropic" => ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
        "gemini" => ("GEMINI_API_KEY", "GEMINI_BASE_URL"),
        "cohere" => ("COHERE_API_KEY", "COHERE_BASE_URL"),
        "azure_openai" => ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"),
        "bedrock" => ("AWS_BEARER_TOKEN_BEDROCK", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"),
        "ollama" => return Some(vec![("OLLAMA_URL", address.to_owned())]),
        _ => return None,
    };
    Some(vec![(key, KEY.to_owned()), (base_url, address.to_owned())])
}

/// A whole sample of the family that is an answer, with reported usage.
fn good_sample(upstream: &SampleUpstream, kind: &str) -> String {
    let is_good = |sample: &String| {
        let metered = metered(kind, sample);
        metered["fault"].is_null() && metered["finish_reason"] == "stop" && metered["reported"].is_object()
    };
    upstream.samples(kind, false).into_iter().find(is_good).expect("a sample")
}

/// Holds: environment.providers, environment.keys
#[tokio::test(flavor = "multi_thread")]
async fn every_family_is_called_with_the_key_and_at_the_address_of_its_variables() {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), SampleUpstream::start(golden(), 0).await);
    let samples: Vec<_> = upstream
        .kinds()
        .into_iter()
        .filter_map(|kind| {
            variables(&kind, "")?;
            let sample = good_sample(&upstream, &kind);
            Some((kind, sample))
        })
        .collect();
    assert_eq!(samples.len(), 7, "all but Vertex AI, which no variable names: {samples:?}");
    let env: Vec<(&'static str, String)> =
        samples.iter().flat_map(|(kind, sample)| variables(kind, &upstream.address(kind, sample))).flatten().collect();
    let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let gateway = start_in(folder.path(), &env);
    let operator = gateway.operator();
    let providers = automatic(&gateway, "providers").await;
    for (kind, sample) in &samples {
        let provider = providers.iter().find(|provider| provider["kind"] == **kind).expect("a provider");
        let price = json!({ "provider_id": provider["id"], "model": "m", "input_usd_per_mtok": "3",
                            "output_usd_per_mtok": "15" });
        made(operator, "/prices", price).await;
        let targets = json!([{ "provider_id": provider["id"], "model": "m", "default_max_output_tokens": 4096 }]);
        made(operator, "/models", json!({ "name": kind, "targets": targets })).await;
        operator.post(OPENAI, &chat(kind)).await.must(200);
        assert!(!upstream.seen(kind, sample).is_empty(), "{kind}");
    }
    gateway.books().await;
    drop(gateway);
    let mut places = Vec::new();
    files(folder.path(), &mut places);
    assert!(places.iter().all(|(_, bytes)| !bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes())));
}

/// Holds: environment.faults
#[test]
fn a_variable_that_cannot_be_right_ends_the_start_with_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let ended = |variables: &[(&'static str, &str)]| {
        let env: Vec<_> = [ON].iter().chain(variables).map(|(name, value)| (*name, (*value).to_owned())).collect();
        serve_to_its_end(folder.path(), &env)
    };
    let address = format!("ftp://{KEY}.example");
    for (variables, sentence) in [
        (vec![("OPENAI_API_KEY", "two words")], "ledgerway: OPENAI_API_KEY is not an API key"),
        (
            vec![("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", address.as_str())],
            "ledgerway: OPENAI_BASE_URL must begin with https:// or http://, for example OPENAI_BASE_URL=https://",
        ),
        (
            vec![
                ("AZURE_OPENAI_API_KEY", KEY),
                ("AZURE_OPENAI_ENDPOINT", "https://a.openai.azure.com"),
                ("AZURE_OPENAI_DEPLOYMENTS", "gpt-4o=dep2,gpt-4.1=dep2"),
            ],
            "ledgerway: AZURE_OPENAI_DEPLOYMENTS has the deployment dep2 for two models, gpt-4o and gpt-4.1",
        ),
        (vec![("LEDGERWAY_BEDROCK", "on")], "ledgerway: AWS_ACCESS_KEY_ID is not set, but LEDGERWAY_BEDROCK asks"),
        (vec![("LEDGERWAY_PROVIDERS_FROM_ENV", "maybe")], "ledgerway: LEDGERWAY_PROVIDERS_FROM_ENV is \"maybe\""),
    ] {
        let (code, words) = ended(&variables);
        assert!(code == Some(2) && words.starts_with(sentence), "{code:?} {words}");
        assert!(!words.contains("two words") && !words.contains(KEY) && words.lines().count() == 1, "{words}");
    }
}

/// Holds: environment.local-models
#[tokio::test(flavor = "multi_thread")]
async fn a_local_ollamas_models_appear_for_nothing_and_end_when_they_are_gone_for_good() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = LocalServer::start(r#"{"models":[{"name":"llama3:latest"},{"name":"qwen3:4b"}]}"#);
    let address = server.address();
    let start = || start_in(folder.path(), &[("OLLAMA_URL", &address)]);
    let gateway = start();
    for model in ["ollama/llama3:latest", "llama3:latest", "llama3", "qwen3:4b"] {
        let reply = gateway.operator().post(OPENAI, &chat(model)).await.must(200);
        assert_eq!(reply.header("x-ledgerway-cost-usd"), "0.000000000", "{model}");
    }
    let prices = automatic(&gateway, "prices").await;
    assert!(prices.len() == 2 && prices.iter().all(|price| price["defaulted"] == json!([])), "{prices:?}");
    drop(gateway);

    server.lists(r#"{"models":[{"name":"qwen3:4b"}]}"#);
    let gateway = start();
    gateway.operator().post(OPENAI, &chat("llama3")).await.must(404);
    gateway.operator().post(OPENAI, &chat("qwen3:4b")).await.must(200);
    let recorded = gateway.head().await;
    drop(gateway);

    // Whatever else it says, or if it says nothing, it is still there.
    for nonsense in ["<html>", r#"{"models":"none"}"#] {
        server.lists(nonsense);
        assert_eq!(start().head().await, recorded, "{nonsense}");
    }
    drop(server);
    let gateway = start();
    assert_eq!(gateway.head().await, recorded);
    gateway.operator().get("/v1/models/qwen3:4b").await.must(200);
}

/// Holds: environment.local-models, environment.own-local-models
#[tokio::test(flavor = "multi_thread")]
async fn the_operators_own_local_servers_are_asked_where_they_say_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = LocalServer::start(r#"{"object":"list","data":[{"id":"Qwen/Qwen3-4B","max_model_len":32768}]}"#);
    let off = Gateway::start_in(folder.path(), &[]);
    let server_address = server.address() + "/v1";
    let add = |name: &'static str, server: Option<&'static str>, is_asked: bool| {
        let provider = json!({ "name": name, "kind": "openai", "server": server, "base_url": server_address,
                               "api_key": "local-key", "allow_private_network": true, "discover_models": is_asked });
        made(off.operator(), "/providers", provider)
    };
    add("gpu", Some("vllm"), true).await;
    add("not-asked", Some("vllm"), false).await;
    add("unknown", None, false).await;
    let unknown = json!({ "name": "x", "kind": "openai", "base_url": server_address, "allow_private_network": true,
                          "discover_models": true });
    let refused = off.operator().post("/v1/admin/providers", &unknown).await.must_be(400, "INVALID_REQUEST").json();
    assert_eq!(refused["error"]["details"]["field"], "discover_models");
    drop(off);
    let gateway = start_in(folder.path(), &[]);
    let listed = gateway.operator().get("/v1/models").await.must(200).json();
    let names: Vec<_> = listed["data"].as_array().expect("a list").iter().map(|model| text(&model["id"])).collect();
    assert_eq!(names, ["Qwen/Qwen3-4B", "gpu/Qwen/Qwen3-4B"]);
    assert_eq!(listed["data"][0]["context_window"], 32_768);
    assert!(server.heard().iter().any(|head| head.contains("authorization: Bearer local-key")), "{:?}", server.heard());
    let model = text(&automatic(&gateway, "models").await[0]["id"]);
    let refused = gateway.operator().delete(&format!("/v1/admin/models/{model}")).await.must_be(409, "CONFLICT").json();
    assert!(text(&refused["error"]["message"]).contains("the provider gpu"), "{refused}");
    // At a public address, nothing is free.
    let gpu = gateway.operator().get("/v1/admin/providers?limit=1000").await.must(200).json();
    let gpu =
        gpu["items"].as_array().expect("a list").iter().find(|provider| provider["name"] == "gpu").expect("it").clone();
    let moved = json!({ "base_url": "http://1.1.1.1/v1", "api_key": null });
    gateway.operator().patch(&format!("/v1/admin/providers/{}", text(&gpu["id"])), &moved).await.must(200);
    drop(gateway);
    let gateway = start_in(folder.path(), &[]);
    assert!(automatic(&gateway, "models").await.is_empty() && automatic(&gateway, "prices").await.is_empty());
}

/// Holds: environment.shown
#[test]
fn the_help_names_the_settings() {
    let help = ledgerway().args(["serve", "--help"]).output().expect("the binary starts");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for flag in ["--providers-from-env", "--bedrock"] {
        assert!(help.contains(flag), "{help}");
    }
}
