//! The tables of the copy: what each takes from the views' file. The order of the columns is that of the statements in `table/`;
//! the first ones are the key. Before them each statement says whether there is such a row, or only the key of a deleted one.

mod columns;

use projections::views::View;

use crate::value::Kind;

/// A column of the copy.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
}

/// A table of the copy.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    pub name: &'static str,
    /// The view that its rows come from.
    pub view: View,
    pub columns: &'static [Column],
    /// The number of columns in its key.
    pub keys: usize,
    /// Selects the rows and the deleted keys that changed after the position ?1.
    pub touched: &'static str,
    /// Selects all rows in the order of their keys.
    pub all: &'static str,
}

impl Table {
    pub fn key_columns(&self) -> &'static [Column] {
        self.columns.get(..self.keys).unwrap_or_default()
    }
}

macro_rules! table {
    ($name:literal, $view:ident, $keys:literal, $columns:ident) => {
        Table {
            name: $name,
            view: View::$view,
            columns: columns::$columns,
            keys: $keys,
            touched: concat!(
                include_str!(concat!("table/", $name, "/columns.sql")),
                include_str!(concat!("table/", $name, "/touched.sql"))
            ),
            all: concat!(
                include_str!(concat!("table/", $name, "/columns.sql")),
                include_str!(concat!("table/", $name, "/all.sql"))
            ),
        }
    };
}

/// Every table.
pub const TABLES: &[Table] = &[
    table!("usage_by_hour", UsageByHour, 9, USAGE_BY_HOUR),
    table!("requests", Inferences, 1, REQUESTS),
    table!("other_usage", Inferences, 1, OTHER_USAGE),
    table!("budgets", Budgets, 1, BUDGETS),
    table!("budget_windows", Budgets, 2, BUDGET_WINDOWS),
    table!("audit", Audit, 1, AUDIT),
    table!("resources", Catalogue, 1, RESOURCES),
    table!("prices", Catalogue, 1, PRICES),
];

#[cfg(test)]
mod tests {
    use projections::views::compare::FreshRows;

    use super::*;

    /// Also that SQLite finds changed rows by an index.
    #[test]
    fn each_statement_selects_the_columns_of_its_table() {
        let fresh = FreshRows::empty().expect("empty views");
        let fresh = fresh.rows();
        fresh
            .execute_batch(include_str!("../../../projections/src/views/touched/tables.sql"))
            .expect("the tables of changes");
        for table in TABLES {
            for statement in [table.touched, table.all] {
                let prepared = fresh.prepare(statement).unwrap_or_else(|error| panic!("{}: {error}", table.name));
                assert_eq!(prepared.column_count(), table.columns.len() + 1, "{}", table.name);
            }
            let plan = fresh.prepare(&format!("EXPLAIN QUERY PLAN {}", table.touched)).and_then(|mut plan| {
                plan.query_map([0], |row| row.get::<_, String>(3))?.collect::<Result<Vec<_>, _>>()
            });
            let plan = plan.expect("a plan");
            assert!(plan.iter().all(|step| !step.starts_with("SCAN ") || step.contains("subquery")), "{plan:?}");
        }
    }
}
