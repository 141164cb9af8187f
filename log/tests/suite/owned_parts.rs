//! A tenant or a partner reads its own part of the log as if the rest were not there, however much of it the stored blocks
//! cover.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use events::event::{Actor, Chain, Context, Recorded};
use events::ids::{PartnerId, TenantId};
use events::time::ManualClock;
use events_log::{EventFilter, LEDGER_FILE, Log, LogOptions};
use tempfile::TempDir;

use crate::facts::{WHOLE_CONTEXT, admission, clock, id};
use crate::test_log::{TestLog, on_both_engines};

const TTL: Duration = Duration::from_secs(60);

on_both_engines! {
    an_owner_reads_its_part_from_the_rows_and_from_what_came_after_them,
}

fn open(folder: &Path, clock: &Arc<ManualClock>) -> Log {
    Log::open(folder, LogOptions::new(clock.clone())).expect("the log opens")
}

/// Requests that are admitted and cancelled: four events each, of five tenants of two partners; the first is the busiest.
async fn ask(log: &Log, requests: std::ops::Range<u128>) {
    let events = 4 * u64::try_from(requests.end).expect("few");
    for request in requests {
        let tenant = if request.is_multiple_of(97) { 2 + request % 4 } else { 1 };
        let chain = Chain { partner: Some(id(1 + tenant % 2)), tenant: Some(id(tenant)), ..Chain::default() };
        let mut asked = admission(request, 1, 0, TTL);
        asked.context = Context::about(Actor::Operator, chain).in_request(asked.request_id);
        drop(log.admit(asked, None).await.expect("the ledger answers"));
    }
    // Dropping a hold does not wait until its end is recorded.
    log.watch_head().wait_for(|head| head.position == events).await.expect("every end is recorded");
}

fn filters() -> Vec<EventFilter> {
    let tenants = (1..=6).map(|tenant| Some(id::<TenantId>(tenant)));
    let of_tenants = tenants.map(|tenant| EventFilter { tenant, ..EventFilter::default() });
    let partners = (1..=3).map(|partner| Some(id::<PartnerId>(partner)));
    let of_partners = partners.map(|partner| EventFilter { partner, ..EventFilter::default() });
    let both = EventFilter { tenant: Some(id(2)), partner: Some(id(2)), ..EventFilter::default() };
    let types = Some(vec![("inference.admitted".to_owned(), 1), ("budget.released".to_owned(), 1)]);
    let of_types = EventFilter { tenant: Some(id(3)), types, ..EventFilter::default() };
    of_tenants.chain(of_partners).chain([both, of_types]).collect()
}

fn passes(filter: &EventFilter, recorded: &Recorded) -> bool {
    let name = (recorded.event.name().to_owned(), recorded.event.version());
    filter.tenant.is_none_or(|tenant| recorded.context.tenant_id == Some(tenant))
        && filter.partner.is_none_or(|partner| recorded.context.partner_id == Some(partner))
        && filter.types.as_ref().is_none_or(|types| types.contains(&name))
}

fn must_read_as_if_alone(log: &Log) {
    let reader = log.reader().expect("a reader");
    let all = reader.after(0, 100_000).expect("the log reads");
    for filter in filters() {
        let own: Vec<&Recorded> = all.iter().filter(|recorded| passes(&filter, recorded)).collect();
        for after in (0..=log.head().position).step_by(61) {
            for limit in [1, 7, 100_000] {
                let wanted: Vec<u64> =
                    own.iter().map(|event| event.position).filter(|at| *at > after).take(limit).collect();
                let page = reader.filtered(&filter, after, limit).expect("a page");
                let page: Vec<u64> = page.events.iter().map(|event| event.position).collect();
                assert!(page == wanted, "{filter:?} after {after}, {limit} at most");
            }
        }
    }
}

async fn an_owner_reads_its_part_from_the_rows_and_from_what_came_after_them(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    ask(&log, 0..400).await;
    must_read_as_if_alone(&log);
    tokio::task::spawn_blocking(move || log.close()).await.expect("closed");
    let log = test_log.open(&clock);
    ask(&log, 400..600).await;
    must_read_as_if_alone(&log);
    crate::facts::verify(&*log.reader().expect("a reader")).expect("a sound log");
}

/// A log from before there were stored blocks.
/// Holds: bin.migrate
#[tokio::test]
async fn an_older_log_gets_its_rows_when_it_is_opened() {
    let (folder, clock) = (TempDir::new().expect("a folder"), clock());
    let log = open(folder.path(), &clock);
    ask(&log, 0..200).await;
    tokio::task::spawn_blocking(move || log.close()).await.expect("closed");
    let ledger = rusqlite::Connection::open(folder.path().join(LEDGER_FILE)).expect("the ledger opens");
    ledger
        .execute_batch(&format!(
            "DROP TRIGGER events_are_never_changed; UPDATE events SET metadata = {WHOLE_CONTEXT}; DROP TABLE contexts;
             DROP TABLE owner_blocks; ALTER TABLE balances DROP COLUMN announced; ALTER TABLE key_secrets DROP COLUMN mac;
             ALTER TABLE events ADD COLUMN tenant_id TEXT GENERATED ALWAYS AS (metadata ->> '$.tenant_id') VIRTUAL;
             DROP VIEW personal_data; DROP VIEW client_addresses; DROP VIEW sealed_secrets;
             DROP TABLE erasable_personal_data; DROP TABLE erasable_client_addresses; DROP TABLE erasable_sealed_secrets;
             PRAGMA user_version = 2",
        ))
        .expect("an older ledger");
    drop(ledger);
    let log = open(folder.path(), &clock);
    must_read_as_if_alone(&log);
    crate::facts::verify(&*log.reader().expect("a reader")).expect("a sound log");
}

#[test]
fn no_page_of_a_part_is_sorted_or_looked_for_in_the_whole_log() {
    let folder = TempDir::new().expect("a folder");
    drop(open(folder.path(), &clock()));
    let ledger = rusqlite::Connection::open(folder.path().join(LEDGER_FILE)).expect("the ledger opens");
    let page = include_str!("../../src/engine/sqlite/sql/select_owned.sql");
    let explained = format!(
        "EXPLAIN QUERY PLAN {page} AND coalesce(context, metadata) ->> '$.tenant_id' = ?4 ORDER BY block, position LIMIT 5"
    );
    let mut statement = ledger.prepare(&explained).expect("a statement");
    let plan: Vec<String> =
        statement.query_map(("ten_1", 1, 2, "ten_1"), |row| row.get(3)).and_then(Iterator::collect).expect("a plan");
    let [blocks, positions, contexts] = plan.as_slice() else { panic!("{plan:?}") };
    assert!(blocks.contains("SEARCH owner_blocks USING PRIMARY KEY (owner=? AND block>? AND block<?)"), "{plan:?}");
    assert!(positions.contains("SEARCH events USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"), "{plan:?}");
    assert!(contexts.contains("SEARCH contexts USING INTEGER PRIMARY KEY (rowid=?)"), "{plan:?}");
}
