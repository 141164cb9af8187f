//! Connections that the network or the other machine drops without a word.

use super::*;

#[test]
fn the_server_asks_each_session_for_signs_of_life() {
    const SETTINGS: &str = "SELECT sum(setting::integer) FROM pg_settings WHERE name LIKE 'tcp\\_keepalives\\_%'";
    let test = TestLedger::migrated();
    let mut session = test.session();
    let seconds = session.run(async |connection| sqlx::query_scalar::<_, i64>(SETTINGS).fetch_one(connection).await);
    assert_eq!(seconds.expect("the settings of its socket"), 5 + 2 + 3);
}
