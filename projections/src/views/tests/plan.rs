//! SQLite's query plans.

use rusqlite::Connection;

use crate::views::exact;

/// The steps of the plan of a query, over empty tables of this schema.
pub fn of(schema: &str, sql: &str) -> Vec<String> {
    explained(schema, &format!("EXPLAIN QUERY PLAN {sql}"), 3)
}

/// The operations of the program of a statement, over empty tables of this schema.
pub fn operations(schema: &str, sql: &str) -> Vec<String> {
    explained(schema, &format!("EXPLAIN {sql}"), 1)
}

fn explained(schema: &str, sql: &str, column: usize) -> Vec<String> {
    let db = Connection::open_in_memory().expect("a database");
    exact::register(&db).expect("the functions");
    db.execute_batch(schema).expect("the schema");
    let mut statement = db.prepare(sql).expect("a plan");
    let mut rows = statement.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().expect("a step") {
        steps.push(row.get(column).expect("its text"));
    }
    steps
}
