//! `ledgerway what-if`: other rules over what a gateway has recorded.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;
use testing::upstream::MockUpstream;

use crate::archive::{address, run};
use crate::books::{nano, usd};
use crate::gateway::Gateway;
use crate::tenant::{Tenant, made, text};

/// Runs commands on the ledger of a gateway.
struct WhatIf {
    data: String,
    folder: TempDir,
}

impl WhatIf {
    fn new(gateway: &Gateway) -> Self {
        Self { data: gateway.data().display().to_string(), folder: TempDir::new().expect("a folder") }
    }

    fn file(&self, rules: &str) -> String {
        let file: PathBuf = self.folder.path().join("rules.json");
        fs::write(&file, rules).expect("a file");
        file.display().to_string()
    }

    #[track_caller]
    fn says(&self, code: i32, rules: &str, more: &[&str]) -> String {
        let file = self.file(rules);
        run(code, &[&["what-if", "--data", &self.data, "--rules", &file], more].concat())
    }

    #[track_caller]
    fn answers(&self, rules: &Value, more: &[&str]) -> Value {
        let words = self.says(0, &rules.to_string(), &[&["--json"], more].concat());
        serde_json::from_str(&words).unwrap_or_else(|_| panic!("{words}"))
    }
}

/// Holds: bin.what-if-as-recorded, admin.hold-share
#[tokio::test(flavor = "multi_thread")]
async fn what_a_share_of_a_budget_refused_is_admitted_only_by_rules_that_leave_enough() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    tenant.new_key(&gateway, json!({})).await;
    let reply = tenant.chat("ok").await.must(200).json();
    let (cost, held) = (nano(&reply["cost_usd"]), nano(&reply["ledger"]["held_usd"]));
    tenant.set_limit(&usd(cost + held * 3 / 2)).await;
    tenant.chat("ok").await.must_be(429, "BUDGET_EXCEEDED");
    let what_if = WhatIf::new(&gateway);
    for (left, newly_admitted) in [(held * 3 / 2, 0), (held * 2 - 2, 0), (held * 2, 1)] {
        let change = json!({ "budget_id": tenant.budget, "limit_usd": usd(cost + left) });
        let answer = what_if.answers(&json!({ "budgets": { "change": [change] } }), &[]);
        assert_eq!(counts(&answer["total"]), [1, 1, 0, newly_admitted], "{answer}");
    }
    assert_eq!(counts(&what_if.answers(&json!({}), &[])["total"]), [1, 1, 0, 0]);
}

fn counts(of: &Value) -> [u64; 4] {
    ["admitted", "refused", "newly_refused", "newly_admitted"].map(|name| of[name].as_u64().expect("a number"))
}

/// Holds: bin.what-if, bin.what-if-as-recorded
#[tokio::test(flavor = "multi_thread")]
async fn other_rules_over_the_ledger_of_a_gateway_say_what_would_have_differed() {
    const ASKED: u64 = 6;
    const REFUSED: u64 = 3;
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let mut reply = Value::Null;
    for _ in 0..ASKED {
        reply = tenant.chat("ok").await.must(200).json();
    }
    let (cost, held) = (nano(&reply["cost_usd"]), nano(&reply["ledger"]["held_usd"]));
    let spent = cost * i64::try_from(ASKED).expect("small");
    tenant.set_limit(&usd(spent)).await;
    for _ in 0..REFUSED {
        tenant.chat("ok").await.must_be(429, "BUDGET_EXCEEDED");
    }
    let what_if = WhatIf::new(&gateway);

    // No rule, and rules that say what is recorded.
    let price = |input: &str, output: &str| {
        json!({ "provider_id": tenant.provider, "model": "ok", "input_usd_per_mtok": input, "output_usd_per_mtok": output,
                "cache_read_usd_per_mtok": "0.3", "reasoning_usd_per_mtok": "20", "request_usd": "0.001" })
    };
    for rules in [json!({}), json!({ "prices": [price("3", "15")] })] {
        let answer = what_if.answers(&rules, &[]);
        assert_eq!((&answer["is_as_recorded"], &answer["refused_by"]), (&json!(true), &json!([])), "{answer}");
        assert_eq!(counts(&answer["total"]), [ASKED, REFUSED, 0, 0], "{answer}");
        let costs = ["recorded_cost_usd", "cost_usd"].map(|name| nano(&answer["total"][name]));
        assert_eq!(costs, [spent, spent]);
    }
    let screen = what_if.says(0, "{}", &[]);
    assert!(screen.contains("Every decision and every sum of costs is as recorded."), "{screen}");

    // A limit with room for the holds of two requests, one after the other.
    let lowered = json!({ "budget_id": tenant.budget, "limit_usd": usd(held + cost) });
    let answer = what_if.answers(&json!({ "budgets": { "change": [lowered] } }), &[]);
    assert_eq!(counts(&answer["total"]), [ASKED, REFUSED, ASKED - 2, 0], "{answer}");
    let by = json!({ "budget_id": tenant.budget, "scope": { "tenant_id": tenant.id }, "requests": ASKED - 2 });
    assert_eq!(answer["refused_by"], json!([by]));
    assert_eq!(answer["total"]["cost_usd"], usd(2 * cost));
    let [row] = &answer["tenants"].as_array().expect("rows")[..] else { panic!("{answer}") };
    assert_eq!((&row["tenant_id"], &row["name"]), (&json!(tenant.id), &json!(tenant.name)));
    assert_eq!(
        (&answer["users"][0]["user_id"], &answer["models"][0]["model"]),
        (&json!(tenant.user), &json!(tenant.model("ok")))
    );
    let lowered = json!({ "budgets": { "change": [{ "budget_id": tenant.budget, "limit_usd": "0" }] } });
    let screen = what_if.says(0, &lowered.to_string(), &[]);
    for part in ["REFUSED BY", &tenant.budget, &tenant.name, "newly refused", &format!("-{}", usd(spent))] {
        assert!(screen.contains(part), "{part}: {screen}");
    }

    // Without the budget, what it refused is admitted, at a cost that nobody knows.
    let removed = what_if.answers(&json!({ "budgets": { "remove": [tenant.budget] } }), &[]);
    assert_eq!(counts(&removed["total"]), [ASKED, REFUSED, 0, REFUSED], "{removed}");
    let at_most = &removed["total"]["newly_admitted_at_most_usd"];
    assert_eq!(nano(at_most), held * i64::try_from(REFUSED).expect("small"));
    assert_eq!(nano(&removed["total"]["difference_usd"]), 0);

    // A price is that of the tokens that were recorded; a route leads to one.
    let usage = &reply["usage"];
    let tokens = |name: &str| usage[name].as_i64().expect("tokens");
    let of_tokens = [
        ("input_uncached_tokens", 1),
        ("input_cache_read_tokens", 1),
        ("input_cache_write_tokens", 1),
        ("output_text_tokens", 2),
        ("output_reasoning_tokens", 2),
    ];
    let flat: i64 = of_tokens.iter().map(|(name, usd)| tokens(name) * usd * 1_000).sum();
    let flat_price = json!({ "provider_id": tenant.provider, "model": "flat", "input_usd_per_mtok": "1",
                             "output_usd_per_mtok": "2" });
    let route = json!({ "model": tenant.model("ok"), "target": { "provider_id": tenant.provider, "model": "flat" } });
    let routed = what_if.answers(&json!({ "prices": [flat_price], "routes": [route] }), &[]);
    assert_eq!(nano(&routed["total"]["cost_usd"]), flat * i64::try_from(ASKED).expect("small"), "{routed}");
    let unpriced = json!({ "routes": [route] }).to_string();
    assert!(what_if.says(1, &unpriced, &[]).contains("has no price at that time"));

    // A rate limit, which nothing is recorded of.
    let limit = json!({ "scope": { "key_id": tenant.key }, "requests_per_day": 4 });
    let limited = what_if.answers(&json!({ "rate_limits": { "add": [limit] } }), &[]);
    assert_eq!(counts(&limited["total"]), [ASKED, REFUSED, ASKED - 4, 0], "{limited}");
    assert_eq!(limited["refused_by"][0]["rule"], "rate_limits.add[0]");

    // The period has nothing before this event.
    let events = tenant.events_of(&gateway, &["inference.admitted"]).await;
    let from = text(&events[4]["recorded_at"]);
    let late = what_if.answers(&json!({ "budgets": { "remove": [tenant.budget] } }), &["--from", &from]);
    assert_eq!(counts(&late["total"]), [ASKED - 4, REFUSED, 0, REFUSED], "{late}");

    // An archive answers what the ledger does.
    let archive = address(&what_if.folder.path().join("archive"));
    run(0, &["archive", "--data", &what_if.data, "--archive", &archive]);
    let file = what_if.file(&json!({ "budgets": { "remove": [tenant.budget] } }).to_string());
    let words = run(0, &["what-if", "--archive", &archive, "--rules", &file, "--json"]);
    let line = words.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{words}"));
    let archived: Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(archived["total"], removed["total"]);
}

/// Holds: bin.what-if
#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_that_is_raised_admits_what_it_had_refused() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let limit = json!({ "scope": { "tenant_id": tenant.id }, "requests_per_day": 2 });
    let limit = made(gateway.operator(), "/rate-limits", limit).await;
    tenant.chat("ok").await.must(200);
    tenant.chat("ok").await.must(200);
    tenant.chat("ok").await.must_be(429, "RATE_LIMITED");
    while tenant.events_of(&gateway, &["access.rate_limited"]).await.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let what_if = WhatIf::new(&gateway);
    let change =
        |number: u64| json!({ "rate_limits": { "change": [{ "limit_id": limit, "requests_per_day": number }] } });
    assert_eq!(counts(&what_if.answers(&change(3), &[])["total"]), [2, 1, 0, 1]);
    assert_eq!(counts(&what_if.answers(&change(2), &[])["total"]), [2, 1, 0, 0]);
    let lowered = what_if.answers(&change(1), &[]);
    assert_eq!(counts(&lowered["total"]), [2, 1, 1, 0], "{lowered}");
    assert_eq!(lowered["refused_by"][0]["limit_id"], limit);
}

/// Holds: bin.what-if-rules
#[test]
fn a_file_of_rules_with_a_mistake_is_refused_before_anything_is_read() {
    let gateway = Gateway::start();
    let what_if = WhatIf::new(&gateway);
    for (rules, because) in [
        ("{", "it is not JSON"),
        (r#"{"budgts": {}}"#, "budgts is not a field of rules; did you mean budgets?"),
        (
            r#"{"budgets": {"remove": ["bud_00000000000000000000000000000009"]}}"#,
            "budgets.remove[0]: this ledger has no bud_00000000000000000000000000000009",
        ),
        (
            r#"{"budgets": {"change": [{"budget_id": "bud_00000000000000000000000000000009", "limit_usd": 5}]}}"#,
            "budgets.change[0].limit_usd: invalid type: integer `5`, expected US dollars as a string",
        ),
    ] {
        let words = what_if.says(2, rules, &[]);
        assert!(words.contains(because), "{rules}: {words}");
    }
    let words = what_if.says(2, "{}", &["--from", "yesterday"]);
    assert!(words.contains("--from is \"yesterday\", but must be a time"), "{words}");
    let words = run(2, &["what-if", "--data", &what_if.data, "--rules", "/nonexistent.json"]);
    assert!(words.contains("cannot read the rules in /nonexistent.json"), "{words}");
}
