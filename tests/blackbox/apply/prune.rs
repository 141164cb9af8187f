//! `ledgerway apply --prune`.

use serde_json::json;

use super::{Files, apply, export, live, made, summary};
use crate::gateway::Gateway;

/// Holds: bin.apply
#[tokio::test(flavor = "multi_thread")]
async fn what_has_a_label_and_is_in_no_file_any_more_is_deleted() {
    let gateway = Gateway::start();
    let by_hand = json!({ "name": "by-hand", "kind": "simulator", "labels": { "managed-by": "hand" } });
    made(gateway.operator(), "/providers", by_hand).await;
    let config = r#"
labels: {managed-by: git}
tenants:
  - {slug: acme, name: Acme}
  - {slug: old, name: Old, labels: {team: edge}}
providers:
  - {name: p, kind: simulator}
models:
  - {name: m, targets: [{provider: p, model: echo}]}
  - {name: unlabelled, targets: [{provider: p, model: echo}], labels: null}
prices:
  - {provider: p, model: echo, input_usd_per_mtok: "1", output_usd_per_mtok: "2"}
budgets:
  - {scope: {tenant: old}, period: day, limit_usd: "1"}
"#;
    let files = Files::with(config);
    let dry = apply(&gateway, &files, &["--prune", "managed-by=git", "--dry-run"]).must(0);
    assert_eq!(summary(&dry), "dry run, nothing was changed: 7 to create, 0 to change, 0 unchanged");
    assert_eq!(summary(&apply(&gateway, &files, &[]).must(0)), "done: 7 created, 0 changed, 0 unchanged");
    let old = live(&gateway, "tenants", "slug", &json!("old")).await;
    assert_eq!(old["labels"], json!({ "managed-by": "git", "team": "edge" }));
    assert_eq!(live(&gateway, "models", "name", &json!("unlabelled")).await["labels"], json!({}));
    assert!(export(&gateway).contains("    labels:\n      managed-by: git\n      team: edge\n"));

    // Without --prune, what is taken out of the files stays.
    let gone = [
        "  - {slug: old, name: Old, labels: {team: edge}}\n",
        "  - {name: m, targets: [{provider: p, model: echo}]}\n",
        "  - {name: unlabelled, targets: [{provider: p, model: echo}], labels: null}\n",
        "budgets:\n  - {scope: {tenant: old}, period: day, limit_usd: \"1\"}\n",
    ];
    let smaller = gone
        .iter()
        .fold(config.to_owned(), |config, line| config.replace(line, ""))
        .replace("input_usd_per_mtok: \"1\"", "input_usd_per_mtok: \"3\"");
    files.write("config.yaml", &smaller);
    let before = gateway.head().await;
    let dry = apply(&gateway, &files, &["--prune", "managed-by=git", "--dry-run"]).must(0);
    assert_eq!(
        summary(&dry),
        "dry run, nothing was changed: 1 to create, 0 to change, 3 to delete, 2 unchanged",
        "{}",
        dry.out
    );
    assert_eq!(gateway.head().await, before);
    let ended = apply(&gateway, &files, &["--prune", "managed-by=git"]).must(0);
    let deleted = "- model m\n- budget of tenant default/old a day\n- tenant default/old\n";
    assert!(ended.out.contains(deleted), "{}", ended.out);
    assert_eq!(summary(&ended), "done: 1 created, 0 changed, 3 deleted, 2 unchanged");
    let again = apply(&gateway, &files, &["--prune", "managed-by=git"]).must(0);
    assert_eq!(again.out, "nothing to change: 3 unchanged\n");
    // The price that is no longer in force, the model without the label and the provider with another one stay.
    let live = |path: &'static str| {
        let gateway = &gateway;
        async move {
            let list = gateway.operator().get(&format!("/v1/admin/{path}?limit=1000")).await.must(200).json();
            list["items"].as_array().expect("a list").len()
        }
    };
    assert_eq!((live("prices").await, live("providers").await, live("tenants").await), (2, 2, 2));
    assert_eq!(live("models").await, 1);

    // What stays keeps what it uses: the model without the label still has its target at the provider.
    files.write("config.yaml", "labels: {managed-by: git}\ntenants:\n  - {slug: acme, name: Acme}\n");
    let before = gateway.head().await;
    let used = apply(&gateway, &files, &["--prune", "managed-by=git"]).must(2);
    assert!(used.err.contains("  model unlabelled uses provider p"), "{}", used.err);
    assert_eq!(gateway.head().await, before);
    files.write("config.yaml", &smaller);

    // A label that no file has would delete everything that has it.
    for (label, says) in [
        ("managed-by=hand", "no resource of the files has the label managed-by=hand"),
        ("Managed", "--prune must be a label as NAME=VALUE"),
    ] {
        let refused = apply(&gateway, &files, &["--prune", label]).must(2);
        assert!(refused.err.contains(says), "{}", refused.err);
    }
    gateway.books().await;
}

/// A name of a model means the one that its owner sees, so another tenant's model of that name does not keep it.
/// Holds: bin.apply
#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_the_same_name_keeps_nothing() {
    let gateway = Gateway::start();
    let by_hand = r#"
tenants:
  - {slug: acme, name: Acme}
  - {slug: beta, name: Beta}
providers:
  - {name: q, kind: simulator}
models:
  - {name: chat, tenant: acme, targets: [{provider: q, model: echo}]}
  - {name: current, tenant: acme, alias: [{model: chat}]}
"#;
    apply(&gateway, &Files::with(by_hand), &[]).must(0);
    let config = r#"
labels: {managed-by: git}
providers:
  - {name: p, kind: simulator}
models:
  - {name: chat, targets: [{provider: p, model: echo}]}
  - {name: other, tenant: beta, targets: [{provider: p, model: echo}]}
"#;
    let files = Files::with(config);
    apply(&gateway, &files, &[]).must(0);
    let gone = config.replace("  - {name: chat, targets: [{provider: p, model: echo}]}\n", "");
    let prune = ["--prune", "managed-by=git"];
    // A tenant without one of its own means the shared one.
    let alias = "  - {name: current, tenant: beta, alias: [{model: chat}]}\n";
    files.write("config.yaml", &format!("{gone}{alias}"));
    let used = apply(&gateway, &files, &prune).must(2);
    assert!(used.err.contains("config.yaml:7: model default/beta/current uses model chat"), "{}", used.err);
    assert_eq!(used.err.lines().count(), 2, "{}", used.err);
    files.write("config.yaml", &gone);
    let ended = apply(&gateway, &files, &prune).must(0);
    assert_eq!(ended.out, "- model chat\ndone: 0 created, 0 changed, 1 deleted, 2 unchanged\n");
}
