//! SQLite's query plans.

use rusqlite::Connection;

use crate::views::exact;

/// The steps of the plan of a query, over empty tables of this schema.
pub fn of(schema: &str, sql: &str) -> Vec<String> {
    let db = Connection::open_in_memory().expect("a database");
    exact::register(&db).expect("the functions");
    db.execute_batch(schema).expect("the schema");
    let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("a plan");
    let mut rows = statement.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().expect("a step") {
        steps.push(row.get(3).expect("its text"));
    }
    steps
}
