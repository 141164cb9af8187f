//! `ledgerway apply` and `ledgerway export config`: what files ask for comes about, once; a mistake changes nothing; and no secret is
//! shown.

mod all_or_none;
mod between_resources;
mod operators;
mod prune;
mod round_trip;
mod running;
mod secrets;
mod warnings;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{SecondsFormat, TimeDelta};
use events::time::{Clock, SystemClock};
use serde_json::{Value, json};
use tempfile::TempDir;
use testing::upstream::MockUpstream;

use crate::gateway::{Gateway, OPERATOR_KEY, ledgerway};
use crate::tenant::{NATIVE, made, text};

const SECRET: &str = "sk-apply-canary-93ad71c2";
const VARIABLE: &str = "UPSTREAM_MAIN_API_KEY";
const HEADER_VARIABLE: &str = "UPSTREAM_MAIN_X_GATEWAY_AUTH";

/// A folder with files to apply.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn with(text: &str) -> Self {
        let files = Self::new();
        files.write("config.yaml", text);
        files
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).expect("a file");
        path
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

/// The result of a command: its exit code, stdout and stderr.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ended {
    #[track_caller]
    fn must(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        let shown = [&*self.out, &*self.err].concat();
        assert!(!shown.contains(SECRET) && !shown.contains(OPERATOR_KEY), "{shown}");
        self
    }
}

fn run(gateway: &Gateway, arguments: &[&str], env: &[(&str, &str)]) -> Ended {
    let mut command = ledgerway();
    command.args(arguments).arg("--data").arg(gateway.data()).env("LEDGERWAY_ADMIN_KEY", OPERATOR_KEY);
    let ended = command.envs(env.iter().copied()).output().expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Ended { code: ended.status.code(), out: text(ended.stdout), err: text(ended.stderr) }
}

fn apply(gateway: &Gateway, files: &Files, more: &[&str]) -> Ended {
    let path = files.path().display().to_string();
    let arguments: Vec<&str> = ["apply", "-f", &path].iter().chain(more).copied().collect();
    run(gateway, &arguments, &[(VARIABLE, SECRET), (HEADER_VARIABLE, SECRET)])
}

/// The last line.
fn summary(ended: &Ended) -> &str {
    ended.out.trim_end().lines().last().unwrap_or_default()
}

fn export(gateway: &Gateway) -> String {
    run(gateway, &["export", "config"], &[]).must(0).out
}

/// The only live resource of a name, or with a field of a value.
async fn live(gateway: &Gateway, segment: &str, field: &str, value: &Value) -> Value {
    let list = gateway.operator().get(&format!("/v1/admin/{segment}?limit=1000")).await.must(200).json();
    let items = list["items"].as_array().expect("a list");
    let mut found = items.iter().filter(|item| &item[field] == value);
    let one = found.next().unwrap_or_else(|| panic!("no {field} {value} in {list}"));
    assert!(found.next().is_none(), "{list}");
    one.clone()
}

/// A tenant with its own and shared providers, a model with a price, a budget and a rate limit.
fn whole(base_url: &str) -> String {
    format!(
        r#"
partners:
  - slug: reseller
    name: Reseller
tenants:
  - slug: acme
    partner: reseller
    name: Acme
    own_providers: true
users:
  - slug: ada
    tenant: acme
    name: Ada
    email: ada@example.com
    roles: [analyst, {{role: auditor, scope: {{partner: reseller}}}}]
  - slug: bo
    tenant: acme
    name: Bo
teams:
  - slug: search
    tenant: acme
    name: Search
    users: [bo, reseller/acme/ada]
---
providers:
  - name: upstream-main
    kind: openai
    base_url: {base_url}
    api_key: {{env: {VARIABLE}}}
    allow_private_network: true
    headers: {{x-team: platform}}
  - name: sim
    kind: simulator
    tenant: acme
models:
  - name: fast
    strategy: weighted
    system_prefix: |
      Be brief.
      Be kind.
    targets:
      - provider: upstream-main
        model: ok
        context_window: 1000
        max_output_tokens: 100
  - name: own
    tenant: acme
    targets:
      - {{provider: sim, model: echo, context_window: 1000, max_output_tokens: 100}}
      - {{provider: sim, model: lorem, context_window: 1000, max_output_tokens: 100}}
    canary: {{provider: sim, model: lorem, share_percent: 5, by: tenant}}
prices:
  - provider: upstream-main
    model: ok
    input_usd_per_mtok: "2.5"
    output_usd_per_mtok: "10"
    tiers: [{{above_input_tokens: 500, input_usd_per_mtok: "5"}}]
  - provider: {{name: sim, tenant: acme}}
    model: echo
    input_usd_per_mtok: "0"
    output_usd_per_mtok: "0"
    effective_from: 2026-01-01T00:00:00Z
budgets:
  - scope: {{tenant: acme}}
    period: month
    limit_usd: "25"
    alert_at: ["1", "0.5"]
  - scope: {{user: ada}}
    period: day
    limit_usd: "5"
    enforcement: observe
  - scope: {{team: search, model: fast}}
    period: month
    limit_usd: "9"
rate_limits:
  - scope: {{tenant: reseller/acme}}
    requests_per_minute: 600
"#
    )
}

/// Holds: bin.apply
#[tokio::test(flavor = "multi_thread")]
async fn what_a_file_asks_for_comes_about_once_and_serves_requests() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let files = Files::with(&whole(&upstream.base_url("openai")));
    let before = gateway.head().await;
    let dry = apply(&gateway, &files, &["--dry-run"]).must(0);
    assert_eq!(summary(&dry), "dry run, nothing was changed: 15 to create, 0 to change, 0 unchanged", "{}", dry.out);
    assert_eq!(gateway.head().await, before);
    let ended = apply(&gateway, &files, &[]).must(0);
    assert_eq!(summary(&ended), "done: 15 created, 0 changed, 0 unchanged");
    assert!(
        ended.out.contains("+ tenant reseller/acme\n") && ended.out.contains("    api_key: set\n"),
        "{}",
        ended.out
    );
    assert!(ended.out.contains("    targets[0].provider: upstream-main\n"), "{}", ended.out);

    // Nothing else is recorded: a second run changes nothing.
    let position = gateway.head().await;
    assert_eq!(position - before, 15);
    let again = apply(&gateway, &files, &[]).must(0);
    assert_eq!(again.out, "nothing to change: 15 unchanged\n");
    assert_eq!(gateway.head().await, position);

    let user = live(&gateway, "users", "slug", &json!("ada")).await;
    let key = json!({ "user_id": user["id"], "name": "app" });
    let key = gateway.operator().post("/v1/admin/keys", &key).await.must(201).json();
    let app = gateway.client(Some(&text(&key["secret"])));
    for model in ["fast", "own"] {
        let ask = json!({ "model": model, "messages": [{ "role": "user", "content": "hello" }] });
        app.post(NATIVE, &ask).await.must(200);
    }
    let budget = live(&gateway, "budgets", "limit_usd", &json!("25.000000000")).await;
    assert_ne!(gateway.budget(&text(&budget["id"])).await["settled_usd"], "0.000000000");
    assert_eq!(budget["alert_at"], json!(["0.5", "1"]));
    gateway.books().await;
}

/// Holds: bin.apply
#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_shown_field_by_field_and_an_omitted_field_has_its_default() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let config = whole(&upstream.base_url("openai"));
    let files = Files::with(&config);
    apply(&gateway, &files, &[]).must(0);
    let provider = live(&gateway, "providers", "name", &json!("upstream-main")).await;
    let changed = config
        .replace("max_output_tokens: 100\n  - name: own", "max_output_tokens: 200\n  - name: own")
        .replace("    strategy: weighted\n", "")
        .replace("requests_per_minute: 600", "requests_per_minute: 60\n    concurrent_requests: 5")
        .replace("    email: ada@example.com\n", "")
        .replace("\n    own_providers: true", "")
        .replace("input_usd_per_mtok: \"2.5\"", "input_usd_per_mtok: \"3\"");
    files.write("config.yaml", &changed);
    let before = gateway.head().await;
    let dry = apply(&gateway, &files, &["--dry-run"]).must(0);
    assert_eq!(gateway.head().await, before);
    for line in [
        "~ model fast",
        "    strategy: weighted -> priority",
        "    targets[0].max_output_tokens: 100 -> 200",
        "    requests_per_minute: 600 -> 60",
        "    concurrent_requests: none -> 5",
        "    email: ada@example.com -> none",
        "    own_providers: true -> false",
        "+ price upstream-main/ok",
    ] {
        assert!(dry.out.lines().any(|shown| shown == line), "{line} in {}", dry.out);
    }
    assert!(!dry.out.contains("context_window") && !dry.out.contains("api_key"), "{}", dry.out);
    let ended = apply(&gateway, &files, &[]).must(0);
    assert_eq!(summary(&ended), "done: 1 created, 4 changed, 10 unchanged", "{}", ended.out);
    let model = live(&gateway, "models", "name", &json!("fast")).await;
    assert_eq!((&model["strategy"], &model["targets"][0]["max_output_tokens"]), (&json!("priority"), &json!(200)));
    assert_eq!(live(&gateway, "users", "slug", &json!("ada")).await["email"], Value::Null);
    // A price without a time is replaced from now on: what was charged before stays.
    let path = format!("/v1/admin/prices?provider_id={}", text(&provider["id"]));
    let prices = gateway.operator().get(&path).await.must(200).json()["items"].as_array().expect("a list").len();
    assert_eq!(prices, 2);
    let again = apply(&gateway, &files, &[]).must(0);
    assert_eq!(again.out, "nothing to change: 15 unchanged\n");
}

/// Holds: bin.apply
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_which_prices_re_value_earlier_requests() {
    let gateway = Gateway::start();
    let tenants = "tenants:\n  - {slug: acme, name: Acme, own_providers: true}\n";
    let providers = "providers:\n  - {name: p, kind: simulator}\n  - {name: own, kind: simulator, tenant: acme}\n";
    let price = |provider: &str, dollars: u32, begins: &str| {
        format!(
            "  - {{provider: {provider}, model: echo, input_usd_per_mtok: \"{dollars}\", output_usd_per_mtok: \"9\", effective_from: {begins}}}\n"
        )
    };
    let own = "{name: own, tenant: acme}";
    let (past, earlier, future) = ("2026-03-01T00:00:00Z", "2026-01-01T00:00:00Z", "2126-01-01T00:00:00Z");
    let files = |prices: &[String]| Files::with(&format!("{tenants}{providers}prices:\n{}", prices.concat()));
    let re_valued =
        "\n    re-values the requests admitted since its effective_from for which it is the price in force\n";
    let begun = [price("p", 2, past), price(own, 2, past)];
    let announced = [price("p", 3, future)];
    let first = apply(&gateway, &files(&[&begun[..], &announced].concat()), &[]).must(0).out;
    assert!(!first.contains(re_valued), "no request was sent without a price: {first}");
    for (change, is_told) in [
        (price("p", 4, past), true),
        (price("p", 4, earlier), true),
        (price("p", 4, future), false),
        (price("p", 4, "2126-02-01T00:00:00Z"), false),
        (price(own, 4, past), false),
        (price(own, 4, earlier), false),
    ] {
        let planned = apply(&gateway, &files(std::slice::from_ref(&change)), &["--dry-run"]).must(0).out;
        assert_eq!(planned.contains(re_valued), is_told, "{change}{planned}");
        assert!(
            planned.contains("1 to create, 0 to change") || planned.contains("0 to create, 1 to change"),
            "{planned}"
        );
    }
}

/// A price that the files announce stays in force once it has begun, however often they are applied.
/// Holds: bin.apply
#[tokio::test(flavor = "multi_thread")]
async fn an_announced_price_is_not_undone_by_the_price_before_it() {
    let gateway = Gateway::start();
    let begins =
        (SystemClock::new().now() + TimeDelta::milliseconds(8000)).to_rfc3339_opts(SecondsFormat::Micros, true);
    let provider = "providers:\n  - name: p\n    kind: simulator\n";
    let price = |dollars: u32, more: &str| {
        format!(
            "  - provider: p\n    model: echo\n    input_usd_per_mtok: \"{dollars}\"\n    output_usd_per_mtok: \"9\"\n{more}"
        )
    };
    let announced = price(3, &format!("    effective_from: \"{begins}\"\n"));
    let files = Files::with(&format!("{provider}prices:\n{}{announced}", price(2, "")));
    apply(&gateway, &files, &[]).must(0);
    let prices = async || {
        let page = gateway.operator().get("/v1/admin/prices").await.must(200).json();
        page["items"].as_array().expect("prices").len()
    };
    assert_eq!(
        (prices().await, apply(&gateway, &files, &[]).must(0).out),
        (2, "nothing to change: 3 unchanged\n".to_owned())
    );
    tokio::time::sleep(Duration::from_secs(9)).await;
    let after = apply(&gateway, &files, &[]).must(0);
    assert_eq!((prices().await, after.out), (2, "nothing to change: 3 unchanged\n".to_owned()), "it has begun");
    let said = "prices[0]: has no effect, because the files have a price of the same model that has begun: delete this one, or give it an \
                effective_from that is still to come";
    assert!(after.err.trim_end().ends_with(said), "{}", after.err);

    // Nor is the price before it made where there is none yet.
    let empty = Gateway::start();
    apply(&empty, &files, &[]).must(0);
    let made = empty.operator().get("/v1/admin/prices").await.must(200).json()["items"].clone();
    assert_eq!((made.as_array().map(Vec::len), &made[0]["input_usd_per_mtok"]), (Some(1), &json!("3.000000000")));
}

/// Holds: bin.apply-mistakes
#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_any_line_changes_nothing() {
    let gateway = Gateway::start();
    let lines = "# a line\n".repeat(35);
    let before = gateway.head().await;
    // Line 36 is the list, 37 begins the item.
    for (item, line, says) in [
        (
            "partners:\n  - slug: first\n    name: First\n    nmae: x\n",
            39,
            "partners[0].nmae: unknown field; did you mean name?",
        ),
        ("partners:\n  - slug: first\n    name: [1]\n", 38, "partners[0].name: must be a string"),
        ("partners:\n  - name: First\n", 37, "partners[0]: slug is required: files name a partner by it"),
        ("partner:\n  - slug: first\n", 36, "partner: unknown field; did you mean partners?"),
        ("keys:\n  - name: app\n", 36, "keys: files do not have keys"),
        ("partners: {slug: a}\n", 36, "partners: must be a list"),
        ("partners:\n  - word\n", 37, "partners[0]: must be a mapping of fields"),
        (
            "models:\n  - name: m\n    targets:\n      - provider: nobody\n        model: x\n",
            39,
            "models[0].targets[0].provider: there is no provider \"nobody\"",
        ),
        (
            "models:\n  - name: m\n    targets: []\n    rules:\n      - when: tools\n        targets: [prv_01a218e576497bf9b8a53e048128b25b/x]\n",
            41,
            "models[0].rules[0].targets[0]: files have names in place of ids: give {provider: NAME, model: MODEL}",
        ),
        (
            "providers:\n  - {name: p, kind: simulator}\nmodels:\n  - name: m\n    targets: [{provider: p, model: echo}]\n    rules:\n      - when: tools\n        targets:\n          - {provider: p, model: echo}\n          - {provider: p, model: lorem}\n",
            45,
            "models[0].rules[0].targets[1]: is not a target of this model: write provider and model of one of targets",
        ),
        (
            "models:\n  - name: m\n    rules:\n      - when: tenant == \"ten_01a218e576ca7f3588680506bb5c4f17\"\n",
            39,
            "models[0].rules[0].when: files have names in place of ids: give tenant_id(\"PARTNER/TENANT\")",
        ),
        ("models:\n  - name: m\n    targets: []\n", 38, "models[0].targets: must have at least one target"),
        (
            "budgets:\n  - scope: {tenant: nobody}\n    limit_usd: \"5\"\n    period: day\n",
            37,
            "there is no tenant \"nobody\"",
        ),
        ("budgets:\n  - scope: {tenant: default}\n    limit_usd: 5\n    period: day\n", 38, "money is a string"),
        (
            "budgets:\n  - scope: {key: app}\n    limit_usd: \"5\"\n    period: day\n",
            37,
            "budgets[0].scope.key: files do not have keys",
        ),
        ("rate_limits:\n  - scope: {tenant: default}\n", 37, "must have at least one of"),
        (
            "providers:\n  - name: p\n    kind: openai\n    base_url: https://api.example.com\n    api_key: sk-apply-canary-93ad71c2\n",
            40,
            "api_key: must be {env: NAME} or {file: PATH}: a secret does not belong in this file",
        ),
        (
            "providers:\n  - name: p\n    kind: openai\n    base_url: https://api.example.com\n    api_key: {env: LEDGERWAY_ADMIN_KEY}\n",
            40,
            "api_key: must not name a variable that begins with LEDGERWAY_",
        ),
        (
            "providers:\n  - name: p\n    kind: openai\n    base_url: https://api.example.com\n    api_key: {env: NO_SUCH_VARIABLE}\n",
            40,
            "api_key: the variable NO_SUCH_VARIABLE is not set",
        ),
        (
            "providers:\n  - name: p\n    kind: openai\n    base_url: https://api.example.com\n    api_key: {file: nowhere}\n",
            40,
            "nowhere cannot be read",
        ),
        (
            "providers:\n  - name: p\n    kind: openai\n    base_url: https://api.example.com\n    secret_headers: {x-auth: sk-apply-canary-93ad71c2}\n",
            40,
            "secret_headers: must be {env: NAME} or {file: PATH}: a secret does not belong in this file",
        ),
        (
            "providers:\n  - name: p\n    kind: openai\n    base_url: https://api.example.com\n    secret_headers: {X-Auth: {env: NO_SUCH_VARIABLE}}\n",
            40,
            "secret_headers.x-auth: the variable NO_SUCH_VARIABLE is not set",
        ),
        (
            "providers:\n  - name: p\n    kind: openai\n    base_url: https://api.example.com\n    headers: {x-team: sk-apply-canary-93ad71c2}\n",
            40,
            "headers.x-team: looks like a credential, and events contain headers: send it in secret_headers",
        ),
        (
            "providers:\n  - name: p\n    kind: simulator\n    tenant_id: ten_1\n",
            39,
            "tenant_id: files have names in place of ids: give tenant",
        ),
        (
            "partners:\n  - slug: a\n    name: A\n  - slug: a\n    name: B\n",
            39,
            "partners[1]: is the same partner as the one at",
        ),
        ("partners:\n  - slug: a\n    slug: b\n", 38, "\"slug\" is given twice: also in line 37"),
        ("partners:\n  - &a {slug: a, name: A}\n", 37, "anchors and aliases are not read"),
        ("partners:\n\t- slug: a\n", 37, "is not YAML"),
        ("partners: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n", 36, "is nested deeper than 32 levels"),
    ] {
        // What comes before is right, and is not done either.
        let files = Files::with(&format!("{lines}{item}"));
        files.write("a-right.yaml", "partners:\n  - {slug: right, name: Right}\n");
        let ended = apply(&gateway, &files, &[]).must(2);
        let place = format!("config.yaml:{line}: ");
        assert!(ended.err.contains(&place) && ended.err.contains(says), "{item}: {}", ended.err);
        assert_eq!(ended.out, "");
    }
    let bomb: String = ["a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned()]
        .into_iter()
        .chain(
            ('b'..='i')
                .zip('a'..='h')
                .map(|(this, last)| format!("{this}: &{this} [{}]\n", vec![format!("*{last}"); 9].join(", "))),
        )
        .collect();
    let ended = apply(&gateway, &Files::with(&bomb), &[]).must(2);
    assert!(ended.err.contains("config.yaml:1: anchors and aliases are not read"), "{}", ended.err);
    let large = Files::with(&"# a line that says nothing\n".repeat(1_300_000));
    assert!(apply(&gateway, &large, &[]).must(2).err.contains("has more than 32 MiB"));
    let many = Files::with(&format!("partners:\n{}", "  - {slug: Wrong!}\n".repeat(1000)));
    let ended = apply(&gateway, &many, &[]).must(2);
    assert!(ended.err.lines().count() == 21, "{}", ended.err);
    assert!(apply(&gateway, &Files::new(), &[]).must(2).err.contains("has no file that ends in .yaml or .yml"));
    assert_eq!(gateway.head().await, before);
}

/// Holds: bin.apply
#[tokio::test(flavor = "multi_thread")]
async fn budgets_of_one_scope_and_period_are_told_apart_by_their_enforcement() {
    let gateway = Gateway::start();
    let budget = |enforcement: &str, limit: &str| {
        format!(
            "  - {{scope: {{tenant: default}}, period: month, limit_usd: \"{limit}\", enforcement: {enforcement}}}\n"
        )
    };
    let files = Files::with(&format!("budgets:\n{}", budget("hard", "5")));
    apply(&gateway, &files, &[]).must(0);
    // The only one of its scope and period is changed.
    files.write("config.yaml", &format!("budgets:\n{}", budget("observe", "5")));
    assert_eq!(summary(&apply(&gateway, &files, &[]).must(0)), "done: 0 created, 1 changed, 0 unchanged");
    files.write("config.yaml", &format!("budgets:\n{}{}", budget("observe", "5"), budget("hard", "9")));
    assert_eq!(summary(&apply(&gateway, &files, &[]).must(0)), "done: 1 created, 0 changed, 1 unchanged");
    files.write("config.yaml", &format!("budgets:\n{}", budget("hard", "10")));
    assert_eq!(summary(&apply(&gateway, &files, &[]).must(0)), "done: 0 created, 1 changed, 0 unchanged");
    let tenant = live(&gateway, "tenants", "slug", &json!("default")).await;
    let third = json!({ "scope": { "tenant_id": tenant["id"] }, "limit_usd": "1", "period": "month" });
    made(gateway.operator(), "/budgets", third).await;
    let ended = apply(&gateway, &files, &[]).must(2);
    assert!(
        ended.err.contains("it matches several resources of the gateway: delete all but one of bud_"),
        "{}",
        ended.err
    );
}

/// Holds: bin.apply
#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_of_a_tenant_applies_what_its_key_may_do() {
    let gateway = Gateway::start();
    let operator = gateway.operator();
    let tenant = json!({ "name": "t", "slug": "t", "own_providers": true });
    let tenant = made(operator, "/tenants", tenant).await;
    let admin = json!({ "tenant_id": tenant, "name": "a", "roles": ["tenant_admin"] });
    let admin = made(operator, "/users", admin).await;
    let key = json!({ "user_id": admin, "name": "k", "permissions": ["admin:access"] });
    let key = operator.post("/v1/admin/keys", &key).await.must(201).json();
    let files = Files::with(
        "providers:\n  - {name: sim, kind: simulator, tenant: t}\nmodels:\n  - name: own\n    tenant: t\n    targets: [{provider: sim, \
         model: echo}]\nusers:\n  - {slug: u, tenant: t, name: U}\nbudgets:\n  - {scope: {user: u}, period: day, limit_usd: \"1\"}\n",
    );
    // With the key of the tenant, the model of an alias may be one that it does not see.
    files.write("alias.yaml", "models:\n  - {name: alias, tenant: t, alias: [{model: perhaps-shared}]}\n");
    let path = files.path().display().to_string();
    let env = [("LEDGERWAY_ADMIN_KEY", key["secret"].as_str().expect("a secret"))];
    let ended = run(&gateway, &["apply", "-f", &path], &env).must(0);
    assert_eq!((summary(&ended), &*ended.err), ("done: 5 created, 0 changed, 0 unchanged", ""));
    // The operator means the same by the tenant's whole name.
    assert_eq!(apply(&gateway, &files, &[]).must(0).out, "nothing to change: 5 unchanged\n");
    let above = Files::with("budgets:\n  - {scope: {tenant: t}, period: day, limit_usd: \"1\"}\n");
    let path = above.path().display().to_string();
    let ended = run(&gateway, &["apply", "-f", &path], &env).must(1);
    assert!(
        ended.err.contains("config.yaml:2: budget of tenant t a day: ") && ended.err.contains(" 403: "),
        "{}",
        ended.err
    );
}

/// Holds: bin.apply
#[tokio::test(flavor = "multi_thread")]
async fn rules_that_no_request_goes_by_are_applied_and_said() {
    let gateway = Gateway::start();
    let config = "providers:\n  - {name: p, kind: simulator}\nmodels:\n  - name: m\n    targets: [{provider: p, model: echo}]\n    rules: [{when: \
                  tools, strategy: cost}]\n  - name: n\n    strategy: rules\n    targets: [{provider: p, model: echo}]\n    rules: [{when: tools, \
                  strategy: cost}]\n";
    let files = Files::with(config);
    for said in ["done: 3 created, 0 changed, 0 unchanged", "nothing to change: 3 unchanged"] {
        let ended = apply(&gateway, &files, &[]).must(0);
        assert_eq!(summary(&ended), said);
        let says = "config.yaml:6: models[0].rules: no request goes by them: add strategy: rules, or remove them\n";
        assert!(ended.err.ends_with(says) && ended.err.lines().count() == 1, "{}", ended.err);
    }
    assert_eq!(live(&gateway, "models", "name", &json!("m")).await["rules"][0]["when"], "tools");
}

/// Holds: bin.apply-schema
#[test]
fn the_schema_names_every_list_and_no_id() {
    let ended = ledgerway().args(["apply", "--schema"]).output().expect("the binary starts");
    let schema: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    let sections: BTreeSet<&str> =
        schema["properties"].as_object().expect("properties").keys().map(String::as_str).collect();
    let wanted =
        ["budgets", "labels", "models", "partners", "prices", "providers", "rate_limits", "teams", "tenants", "users"];
    assert_eq!(sections, BTreeSet::from(wanted));
    // The help of both commands names them all.
    for command in [&["apply", "--help"][..], &["export", "config", "--help"]] {
        let help = ledgerway().args(command).output().expect("the binary starts").stdout;
        let help = String::from_utf8(help).expect("text").split_whitespace().collect::<Vec<_>>().join(" ");
        for section in sections.iter().filter(|section| **section != "labels") {
            assert!(help.contains(&section.replace('_', " ")), "{section} in {help}");
        }
    }
    for id in ["partner_id", "tenant_id", "team_id", "user_id", "user_ids", "provider_id", "key_id"] {
        assert!(!schema.to_string().contains(&format!("\"{id}\"")), "{id} in {schema}");
    }
    let ended = ledgerway().arg("apply").output().expect("the binary starts");
    assert_eq!(ended.status.code(), Some(2));
}
