//! A wall clock that was put back by an hour, or on by a day, while the gateway runs, that is corrected around the end of a month, and
//! that is far ahead when the gateway starts.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::time::{Clock, Period, SystemClock};
use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use super::fault::{Fault, copied};
use super::{ClientRecord, must_be_sound, must_recover};
use crate::books::nano;
use crate::gateway::Gateway;
use crate::tenant::{Tenant, made, text};

const HOUR_S: i64 = 3600;
const DAY_S: i64 = 24 * HOUR_S;

async fn last_recorded(gateway: &Gateway) -> DateTime<Utc> {
    let head = gateway.operator().get("/v1/log/head").await.must(200).json();
    head["recorded_at"].as_str().expect("a time").parse().expect("RFC 3339")
}

/// Holds: event.order
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_steps_stops_the_log_until_it_agrees_again() {
    let (fault, upstream) = (Fault::new(), MockUpstream::start().await);
    let mut gateway = fault.start(&[]);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let day = json!({ "scope": { "tenant_id": tenant.id }, "limit_usd": "5", "period": "day" });
    let day = made(gateway.operator(), "/budgets", day).await;
    let record = ClientRecord::default();
    record.ask(&tenant, "ok", 4).await;
    let began = last_recorded(&gateway).await;
    let windows_before = windows(&gateway, &day).await;
    for step in [-HOUR_S, DAY_S] {
        fault.shift_clock_s(step);
        let (sent, answered) = (upstream.seen().len(), record.answered().len());
        record.ask(&tenant, "ok", 6).await;
        assert_eq!((upstream.seen().len(), record.answered().len()), (sent, answered), "sent without the ledger");
        let partner = gateway.operator().post("/v1/admin/partners", &json!({ "name": "late" })).await;
        partner.must_be(503, "LEDGER_UNAVAILABLE");
        gateway.client(None).get("/health/live").await.must(200);
        gateway.client(None).get("/health/ready").await.must(503);
        fault.heal();
        must_recover(&tenant, "ok", &record).await;
    }
    let ended = last_recorded(&gateway).await;
    assert!(ended >= began && (ended - began).num_seconds() < HOUR_S, "from {began} to {ended}");
    // The books check that no event is recorded before the one in front; here: none in a day that never was.
    let windows_after = windows(&gateway, &day).await;
    assert!(windows_after.len() <= windows_before.len() + 1, "{windows_after:?}");
    must_be_sound(&mut gateway, &upstream, &tenant, &record).await;
}

/// The starts of the windows in which something was held on a budget.
async fn windows(gateway: &Gateway, budget: &str) -> Vec<Value> {
    let mut starts: Vec<Value> = Vec::new();
    for event in gateway.events().await {
        let of = event["data"]["budgets"].as_array().into_iter().flatten();
        for window in of.filter(|window| window["budget_id"] == budget) {
            if !starts.contains(&window["window_start"]) {
                starts.push(window["window_start"].clone());
            }
        }
    }
    starts
}

/// After a restart the log is the only witness of the time. A clock that is behind it was put back, or had been put on
/// before: either way it goes on when the clock has got there.
#[tokio::test(flavor = "multi_thread")]
async fn started_with_a_clock_behind_the_log_it_waits_for_the_clock() {
    let (fault, upstream) = (Fault::new(), MockUpstream::start().await);
    fault.shift_clock_s(HOUR_S);
    let mut gateway = fault.start(&[]);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let record = ClientRecord::default();
    record.ask(&tenant, "ok", 4).await;
    let before = last_recorded(&gateway).await;
    gateway.stop();
    fault.heal();
    gateway.start_again();
    record.ask(&tenant, "ok", 4).await;
    assert_eq!(record.refused().len(), 4, "recorded an hour before the log's end");
    // Nearly there, and past it: what differs is less than a clock may be corrected by.
    fault.shift_clock_s(HOUR_S + 2);
    must_recover(&tenant, "ok", &record).await;
    assert!(last_recorded(&gateway).await >= before);
    must_be_sound(&mut gateway, &upstream, &tenant, &record).await;
}

/// Corrections of the clock, in seconds, as a time server makes them at once. More than a minute is a step.
const CORRECTIONS_S: [i64; 6] = [30, -30, 59, -59, 20, 45];
/// The limit of the month: a few requests.
const MONTH_LIMIT_USD: &str = "0.020000000";

/// Where the clock has to be put so that it shows so many seconds before the end of this month.
fn before_the_end_of_the_month(seconds: i64) -> i64 {
    let now = SystemClock::new().now();
    let end = Period::Month.window(now).end.expect("the month ends");
    (end - now).num_seconds() - seconds
}

/// A gateway whose clock is corrected back and forth across the end of a month, with restarts and kills between: no month has more than
/// its limit, no request is in two months, and recorded time never goes back.
/// Holds: event.order, admin.month-clock
#[tokio::test(flavor = "multi_thread")]
async fn corrections_of_the_clock_around_the_end_of_a_month_give_no_budget_twice() {
    let (fault, upstream) = (Fault::new(), MockUpstream::start().await);
    let mut shift = before_the_end_of_the_month(40);
    fault.shift_clock_s(shift);
    let mut gateway = fault.start(&[]);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let month = json!({ "scope": { "tenant_id": tenant.id }, "limit_usd": MONTH_LIMIT_USD, "period": "month" });
    let month = made(gateway.operator(), "/budgets", month).await;
    let mut answered = 0;
    for (round, correction) in CORRECTIONS_S.into_iter().enumerate() {
        // Until the month that the gateway is in is spent.
        for _ in 0..40 {
            let reply = tenant.chat("ok").await;
            match reply.status {
                200 => answered += 1,
                429 => {
                    reply.must_be(429, "BUDGET_EXCEEDED");
                    break;
                }
                _ => drop(reply.must(200)),
            }
        }
        match round % 3 {
            1 => {
                gateway.stop();
                gateway.start_again();
            }
            2 => {
                gateway.kill();
                gateway.start_again();
            }
            _ => {}
        }
        shift += correction;
        fault.shift_clock_s(shift);
    }
    let (events, mut charged) = (gateway.events().await, BTreeMap::<String, i64>::new());
    for event in events.iter().filter(|event| event["type"] == "budget.settled.v1") {
        let of = event["data"]["budgets"].as_array().into_iter().flatten();
        for window in of.filter(|window| window["budget_id"] == month) {
            *charged.entry(text(&window["window_start"])).or_default() += nano(&event["data"]["charged_usd"]);
        }
    }
    assert!(answered > 0 && charged.len() == 2, "{answered} answers in {charged:?}");
    for (window, charged) in &charged {
        assert!(*charged <= nano(&json!(MONTH_LIMIT_USD)), "{window} has {charged}");
    }
    let times: Vec<_> = events.iter().map(|event| text(&event["recorded_at"])).collect();
    assert!(times.is_sorted(), "recorded time went back");
    // 61 s are a step, in either direction, from where the clock was last seen.
    let partner = async |name: &str| gateway.operator().post("/v1/admin/partners", &json!({ "name": name })).await;
    partner("seen").await.must(201);
    for step in [61, -61] {
        fault.shift_clock_s(shift + step);
        partner("late").await.must_be(503, "LEDGER_UNAVAILABLE");
        fault.shift_clock_s(shift);
    }
    gateway.books_when_all_ended(Duration::from_secs(10)).await;
    gateway.stop();
    let (code, said) = gateway.verify();
    assert_eq!(code, Some(0), "{said}");
}

/// A start is the one moment at which the log cannot tell that the clock is ahead. It says so, it says why nothing can be recorded once the
/// clock is right again, and a backup from before is the way back.
/// Holds: event.clock-ahead
#[tokio::test(flavor = "multi_thread")]
async fn started_with_a_clock_far_ahead_it_says_so_and_a_backup_is_the_way_back() {
    let (fault, upstream) = (Fault::new(), MockUpstream::start().await);
    let mut gateway = fault.start(&[]);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let record = ClientRecord::default();
    record.ask(&tenant, "ok", 2).await;
    gateway.stop();
    assert!(!gateway.stderr().contains("recorded long ago"), "{}", gateway.stderr());
    let backup = copied(&gateway.data());
    fault.shift_clock_s(62 * DAY_S);
    gateway.start_again();
    let said = gateway.stderr();
    assert!(said.contains("recorded long ago") && said.contains("if the clock is ahead, stop now"), "{said}");
    tenant.chat("ok").await.must(200);
    gateway.stop();
    assert!(gateway.stderr().contains("the clock of this machine differs from a provider's"), "{}", gateway.stderr());
    fault.heal();
    gateway.start_again();
    tenant.chat("ok").await.must_be(503, "LEDGER_UNAVAILABLE");
    let said = gateway.stderr();
    assert!(
        said.contains("the log was written with one that was ahead") && said.contains("restore a backup"),
        "{said}"
    );
    gateway.stop();
    for file in ["ledger.db", "ledger.db-wal", "ledger.db-shm", "views.db", "views.db-wal", "views.db-shm"] {
        // Some are not there.
        let _ = std::fs::remove_file(gateway.data().join(file));
    }
    for file in std::fs::read_dir(backup.path()).expect("the backup").flatten() {
        std::fs::copy(file.path(), gateway.data().join(file.file_name())).expect("a file of the backup");
    }
    gateway.start_again();
    tenant.chat("ok").await.must(200);
    gateway.stop();
    let (code, said) = gateway.verify();
    assert_eq!(code, Some(0), "{said}");
}
