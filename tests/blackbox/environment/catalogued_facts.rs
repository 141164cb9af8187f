//! The facts that the catalogue states of models: their abilities, and the parameters that they refuse.

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use super::{KEY, automatic, chat, start_in};
use crate::gateway::{Gateway, OPERATOR_KEY, ledgerway};
use crate::tenant::{OPENAI, made, text};

const IMAGE: &str = "data:image/png;base64,iVBORw0KGgo=";

async fn target(gateway: &Gateway, id: &str) -> Value {
    gateway.operator().get(&format!("/v1/admin/models/{id}")).await.must(200).json()["targets"][0].clone()
}

/// Makes a model of the operator's, with a price of its own, at the environment's provider: the catalogue may no longer offer the backend.
async fn own(gateway: &Gateway, backend: &str, stated: &Value) -> String {
    let operator = gateway.operator();
    let provider = automatic(gateway, "providers").await.into_iter().find(|provider| provider["name"] == "openai");
    let provider = text(&provider.expect("the provider")["id"]);
    let price =
        json!({ "provider_id": provider, "model": backend, "input_usd_per_mtok": "1", "output_usd_per_mtok": "1" });
    made(operator, "/prices", price).await;
    let mut target = json!({ "provider_id": provider, "model": backend, "default_max_output_tokens": 9 });
    for (name, value) in stated.as_object().expect("facts") {
        target[name] = value.clone();
    }
    made(operator, "/models", json!({ "name": format!("my-{backend}"), "targets": [target] })).await
}

/// Holds: environment.facts
#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_the_catalogue_is_sent_what_it_takes() {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), MockUpstream::start().await);
    let base_url = upstream.base_url("openai");
    let gateway = start_in(folder.path(), &[("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", base_url.as_str())]);
    let operator = gateway.operator();
    for backend in ["gpt-5-mini", "gpt-3.5-turbo"] {
        own(&gateway, backend, &json!({})).await;
    }
    let mut body = chat("my-gpt-5-mini");
    (body["temperature"], body["max_tokens"]) = (json!(0.5), json!(9));
    let reply = operator.post(OPENAI, &body).await.must(200);
    assert_eq!(reply.header("x-ledgerway-ignored"), "temperature");
    let sent = upstream.seen().pop().expect("a request").body;
    assert_eq!((sent.get("temperature"), &sent["max_completion_tokens"]), (None, &json!(9)));
    // Models that the gateway made are as the catalogue says, too.
    body["model"] = json!("gpt-4o-mini");
    body["reasoning_effort"] = json!("low");
    let reply = operator.post(OPENAI, &body).await.must(200);
    assert_eq!(reply.header("x-ledgerway-ignored"), "reasoning_effort");
    assert_eq!(upstream.seen().pop().expect("a request").body["temperature"], 0.5);

    let mut seeing = chat("my-gpt-3.5-turbo");
    seeing["messages"][0]["content"] = json!([{ "type": "image_url", "image_url": { "url": IMAGE } }]);
    let refused = operator.post(OPENAI, &seeing).await.must(400).json();
    assert!(text(&refused["error"]["message"]).contains("image"), "{refused}");
    seeing["model"] = json!("gpt-4o-mini");
    operator.post(OPENAI, &seeing).await.must(200);
    let listed = operator.get("/v1/models/gpt-4o-mini").await.must(200).json();
    assert_eq!((&listed["abilities"]["endpoints"], &listed["abilities"]["tools"]), (&json!(["chat"]), &json!(true)));
}

/// Holds: environment.facts
#[tokio::test(flavor = "multi_thread")]
async fn a_target_of_the_operators_has_what_the_catalogue_states_unless_it_says_otherwise() {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), MockUpstream::start().await);
    let base_url = upstream.base_url("openai");
    let gateway = start_in(folder.path(), &[("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", base_url.as_str())]);
    let operator = gateway.operator();
    let id = own(&gateway, "gpt-5-mini", &json!({})).await;
    let shown = target(&gateway, &id).await;
    assert_eq!((&shown["abilities"], &shown["refused_parameters"]), (&Value::Null, &Value::Null), "{shown}");
    assert_eq!(shown["catalogued"]["abilities"]["logprobs"], false, "{shown}");
    let ask = async |more: &str| {
        let mut body = chat("my-gpt-5-mini");
        body[more] = if more == "temperature" { json!(0.5) } else { json!(true) };
        operator.post(OPENAI, &body).await
    };
    assert_eq!(ask("temperature").await.must(200).header("x-ledgerway-ignored"), "temperature");
    assert!(text(&ask("logprobs").await.must(400).json()["error"]["message"]).contains("logprobs"));
    // What was read can be sent back, and is not believed.
    let mut foreign = shown.clone();
    foreign["catalogued"] = json!({ "abilities": { "logprobs": true } });
    operator.patch(&format!("/v1/admin/models/{id}"), &json!({ "targets": [foreign] })).await.must(200);
    assert_eq!(target(&gateway, &id).await, shown);
    let mut stated = shown;
    stated["refused_parameters"] = json!([]);
    stated["abilities"] = json!({ "logprobs": true });
    operator.patch(&format!("/v1/admin/models/{id}"), &json!({ "targets": [stated] })).await.must(200);
    assert_eq!(ask("temperature").await.must(200).header("x-ledgerway-ignored"), "");
    ask("logprobs").await.must(200);
}

/// Holds: environment.facts
#[tokio::test(flavor = "multi_thread")]
async fn what_the_catalogue_states_is_no_difference_to_a_file() {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), MockUpstream::start().await);
    let base_url = upstream.base_url("openai");
    let gateway = start_in(folder.path(), &[("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", base_url.as_str())]);
    let file = folder.path().join("models.yaml");
    let model =
        "models:\n  - {name: mine, targets: [{provider: openai, model: gpt-5-mini, default_max_output_tokens: 9}]}\n";
    std::fs::write(&file, model).expect("a file");
    for says in ["1 created", "nothing to change"] {
        let mut command = ledgerway();
        command.arg("apply").arg("-f").arg(&file).arg("--data").arg(gateway.data());
        let ended = command.env("LEDGERWAY_ADMIN_KEY", OPERATOR_KEY).output().expect("the binary starts");
        let out = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() && out.to_lowercase().contains(says), "{says}: {out}");
    }
}

/// Holds: admin.doctor
#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_abilities_that_serve_nothing_or_that_the_catalogue_denies() {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), MockUpstream::start().await);
    let base_url = upstream.base_url("openai");
    let gateway = start_in(folder.path(), &[("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", base_url.as_str())]);
    for (backend, abilities) in [
        ("gpt-3.5-turbo", json!({ "inputs": ["text", "image"], "tools": true })),
        ("gpt-5-mini", json!({ "endpoints": ["responses"] })),
        ("unheard-of", json!(null)),
    ] {
        own(&gateway, backend, &json!({ "abilities": abilities })).await;
    }
    let report = gateway.operator().post("/v1/admin/doctor", &json!({})).await.must(200).json();
    let said = |backend: &str| -> String {
        let items = report["targets"]["items"].as_array().expect("a list");
        let item = items.iter().find(|item| item["backend"] == format!("openai/{backend}"));
        let findings = item.and_then(|item| item["findings"].as_array()).cloned().unwrap_or_default();
        let findings = findings.iter().filter(|finding| finding["check"] == "abilities");
        findings.map(|finding| format!("{}: {}", text(&finding["verdict"]), text(&finding["detail"]))).collect()
    };
    assert_eq!(
        said("gpt-3.5-turbo"),
        "warning: my-gpt-3.5-turbo state abilities of it that the catalogue says it lacks: image"
    );
    let never = said("gpt-5-mini");
    assert!(never.contains("in my-gpt-5-mini it takes no text") && never.contains("lacks: responses"), "{never}");
    assert_eq!((said("unheard-of"), said("gpt-4o-mini")), (String::new(), String::new()));
    assert!(report["targets"]["unknown_abilities"].as_u64() > Some(0), "{report}");
}
