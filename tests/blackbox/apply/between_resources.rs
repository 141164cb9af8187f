//! Resources that the gateway would refuse because of others are a mistake of the files, found before anything is
//! changed; and those it would accept in some order are applied in that order.

use std::fs;

use super::{Files, apply, summary};
use crate::gateway::Gateway;

const TENANTS: &str = "tenants:
  - {slug: acme, name: Acme, own_providers: true}
  - {slug: beta, name: Beta}
users:
  - {slug: ada, tenant: acme, name: Ada}
  - {slug: bo, tenant: beta, name: Bo}
providers:
  - {name: p, kind: simulator}
  - {name: own, kind: simulator, tenant: acme}
";

/// Models with one target at the provider `p`.
fn models(names: &[&str]) -> String {
    names.iter().map(|name| format!("  - {{name: {name}, targets: [{{provider: p, model: echo}}]}}\n")).collect()
}

/// Applies the file for each case, with and without `--dry-run`, and nothing is changed.
#[track_caller]
fn refused(gateway: &Gateway, files: &Files, config: &str, says: &str) {
    let path = files.write("z-config.yaml", config);
    for more in [&["--dry-run"][..], &[]] {
        let ended = apply(gateway, files, more).must(2);
        assert!(ended.err.contains(&format!("z-config.yaml:{says}")), "{config}{}", ended.err);
        assert!(ended.err.starts_with("ledgerway: nothing was changed") && ended.out.is_empty(), "{}", ended.err);
    }
    fs::remove_file(path).expect("a file");
}

/// Holds: bin.apply-mistakes
#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_another_tenant_is_a_mistake() {
    let gateway = Gateway::start();
    let files = Files::new();
    let before = gateway.head().await;
    let cases = [
        (
            "teams:\n  - slug: search\n    tenant: acme\n    name: Search\n    users:\n      - ada\n      - bo\n",
            "7: teams[0].users[1]: belongs to the tenant default/beta: a team can only have users of its own tenant",
        ),
        (
            "models:\n  - name: m\n    targets:\n      - provider: p\n        model: echo\n      - model: echo\n        provider: {name: own, tenant: acme}\n",
            "7: models[0].targets[1].provider: belongs to the tenant default/acme: only models of that tenant can use it",
        ),
        (
            "prices:\n  - provider: own\n    model: echo\n    input_usd_per_mtok: \"1\"\n    output_usd_per_mtok: \"2\"\n",
            "2: prices[0].provider: there is no provider \"own\" in the files or in the gateway; did you mean {name: own, tenant: default/acme}? Only models of its tenant can use a tenant's own provider",
        ),
        (
            "models:\n  - name: m\n    targets: [{provider: own, model: echo}]\n",
            "3: models[0].targets[0].provider: there is no provider \"own\" in the files or in the gateway; did you mean {name: own, tenant: default/acme}? Only models of its tenant can use a tenant's own provider",
        ),
        (
            "models:\n  - name: m\n    tenant: beta\n    targets: [{provider: {name: own, tenant: acme}, model: echo}]\n",
            "4: models[0].targets[0].provider: belongs to the tenant default/acme",
        ),
    ];
    // Whether the others are in the files or in the gateway.
    files.write("a-tenants.yaml", TENANTS);
    for (config, says) in cases {
        refused(&gateway, &files, config, says);
    }
    assert_eq!(gateway.head().await, before);
    apply(&gateway, &files, &[]).must(0);
    fs::remove_file(files.path().join("a-tenants.yaml")).expect("a file");
    let before = gateway.head().await;
    for (config, says) in cases {
        refused(&gateway, &files, config, says);
    }
    assert_eq!(gateway.head().await, before);
    let right = "teams:\n  - {slug: search, tenant: acme, name: Search, users: [ada]}\nmodels:\n  - {name: m, tenant: acme, targets: \
                 [{provider: own, model: echo}]}\n";
    files.write("config.yaml", right);
    assert_eq!(summary(&apply(&gateway, &files, &[]).must(0)), "done: 2 created, 0 changed, 0 unchanged");
    // A change is looked at as a creation is.
    let wrong = right.replace("[ada]", "[bo]");
    fs::remove_file(files.path().join("config.yaml")).expect("a file");
    refused(&gateway, &files, &wrong, "2: teams[0].users[0]: belongs to the tenant default/beta");
}

/// Holds: bin.apply-mistakes
#[tokio::test(flavor = "multi_thread")]
async fn an_alias_of_an_alias_is_a_mistake() {
    let gateway = Gateway::start();
    let files = Files::new();
    files.write("a-tenants.yaml", TENANTS);
    files.write(
        "b-models.yaml",
        &format!("models:\n{}  - {{name: current, alias: [{{model: large}}]}}\n", models(&["large", "small"])),
    );
    let names_an_alias = "models:\n  - name: next\n    alias:\n      - model: large\n      - {model: current, from: 2126-01-01T00:00:00Z}\n";
    let says = "5: models[0].alias[1].model: is an alias: name the model with targets";
    let before = gateway.head().await;
    refused(&gateway, &files, names_an_alias, says);
    assert_eq!(gateway.head().await, before);
    apply(&gateway, &files, &[]).must(0);
    let before = gateway.head().await;
    refused(&gateway, &files, names_an_alias, says);

    // Another alias stands for what becomes one, whether it is in the files or in the gateway alone.
    files.write("b-models.yaml", "");
    let becomes_an_alias = "models:\n  - name: large\n    alias: [{model: small}]\n";
    let says =
        "3: models[0].alias: must be left out: model current stands for this model, and no alias stands for an alias";
    refused(&gateway, &files, becomes_an_alias, says);
    let both = format!("{becomes_an_alias}  - {{name: current, alias: [{{model: large}}]}}\n");
    refused(&gateway, &files, &both, says);
    assert_eq!(gateway.head().await, before);

    // An alias of the same tenant counts too, although the tenant's allow list makes the name mean the shared model.
    files.write("b-models.yaml", &format!("models:\n{}", models(&["b", "c"])));
    let listed = "tenants:\n  - {slug: listed, name: Listed, models: ['*']}\nmodels:\n  - {name: b, tenant: listed, alias: [{model: c}]}\n  - \
                  {name: c, tenant: listed, alias: [{model: b}]}\n";
    let says = "5: models[1].alias: must be left out: model default/listed/b stands for this model";
    refused(&gateway, &files, listed, says);
    assert_eq!(gateway.head().await, before);

    // A tenant's alias means the tenant's own model, where there is one of the name.
    files.write("b-models.yaml", "models:\n  - {name: of-acme, tenant: acme, alias: [{model: current}]}\n");
    let ended = apply(&gateway, &files, &["--dry-run"]).must(2);
    assert!(ended.err.contains("b-models.yaml:2: models[0].alias[0].model: is an alias"), "{}", ended.err);
    files.write("a-own.yaml", "models:\n  - {name: current, tenant: acme, targets: [{provider: own, model: echo}]}\n");
    assert_eq!(summary(&apply(&gateway, &files, &[]).must(0)), "done: 2 created, 0 changed, 6 unchanged");
}

/// The aliases that the gateway has now, by what they stand for; with targets, a model stands for nothing.
async fn models_and_aliases(gateway: &Gateway) -> String {
    let list = gateway.operator().get("/v1/admin/models?limit=1000").await.must(200).json();
    let items = list["items"].as_array().expect("a list").iter();
    let mut models: Vec<String> = items
        .map(|model| match model["alias"][0]["model"].as_str() {
            Some(stands_for) => format!("{}={stands_for}", model["name"].as_str().expect("a name")),
            None => model["name"].as_str().expect("a name").to_owned(),
        })
        .collect();
    models.sort_unstable();
    models.join(" ")
}

/// Models in their short form: `a` has targets, and `b=a` is an alias.
fn written(models: &str) -> String {
    let item = |model: &str| match model.split_once('=') {
        Some((name, stands_for)) => format!("  - {{name: {name}, alias: [{{model: {stands_for}}}]}}\n"),
        None => format!("  - {{name: {model}, targets: [{{provider: p, model: echo}}]}}\n"),
    };
    let models: String = models.split(' ').map(item).collect();
    format!("labels: {{managed-by: git}}\nproviders:\n  - {{name: p, kind: simulator}}\nmodels:\n{models}")
}

/// Holds: bin.apply
#[tokio::test(flavor = "multi_thread")]
async fn models_and_aliases_change_places() {
    let gateway = Gateway::start();
    let files = Files::new();
    for models in [
        "a b=a c=a d=a",
        // The names change places, and the other aliases follow: one that is left out is deleted in time.
        "a=b b c=b", "a b=a c=a d=c-2 e",
        // New ones stand for what was an alias, and what others stood for becomes one.
        "a=c b=c c d=e e", "a=e b=e c=e d e f=d", "a b c d=a e=b f=c", "a=d b=e c=f d e f",
    ] {
        files.write("config.yaml", &written(models));
        apply(&gateway, &files, &["--prune", "managed-by=git"]).must(0);
        assert_eq!(models_and_aliases(&gateway).await, models);
        let again = apply(&gateway, &files, &["--prune", "managed-by=git"]).must(0);
        assert!(again.out.starts_with("nothing to change: "), "{}", again.out);
    }
    gateway.books().await;
}
