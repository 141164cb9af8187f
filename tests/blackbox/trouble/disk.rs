//! Writes and syncs that fail.

use std::time::Duration;

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use super::fault::{EIO, ENOSPC, EROFS, Fault, copied};
use super::{ClientRecord, must_be_sound, must_recover};
use crate::gateway::{Gateway, ledgerway};
use crate::tenant::Tenant;

/// Returns the result of `ledgerway verify --log-only` on a folder.
fn verify(folder: &std::path::Path) -> (Option<i32>, String) {
    let ended = ledgerway().args(["verify", "--log-only", "--data"]).arg(folder).output().expect("it starts");
    (ended.status.code(), String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned())
}

/// Ten requests while the fault lasts: none is sent, administration is refused, and what needs no ledger is answered. What
/// was said of whether the change that was refused is recorded.
async fn must_fail_closed(gateway: &Gateway, upstream: &MockUpstream, tenant: &Tenant, record: &ClientRecord) -> Value {
    let (sent, answered) = (upstream.seen().len(), record.answered().len());
    record.ask(tenant, "ok", 10).await;
    assert_eq!((upstream.seen().len(), record.answered().len()), (sent, answered), "sent without the ledger");
    let partner = gateway.operator().post("/v1/admin/partners", &json!({ "name": "late" })).await;
    let is_recorded = partner.json()["error"]["details"]["recorded"].clone();
    partner.must_be(503, "LEDGER_UNAVAILABLE");
    gateway.client(None).get("/health/live").await.must(200);
    let health = gateway.client(None).get("/health/ready").await.must(503).json();
    assert_eq!(health["status"], "unavailable");
    for (part, state) in [("ledger", "unavailable"), ("tables", "ok"), ("views", "ok")] {
        assert_eq!(health["parts"][part], state, "{part}: {health}");
    }
    tenant.app.get("/v1/models").await.must(200);
    is_recorded
}

/// Holds: event.fail-closed, query.health
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_cannot_be_written_or_synced_closes_the_gateway_until_it_can() {
    let (fault, upstream) = (Fault::new(), MockUpstream::start().await);
    let mut gateway = fault.start(&[]);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "slow-400"]).await;
    let record = ClientRecord::default();
    record.ask(&tenant, "ok", 6).await;
    let begin = |writes, syncs| {
        fault.fail_writes(writes);
        fault.fail_syncs(syncs);
    };
    for (writes, syncs) in [(ENOSPC, 0), (EIO, 0), (0, EIO), (EROFS, EROFS)] {
        // Some are with the upstream when it begins: they are answered only if their end is durable.
        let in_flight = record.ask(&tenant, "slow-400", 8);
        let (failed, stalled) = (fault.writes_failed() + fault.syncs_failed(), async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            begin(writes, syncs);
            must_fail_closed(&gateway, &upstream, &tenant, &record).await
        });
        let ((), is_recorded) = tokio::join!(in_flight, stalled);
        // After a crash it may be found.
        assert!(writes != 0 || is_recorded == "unknown", "all was written before the sync failed: {is_recorded}");
        assert!(fault.writes_failed() + fault.syncs_failed() > failed, "the fault hit nothing");
        fault.heal();
        must_recover(&tenant, "ok", &record).await;
        let health = gateway.client(None).get("/health").await.must(200).json();
        assert_eq!((&health["status"], &health["parts"]["ledger"]), (&json!("ok"), &json!("ok")));
        let books = gateway.books_when_all_ended(Duration::from_secs(5)).await;
        record.must_stand_in(&books, &upstream);
        record.ask(&tenant, "ok", 10).await;
    }
    assert!(record.refused().len() >= 40, "{}", record.refused().len());
    must_be_sound(&mut gateway, &upstream, &tenant, &record).await;
}

/// After a sync that failed, Linux takes what was to be written for written. A later sync that succeeds must not be
/// taken to have covered it.
/// Holds: event.recorded-first
#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_on_the_disk_also_after_syncs_that_failed() {
    let (fault, upstream) = (Fault::new(), MockUpstream::start().await);
    let gateway = fault.start(&[]);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "slow-20"]).await;
    let record = ClientRecord::default();
    for round in 0..8 {
        tokio::join!(record.ask(&tenant, "slow-20", 12), async {
            tokio::time::sleep(Duration::from_millis(8 * round)).await;
            fault.fail_syncs(EIO);
            tokio::time::sleep(Duration::from_millis(25)).await;
            fault.heal();
        });
        must_recover(&tenant, "ok", &record).await;
        must_stand_after_a_power_failure(&fault, &gateway, &record, &upstream).await;
    }
    assert!(fault.syncs_failed() >= 6, "the fault hit little: {}", fault.syncs_failed());
    assert!(!record.refused().is_empty() && record.answered().len() > 30, "{} answered", record.answered().len());
}

/// Where the power fails now, only what was synced is left.
async fn must_stand_after_a_power_failure(
    fault: &Fault,
    gateway: &Gateway,
    record: &ClientRecord,
    upstream: &MockUpstream,
) {
    let left = copied(&fault.shadow());
    let (code, said) = verify(left.path());
    assert_eq!(code, Some(0), "{said}");
    std::fs::copy(gateway.data().join("node.key"), left.path().join("node.key")).expect("a copy");
    let after = Gateway::start_in(&served(&left), &[]);
    record.must_stand_in(&after.books().await, upstream);
}

/// A folder whose `data` are these files.
fn served(left: &tempfile::TempDir) -> std::path::PathBuf {
    let data = left.path().join("data");
    std::fs::create_dir(&data).expect("a folder");
    for file in std::fs::read_dir(left.path()).expect("the folder").flatten() {
        if file.path().is_file() {
            std::fs::rename(file.path(), data.join(file.file_name())).expect("moved");
        }
    }
    left.path().to_owned()
}

/// A commit whose sync failed may be found by the next process all the same: in the machine's memory, and not on the
/// disk. It was refused, and not sent: its hold must end. And what is recorded behind it must not hang on it.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_syncs_fail_it_goes_on_with_sound_books() {
    let (fault, upstream) = (Fault::new(), MockUpstream::start().await);
    let mut gateway = fault.start(&[("LEDGERWAY_HOLD_TTL_SECONDS", "2")]);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let record = ClientRecord::default();
    record.ask(&tenant, "ok", 6).await;
    fault.fail_syncs(EIO);
    record.ask(&tenant, "ok", 6).await;
    gateway.kill();
    fault.heal();
    gateway.start_again();
    must_recover(&tenant, "ok", &record).await;
    record.ask(&tenant, "ok", 6).await;
    must_stand_after_a_power_failure(&fault, &gateway, &record, &upstream).await;
    must_be_sound(&mut gateway, &upstream, &tenant, &record).await;
}
