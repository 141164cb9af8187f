//! A wall clock that was put back by an hour, or on by a day, while the gateway runs.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use super::fault::Fault;
use super::{ClientRecord, must_be_sound, must_recover};
use crate::gateway::Gateway;
use crate::tenant::{Tenant, made};

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
