//! Rights in the database, and the descriptions of the copy in its catalogue.

use events::event::StreamKind;
use events::ids::{
    AuditSearchId, BudgetId, KeyId, LimitId, ModelId, PartnerId, PriceId, ProviderId, ProviderKeyId, TeamId, TenantId,
    UserId,
};
use testing::postgres::TestDatabase;

use crate::world::{World, database, migrate_ledger, shared_database};

/// Fails unless each of these statements is refused to analysts.
fn assert_refused(database: &TestDatabase, statements: &[&str]) {
    for statement in statements {
        database.execute(&format!(
            "DO $test$ BEGIN
                SET LOCAL ROLE ledgerway_analyst;
                BEGIN
                    EXECUTE $sql${statement}$sql$;
                EXCEPTION WHEN insufficient_privilege OR object_not_in_prerequisite_state OR wrong_object_type THEN
                    RETURN;
                END;
                RAISE 'it was allowed';
            END $test$"
        ));
    }
}

#[tokio::test]
async fn analysts_read_the_views_and_nothing_else() {
    let (database, address) = shared_database().await;
    let world = World::with_history().await;
    let copying = world.copying(&address).await;
    copying.caught_up().await;
    copying.stop().await;
    let views =
        ["usage_by_hour", "requests", "other_usage", "budgets", "budget_windows", "audit", "resources", "prices"];
    for view in views {
        database.execute(&format!(
            "DO $$ BEGIN SET LOCAL ROLE ledgerway_analyst; ASSERT (SELECT count(*) > 0 FROM views.{view}); END $$"
        ));
        assert_refused(
            &database,
            &[
                &format!("INSERT INTO views.{view} SELECT * FROM views.{view}"),
                &format!("DELETE FROM views.{view}"),
                &format!("SELECT * FROM views_rows.{view}"),
                &format!("DELETE FROM views_rows.{view}"),
                &format!("TRUNCATE views_rows.{view}"),
                &format!("DROP VIEW views.{view}"),
            ],
        );
    }
    assert_refused(
        &database,
        &[
            "SELECT ledger.keep_others_from_appending()",
            "SELECT * FROM views_rows.copied",
            "UPDATE views_rows.copied SET position = 0",
            "CREATE TABLE views.mine (a int)",
            "CREATE TABLE public.mine (a int)",
            "CREATE SCHEMA mine",
            "ALTER VIEW views.requests RENAME TO mine",
            "GRANT SELECT ON views_rows.requests TO PUBLIC",
            "INSERT INTO views.position (view, position) VALUES ('mine', 1)",
            "UPDATE views.position SET position = 0",
            "DELETE FROM views.position",
            "DROP VIEW views.position",
        ],
    );
    database.execute(
        "DO $$ BEGIN SET LOCAL ROLE ledgerway_analyst; ASSERT (SELECT min(position) > 0 FROM views.position); END $$",
    );
}

#[tokio::test]
async fn analysts_are_refused_every_table_of_the_ledger() {
    let (database, _) = shared_database().await;
    assert!(database.number("SELECT count(*) FROM pg_tables WHERE schemaname = 'ledger'") > 20);
    database.execute(
        "DO $test$
        DECLARE
            tables text[] := (SELECT array_agg(format('%I.%I', schemaname, tablename)) FROM pg_tables
                              WHERE schemaname IN ('ledger', 'views_rows'));
            name text;
            statement text;
        BEGIN
            SET LOCAL ROLE ledgerway_analyst;
            FOREACH name IN ARRAY tables LOOP
                FOREACH statement IN ARRAY ARRAY['SELECT FROM %s', 'INSERT INTO %s DEFAULT VALUES', 'DELETE FROM %s',
                                                 'TRUNCATE %s', 'LOCK TABLE %s IN ACCESS SHARE MODE', 'DROP TABLE %s'] LOOP
                    BEGIN
                        EXECUTE format(statement, name);
                        RAISE 'allowed: %', format(statement, name);
                    EXCEPTION WHEN insufficient_privilege THEN NULL;
                    END;
                END LOOP;
            END LOOP;
        END $test$",
    );
}

/// A new ledger begins to count its leases again: those of the one before must not keep its copier out.
#[tokio::test]
async fn a_new_ledger_is_copied_from_the_beginning() {
    let (database, address) = shared_database().await;
    let copied = "UPDATE views_rows.copied SET version = 1, position = 50, token = 900";
    let begun = "SELECT count(*) FROM views_rows.copied WHERE (version, position, token) = (0, 0, 0)";
    database.execute(copied);
    migrate_ledger(&address).await;
    assert_eq!(database.number(begun), 0, "it is the same ledger");
    database.execute("DROP SCHEMA ledger CASCADE");
    migrate_ledger(&address).await;
    assert_eq!(database.number(begun), 5);
    let world = World::node(&database, "node").await.inhabited().await;
    let copying = world.copying(&address).await;
    copying.caught_up().await;
    world.assert_same(&address).await;
    copying.stop().await;
}

#[tokio::test]
async fn migrating_again_changes_nothing_and_gives_the_rights_back() {
    let (database, address) = database().await;
    let world = World::with_history().await;
    let copying = world.copying(&address).await;
    copying.caught_up().await;
    copying.stop().await;
    database.execute(
        "REVOKE SELECT ON views.requests FROM ledgerway_analyst; GRANT INSERT ON views.audit TO ledgerway_analyst",
    );
    let migrated = address.clone();
    tokio::task::spawn_blocking(move || analysts::migrate(&migrated).expect("nothing to do")).await.expect("no panic");
    database.execute(
        "DO $$ BEGIN
            ASSERT has_table_privilege('ledgerway_analyst', 'views.requests', 'SELECT');
            ASSERT NOT has_table_privilege('ledgerway_analyst', 'views.audit', 'INSERT');
        END $$",
    );
    world.assert_same(&address).await;
}

/// The comments of the view name each kind of resource, by its name, its prefix and in plain words.
#[tokio::test]
async fn the_comments_of_resources_name_every_kind() {
    let (database, _) = database().await;
    let comment = |of: &str, text: &str| {
        let found = format!(
            "SELECT count(*) FROM pg_attribute WHERE attrelid = 'views.resources'::regclass AND attname = 'id'
             AND coalesce({of}, '') ~ '{text}'"
        );
        assert_eq!(database.number(&found), 1, "{of}: {text}");
    };
    let of_view = "obj_description('views.resources'::regclass, 'pg_class')";
    let of_kind = "col_description('views.resources'::regclass, 2)";
    let of_id = "col_description('views.resources'::regclass, 1)";
    for (kind, prefix) in [
        (StreamKind::AuditSearch, AuditSearchId::PREFIX),
        (StreamKind::Partner, PartnerId::PREFIX),
        (StreamKind::Tenant, TenantId::PREFIX),
        (StreamKind::User, UserId::PREFIX),
        (StreamKind::Team, TeamId::PREFIX),
        (StreamKind::Key, KeyId::PREFIX),
        (StreamKind::Provider, ProviderId::PREFIX),
        (StreamKind::ProviderKey, ProviderKeyId::PREFIX),
        (StreamKind::Model, ModelId::PREFIX),
        (StreamKind::Price, PriceId::PREFIX),
        (StreamKind::Budget, BudgetId::PREFIX),
        (StreamKind::RateLimit, LimitId::PREFIX),
    ] {
        let plural = match kind {
            // Not those of provider keys.
            StreamKind::Key => "(?<!provider )keys".to_owned(),
            StreamKind::AuditSearch => "saved searches".to_owned(),
            _ => format!("{}s", kind.as_str().replace('_', " ")),
        };
        // Whole words: `key` is a part of `provider_key`.
        comment(of_kind, &format!(r"\m{}\M", kind.as_str()));
        comment(of_id, &format!(r"\m{prefix}"));
        comment(&format!("lower({of_view})"), &format!(r"\m{plural}\M"));
    }
}

#[tokio::test]
async fn every_view_and_every_column_has_a_comment() {
    let (database, _) = database().await;
    let without = database.number(
        "SELECT count(*) FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
         WHERE c.relnamespace = 'views'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
           AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid, 'pg_class') IS NULL)",
    );
    assert_eq!(without, 0);
    let all =
        database.number("SELECT count(*) FROM pg_attribute WHERE attrelid = 'views.requests'::regclass AND attnum > 0");
    assert!(all > 30, "{all}");
}
