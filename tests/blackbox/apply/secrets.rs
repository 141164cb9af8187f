//! Secrets of `ledgerway apply`: where they are read, and who gets them.

use std::fs;

use serde_json::json;
use testing::upstream::MockUpstream;

use super::{Files, SECRET, apply, live, run, summary};
use crate::gateway::Gateway;
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
