//! `kill -9`, a locked database, and what is left.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::json;
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;

use crate::books::{Balance, Books, Window, nano, usd};
use crate::client::{Client, Lost};
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant};

const HOLD_TTL: Duration = Duration::from_secs(3);

/// The answers to clients, all of which the log must have.
#[derive(Default)]
struct ClientRecord {
    answered: Mutex<Vec<String>>,
    refused: Mutex<Vec<(String, Option<u64>)>>,
    partners: Mutex<Vec<String>>,
}

/// Holds: event.recorded-first, event.order, event.one-end, event.never-over
#[tokio::test(flavor = "multi_thread")]
async fn killed_twenty_times_under_load_it_loses_nothing_that_was_answered() {
    let mut gateway = Gateway::start_with(&[("LEDGERWAY_HOLD_TTL_SECONDS", "3")]);
    let upstream = MockUpstream::start().await;
    let setup = Setup { limit_usd: "1", ..Setup::default() };
    let tenant = Tenant::with(&gateway, &upstream, &["slow-15", "paced-3"], setup).await;
    let record = Arc::<ClientRecord>::default();
    for round in 0..20_u64 {
        let stopped = Arc::<AtomicBool>::default();
        let mut loads = JoinSet::new();
        for worker in 0..6 {
            loads.spawn(load(
                worker,
                tenant.app.clone(),
                tenant.name.clone(),
                Arc::clone(&record),
                Arc::clone(&stopped),
            ));
        }
        loads.spawn(administer(gateway.operator().clone(), Arc::clone(&record), Arc::clone(&stopped)));
        tokio::time::sleep(Duration::from_millis(100 + round * 37 % 300)).await;
        gateway.kill();
        stopped.store(true, Ordering::SeqCst);
        loads.join_all().await;
        gateway.start_again();
        gateway.books().await;
    }
    let books = gateway.books_when_all_ended(HOLD_TTL + Duration::from_secs(12)).await;
    check_record(&gateway, &record, &books).await;
    let (view, folded) = (gateway.budget(&tenant.budget).await, books.balance(&tenant.budget));
    assert_eq!((&view["settled_usd"], &view["held_usd"]), (&json!(usd(folded.settled)), &json!(usd(folded.held))));
    gateway.stop();
    let (code, said) = gateway.verify();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(balances_of(&gateway), moved(&books), "the table of balances is the fold of the log");
}

/// Sends requests until the gateway is gone, and records what it was told.
async fn load(worker: usize, app: Client, name: String, record: Arc<ClientRecord>, stopped: Arc<AtomicBool>) {
    let model = if worker.is_multiple_of(2) { "slow-15" } else { "paced-3" };
    let body = json!({ "model": format!("{name}/{model}"), "stream": worker >= 3,
                       "messages": [{ "role": "user", "content": "hello" }] });
    while !stopped.load(Ordering::SeqCst) {
        let outcome =
            if worker >= 3 { ask_streamed(&app, &body, &record).await } else { ask(&app, &body, &record).await };
        if outcome.is_err() {
            return;
        }
    }
}

async fn ask(app: &Client, body: &serde_json::Value, record: &ClientRecord) -> Result<(), Lost> {
    let reply = app.try_post(NATIVE, body).await?;
    match reply.status {
        200 => record.answered.lock().expect("answers").push(reply.request_id()),
        429 => {
            let position = reply.header("x-ledgerway-position").parse().ok();
            record.refused.lock().expect("refusals").push((reply.request_id(), position));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        status => panic!("{status}: {}", String::from_utf8_lossy(&reply.body)),
    }
    Ok(())
}

async fn ask_streamed(app: &Client, body: &serde_json::Value, record: &ClientRecord) -> Result<(), Lost> {
    let stream = app.stream(OPENAI, body).await?;
    let (status, request) = (stream.status, stream.request_id());
    let (events, _) = stream.rest().await;
    if events.last().is_some_and(|event| event.is_done()) {
        record.answered.lock().expect("answers").push(request);
    } else if status == 200 {
        return Err(Lost);
    } else {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn administer(operator: Client, record: Arc<ClientRecord>, stopped: Arc<AtomicBool>) {
    while !stopped.load(Ordering::SeqCst) {
        match operator.try_post("/v1/admin/partners", &json!({ "name": "made under load" })).await {
            Ok(reply) => {
                let id = reply.must(201).json()["id"].as_str().expect("an id").to_owned();
                record.partners.lock().expect("partners").push(id);
            }
            Err(Lost) => return,
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn check_record(gateway: &Gateway, record: &ClientRecord, books: &Books) {
    let answered = record.answered.lock().expect("answers").clone();
    assert!(answered.len() > 40, "too little was answered to say anything: {}", answered.len());
    for request in &answered {
        assert_eq!(books.end_of(request), Some("budget.settled"), "{request} was answered");
    }
    let log = gateway.events().await;
    let at = |position: u64| &log[usize::try_from(position - 1).expect("a position")];
    for (request, position) in record.refused.lock().expect("refusals").iter() {
        assert!(!books.admitted().contains(request), "{request} was refused and admitted");
        if let Some(position) = position {
            assert_eq!(at(*position)["request_id"], *request, "{request} was refused at {position}");
        }
    }
    for partner in record.partners.lock().expect("partners").iter() {
        assert!(log.iter().any(|event| event["partner_id"] == *partner), "{partner} was made");
    }
}

/// Rows of the ledger's own table, in the books' terms.
fn balances_of(gateway: &Gateway) -> BTreeMap<String, Balance> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let ledger = Connection::open_with_flags(gateway.data().join("ledger.db"), flags).expect("the ledger");
    let mut rows = ledger.prepare("SELECT budget_id, window_start, settled, held FROM balances").expect("balances");
    let read = |row: &rusqlite::Row<'_>| {
        assert_eq!(row.get::<_, i64>(1)?, -1, "budgets of the period total alone");
        Ok((row.get(0)?, Balance { settled: row.get(2)?, held: row.get(3)? }))
    };
    let rows = rows.query_map([], read).expect("rows").collect::<Result<BTreeMap<String, Balance>, _>>();
    let mut rows = rows.expect("whole rows");
    rows.retain(|_, balance| *balance != Balance::default());
    rows
}

fn moved(books: &Books) -> BTreeMap<String, Balance> {
    let balances = books.balances.iter().filter(|(_, balance)| **balance != Balance::default());
    balances.map(|((budget, _), balance): (&Window, &Balance)| (budget.clone(), *balance)).collect()
}

/// Holds: bin.sweeper, event.node-lost
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_a_dead_process_left_ends_in_time_and_is_charged() {
    let mut gateway = Gateway::start_with(&[("LEDGERWAY_HOLD_TTL_SECONDS", "3")]);
    let upstream = MockUpstream::start().await;
    let tenant = Tenant::with(&gateway, &upstream, &["hang"], Setup { timeout_ms: 2000, ..Setup::default() }).await;
    let mut waiting = JoinSet::new();
    let (app, body) = (tenant.app.clone(), tenant.ask("hang"));
    waiting.spawn(async move { app.try_post(NATIVE, &body).await.is_err() });
    while upstream.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    gateway.kill();
    assert_eq!(waiting.join_all().await, [true]);
    gateway.start_again();
    let reserved = tenant.events_of(&gateway, &["budget.reserved"]).await;
    let books = gateway.books_when_all_ended(HOLD_TTL + Duration::from_secs(12)).await;
    let request = reserved[0]["request_id"].as_str().expect("a request");
    assert_eq!(books.end_of(request), Some("budget.expired"));
    let expired = &tenant.events_of(&gateway, &["budget.expired"]).await[0];
    assert_eq!(nano(&expired["data"]["charged_usd"]), nano(&reserved[0]["data"]["held_usd"]));
    assert!(expired["recorded_at"].as_str() >= reserved[0]["data"]["expires_at"].as_str(), "before its time");
    let types = gateway.types_of(request).await;
    assert_eq!(types[2..], ["inference.aborted.v1", "budget.expired.v1"]);
    let aborted = &tenant.events_of(&gateway, &["inference.aborted"]).await[0];
    assert_eq!(aborted["data"]["reason"], "node_lost");
    assert_eq!(aborted["position"].as_u64().map(|position| position + 1), expired["position"].as_u64());
    assert_eq!(aborted["recorded_at"], expired["recorded_at"], "in one batch");
}

/// Holds: event.fail-closed
#[tokio::test(flavor = "multi_thread")]
async fn while_the_ledger_is_locked_nothing_is_sent_and_then_all_is_well() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    tenant.chat("ok").await.must(200);
    let ledger = Connection::open(gateway.data().join("ledger.db")).expect("the ledger");
    ledger.busy_timeout(Duration::from_secs(5)).expect("a pragma");
    ledger.execute_batch("BEGIN IMMEDIATE").expect("the write lock");
    let sent_before = upstream.seen().len();
    tenant.chat("ok").await.must_be(503, "LEDGER_UNAVAILABLE");
    tenant.openai("ok").await.must(503);
    let partner = gateway.operator().post("/v1/admin/partners", &json!({ "name": "late" })).await;
    partner.must_be(503, "LEDGER_UNAVAILABLE");
    assert_eq!(upstream.seen().len(), sent_before, "sent without the ledger");
    ledger.execute_batch("ROLLBACK").expect("the lock given back");
    tenant.chat("ok").await.must(200);
    let books = gateway.books().await;
    assert!(books.open_holds().is_empty(), "{:?}", books.open_holds());
}
