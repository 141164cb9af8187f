use chrono::TimeDelta;
use tempfile::TempDir;

use super::*;
use crate::log::{LEDGER_FILE, Log};
use crate::time::from_micros;

const INSERT: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) ";
const REPLIES: &str =
    "INSERT INTO idempotency SELECT 'operator', printf('%d-%d', ?2, i), x'00', 201, '{}', 1, ?2 FROM n WHERE ?1 > 0";
const KEYS: &str =
    "INSERT INTO inference_keys SELECT 'ten', printf('%d-%d', ?2, i), x'00', 'req', ?2 FROM n WHERE ?1 > 0";

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
