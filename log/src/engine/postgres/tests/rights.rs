//! Rights of the users of a ledger: its owner, the gateways, and everybody else.

use super::super::error::sqlstate;
use super::*;
use crate::{Migrated, UnusableReason};

/// Statements that change what was recorded.
const CHANGES: [&str; 9] = [
    "UPDATE ledger.events SET recorded_at = 0",
    "DELETE FROM ledger.events",
    "TRUNCATE ledger.events",
    "UPDATE ledger.batches SET token = gen_random_uuid()",
    "DELETE FROM ledger.batches",
    "TRUNCATE ledger.batches",
    "UPDATE ledger.contexts SET context = '{}'",
    "DELETE FROM ledger.contexts",
    "TRUNCATE ledger.contexts",
];
/// Statements that change the schema, or what protects it.
const SCHEMA_CHANGES: [&str; 9] = [
    "CREATE TABLE ledger.other (a bigint)",
    "ALTER TABLE ledger.events ADD COLUMN other bigint",
    "ALTER TABLE ledger.events DISABLE TRIGGER events_are_never_changed",
    "SET session_replication_role = replica",
    "DROP TABLE ledger.nodes",
    "CREATE FUNCTION ledger.other() RETURNS void LANGUAGE sql AS ''",
    "UPDATE ledger.schema_version SET version = 2",
    "TRUNCATE ledger.names",
    "CREATE SCHEMA other",
];

/// A user of the test's own, dropped with it.
struct User<'a> {
    test: &'a TestLedger,
    name: String,
}

impl<'a> User<'a> {
    fn new(test: &'a TestLedger) -> Self {
        let name = format!("ledgerway_{}", ids().make::<Uuid>().simple());
        test.execute(&format!("CREATE ROLE {name} LOGIN PASSWORD 'secret'"));
        Self { test, name }
    }

    fn database(&self) -> DatabaseAddress {
        let url = std::env::var("LEDGERWAY_TEST_POSTGRES").expect("LEDGERWAY_TEST_POSTGRES");
        let (_, server) = url.rsplit_once('@').expect("an address with a user");
        let (server, _) = server.rsplit_once('/').expect("an address with a database");
        format!("postgres://{}:secret@{server}/{}", self.name, self.test.test.name()).parse().expect("an address")
    }

    fn is_given(&self, sql: &str) -> &Self {
        self.test.execute(&format!("GRANT {sql} TO {}", self.name));
        self
    }

    fn refusal(&self, sql: &str) -> String {
        refusal(&mut Session::new(self.database()).expect("a session"), sql)
    }
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        let Self { test, name } = self;
        let drop = format!("DROP OWNED BY {name} CASCADE; DROP ROLE {name}");
        let _ = test.session().run(async |connection| sqlx::raw_sql(&drop).execute(connection).await);
    }
}

/// The database's error for a statement without a right to it.
fn refusal(session: &mut Session, sql: &str) -> String {
    let done = session.run(async |connection| sqlx::raw_sql(sql).execute(connection).await);
    let error = done.err().unwrap_or_else(|| panic!("{sql}: it is done"));
    assert_eq!(sqlstate(&error).as_deref(), Some("42501"), "{sql}: {error}");
    error.to_string()
}

#[test]
fn gateways_cannot_change_what_was_recorded_and_not_the_schema() {
    let test = TestLedger::migrated();
    let user = User::new(&test);
    user.is_given("ledgerway_gateway");
    let mut engine = connect(&user.database(), &OwnNode::serving("node"), ids(), now()).expect("the ledger opens").0;
    committed(&mut engine, |engine| one(engine, 1));
    for sql in CHANGES.into_iter().chain(SCHEMA_CHANGES) {
        // Not by a trigger, which is the second lock on the door.
        let said = user.refusal(sql);
        assert!(said.contains("permission denied") || said.contains("must be owner"), "{sql}: {said}");
    }
    let error = migrate(&user.database()).expect_err("only the owner migrates");
    assert!(error.to_string().contains("the owner runs `ledgerway migrate`"), "{error}");
}

#[test]
fn even_the_owner_and_a_superuser_do_not_change_what_was_recorded() {
    let test = TestLedger::empty();
    let owner = User::new(&test);
    owner.is_given(&format!("CREATE ON DATABASE {}", test.test.name()));
    assert_eq!(migrate(&owner.database()).expect("migrated"), Migrated::New);
    let mut engine =
        connect(&owner.database(), &OwnNode::serving("node"), ids(), now()).expect("the owner can serve too").0;
    committed(&mut engine, |engine| one(engine, 1));
    for sql in CHANGES {
        for said in [owner.refusal(sql), refusal(&mut test.session(), sql)] {
            assert!(said.contains("never changed or deleted"), "{sql}: {said}");
        }
    }
}

#[test]
fn whoever_has_no_rights_is_told_which() {
    let test = TestLedger::migrated();
    let user = User::new(&test);
    let refused = || connect(&user.database(), &OwnNode::serving("node"), ids(), now()).err().expect("it is refused");
    assert!(matches!(refused(), UnusableReason::NotAllowed));
    // Who reads is told the same as who serves.
    let unread = || open_shared_reader(&user.database()).and_then(|reader| reader.head()).expect_err("it is refused");
    let unreadable = unread().to_string();
    assert!(
        unreadable.contains("schema ledger: ") && unreadable.contains("GRANT ledgerway_gateway TO"),
        "{unreadable}"
    );
    user.is_given("USAGE ON SCHEMA ledger").is_given("SELECT ON ledger.schema_version");
    let unreadable = unread().to_string();
    assert!(
        unreadable.contains("table batches: ") && unreadable.contains("GRANT ledgerway_gateway TO"),
        "{unreadable}"
    );
    user.is_given("SELECT ON ALL TABLES IN SCHEMA ledger");
    let reason = refused();
    assert!(matches!(reason, UnusableReason::NotAllowed));
    assert!(reason.to_string().contains("GRANT ledgerway_gateway TO"), "{reason}");
    user.is_given("ledgerway_gateway");
    connect(&user.database(), &OwnNode::serving("node"), ids(), now()).expect("the ledger opens");
}

/// A new table belongs into `grants.sql`, unless gateways only read it.
#[test]
fn gateways_can_write_every_table_but_these() {
    let test = TestLedger::migrated();
    let without = |right: &str| {
        let sql = format!(
            "SELECT coalesce(string_agg(relname, ' ' ORDER BY relname), '') FROM pg_class
             WHERE relnamespace = 'ledger'::regnamespace AND relkind = 'r'
               AND NOT has_table_privilege('ledgerway_gateway', oid, '{right}')"
        );
        let found = test.session().run(async |connection| sqlx::query_scalar(&sql).fetch_one(connection).await);
        found.unwrap_or_else(|error: sqlx::Error| panic!("{right}: {error}"))
    };
    let none: String = without("SELECT");
    assert_eq!(none, "");
    assert_eq!(without("INSERT"), "ledger_checkpoint revaluation_begins rows_to_drop schema_version");
    assert_eq!(
        without("UPDATE"),
        "batches contexts events owner_blocks revaluation_begins rows_to_drop schema_version"
    );
    assert_eq!(
        without("DELETE"),
        "balances batches catalogue contexts events leases ledger_checkpoint owner_blocks revaluation_begins rows_to_drop \
         schema_version"
    );
}

/// An idle node appends nothing, and finds it out all the same.
#[test]
fn a_right_to_insert_that_was_taken_away_is_noticed_without_an_event() {
    let test = TestLedger::migrated();
    let user = User::new(&test);
    user.is_given("ledgerway_gateway");
    let mut engine = connect(&user.database(), &OwnNode::serving("node"), ids(), now()).expect("the ledger opens").0;
    for table in ["batches", "events", "contexts", "inference_keys", "idempotency"] {
        committed(&mut engine, |engine| draft(engine, Vec::new()));
        test.execute(&format!("REVOKE INSERT ON ledger.{table} FROM ledgerway_gateway"));
        let refused = engine.append(&draft(&engine, Vec::new()), None).expect_err("it could not append");
        assert_eq!(refused.to_string(), format!("database: this user may not insert into ledger.{table}"));
        test.execute(&format!("GRANT INSERT ON ledger.{table} TO ledgerway_gateway"));
    }
}

/// Rights that were lost, or that a new table lacks.
#[test]
fn each_migration_grants_what_gateways_need() {
    const WITHOUT_RIGHTS: &str = "SELECT count(*) FROM pg_class WHERE relnamespace = 'ledger'::regnamespace
        AND relkind IN ('r', 'v') AND NOT has_table_privilege('ledgerway_gateway', oid, 'SELECT')";
    let test = TestLedger::migrated();
    assert_eq!(test.number(WITHOUT_RIGHTS), 0);
    test.execute("REVOKE ALL ON ALL TABLES IN SCHEMA ledger FROM ledgerway_gateway");
    test.execute("GRANT DELETE ON ledger.events TO ledgerway_gateway");
    assert!(test.number(WITHOUT_RIGHTS) > 0);
    assert_eq!(migrate(&test.database).expect("nothing to change"), Migrated::Existing);
    assert_eq!(test.number(WITHOUT_RIGHTS), 0);
    let user = User::new(&test);
    user.is_given("ledgerway_gateway");
    assert!(user.refusal("DELETE FROM ledger.events").contains("permission denied"));
}

#[test]
fn gateways_connect_where_the_public_may_not() {
    let test = TestLedger::migrated();
    let (gateway, other) = (User::new(&test), User::new(&test));
    gateway.is_given("ledgerway_gateway");
    test.execute(&format!("REVOKE CONNECT ON DATABASE {} FROM PUBLIC", test.test.name()));
    connect(&gateway.database(), &OwnNode::serving("node"), ids(), now()).expect("the ledger opens");
    let refused = connect(&other.database(), &OwnNode::serving("node"), ids(), now()).err().expect("it is refused");
    assert!(refused.to_string().contains("GRANT ledgerway_gateway TO"), "nor can it take a turn: {refused}");
}
