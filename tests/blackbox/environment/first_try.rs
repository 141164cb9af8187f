//! The first request of a new user: the model that the start proposes, and what `models try` says of one that is not there.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use super::{KEY, shown, start_in};
use crate::gateway::{OPERATOR_KEY, ledgerway};

/// A catalogue in the folder with these models and aliases.
pub fn take_catalogue(folder: &Path, models: Value, aliases: Value) {
    let mut document: Value =
        serde_json::from_str(include_str!("../../../command/built_in_catalogue/data/catalogue.json")).expect("JSON");
    document["version"] = json!("2999-01-01");
    document["models"] = models;
    document["aliases"] = aliases;
    let data = folder.join("data");
    fs::create_dir_all(&data).expect("a folder");
    fs::write(data.join("catalogue.json"), document.to_string()).expect("a file");
}

/// A model of a bare name, at a price of both sides.
pub fn model(provider: &str, name: &str, mode: &str, price: &str) -> Value {
    json!({ "provider": provider, "model": name, "name": name, "mode": mode, "capabilities": ["tools"],
            "context_window": 128_000, "max_output_tokens": 4096,
            "price": { "input_usd_per_mtok": price, "output_usd_per_mtok": price } })
}

pub fn with(mut model: Value, name: &str, value: Value) -> Value {
    model[name] = value;
    model
}

fn models() -> Value {
    json!([
        with(model("openai", "a-without-tools", "chat", "0.1"), "capabilities", json!([])),
        with(model("openai", "b-retires", "chat", "0.2"), "deprecated_on", json!("2998-01-01")),
        model("openai", "cheap", "chat", "0.5"),
        model("openai", "kept-4", "chat", "3"),
        with(
            with(model("openai", "old-4", "chat", "1"), "deprecated_on", json!("2020-01-31")),
            "successor",
            json!("kept-4")
        ),
        model("openai", "pro-4", "responses", "20"),
        model("openai", "shared-4", "responses", "1"),
        model("anthropic", "shared-4", "chat", "1"),
    ])
}

/// Returns the command that the start proposes.
async fn proposed(folder: &Path, base_url: &str) -> String {
    let gateway = start_in(folder, &[("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", base_url)]);
    let shown = shown(&gateway).await;
    let line = shown.lines().find_map(|line| line.strip_prefix("try it: ledgerway models try ")).expect("a line");
    line.split(' ').next().expect("a name").to_owned()
}

/// Holds: environment.shown
#[tokio::test(flavor = "multi_thread")]
async fn the_start_proposes_an_alias_or_else_the_cheapest_model_that_calls_tools() {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), MockUpstream::start().await);
    let base_url = upstream.base_url("openai");
    take_catalogue(folder.path(), models(), json!({ "gpt": "kept-4", "claude": "shared-4" }));
    assert_eq!(proposed(folder.path(), &base_url).await, "gpt");
    take_catalogue(folder.path(), models(), json!({ "claude": "shared-4" }));
    assert_eq!(proposed(folder.path(), &base_url).await, "cheap");
}

/// Holds: bin.models-try
#[tokio::test(flavor = "multi_thread")]
async fn a_try_of_a_model_that_the_catalogue_knows_says_what_helps_or_why_nothing_does() {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), MockUpstream::start().await);
    take_catalogue(folder.path(), models(), json!({}));
    let base_url = upstream.base_url("openai");
    let gateway = start_in(folder.path(), &[("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", &base_url)]);
    for (model, says) in [
        ("old-4", "the catalogue knows this model: openai retired it on 2020-01-31 and recommends kept-4"),
        ("pro-4", "the catalogue knows this model: openai has it only in its Responses API"),
        ("shared-4", "; start the gateway with ANTHROPIC_API_KEY set"),
        ("anthropic/shared-4", "the catalogue knows this model: start the gateway with ANTHROPIC_API_KEY set"),
        ("kept-44", "did you mean kept-4"),
    ] {
        let tried = ledgerway()
            .args(["models", "try", model, "--data"])
            .arg(gateway.data())
            .env("LEDGERWAY_ADMIN_KEY", OPERATOR_KEY)
            .output()
            .expect("the binary starts");
        let said = String::from_utf8_lossy(&tried.stderr).into_owned();
        assert!(tried.status.code() == Some(1) && said.contains(says) && !said.contains("OPENAI_API_KEY"), "{said}");
    }
}
