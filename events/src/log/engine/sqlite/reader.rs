//! The reader on SQLite: a read-only connection, which sees only committed batches and never blocks the writer.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use chrono::{DateTime, Utc};
use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::migrate::{other_schema, version};
use super::read::{
    SELECT_ADMINISTRATION, SELECT_EVENTS, after, checkpoint, collect, head, idempotent_reply, recorded, signed, stream,
};
use super::state::read_state;
use crate::event::{Recorded, Resource, Stream};
use crate::ids::{KeyId, RequestId, UserId};
use crate::ledger::Balances;
use crate::log::owners::{BLOCK_POSITIONS, Owner, block_of};
use crate::log::{
    ClientAddress, EventFilter, Head, KeySecret, LogError, Part, PersonalData, Reader, SealedSecret, StoredReply,
};

const SELECT_OWNED: &str = include_str!("sql/select_owned.sql");
const SELECT_LAST_OF_TYPE: &str = include_str!("sql/select_last_of_type.sql");
const SELECT_SEALED: &str = "SELECT subject, key_scope, generation, sealed FROM sealed_secrets";
const NTH_BLOCK: &str = include_str!("sql/nth_block.sql");
/// Maximum number of positions that one filtered read examines.
const POSITIONS_MAX: u64 = 65_536;

pub(super) struct SqliteReader {
    pub(super) connection: Connection,
}

impl SqliteReader {
    pub(super) fn open(ledger: &Path) -> Result<Self, LogError> {
        Self::of(super::offline::with_locks(ledger)?)
    }

    /// Opens a ledger without writing into its folder, see [`super::offline`].
    pub(super) fn open_offline(ledger: &Path) -> Result<Self, LogError> {
        Self::of(super::offline::connect(ledger)?)
    }

    /// Refuses a ledger with another schema.
    fn of(connection: Connection) -> Result<Self, LogError> {
        // If the version cannot be read, the file is damaged: later reads find out where.
        match version(&connection).ok().and_then(other_schema) {
            Some(other) => Err(other.into()),
            None => Ok(Self { connection }),
        }
    }

    /// The first position recorded at this time or later, or `head + 1`. A binary search, because times never go back.
    fn first_since(&self, at: DateTime<Utc>, head: u64) -> Result<u64, LogError> {
        let mut statement = self.connection.prepare_cached("SELECT recorded_at FROM events WHERE position = ?1")?;
        let (mut low, mut high) = (1, head + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let recorded_at: i64 = statement.query_row([middle], |row| row.get(0))?;
            if recorded_at < at.timestamp_micros() {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The matching events after the first position, up to the second; of administration alone if no other can match.
    fn scan(&self, filter: &EventFilter, (after, until): (u64, u64), limit: usize) -> Result<Vec<Recorded>, LogError> {
        let values = vec![signed(after).into(), signed(until).into()];
        let sql = if filter.is_of_administration() {
            format!("{SELECT_ADMINISTRATION} AND position > ?1 AND position <= ?2")
        } else {
            format!("{SELECT_EVENTS} WHERE position > ?1 AND position <= ?2")
        };
        self.page(sql, values, filter, ("position", limit))
    }

    /// The last position of the blocks that one read examines; `None` if the owner has fewer blocks left.
    fn blocks_end(&self, owner: Owner, after: u64) -> Result<Option<u64>, LogError> {
        let mut statement = self.connection.prepare_cached(NTH_BLOCK)?;
        let values = params![owner.to_string(), block_of(after), POSITIONS_MAX / BLOCK_POSITIONS - 1];
        let block: Option<u64> = statement.query_row(values, |row| row.get(0)).optional()?;
        Ok(block.map(|block| block * BLOCK_POSITIONS + BLOCK_POSITIONS - 1))
    }

    /// The matching events in the owner's blocks, after the first position, up to the second.
    fn in_blocks(
        &self,
        owner: Owner,
        filter: &EventFilter,
        (after, until): (u64, u64),
        limit: usize,
    ) -> Result<Vec<Recorded>, LogError> {
        let values = vec![owner.to_string().into(), signed(after).into(), signed(until).into()];
        self.page(SELECT_OWNED.to_owned(), values, filter, ("block, position", limit))
    }

    fn page(
        &self,
        mut sql: String,
        mut values: Vec<SqlValue>,
        filter: &EventFilter,
        (order, limit): (&str, usize),
    ) -> Result<Vec<Recorded>, LogError> {
        if let Some(tenant) = filter.tenant {
            sql.push_str(" AND coalesce(context, metadata) ->> '$.tenant_id' = ?");
            values.push(tenant.to_string().into());
        }
        if let Some(partner) = filter.partner {
            sql.push_str(" AND coalesce(context, metadata) ->> '$.partner_id' = ?");
            values.push(partner.to_string().into());
        }
        if let Some(types) = &filter.types {
            let wanted = vec!["(?, ?)"; types.len()].join(", ");
            sql.push_str(&format!(" AND (event_type, event_version) IN (VALUES {wanted})"));
            for (name, version) in types {
                values.push(name.clone().into());
                values.push(version.to_string().into());
            }
        }
        sql.push_str(&format!(" ORDER BY {order} LIMIT ?"));
        values.push(i64::try_from(limit).unwrap_or(i64::MAX).into());
        collect(&self.connection, &sql, params_from_iter(values))
    }
}

impl Reader for SqliteReader {
    fn head(&self) -> Result<Head, LogError> {
        head(&self.connection)
    }

    fn after(&self, position: u64, limit: usize) -> Result<Vec<Recorded>, LogError> {
        after(&self.connection, position, limit)
    }

    fn filtered(&self, filter: &EventFilter, after: u64, limit: usize) -> Result<Part, LogError> {
        // Read first: events appended meanwhile have later positions.
        let head = self.head()?.position;
        let written_until = checkpoint(&self.connection)?;
        let owner = Owner::of_filter(filter);
        let after = match filter.from {
            Some(from) => after.max(self.first_since(from, head)? - 1),
            None => after,
        };
        let end = match filter.to {
            Some(to) => self.first_since(to, head)? - 1,
            None => head,
        };
        let (events, until) = match owner {
            _ if filter.is_of_administration() => (self.scan(filter, (after, end), limit)?, end),
            None => {
                let until = after.saturating_add(POSITIONS_MAX).min(end);
                (self.scan(filter, (after, until), limit)?, until)
            }
            Some(owner) => {
                let until = self.blocks_end(owner, after)?.unwrap_or(end).min(end);
                let mut found = self.in_blocks(owner, filter, (after, written_until.min(until)), limit)?;
                if found.len() < limit {
                    found.extend(self.scan(filter, (after.max(written_until), until), limit - found.len())?);
                }
                (found, until)
            }
        };
        let last = events.last().map(|last| last.position).filter(|_| events.len() == limit);
        Ok(Part { events, until: last.unwrap_or(until).max(after), head, end })
    }

    fn at(&self, positions: &[u64]) -> Result<HashMap<u64, Recorded>, LogError> {
        let sql = format!("{SELECT_EVENTS} WHERE position = ?1");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut found = HashMap::with_capacity(positions.len());
        for position in positions {
            let mut rows = statement.query([position])?;
            if let Some(row) = rows.next()? {
                found.insert(*position, recorded(row)?);
            }
        }
        Ok(found)
    }

    fn stream(&self, of: &Stream) -> Result<Vec<Recorded>, LogError> {
        stream(&self.connection, of)
    }

    fn last_of_each_type(&self, of: &Stream, position: Option<u64>) -> Result<Vec<Recorded>, LogError> {
        const SEQUENCE_AT: &str = "SELECT sequence FROM events WHERE position = ?1";
        let until = match position {
            None => i64::MAX,
            Some(position) => self.connection.prepare_cached(SEQUENCE_AT)?.query_row([position], |row| row.get(0))?,
        };
        let mut statement = self.connection.prepare_cached(SELECT_LAST_OF_TYPE)?;
        let mut found = Vec::new();
        for name in Resource::names_on(of.kind) {
            let mut rows = statement.query(params![of.id, of.kind.as_str(), name, until])?;
            if let Some(row) = rows.next()? {
                found.push(recorded(row)?);
            }
        }
        found.sort_by_key(|recorded| recorded.sequence);
        Ok(found)
    }

    fn administration_after(&self, position: u64) -> Result<Vec<Recorded>, LogError> {
        let sql = format!("{SELECT_ADMINISTRATION} AND position > ?1 ORDER BY position");
        collect(&self.connection, &sql, [position])
    }

    fn idempotent_reply(&self, scope: &str, key: &str) -> Result<Option<StoredReply>, LogError> {
        idempotent_reply(&self.connection, scope, key)
    }

    fn key_secrets(&self, key: KeyId) -> Result<Vec<KeySecret>, LogError> {
        const SQL: &str = "SELECT generation, salt, hash FROM key_secrets WHERE key_id = ?1 ORDER BY generation";
        let mut statement = self.connection.prepare_cached(SQL)?;
        let rows = statement.query_map([key.to_string()], |row| {
            Ok(KeySecret { key_id: key, generation: row.get(0)?, salt: row.get(1)?, hash: row.get(2)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn sealed_secret(&self, subject: &str) -> Result<Option<SealedSecret>, LogError> {
        let sql = format!("{SELECT_SEALED} WHERE subject = ?1 ORDER BY generation DESC LIMIT 1");
        Ok(self.connection.prepare_cached(&sql)?.query_row([subject], sealed_secret).optional()?)
    }

    fn wrapped_key(&self, scope: &str) -> Result<Option<Vec<u8>>, LogError> {
        let mut statement = self.connection.prepare_cached("SELECT wrapped FROM wrapped_keys WHERE scope = ?1")?;
        Ok(statement.query_row([scope], |row| row.get(0)).optional()?)
    }

    fn any_wrapped_key(&self) -> Result<Option<(String, Vec<u8>)>, LogError> {
        let mut statement = self.connection.prepare_cached("SELECT scope, wrapped FROM wrapped_keys LIMIT 1")?;
        Ok(statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
    }

    fn wrapped_keys(&self) -> Result<Vec<(String, Vec<u8>)>, LogError> {
        let mut statement = self.connection.prepare_cached("SELECT scope, wrapped FROM wrapped_keys ORDER BY scope")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn sealed_secrets(&self) -> Result<Vec<SealedSecret>, LogError> {
        let mut statement = self.connection.prepare_cached(&format!("{SELECT_SEALED} ORDER BY subject, generation"))?;
        let rows = statement.query_map([], sealed_secret)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn subjects_with_secret(&self, subjects: Vec<String>) -> Result<HashSet<String>, LogError> {
        const SQL: &str = "SELECT EXISTS (SELECT 1 FROM sealed_secrets WHERE subject = ?1 AND length(sealed) > 0)";
        let mut statement = self.connection.prepare_cached(SQL)?;
        let mut found = HashSet::new();
        for subject in subjects {
            if statement.query_row([&subject], |row| row.get(0))? {
                found.insert(subject);
            }
        }
        Ok(found)
    }

    fn personal_data(&self, subjects: &[UserId]) -> Result<HashMap<UserId, PersonalData>, LogError> {
        let mut statement =
            self.connection.prepare_cached("SELECT name, email, salt FROM personal_data WHERE subject = ?1")?;
        let mut found = HashMap::new();
        for subject in subjects {
            let person = statement.query_row([subject.to_string()], |row| {
                Ok(PersonalData { subject: *subject, name: row.get(0)?, email: row.get(1)?, salt: row.get(2)? })
            });
            if let Some(person) = person.optional()? {
                found.insert(*subject, person);
            }
        }
        Ok(found)
    }

    fn people_named(&self, name: &str, limit: usize) -> Result<Vec<UserId>, LogError> {
        const SQL: &str = "SELECT subject FROM personal_data WHERE name = ?1 LIMIT ?2";
        let mut statement = self.connection.prepare_cached(SQL)?;
        let subjects = statement.query_map(params![name, limit], |row| row.get::<_, String>(0))?;
        let subjects = subjects.collect::<Result<Vec<String>, _>>()?;
        Ok(subjects.iter().filter_map(|subject| subject.parse().ok()).collect())
    }

    fn client_addresses(&self, requests: &[RequestId]) -> Result<HashMap<RequestId, ClientAddress>, LogError> {
        let mut statement =
            self.connection.prepare_cached("SELECT ip, user_agent FROM client_addresses WHERE request_id = ?1")?;
        let mut found = HashMap::new();
        for request in requests {
            let address = statement.query_row([request.to_string()], |row| {
                Ok(ClientAddress { request_id: *request, ip: row.get(0)?, user_agent: row.get(1)? })
            });
            if let Some(address) = address.optional()? {
                found.insert(*request, address);
            }
        }
        Ok(found)
    }

    fn balances(&self, now: DateTime<Utc>) -> Result<(Head, Balances), LogError> {
        // One snapshot, because the rows and the events after them belong together.
        let snapshot = self.connection.unchecked_transaction()?;
        let state = read_state(&snapshot, now)?;
        Ok((state.head, state.balances))
    }
}

/// A row of [`SELECT_SEALED`].
fn sealed_secret(row: &Row<'_>) -> rusqlite::Result<SealedSecret> {
    Ok(SealedSecret { subject: row.get(0)?, key_scope: row.get(1)?, generation: row.get(2)?, sealed: row.get(3)? })
}

#[cfg(test)]
mod tests;
