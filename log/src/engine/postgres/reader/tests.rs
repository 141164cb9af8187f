use super::super::schema::NEWEST;
use super::super::tests::TestLedger;
use super::*;
use crate::OtherSchema;
use crate::raw::StreamEntry;

#[test]
fn a_database_with_another_schema_is_refused_with_its_version() {
    let test = TestLedger::empty();
    let refused = || match open_shared_reader(&test.database) {
        Err(LogError::OtherSchema(other)) => Some(other),
        Err(error) => panic!("{error}"),
        Ok(_) => None,
    };
    assert_eq!(refused(), Some(OtherSchema::Missing));
    drop(test);
    let test = TestLedger::migrated();
    let refused = || match open_shared_reader(&test.database) {
        Err(LogError::OtherSchema(other)) => Some(other),
        Err(error) => panic!("{error}"),
        Ok(_) => None,
    };
    assert_eq!(refused(), None);
    let newer = NEWEST + 1;
    test.execute(&format!("UPDATE ledger.schema_version SET version = {newer}, oldest_reader = {NEWEST}"));
    assert_eq!(refused(), None, "it says that this version can read it");
    test.execute(&format!("UPDATE ledger.schema_version SET oldest_reader = {newer}"));
    assert_eq!(refused(), Some(OtherSchema::Newer { found: newer, newest: NEWEST }));
}

#[test]
fn no_read_leaves_its_transaction_open() {
    const OPEN: &str = "SELECT count(*) FROM pg_stat_activity
                        WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    let test = TestLedger::migrated();
    let reader = open_shared_reader(&test.database).expect("a reader");
    let must_be_over = |read: &str| assert_eq!(test.number(OPEN), 0, "{read}");
    reader.balances(DateTime::UNIX_EPOCH).expect("balances");
    must_be_over("balances");
    reader.state_rows(&mut |_| {}).expect("rows");
    must_be_over("state rows");
    let first = StreamEntry { id: String::new(), kind: String::new(), sequence: 0, position: 0 };
    let streams = || reader.stream_entries(&first, 10, &mut |_, _, _, _| {}).expect("streams");
    assert_eq!(streams(), Some(0));
    must_be_over("streams");
    assert!(reader.indexes_of_administration(0).iter().all(|(_, entries)| entries.is_ok()));
    must_be_over("indexes");
    test.execute("ALTER TABLE ledger.events DROP CONSTRAINT events_aggregate_id_aggregate_type_sequence_key");
    assert_eq!(streams(), None);
    must_be_over("streams without their index");
}
