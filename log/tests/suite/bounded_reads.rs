//! A filtered read examines a bounded part of the log, however little it finds.

use std::path::Path;

use events::ids::TenantId;
use events_log::{EventFilter, LEDGER_FILE, Log, Reader, open_reader};
use tempfile::TempDir;

use crate::facts::id;

const FLOOD: u64 = 150_000;
/// The maximum number of positions that a filtered read examines, and the same number in blocks.
const LOOK: u64 = 65_536;
const BLOCK: u64 = 64;

/// A long run of denials, one in each block of one tenant, and at the end an event of another type by the same tenant.
fn flooded(folder: &Path) -> Box<dyn Reader> {
    Log::migrate(folder).expect("an empty log");
    let ledger = folder.join(LEDGER_FILE);
    let written = rusqlite::Connection::open(&ledger).expect("the ledger");
    let tenant: TenantId = id(8);
    let flood = format!(
        r#"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {FLOOD})
           INSERT INTO events (position, recorded_at, aggregate_type, aggregate_id, sequence, event_type,
                               event_version, payload, metadata)
           SELECT i, i, 'access', 'anonymous', i, iif(i = {FLOOD}, 'access.rate_limited', 'access.denied'), '1',
                  iif(i = {FLOOD}, '{{"limit_id":"default","measure":"requests_per_minute","limit":60,"count":1}}',
                      '{{"code":"UNAUTHENTICATED","count":1}}'),
                  iif(i % {BLOCK} = 0 OR i = {FLOOD}, '{{"actor":"system:gateway","tenant_id":"{tenant}"}}',
                      '{{"actor":"system:gateway"}}')
           FROM n;
           INSERT INTO owner_blocks (owner, block)
           SELECT '{tenant}', position / {BLOCK} FROM events WHERE position % {BLOCK} = 0;
           UPDATE ledger_checkpoint SET position = {FLOOD}"#
    );
    written.execute_batch(&flood).expect("events");
    open_reader(&ledger).expect("a reader")
}

/// Reads the log part by part until it finds the event of this type. Returns the end of each part.
fn found_by(reader: &dyn Reader, filter: &EventFilter) -> Vec<u64> {
    let (mut after, mut looks) = (0, Vec::new());
    loop {
        let part = reader.filtered(filter, after, 10).expect("a part");
        assert!(part.until > after && part.head == FLOOD, "{part:?}");
        after = part.until;
        looks.push(after);
        if !part.events.is_empty() {
            let found: Vec<u64> = part.events.iter().map(|event| event.position).collect();
            assert_eq!((found, after), (vec![FLOOD], FLOOD));
            return looks;
        }
        assert!(after < FLOOD, "it was not found: {looks:?}");
    }
}

#[test]
fn a_look_at_the_log_goes_over_a_bounded_part_of_it_however_little_it_finds() {
    let folder = TempDir::new().expect("a folder");
    let reader = flooded(folder.path());
    let rare = EventFilter { types: Some(vec![("access.rate_limited".to_owned(), 1)]), ..EventFilter::default() };
    assert_eq!(found_by(&*reader, &rare), [LOOK, 2 * LOOK, FLOOD]);
    // Of an owner's part, as many positions are read and those between its blocks are skipped. A read begins with the rest of
    // the block in which the previous one ended.
    let of_tenant = EventFilter { tenant: Some(id(8)), ..rare };
    assert_eq!(found_by(&*reader, &of_tenant), [LOOK + BLOCK - 1, 2 * LOOK - 1, FLOOD]);
    let unknown = EventFilter { tenant: Some(id(7)), ..EventFilter::default() };
    let part = reader.filtered(&unknown, 0, 10).expect("nothing");
    assert_eq!((part.events.len(), part.until), (0, FLOOD), "an owner's blocks say that there is nothing");
}
