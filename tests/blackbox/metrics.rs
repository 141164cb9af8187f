//! The page `/metrics` after traffic that is known.

mod exposition;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use testing::redis::{Durability, RedisServer};
use testing::upstream::{MockUpstream, TEXT};

use crate::books::{nano, usd};
use crate::gateway::{Gateway, type_of};
use crate::shared_ledger::{folders, migrated, node};
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant};
use exposition::Exposition;

/// The page for operators.
const PAGE: &str = include_str!("../../docs/observability.md");

async fn metrics_of(gateway: &Gateway) -> Exposition {
    let answer = gateway.client(None).get("/metrics").await.must(200);
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    Exposition::of(std::str::from_utf8(&answer.body).expect("UTF-8"))
}

/// Sum over the log of one field of one type of event, in nano-dollars.
fn summed(events: &[Value], of: &[&str], field: &str) -> i64 {
    events.iter().filter(|event| of.contains(&type_of(event))).map(|event| nano(&event["data"][field])).sum()
}

fn tokens_in(events: &[Value], field: &str) -> String {
    events.iter().filter_map(|event| event["data"]["usage"][field].as_u64()).sum::<u64>().to_string()
}

/// Returns the names in the first column of the page's tables.
fn names_on_the_page() -> BTreeSet<&'static str> {
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split('`').next());
    names.filter(|name| name.starts_with("ledgerway_") || name.starts_with("process_")).collect()
}

/// Holds: query.metrics-of-nodes
#[tokio::test(flavor = "multi_thread")]
async fn a_node_counts_what_it_recorded_itself_and_all_nodes_together_count_everything() {
    const OWN: [&str; 7] = [
        "ledgerway_requests_total",
        "ledgerway_tokens_total",
        "ledgerway_cost_usd_total",
        "ledgerway_held_usd_total",
        "ledgerway_settled_usd_total",
        "ledgerway_log_batch_events_count",
        "ledgerway_log_events_total",
    ];
    let (database, upstream) = (migrated(), MockUpstream::start().await);
    let [one, two] = folders();
    let (first, second) = (node(&database.url(), one.path(), &[]), node(&database.url(), two.path(), &[]));
    let tenant = Tenant::new(&first, &upstream, &["ok"]).await;
    let sum = |metrics: &Exposition, name: &str| -> f64 {
        metrics.all(name).map(|value| value.parse::<f64>().expect("a number")).sum()
    };
    let wait = async |position| {
        while second.head().await < position {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    wait(first.head().await).await;
    let before = metrics_of(&second).await;
    for _ in 0..3 {
        tenant.openai("ok").await.must(200);
    }
    wait(first.head().await).await;
    let (of_first, of_second) = (metrics_of(&first).await, metrics_of(&second).await);
    for name in OWN {
        assert!(sum(&of_first, name) > 0.0, "{name}");
        assert_eq!(sum(&of_second, name), sum(&before, name), "{name}");
    }
    assert_eq!(sum(&of_first, "ledgerway_requests_total"), 3.0);
    assert_eq!(sum(&of_second, "ledgerway_requests_total"), 0.0);
    assert_eq!(sum(&of_second, "ledgerway_settled_usd_total"), 0.0);
    assert!(sum(&of_second, "ledgerway_log_head_position") >= sum(&of_first, "ledgerway_log_head_position"));
}

/// Holds: query.metrics
#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_known_traffic_exactly_and_money_as_the_ledger_does() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "e500", "cut", "hang"]).await;
    let poor = Tenant::with(&gateway, &upstream, &["ok"], Setup { limit_usd: "0.000001", ..Setup::default() }).await;
    // First: that somebody was denied is recorded a moment after he was told.
    gateway.client(Some("no-key")).post(NATIVE, &tenant.ask("ok")).await.must(401);
    for _ in 0..3 {
        assert!(String::from_utf8_lossy(&tenant.openai("ok").await.must(200).body).contains(TEXT));
    }
    for _ in 0..2 {
        assert!(tenant.stream(NATIVE, "ok").await.rest().await.1);
    }
    tenant.openai("e500").await.must(502);
    tenant.stream(OPENAI, "cut").await.rest().await;
    tokio::time::timeout(Duration::from_millis(500), tenant.openai("hang")).await.expect_err("it never answers");
    tenant.openai("unheard-of").await.must(404);
    poor.chat("ok").await.must_be(429, "BUDGET_EXCEEDED");
    gateway.books_when_all_ended(Duration::from_secs(10)).await;

    let (metrics, events) = (metrics_of(&gateway).await, gateway.events().await);
    let [ok, e500, cut, hang] = ["ok", "e500", "cut", "hang"].map(|model| tenant.model(model));
    let provider = tenant.name.as_str();
    for (name, labels, count) in [
        ("ledgerway_requests_total", vec![("surface", "openai"), ("model", &*ok), ("outcome", "completed")], "3"),
        ("ledgerway_requests_total", vec![("surface", "native"), ("model", &ok), ("outcome", "completed")], "2"),
        ("ledgerway_requests_total", vec![("surface", "openai"), ("model", &e500), ("outcome", "failed")], "1"),
        ("ledgerway_requests_total", vec![("surface", "openai"), ("model", &cut), ("outcome", "failed")], "1"),
        ("ledgerway_requests_refused_total", vec![("model", "other"), ("code", "MODEL_NOT_FOUND")], "1"),
        ("ledgerway_refusals_total", vec![("surface", "openai"), ("code", "MODEL_NOT_FOUND"), ("reason", "")], "1"),
        (
            "ledgerway_refusals_total",
            vec![("surface", "native"), ("code", "BUDGET_EXCEEDED"), ("reason", "tenant")],
            "1",
        ),
        ("ledgerway_refusals_total", vec![("surface", "native"), ("code", "UNAUTHENTICATED"), ("reason", "")], "1"),
        (
            "ledgerway_refusals_total",
            vec![("surface", "openai"), ("code", "UPSTREAM_ERROR"), ("reason", "status")],
            "1",
        ),
        // Tried twice.
        (
            "ledgerway_upstream_failures_total",
            vec![("provider", provider), ("reason", "status"), ("status", "5xx")],
            "2",
        ),
        ("ledgerway_http_requests_total", vec![("surface", "openai"), ("status", "2xx")], "4"),
        ("ledgerway_request_seconds_count", vec![("model", &ok)], "5"),
        ("ledgerway_first_token_seconds_count", vec![("model", &ok)], "5"),
        ("ledgerway_upstream_calls_total", vec![("provider", provider)], "9"),
        // Not those that failed, but that which was cut off in its middle.
        ("ledgerway_upstream_first_byte_seconds_count", vec![("provider", provider)], "6"),
        ("ledgerway_stage_seconds_count", vec![("stage", "admit")], "8"),
        // Who left before an answer began, or got none, has waited for it: nothing was relayed.
        ("ledgerway_stage_seconds_count", vec![("stage", "dispatch")], "8"),
        ("ledgerway_stage_seconds_count", vec![("stage", "relay")], "6"),
        ("ledgerway_added_seconds_count", vec![], "5"),
        ("ledgerway_open_holds", vec![], "0"),
        ("ledgerway_open_streams", vec![], "0"),
        ("ledgerway_log_writable", vec![], "1"),
        ("ledgerway_log_head_position", vec![], &*events.len().to_string()),
    ] {
        assert_eq!(metrics.value(name, &labels), Some(count), "{name} {labels:?}\n{metrics}");
    }
    for (class, field) in [("input_uncached", "input_uncached_tokens"), ("output_text", "output_text_tokens")] {
        let tokens = |model: &str| metrics.value("ledgerway_tokens_total", &[("model", model), ("class", class)]);
        assert!(tokens(&ok).is_some(), "{class}");
        let each = [&ok, &cut, &hang].map(|model| tokens(model).unwrap_or("0").parse::<u64>().expect("a number"));
        assert_eq!(each.iter().sum::<u64>().to_string(), tokens_in(&events, field), "{class}");
    }
    let outcomes = ["inference.completed.v1", "inference.failed.v1", "inference.aborted.v1"];
    for (name, wanted) in [
        ("ledgerway_cost_usd_total", summed(&events, &outcomes, "cost_usd")),
        ("ledgerway_settled_usd_total", summed(&events, &["budget.settled.v1"], "charged_usd")),
        ("ledgerway_held_usd_total", summed(&events, &["budget.reserved.v1"], "held_usd")),
    ] {
        assert!(wanted > 0, "{name}");
        let sum: i64 = metrics.all(name).map(|value| nano(&Value::from(value))).sum();
        assert_eq!(usd(sum), usd(wanted), "{name}\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_on_the_page_and_everything_on_the_page_is_a_metric() {
    let redis = RedisServer::start(Durability::Forgets);
    let content = tempfile::tempdir().expect("a folder");
    let config = content.path().join("config.yaml");
    std::fs::write(&config, "tenants: []\n").expect("a file");
    let (redis_url, content_url) = (redis.url(), format!("file://{}", content.path().display()));
    let config = config.display().to_string();
    let settings = [
        ("LEDGERWAY_REDIS_URL", &*redis_url),
        ("LEDGERWAY_ACCESS_LOG", "view"),
        ("LEDGERWAY_CONTENT_URL", &*content_url),
        ("LEDGERWAY_APPLY", &*config),
    ];
    let (gateway, upstream) = (Gateway::start_with(&settings), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "e500"]).await;
    tenant.chat("ok").await.must(200);
    tenant.chat("e500").await.must(502);
    tenant.chat("unheard-of").await.must(404);
    ask_for_what_is_ignored(&gateway, &upstream).await;
    gateway.books_when_all_ended(Duration::from_secs(10)).await;
    let metrics = metrics_of(&gateway).await;
    assert_eq!(metrics.families().collect::<BTreeSet<_>>(), names_on_the_page());
}

/// Two requests with a seed, which Anthropic does not know.
async fn ask_for_what_is_ignored(gateway: &Gateway, upstream: &MockUpstream) {
    let tenant = Tenant::with(gateway, upstream, &["ok"], Setup { kind: "anthropic", ..Setup::default() }).await;
    let mut body = tenant.ask("ok");
    body["seed"] = Value::from(7);
    for path in [NATIVE, OPENAI] {
        assert_eq!(tenant.app.post(path, &body).await.must(200).header("x-ledgerway-ignored"), "seed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_could_not_be_told_is_counted() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    ask_for_what_is_ignored(&gateway, &upstream).await;
    let openai = Tenant::new(&gateway, &upstream, &["ok"]).await;
    assert_eq!(openai.chat("ok").await.must(200).header("x-ledgerway-ignored"), "");
    let metrics = metrics_of(&gateway).await;
    let counted = metrics.value("ledgerway_ignored_features_total", &[("kind", "anthropic"), ("feature", "seed")]);
    assert_eq!((counted, metrics.all("ledgerway_ignored_features_total").count()), (Some("2"), 1), "{metrics}");
}

/// Holds: query.metrics
#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_on_their_own_address_alone_where_they_have_one() {
    let gateway = Gateway::start_with(&[("LEDGERWAY_METRICS_LISTEN", "127.0.0.1:0")]);
    let elsewhere = gateway.client(None).get("/metrics").await.must(404).json();
    assert!(elsewhere["error"]["message"].as_str().is_some_and(|said| said.contains("METRICS_LISTEN")), "{elsewhere}");
    let log = gateway.stderr();
    let line = log.lines().find(|line| line.contains("metrics are served")).expect("a line that says where");
    let line: Value = serde_json::from_str(line).expect("a line of JSON");
    let port = line["address"].as_str().and_then(|address| address.rsplit_once(':')).expect("an address").1;
    let own = gateway.client_on(port.parse().expect("a port"));
    let answer = own.get("/metrics").await.must(200);
    Exposition::of(std::str::from_utf8(&answer.body).expect("UTF-8"));
    own.get("/v1/models").await.must(401);
    let only = own.get("/health").await.must(404).json();
    assert_eq!(only["error"]["message"], "this address serves only /metrics");
}
