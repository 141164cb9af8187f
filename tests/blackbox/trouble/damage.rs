//! Pages that the disk gives back otherwise than they were written: in the ledger's file, and in its write-ahead log.

use std::path::Path;

use serde_json::Value;
use testing::upstream::MockUpstream;

use super::fault::{EROFS, Fault, copied};
use super::{ClientRecord, must_be_sound, must_recover};
use crate::gateway::{Gateway, ledgerway, serve_to_its_end};
use crate::tenant::Tenant;

const PAGE: usize = 4096;
const LEDGER: &str = "ledger.db";
const WAL: &str = "ledger.db-wal";

/// Exit code and what `ledgerway verify` says.
fn verify(folder: &Path) -> (Option<i32>, Value, String) {
    let ended = ledgerway().args(["verify", "--json", "--log-only", "--data"]).arg(folder).output().expect("it starts");
    let said = String::from_utf8_lossy(&[&*ended.stdout, &*ended.stderr].concat()).into_owned();
    (ended.status.code(), serde_json::from_slice(&ended.stdout).unwrap_or_default(), said)
}

fn overwrite(file: &Path, at: usize, bytes: &[u8]) {
    let mut whole = std::fs::read(file).expect("the file");
    whole[at..at + bytes.len()].copy_from_slice(bytes);
    std::fs::write(file, whole).expect("the damage is done");
}

/// A gateway that has answered, and what it answered.
async fn used(upstream: &MockUpstream) -> (Gateway, Tenant, ClientRecord) {
    let gateway = Gateway::start();
    let tenant = Tenant::new(&gateway, upstream, &["ok"]).await;
    let record = ClientRecord::default();
    for _ in 0..5 {
        record.ask(&tenant, "ok", 4).await;
    }
    (gateway, tenant, record)
}

/// Holds: bin.verify
#[tokio::test(flavor = "multi_thread")]
async fn every_page_of_the_ledger_that_was_overwritten_is_noticed() {
    let upstream = MockUpstream::start().await;
    let (mut gateway, _, _) = used(&upstream).await;
    gateway.stop();
    let sound = copied(&gateway.data());
    let pages = std::fs::read(sound.path().join(LEDGER)).expect("the ledger").len() / PAGE;
    assert!(pages > 30, "{pages} pages");
    for page in 0..pages {
        let damaged = copied(sound.path());
        let garbage: Vec<u8> = (0..PAGE).map(|at| u8::try_from((at * 37 + page) % 251).expect("a byte")).collect();
        overwrite(&damaged.path().join(LEDGER), page * PAGE, &garbage);
        let (code, said, text) = verify(damaged.path());
        assert!(code == Some(1) || code == Some(2), "page {page} of {pages}: {text}");
        assert!(!text.contains("panicked"), "page {page}: {text}");
        assert_eq!(said["broken"]["position"].is_u64(), code == Some(1), "page {page}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_cannot_be_loaded_is_not_served() {
    let upstream = MockUpstream::start().await;
    let (mut gateway, _, _) = used(&upstream).await;
    gateway.stop();
    let ledger = rusqlite::Connection::open(gateway.data().join(LEDGER)).expect("the ledger");
    let root_of = |table: &str| {
        let sql = "SELECT rootpage - 1 FROM sqlite_schema WHERE name = ?1";
        ledger.query_row(sql, [table], |row| row.get::<_, usize>(0)).expect("a table")
    };
    let pages = [0, root_of("events"), root_of("balances"), root_of("events_of_administration")];
    drop(ledger);
    for page in pages {
        let damaged = copied(&gateway.data());
        overwrite(&damaged.path().join(LEDGER), page * PAGE, &[0x5a; PAGE]);
        let (code, said) = serve_to_its_end(damaged.path(), &[]);
        assert_eq!(code, Some(1), "page {page}: {said}");
        let sentence = said.lines().last().unwrap_or_default();
        assert!(sentence.starts_with("ledgerway: "), "page {page}: {said}");
        assert!(sentence.contains("ledger") && !said.contains("panicked"), "page {page}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_damaged_while_it_serves_fails_what_needs_it_and_no_more() {
    let upstream = MockUpstream::start().await;
    let (mut gateway, tenant, record) = used(&upstream).await;
    gateway.stop();
    gateway.start_again();
    // The oldest events: nothing in memory has them, and nothing that is appended needs them.
    let ledger = rusqlite::Connection::open(gateway.data().join(LEDGER)).expect("the ledger");
    let leaf =
        "SELECT pageno - 1 FROM dbstat WHERE name = 'events' AND pagetype = 'leaf' ORDER BY pageno LIMIT 1 OFFSET 8";
    let leaf: usize = ledger.query_row(leaf, [], |row| row.get(0)).expect("a leaf");
    drop(ledger);
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().write(true).open(gateway.data().join(LEDGER)).expect("the ledger");
    file.write_all_at(&[0x5a; PAGE], (leaf * PAGE) as u64).expect("the damage is done");
    let reply = gateway.operator().get("/v1/events?after=0&limit=1000").await;
    assert_ne!(reply.status, 200, "damaged events were shown: {}", String::from_utf8_lossy(&reply.body));
    assert!(!String::from_utf8_lossy(&reply.body).contains("malformed"), "SQLite's words are the operator's");
    record.ask(&tenant, "ok", 4).await;
    gateway.client(None).get("/health/live").await.must(200);
    assert!(!gateway.stderr().contains("panicked"), "{}", gateway.stderr());
    gateway.stop();
    let (code, said, text) = verify(&gateway.data());
    assert_eq!(code, Some(1), "{text}");
    assert!(said["broken"]["position"].as_u64().is_some_and(|position| position > 1), "{text}");
}

/// Without a look at what stands behind, SQLite would take the log up to the torn page and all would seem well.
#[tokio::test(flavor = "multi_thread")]
async fn a_torn_page_in_the_middle_of_the_write_ahead_log_is_noticed_and_one_at_its_end_is_a_crash() {
    let upstream = MockUpstream::start().await;
    let (mut gateway, tenant, record) = used(&upstream).await;
    gateway.kill();
    let left = copied(&gateway.data());
    let frames = (std::fs::read(left.path().join(WAL)).expect("the log").len() - 32) / (24 + PAGE);
    assert!(frames > 50, "{frames} frames");
    let tear = |folder: &Path, frame: usize| {
        overwrite(&folder.join(WAL), 32 + (frame - 1) * (24 + PAGE) + 24 + 512, &[0x5a; 512]);
    };
    for frame in [1, frames / 3, frames / 2] {
        let torn = copied(left.path());
        tear(torn.path(), frame);
        let (code, said, text) = verify(torn.path());
        assert_eq!(code, Some(1), "frame {frame}: {text}");
        assert!(said["broken"]["position"].as_u64().is_some_and(|position| position > 0), "{text}");
        let (code, said) = serve_to_its_end(torn.path(), &[]);
        assert_eq!(code, Some(1), "frame {frame}: {said}");
        assert!(said.contains(&format!("ledger.db-wal: frame {frame} of ")), "{said}");
        assert!(!said.contains("panicked") && said.trim().lines().count() == 1, "{said}");
        // As the operator's page says: to go on without what is lost.
        let ledger = rusqlite::Connection::open(torn.path().join(LEDGER)).expect("the ledger");
        ledger.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("what can be read is kept");
        drop(ledger);
        assert_eq!(verify(torn.path()).0, Some(0), "frame {frame}");
    }
    // What a crash leaves behind the last sync is no damage.
    let ledger = gateway.data().join(WAL);
    let mut whole = std::fs::read(&ledger).expect("the log");
    whole.extend_from_slice(&[0x5a; 700]);
    std::fs::write(&ledger, whole).expect("the end is torn");
    gateway.start_again();
    must_recover(&tenant, "ok", &record).await;
    let books = gateway.books().await;
    record.must_stand_in(&books, &upstream);
    gateway.stop();
    assert_eq!(gateway.verify().0, Some(0));
}

/// They are made anew; where that fails for a while, a while later.
/// Holds: event.views-disposable, http.min-position
#[tokio::test(flavor = "multi_thread")]
async fn views_that_are_damaged_come_back_once_they_can_be_written() {
    let (fault, upstream) = (Fault::new(), MockUpstream::start().await);
    fault.aim_at("gateway/data/views.db");
    let mut gateway = fault.start(&[]);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let record = ClientRecord::default();
    record.ask(&tenant, "ok", 4).await;
    gateway.stop();
    let views = gateway.data().join("views.db");
    let sql = "SELECT rootpage - 1 FROM sqlite_schema WHERE name = 'rows_inferences'";
    let opened = rusqlite::Connection::open(&views).expect("the views");
    let root: usize = opened.query_row(sql, [], |row| row.get(0)).expect("a table");
    drop(opened);
    overwrite(&views, root * PAGE, &[0x5a; PAGE]);
    gateway.start_again();
    fault.fail_writes(EROFS);
    record.ask(&tenant, "ok", 4).await;
    let path = format!("/v1/budgets/{}?min_position={}", tenant.budget, gateway.head().await);
    gateway.operator().get(&path).await.must_be(503, "VIEW_BEHIND");
    assert!(fault.writes_failed() > 0, "the fault hit nothing");
    fault.heal();
    let began = std::time::Instant::now();
    while gateway.operator().get(&path).await.status != 200 {
        assert!(began.elapsed() < std::time::Duration::from_secs(8), "the views stay behind");
    }
    must_be_sound(&mut gateway, &upstream, &tenant, &record).await;
}
