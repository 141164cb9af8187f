//! The rows of leases: which process has a role, until when by the database's clock, and what the role remembers.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Row};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::database::DatabaseAddress;
use super::error::unavailable;
use super::session::within;
use crate::LogError;
use crate::lease::{Answer, LeaseRows};
use crate::role::{Role, RoleMemory};

/// Takes a lease that nobody has any more, or renews it. Three seconds, by the database's clock.
const TAKE: &str = "
    INSERT INTO ledger.leases AS lease (role, node, token, held_until)
    SELECT $1, $2, 1, now.micros + 3000000
    FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS micros) AS now
    ON CONFLICT (role) DO UPDATE
        SET node = excluded.node, held_until = excluded.held_until,
            token = lease.token + (lease.node <> excluded.node)::integer
        WHERE lease.node = excluded.node OR lease.held_until <= excluded.held_until - 3000000
    RETURNING token";
const RELEASE: &str = "UPDATE ledger.leases SET held_until = 0 WHERE node = $1 AND role = $2";
const RELEASE_ALL: &str = "UPDATE ledger.leases SET held_until = 0 WHERE node = $1";
const REMEMBER: &str = "UPDATE ledger.leases SET position = $3, detail = $4 WHERE role = $1 AND token = $2";
const MEMORY: &str = "SELECT position, detail FROM ledger.leases WHERE role = $1";
/// A lease that is lost with a crash of the server is taken again.
const NOT_DURABLE: [(&str, &str); 1] = [("synchronous_commit", "off")];
/// How long one statement may take, with the connection that it may need.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// The leases of one process, on one connection.
pub(super) struct PostgresLeases {
    database: DatabaseAddress,
    node: String,
    /// Opened at the first use, and again after a failure.
    connection: Mutex<Option<PgConnection>>,
}

impl PostgresLeases {
    pub(super) fn new(database: DatabaseAddress, node: String) -> Self {
        Self { database, node, connection: Mutex::default() }
    }

    /// Runs a statement. After a failure the connection may be in any state: the next statement gets another.
    async fn run<T>(&self, work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>) -> Result<T, LogError> {
        let deadline = Instant::now() + ANSWER_MAX;
        let mut kept = within(deadline, async { Ok::<_, sqlx::Error>(self.connection.lock().await) }).await??;
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => within(deadline, self.database.options().clone().options(NOT_DURABLE).connect()).await??,
        };
        let done = within(deadline, work(&mut connection)).await??;
        *kept = Some(connection);
        Ok(done)
    }
}

impl LeaseRows for PostgresLeases {
    fn take(&self, role: Role) -> Answer<'_, Option<i64>> {
        let take = sqlx::query_scalar(TAKE).bind(role.as_str()).bind(&self.node);
        Box::pin(self.run(async |connection| take.fetch_optional(connection).await))
    }

    fn release(&self, role: Role) -> Answer<'_, ()> {
        let release = sqlx::query(RELEASE).bind(&self.node).bind(role.as_str());
        Box::pin(self.run(async |connection| release.execute(connection).await.map(drop)))
    }

    fn remember(&self, role: Role, token: i64, memory: RoleMemory) -> Answer<'_, bool> {
        Box::pin(async move {
            let position = i64::try_from(memory.position).map_err(|error| unavailable(error.to_string()))?;
            let remember = sqlx::query(REMEMBER).bind(role.as_str()).bind(token).bind(position).bind(memory.detail);
            self.run(async |connection| remember.execute(connection).await.map(|done| done.rows_affected() == 1)).await
        })
    }

    fn memory(&self, role: Role) -> Answer<'_, Option<RoleMemory>> {
        let memory = sqlx::query(MEMORY).bind(role.as_str());
        Box::pin(async move {
            let row = self.run(async |connection| memory.fetch_optional(connection).await).await?;
            let Some(row) = row else { return Ok(None) };
            let position = row.try_get::<Option<i64>, _>(0)?.and_then(|position| u64::try_from(position).ok());
            let detail = row.try_get(1)?;
            Ok(position.map(|position| RoleMemory { position, detail }))
        })
    }
}

/// Gives up all leases of a process that ends.
pub(super) async fn release_all(connection: &mut PgConnection, node: &str) -> Result<(), sqlx::Error> {
    sqlx::query(RELEASE_ALL).bind(node).execute(connection).await.map(drop)
}
