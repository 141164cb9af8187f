//! The statements for the tables in SQLite. Names of tables and columns are our own, so they may be formatted into SQL.

use crate::table::{Column, Table};

pub fn upsert(table: &Table) -> String {
    let columns = all_names(table.columns);
    let values: Vec<String> = (1..=columns.len()).map(|number| format!("?{number}")).collect();
    let others = all_names(table.columns.get(table.keys..).unwrap_or_default());
    let set: Vec<String> = others.iter().map(|name| format!("{name} = excluded.{name}")).collect();
    format!(
        "INSERT INTO rows_{} ({}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET {}",
        table.name,
        columns.join(", "),
        values.join(", "),
        all_names(table.key_columns()).join(", "),
        set.join(", "),
    )
}

pub fn delete(table: &Table) -> String {
    let keys = (1..).zip(table.key_columns()).map(|(number, column)| format!("{} = ?{number}", column.name));
    format!("DELETE FROM rows_{} WHERE {}", table.name, keys.collect::<Vec<_>>().join(" AND "))
}

pub fn empty(table: &Table) -> String {
    format!("DELETE FROM rows_{}", table.name)
}

/// Selects all rows in the order of their keys: numbers as texts, and nano-dollars as they are.
pub fn rows(table: &Table) -> String {
    let shown: Vec<String> = table
        .columns
        .iter()
        .flat_map(|column| {
            let nanos = column.kind.is_money().then(|| nanos(column));
            [Some(format!("CAST({} AS TEXT)", column.name)), nanos].into_iter().flatten()
        })
        .collect();
    let keys = all_names(table.key_columns()).join(", ");
    format!("SELECT {} FROM rows_{} ORDER BY {keys}", shown.join(", "), table.name)
}

/// The columns, each amount followed by the one in nano-dollars.
fn all_names(columns: &[Column]) -> Vec<String> {
    let both = |column: &Column| [Some(column.name.to_owned()), column.kind.is_money().then(|| nanos(column))];
    columns.iter().flat_map(both).flatten().collect()
}

fn nanos(column: &Column) -> String {
    column.name.replace("_usd", "_nanos")
}
