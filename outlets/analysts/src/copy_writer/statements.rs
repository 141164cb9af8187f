//! The statements for the tables in PostgreSQL. Names of tables and columns are our own, so they may be formatted into SQL; one list
//! of columns is then enough for all statements. Values are sent as arrays of texts, one for each column.

use crate::table::{Column, Table};
use crate::value::Kind;

/// The statements that write a table.
pub struct Statements {
    pub upsert: String,
    pub delete: String,
}

impl Statements {
    pub fn of(table: &Table) -> Self {
        Self { upsert: upsert(table), delete: delete(table) }
    }
}

fn upsert(table: &Table) -> String {
    let (name, columns) = (table.name, names(table.columns));
    let others = table.columns.get(table.keys..).unwrap_or_default();
    let set = joined(others, |column| format!("{0} = excluded.{0}", column.name));
    format!(
        "INSERT INTO views_rows.{name} ({columns}) SELECT {} FROM {} ON CONFLICT ON CONSTRAINT {name}_pkey \
         DO UPDATE SET {set}",
        joined(table.columns, cast),
        sent(table.columns),
    )
}

fn delete(table: &Table) -> String {
    let keys = table.key_columns();
    let equal: Vec<String> = keys.iter().map(|column| format!("r.{} = {}", column.name, cast(column))).collect();
    format!("DELETE FROM views_rows.{} AS r USING {} WHERE {}", table.name, sent(keys), equal.join(" AND "))
}

pub fn empty(table: &Table) -> String {
    format!("DELETE FROM views_rows.{}", table.name)
}

/// Selects all rows in the order of their keys, as texts.
pub fn rows(table: &Table) -> String {
    let shown = joined(table.columns, shown);
    // Not the texts of the keys, which have the same names.
    let keys = joined(table.key_columns(), |column| format!("r.{}", column.name));
    format!("SELECT {shown} FROM views_rows.{} AS r ORDER BY {keys}", table.name)
}

/// The sent rows, as a table `n`.
fn sent(columns: &[Column]) -> String {
    let arrays: Vec<String> = (1..=columns.len()).map(|number| format!("${number}::text[]")).collect();
    format!("unnest({}) AS n ({})", arrays.join(", "), names(columns))
}

fn cast(column: &Column) -> String {
    format!("n.{}::{}", column.name, column.kind.in_postgres())
}

fn shown(column: &Column) -> String {
    let Column { name, kind } = column;
    match kind {
        Kind::Instant | Kind::InstantText => format!(r#"to_char({name}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#),
        _ => format!("{name}::text"),
    }
}

fn names(columns: &[Column]) -> String {
    joined(columns, |column| column.name.to_owned())
}

fn joined(columns: &[Column], part: impl Fn(&Column) -> String) -> String {
    columns.iter().map(part).collect::<Vec<_>>().join(", ")
}
