//! A disk that takes two seconds for a sync.

use std::cell::OnceCell;
use std::time::{Duration, Instant};

use serde_json::json;
use testing::upstream::MockUpstream;

use super::fault::Fault;
use super::{ClientRecord, must_be_sound, must_recover};
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, Setup, Tenant};

const STALL_MS: i64 = 2000;
/// Time within which requests are answered that do not wait for the disk.
const SOON: Duration = Duration::from_millis(500);

/// Requests that the disk has not taken by then are found again as holds that end in time.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_does_not_keep_the_process_from_ending() {
    let (fault, upstream) = (Fault::new(), MockUpstream::start().await);
    fault.aim_at("gateway/data/ledger.db");
    let mut gateway = fault.start(&[("LEDGERWAY_HOLD_TTL_SECONDS", "2"), ("LEDGERWAY_DRAIN_TIMEOUT_SECONDS", "1")]);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let record = ClientRecord::default();
    record.ask(&tenant, "ok", 4).await;
    fault.stall_syncs_ms(60_000);
    let body = tenant.ask("ok");
    let asked = tenant.app.try_post(NATIVE, &body);
    let ended = async {
        while fault.syncs_stalled() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        gateway.terminate();
        tokio::time::sleep(Duration::from_millis(300)).await;
        gateway.terminate();
        gateway.wait_for_end(Duration::from_secs(4))
    };
    let (asked, ended) = tokio::join!(asked, ended);
    assert!(asked.is_err() || asked.is_ok_and(|reply| reply.status == 503), "it was answered without the ledger");
    assert_eq!(ended.code(), Some(1));
    let log = gateway.stderr();
    assert!(log.lines().last().is_some_and(|line| line.contains("second signal: stopped at once")), "{log}");
    fault.heal();
    gateway.start_again();
    must_recover(&tenant, "ok", &record).await;
    must_be_sound(&mut gateway, &upstream, &tenant, &record).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_sync_stalls_requests_wait_and_all_else_is_answered() {
    let (fault, upstream) = (Fault::new(), MockUpstream::start().await);
    fault.aim_at("gateway/data/ledger.db");
    let mut gateway = fault.start(&[]);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "paced-100"]).await;
    let record = ClientRecord::default();
    record.ask(&tenant, "ok", 6).await;
    let before = record.answered().len();
    fault.stall_syncs_ms(STALL_MS);
    let began = Instant::now();
    let waiting = record.ask(&tenant, "ok", 8);
    let beside = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        for _ in 0..15 {
            for path in ["/health/live", "/v1/models", "/v1/log/head", "/v1/me"] {
                let asked = Instant::now();
                let key = gateway.operator();
                let reply = key.get(path).await;
                assert!(reply.status == 200 || path == "/v1/me", "{path}: {}", reply.status);
                assert!(asked.elapsed() < SOON, "{path} took {:?}", asked.elapsed());
            }
            let asked = Instant::now();
            tenant.app.post(NATIVE, &serde_json::json!({})).await.must(400);
            gateway.client(Some("sgk_garbage")).get("/v1/models").await.must(401);
            assert!(asked.elapsed() < SOON, "refusals took {:?}", asked.elapsed());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        fault.heal();
    };
    tokio::join!(waiting, beside);
    assert!(fault.syncs_stalled() > 0, "no sync was slow");
    assert!(began.elapsed() >= Duration::from_millis(STALL_MS.unsigned_abs()), "nobody waited for the disk");
    assert_eq!(record.answered().len(), before + 8, "a stall made requests fail: {:?}", record.refused());
    must_be_sound(&mut gateway, &upstream, &tenant, &record).await;
}

/// Holds: http.caller-when-complete
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_the_disk_behind_the_end_of_its_right_is_neither_dispatched_nor_carried_out() {
    let (fault, upstream) = (Fault::new(), MockUpstream::start().await);
    fault.aim_at("gateway/data/ledger.db");
    let gateway = fault.start(&[]);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let permissions = json!({ "permissions": ["admin:access", "models:use"] });
    let (key, client) = tenant.new_key(&gateway, permissions).await;
    client.post(NATIVE, &tenant.ask("ok")).await.must(200);
    let dispatched = upstream.seen().len();
    fault.stall_syncs_ms(STALL_MS);
    // One that the disk keeps; the others wait behind it, in this order.
    let (body, user, path) = (tenant.ask("ok"), json!({ "name": "late" }), format!("/v1/admin/keys/{key}"));
    let kept = gateway.operator().post("/v1/admin/partners", &user);
    let before = OnceCell::new();
    let revoked = async {
        while fault.syncs_stalled() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // If the disk keeps something else, the first one waits as well.
        tokio::time::sleep(Duration::from_millis(100)).await;
        before.set(queued(&gateway).await).expect("set once");
        gateway.operator().delete(&path).await
    };
    let inferred = async {
        waiting(&gateway, &before, 1).await;
        client.post(NATIVE, &body).await
    };
    let changed = async {
        waiting(&gateway, &before, 2).await;
        let answer = client.post("/v1/admin/users", &user);
        let healed = async {
            waiting(&gateway, &before, 3).await;
            fault.heal();
        };
        tokio::join!(answer, healed).0
    };
    let (kept, revoked, inferred, changed) = tokio::join!(kept, revoked, inferred, changed);
    kept.must(201);
    revoked.must(200);
    let request = inferred.must_be(401, "UNAUTHENTICATED").request_id();
    changed.must_be(401, "UNAUTHENTICATED");
    assert_eq!(upstream.seen().len(), dispatched);
    assert!(gateway.types_of(&request).await.is_empty(), "it was not even admitted");
    let late = |event: &serde_json::Value| event["type"] == "user.created.v1" && event["actor"] == *key;
    assert!(!gateway.events().await.iter().any(late));
}

/// Longer than the ledger is waited for.
const UNCONFIRMED_MS: i64 = 12_000;

/// Holds: http.unconfirmed, admin.idempotency
#[tokio::test(flavor = "multi_thread")]
async fn what_the_ledger_has_not_confirmed_in_time_is_not_said_to_be_unrecorded() {
    let (fault, upstream) = (Fault::new(), MockUpstream::start().await);
    fault.aim_at("gateway/data/ledger.db");
    let gateway = fault.start(&[]);
    let setup = Setup { timeout_ms: 30_000, ..Setup::default() };
    let tenant = Tenant::with(&gateway, &upstream, &["gate", "ok"], setup).await;
    let once = gateway.operator().clone().with("idempotency-key", "unconfirmed");
    let (gated, asked, partner) = (tenant.ask("gate"), tenant.ask("ok"), json!({ "name": "late" }));
    let ended = tenant.app.post(NATIVE, &gated);
    let begin = async {
        while upstream.seen_of("gate") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        fault.stall_syncs_ms(UNCONFIRMED_MS);
    };
    let changed = async {
        begin.await;
        once.post("/v1/admin/partners", &partner).await
    };
    let admitted = async {
        while fault.syncs_stalled() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The next sync is as fast as any; this one takes its time.
        fault.heal();
        upstream.open_gate();
        tenant.app.post(NATIVE, &asked).await
    };
    let (ended, changed, admitted) = tokio::join!(ended, changed, admitted);
    let is_unknown = |reply: &crate::client::Reply| reply.json()["error"]["details"]["recorded"] == "unknown";
    let said = |reply: &crate::client::Reply| reply.json()["error"]["message"].as_str().expect("words").to_owned();
    for reply in [&ended, &changed, &admitted] {
        reply.clone().must_be(503, "LEDGER_UNAVAILABLE");
        assert!(is_unknown(reply), "{}", said(reply));
    }
    assert!(said(&changed).contains("may be recorded") && said(&changed).contains("same Idempotency-Key"));
    assert!(said(&admitted).contains("nothing was sent to a provider"));
    let path = format!("/v1/inferences/{}", ended.request_id());
    assert!(said(&ended).contains("may be charged") && said(&ended).contains(&path), "{}", said(&ended));

    let again = once.post("/v1/admin/partners", &partner).await.must(201);
    let log = gateway.events().await;
    let made = log.iter().filter(|event| event["type"] == "partner.created.v1" && event["data"]["name"] == "late");
    let made: Vec<_> = made.map(|event| event["position"].as_u64()).collect();
    assert_eq!(made, [Some(again.position())]);
    let head = gateway.head().await;
    let shown = gateway.operator().get(&format!("{path}?min_position={head}")).await.must(200).json();
    let became = (&shown["status"], &shown["settlement"]["type"]);
    assert_eq!(became, (&json!("completed"), &json!("budget.settled")), "{shown}");
    gateway.books_when_all_ended(Duration::from_secs(5)).await;
    let released = ["inference.admitted.v1", "budget.reserved.v1", "inference.aborted.v1", "budget.released.v1"];
    assert_eq!(gateway.types_of(&admitted.request_id()).await, released);
    assert_eq!(upstream.seen_of("ok"), 0);
}

/// Until so many more jobs wait for the log's writer than before, which is known then.
async fn waiting(gateway: &Gateway, before: &OnceCell<u32>, more: u32) {
    let began = Instant::now();
    loop {
        let queued = queued(gateway).await;
        if before.get().is_some_and(|before| queued == before + more) {
            return;
        }
        assert!(began.elapsed().as_millis() < u128::from(STALL_MS.unsigned_abs()), "the disk went on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// How many jobs wait for the log's writer.
async fn queued(gateway: &Gateway) -> u32 {
    let metrics = gateway.client(None).get("/metrics").await.must(200);
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let jobs = metrics.lines().find_map(|line| line.strip_prefix("ledgerway_log_queue_jobs "));
    jobs.and_then(|jobs| jobs.parse().ok()).expect("a gauge")
}
