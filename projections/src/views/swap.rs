//! Replacing the rows in use by rebuilt ones. Tables, indexes and checkpoint of a view change in one transaction: every
//! reader sees either the old rows or the new ones, and so does the next start after a crash.

use rusqlite::{Connection, params};

use super::View;
use super::store::{Compatibility, NEXT_FILE, Store, StoreError, delete};
use super::touched::note_swap;

const ATTACH: &str = "ATTACH ?1 AS next";
const DETACH: &str = "DETACH next";
const TABLES: &str = include_str!("checkpoint/tables.sql");
const TAKE_CHECKPOINT: &str = include_str!("checkpoint/take.sql");

impl Store {
    /// Moves the views of `next`, made by [`Store::create_next`], into this store and deletes their file.
    /// Errors: views that were not moved by then are unchanged; none is moved while a reader keeps a long write-ahead log.
    pub fn swap_in(&mut self, next: Self) -> Result<(), StoreError> {
        self.wal.look(&self.connection)?;
        let views = next.views();
        drop(next);
        let path = self.dir.join(NEXT_FILE);
        self.connection.execute(ATTACH, [path.to_string_lossy()])?;
        let swapped = views.into_iter().try_for_each(|view| self.swap_in_view(view));
        self.connection.execute(DETACH, [])?;
        swapped?;
        delete(&path)
    }

    fn swap_in_view(&mut self, view: View) -> Result<(), StoreError> {
        let Some(stored) = self.stored.iter_mut().find(|stored| stored.projector.view() == view) else { return Ok(()) };
        let schema = stored.projector.schema();
        let tables = tables_of(schema)?;
        let transaction = self.connection.transaction()?;
        // The new rows reuse the pages that this frees.
        for table in &tables {
            transaction.execute(&format!("DROP TABLE IF EXISTS main.{table}"), [])?;
        }
        transaction.execute_batch(schema)?;
        for table in &tables {
            // SQLite's transfer optimisation: for this form, between tables of one definition of which the target is empty, it
            // copies tables and indexes page by page.
            transaction.execute(&format!("INSERT INTO main.{table} SELECT * FROM next.{table}"), [])?;
        }
        transaction.execute(TAKE_CHECKPOINT, params![view.as_str()])?;
        note_swap(&transaction, view)?;
        if let Some(tracker) = &self.tracker {
            tracker.begin_view(&transaction, view)?;
        }
        transaction.commit()?;
        stored.compatibility = Compatibility::Current;
        Ok(())
    }
}

/// The tables that a view's schema creates. The names are our own, so they may be formatted into SQL.
fn tables_of(schema: &str) -> Result<Vec<String>, rusqlite::Error> {
    let empty = Connection::open_in_memory()?;
    empty.execute_batch(schema)?;
    empty.prepare(TABLES)?.query_map([], |row| row.get(0))?.collect()
}
