//! Analysts read the views' file with an SQLite that knows nothing of this program, and cannot make its write-ahead log grow without
//! end.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::compared::folder_of;
use super::facts::Story;
use super::{all_projectors, open, plan, views_of};
use crate::views::View;
use crate::views::compare::{Comparison, compare};
use crate::views::store::{Store, StoreError, VIEWS_FILE};

const SCHEMA: &str = concat!(
    include_str!("../../../../migrations/sqlite/views/0001_projections.sql"),
    include_str!("../../../../migrations/sqlite/views/0002_budgets.sql"),
    include_str!("../../../../migrations/sqlite/views/0003_usage_by_hour.sql"),
    include_str!("../../../../migrations/sqlite/views/0004_inferences.sql"),
    include_str!("../../../../migrations/sqlite/views/0005_audit.sql"),
    include_str!("../../../../migrations/sqlite/views/0006_catalogue.sql"),
    include_str!("../../../../migrations/sqlite/views/0007_analysts.sql")
);

/// The file as analysts open it.
fn opened(dir: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    Connection::open_with_flags(dir.join(VIEWS_FILE), flags).expect("the views' file opens")
}

fn number(file: &Connection, sql: &str) -> i64 {
    file.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

#[test]
fn each_sql_view_has_the_rows_of_its_table_also_after_a_rebuild_has_replaced_them() {
    let facts = Story::whole();
    let dir = views_of(&facts, 100);
    let compare = || {
        let file = opened(dir.path());
        for (view, rows) in [
            ("usage_by_hour", "rows_usage_by_hour"),
            ("requests", "rows_inferences"),
            ("other_usage", "rows_other_usage"),
            ("budgets", "rows_budgets"),
            ("budget_windows", "rows_budget_windows"),
            ("audit", "rows_audit"),
            ("resources", "rows_catalogue"),
            ("prices", "rows_catalogue WHERE kind = 'price'"),
            ("position", "rows_projections"),
        ] {
            let read = file.prepare(&format!("SELECT * FROM {view}")).expect(view).query([]).map(|mut rows| {
                let mut read = 0;
                while rows.next().expect("a row").is_some() {
                    read += 1;
                }
                read
            });
            assert_eq!(read.expect(view), number(&file, &format!("SELECT count(*) FROM {rows}")), "{view}");
        }
        assert!(number(&file, "SELECT count(*) FROM requests") > 3);
        let latencies =
            "SELECT count(*) FROM usage_by_hour, json_each(latency_ms) AS ms, json_each(latency_requests) AS counted
            WHERE ms.key = counted.key";
        assert!(number(&file, latencies) > 1);
    };
    compare();
    let mut store = open(dir.path(), all_projectors());
    let mut next = Store::create_next(dir.path(), all_projectors()).expect("a file beside");
    next.apply(&facts).expect("a batch is applied");
    store.swap_in(next).expect("the rows are replaced");
    compare();
}

#[test]
fn a_file_with_other_sql_views_gets_those_of_this_version_and_keeps_those_of_others() {
    let facts = Story::whole();
    let dir = folder_of(&facts);
    open(dir.path(), all_projectors()).apply(&facts).expect("a batch is applied");
    let log = events_log::open_reader(&dir.path().join(events_log::LEDGER_FILE)).expect("the ledger opens");
    let compared = || compare(dir.path(), &*log, &mut |_, _| {}).expect("no difference");
    assert!(matches!(compared(), Comparison::Same { .. }));
    for change in ["DROP VIEW budgets", "DROP VIEW audit; CREATE VIEW audit AS SELECT 1 AS position"] {
        let file = Connection::open(dir.path().join(VIEWS_FILE)).expect("the views' file opens");
        file.execute_batch(&format!("CREATE VIEW IF NOT EXISTS mine AS SELECT 7 AS number; {change}"))
            .expect("a change");
        assert_eq!(compared(), Comparison::OtherVersion, "{change}");
        let store = open(dir.path(), all_projectors());
        assert_eq!(store.checkpoint(View::Audit).expect("a checkpoint").position, facts.len() as u64);
        assert!(number(&file, "SELECT count(*) FROM budgets") > 0 && number(&file, "SELECT count(*) FROM audit") > 3);
        assert_eq!(number(&file, "SELECT number FROM mine"), 7);
        assert!(matches!(compared(), Comparison::Same { .. }));
    }
}

#[test]
fn hours_are_found_by_the_primary_key_and_names_only_if_they_are_asked_for() {
    let of = |sql: &str| plan::of(SCHEMA, sql).join("\n");
    let sums = of("SELECT tenant_id, sum(requests) FROM usage_by_hour WHERE hour >= '2026-11-01' GROUP BY tenant_id");
    assert!(sums.contains("SEARCH r USING PRIMARY KEY (hour=?)"), "{sums}");
    assert!(!sums.contains("SCAN r") && !sums.contains("SEARCH c") && !sums.contains("SEARCH l "), "{sums}");
    let named = of("SELECT tenant_name, latency_ms FROM usage_by_hour");
    assert!(named.contains("SEARCH c USING PRIMARY KEY (kind=? AND id=?)"), "{named}");
    assert!(named.contains("SEARCH l USING PRIMARY KEY (hour=? AND tenant_id=? AND key_id=?"), "{named}");
    for (question, bound) in [
        ("SELECT status FROM requests WHERE request_id = 'req_1'", "(request_id=?)"),
        ("SELECT status FROM requests WHERE tenant_id = 'ten_1' AND position > 7", "(tenant_id=? AND position>?)"),
        ("SELECT status FROM requests WHERE position >= 7", "(rowid>?)"),
        ("SELECT name FROM resources WHERE kind = 'key'", "(kind=?)"),
        ("SELECT limit_usd FROM budgets WHERE budget_id = 'bud_1'", "(budget_id=?)"),
        ("SELECT remaining_usd FROM budget_windows WHERE budget_id = 'bud_1'", "(budget_id=?)"),
    ] {
        let steps = of(question);
        assert!(steps.contains(bound) && !steps.contains("SCAN"), "{question}: {steps}");
    }
}

#[test]
fn dollars_have_nine_digits_and_their_sign_whatever_their_size() {
    let file = Connection::open_in_memory().expect("a database");
    file.execute_batch(SCHEMA).expect("the schema");
    let amounts = [
        ("0", "0.000000000"),
        ("1", "0.000000001"),
        ("-1", "-0.000000001"),
        ("999999999", "0.999999999"),
        ("-999999999", "-0.999999999"),
        ("1000000000", "1.000000000"),
        ("-1000000000", "-1.000000000"),
        ("-1500000001", "-1.500000001"),
        ("9223372036854775807", "9223372036.854775807"),
        ("-9223372036854775808", "-9223372036.854775808"),
        ("'27670116110564327421'", "27670116110.564327421"),
        ("'-27670116110564327421'", "-27670116110.564327421"),
    ];
    for (nanos, dollars) in amounts {
        file.execute_batch(&format!(
            "DELETE FROM rows_other_usage;
             INSERT INTO rows_other_usage (position, recorded_at, model, provider, backend, payer, refused, cost_nanos)
             VALUES (1, 1, '', '', '', '', 0, {nanos})"
        ))
        .expect("a row");
        let shown: (String, String) = file
            .query_row("SELECT cost_usd, CAST(cost_nanos AS TEXT) FROM other_usage", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .expect("dollars");
        assert_eq!(shown, (dollars.to_owned(), nanos.trim_matches('\'').to_owned()));
    }
}

/// A change lies in the write-ahead log for as long as somebody reads what was there before.
#[test]
fn a_reader_that_ends_no_transaction_stops_the_views_before_it_fills_the_disk() {
    let facts = Story::whole();
    let (before, after) = facts.split_at(facts.len() / 2);
    let dir = tempfile::tempdir().expect("a folder");
    let mut store = open(dir.path(), all_projectors());
    store.apply(before).expect("a batch is applied");
    let wal = || std::fs::metadata(dir.path().join("views.db-wal")).expect("the write-ahead log").len();
    store.wal.bytes_max = 0;
    let reader = opened(dir.path());
    reader.execute_batch("BEGIN; SELECT count(*) FROM requests").expect("a transaction");
    let read = number(&reader, "SELECT count(*) FROM audit");
    // As much as many hours bring: more than the file, and than what is kept.
    store
        .connection
        .execute_batch(
            "CREATE TABLE much AS
             WITH RECURSIVE rows (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM rows WHERE n < 17)
             SELECT zeroblob(4 * 1024 * 1024) AS bytes FROM rows; DROP TABLE much",
        )
        .expect("it is written");
    let long = wal();
    // It looks now and then.
    let refused = (0..100).find_map(|_| store.apply(before).err());
    let Some(StoreError::WalHeld { mib }) = refused else { panic!("{refused:?}") };
    assert!(matches!(store.apply(after), Err(StoreError::WalHeld { .. })));
    // Rows that were rebuilt would lie in it, too.
    let rebuilt = Store::create_next(dir.path(), all_projectors()).expect("new rows");
    assert!(matches!(store.swap_in(rebuilt), Err(StoreError::WalHeld { .. })));
    assert!(mib >= 68 && wal() < long + 1024 * 1024, "{mib} MiB");
    assert_eq!(number(&reader, "SELECT count(*) FROM audit"), read);
    reader.execute_batch("COMMIT").expect("the end");
    store.apply(after).expect("the views go on");
    assert_eq!(store.checkpoint(View::Audit).expect("a checkpoint").position, facts.len() as u64);
    assert!(wal() < 4 * 1024 * 1024, "{}", wal());
    assert!(number(&reader, "SELECT count(*) FROM audit") > read);
}
