//! The tables are those of this program, and of two copiers at once only one gets in.

use events::log::DatabaseAddress;
use projections::views::{RowsId, View};
use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Row};
use testing::postgres::TestDatabase;

use super::CopyWriter;
use crate::LAYOUT;
use crate::copied::{CopiedView, Rows, ViewStep};
use crate::error::CopyError;
use crate::migrate;
use crate::reading::Piece;
use crate::table::TABLES;
use crate::value::{Value, Values};

async fn database() -> (TestDatabase, DatabaseAddress) {
    let made = tokio::task::spawn_blocking(|| {
        let database = TestDatabase::create();
        let address = database.url().parse().expect("an address");
        migrate(&address).expect("the schemas are made");
        (database, address)
    });
    made.await.expect("no panic")
}

#[tokio::test]
async fn the_tables_have_the_columns_of_this_program_and_their_types() {
    let (_database, address) = database().await;
    let mut connection: PgConnection = address.connect_options(&[]).connect().await.expect("a connection");
    for table in TABLES {
        let columns = "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute
            WHERE attrelid = $1::regclass AND attnum > 0 AND attgenerated = '' ORDER BY attnum";
        let columns = sqlx::query(columns).bind(format!("views_rows.{}", table.name)).fetch_all(&mut connection).await;
        let found: Vec<(String, String)> =
            columns.expect("the columns").iter().map(|row| (row.get(0), row.get(1))).collect();
        let wanted: Vec<(String, String)> = table
            .columns
            .iter()
            .map(|column| {
                let full = column.kind.in_postgres().replace("timestamptz", "timestamp with time zone");
                (column.name.to_owned(), full)
            })
            .collect();
        assert_eq!(found, wanted, "{}", table.name);
    }
}

fn step(from: u64, to: u64, rows: Rows) -> ViewStep {
    let rows_id = RowsId { file: "f".to_owned(), swaps: 0 };
    let to = CopiedView { view: View::Audit, version: 1, position: to, recorded_at_micros: 5, rows: rows_id };
    ViewStep { from, to, rows }
}

fn entry(position: i64) -> Piece {
    let table = TABLES.iter().find(|table| table.name == "audit").expect("the audit");
    let value = |(index, column): (usize, &crate::table::Column)| match index {
        0 => Value::Integer(position),
        1 => Value::Instant(7),
        _ => Value::Text(column.name.to_owned()),
    };
    let row: Values = table.columns.iter().enumerate().map(value).collect();
    Piece { table, rows: vec![row], deleted: Vec::new() }
}

async fn copy(writer: &mut CopyWriter, step: ViewStep, token: i64, position: i64) -> Result<(), CopyError> {
    writer.begin(&[step], token).await?;
    writer.write(&entry(position)).await?;
    writer.commit().await
}

async fn position(address: &DatabaseAddress) -> u64 {
    let copied = CopyWriter::open(address).await.expect("the copy").copied().await.expect("how far it is");
    assert_eq!(copied.len(), View::ALL.len());
    copied.iter().find(|view| view.view == View::Audit).map_or(0, |view| view.position)
}

#[tokio::test]
async fn of_two_copiers_only_the_one_that_knows_where_the_copy_is_and_has_the_newest_lease_gets_in() {
    let (database, address) = database().await;
    let (mut one, mut two) =
        (CopyWriter::open(&address).await.expect("one"), CopyWriter::open(&address).await.expect("two"));
    copy(&mut one, step(0, 5, Rows::All), 3, 5).await.expect("it is there first");
    let late = copy(&mut two, step(0, 6, Rows::All), 4, 6).await;
    assert!(matches!(late, Err(CopyError::Overtaken)), "{late:?}");
    drop(two);
    let mut two = CopyWriter::open(&address).await.expect("two");
    copy(&mut two, step(5, 6, Rows::ChangedAfter(5)), 4, 6).await.expect("it has the newer lease");
    let old = copy(&mut one, step(6, 7, Rows::ChangedAfter(6)), 3, 7).await;
    assert!(matches!(old, Err(CopyError::Overtaken)), "{old:?}");
    drop(one);
    assert_eq!(position(&address).await, 6);
    database.execute(
        "DO $$ BEGIN ASSERT (SELECT array_agg(position ORDER BY position) = '{5,6}' FROM views.audit); END $$",
    );
}

#[tokio::test]
async fn a_transaction_that_is_dropped_leaves_nothing_and_keeps_nobody_out() {
    let (database, address) = database().await;
    let mut one = CopyWriter::open(&address).await.expect("one");
    one.begin(&[step(0, 5, Rows::All)], 1).await.expect("it begins");
    one.write(&entry(5)).await.expect("it writes");
    drop(one);
    let mut two = CopyWriter::open(&address).await.expect("two");
    copy(&mut two, step(0, 6, Rows::All), 1, 6).await.expect("nobody is in the way");
    assert_eq!(position(&address).await, 6);
    assert_eq!(database.number("SELECT count(*) FROM views.audit"), 1);
}

#[tokio::test]
async fn another_layout_is_left_alone() {
    let (database, address) = database().await;
    database.execute(&format!("UPDATE views_rows.layout SET version = {}", LAYOUT + 1));
    let opened = CopyWriter::open(&address).await;
    assert!(matches!(opened, Err(CopyError::OtherLayout { found }) if found == LAYOUT + 1));
    let migrated = tokio::task::spawn_blocking(move || migrate(&address)).await.expect("no panic");
    migrated.expect("it is left to the newer version");
}
