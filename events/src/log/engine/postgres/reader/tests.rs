use super::super::tests::TestLedger;
use super::*;
use crate::log::OtherSchema;

#[test]
fn a_database_with_another_schema_is_refused_with_its_version() {
    let test = TestLedger::empty();
    let refused = || match open_shared_reader(&test.database) {
        Err(LogError::OtherSchema(other)) => Some(other),
        Err(error) => panic!("{error}"),
        Ok(_) => None,
    };
    assert_eq!(refused(), Some(OtherSchema::Older { found: 0, newest: 1 }));
    drop(test);
    let test = TestLedger::migrated();
    let refused = || match open_shared_reader(&test.database) {
        Err(LogError::OtherSchema(other)) => Some(other),
        Err(error) => panic!("{error}"),
        Ok(_) => None,
    };
    assert_eq!(refused(), None);
    test.execute("UPDATE ledger.schema_version SET version = 2, oldest_reader = 1");
    assert_eq!(refused(), None, "it says that this version can read it");
    test.execute("UPDATE ledger.schema_version SET version = 3, oldest_reader = 2");
    assert_eq!(refused(), Some(OtherSchema::Newer { found: 3, newest: 1 }));
}
