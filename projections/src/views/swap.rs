//! Views that were built beside the ones in use take their place: tables, indexes and checkpoint of a view in one
//! transaction, so that every reader sees either the old rows or the new ones, and a crash leaves either.

use std::path::Path;

use rusqlite::{Connection, params};

use super::View;
use super::store::{Fitness, NEXT_FILE, Store, StoreError, delete};

const ATTACH: &str = "ATTACH ?1 AS next";
const DETACH: &str = "DETACH next";
const TABLES: &str = include_str!("checkpoint/tables.sql");
const TAKE_CHECKPOINT: &str = include_str!("checkpoint/take.sql");

impl Store {
    /// Takes the views of `next`, which was begun [`Store::beside`] this one, and deletes its file.
    /// Errors: the views that had not been taken by then are as they were.
    pub fn take_over(&mut self, next: Self, dir: &Path) -> Result<(), StoreError> {
        let views = next.views();
        drop(next);
        let path = dir.join(NEXT_FILE);
        self.connection.execute(ATTACH, [path.to_string_lossy()])?;
        let taken = views.into_iter().try_for_each(|view| self.take(view));
        self.connection.execute(DETACH, [])?;
        taken?;
        delete(&path)
    }

    fn take(&mut self, view: View) -> Result<(), StoreError> {
        let Some(kept) = self.kept.iter_mut().find(|kept| kept.projector.view() == view) else { return Ok(()) };
        let schema = kept.projector.schema();
        let tables = tables_of(schema)?;
        let transaction = self.connection.transaction()?;
        // Pages that this frees are where the new rows go.
        for table in &tables {
            transaction.execute(&format!("DROP TABLE IF EXISTS main.{table}"), [])?;
        }
        transaction.execute_batch(schema)?;
        for table in &tables {
            // In this form, with tables of one definition of which one is empty, SQLite copies tables and indexes as they
            // are, without looking at a row.
            transaction.execute(&format!("INSERT INTO main.{table} SELECT * FROM next.{table}"), [])?;
        }
        transaction.execute(TAKE_CHECKPOINT, params![view.as_str()])?;
        transaction.commit()?;
        kept.fitness = Fitness::Current;
        Ok(())
    }
}

/// Our own names, as they stand in the schema.
fn tables_of(schema: &str) -> Result<Vec<String>, rusqlite::Error> {
    let empty = Connection::open_in_memory()?;
    empty.execute_batch(schema)?;
    empty.prepare(TABLES)?.query_map([], |row| row.get(0))?.collect()
}
