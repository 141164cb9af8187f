//! Secrets of `ledgerway apply`: where they are read, and who gets them.

use std::fs;

use serde_json::json;
use testing::upstream::MockUpstream;

use super::{Files, SECRET, apply, export, live, run, summary};
use crate::gateway::{Gateway, OPERATOR_KEY};
use crate::tenant::NATIVE;

/// Holds: bin.apply-secrets
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_read_where_the_file_says_and_sent_only_where_it_is_needed() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let files = Files::new();
    files.write("upstream.key", &format!("{SECRET}\n"));
    let provider = |more: &str| {
        let base_url = upstream.base_url("openai");
        format!(
            "providers:\n  - name: p\n    kind: openai\n    base_url: {base_url}\n    allow_private_network: true\n{more}"
        )
    };
    let key_set = async || live(&gateway, "providers", "name", &json!("p")).await["api_key_set"].clone();
    files.write("config.yaml", &provider(""));
    apply(&gateway, &files, &[]).must(0);
    assert_eq!(key_set().await, json!(false));
    files.write("config.yaml", &provider("    api_key: {file: upstream.key}\n"));
    let ended = apply(&gateway, &files, &[]).must(0);
    assert!(ended.out.contains("~ provider p\n    api_key: set\n"), "{}", ended.out);
    assert_eq!(key_set().await, json!(true));
    let before = gateway.head().await;
    assert!(apply(&gateway, &files, &[]).must(0).out.starts_with("nothing to change"));
    // It stays where it is not mentioned, and where its source is gone it is not needed.
    files.write("config.yaml", &provider("    api_key: {env: NO_SUCH_VARIABLE}\n"));
    assert!(apply(&gateway, &files, &[]).must(0).out.starts_with("nothing to change"));
    files.write("config.yaml", &provider(""));
    assert!(apply(&gateway, &files, &[]).must(0).out.starts_with("nothing to change"));
    assert_eq!((gateway.head().await, key_set().await), (before, json!(true)));
    files.write("config.yaml", &provider("    api_key: {file: upstream.key}\n"));
    let ended = apply(&gateway, &files, &["--rotate-secrets"]).must(0);
    assert_eq!(summary(&ended), "done: 0 created, 1 changed, 0 unchanged");
    // The provider gets what the file has, and then what the variable has.
    files.write("models.yaml", "models:\n  - {name: m, targets: [{provider: p, model: ok, default_max_output_tokens: 10}]}\nprices:\n  - {provider: p, model: ok, input_usd_per_mtok: \"1\", output_usd_per_mtok: \"2\"}\n");
    apply(&gateway, &files, &[]).must(0);
    let ask = json!({ "model": "m", "messages": [{ "role": "user", "content": "hello" }] });
    gateway.operator().post(NATIVE, &ask).await.must(200);
    assert_eq!(upstream.seen_with(SECRET), 1);
    let with_variable = provider("    api_key: {env: ANOTHER_KEY}\n");
    files.write("config.yaml", &with_variable);
    let other = "sk-apply-other-51be80f4";
    let path = files.path().display().to_string();
    let ended = run(&gateway, &["apply", "-f", &path, "--rotate-secrets"], &[("ANOTHER_KEY", other)]).must(0);
    assert!(!ended.out.contains(other), "{}", ended.out);
    gateway.operator().post(NATIVE, &ask).await.must(200);
    assert_eq!((upstream.seen_with(SECRET), upstream.seen_with(other)), (1, 1));
    fs::remove_file(files.path().join("models.yaml")).expect("a file");
    files.write("config.yaml", &provider("    api_key: {file: upstream.key}\n"));
    // A stored key goes to no other server, so it is sent anew.
    let moved = fs::read_to_string(files.path().join("config.yaml")).expect("a file").replace("127.0.0.1", "localhost");
    files.write("config.yaml", &moved);
    let ended = apply(&gateway, &files, &[]).must(0);
    assert!(ended.out.contains("    base_url: ") && ended.out.contains("    api_key: set\n"), "{}", ended.out);
    files.write("config.yaml", &moved.replace("{file: upstream.key}", "null"));
    assert!(apply(&gateway, &files, &[]).must(0).out.contains("    api_key: removed\n"));
    assert_eq!(key_set().await, json!(false));
    let events = json!(gateway.events().await).to_string();
    assert!(!events.contains(SECRET) && !events.contains(other), "{events}");
}

/// Holds: bin.apply-secrets
#[tokio::test(flavor = "multi_thread")]
async fn secret_headers_come_from_variables_and_an_export_names_them() {
    let gateway = Gateway::start();
    let provider = |more: &str| {
        let head = "providers:\n  - name: p\n    kind: openai\n    base_url: http://127.0.0.1:9/v1\n    allow_private_network: true\n";
        Files::with(&format!("{head}{more}"))
    };
    let names = async || live(&gateway, "providers", "name", &json!("p")).await["secret_header_names"].clone();
    let applied = |files: &Files, more: &[&str], env: &[(&str, &str)]| {
        let path = files.path().display().to_string();
        let arguments: Vec<&str> = ["apply", "-f", &path].iter().chain(more).copied().collect();
        run(&gateway, &arguments, env).must(0).out
    };
    let (auth, both) = ([("AUTH", SECRET)], [("AUTH", SECRET), ("OTHER", SECRET)]);
    let one = provider("    secret_headers: {X-Gateway-Auth: {env: AUTH}}\n");
    applied(&one, &[], &auth);
    assert_eq!(names().await, json!(["x-gateway-auth"]));
    // Where it is known, its source is not needed.
    assert!(applied(&one, &[], &[]).starts_with("nothing to change"));
    assert!(applied(&provider(""), &[], &[]).starts_with("nothing to change"));
    let rotated = applied(&one, &["--rotate-secrets"], &auth);
    assert!(rotated.contains("~ provider p\n    secret_headers: set\n"), "{rotated}");
    let two = provider("    secret_headers: {x-gateway-auth: {env: AUTH}, x-other: {env: OTHER}}\n");
    assert!(applied(&two, &[], &both).contains("    secret_headers: set\n"));
    assert_eq!(names().await, json!(["x-gateway-auth", "x-other"]));
    let exported = export(&gateway);
    for line in ["x-gateway-auth: {env: P_X_GATEWAY_AUTH}", "x-other: {env: P_X_OTHER}"] {
        assert!(exported.contains(line), "{line}: {exported}");
    }
    assert!(applied(&Files::with(&exported), &[], &[]).starts_with("nothing to change"));
    let removed = applied(&provider("    secret_headers: null\n"), &[], &[]);
    assert!(removed.contains("    secret_headers: removed\n"), "{removed}");
    assert_eq!(names().await, json!([]));
    assert!(!json!(gateway.events().await).to_string().contains(SECRET));
}

/// Holds: bin.apply-secrets
#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_the_gateway_are_not_sent_to_a_provider_wherever_they_are() {
    let gateway = Gateway::start();
    let files = Files::new();
    let (own, other) = (files.write("mounted", SECRET), files.write("other", "sk-apply-another-2c94e01b"));
    files.write("copy", &format!("{SECRET}\n"));
    let provider = |source: &str| {
        format!(
            "providers:\n  - {{name: p, kind: openai, base_url: 'http://127.0.0.1:9/v1', allow_private_network: true, api_key: {{{source}}}}}\n"
        )
    };
    let (own, other) = (own.display().to_string(), other.display().to_string());
    let operator = files.write("operator", OPERATOR_KEY).display().to_string();
    let apply = |source: &str, env: &[(&str, &str)]| {
        let file = files.write("config.yaml", &provider(source)).display().to_string();
        run(&gateway, &["apply", "--key-file", &operator, "-f", &file], env)
    };
    for (name, env) in [
        ("LEDGERWAY_NODE_KEY_FILE", ("LEDGERWAY_NODE_KEY_FILE", &*own)),
        ("LEDGERWAY_DATABASE_URL", ("LEDGERWAY_DATABASE_URL", SECRET)),
        ("PGPASSWORD", ("PGPASSWORD", SECRET)),
        ("LEDGERWAY_KEY", ("LEDGERWAY_KEY", SECRET)),
        ("LEDGERWAY_KEY_FILE", ("LEDGERWAY_KEY_FILE", &*own)),
    ] {
        for source in ["file: mounted", "file: copy", "env: UPSTREAM"] {
            let ended = apply(source, &[env, ("UPSTREAM", SECRET)]).must(2);
            assert!(ended.err.contains(&format!(" has the same secret as {name}: ")), "{}", ended.err);
        }
    }
    for source in ["file: operator", "env: UPSTREAM"] {
        let ended = apply(source, &[("UPSTREAM", OPERATOR_KEY)]).must(2);
        assert!(ended.err.contains(" has the same secret as LEDGERWAY_ADMIN_KEY: "), "{}", ended.err);
    }
    let providers = gateway.operator().get("/v1/admin/providers").await.must(200).json();
    assert_eq!(providers["items"], json!([]), "nothing was changed");
    // What others have may be sent.
    let env = [("NODE_KEY_FILE", &*own), ("LEDGERWAY_NODE_KEY_FILE", &*other)];
    let ended = apply("file: copy", &env).must(0);
    assert_eq!(summary(&ended), "done: 1 created, 0 changed, 0 unchanged");
}
