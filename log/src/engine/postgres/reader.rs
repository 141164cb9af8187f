//! The reader on PostgreSQL. Each call borrows one of the node's connections for readers. Look-ups of many keys are one
//! statement.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::content::{ContentKeyOwner, content_key_names_of, tenant_of_content_key};
use events::event::{Recorded, Resource, Stream};
use events::ids::{KeyId, RequestId, TenantId, UserId};
use events::ledger::Balances;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::{Arguments, Postgres, QueryBuilder, Row};

use super::connections::Connections;
use super::database::DatabaseAddress;
use super::read::{IS_ADMINISTRATION, SELECT_EVENTS, checkpoint, in_snapshot, recorded, tip, unsigned};
use super::state::read_state;
use super::{running_nodes, schema};
use crate::filtered_read::{FilteredRead, LastBlock, LogAtRead, Positions, Range};
use crate::interrupt::Interrupt;
use crate::owners::Owner;
use crate::readers::{OpenReader, Purpose};
use crate::stored::{parsed, signed, stored};
use crate::{
    ClientAddress, EarlierNode, EventFilter, Head, ImportedCatalogue, KeySecret, LogError, Part, PersonalData, Reader,
    RegisteredNode, RunningNode, SealedSecret, StoredReply, TenantKey,
};

const FIRST_SINCE: &str = include_str!("sql/first_since.sql");
const SELECT_OWNED: &str = include_str!("sql/select_owned.sql");
const NTH_BLOCK: &str =
    "SELECT block FROM ledger.owner_blocks WHERE owner = $1 AND block >= $2 ORDER BY block LIMIT 1 OFFSET $3";
const SELECT_SEALED: &str = "SELECT subject, key_scope, generation, sealed FROM ledger.sealed_secrets";

pub(super) struct PostgresReader {
    connections: Arc<Connections>,
    purpose: Purpose,
    /// Ends the work that is running, if it can be interrupted.
    pub(super) interrupt: RefCell<Option<Interrupt>>,
}

/// Opens the ledger of a database for a command that reads all of it. Refuses a ledger with another schema. Blocking.
pub fn open_shared_reader(database: &DatabaseAddress) -> Result<Box<dyn Reader>, LogError> {
    let connections = Arc::new(Connections::of_command(database.clone())?);
    let reader = PostgresReader::new(connections, Purpose::PlatformQueries);
    reader.read(async |connection| schema::must_fit(connection).await)?;
    Ok(Box::new(reader))
}

/// The readers of a node, which share its four connections for readers.
pub(crate) fn readers(database: DatabaseAddress) -> Result<OpenReader, LogError> {
    let connections = Arc::new(Connections::of_node(database)?);
    Ok(Arc::new(move |purpose| Ok(Box::new(PostgresReader::new(Arc::clone(&connections), purpose)))))
}

impl PostgresReader {
    pub(super) fn new(connections: Arc<Connections>, purpose: Purpose) -> Self {
        Self { connections, purpose, interrupt: RefCell::default() }
    }

    /// Runs statements on a connection. They may be run twice.
    pub(super) fn read<T>(&self, work: impl AsyncFn(&mut PgConnection) -> Result<T, LogError>) -> Result<T, LogError> {
        let interrupt = self.interrupt.borrow().clone();
        self.connections.run(self.purpose, interrupt.as_ref(), work)
    }
}

impl Reader for PostgresReader {
    fn head(&self) -> Result<Head, LogError> {
        self.read(async |connection| Ok(tip(connection).await?.1))
    }

    fn after(&self, position: u64, limit: usize) -> Result<Vec<Recorded>, LogError> {
        let sql = format!("{SELECT_EVENTS} WHERE position > $1 ORDER BY position LIMIT $2");
        self.read(async |connection| {
            let query = sqlx::query(&sql).bind(signed(position)).bind(signed(limit as u64));
            all(query.fetch_all(connection).await?, recorded)
        })
    }

    fn first_since(&self, at: DateTime<Utc>) -> Result<u64, LogError> {
        self.read(async |connection| {
            let head = tip(connection).await?.1.position;
            first_until(connection, at, head).await
        })
    }

    fn revaluation_begins_after(&self) -> Result<u64, LogError> {
        const SQL: &str = "SELECT after FROM ledger.revaluation_begins";
        self.read(async |connection| Ok(unsigned(sqlx::query_scalar(SQL).fetch_one(connection).await?)))
    }

    fn filtered(&self, filter: &EventFilter, after: u64, limit: usize) -> Result<Part, LogError> {
        self.read(async |connection| filtered(connection, filter, after, limit).await)
    }

    fn at(&self, positions: &[u64]) -> Result<HashMap<u64, Recorded>, LogError> {
        let sql = format!("{SELECT_EVENTS} WHERE position = ANY($1)");
        let wanted: Vec<i64> = positions.iter().copied().map(signed).collect();
        self.read(async |connection| {
            let rows = sqlx::query(&sql).bind(&wanted).fetch_all(connection).await?;
            rows.iter().map(|row| recorded(row).map(|event| (event.position, event))).collect()
        })
    }

    fn appended_by(&self, node_id: &str, positions: RangeInclusive<u64>) -> Result<Vec<RangeInclusive<u64>>, LogError> {
        const SQL: &str = "SELECT first, last FROM ledger.batches
            WHERE first >= (SELECT max(first) FROM ledger.batches WHERE first <= $1) AND first <= $2 AND node = $3
            ORDER BY first";
        self.read(async |connection| {
            let query = sqlx::query(SQL).bind(signed(*positions.start())).bind(signed(*positions.end())).bind(node_id);
            let range = |row: &PgRow| Ok(unsigned(row.try_get(0)?)..=unsigned(row.try_get(1)?));
            all(query.fetch_all(connection).await?, range)
        })
    }

    fn stream(&self, of: &Stream) -> Result<Vec<Recorded>, LogError> {
        let sql = format!("{SELECT_EVENTS} WHERE aggregate_type = $1 AND aggregate_id = $2 ORDER BY sequence");
        self.read(async |connection| {
            let query = sqlx::query(&sql).bind(of.kind.as_str()).bind(&of.id);
            all(query.fetch_all(connection).await?, recorded)
        })
    }

    fn last_of_each_type(&self, of: &Stream, position: Option<u64>) -> Result<Vec<Recorded>, LogError> {
        const SEQUENCE_AT: &str = "SELECT sequence FROM ledger.events WHERE position = $1";
        let sql = format!(
            "SELECT last.* FROM unnest($3::text[]) AS wanted (name) CROSS JOIN LATERAL (
                 {SELECT_EVENTS} WHERE {IS_ADMINISTRATION} AND aggregate_id = $1 AND aggregate_type = $2
                     AND event_type = wanted.name COLLATE \"C\" AND sequence <= $4
                 ORDER BY sequence DESC LIMIT 1
             ) AS last ORDER BY sequence"
        );
        let names = Resource::names_on(of.kind);
        self.read(async |connection| {
            let until: i64 = match position {
                None => i64::MAX,
                Some(at) => sqlx::query_scalar(SEQUENCE_AT).bind(signed(at)).fetch_one(&mut *connection).await?,
            };
            let query = sqlx::query(&sql).bind(&of.id).bind(of.kind.as_str()).bind(names).bind(until);
            all(query.fetch_all(connection).await?, recorded)
        })
    }

    fn administration_after(&self, position: u64) -> Result<Vec<Recorded>, LogError> {
        let sql = format!("{SELECT_EVENTS} WHERE {IS_ADMINISTRATION} AND position > $1 ORDER BY position");
        self.read(async |connection| {
            all(sqlx::query(&sql).bind(signed(position)).fetch_all(connection).await?, recorded)
        })
    }

    fn idempotent_reply(&self, scope: &str, key: &str) -> Result<Option<StoredReply>, LogError> {
        const SQL: &str =
            "SELECT fingerprint, status, body, position FROM ledger.idempotency WHERE scope = $1 AND key = $2";
        self.read(async |connection| {
            let row = sqlx::query(SQL).bind(scope).bind(key).fetch_optional(connection).await?;
            row.as_ref().map(stored_reply).transpose()
        })
    }

    fn key_secrets(&self, keys: &[KeyId]) -> Result<Vec<KeySecret>, LogError> {
        const SQL: &str = "SELECT key_id, generation, salt, hash, mac FROM ledger.key_secrets
            WHERE key_id = ANY($1) ORDER BY key_id, generation";
        let keys: Vec<String> = keys.iter().map(KeyId::to_string).collect();
        let secret = |row: &PgRow| {
            let (key_id, generation) = (parsed(row.try_get(0)?)?, generation(row.try_get(1)?)?);
            let (salt, hash, mac) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
            Ok(KeySecret { key_id, generation, salt, hash, mac })
        };
        self.read(async |connection| all(sqlx::query(SQL).bind(&keys).fetch_all(connection).await?, secret))
    }

    fn sealed_secret(&self, subject: &str) -> Result<Option<SealedSecret>, LogError> {
        let sql = format!("{SELECT_SEALED} WHERE subject = $1 ORDER BY generation DESC LIMIT 1");
        self.read(async |connection| {
            let row = sqlx::query(&sql).bind(subject).fetch_optional(connection).await?;
            row.as_ref().map(sealed_secret).transpose()
        })
    }

    fn sealed_secret_of(&self, subject: &str, generation: u32) -> Result<Option<SealedSecret>, LogError> {
        let sql = format!("{SELECT_SEALED} WHERE subject = $1 AND generation = $2");
        self.read(async |connection| {
            let found = sqlx::query(&sql).bind(subject).bind(i64::from(generation)).fetch_optional(connection).await?;
            found.as_ref().map(sealed_secret).transpose()
        })
    }

    fn wrapped_key(&self, scope: &str) -> Result<Option<Vec<u8>>, LogError> {
        const SQL: &str = "SELECT wrapped FROM ledger.wrapped_keys WHERE scope = $1";
        self.read(async |connection| Ok(sqlx::query_scalar(SQL).bind(scope).fetch_optional(connection).await?))
    }

    fn any_wrapped_key(&self) -> Result<Option<(String, Vec<u8>)>, LogError> {
        const SQL: &str = "SELECT scope, wrapped FROM ledger.wrapped_keys ORDER BY scope LIMIT 1";
        self.read(async |connection| Ok(sqlx::query_as(SQL).fetch_optional(connection).await?))
    }

    fn wrapped_keys(&self) -> Result<Vec<(String, Vec<u8>)>, LogError> {
        const SQL: &str = "SELECT scope, wrapped FROM ledger.wrapped_keys ORDER BY scope";
        self.read(async |connection| Ok(sqlx::query_as(SQL).fetch_all(connection).await?))
    }

    fn nodes(&self) -> Result<Vec<RegisteredNode>, LogError> {
        const SQL: &str = "SELECT node, recipient, serves, tag FROM ledger.nodes ORDER BY node";
        let node = |row: &PgRow| {
            let (node, recipient) = (row.try_get(0)?, row.try_get(1)?);
            Ok(RegisteredNode { node, recipient, serves: row.try_get(2)?, tag: row.try_get(3)? })
        };
        self.read(async |connection| all(sqlx::query(SQL).fetch_all(connection).await?, node))
    }

    fn tenant_keys(&self) -> Result<Vec<TenantKey>, LogError> {
        const SQL: &str = "SELECT tenant, node, wrapped FROM ledger.tenant_keys ORDER BY tenant, node";
        self.read(async |connection| all(sqlx::query(SQL).fetch_all(connection).await?, tenant_key))
    }

    fn tenant_keys_of(&self, tenant: &str) -> Result<Vec<TenantKey>, LogError> {
        const SQL: &str = "SELECT tenant, node, wrapped FROM ledger.tenant_keys WHERE tenant = $1 ORDER BY node";
        self.read(async |connection| all(sqlx::query(SQL).bind(tenant).fetch_all(connection).await?, tenant_key))
    }

    fn sealed_secrets(&self) -> Result<Vec<SealedSecret>, LogError> {
        let sql = format!("{SELECT_SEALED} ORDER BY subject, generation");
        self.read(async |connection| all(sqlx::query(&sql).fetch_all(connection).await?, sealed_secret))
    }

    fn subjects_with_secret(&self, subjects: Vec<String>) -> Result<HashSet<String>, LogError> {
        const SQL: &str =
            "SELECT DISTINCT subject FROM ledger.sealed_secrets WHERE subject = ANY($1) AND length(sealed) > 0";
        self.read(async |connection| {
            let found: Vec<String> = sqlx::query_scalar(SQL).bind(&subjects).fetch_all(connection).await?;
            Ok(found.into_iter().collect())
        })
    }

    fn tenants_with_content_keys_of(&self, user: UserId) -> Result<Vec<TenantId>, LogError> {
        const SQL: &str =
            "SELECT DISTINCT subject FROM ledger.sealed_secrets WHERE subject >= $1 AND subject < $2 ORDER BY subject";
        let (first, after) = content_key_names_of(ContentKeyOwner::User(user));
        self.read(async |connection| {
            let names: Vec<String> = sqlx::query_scalar(SQL).bind(&first).bind(&after).fetch_all(connection).await?;
            Ok(names.iter().filter_map(|name| tenant_of_content_key(name)).collect())
        })
    }

    fn personal_data(&self, subjects: &[UserId]) -> Result<HashMap<UserId, PersonalData>, LogError> {
        const SQL: &str = "SELECT subject, name, email, salt FROM ledger.personal_data WHERE subject = ANY($1)";
        self.by_id(SQL, subjects, |subject, row| {
            Ok(PersonalData { subject, name: row.try_get(1)?, email: row.try_get(2)?, salt: row.try_get(3)? })
        })
    }

    fn imported_catalogue(&self, known: u64) -> Result<Option<ImportedCatalogue>, LogError> {
        const SQL: &str = "SELECT revision, document FROM ledger.catalogue WHERE revision <> $1";
        self.read(async |connection| {
            let row = sqlx::query(SQL).bind(signed(known)).fetch_optional(connection).await?;
            row.map(|row| Ok(ImportedCatalogue { revision: unsigned(row.try_get(0)?), document: row.try_get(1)? }))
                .transpose()
        })
    }

    fn earlier_nodes(&self, node_id: &str) -> Result<Option<Vec<EarlierNode>>, LogError> {
        self.read(async |connection| Ok(running_nodes::earlier(connection, node_id).await?))
    }

    fn running_nodes(&self) -> Result<Vec<RunningNode>, LogError> {
        self.read(async |connection| Ok(running_nodes::running(connection).await?))
    }

    fn people_named(&self, name: &str, limit: usize) -> Result<Vec<UserId>, LogError> {
        const SQL: &str = "SELECT subject FROM ledger.personal_data WHERE name = $1 ORDER BY subject LIMIT $2";
        self.read(async |connection| {
            let query = sqlx::query_scalar(SQL).bind(name).bind(signed(limit as u64));
            let subjects: Vec<String> = query.fetch_all(connection).await?;
            Ok(subjects.iter().filter_map(|subject| subject.parse().ok()).collect())
        })
    }

    fn client_addresses(&self, requests: &[RequestId]) -> Result<HashMap<RequestId, ClientAddress>, LogError> {
        const SQL: &str = "SELECT request_id, ip, user_agent FROM ledger.client_addresses WHERE request_id = ANY($1)";
        self.by_id(SQL, requests, |request_id, row| {
            Ok(ClientAddress { request_id, ip: row.try_get(1)?, user_agent: row.try_get(2)? })
        })
    }

    fn balances(&self, now: DateTime<Utc>) -> Result<(Head, Balances), LogError> {
        // One snapshot, because the rows and the events after them belong together.
        self.read(async |connection| {
            let state = in_snapshot(connection, async |snapshot| read_state(snapshot, now).await).await?;
            Ok((state.head, state.balances))
        })
    }
}

impl PostgresReader {
    /// The rows of these ids, which are the first column.
    fn by_id<K: Copy + Eq + std::hash::Hash + std::fmt::Display, T>(
        &self,
        sql: &str,
        ids: &[K],
        read: impl Fn(K, &PgRow) -> Result<T, sqlx::Error>,
    ) -> Result<HashMap<K, T>, LogError> {
        let wanted: HashMap<String, K> = ids.iter().map(|id| (id.to_string(), *id)).collect();
        let texts: Vec<&str> = wanted.keys().map(String::as_str).collect();
        self.read(async |connection| {
            let rows = sqlx::query(sql).bind(&texts).fetch_all(connection).await?;
            let found = rows.iter().filter_map(|row| match row.try_get(0) {
                Ok(id) => wanted.get::<str>(id).map(|id| Ok((*id, read(*id, row)?))),
                Err(error) => Some(Err(error)),
            });
            Ok(found.collect::<Result<_, sqlx::Error>>()?)
        })
    }
}

async fn first_until(connection: &mut PgConnection, at: DateTime<Utc>, head: u64) -> Result<u64, LogError> {
    let query = sqlx::query_scalar(FIRST_SINCE).bind(at.timestamp_micros()).bind(signed(head));
    Ok(unsigned(query.fetch_one(connection).await?))
}

async fn filtered(
    connection: &mut PgConnection,
    filter: &EventFilter,
    after: u64,
    limit: usize,
) -> Result<Part, LogError> {
    let head = tip(connection).await?.1.position;
    let mut log = LogAtRead { head, blocks_until: checkpoint(connection).await?, from: None, to: None };
    for (position, at) in [(&mut log.from, filter.from), (&mut log.to, filter.to)] {
        if let Some(at) = at {
            *position = Some(first_until(connection, at, head).await?);
        }
    }
    let read = FilteredRead::new(filter, after, log);
    let until = read.until(match read.last_block() {
        Some(block) => find_block(connection, block).await?,
        None => None,
    });
    let mut found = Vec::new();
    for range in read.ranges(until) {
        let rest = limit - found.len();
        found.extend(match range {
            _ if rest == 0 => break,
            Range::Blocks(owner, positions) => in_blocks(connection, owner, filter, positions, rest).await?,
            Range::All(positions) => scan(connection, filter, positions, rest).await?,
        });
    }
    Ok(read.part(found, until, limit))
}

/// The matching events at these positions; of administration alone if no other can match.
async fn scan(
    connection: &mut PgConnection,
    filter: &EventFilter,
    Positions { after, until }: Positions,
    limit: usize,
) -> Result<Vec<Recorded>, LogError> {
    let mut query = QueryBuilder::new(SELECT_EVENTS);
    query.push("WHERE position > ").push_bind(signed(after)).push(" AND position <= ").push_bind(signed(until));
    if filter.is_of_administration() {
        query.push(" AND ").push(IS_ADMINISTRATION);
    }
    push_conditions(&mut query, filter, "c.context");
    query.push(" ORDER BY position LIMIT ").push_bind(signed(limit as u64));
    all(query.build().fetch_all(connection).await?, recorded)
}

/// `None` if the owner has fewer blocks.
async fn find_block(
    connection: &mut PgConnection,
    LastBlock { owner, from, nth }: LastBlock,
) -> Result<Option<u64>, LogError> {
    let query = sqlx::query_scalar(NTH_BLOCK).bind(owner.to_string()).bind(signed(from)).bind(signed(nth));
    Ok(query.fetch_optional(connection).await?.map(unsigned))
}

/// The matching events at these positions, in the owner's blocks.
async fn in_blocks(
    connection: &mut PgConnection,
    owner: Owner,
    filter: &EventFilter,
    Positions { after, until }: Positions,
    limit: usize,
) -> Result<Vec<Recorded>, LogError> {
    let mut values = PgArguments::default();
    values.add(owner.to_string()).map_err(sqlx::Error::Encode)?;
    values.add(signed(after)).map_err(sqlx::Error::Encode)?;
    values.add(signed(until)).map_err(sqlx::Error::Encode)?;
    let mut query = QueryBuilder::with_arguments(SELECT_OWNED, values);
    push_conditions(&mut query, filter, "shared");
    query.push(" ORDER BY block, position LIMIT ").push_bind(signed(limit as u64));
    all(query.build().fetch_all(connection).await?, recorded)
}

/// The conditions of a filter other than its times, which are positions here. `shared` is the column of shared contexts.
fn push_conditions(query: &mut QueryBuilder<'_, Postgres>, filter: &EventFilter, shared: &str) {
    let context = format!(" AND coalesce({shared}, metadata)::json ->> ");
    if let Some(tenant) = filter.tenant {
        query.push(&context).push("'tenant_id' = ").push_bind(tenant.to_string());
    }
    if let Some(partner) = filter.partner {
        query.push(&context).push("'partner_id' = ").push_bind(partner.to_string());
    }
    if let Some(types) = &filter.types {
        let (names, versions): (Vec<String>, Vec<String>) =
            types.iter().map(|(name, version)| (name.clone(), version.to_string())).unzip();
        query.push(" AND (event_type, event_version) IN (SELECT * FROM unnest(").push_bind(names);
        query.push("::text[], ").push_bind(versions).push("::text[]))");
    }
}

/// Reads every row.
pub(super) fn all<T>(rows: Vec<PgRow>, read: impl Fn(&PgRow) -> Result<T, LogError>) -> Result<Vec<T>, LogError> {
    rows.iter().map(read).collect()
}

fn stored_reply(row: &PgRow) -> Result<StoredReply, LogError> {
    let status = u16::try_from(row.try_get::<i32, _>(1)?).map_err(stored)?;
    let (fingerprint, body) = (row.try_get(0)?, row.try_get(2)?);
    Ok(StoredReply { fingerprint, status, body, position: unsigned(row.try_get(3)?) })
}

fn generation(number: i64) -> Result<u32, LogError> {
    u32::try_from(number).map_err(stored)
}

/// Tenant, node and wrapped key.
fn tenant_key(row: &PgRow) -> Result<TenantKey, LogError> {
    Ok(TenantKey { tenant: row.try_get(0)?, node: row.try_get(1)?, wrapped: row.try_get(2)? })
}

/// A row of [`SELECT_SEALED`].
fn sealed_secret(row: &PgRow) -> Result<SealedSecret, LogError> {
    let generation = generation(row.try_get(2)?)?;
    Ok(SealedSecret { subject: row.try_get(0)?, key_scope: row.try_get(1)?, generation, sealed: row.try_get(3)? })
}

#[cfg(test)]
mod tests;
