//! The copy in PostgreSQL has the rows of the views, whatever happened on the way.

use std::time::Duration;

use analysts::{CopyComparison, compare};
use events::event::admin::Price;
use events::event::inference::Backend;
use events::event::{Chain, Change, StreamKind};
use events::role::RoleState;
use events::time::parse_rfc3339;
use projections::views::View;
use rusqlite::Connection;
use testing::postgres::TestDatabase;

use crate::world::{
    ACME, CUSTOMERS, GLOBEX, INITECH, LARGE, SMALL, Used, World, database, eventually, id, shared_database,
};

#[tokio::test]
async fn every_row_is_copied_and_every_change_of_it() {
    let (_database, address) = database().await;
    let mut world = World::with_history().await;
    let copying = world.copying(&address).await;
    copying.caught_up().await;
    let rows = world.assert_same(&address).await;
    assert!(rows > 60, "{rows}");
    let hold = world.admits(ACME, "small").await;
    copying.caught_up().await;
    world.assert_same(&address).await;
    drop(hold);
    world.rename(GLOBEX, "Globex & Sons").await;
    for customer in CUSTOMERS {
        world.infers(customer, SMALL).await;
        world.refuses(customer).await;
    }
    copying.caught_up().await;
    assert!(world.assert_same(&address).await > rows);
    copying.stop().await;
}

#[tokio::test]
async fn rows_have_the_names_and_the_types_that_analysts_expect() {
    let (database, address) = database().await;
    let mut world = World::new().await;
    let copying = world.copying(&address).await;
    world.infers(ACME, SMALL).await;
    world.fails(ACME).await;
    world.rename(ACME, "Acme Ltd").await;
    copying.caught_up().await;
    let columns = "tenant_name || '|' || tenant_external_id || '|' || user_external_id || '|' || key_name || '|' ||
        partner_name || '|' || model || '|' || provider || '|' || backend || '|' || payer";
    let expected = "Acme Ltd|-|crm-100|Acme app|North America|small|north|north/echo|brokered";
    let columns = columns.replace("tenant_external_id", "coalesce(tenant_external_id, '-')");
    database.execute(&format!(
        "DO $$ BEGIN
            ASSERT (SELECT {columns} = '{expected}' AND hour = timestamptz '2026-11-20 08:00Z' AND requests = 2 AND failed = 1
                AND cost_usd = 0.000250000 AND cost_usd::text = '0.000250000' AND input_uncached_tokens = 1000
                AND latency_ms = '{{407}}' AND latency_requests = '{{2}}'
                FROM views.usage_by_hour);
            ASSERT (SELECT {columns} = '{expected}' AND status = 'completed' AND cost_usd = 0.00025 AND latency_ms = 400
                FROM views.requests ORDER BY position LIMIT 1);
            ASSERT (SELECT remaining_usd = 0.99975 AND limit_usd = 1 AND scope = 'tenant' AND held_usd = 0
                AND window_start = '2026-11-01Z' FROM views.budget_windows);
            ASSERT (SELECT alert_at = ARRAY[0.5, 1] FROM views.budgets LIMIT 1);
            ASSERT (SELECT input_usd_per_mtok = 2.5 AND output_usd_per_mtok::text = '10.000000000' AND provider = 'north'
                FROM views.prices ORDER BY price_id LIMIT 1);
            ASSERT (SELECT name IS NULL AND slug = 'user-100' FROM views.resources WHERE kind = 'user' ORDER BY id LIMIT 1);
        END $$"
    ));
    let file = world.views_file();
    let found = |sql: &str| file.query_row(sql, [], |row| row.get::<_, bool>(0)).expect(sql);
    assert!(found(&format!(
        "SELECT {columns} = '{expected}' AND hour = '2026-11-20T08:00:00.000000Z' AND requests = 2 AND failed = 1
            AND cost_usd = '0.000250000' AND cost_nanos = 250000 AND input_uncached_tokens = 1000
            AND latency_ms = '[407]' AND latency_requests = '[2]'
         FROM usage_by_hour"
    )));
    assert!(found(
        "SELECT remaining_usd = '0.999750000' AND remaining_nanos = 999750000 AND limit_nanos = 1000000000
            AND window_start = '2026-11-01T00:00:00.000000Z' FROM budget_windows"
    ));
    assert!(found("SELECT alert_at = '[0.5,1]' FROM budgets LIMIT 1"));
    assert!(found("SELECT input_nanos_per_mtok = 2500000000 FROM prices LIMIT 1"));
    copying.stop().await;
}

/// A name of characters of four bytes, which cannot be compressed.
fn long_name(chars: u32, seed: u32) -> String {
    let scattered = |number: u32| (seed * 1000 + number).wrapping_mul(2_654_435_761) >> 8;
    (0..chars).map(|number| char::from_u32(0x20000 + scattered(number) % 0xA000).expect("a character")).collect()
}

/// One tenant's names would otherwise stop the copy of all.
#[tokio::test]
async fn no_name_that_a_tenant_may_choose_stops_the_copy() {
    let (database, address) = database().await;
    let mut world = World::new().await;
    let copying = world.copying(&address).await;
    let (provider, backend_model, model) = (long_name(200, 1), long_name(200, 2), long_name(256, 3));
    let names = [&model, &format!("{model} "), &model.replace(' ', "")];
    for backend_model in [backend_model.clone(), format!("{}\\", &backend_model[..796])] {
        for model in names {
            let backend = Backend {
                provider_id: id(11),
                provider: provider.as_str().into(),
                model: backend_model.as_str().into(),
                provider_key_id: None,
            };
            world.infers_by(ACME, SMALL, (model.as_str(), backend)).await;
        }
    }
    for model in ["a\0", "a\u{1}", "a\u{1}\u{1}", "a\u{fffd}", "a", "\\x41", "\\"] {
        world.refuses_model(GLOBEX, model).await;
        world.pass(Duration::from_secs(2)).await;
    }
    let old = parse_rfc3339("0000-02-03T04:05:06Z").expect("a time");
    let price = Price { effective_from: old, ..world.price(29, 11, 2_500_000_000) };
    world.create(StreamKind::Price, price.price_id, Chain::default(), Change::created(price)).await;
    copying.caught_up().await;
    world.assert_same(&address).await;
    assert_eq!(database.number("SELECT count(DISTINCT names_sha256) FROM views_rows.usage_by_hour"), 4 + 7);
    copying.stop().await;
}

/// The hour of the correction has nothing else, so a second one that takes the first back deletes its row.
#[tokio::test]
async fn corrections_are_copied_and_so_is_that_a_row_was_deleted() {
    let (database, address) = database().await;
    let mut world = World::with_history().await;
    let copying = world.copying(&address).await;
    let request = world.infers(ACME, SMALL).await;
    world.pass(Duration::from_secs(2 * 3600)).await;
    copying.caught_up().await;
    let before = database.number("SELECT count(*) FROM views.usage_by_hour");
    for (version, nanos, rows) in [(5, SMALL.nanos - 50_000, before + 1), (6, SMALL.nanos, before)] {
        world.corrects(ACME, request, (version, nanos)).await;
        copying.caught_up().await;
        assert_eq!(database.number("SELECT count(*) FROM views.usage_by_hour"), rows);
        world.assert_same(&address).await;
    }
    let corrections = "SELECT string_agg(cost_usd::text, ' ' ORDER BY position) = '-0.000050000 0.000050000'
        FROM views.other_usage WHERE refused = 0";
    database.execute(&format!("DO $$ BEGIN ASSERT ({corrections}); END $$"));
    copying.stop().await;
}

#[tokio::test]
async fn a_copy_that_stands_still_is_reported_and_goes_on_with_the_views() {
    let (_database, address) = database().await;
    let mut world = World::with_history().await;
    let copying = world.copying(&address).await;
    copying.caught_up().await;
    let position = world.log.head().position;
    let writer = Connection::open(world.dir.path().join("views.db")).expect("the views open");
    writer.execute_batch("BEGIN IMMEDIATE").expect("nobody else can write");
    world.infers(ACME, SMALL).await;
    let why = eventually(|| match copying.status.read().state {
        RoleState::Failing { why, .. } => Ok(why),
        other => Err(format!("{other:?}")),
    })
    .await;
    let named = format!(" stands still at position {position}, and the log is at {}: ", world.log.head().position);
    assert!(why.starts_with("the copy of ") && why.contains(&named), "{why}");
    writer.execute_batch("ROLLBACK").expect("the views go on");
    copying.caught_up().await;
    world.assert_same(&address).await;
    copying.stop().await;
}

#[tokio::test]
async fn a_process_whose_views_stand_still_leaves_the_role_to_another_one() {
    let (database, address) = shared_database().await;
    let one = World::node(&database, "one").await.inhabited().await;
    let copying = one.copying(&address).await;
    copying.caught_up().await;
    let two = World::node(&database, "two").await;
    let other = two.copying(&address).await;
    let writer = Connection::open(one.dir.path().join("views.db")).expect("the views open");
    writer.execute_batch("BEGIN IMMEDIATE").expect("nobody else can write");
    one.rename(ACME, "Acme Ltd").await;
    other.caught_up().await;
    assert_ne!(copying.status.read().state, RoleState::Working);
    two.assert_same(&address).await;
    for copying in [copying, other] {
        drop(copying.running);
    }
}

/// Views that are built from the beginning are not noted before they have caught up with the log.
#[tokio::test]
async fn a_process_without_views_to_copy_does_not_ask_for_the_role() {
    let (database, address) = shared_database().await;
    let world = World::node(&database, "one").await.inhabited().await;
    let copying = world.copying_without_notes(&address).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(copying.status.read().state, RoleState::Waiting);
    assert_eq!(database.number("SELECT count(*) FROM ledger.leases WHERE role = 'analysts'"), 0);
    copying.stop().await;
}

#[tokio::test]
async fn a_copier_ends_when_it_has_copied_a_closed_log() {
    let (_database, address) = database().await;
    let mut world = World::with_history().await;
    let mut copying = world.copying(&address).await;
    copying.caught_up().await;
    world.infers(ACME, SMALL).await;
    let (log, head) = (world.log.clone(), world.log.head().position);
    tokio::task::spawn_blocking(move || log.close()).await.expect("it is closed");
    let ended = tokio::time::timeout(crate::world::LONG, copying.running.join_next());
    ended.await.expect("it ends").expect("a copier").expect("no panic");
    assert_eq!(copying.status.read().position, head);
    copying.stop().await;
}

/// The transaction in which the copy is read begins after the log was read, so what is copied meanwhile is compared, too.
#[tokio::test]
async fn the_log_is_read_before_the_copy_and_then_what_was_recorded_meanwhile() {
    let (_database, address) = database().await;
    let mut world = World::with_history().await;
    let copying = world.copying(&address).await;
    copying.caught_up().await;
    let ((tell, mut told), (go_on, may_go_on)) = (tokio::sync::mpsc::channel(1), std::sync::mpsc::channel());
    let (log, copied) = (world.log.clone(), address.clone());
    let comparing = tokio::task::spawn_blocking(move || {
        let reader = log.reader().expect("a reader");
        compare(&copied, &*reader, &mut |_, _| {
            if tell.blocking_send(()).is_ok() {
                may_go_on.recv().expect("it goes on");
            }
        })
    });
    told.recv().await.expect("it reads the log");
    told.close();
    world.infers(ACME, SMALL).await;
    copying.caught_up().await;
    go_on.send(()).expect("it waits");
    match comparing.await.expect("no panic").expect("no difference") {
        CopyComparison::Same { position, .. } => assert_eq!(position, world.log.head().position),
        other => panic!("{other:?}"),
    }
    copying.stop().await;
}

#[tokio::test]
async fn a_difference_is_named_and_a_rebuild_of_the_view_mends_it() {
    let (database, address) = database().await;
    let world = World::with_history().await;
    let copying = world.copying(&address).await;
    copying.caught_up().await;
    for (damage, named) in [
        (
            "UPDATE views_rows.requests SET model = 'other' WHERE position = 25",
            "the row 25 of requests differs from the log in model",
        ),
        ("DELETE FROM views_rows.requests WHERE position = 25", "the row 25 of requests is missing"),
        (
            "INSERT INTO views_rows.other_usage
             SELECT 1, recorded_at, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, refused, cost_usd
             FROM views_rows.other_usage LIMIT 1",
            "no event made the row 1 of other_usage",
        ),
    ] {
        database.execute(damage);
        assert_eq!(world.difference(&address).await, named);
        copying.views.rebuild(View::Inferences).expect("a rebuild");
        let began = std::time::Instant::now();
        while world.compare(&address).await.is_err() {
            assert!(began.elapsed() < crate::world::LONG, "the copy is not mended");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    copying.stop().await;
}

#[tokio::test]
async fn an_owner_has_everything_copied_again() {
    let (database, address) = database().await;
    let mut world = World::with_history().await;
    let copying = world.copying(&address).await;
    copying.caught_up().await;
    database.execute("UPDATE views_rows.requests SET model = 'other'; DELETE FROM views_rows.audit");
    database.execute("UPDATE views_rows.copied SET version = 0, position = 0, token = 0");
    world.infers(ACME, SMALL).await;
    let began = std::time::Instant::now();
    while world.compare(&address).await.is_err() {
        assert!(began.elapsed() < crate::world::LONG, "{}", world.difference(&address).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    copying.caught_up().await;
    world.assert_same(&address).await;
    copying.stop().await;
}

/// The wrong rows show what is copied: they stay unless all rows are.
#[tokio::test]
async fn a_copier_goes_on_where_the_last_one_ended_unless_changes_were_not_noted() {
    let (database, address) = database().await;
    let mut world = World::with_history().await;
    let copying = world.copying(&address).await;
    copying.caught_up().await;
    copying.stop().await;
    database.execute("UPDATE views_rows.requests SET model = 'other' WHERE position = 25");
    let copying = world.copying(&address).await;
    world.infers(INITECH, LARGE).await;
    copying.caught_up().await;
    assert_eq!(world.difference(&address).await, "the row 25 of requests differs from the log in model");
    copying.stop().await;
    world.infers(INITECH, LARGE).await;
    world.follow_without_notes().await;
    let copying = world.copying(&address).await;
    copying.caught_up().await;
    world.assert_same(&address).await;
    copying.stop().await;
}

#[tokio::test]
async fn sums_beyond_64_bits_are_copied_and_compared() {
    let (database, address) = database().await;
    let mut world = World::new().await;
    let copying = world.copying(&address).await;
    world.only_observes(ACME).await;
    let most = Used { input: u64::MAX, output: u64::MAX, nanos: i64::MAX, latency_ms: u64::MAX, ..SMALL };
    for _ in 0..3 {
        world.infers(ACME, most).await;
    }
    copying.caught_up().await;
    world.assert_same(&address).await;
    database.execute(
        "DO $$ BEGIN
            ASSERT (SELECT cost_usd = 27670116110.564327421 AND input_uncached_tokens = 55340232221128654845
                FROM views.usage_by_hour);
            ASSERT (SELECT settled_usd = 27670116110.564327421 AND remaining_usd = 0 FROM views.budget_windows);
        END $$",
    );
    let file = world.views_file();
    let sum: (String, String, i64) = file
        .query_row("SELECT settled_usd, settled_nanos, remaining_nanos FROM budget_windows", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .expect("the sum");
    assert_eq!(sum, ("27670116110.564327421".to_owned(), "27670116110564327421".to_owned(), 0));
    copying.stop().await;
}

/// Connections that break anywhere, and copiers that are killed anywhere, leave no trace in the copy.
#[tokio::test]
async fn a_copier_that_is_killed_anywhere_is_followed_by_one_that_completes_the_copy() {
    let (database, address) = database().await;
    let mut world = World::with_history().await;
    for round in 0..12_u64 {
        let mut copying = world.copying(&address).await;
        for number in 0..20 {
            world.infers(CUSTOMERS[number % 3], SMALL).await;
            if number == 7 {
                database.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE datname = current_database() AND application_name = 'ledgerway analysts'",
                );
            }
        }
        tokio::time::sleep(Duration::from_millis(round * 7 % 40)).await;
        copying.running.abort_all();
        copying.stop().await;
    }
    let copying = world.copying(&address).await;
    copying.caught_up().await;
    world.assert_same(&address).await;
    copying.stop().await;
}

#[tokio::test]
async fn a_database_without_the_schemas_is_named_until_they_are_there() {
    let world = World::with_history().await;
    let (database, address) = tokio::task::spawn_blocking(|| {
        let database = TestDatabase::create();
        let address: events::log::DatabaseAddress = database.url().parse().expect("an address");
        (database, address)
    })
    .await
    .expect("no panic");
    let copying = world.copying(&address).await;
    let why = eventually(|| match copying.status.read().state {
        RoleState::Failing { why, .. } => Ok(why),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(why, "the database has nothing for analysts yet: run `ledgerway migrate`");
    let migrated = address.clone();
    tokio::task::spawn_blocking(move || analysts::migrate(&migrated).expect("the schemas are made"))
        .await
        .expect("no panic");
    copying.caught_up().await;
    world.assert_same(&address).await;
    copying.stop().await;
    drop(database);
}
