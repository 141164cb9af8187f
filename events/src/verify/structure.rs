//! What is beside the events and no event says: tables that only the database itself can judge, and the indexes by which
//! the events of administration are found. A page of them that the disk gave back wrong would else be noticed by whoever
//! needs its row.

use rusqlite::{Connection, params};

use super::VerifyError;
use crate::event::Recorded;
use crate::log::LogError;

/// Tables whose rows stand in no event.
const TABLES: &[&str] = &[
    "idempotency",
    "inference_keys",
    "names",
    "personal_data",
    "client_addresses",
    "key_secrets",
    "sealed_secrets",
    "wrapped_keys",
];
const OF_ADMINISTRATION: &str =
    "SELECT count(*), coalesce(sum(position), 0) FROM events INDEXED BY events_of_administration
     WHERE aggregate_type <> 'inference' AND aggregate_type <> 'hold' AND aggregate_type <> 'access'
       AND aggregate_type <> 'alert'
       AND position <= ?1";
const BY_TYPE_OF_STREAM: &str =
    "SELECT count(*), coalesce(sum(position), 0) FROM events INDEXED BY events_by_type_of_stream
     WHERE aggregate_type <> 'inference' AND aggregate_type <> 'hold' AND aggregate_type <> 'access'
       AND aggregate_type <> 'alert'
       AND position <= ?1";

/// Entries of an index: how many, and the sum of the positions that they lead to.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Entries {
    count: u64,
    positions: u64,
}

impl Entries {
    const fn add(&mut self, position: u64) {
        self.count += 1;
        self.positions += position;
    }
}

/// What the indexes have to have of the events.
#[derive(Default)]
pub(super) struct Structure {
    of_administration: Entries,
}

impl Structure {
    pub(super) fn take(&mut self, recorded: &Recorded) {
        if recorded.stream.kind.is_administration() {
            self.of_administration.add(recorded.position);
        }
    }

    /// Once all events up to `head` were taken.
    pub(super) fn must_be_sound(&self, connection: &Connection, head: u64) -> Result<(), VerifyError> {
        let broken = |reason| VerifyError::BesideTheLog { position: head, reason };
        for (index, named) in [(OF_ADMINISTRATION, "administration"), (BY_TYPE_OF_STREAM, "types on streams")] {
            must_lead_to(connection, index, head, self.of_administration)
                .map_err(|why| broken(format!("the index of {named} {why}")))?;
        }
        for table in TABLES {
            must_be_whole(connection, table).map_err(|why| broken(format!("the table {table} is damaged: {why}")))?;
        }
        Ok(())
    }
}

fn must_lead_to(connection: &Connection, sql: &str, head: u64, wanted: Entries) -> Result<(), String> {
    let entries = |row: &rusqlite::Row<'_>| Ok(Entries { count: row.get(0)?, positions: row.get(1)? });
    match connection.query_row(sql, params![head], entries) {
        Ok(found) if found == wanted => Ok(()),
        Ok(found) => Err(format!("leads to {} events, not to the {} that it should", found.count, wanted.count)),
        Err(error) => Err(format!("cannot be read: {}", LogError::from(error))),
    }
}

fn must_be_whole(connection: &Connection, table: &str) -> Result<(), String> {
    let mut said = String::new();
    let asked = connection.pragma(None, "integrity_check", table, |row| {
        said = row.get(0)?;
        Ok(())
    });
    match asked {
        Ok(()) if said == "ok" => Ok(()),
        Ok(()) => Err(said),
        Err(error) => Err(error.to_string()),
    }
}
