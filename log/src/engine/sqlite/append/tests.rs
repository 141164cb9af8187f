use std::sync::Arc;

use chrono::TimeDelta;
use events::event::hold::BudgetReleased;
use events::event::{Actor, Chain, Event, Hold, Stream, StreamKind};
use events::money::NanoUsd;
use events::time::from_micros;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::engine::sqlite::migrate::migrate;
use crate::{LEDGER_FILE, Log};

const INSERT: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) ";
const REPLIES: &str =
    "INSERT INTO idempotency SELECT 'operator', printf('%d-%d', ?2, i), x'00', 201, '{}', 1, ?2 FROM n WHERE ?1 > 0";
const KEYS: &str =
    "INSERT INTO inference_keys SELECT 'ten', printf('%d-%d', ?2, i), x'00', 'req', ?2 FROM n WHERE ?1 > 0";

fn released(position: u64, context: &Context, sequence: u64) -> Arc<Recorded> {
    let stream = Stream::new(StreamKind::Hold, context.request_id.expect("a request"));
    let released =
        BudgetReleased { held_usd: NanoUsd::ZERO, budgets: Vec::new(), reason: "none".to_owned(), brokered: None };
    let event = Event::Hold(Hold::Released(Box::new(released)));
    Arc::new(Recorded { position, recorded_at: from_micros(0), stream, sequence, context: context.clone(), event })
}

#[test]
fn a_context_that_was_rolled_back_is_stored_again() {
    let mut ledger = Connection::open_in_memory().expect("a database");
    migrate(&mut ledger).expect("migrated");
    let mut contexts = SqliteContexts::default();
    let mut append_all = |ledger: &Connection, after: u64, events: Vec<Arc<Recorded>>| {
        append(ledger, &mut contexts, &Draft { events, ..Draft::new(after, from_micros(0)) }, None)
    };
    let [first, second] = [1, 2].map(|key| {
        let chain = Chain { key: Some(Uuid::from_u128(key).into()), ..Chain::default() };
        Context::about(Actor::Operator, chain).in_request(Uuid::from_u128(key).into())
    });
    append_all(&ledger, 0, vec![released(1, &first, 1)]).expect("appended");
    let repeated = vec![released(2, &second, 1), released(3, &first, 1)];
    append_all(&ledger, 1, repeated).expect_err("a sequence that is taken");
    append_all(&ledger, 1, vec![released(2, &second, 1), released(3, &first, 2)]).expect("appended");
    let events = read::after(&ledger, 0, 10).expect("readable");
    assert_eq!(
        events.into_iter().map(|recorded| recorded.context).collect::<Vec<_>>(),
        [&first, &second, &first].map(Clone::clone)
    );
    let metadata = "SELECT group_concat(metadata) FROM events";
    let metadata: String = ledger.query_row(metadata, [], |row| row.get(0)).expect("the metadata");
    assert_eq!(metadata, "1,2,1");
}

#[test]
fn expired_keys_are_dropped_five_hundred_rows_at_a_time_until_none_are_left() {
    let folder = TempDir::new().expect("a folder");
    Log::migrate(folder.path()).expect("an empty log");
    let ledger = Connection::open(folder.path().join(LEDGER_FILE)).expect("the ledger");
    let now = from_micros(1_795_162_530_000_000);
    let too_old = (now - TimeDelta::days(30)).timestamp_micros();
    let insert = |table: &str, rows: usize, at: i64| {
        ledger.execute(&format!("{INSERT}{table}"), params![rows, at]).expect("rows");
    };
    for table in [REPLIES, KEYS] {
        insert(table, 3, too_old + 1);
    }
    for (replies, keys, steps) in [(0, 0, 1), (499, 499, 1), (500, 0, 2), (0, 500, 2), (1_200, 700, 3)] {
        insert(REPLIES, replies, too_old);
        insert(KEYS, keys, too_old);
        let taken = (1..10).find(|_| tidy(&ledger, now, 500).expect("it is tidied"));
        assert_eq!(taken, Some(steps), "{replies} replies and {keys} keys");
        for table in ["idempotency", "inference_keys"] {
            let count = format!("SELECT count(*) FROM {table}");
            let left: u64 = ledger.query_row(&count, [], |row| row.get(0)).expect("a count");
            assert_eq!(left, 3, "those of less than thirty days are kept");
        }
    }
}
