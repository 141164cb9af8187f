//! Which parts of the gateway run in a process.

use std::fs;
use std::time::{Duration, Instant};

use ::grpc::proto::TailRequest;
use serde_json::json;
use testing::nats::NatsServer;
use testing::postgres::TestDatabase;
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;

use crate::configuration::said;
use crate::gateway::{Gateway, OPERATOR_KEY, type_of};
use crate::grpc;
use crate::shared_ledger::{command, folders, migrated, node};
use crate::tenant::{NATIVE, Setup, Tenant};

const SOON: Duration = Duration::from_secs(20);
const MODE: &str = "LEDGERWAY_MODE";

async fn metrics_of(gateway: &Gateway) -> String {
    let metrics = gateway.client(None).get("/metrics").await.must(200);
    String::from_utf8(metrics.body.to_vec()).expect("UTF-8")
}

/// Holds: bin.modes
#[test]
fn one_part_of_a_gateway_needs_a_ledger_that_processes_share() {
    let [folder] = folders();
    let data = folder.path().join("data").display().to_string();
    for mode in ["http", "grpc", "worker"] {
        let (code, words) = said(command("", &["serve", "--data", &data]).env(MODE, mode));
        assert_eq!(code, Some(2), "{words}");
        assert!(words.contains(&format!("{MODE} is {mode}")) && words.contains("LEDGERWAY_DATABASE_URL"), "{words}");
    }
    let database = migrated();
    let idle = [(MODE, "worker"), ("LEDGERWAY_ANALYTICS", "off")];
    let (code, words) = said(command(&database.url(), &["serve", "--data", &data]).envs(idle));
    assert!(code == Some(2) && words.contains("LEDGERWAY_NATS_URL"), "a worker without work: {words}");
}

/// A container has one command, and settings.
/// Holds: bin.modes, bin.migrate
#[test]
fn the_mode_migrate_upgrades_the_ledger_and_ends_without_the_keys_of_nodes() {
    let database = TestDatabase::create();
    let [folder] = folders();
    let data = folder.path().join("data").display().to_string();
    let migrate = || {
        let mut serve = command(&database.url(), &["serve", "--data", &data]);
        said(serve.env(MODE, "migrate").env_remove("LEDGERWAY_NODE_KEY").env_remove("LEDGERWAY_ADMIN_KEY"))
    };
    let (code, words) = migrate();
    assert!(code == Some(0) && words.contains("a new, empty one was created"), "{words}");
    let (code, words) = migrate();
    assert!(code == Some(0) && words.contains("is up to date"), "{words}");
    assert!(!folder.path().join("data").exists(), "nothing is left on the disk");
}

/// The mode `migrate` refuses the folder as a gateway that is started in it would.
/// Holds: bin.modes
#[test]
fn the_mode_migrate_makes_no_ledger_in_a_folder_of_another_one() {
    for (file, content, database, problem) in [
        ("views.db", "", "", "and without that ledger"),
        ("moved-to", "postgres://db.internal/ledger", "", "whose ledger was moved to postgres://db.internal/ledger"),
        ("ledger.db", "", "postgres://127.0.0.1:1/ledger", "with a ledger of its own"),
    ] {
        let [folder] = folders();
        let data = folder.path();
        fs::write(data.join(file), content).expect("a file");
        let mut serve = command(database, &["serve", "--data", &data.display().to_string()]);
        let (code, words) = said(serve.env(MODE, "migrate"));
        assert!(code == Some(2) && words.contains(problem), "{words}");
        assert_eq!(fs::read_dir(data).expect("the folder").count(), 1, "beside {file}");
    }
}

/// Holds: shared.expired-holds
#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_requests_ends_no_holds_by_its_own_settings() {
    let (database, upstream) = (migrated(), MockUpstream::start().await);
    let [of_worker, of_http] = folders();
    let short = [("LEDGERWAY_HOLD_TTL_SECONDS", "2")];
    let other = [("LEDGERWAY_HOLD_TTL_SECONDS", "2"), ("LEDGERWAY_UNKNOWN_USAGE", "release"), (MODE, "worker")];
    let mut worker = node(&database.url(), of_worker.path(), &other);
    let mut http = node(&database.url(), of_http.path(), &short);
    let tenant = Tenant::with(&http, &upstream, &["gate"], Setup::default()).await;
    let (app, body) = (tenant.app.clone(), tenant.ask("gate"));
    let mut asking = JoinSet::new();
    asking.spawn(async move { app.try_post(NATIVE, &body).await.is_err() });
    while upstream.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    http.kill();
    assert!(asking.join_next().await.expect("an end").expect("an end"), "it was answered");
    // The hold expires, and the worker looks for such holds several times a second.
    tokio::time::sleep(Duration::from_secs(4)).await;
    http.start_again();
    http.books_when_all_ended(SOON).await;
    let expired: Vec<_> =
        http.events().await.into_iter().filter(|event| type_of(event) == "budget.expired.v1").collect();
    assert_eq!((expired.len(), &expired[0]["data"]["policy"]), (1, &json!("charge_hold")));
    worker.stop();
}

/// Holds: bin.modes
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_serves_its_health_and_metrics_alone_and_does_what_the_others_leave_to_it() {
    let (database, nats) = (migrated(), NatsServer::start());
    let [of_worker, of_http] = folders();
    let url = nats.url();
    let relayed = [("LEDGERWAY_NATS_URL", url.as_str())];
    // It runs longer than the others, which record what the environment offers all the same.
    let mut worker = node(&database.url(), of_worker.path(), &[&relayed[..], &[(MODE, "worker")]].concat());
    let offers = [(MODE, "http"), ("LEDGERWAY_PROVIDERS_FROM_ENV", "on"), ("OPENAI_API_KEY", "sk-of-the-environment")];
    let http = node(&database.url(), of_http.path(), &[&relayed[..], &offers[..]].concat());
    assert!(http.events().await.iter().any(|event| type_of(event) == "provider.created.v1"), "nobody recorded it");
    for path in ["/v1/me", "/v1/models", "/v1/events"] {
        let refused = worker.operator().get(path).await;
        assert_eq!(refused.status, 404, "{path}");
    }
    let chat = json!({"model": "m", "messages": []});
    assert_eq!(worker.operator().post("/v1/chat/completions", &chat).await.status, 404);
    let head = http.events().await.len();
    // What was read of it is recorded and relayed as well.
    let reaches = |metrics: &str| {
        let lines = metrics.lines().filter_map(|line| line.strip_prefix("ledgerway_role_position{role=\"relay\"} "));
        lines.filter_map(|position| position.parse().ok()).any(|position: usize| position >= head)
    };
    let begun = Instant::now();
    while !reaches(&metrics_of(&worker).await) {
        assert!(begun.elapsed() < SOON, "the worker does not relay the log: {}", worker.stdout());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let health = worker.client(None).get("/health/ready").await.must(200).json();
    assert_eq!(health["parts"]["relay"], "working", "{health}");
    let health = http.client(None).get("/health").await.must(200).json();
    assert_eq!(health["parts"].get("relay"), None, "{health}");
    assert!(!worker.stdout().contains("operator's key"), "{}", worker.stdout());
    worker.stop();
}

/// Holds: bin.views-off
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_views_serves_all_that_needs_none() {
    const OFF: (&str, &str) = ("LEDGERWAY_VIEWS", "off");
    let (database, upstream) = (migrated(), MockUpstream::start().await);
    let [with, without] = folders();
    let other = node(&database.url(), with.path(), &[]);
    let gateway = node(&database.url(), without.path(), &[OFF]);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    tenant.chat("ok").await.must(200);
    let head = gateway.head().await;
    for path in ["/v1/usage", "/v1/me", "/v1/admin/tenants", "/v1/audit"] {
        gateway.operator().get(path).await.must_be(421, "VIEWS_OFF");
        other.operator().get(&format!("{path}?min_position={head}")).await.must(200);
    }
    for path in ["/v1/models", "/v1/log/head", "/v1/events"] {
        gateway.operator().get(path).await.must(200);
    }
    let health = gateway.client(None).get("/health/ready").await.must(200).json();
    assert_eq!((&health["parts"]["views"], &health["parts"].get("analysts")), (&json!("off"), &None), "{health}");
    assert!(!metrics_of(&gateway).await.contains("ledgerway_view_position{"), "there is no view");
    assert!(!without.path().join("data/views.db").exists(), "nothing was written for it");
    // Of a ledger in a folder, no other node could answer.
    let [folder] = folders();
    let (code, words) = said(command("", &["serve", "--data", &folder.path().display().to_string()]).env(OFF.0, OFF.1));
    assert!(code == Some(2) && words.contains(OFF.0), "{words}");
}

/// Holds: bin.modes
#[tokio::test(flavor = "multi_thread")]
async fn a_process_for_grpc_serves_it_alone_with_its_health_and_metrics() {
    let database = migrated();
    let [of_grpc, of_http] = folders();
    let http = node(&database.url(), of_http.path(), &[(MODE, "http")]);
    let only = node(&database.url(), of_grpc.path(), &[(MODE, "grpc"), grpc::GRPC]);
    let channel = grpc::connect(&only).await;
    let head = http.head().await;
    let asked = TailRequest { min_position: head, ..TailRequest::default() };
    let events = grpc::rest(grpc::tail(&channel, OPERATOR_KEY, asked).await.expect("a tail")).await;
    assert!(events.last().is_some_and(|event| event.position >= head), "{} of {head}", events.len());
    for path in ["/v1/me", "/v1/models", "/v1/events"] {
        assert_eq!(only.operator().get(path).await.status, 404, "{path}");
    }
    only.client(None).get("/health/ready").await.must(200);
    assert!(metrics_of(&only).await.contains("ledgerway_"), "no metrics");
}
