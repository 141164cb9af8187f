//! Files that a gateway applies to itself: at its start, at `SIGHUP`, and when they change.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::Files;
use crate::abandoned::until_metric_is;
use crate::cluster::nodes::Cluster;
use crate::gateway::Gateway;

const FAILING: &str = "ledgerway_applied_files_failing";
const WITHIN: Duration = Duration::from_secs(60);

fn config(limit: &str) -> String {
    format!(
        "labels: {{managed-by: git}}\ntenants:\n  - {{slug: acme, name: Acme}}\nbudgets:\n  - scope: {{tenant: acme}}\n    period: day\n    limit_usd: \"{limit}\"\n"
    )
}

/// The limits of the budgets a day.
async fn limits(gateway: &Gateway) -> Vec<String> {
    let list = gateway.operator().get("/v1/admin/budgets?limit=1000").await.must(200).json();
    let items = list["items"].as_array().expect("a list");
    let of_day = items.iter().filter(|item| item["period"] == "day");
    of_day.map(|item| item["limit_usd"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn until_limits(gateway: &Gateway, expected: &[&str]) {
    let same = async {
        while limits(gateway).await != expected {
            sleep(Duration::from_millis(50)).await;
        }
    };
    if timeout(WITHIN, same).await.is_err() {
        panic!("{:?} are not {expected:?}: {}", limits(gateway).await, gateway.stderr());
    }
}

fn start(files: &Files, more: &[(&'static str, &str)]) -> Gateway {
    let path = files.path().display().to_string();
    let env: Vec<(&'static str, &str)> =
        [("LEDGERWAY_APPLY", &*path)].into_iter().chain(more.iter().copied()).collect();
    Gateway::start_with(&env)
}

/// Holds: bin.apply
#[tokio::test(flavor = "multi_thread")]
async fn files_are_applied_at_the_start_and_at_a_signal_and_only_then() {
    let files = Files::with(&config("5"));
    let gateway = start(&files, &[("LEDGERWAY_APPLY_PRUNE", "managed-by=git")]);
    until_limits(&gateway, &["5.000000000"]).await;
    let position = gateway.head().await;
    files.write("config.yaml", &config("6"));
    // Longer than between two looks at the files.
    sleep(Duration::from_secs(5)).await;
    assert_eq!(gateway.head().await, position);
    gateway.hang_up();
    until_limits(&gateway, &["6.000000000"]).await;

    // A mistake changes nothing, is said, and does not stop the gateway.
    files.write("config.yaml", &config("many"));
    gateway.hang_up();
    until_metric_is(&gateway, FAILING, 1).await;
    assert_eq!(limits(&gateway).await, ["6.000000000"]);
    let log = gateway.stderr();
    assert!(log.contains("config.yaml:7: budgets[0].limit_usd"), "{log}");
    files.write("config.yaml", "labels: {managed-by: git}\ntenants:\n  - {slug: acme, name: Acme}\n");
    gateway.hang_up();
    until_metric_is(&gateway, FAILING, 0).await;
    until_limits(&gateway, &[]).await;
    let events = gateway.events().await;
    let closed = events.iter().find(|event| event["type"] == "budget.closed.v1").expect("the budget has ended");
    assert_eq!(closed["actor"], "operator");
}

/// Holds: bin.apply
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_applied_without_a_signal_where_that_is_asked() {
    let files = Files::with(&config("5"));
    let mut gateway = start(&files, &[("LEDGERWAY_ENABLE_HOT_RELOAD", "true")]);
    until_limits(&gateway, &["5.000000000"]).await;
    files.write("config.yaml", &config("70"));
    until_limits(&gateway, &["70.000000000"]).await;
    // A new file counts as well, and a start finds what has changed meanwhile.
    let second = "budgets:\n  - {scope: {tenant: acme}, period: day, limit_usd: \"1\", enforcement: observe}\n";
    files.write("more.yaml", second);
    until_limits(&gateway, &["1.000000000", "70.000000000"]).await;
    gateway.stop();
    files.write("config.yaml", &config("8"));
    gateway.start_again();
    until_limits(&gateway, &["1.000000000", "8.000000000"]).await;
    gateway.books().await;
}

/// Holds: bin.apply
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_start_with_the_same_files_make_each_resource_once() {
    let files = Files::with(&config("5"));
    let path = files.path().display().to_string();
    let cluster = Cluster::start(&[("LEDGERWAY_APPLY", &*path)]);
    let nodes = [0, 1, 2].map(|number| cluster.node(number));
    for node in nodes {
        until_limits(node, &["5.000000000"]).await;
        node.hang_up();
    }
    sleep(Duration::from_secs(3)).await;
    for node in nodes {
        assert_eq!(limits(node).await, ["5.000000000"]);
    }
}
