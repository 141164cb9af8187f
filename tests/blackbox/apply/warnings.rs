//! Probable mistakes are applied as they are, and reported each time.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Files, apply, summary};
use crate::gateway::Gateway;

const CONFIG: &str = r#"tenants:
  - {slug: acme, name: Acme}
providers:
  - {name: p, kind: simulator}
models:
  - name: large
    targets: [{provider: p, model: echo}]
    successor: larger
    shadow: {model: lage, share_percent: 5}
    rules:
      - {when: 'tenant == tenant_id("acme")', strategy: cost}
      - when: tenant == "acme" && tools
        strategy: cost
  - name: current
    alias:
      - model: large
      - {model: next, from: 2126-01-01T00:00:00Z}
"#;

const SAID: [&str; 5] = [
    "8: models[0].successor: there is no model \"larger\" in the files or in the gateway, but clients are told to use it; did you mean large?",
    "9: models[0].shadow.model: there is no model \"lage\" in the files or in the gateway, so copies are refused until there is one; did you mean large?",
    "10: models[0].rules: no request goes by them: add strategy: rules, or remove them",
    "12: models[0].rules[1].when: tenant is an id and \"acme\" is not, so they are never equal: write tenant_id(\"acme\")",
    "17: models[1].alias[1].model: there is no model \"next\" in the files or in the gateway, so requests get 404 until there is one",
];

/// Holds: bin.apply
#[tokio::test(flavor = "multi_thread")]
async fn apply_warns_of_what_may_be_a_mistake() {
    let gateway = Gateway::start();
    let files = Files::with(CONFIG);
    for (more, done) in [
        (&["--dry-run"][..], "dry run, nothing was changed: 4 to create, 0 to change, 0 unchanged"),
        (&[], "done: 4 created, 0 changed, 0 unchanged"),
        (&[], "nothing to change: 4 unchanged"),
    ] {
        let ended = apply(&gateway, &files, more).must(0);
        assert_eq!(summary(&ended), done);
        let lines: Vec<&str> = ended.err.lines().collect();
        assert_eq!(lines.len(), SAID.len(), "{}", ended.err);
        for (line, said) in lines.iter().zip(SAID) {
            assert!(line.contains("warning: ") && line.ends_with(&format!("config.yaml:{said}")), "{line}\n{said}");
        }
    }
    // Only models that all tenants share are seen by each owner.
    let of_others = "tenants:\n  - {slug: beta, name: Beta}\nproviders:\n  - {name: own, kind: simulator, tenant: acme}\nmodels:\n  - {name: mine, \
                     tenant: acme, targets: [{provider: {name: own, tenant: acme}, model: echo}]}\n  - {name: x, alias: [{model: mine}]}\n  - \
                     {name: y, tenant: beta, alias: [{model: mine}]}\n  - {name: z, tenant: acme, alias: [{model: mine}]}\n";
    files.write(
        "config.yaml",
        &of_others.replace("tenants:", "tenants:\n  - {slug: acme, name: Acme, own_providers: true}"),
    );
    let ended = apply(&gateway, &files, &["--dry-run"]).must(0);
    let lines: Vec<&str> = ended.err.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ended.err);
    for (line, model) in lines.into_iter().zip(["models[1]", "models[2]"]) {
        let said =
            ".alias[0].model: model \"mine\" belongs to a tenant, and this model cannot use it, so requests get 404";
        assert!(line.ends_with(&format!(": {model}{said}")), "{line}");
    }
    // What the gateway has beside the files counts as well.
    let more = "models:\n  - {name: later, targets: [{provider: p, model: echo}], successor: large}\n";
    files.write("config.yaml", more);
    assert_eq!(apply(&gateway, &files, &[]).must(0).err, "");
}

/// Holds: bin.apply
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_applies_files_logs_the_warnings() {
    let files = Files::with(CONFIG);
    let path = files.path().display().to_string();
    let gateway = Gateway::start_with(&[("LEDGERWAY_APPLY", &*path)]);
    let said = async {
        while !SAID.iter().all(|said| gateway.stderr().contains(said.split('"').next().unwrap_or_default())) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(timeout(Duration::from_secs(30), said).await.is_ok(), "{}", gateway.stderr());
}
