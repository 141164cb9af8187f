//! The contexts of the events of requests. Each is stored once, without its request: the event has its number, and the request
//! is the event's stream. All other events keep their whole context (ADR-0014).

use events::compact_json;
use events::event::Context;
use events::ids::IdMap;
use rusqlite::{Connection, OptionalExtension};

use crate::LogError;
use crate::stored::stored;

const SELECT: &str = "SELECT number FROM contexts WHERE context = ?1";
const INSERT: &str = "INSERT INTO contexts (context) VALUES (?1)";
/// The most numbers in memory. At this number all are dropped, and looked up again when they are needed.
const KEPT_MAX: usize = 4096;

/// Writes contexts as `events.metadata`.
#[derive(Default)]
pub(super) struct SqliteContexts {
    numbers: IdMap<Context, i64>,
}

impl SqliteContexts {
    /// Appends the metadata of an event: the number of its context, or the context.
    pub(super) fn write_metadata(
        &mut self,
        connection: &Connection,
        is_of_its_request: bool,
        context: &Context,
        out: &mut Vec<u8>,
    ) -> Result<(), LogError> {
        if !is_of_its_request {
            return write_json(out, context);
        }
        let context = Context { request_id: None, ..context.clone() };
        let number = match self.numbers.get(&context) {
            Some(number) => *number,
            None => self.store(connection, context)?,
        };
        out.extend_from_slice(number.to_string().as_bytes());
        Ok(())
    }

    fn store(&mut self, connection: &Connection, context: Context) -> Result<i64, LogError> {
        let mut json = Vec::with_capacity(300);
        write_json(&mut json, &context)?;
        let json = text(&json)?;
        let found = connection.prepare_cached(SELECT)?.query_row([json], |row| row.get(0)).optional()?;
        let number = match found {
            Some(number) => number,
            None => connection.prepare_cached(INSERT)?.insert([json])?,
        };
        if self.numbers.len() >= KEPT_MAX {
            self.numbers.clear();
        }
        self.numbers.insert(context, number);
        Ok(number)
    }

    /// Forgets the numbers: a transaction that may have stored some of them has not been committed.
    pub(super) fn forget(&mut self) {
        self.numbers.clear();
    }
}

pub(super) fn text(json: &[u8]) -> Result<&str, LogError> {
    std::str::from_utf8(json).map_err(stored)
}

fn write_json(out: &mut Vec<u8>, context: &Context) -> Result<(), LogError> {
    compact_json::write(out, context).map_err(stored)
}
