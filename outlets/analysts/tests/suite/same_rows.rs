//! The copy in PostgreSQL and the SQL views of the views' own file show the same: one page describes both.

use std::time::Duration;

use rusqlite::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Row};

use crate::world::{ACME, CUSTOMERS, GLOBEX, INITECH, LARGE, SMALL, Used, World, database};

const VIEWS: [&str; 9] = [
    "usage_by_hour", "requests", "other_usage", "budgets", "budget_windows", "audit", "resources", "prices", "position",
];
const COLUMNS: &str = "SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute
    WHERE attrelid = ('views.' || $1)::regclass AND attnum > 0 ORDER BY attnum";

/// The name of a column, and its value as the file has it.
struct Column {
    name: String,
    as_in_the_file: String,
}

/// The columns of a view in PostgreSQL, and the columns of nano-dollars that the file has as well.
async fn columns(connection: &mut PgConnection, view: &str) -> Vec<Column> {
    let columns = sqlx::query(COLUMNS).bind(view).fetch_all(connection).await.expect("the columns");
    let of = |row: &sqlx::postgres::PgRow| {
        let (name, kind): (String, String) = (row.get(0), row.get(1));
        let as_in_the_file = match kind.as_str() {
            "timestamp with time zone" => format!(r#"to_char({name}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#),
            kind if kind.ends_with("[]") => format!("array_to_json({name})::text"),
            "numeric" if name.contains("_usd") => format!("{name}::numeric(38,9)::text"),
            _ => format!("{name}::text"),
        };
        let nanos = name.contains("_usd").then(|| Column {
            name: name.replace("_usd", "_nanos"),
            as_in_the_file: format!("({name} * 1000000000)::numeric(38,0)::text"),
        });
        [Some(Column { name, as_in_the_file }), nanos]
    };
    columns.iter().flat_map(of).flatten().collect()
}

async fn in_postgres(connection: &mut PgConnection, view: &str, columns: &[Column]) -> Vec<String> {
    let values: Vec<String> =
        columns.iter().map(|column| format!("coalesce({}, '-')", column.as_in_the_file)).collect();
    let rows = format!("SELECT concat_ws('|', {}) FROM views.{view}", values.join(", "));
    let rows = sqlx::query(&rows).fetch_all(connection).await.expect("rows");
    sorted(rows.iter().map(|row| row.get(0)).collect())
}

fn in_the_file(file: &Connection, view: &str) -> (Vec<String>, Vec<String>) {
    let mut statement =
        file.prepare(&format!("SELECT * FROM {view}")).unwrap_or_else(|error| panic!("{view}: {error}"));
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let values: Vec<String> = columns.iter().map(|name| format!("coalesce(CAST({name} AS TEXT), '-')")).collect();
    statement = file.prepare(&format!("SELECT {} FROM {view}", values.join(" || '|' || "))).expect("the rows as texts");
    let rows = statement.query_map([], |row| row.get(0)).expect("rows").collect::<Result<_, _>>();
    (columns, sorted(rows.expect("texts")))
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort();
    rows
}

#[tokio::test]
async fn every_row_and_every_column_is_the_same_in_postgresql_and_in_the_file() {
    let (database, copied) = database().await;
    let mut world = World::with_history().await;
    let copying = world.copying(&copied).await;
    let request = world.infers(ACME, SMALL).await;
    world.pass(Duration::from_secs(2 * 3600)).await;
    world.corrects(ACME, request, (5, SMALL.nanos - 50_000)).await;
    world.rename(GLOBEX, "Globex & Sons").await;
    for customer in [GLOBEX, INITECH] {
        world.only_observes(customer).await;
    }
    let most = Used { input: u64::MAX, output: u64::MAX, nanos: i64::MAX, latency_ms: 1 << 40, ..LARGE };
    for _ in 0..3 {
        world.infers(INITECH, most).await;
    }
    for latency_ms in [0, 15, 16, 400, 401, 100_000] {
        world.infers(GLOBEX, Used { nanos: 1_234_567_890, latency_ms, ..SMALL }).await;
    }
    for customer in CUSTOMERS {
        world.refuses(customer).await;
        world.fails(customer).await;
    }
    let running = world.admits(ACME, "small").await;
    copying.caught_up().await;
    copying.stop().await;
    let address: PgConnectOptions = database.url().parse().expect("an address");
    let (mut connection, file) = (address.connect().await.expect("a connection"), world.views_file());
    sqlx::raw_sql("SET timezone = 'UTC'").execute(&mut connection).await.expect("a setting");
    for view in VIEWS {
        let columns = columns(&mut connection, view).await;
        let (names, rows) = in_the_file(&file, view);
        assert_eq!(names, columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), "{view}");
        assert_eq!(rows, in_postgres(&mut connection, view, &columns).await, "{view}");
        assert!(rows.len() >= 2, "{view} has {} rows", rows.len());
    }
    let beyond_64_bits = |column: &str| {
        let found = format!("SELECT count(*) FROM usage_by_hour WHERE typeof({column}) = 'text'");
        file.query_row(&found, [], |row| row.get::<_, u32>(0)).expect("a number")
    };
    assert_eq!(["cost_nanos", "input_uncached_tokens"].map(beyond_64_bits), [1, 1]);
    drop(running);
}
