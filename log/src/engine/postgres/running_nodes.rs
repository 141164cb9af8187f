//! The register of the processes that use the ledger, by the database's clock. It tells whether an old and a new version can
//! run together (ADR-0019), whether the process that admitted a request is still there, and which of several does what only one
//! may do.
//!
//! A command that needs the ledger for itself keeps others from registering until its transaction ends.
//!
//! It is not what keeps the money right: whoever cannot read the last batch cannot append to it, registered or not.

use events::event::{EVENT_SET_READ, EVENT_SET_WRITTEN};
use events::time::from_micros;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row};

use super::unusable::UnusableReason;
use crate::{EarlierNode, LimitSharing, LimitSharingSign, RunningNode};

/// True for a row `running` of a process that was seen in the last ten seconds.
macro_rules! was_seen_lately {
    () => {
        "running.seen_at > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - 10000000"
    };
}
pub(super) use was_seen_lately;

/// The advisory lock of registrations, in the database's numbers of two parts: `LEDG`, `NODE`.
pub(super) const LOCK: (i32, i32) = (0x4C45_4447, 0x4E4F_4445);
const TAKE_LOCK: &str = "SELECT pg_advisory_xact_lock($1, $2)";
const MISFIT: &str = concat!(
    "SELECT node, address, events_read < $3 FROM ledger.running_nodes AS running
     WHERE node <> $1 AND (events_written > $2 OR events_read < $3) AND ",
    was_seen_lately!(),
    " ORDER BY started_at LIMIT 1"
);
/// Rows of processes that could not say that they end are kept for a day, for whoever looks for them.
const FORGET: &str = "DELETE FROM ledger.running_nodes
    WHERE seen_at < (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - 86400000000";
const REGISTER: &str = "
    INSERT INTO ledger.running_nodes
        (node, started_at, seen_at, events_read, events_written, address, can_append, serves_requests, limit_sharing)
    SELECT $1, now.micros, now.micros, $2, $3, coalesce(host(inet_client_addr()), 'local'), $4, $5, $6
    FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS micros) AS now
    ON CONFLICT (node) DO UPDATE
    SET seen_at = excluded.seen_at, can_append = excluded.can_append, limit_sharing = excluded.limit_sharing";
/// The processes that serve requests and registered no later than this one, in this order, and which of them could append
/// lately.
const NOT_LATER: &str = concat!(
    "SELECT running.node, running.can_append AND ",
    was_seen_lately!(),
    " FROM ledger.running_nodes AS running JOIN ledger.running_nodes AS own ON own.node = $1
     WHERE running.serves_requests AND (running.started_at, running.node) <= (own.started_at, own.node)
     ORDER BY running.started_at, running.node"
);
const RUNNING: &str = concat!(
    "SELECT node, address, started_at, seen_at, serves_requests, limit_sharing
     FROM ledger.running_nodes AS running WHERE ",
    was_seen_lately!(),
    " ORDER BY started_at, node"
);
const LEAVE: &str = "DELETE FROM ledger.running_nodes WHERE node = $1";

/// A process as it registers.
#[derive(Clone, Debug)]
pub(crate) struct OwnNode {
    pub(crate) id: String,
    pub(crate) serves_requests: bool,
    pub(crate) limit_sharing: LimitSharingSign,
}

impl OwnNode {
    /// A process of this name that serves requests.
    #[cfg(test)]
    pub(super) fn serving(id: &str) -> Self {
        Self { id: id.to_owned(), serves_requests: true, limit_sharing: LimitSharingSign::default() }
    }
}

/// Registers a process that starts, unless one that runs cannot read what it writes, or the other way round.
pub(super) async fn join(connection: &mut PgConnection, own: &OwnNode) -> Result<(), UnusableReason> {
    let mut change = connection.begin().await?;
    // Of two that start at once, the second sees the first.
    keep_others_from_joining(&mut change).await?;
    let misfit = sqlx::query(MISFIT).bind(&own.id).bind(i64::from(EVENT_SET_READ)).bind(i64::from(EVENT_SET_WRITTEN));
    if let Some(row) = misfit.fetch_optional(&mut *change).await? {
        let (node, address) = (row.try_get(0)?, row.try_get(1)?);
        return Err(if row.try_get(2)? {
            UnusableReason::OlderNode { node, address }
        } else {
            UnusableReason::NewerNode { node, address }
        });
    }
    sqlx::query(FORGET).execute(&mut *change).await?;
    show(&mut change, own, true).await?;
    Ok(change.commit().await?)
}

/// Until the transaction ends, no process registers and none replaces the node key.
async fn keep_others_from_joining(transaction: &mut PgConnection) -> Result<(), sqlx::Error> {
    let (first, second) = LOCK;
    sqlx::query(TAKE_LOCK).bind(first).bind(second).execute(transaction).await.map(drop)
}

/// Fails if a process uses the ledger. Otherwise, none does until the transaction ends.
pub(super) async fn must_be_none(transaction: &mut PgConnection) -> Result<(), UnusableReason> {
    keep_others_from_joining(transaction).await?;
    match running(transaction).await?.into_iter().next() {
        Some(RunningNode { node_id: node, address, .. }) => Err(UnusableReason::InUse { node, address }),
        None => Ok(()),
    }
}

/// Shows that a process is still there, and whether it can append.
pub(super) async fn show(connection: &mut PgConnection, own: &OwnNode, can_append: bool) -> Result<(), sqlx::Error> {
    let sets = [EVENT_SET_READ, EVENT_SET_WRITTEN].map(i64::from);
    let register = sqlx::query(REGISTER).bind(&own.id).bind(sets[0]).bind(sets[1]);
    let register = register.bind(can_append).bind(own.serves_requests);
    register.bind(own.limit_sharing.shown().map(LimitSharing::as_str)).execute(connection).await.map(drop)
}

/// The processes that serve requests and registered before this one, which does so too; `None` if this one could not append lately, or was not seen.
pub(super) async fn earlier(
    connection: &mut PgConnection,
    node: &str,
) -> Result<Option<Vec<EarlierNode>>, sqlx::Error> {
    let rows = sqlx::query(NOT_LATER).bind(node).fetch_all(connection).await?;
    let read = |row: &PgRow| Ok(EarlierNode { node_id: row.try_get(0)?, could_append_lately: row.try_get(1)? });
    let mut nodes = rows.iter().map(read).collect::<Result<Vec<_>, sqlx::Error>>()?;
    // The last one is this one, if it is among them.
    let could_append_itself = nodes.pop().is_some_and(|own| own.node_id == node && own.could_append_lately);
    Ok(could_append_itself.then_some(nodes))
}

/// The processes that run, in the order of their starts.
pub(super) async fn running(connection: &mut PgConnection) -> Result<Vec<RunningNode>, sqlx::Error> {
    let rows = sqlx::query(RUNNING).fetch_all(connection).await?;
    let nodes = rows.iter().map(|row| {
        Ok(RunningNode {
            node_id: row.try_get(0)?,
            address: row.try_get(1)?,
            started_at: from_micros(row.try_get(2)?),
            seen_at: from_micros(row.try_get(3)?),
            serves_requests: row.try_get(4)?,
            limit_sharing: row.try_get::<Option<&str>, _>(5)?.and_then(LimitSharing::parse),
        })
    });
    nodes.collect()
}

/// Removes a process that ends.
pub(super) async fn leave(connection: &mut PgConnection, node: &str) -> Result<(), sqlx::Error> {
    sqlx::query(LEAVE).bind(node).execute(connection).await.map(drop)
}
