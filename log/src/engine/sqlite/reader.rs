//! The reader on SQLite: a read-only connection, which sees only committed batches and never blocks the writer.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use chrono::{DateTime, Utc};
use events::content::{ContentKeyOwner, content_key_names_of, tenant_of_content_key};
use events::event::{Recorded, Resource, Stream};
use events::ids::{KeyId, RequestId, TenantId, UserId};
use events::ledger::Balances;
use rusqlite::types::{ToSql, Value as SqlValue};
use rusqlite::{Connection, Row, params, params_from_iter};

use super::read::{
    SELECT_ADMINISTRATION, SELECT_EVENTS, after, all, checkpoint, head, idempotent_reply, one, recorded, stream,
};
use super::state::read_state;
use crate::filtered_read::{FilteredRead, LastBlock, LogAtRead, Positions, Range};
use crate::interrupt::Interrupt;
use crate::owners::Owner;
use crate::stored::{parsed, signed, stored};
use crate::{
    ClientAddress, EventFilter, Head, KeySecret, LogError, Part, PersonalData, Reader, RegisteredNode, SealedSecret,
    StoredReply, TenantKey,
};

const SELECT_OWNED: &str = include_str!("sql/select_owned.sql");
const SELECT_LAST_OF_TYPE: &str = include_str!("sql/select_last_of_type.sql");
const SELECT_SEALED: &str = "SELECT subject, key_scope, generation, sealed FROM sealed_secrets";
const NTH_BLOCK: &str = include_str!("sql/nth_block.sql");

pub(super) struct SqliteReader {
    pub(super) connection: Connection,
    /// Ends the work that is running, if it can be interrupted.
    pub(super) interrupt: RefCell<Option<Interrupt>>,
}

impl SqliteReader {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, interrupt: RefCell::default() }
    }

    /// A binary search, because times never go back.
    fn first_until(&self, at: DateTime<Utc>, head: u64) -> Result<u64, LogError> {
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

    /// The matching events at these positions; of administration alone if no other can match.
    fn scan(
        &self,
        filter: &EventFilter,
        Positions { after, until }: Positions,
        limit: usize,
    ) -> Result<Vec<Recorded>, LogError> {
        let values = vec![signed(after).into(), signed(until).into()];
        let sql = if filter.is_of_administration() {
            format!("{SELECT_ADMINISTRATION} AND position > ?1 AND position <= ?2")
        } else {
            format!("{SELECT_EVENTS} WHERE position > ?1 AND position <= ?2")
        };
        self.page(sql, values, filter, "position", limit)
    }

    /// `None` if the owner has fewer blocks.
    fn find_block(&self, LastBlock { owner, from, nth }: LastBlock) -> Result<Option<u64>, LogError> {
        one(&self.connection, NTH_BLOCK, params![owner.to_string(), from, nth], |row| Ok(row.get(0)?))
    }

    /// The matching events at these positions, in the owner's blocks.
    fn in_blocks(
        &self,
        owner: Owner,
        filter: &EventFilter,
        Positions { after, until }: Positions,
        limit: usize,
    ) -> Result<Vec<Recorded>, LogError> {
        let values = vec![owner.to_string().into(), signed(after).into(), signed(until).into()];
        self.page(SELECT_OWNED.to_owned(), values, filter, "block, position", limit)
    }

    fn page(
        &self,
        mut sql: String,
        mut values: Vec<SqlValue>,
        filter: &EventFilter,
        order: &str,
        limit: usize,
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
        values.push(signed(limit as u64).into());
        all(&self.connection, &sql, params_from_iter(values), recorded)
    }

    /// The first row of a statement for each of these keys, if it has any.
    fn by_key<K: Copy + Eq + Hash, V: ToSql, T>(
        &self,
        sql: &str,
        keys: &[K],
        value: impl Fn(&K) -> V,
        read: impl Fn(K, &Row<'_>) -> Result<T, LogError>,
    ) -> Result<HashMap<K, T>, LogError> {
        let find = |key: &K| one(&self.connection, sql, [value(key)], |row| Ok((*key, read(*key, row)?))).transpose();
        keys.iter().filter_map(find).collect()
    }
}

impl Reader for SqliteReader {
    fn head(&self) -> Result<Head, LogError> {
        head(&self.connection)
    }

    fn after(&self, position: u64, limit: usize) -> Result<Vec<Recorded>, LogError> {
        after(&self.connection, position, limit)
    }

    fn first_since(&self, at: DateTime<Utc>) -> Result<u64, LogError> {
        self.first_until(at, self.head()?.position)
    }

    fn revaluation_begins_after(&self) -> Result<u64, LogError> {
        const SQL: &str = "SELECT after FROM revaluation_begins";
        Ok(self.connection.query_row(SQL, [], |row| row.get(0))?)
    }

    fn filtered(&self, filter: &EventFilter, after: u64, limit: usize) -> Result<Part, LogError> {
        let head = self.head()?.position;
        let first = |at: Option<DateTime<Utc>>| at.map(|at| self.first_until(at, head)).transpose();
        let (blocks_until, from, to) = (checkpoint(&self.connection)?, first(filter.from)?, first(filter.to)?);
        let read = FilteredRead::new(filter, after, LogAtRead { head, blocks_until, from, to });
        let until = read.until(read.last_block().map(|block| self.find_block(block)).transpose()?.flatten());
        let mut found = Vec::new();
        for range in read.ranges(until) {
            let rest = limit - found.len();
            found.extend(match range {
                _ if rest == 0 => break,
                Range::Blocks(owner, positions) => self.in_blocks(owner, filter, positions, rest)?,
                Range::All(positions) => self.scan(filter, positions, rest)?,
            });
        }
        Ok(read.part(found, until, limit))
    }

    fn at(&self, positions: &[u64]) -> Result<HashMap<u64, Recorded>, LogError> {
        let sql = format!("{SELECT_EVENTS} WHERE position = ?1");
        self.by_key(&sql, positions, |position| *position, |_, row| recorded(row))
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
        let last = |name: &&str| {
            let values = params![of.id, of.kind.as_str(), name, until];
            one(&self.connection, SELECT_LAST_OF_TYPE, values, recorded).transpose()
        };
        let mut found = Resource::names_on(of.kind).iter().filter_map(last).collect::<Result<Vec<_>, _>>()?;
        found.sort_by_key(|recorded| recorded.sequence);
        Ok(found)
    }

    fn administration_after(&self, position: u64) -> Result<Vec<Recorded>, LogError> {
        let sql = format!("{SELECT_ADMINISTRATION} AND position > ?1 ORDER BY position");
        all(&self.connection, &sql, [position], recorded)
    }

    fn idempotent_reply(&self, scope: &str, key: &str) -> Result<Option<StoredReply>, LogError> {
        idempotent_reply(&self.connection, scope, key)
    }

    fn key_secrets(&self, keys: &[KeyId]) -> Result<Vec<KeySecret>, LogError> {
        const SQL: &str = "SELECT key_id, generation, salt, hash, mac FROM key_secrets
            WHERE key_id IN (SELECT value FROM json_each(?1)) ORDER BY key_id, generation";
        let keys = serde_json::to_string(keys).map_err(stored)?;
        all(&self.connection, SQL, [keys], |row| {
            let key_id = parsed(&row.get::<_, String>(0)?)?;
            let generation = u32::try_from(row.get::<_, i64>(1)?).map_err(stored)?;
            let (salt, hash, mac) = (row.get(2)?, row.get(3)?, row.get(4)?);
            Ok(KeySecret { key_id, generation, salt, hash, mac })
        })
    }

    fn sealed_secret(&self, subject: &str) -> Result<Option<SealedSecret>, LogError> {
        let sql = format!("{SELECT_SEALED} WHERE subject = ?1 ORDER BY generation DESC LIMIT 1");
        one(&self.connection, &sql, [subject], sealed_secret)
    }

    fn sealed_secret_of(&self, subject: &str, generation: u32) -> Result<Option<SealedSecret>, LogError> {
        let sql = format!("{SELECT_SEALED} WHERE subject = ?1 AND generation = ?2");
        one(&self.connection, &sql, params![subject, generation], sealed_secret)
    }

    fn wrapped_key(&self, scope: &str) -> Result<Option<Vec<u8>>, LogError> {
        const SQL: &str = "SELECT wrapped FROM wrapped_keys WHERE scope = ?1";
        one(&self.connection, SQL, [scope], |row| Ok(row.get(0)?))
    }

    fn any_wrapped_key(&self) -> Result<Option<(String, Vec<u8>)>, LogError> {
        const SQL: &str = "SELECT scope, wrapped FROM wrapped_keys LIMIT 1";
        one(&self.connection, SQL, [], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    fn wrapped_keys(&self) -> Result<Vec<(String, Vec<u8>)>, LogError> {
        const SQL: &str = "SELECT scope, wrapped FROM wrapped_keys ORDER BY scope";
        all(&self.connection, SQL, [], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    fn nodes(&self) -> Result<Vec<RegisteredNode>, LogError> {
        const SQL: &str = "SELECT node, recipient, serves, tag FROM nodes ORDER BY node";
        all(&self.connection, SQL, [], |row| {
            Ok(RegisteredNode { node: row.get(0)?, recipient: row.get(1)?, serves: row.get(2)?, tag: row.get(3)? })
        })
    }

    fn tenant_keys(&self) -> Result<Vec<TenantKey>, LogError> {
        const SQL: &str = "SELECT tenant, node, wrapped FROM tenant_keys ORDER BY tenant, node";
        all(&self.connection, SQL, [], tenant_key)
    }

    fn tenant_keys_of(&self, tenant: &str) -> Result<Vec<TenantKey>, LogError> {
        const SQL: &str = "SELECT tenant, node, wrapped FROM tenant_keys WHERE tenant = ?1 ORDER BY node";
        all(&self.connection, SQL, [tenant], tenant_key)
    }

    fn sealed_secrets(&self) -> Result<Vec<SealedSecret>, LogError> {
        all(&self.connection, &format!("{SELECT_SEALED} ORDER BY subject, generation"), [], sealed_secret)
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

    fn tenants_with_content_keys_of(&self, user: UserId) -> Result<Vec<TenantId>, LogError> {
        const SQL: &str =
            "SELECT DISTINCT subject FROM sealed_secrets WHERE subject >= ?1 AND subject < ?2 ORDER BY subject";
        let (first, after) = content_key_names_of(ContentKeyOwner::User(user));
        let names: Vec<String> = all(&self.connection, SQL, [first, after], |row| Ok(row.get(0)?))?;
        Ok(names.iter().filter_map(|name| tenant_of_content_key(name)).collect())
    }

    fn personal_data(&self, subjects: &[UserId]) -> Result<HashMap<UserId, PersonalData>, LogError> {
        const SQL: &str = "SELECT name, email, salt FROM personal_data WHERE subject = ?1";
        self.by_key(SQL, subjects, UserId::to_string, |subject, row| {
            Ok(PersonalData { subject, name: row.get(0)?, email: row.get(1)?, salt: row.get(2)? })
        })
    }

    fn people_named(&self, name: &str, limit: usize) -> Result<Vec<UserId>, LogError> {
        const SQL: &str = "SELECT subject FROM personal_data WHERE name = ?1 LIMIT ?2";
        let subjects = all(&self.connection, SQL, params![name, limit], |row| Ok(row.get::<_, String>(0)?))?;
        Ok(subjects.iter().filter_map(|subject| subject.parse().ok()).collect())
    }

    fn client_addresses(&self, requests: &[RequestId]) -> Result<HashMap<RequestId, ClientAddress>, LogError> {
        const SQL: &str = "SELECT ip, user_agent FROM client_addresses WHERE request_id = ?1";
        self.by_key(SQL, requests, RequestId::to_string, |request_id, row| {
            Ok(ClientAddress { request_id, ip: row.get(0)?, user_agent: row.get(1)? })
        })
    }

    fn balances(&self, now: DateTime<Utc>) -> Result<(Head, Balances), LogError> {
        // One snapshot, because the rows and the events after them belong together.
        let snapshot = self.connection.unchecked_transaction()?;
        let state = read_state(&snapshot, now)?;
        Ok((state.head, state.balances))
    }
}

/// Tenant, node and wrapped key.
fn tenant_key(row: &Row<'_>) -> Result<TenantKey, LogError> {
    Ok(TenantKey { tenant: row.get(0)?, node: row.get(1)?, wrapped: row.get(2)? })
}

/// A row of [`SELECT_SEALED`].
fn sealed_secret(row: &Row<'_>) -> Result<SealedSecret, LogError> {
    Ok(SealedSecret { subject: row.get(0)?, key_scope: row.get(1)?, generation: row.get(2)?, sealed: row.get(3)? })
}

#[cfg(test)]
mod tests;
