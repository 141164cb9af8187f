//! `POST /v1/admin/prices/import`: another catalogue while the gateway runs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use chrono::{NaiveDate, TimeDelta};
use http::Method;
use rusqlite::Connection;
use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;

use super::local_server::LocalServer;
use super::{KEY, automatic, chat, start_in};
use crate::families::key;
use crate::gateway::{Gateway, ledgerway};
use crate::tenant::{OPENAI, made, text};
use crate::trouble::fault::{EIO, Fault};

pub const IMPORT: &str = "/v1/admin/prices/import";

pub fn shipped() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("command/built_in_catalogue/data/catalogue.json");
    serde_json::from_slice(&fs::read(path).expect("the document")).expect("JSON")
}

/// The shipped catalogue as of so many days later, with these two prices for `gpt-4o-mini` at OpenAI.
pub fn document(days: i64, input: &str, output: &str) -> Value {
    let mut document = shipped();
    let version = text(&document["version"]).parse::<NaiveDate>().expect("a day");
    document["version"] = json!((version + TimeDelta::days(days)).to_string());
    let price = &mut model(&mut document, "gpt-4o-mini")["price"];
    price["input_usd_per_mtok"] = json!(input);
    price["output_usd_per_mtok"] = json!(output);
    document
}

fn model<'a>(document: &'a mut Value, name: &str) -> &'a mut Value {
    let models = document["models"].as_array_mut().expect("models");
    models.iter_mut().find(|model| model["provider"] == "openai" && model["model"] == name).expect("the model")
}

/// The cost in nano-dollars, by these prices of a token.
fn cost(reply: &crate::client::Reply, input: u64, output: u64) -> String {
    let usage = &reply.json()["usage"];
    let tokens = |class: &str| usage[class].as_u64().expect("a number of tokens");
    format!("0.{:09}", tokens("prompt_tokens") * input + tokens("completion_tokens") * output)
}

/// The recorded price of `gpt-4o-mini`.
pub async fn recorded(gateway: &Gateway) -> Value {
    let prices = automatic(gateway, "prices").await;
    let of_model: Vec<_> = prices.into_iter().filter(|price| price["model"] == "gpt-4o-mini").collect();
    assert_eq!(of_model.len(), 1, "{of_model:?}");
    of_model[0].clone()
}

/// Holds: environment.import, environment.prices
#[tokio::test(flavor = "multi_thread")]
async fn an_import_shows_what_it_changes_and_prices_follow_it_at_once() {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), MockUpstream::start().await);
    let base_url = upstream.base_url("openai");
    let mut gateway = start_in(folder.path(), &[("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", &base_url)]);
    let operator = gateway.operator().clone();
    let provider = automatic(&gateway, "providers").await.into_iter().find(|provider| provider["name"] == "openai");
    let provider = text(&provider.expect("the provider")["id"]);
    let own =
        json!({ "provider_id": provider, "model": "gpt-4o", "input_usd_per_mtok": "9", "output_usd_per_mtok": "9" });
    let own = made(&operator, "/prices", own).await;
    let before = operator.get(&format!("/v1/admin/prices/{own}")).await.must(200).json();

    let mut newer = document(3, "7", "9");
    model(&mut newer, "gpt-4o")["price"]["input_usd_per_mtok"] = json!("77");
    model(&mut newer, "gpt-4.1-mini")["deprecated_on"] = json!("2999-01-01");
    newer["models"].as_array_mut().expect("models").push(json!({
        "provider": "openai", "model": "gpt-new", "name": "gpt-new", "mode": "chat", "capabilities": ["tools"],
        "price": { "input_usd_per_mtok": "1", "output_usd_per_mtok": "2" },
    }));
    let head = gateway.head().await;
    let shown = operator.post(&format!("{IMPORT}?dry_run=true"), &newer).await.must(200);
    assert_eq!((gateway.head().await, gateway.data().join("catalogue.json").exists()), (head, false));
    let shown = shown.json();
    assert_eq!((&shown["dry_run"], &shown["position"]), (&json!(true), &Value::Null));
    let changed = shown["prices"]["changed"]["items"].as_array().expect("a list");
    let mini = changed.iter().find(|item| item["model"] == "gpt-4o-mini").expect("the model");
    let amounts = json!([
        { "field": "input_usd_per_mtok", "old": "0.150000000", "new": "7.000000000" },
        { "field": "output_usd_per_mtok", "old": "0.600000000", "new": "9.000000000" },
    ]);
    assert_eq!((&mini["amounts"], &mini["provider"]), (&amounts, &json!("openai")));
    assert_eq!(shown["prices"]["changed"]["count"], 2);
    assert_eq!(shown["prices"]["new"]["items"][0]["model"], "gpt-new");
    assert_eq!(shown["models"]["new"]["items"], json!([{ "provider": "openai", "model": "gpt-new" }]));
    assert_eq!(shown["models"]["deprecated"]["items"][0]["model"], "gpt-4.1-mini");
    assert_eq!(shown["models"]["retired"]["count"], 0);
    let wanted = json!({ "prices": { "created": 1, "changed": 2, "ended": 0 },
                         "models": { "created": 2, "changed": 0, "ended": 0 } });
    assert_eq!(shown["recorded"], wanted);

    let sent = operator.clone().with("idempotency-key", "newer").post(IMPORT, &newer).await.must(200);
    assert_eq!((sent.json()["position"].as_u64(), &sent.json()["recorded"]), (Some(sent.position()), &wanted));
    assert_eq!(sent.json()["prices"], shown["prices"]);
    assert_eq!(fs::read_to_string(gateway.data().join("catalogue.json")).expect("the file"), newer.to_string());
    let reply = operator.post(OPENAI, &chat("gpt-4o-mini")).await.must(200);
    assert_eq!(reply.header("x-ledgerway-cost-usd"), cost(&reply, 7_000, 9_000));
    let reply = operator.post(OPENAI, &chat("gpt-4o")).await.must(200);
    assert_eq!(reply.header("x-ledgerway-cost-usd"), cost(&reply, 9_000, 9_000), "the operator's own price");
    assert_eq!(operator.get(&format!("/v1/admin/prices/{own}")).await.must(200).json(), before);
    operator.post(OPENAI, &chat("openai/gpt-new")).await.must(200);
    // What is not recorded comes from the new document, too.
    let listed = operator.get("/v1/models/openai/gpt-new").await.must(200).json();
    assert_eq!(listed["capabilities"], json!(["tools"]), "{listed}");
    let events = gateway.events().await;
    let of_import = events.iter().filter(|event| event["request_id"] == json!(sent.request_id()));
    let of_import: Vec<_> = of_import.map(|event| (text(&event["actor"]), text(&event["type"]))).collect();
    assert_eq!(of_import.len(), 6, "{of_import:?}");
    assert_eq!(of_import.first().map(|(_, name)| name.as_str()), Some("catalogue.imported.v1"));
    assert!(of_import.iter().all(|(actor, _)| actor == "operator"), "{of_import:?}");

    let again = operator.clone().with("idempotency-key", "newer").post(IMPORT, &newer).await.must(200);
    assert_eq!(again.json(), sent.json());
    let other = operator.clone().with("idempotency-key", "newer").post(IMPORT, &shipped()).await;
    other.must_be(409, "IDEMPOTENCY_KEY_REUSED");
    let head = gateway.last_fact().await;
    let same = operator.post(IMPORT, &newer).await.must(200);
    assert_eq!(same.json()["prices"]["changed"]["count"], 0);
    assert!(same.position() > head && same.position() == gateway.last_fact().await, "an import for the audit");
    let audit = format!("/v1/audit?action=catalogue.imported&min_position={}", same.position());
    let audit = operator.get(&audit).await.must(200).json();
    let seen: Vec<_> = audit["items"].as_array().expect("items").iter().map(|item| &item["request_id"]).collect();
    assert_eq!(seen.len(), 2, "the retry and the dry run are none: {audit}");
    assert!([&sent, &same].iter().all(|reply| seen.contains(&&json!(reply.request_id()))), "{audit}");
    let head = gateway.last_fact().await;
    gateway.stop();
    gateway.start_again();
    assert_eq!(gateway.last_fact().await, head, "the next start finds everything as it is");
    gateway.books().await;
    let (code, out) = {
        gateway.stop();
        gateway.verify()
    };
    assert_eq!(code, Some(0), "{out}");
}

/// Holds: environment.import
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_newer_catalogue_or_not_the_platforms_is_refused_with_the_reason() {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), MockUpstream::start().await);
    let base_url = upstream.base_url("openai");
    let gateway = start_in(folder.path(), &[("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", &base_url)]);
    let operator = gateway.operator();
    let in_folder = gateway.data().join("catalogue.json");
    let tenant = gateway.client(Some(&key(&gateway).await));
    tenant.post(IMPORT, &document(1, "0", "0")).await.must_be(403, "FORBIDDEN");
    gateway.client(None).post(IMPORT, &document(1, "0", "0")).await.must_be(401, "UNAUTHENTICATED");
    // Refusals of the door are recorded a moment later.
    let changes = async || {
        let events = gateway.facts().await;
        events.iter().filter(|event| !text(&event["type"]).starts_with("access.")).count()
    };
    let before = changes().await;
    let unknown = {
        let mut document = document(1, "1", "1");
        document["models"][0]["provider"] = json!("nobody");
        document
    };
    let damaged = |body: String| operator.send(Method::POST, IMPORT, body);
    for (body, words) in [
        (
            document(1, "-1", "1").to_string(),
            "model \"gpt-4o-mini\" of \"openai\": must not be negative at line 1 column",
        ),
        (document(1, "0.0000000001", "1").to_string(), " at line 1 column"),
        (unknown.to_string(), "of \"nobody\": is of an unknown provider"),
        ("{}".to_owned(), "is not a catalogue: missing field"),
        (document(1, "1", "1").to_string()[..10_000].to_owned(), "EOF while parsing"),
    ] {
        let refused = damaged(body).await.expect("an answer").must_be(400, "INVALID_REQUEST");
        let message = text(&refused.json()["error"]["message"]);
        assert!(message.contains(words), "{words}: {message}");
    }
    let blank = " ".repeat(16 * 1024 * 1024) + &document(1, "1", "1").to_string();
    damaged(blank).await.expect("an answer").must_be(413, "PAYLOAD_TOO_LARGE");
    operator.post(&format!("{IMPORT}?dry_run=yes"), &document(1, "1", "1")).await.must_be(400, "INVALID_REQUEST");
    let ancient = operator.post(&format!("{IMPORT}?force=true"), &document(-1, "1", "1")).await;
    assert!(text(&ancient.must_be(409, "CONFLICT").json()["error"]["message"]).contains("would stay in force"));
    assert_eq!((changes().await, in_folder.exists()), (before, false), "nothing was changed");

    operator.post(IMPORT, &document(5, "5", "5")).await.must(200);
    let older = operator.post(IMPORT, &document(4, "4", "4")).await.must_be(409, "CONFLICT").json();
    assert!(text(&older["error"]["message"]).ends_with("force=true"), "{older}");
    assert_eq!(recorded(&gateway).await["input_usd_per_mtok"], "5.000000000");
    operator.post(&format!("{IMPORT}?force=true"), &document(4, "4", "4")).await.must(200);
    assert_eq!(recorded(&gateway).await["input_usd_per_mtok"], "4.000000000");
    // A file that somebody has damaged does not stand in the way.
    fs::write(&in_folder, "{}").expect("a file");
    operator.post(IMPORT, &document(6, "6", "6")).await.must(200);
    assert_eq!(recorded(&gateway).await["input_usd_per_mtok"], "6.000000000");
}

/// Holds: environment.import
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_providers_from_its_environment_takes_the_document_and_records_only_that() {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start_in(folder.path(), &[("OPENAI_API_KEY", KEY)]);
    let (operator, head) = (gateway.operator().clone().with("idempotency-key", "once"), gateway.head().await);
    let newer = document(2, "7", "9");
    let taken = operator.post(IMPORT, &newer).await.must(200).json();
    let nothing = json!({ "created": 0, "changed": 0, "ended": 0 });
    assert_eq!(taken["recorded"], json!({ "prices": nothing, "models": nothing }));
    assert_eq!((&taken["prices"]["changed"]["count"], &taken["position"]), (&json!(1), &json!(head + 1)));
    let event = gateway.facts().await.pop().expect("an event");
    let digest = Command::new("sha256sum").arg(gateway.data().join("catalogue.json")).output().expect("sha256sum");
    let digest = String::from_utf8(digest.stdout).expect("text");
    let digest = digest.split(' ').next();
    assert_eq!((&event["type"], &event["actor"]), (&json!("catalogue.imported.v1"), &json!("operator")));
    let wanted = json!({ "import": event["request_id"], "from_version": shipped()["version"], "to_version": newer["version"],
                         "document_sha256": digest, "prices": nothing, "models": nothing });
    assert_eq!(event["data"], wanted);
    assert_eq!(fs::read_to_string(gateway.data().join("catalogue.json")).expect("the file"), newer.to_string());
    assert_eq!(operator.post(IMPORT, &newer).await.must(200).json(), taken, "the first answer");
    // What is asked for in the query string is part of the request.
    operator.post(&format!("{IMPORT}?force=true"), &newer).await.must_be(409, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(gateway.last_fact().await, head + 1);
}

/// Holds: environment.import, bin.catalogue-update
#[tokio::test(flavor = "multi_thread")]
async fn the_command_gives_the_document_to_the_gateway_that_serves_the_folder() {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), MockUpstream::start().await);
    let base_url = upstream.base_url("openai");
    let gateway = start_in(folder.path(), &[("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", &base_url)]);
    let file = folder.path().join("newer.json");
    fs::write(&file, document(3, "7", "9").to_string()).expect("a file");
    let update = |confirmed: &[&str]| {
        let mut command = ledgerway();
        command.args(["catalogue", "update"]).arg(&file).arg("--data").arg(gateway.data()).args(confirmed);
        command.env("LEDGERWAY_ADMIN_KEY", crate::gateway::OPERATOR_KEY);
        let ended = command.output().expect("the binary starts");
        let words = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
        (ended.status.code(), words)
    };
    let (code, words) = update(&[]);
    assert!(code == Some(0) && words.contains("nothing was written"), "{words}");
    let (code, words) = update(&["--yes"]);
    assert!(code == Some(0) && words.contains("has taken it: prices 0 new, 1 changed, 0 ended"), "{words}");
    assert_eq!(recorded(&gateway).await["output_usd_per_mtok"], "9.000000000");
    fs::write(&file, document(2, "1", "1").to_string()).expect("a file");
    assert_eq!(update(&["--yes"]).0, Some(2));
    let (code, words) = update(&["--yes", "--force"]);
    assert_eq!((code, &recorded(&gateway).await["output_usd_per_mtok"]), (Some(0), &json!("1.000000000")), "{words}");
}

/// Holds: environment.import
#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_written_and_cannot_be_recorded_is_in_force_and_its_prices_follow_without_a_restart() {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), MockUpstream::start().await);
    let base_url = upstream.base_url("openai");
    let gateway = start_in(folder.path(), &[("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", &base_url)]);
    let ledger = locked_ledger(&gateway);
    let newer = document(3, "7", "9");
    let refused = gateway.operator().post(IMPORT, &newer).await.must_be(503, "LEDGER_UNAVAILABLE").json();
    assert!(text(&refused["error"]["message"]).starts_with("the catalogue is taken"), "{refused}");
    assert_eq!(fs::read_to_string(gateway.data().join("catalogue.json")).expect("the file"), newer.to_string());
    ledger.execute_batch("ROLLBACK").expect("the lock given back");
    let began = Instant::now();
    while recorded(&gateway).await["output_usd_per_mtok"] != "9.000000000" {
        assert!(began.elapsed() < Duration::from_secs(20), "the gateway does not record the rest by itself");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let imports = gateway.operator().get("/v1/audit?action=catalogue.imported").await.must(200).json();
    let items = imports["items"].as_array().expect("items");
    assert_eq!(items.iter().map(|item| &item["request_id"]).collect::<Vec<_>>(), [&refused["error"]["request_id"]]);
}

/// Holds: environment.import
#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_could_not_be_recorded_is_recorded_later_also_where_nothing_appears_by_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = start_in(folder.path(), &[("LEDGERWAY_PROVIDERS_FROM_ENV", "off")]);
    let ledger = locked_ledger(&gateway);
    let taken = gateway.operator().post(IMPORT, &document(3, "7", "9")).await.must_be(503, "LEDGER_UNAVAILABLE");
    ledger.execute_batch("ROLLBACK").expect("the lock given back");
    recorded_imports(&gateway, 1, Duration::from_secs(20)).await;
    assert_eq!(imports_in_order(&gateway).await, [taken.request_id()]);
}

/// Holds: environment.import
#[tokio::test(flavor = "multi_thread")]
async fn imports_that_cannot_be_recorded_are_all_recorded_later_in_their_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = start_in(folder.path(), &[("LEDGERWAY_PROVIDERS_FROM_ENV", "off")]);
    let ledger = locked_ledger(&gateway);
    let mut taken = Vec::new();
    for days in 1..=3 {
        let reply = gateway.operator().post(IMPORT, &document(days, "7", "9")).await;
        let reply = reply.must_be(503, "LEDGER_UNAVAILABLE");
        assert!(text(&reply.json()["error"]["message"]).starts_with("the catalogue is taken"));
        taken.push(reply.request_id());
    }
    ledger.execute_batch("ROLLBACK").expect("the lock given back");
    recorded_imports(&gateway, 3, Duration::from_secs(20)).await;
    assert_eq!(imports_in_order(&gateway).await, taken);
}

/// Holds: environment.import
#[tokio::test(flavor = "multi_thread")]
async fn while_eight_imports_are_to_be_recorded_another_one_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = start_in(folder.path(), &[("LEDGERWAY_PROVIDERS_FROM_ENV", "off")]);
    let (operator, ledger) = (gateway.operator().clone(), locked_ledger(&gateway));
    for days in 1..=8 {
        operator.post(IMPORT, &document(days, "7", "9")).await.must_be(503, "LEDGER_UNAVAILABLE");
    }
    let refused = operator.post(IMPORT, &document(9, "1", "1")).await.must_be(503, "LEDGER_UNAVAILABLE").json();
    assert_eq!(refused["error"]["details"]["recorded"], "no", "{refused}");
    let in_folder = fs::read_to_string(gateway.data().join("catalogue.json")).expect("the file");
    assert_eq!(in_folder, document(8, "7", "9").to_string());
    ledger.execute_batch("ROLLBACK").expect("the lock given back");
    recorded_imports(&gateway, 8, Duration::from_secs(20)).await;
    operator.post(IMPORT, &document(9, "1", "1")).await.must(200);
}

/// Holds: environment.import
#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_could_not_be_recorded_is_recorded_before_local_servers_are_asked_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = LocalServer::start(r#"{"models":[{"name":"one"}]}"#);
    let gateway = start_in(folder.path(), &[("OLLAMA_URL", &server.address())]);
    let ledger = locked_ledger(&gateway);
    let taken = gateway.operator().post(IMPORT, &document(3, "7", "9")).await.must_be(503, "LEDGER_UNAVAILABLE");
    let asked = server.heard().len();
    // Several checks fail meanwhile.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(server.heard().len(), asked);
    ledger.execute_batch("ROLLBACK").expect("the lock given back");
    recorded_imports(&gateway, 1, Duration::from_secs(5)).await;
    assert_eq!(imports_in_order(&gateway).await, [taken.request_id()]);
}

/// Holds: environment.import
#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_could_not_be_recorded_is_recorded_when_the_gateway_is_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut gateway = start_in(folder.path(), &[("LEDGERWAY_PROVIDERS_FROM_ENV", "off")]);
    let ledger = locked_ledger(&gateway);
    let taken = gateway.operator().post(IMPORT, &document(3, "7", "9")).await.must_be(503, "LEDGER_UNAVAILABLE");
    gateway.terminate();
    tokio::time::sleep(Duration::from_millis(300)).await;
    ledger.execute_batch("ROLLBACK").expect("the lock given back");
    drop(ledger);
    assert_eq!(gateway.wait_for_end(Duration::from_secs(20)).code(), Some(0), "{}", gateway.stderr());
    gateway.start_again();
    assert_eq!(imports_in_order(&gateway).await, [taken.request_id()]);
}

/// Holds: environment.import
#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_being_written_when_the_gateway_is_stopped_is_in_force_and_recorded() {
    let fault = Fault::new();
    let mut gateway = fault.start(&[("LEDGERWAY_PROVIDERS_FROM_ENV", "off"), ("LEDGERWAY_DRAIN_TIMEOUT_SECONDS", "1")]);
    fault.aim_at("catalogue.json");
    fault.stall_syncs_ms(3_000);
    let (operator, newer) = (gateway.operator().clone(), document(3, "7", "9"));
    let mut importing = JoinSet::new();
    importing.spawn(async move { operator.try_post(IMPORT, &newer).await.is_err() });
    while fault.syncs_stalled() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    gateway.terminate();
    assert_eq!(gateway.wait_for_end(Duration::from_secs(20)).code(), Some(0), "{}", gateway.stderr());
    assert!(importing.join_next().await.expect("an end").expect("an end"), "it was answered before it was written");
    fault.heal();
    let written = fs::read(gateway.data().join("catalogue.json")).expect("the document");
    assert!(written == document(3, "7", "9").to_string().into_bytes(), "another document");
    gateway.start_again();
    assert_eq!(imports_in_order(&gateway).await.len(), 1);
}

/// After the file was replaced, it is in force whatever else fails.
/// Holds: environment.import
#[tokio::test(flavor = "multi_thread")]
async fn an_import_whose_folder_cannot_be_synced_is_in_force_and_recorded() {
    let fault = Fault::new();
    let gateway = fault.start(&[("LEDGERWAY_PROVIDERS_FROM_ENV", "off")]);
    fault.aim_at("gateway/data$");
    fault.fail_syncs(EIO);
    let taken = gateway.operator().post(IMPORT, &document(3, "7", "9")).await.must(200);
    assert!(fault.syncs_failed() > 0, "the folder was not synced");
    assert_eq!(imports_in_order(&gateway).await, [taken.request_id()]);
}

/// Another process has the write lock of the gateway's ledger.
fn locked_ledger(gateway: &Gateway) -> Connection {
    let ledger = Connection::open(gateway.data().join("ledger.db")).expect("the ledger");
    ledger.busy_timeout(Duration::from_secs(5)).expect("a pragma");
    ledger.execute_batch("BEGIN IMMEDIATE").expect("the write lock");
    ledger
}

/// Waits until so many imports are recorded.
async fn recorded_imports(gateway: &Gateway, count: usize, max: Duration) {
    let began = Instant::now();
    while imports_in_order(gateway).await.len() < count {
        assert!(began.elapsed() < max, "the gateway does not record the imports by itself");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The requests of the recorded imports, in the order of the log.
async fn imports_in_order(gateway: &Gateway) -> Vec<String> {
    let events = gateway.events().await;
    let imports = events.iter().filter(|event| event["type"] == "catalogue.imported.v1");
    imports.map(|event| text(&event["request_id"])).collect()
}

/// Holds: environment.import
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_during_an_import_leaves_the_old_catalogue_or_the_new_one_with_all_its_prices() {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), MockUpstream::start().await);
    let base_url = upstream.base_url("openai");
    let mut gateway = start_in(folder.path(), &[("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", &base_url)]);
    let mut taken = 0;
    for (days, wait_ms) in (1..).zip([1, 150, 300, 450, 600, 750, 900]) {
        // Every price is another one, so that there is much to record.
        let mut newer = document(days, "1", "1");
        for model in newer["models"].as_array_mut().expect("models") {
            if model["price"].is_object() {
                model["price"]["request_usd"] = json!(format!("0.{days:09}"));
            }
        }
        let client = gateway.operator().clone();
        let crash = async {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            gateway.kill();
        };
        let _ = tokio::join!(client.try_post(IMPORT, &newer), crash);
        gateway.start_again();
        let file = fs::read_to_string(gateway.data().join("catalogue.json")).unwrap_or_else(|_| shipped().to_string());
        let mut in_folder: Value = serde_json::from_str(&file).expect("a whole document");
        let mut wanted = |name: &str| {
            let listed = model(&mut in_folder, name)["price"]["request_usd"].as_str().unwrap_or("0").to_owned();
            let (whole, fraction) = listed.split_once('.').unwrap_or((&listed, ""));
            format!("{whole}.{fraction:0<9}")
        };
        taken += usize::from(wanted("gpt-4o-mini") == format!("0.{days:09}"));
        for price in automatic(&gateway, "prices").await {
            let name = price["model"].as_str().expect("a model");
            assert_eq!(price["request_usd"], wanted(name), "{price}");
        }
    }
    assert!(taken > 0, "every import was too late");
    gateway.books().await;
}
