//! `ledgerway models try`: one request, and what came of it. `ledgerway models list`: what the key may use.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::gateway::{Gateway, OPERATOR_KEY, ledgerway};
use crate::tenant::Tenant;

/// Exit code, stdout and stderr.
fn output(mut command: Command) -> (Option<i32>, String, String) {
    let ended = command.output().expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}

fn try_in(data: &Path, arguments: &[&str], key: Option<&str>) -> (Option<i32>, String, String) {
    models_in(data, "try", arguments, key)
}

fn models_in(data: &Path, subcommand: &str, arguments: &[&str], key: Option<&str>) -> (Option<i32>, String, String) {
    let mut command = ledgerway();
    command.args(["models", subcommand]).args(arguments).arg("--data").arg(data);
    if let Some(key) = key {
        command.env("LEDGERWAY_KEY", key);
    }
    output(command)
}

/// Holds: bin.models-try
#[tokio::test(flavor = "multi_thread")]
async fn a_try_shows_the_answer_what_it_took_and_who_served_it() {
    let gateway = Gateway::start_with(&[("LEDGERWAY_DEV", "true")]);
    // With the operator's key in the folder, or the app key, when the variable of neither is set.
    let data = gateway.data();
    let (code, out, err) = try_in(&data, &["sim-small", "--message", "one two three"], None);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let lines: Vec<String> = out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines[..4], ["one two three", "", "model sim-small", "served by sim/echo"], "{out}");
    assert!(
        lines.iter().any(|line| line == "3 output") && lines.iter().any(|line| line.starts_with("cost 0.0000")),
        "{out}"
    );
    assert!(lines.iter().any(|line| line.starts_with("time ") && line.contains(" to the first token, ")), "{out}");
    let (code, streamed, _) = try_in(&data, &["sim-small", "--message", "one two three", "--stream"], None);
    assert_eq!((code, streamed.lines().next()), (Some(0), Some("one two three")));
    let (code, shown, _) = try_in(&data, &["sim-small", "--message", "one two three", "--json"], None);
    let shown: Value = serde_json::from_str(&shown).expect("one object");
    assert_eq!((code, &shown["output"][0]["text"]), (Some(0), &json!("one two three")));
    assert_eq!(shown["backend"], json!({ "provider": "sim", "model": "echo" }));
    assert!(shown["time_ms"].is_u64() && shown["time_to_first_token_ms"].is_u64() && shown["cost_usd"].is_string());
    // It is a request like any other.
    let request = shown["request_id"].as_str().expect("an id");
    assert!(gateway.types_of(request).await.contains(&"budget.settled.v1".to_owned()));
}

/// Holds: bin.models-try
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_try_says_the_code_and_what_to_do() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "e500", "cut"]).await;
    let said = |arguments: &[&str], key: &str| {
        let (code, out, err) = try_in(&gateway.data(), arguments, Some(key));
        assert_eq!(code, Some(1), "{out}{err}");
        assert!(!err.contains(key), "{err}");
        err
    };
    let near = tenant.model("okk");
    let unknown = said(&[&near], &tenant.secret);
    assert!(
        unknown.contains("MODEL_NOT_FOUND: ") && unknown.contains(&format!("did you mean {}", tenant.model("ok"))),
        "{unknown}"
    );
    let known = said(&["gpt-4o"], &tenant.secret);
    assert!(known.contains("the catalogue knows this model") && known.contains("OPENAI_API_KEY"), "{known}");
    let failed = said(&[&tenant.model("e500")], &tenant.secret);
    assert!(failed.contains("UPSTREAM_ERROR: ") && failed.contains("(provider "), "{failed}");
    let cut = said(&[&tenant.model("cut")], &tenant.secret);
    assert!(cut.contains("UPSTREAM_ERROR") && cut.contains("(provider "), "{cut}");
    let embedding =
        json!({ "name": "text-embedding-3-small", "targets": [{ "provider_id": tenant.provider, "model": "ok" }] });
    crate::tenant::made(gateway.operator(), "/models", embedding).await;
    let embedding = said(&["text-embedding-3-small"], &tenant.secret);
    assert!(embedding.contains("is a model for embeddings: POST /v1/embeddings"), "{embedding}");
    let wrong = said(&[&tenant.model("ok")], "sgk_wrong");
    assert!(wrong.contains("UNAUTHENTICATED: ") && wrong.contains("--key-file"), "{wrong}");
    tenant.set_limit("0.000001").await;
    let short = said(&[&tenant.model("ok")], &tenant.secret);
    assert!(short.contains("BUDGET_EXCEEDED: ") && short.contains(&tenant.budget), "{short}");
    let (code, out, _) = try_in(&gateway.data(), &[&near, "--json"], Some(&tenant.secret));
    let error: Value = serde_json::from_str(&out).expect("one object");
    assert_eq!((code, &error["error"]["code"]), (Some(1), &json!("MODEL_NOT_FOUND")));
    assert!(error["advice"].as_str().is_some_and(|advice| advice.starts_with("did you mean ")), "{error}");
}

/// Holds: bin.models-try
#[tokio::test(flavor = "multi_thread")]
async fn a_try_shows_the_calls_that_failed_before_and_advises_what_the_key_may_do() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "reject-401", "e500"]).await;
    let target = |model: &str, priority: u32| json!({ "provider_id": tenant.provider, "model": model, "priority": priority, "default_max_output_tokens": 9 });
    for (name, targets) in [
        ("two", json!([target("reject-401", 0), target("ok", 1)])),
        ("none", json!([target("reject-401", 0), target("e500", 1)])),
    ] {
        let model = json!({ "name": tenant.model(name), "strategy": "priority", "targets": targets });
        crate::tenant::made(gateway.operator(), "/models", model).await;
    }
    let provider = gateway.operator().get(&format!("/v1/admin/providers/{}", tenant.provider)).await.must(200).json();
    let provider = provider["name"].as_str().expect("a name").to_owned();
    let (data, model) = (gateway.data(), |name: &str| tenant.model(name));
    let reader = json!({ "user_id": tenant.user, "name": "reader", "permissions": ["models:use", "usage:read"] });
    let reader = gateway.operator().post("/v1/admin/keys", &reader).await.must(201).json();
    let reader = reader["secret"].as_str().expect("a secret").to_owned();

    let before = format!("failed before {provider}/reject-401 (status 401)");
    let lines = |out: &str| -> Vec<String> {
        out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    let (code, out, err) = try_in(&data, &[&model("two")], Some(&reader));
    assert!(code == Some(0) && lines(&out).contains(&before), "{out}{err}");
    let (_, out, _) = try_in(&data, &[&model("two"), "--json"], Some(&reader));
    let shown: Value = serde_json::from_str(&out).expect("one object");
    let failed = &shown["attempts_failed"];
    assert_eq!((&failed[0]["status"], &failed[0]["backend"]["provider"]), (&json!(401), &json!(provider)), "{shown}");
    let (_, _, err) = try_in(&data, &[&model("none")], Some(&reader));
    let each = ["reject-401 (status 401)", "e500 (status 500)"].map(|call| format!("failed: {provider}/{call}"));
    assert!(each.iter().all(|line| err.contains(line)), "{err}");

    // A key that may not read requests is served as well, and asks for nothing that would be refused.
    let (code, out, err) = try_in(&data, &[&model("two")], Some(&tenant.secret));
    assert!(code == Some(0) && !out.contains("failed before"), "{out}{err}");
    // Metrics count a refusal at once; its event is recorded later.
    let is_refused = async || {
        let metrics = gateway.client(None).get("/metrics").await.must(200);
        String::from_utf8_lossy(&metrics.body).contains("ledgerway_refusals_total{code=\"FORBIDDEN\"")
    };
    assert!(!is_refused().await);
    gateway.client(Some(&tenant.secret)).get("/v1/inferences").await.must(403);
    assert!(is_refused().await);

    // Only the operator can run the doctor.
    let (_, _, err) = try_in(&data, &[&model("reject-401")], Some(&reader));
    assert!(err.contains(&format!("(provider {provider}, status 401)")) && !err.contains("doctor"), "{err}");
    let mut command = ledgerway();
    command.args(["models", "try", &model("reject-401"), "--data"]).arg(&data);
    command.env("LEDGERWAY_ADMIN_KEY", OPERATOR_KEY);
    let (_, _, err) = output(command);
    assert!(err.contains(&format!("(provider {provider}, status 401)")) && err.contains("`ledgerway doctor`"), "{err}");
}

/// A key in a folder is for the gateway that serves this folder.
///
/// Holds: bin.folder-keys
#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_a_folder_goes_to_no_other_gateway() {
    let (gateway, other) = (
        Gateway::start_with(&[("LEDGERWAY_DEV", "true")]),
        crate::scripted::ScriptedServer::start(|_| "302 Found\r\nlocation: /else\r\n\r\n".to_owned()),
    );
    let at = |arguments: &[&str], key: Option<&str>| try_in(&gateway.data(), arguments, key);
    let (code, _, err) = at(&["sim-small", "--url", &other.origin()], None);
    assert!(
        code == Some(2) && err.contains("there is no key for") && err.contains("only for the gateway that serves it"),
        "{err}"
    );
    assert_eq!(other.heard(), Vec::<String>::new());
    // The address of the gateway that serves it is no other one.
    let own = format!("http://127.0.0.1:{}/", gateway.port());
    let (code, out, err) = at(&["sim-small", "--url", &own], None);
    assert_eq!(code, Some(0), "{out}{err}");
    // A key that was given for it is sent, and no redirect is followed.
    let (code, _, err) = at(&["sim-small", "--url", &other.origin()], Some("sgk_given"));
    assert!(code == Some(1) && err.contains("302"), "{err}");
    assert!(other.heard().iter().all(|head| head.starts_with("POST /v1/inference/chat ")), "{:?}", other.heard());
    for (arguments, says) in [
        (&["sim-small", "--url", "gateway.example.com"][..], "--url must be an address that begins with http"),
        (&["sim-small", "--key-file", "/nonexistent"][..], "--key-file is /nonexistent: "),
        (&["sim-small", "--key", "sgk_x"][..], "'--key-file'"),
    ] {
        let (code, _, err) = at(arguments, None);
        assert!(code == Some(2) && err.contains(says), "{err}");
    }
}

/// Holds: bin.models-list
#[tokio::test(flavor = "multi_thread")]
async fn a_list_shows_the_models_that_the_key_may_use_with_their_providers_and_prices() {
    let (gateway, upstream) = (Gateway::start_with(&[("LEDGERWAY_DEV", "true")]), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let data = gateway.data();
    let listed = |arguments: &[&str], key: Option<&str>| models_in(&data, "list", arguments, key);
    let lines = |out: &str| -> Vec<String> {
        out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    let (code, out, err) = listed(&["SIM", "small"], None);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let small = gateway.operator().get("/v1/models/sim-small").await.must(200).json();
    let amount = |name: &str| small["price"][name].as_str().expect("an amount").trim_end_matches('0').to_owned();
    let wanted = format!(
        "sim-small {} {} {} {}",
        small["provider"].as_str().expect("a provider"),
        small["context_window"],
        amount("input_usd_per_mtok").trim_end_matches('.'),
        amount("output_usd_per_mtok").trim_end_matches('.')
    );
    let heading = "model provider context input output".to_owned();
    assert_eq!(lines(&out), [heading, wanted, "prices in US dollars per million tokens".to_owned()]);
    // A key sees what it may use, and no more.
    let (code, out, _) = listed(&[], Some(&tenant.secret));
    assert!(code == Some(0) && lines(&out).iter().any(|line| line.starts_with(&tenant.model("ok"))), "{out}");
    let (_, out, _) = listed(&["--json"], Some(&tenant.secret));
    let shown: Value = serde_json::from_str(&out).expect("one object");
    assert_eq!(shown, tenant.app.get("/v1/models").await.must(200).json());
    let (code, out, _) = listed(&["small", "--json"], None);
    let shown: Value = serde_json::from_str(&out).expect("one object");
    assert_eq!((code, &shown["data"]), (Some(0), &json!([small])));

    for (arguments, key, wanted, says) in [
        (&["nothing-like-it"][..], None, 1, "the key may use no model that contains \"nothing-like-it\""),
        (&[][..], Some("sgk_wrong"), 1, "the key is not one of this gateway, or is no longer valid"),
        (&["--key-file", "/nonexistent"][..], None, 2, "--key-file is /nonexistent: "),
        (&["--url", "http://127.0.0.1:9"][..], Some("sgk_x"), 1, "`ledgerway status` shows whether a gateway runs"),
    ] {
        let (code, out, err) = listed(arguments, key);
        assert!(code == Some(wanted) && out.is_empty() && err.contains(says), "{out}{err}");
    }
    let (code, out, _) = listed(&["--json"], Some("sgk_wrong"));
    let error: Value = serde_json::from_str(&out).expect("one object");
    assert_eq!((code, &error["error"]["code"]), (Some(1), &json!("invalid_api_key")));
    let elsewhere = tempfile::tempdir().expect("a folder");
    let (code, _, err) = models_in(elsewhere.path(), "list", &[], Some("sgk_x"));
    assert!(code == Some(2) && err.contains("no gateway serves "), "{err}");
}
