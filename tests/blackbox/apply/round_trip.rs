//! `ledgerway export config`: what it writes makes the same in an empty gateway.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use super::{Files, VARIABLE, apply, export, live, made, run, summary, text, whole};
use crate::gateway::{Gateway, OPERATOR_KEY, ledgerway};
use crate::scripted::ScriptedServer;

/// Collections, and the schemas of the bodies that create what is in them. What others name comes before them.
const COLLECTIONS: [(&str, &str); 9] = [
    ("partners", "NewPartner"),
    ("tenants", "NewTenant"),
    ("users", "NewUser"),
    ("teams", "NewTeam"),
    ("providers", "NewProvider"),
    ("models", "NewModel"),
    ("prices", "NewPrice"),
    ("budgets", "NewBudget"),
    ("rate-limits", "NewRateLimit"),
];

fn everything(base_url: &str) -> String {
    include_str!("everything.yaml").replace("BASE_URL", base_url)
}

/// Returns the gateway's resources, by collection.
async fn lists(gateway: &Gateway) -> BTreeMap<&'static str, Vec<Value>> {
    let mut found = BTreeMap::new();
    for (collection, _) in COLLECTIONS {
        let list = gateway.operator().get(&format!("/v1/admin/{collection}?limit=1000")).await.must(200).json();
        found.insert(collection, list["items"].as_array().expect("a list").clone());
    }
    found
}

/// Returns the gateway's resources, as texts without what differs from one gateway to the other: with names in place of
/// ids, wherever they are, and without times of creation.
async fn without_ids(gateway: &Gateway) -> Vec<String> {
    let lists = lists(gateway).await;
    let mut names = BTreeMap::<String, String>::new();
    for (collection, _) in COLLECTIONS {
        for item in &lists[collection] {
            let owner = ["partner_id", "tenant_id"].iter().find_map(|field| names.get(item[*field].as_str()?));
            let own = [&item["slug"], &item["name"]].into_iter().find_map(Value::as_str).unwrap_or_default();
            names.insert(text(&item["id"]), format!("<{collection} {} {own}>", owner.map_or("", String::as_str)));
        }
    }
    let mut texts: Vec<String> = lists
        .into_iter()
        .flat_map(|(collection, items)| items.into_iter().map(move |item| (collection, item)))
        .map(|(collection, mut item)| {
            for field in ["id", "created_at", "effective_from"] {
                item.as_object_mut().expect("a resource").remove(field);
            }
            let named = |text: String| names.iter().fold(text, |text, (id, name)| text.replace(id, name));
            if let Some(users) = item["user_ids"].as_array_mut() {
                // Their order is that of the ids.
                users.iter_mut().for_each(|user| *user = named(text(user)).into());
                users.sort_by_key(Value::to_string);
            }
            named(format!("{collection} {item}"))
        })
        .collect();
    texts.sort();
    texts
}

/// The fields of a schema that none of the values has, or all have empty or as they are by default.
fn unused(schema: &Value, values: &[&Value], path: &str, found: &mut BTreeSet<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let is_given = |value: &&Value| {
            let is_empty = value.is_null() || [json!([]), json!({})].contains(value);
            !is_empty && **value != field["default"]
        };
        let given: Vec<&Value> = values.iter().filter_map(|value| value.get(name)).filter(is_given).collect();
        let path = format!("{path}.{name}");
        match &given[..] {
            [] => drop(found.insert(path)),
            given => unused(field, given, &path, found),
        }
    }
    if schema["items"].is_object() {
        let items: Vec<&Value> = values.iter().filter_map(|value| value.as_array()).flatten().collect();
        unused(&schema["items"], &items, path, found);
    }
    for alternative in ["oneOf", "anyOf", "allOf"].iter().filter_map(|name| schema[name].as_array()).flatten() {
        unused(alternative, values, path, found);
    }
}

/// Holds: bin.apply-round-trip
#[tokio::test(flavor = "multi_thread")]
async fn every_field_makes_the_round_trip() {
    let (first, second, upstream) = (Gateway::start(), Gateway::start(), MockUpstream::start().await);
    let files = Files::with(&everything(&upstream.base_url("openai")));
    let made = apply(&first, &files, &[]).must(0);
    assert!(made.out.contains("    rules[0].targets[0].provider: sim/eu\n"), "{}", made.out);
    assert!(apply(&first, &files, &[]).must(0).out.starts_with("nothing to change"));

    // The files of this test leave nothing out that a body can have, but for what files cannot have, and secrets.
    let lists = lists(&first).await;
    let api = first.operator().get("/openapi.json").await.must(200).json();
    let schema = |name: &str| &api["components"]["schemas"][name];
    let mut missing = BTreeSet::new();
    for (collection, name) in COLLECTIONS {
        unused(schema(name), &lists[collection].iter().collect::<Vec<_>>(), name, &mut missing);
    }
    let wanted = [
        "NewBudget.scope.key_id",
        "NewModel.targets.catalogued",
        "NewProvider.api_key",
        "NewProvider.secret_headers",
        "NewRateLimit.scope.key_id",
    ];
    assert_eq!(missing, wanted.map(str::to_owned).into());
    let strategies: BTreeSet<&str> = lists["models"].iter().filter_map(|model| model["strategy"].as_str()).collect();
    let accepted = schema("NewModel")["properties"]["strategy"]["enum"].as_array().expect("names");
    let other_word = "performance";
    assert_eq!(strategies, accepted.iter().filter_map(Value::as_str).filter(|name| *name != other_word).collect());

    let exported = run(&first, &["export", "config"], &[]).must(0);
    assert_eq!(exported.err, "");
    for prefix in ["par_", "ten_0", "usr_", "tea_", "prv_", "mdl_"] {
        assert!(!exported.out.contains(prefix), "{prefix} in {}", exported.out);
    }
    let files = Files::with(&exported.out);
    assert!(apply(&first, &files, &[]).must(0).out.starts_with("nothing to change"));
    apply(&second, &files, &[]).must(0);
    assert_eq!(export(&second), exported.out);
    assert_eq!(without_ids(&second).await, without_ids(&first).await);
    let position = second.head().await;
    assert!(apply(&second, &files, &[]).must(0).out.starts_with("nothing to change"));
    assert_eq!(second.head().await, position);

    // A change of a rule is shown by names.
    let changed = exported.out.replace("tenant_id(\\\"reseller/beta\\\")", "tenant_id(\\\"default\\\")");
    assert_ne!(changed, exported.out);
    let dry = apply(&second, &Files::with(&changed), &["--dry-run"]).must(0);
    let before = r#"tenant in [tenant_id("reseller/acme"), tenant_id("reseller/beta")]"#;
    let after = r#"tenant in [tenant_id("reseller/acme"), tenant_id("default/default")]"#;
    assert!(dry.out.contains(&format!("~ model ruled\n    rules[3].when: {before} -> {after}\n")), "{}", dry.out);
}

/// Holds: bin.apply-round-trip
#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_makes_the_same_in_an_empty_gateway() {
    let (first, second, upstream) = (Gateway::start(), Gateway::start(), MockUpstream::start().await);
    apply(&first, &Files::with(&whole(&upstream.base_url("openai"))), &[]).must(0);
    let text = export(&first);
    assert!(text.contains(&format!("api_key: {{env: {VARIABLE}}}")), "{text}");
    assert!(text.contains("scope: {tenant: reseller/acme}") && !text.contains("ten_"), "{text}");
    assert!(text.contains("    canary:\n") && !text.contains("prv_"), "{text}");
    let files = Files::with(&text);
    assert!(apply(&first, &files, &[]).must(0).out.starts_with("nothing to change"));
    let ended = apply(&second, &files, &[]).must(0);
    assert_eq!(summary(&ended), "done: 15 created, 0 changed, 3 unchanged", "{text}{}", ended.out);
    assert_eq!(export(&second), text);
    let position = second.head().await;
    assert!(apply(&second, &files, &[]).must(0).out.starts_with("nothing to change"));
    assert_eq!(second.head().await, position);
}

/// Holds: bin.apply-round-trip
#[tokio::test(flavor = "multi_thread")]
async fn resources_without_a_slug_come_back_once() {
    let (first, second) = (Gateway::start(), Gateway::start());
    let operator = first.operator();
    let partner = made(operator, "/partners", json!({ "name": "P" })).await;
    let named = made(operator, "/tenants", json!({ "partner_id": partner, "name": "T", "slug": "t" })).await;
    let nameless = made(operator, "/tenants", json!({ "name": "Nameless" })).await;
    let user = made(operator, "/users", json!({ "tenant_id": nameless, "name": "U" })).await;
    let team = json!({ "tenant_id": nameless, "name": "S", "user_ids": [user] });
    let team = made(operator, "/teams", team).await;
    let provider = json!({ "tenant_id": nameless, "name": "own", "kind": "simulator" });
    let provider = made(operator, "/providers", provider).await;
    let rules = json!([{ "when": format!("tenant == \"{nameless}\""), "strategy": "cost" }]);
    let targets = json!([{ "provider_id": provider, "model": "echo" }]);
    let model = json!({ "tenant_id": nameless, "name": "m", "strategy": "rules", "targets": targets, "rules": rules });
    made(operator, "/models", model).await;
    made(operator, "/models", json!({ "tenant_id": nameless, "name": "current", "alias": [{ "model": "m" }] })).await;
    let price =
        json!({ "provider_id": provider, "model": "echo", "input_usd_per_mtok": "1", "output_usd_per_mtok": "2" });
    made(operator, "/prices", price).await;
    for scope in [
        json!({ "partner_id": partner }),
        json!({ "tenant_id": named }),
        json!({ "tenant_id": nameless }),
        json!({ "user_id": user }),
        json!({ "team_id": team }),
    ] {
        made(operator, "/budgets", json!({ "scope": scope, "limit_usd": "5", "period": "day" })).await;
        made(operator, "/rate-limits", json!({ "scope": scope, "requests_per_minute": 5 })).await;
    }
    let exported = run(&first, &["export", "config"], &[]).must(0);
    assert_eq!(exported.err, "");
    assert!(exported.out.contains(&format!("  - slug: {}\n", nameless.replace('_', "-"))), "{}", exported.out);
    let files = Files::with(&exported.out);
    assert!(apply(&first, &files, &[]).must(0).out.starts_with("nothing to change"));
    let ended = apply(&second, &files, &[]).must(0);
    assert_eq!(summary(&ended), "done: 19 created, 0 changed, 3 unchanged", "{}", ended.out);
    assert!(apply(&second, &files, &[]).must(0).out.starts_with("nothing to change"));
    assert_eq!(export(&second), exported.out);

    // Where it has no slug, it still has none once another field was changed.
    let renamed = Files::with(&exported.out.replace("name: Nameless", "name: Renamed"));
    assert_eq!(summary(&apply(&first, &renamed, &[]).must(0)), "done: 0 created, 1 changed, 21 unchanged");
    let tenant = live(&first, "tenants", "id", &json!(nameless)).await;
    assert_eq!((&tenant["name"], &tenant["slug"]), (&json!("Renamed"), &Value::Null));
}

/// Holds: bin.apply-round-trip
#[tokio::test(flavor = "multi_thread")]
async fn what_files_cannot_have_is_left_out_with_all_that_hangs_on_it() {
    let (first, second) = (Gateway::start(), Gateway::start());
    let operator = first.operator();
    // The slug of one tenant is what files name the other one by.
    let nameless = made(operator, "/tenants", json!({ "name": "A" })).await;
    let slug = nameless.replace('_', "-");
    made(operator, "/tenants", json!({ "name": "B", "slug": slug })).await;
    let user = made(operator, "/users", json!({ "tenant_id": nameless, "name": "U", "slug": "hanging-user" })).await;
    let team = json!({ "tenant_id": nameless, "name": "S", "slug": "hanging-team", "user_ids": [user] });
    made(operator, "/teams", team).await;
    let provider = json!({ "tenant_id": nameless, "name": "hanging-provider", "kind": "simulator" });
    let provider = made(operator, "/providers", provider).await;
    let targets = |provider: &str| json!([{ "provider_id": provider, "model": "echo" }]);
    let model = json!({ "tenant_id": nameless, "name": "hanging-model", "targets": targets(&provider) });
    made(operator, "/models", model).await;
    let alias = json!({ "tenant_id": nameless, "name": "hanging-alias", "alias": [{ "model": "hanging-model" }] });
    made(operator, "/models", alias).await;
    let price =
        json!({ "provider_id": provider, "model": "echo", "input_usd_per_mtok": "1", "output_usd_per_mtok": "2" });
    made(operator, "/prices", price).await;
    made(operator, "/budgets", json!({ "scope": { "user_id": user }, "limit_usd": "5", "period": "day" })).await;
    made(operator, "/rate-limits", json!({ "scope": { "tenant_id": nameless }, "requests_per_minute": 5 })).await;

    // A rule about a tenant that has ended, two budgets of one scope and period, and a budget of a key.
    let ended = made(operator, "/tenants", json!({ "name": "E", "slug": "e" })).await;
    let shared = made(operator, "/providers", json!({ "name": "sim", "kind": "simulator" })).await;
    let rules = json!([{ "when": format!("tenant == \"{ended}\""), "strategy": "cost" }]);
    let ruled = json!({ "name": "ruled", "strategy": "rules", "targets": targets(&shared), "rules": rules });
    made(operator, "/models", ruled).await;
    made(operator, "/models", json!({ "name": "hanging-current", "alias": [{ "model": "ruled" }] })).await;
    made(operator, "/models", json!({ "name": "kept", "targets": targets(&shared) })).await;
    operator.delete(&format!("/v1/admin/tenants/{ended}")).await.must(200);
    let tenant = live(&first, "tenants", "slug", &json!("default")).await;
    for limit in ["5", "6"] {
        let budget = json!({ "scope": { "tenant_id": tenant["id"] }, "limit_usd": limit, "period": "day" });
        made(operator, "/budgets", budget).await;
    }
    let user = live(&first, "users", "slug", &json!("default")).await;
    let key = operator.post("/v1/admin/keys", &json!({ "user_id": user["id"], "name": "app" })).await.must(201).json();
    let budget = json!({ "scope": { "key_id": key["id"] }, "limit_usd": "5", "period": "day" });
    made(operator, "/budgets", budget).await;

    let exported = run(&first, &["export", "config"], &[]).must(0);
    let all = "left out in all: 6 that files cannot have, 9 that hang on them\n";
    assert!(exported.err.ends_with(&format!("\nledgerway: {all}")), "{}", exported.err);
    assert!(exported.out.ends_with(&format!("\n\n# {all}")), "{}", exported.out);
    assert_eq!(exported.err.lines().count(), 16, "{}", exported.err);
    let alike = "files cannot tell it apart from another one of the gateway: delete all but one\n";
    assert_eq!(exported.err.matches(alike).count(), 4, "{}", exported.err);
    for says in [
        format!("it refers to {}, which has no name in files\n", text(&key["id"])),
        format!("it refers to {ended}, which has no name in files\n"),
        "left out: model hanging-current (".to_owned(),
        "): it hangs on model ruled, which is left out\n".to_owned(),
        format!("): it hangs on tenant default/{slug}, which is left out\n"),
    ] {
        assert!(exported.err.contains(&says), "{says}{}", exported.err);
    }
    assert!(!exported.out.contains("hanging") && !exported.out.contains("budgets:"), "{}", exported.out);
    assert!(exported.out.contains("name: kept\n") && !exported.out.contains(&slug), "{}", exported.out);

    let files = Files::with(&exported.out);
    for gateway in [&first, &second] {
        apply(gateway, &files, &[]).must(0);
        assert!(apply(gateway, &files, &[]).must(0).out.starts_with("nothing to change"));
    }
    assert_eq!(format!("{}\n# {all}", export(&second)), exported.out);
}

/// Holds: bin.apply-round-trip
#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_of_a_tenant_applies_what_it_has_exported() {
    let gateway = Gateway::start();
    let operator = gateway.operator();
    let tenant = made(operator, "/tenants", json!({ "name": "T", "slug": "t", "own_providers": true })).await;
    let admin = json!({ "tenant_id": tenant, "name": "A", "roles": ["tenant_admin"] });
    let admin = made(operator, "/users", admin).await;
    let key = json!({ "user_id": admin, "name": "k", "permissions": ["admin:access"] });
    let key = operator.post("/v1/admin/keys", &key).await.must(201).json();
    let provider =
        made(operator, "/providers", json!({ "tenant_id": tenant, "name": "own", "kind": "simulator" })).await;
    let targets = json!([{ "provider_id": provider, "model": "echo" }]);
    made(operator, "/models", json!({ "tenant_id": tenant, "name": "m", "targets": targets })).await;
    let env = [("LEDGERWAY_ADMIN_KEY", key["secret"].as_str().expect("a secret"))];
    let exported = run(&gateway, &["export", "config"], &env).must(0);
    let says = "the file names what it does not have, so a gateway must have it before: tenant t\n";
    assert_eq!(exported.err, format!("ledgerway: {says}"));
    assert!(exported.out.contains("  - name: m\n    tenant: t\n"), "{}", exported.out);
    let files = Files::with(&exported.out);
    let path = files.path().display().to_string();
    let ended = run(&gateway, &["apply", "-f", &path], &env).must(0);
    assert_eq!(ended.out, "nothing to change: 3 unchanged\n");
}

/// Holds: bin.apply-round-trip
#[tokio::test(flavor = "multi_thread")]
async fn lists_that_never_end_are_given_up() {
    let list = json!({ "items": [{ "id": "par_1", "name": "again", "slug": "again" }], "next_cursor": "again" });
    let page = format!("200 OK\r\n\r\n{list}");
    let (endless, folder) = (ScriptedServer::start(move |_| page.clone()), tempfile::tempdir().expect("a folder"));
    let mut command = ledgerway();
    command.args(["export", "config", "--url", &endless.origin()]).env("LEDGERWAY_ADMIN_KEY", OPERATOR_KEY);
    let ended = command.arg("--data").arg(folder.path()).output().expect("the binary starts");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!((ended.status.code(), &*ended.stdout), (Some(2), &b""[..]), "{said}");
    assert!(said.contains("its lists have more than 4000 pages"), "{said}");
}
