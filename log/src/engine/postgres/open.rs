//! Opening a shared ledger: check that the server keeps what it acknowledges and that the schema fits, then load the state.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::ids::IdMaker;
use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Connection, Row};

use super::clock_limits::ClockLimits;
use super::contexts::PostgresContexts;
use super::database::DatabaseAddress;
use super::dead_rows::DeadRows;
use super::lease_rows::PostgresLeases;
use super::listen::Announcements;
use super::read::tip;
use super::running_nodes::OwnNode;
use super::session::{LONG_MAX, Session};
use super::turn::TurnLock;
use super::unusable::{UnusableReason, WrongLedger};
use super::{PostgresEngine, reader, running_nodes, schema};
use crate::engine::Opened;
use crate::lease::RolePlace;
use crate::state::State;
use crate::{LogOptions, OpenError};

/// The oldest server whose behaviour is known, as `server_version_num`.
const OLDEST_SERVER: i32 = 150_000;
const SERVER: &str = "
    SELECT current_setting('server_version_num')::integer, current_setting('fsync')::boolean,
           current_setting('synchronous_commit'), current_setting('search_path'), current_setting('server_encoding'),
           pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean";
/// True unless there is a ledger in which this user cannot append.
const MAY_APPEND: &str = "
    SELECT coalesce(bool_and(has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'INSERT')), true)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = 'ledger' AND c.relname = 'batches'";
const SESSION_OF_SERVER: &str = "SELECT pg_backend_pid()";

/// Opens the ledger of a database as one of its nodes.
pub(crate) fn open(
    database: &DatabaseAddress,
    own: &OwnNode,
    ids: IdMaker,
    announcements: Announcements,
    options: &LogOptions,
) -> Result<Opened<PostgresEngine>, OpenError> {
    let opened = connect(database, own, ids, options.clock.now()).map_err(|reason| WrongLedger::of(database, reason));
    let (mut engine, state) = opened?;
    engine.announcements = announcements;
    engine.dead_rows = DeadRows::start(database.clone()).map_err(OpenError::Thread)?;
    engine.clock_limits = ClockLimits::with_behind_max(options.clock_behind_max);
    let (open_reader, rows) =
        (reader::readers(database.clone())?, PostgresLeases::new(database.clone(), own.id.clone()));
    let roles = RolePlace::Shared { rows: Box::new(rows), clock: Arc::clone(&options.clock) };
    Ok(Opened { engine, state, open_reader, lock: None, roles })
}

pub(super) fn connect(
    database: &DatabaseAddress,
    own: &OwnNode,
    ids: IdMaker,
    now: DateTime<Utc>,
) -> Result<(PostgresEngine, State), UnusableReason> {
    let mut session = Session::new(database.for_writer())?;
    let tip = session.run_for(LONG_MAX, async |connection| {
        must_be_usable(connection, database).await?;
        running_nodes::join(connection, own).await?;
        Ok::<_, UnusableReason>(tip(connection).await?.0)
    })?;
    let mut engine = PostgresEngine {
        session,
        node: own.id.clone(),
        ids,
        tip,
        contexts: PostgresContexts::default(),
        clock_limits: ClockLimits::with_behind_max(Duration::MAX),
        turns: TurnLock::new(database.for_writer()),
        announcements: Announcements::default(),
        dead_rows: DeadRows::default(),
    };
    let state = engine.read_head(now, LONG_MAX)?;
    Ok((engine, state))
}

/// The ledger is one that this version can append to, as this user.
pub(super) async fn must_be_usable(
    connection: &mut PgConnection,
    database: &DatabaseAddress,
) -> Result<(), UnusableReason> {
    check_session(connection, database).await?;
    check_server(connection).await?;
    if !sqlx::query_scalar::<_, bool>(MAY_APPEND).fetch_one(&mut *connection).await? {
        return Err(UnusableReason::NotAllowed);
    }
    Ok(schema::must_fit(connection).await?)
}

/// The connection has a session of the server for itself. A pooler that gives each transaction another one is found out by
/// a second connection, which gets the session of the first or takes it away.
async fn check_session(connection: &mut PgConnection, database: &DatabaseAddress) -> Result<(), UnusableReason> {
    let first = session_of(connection).await?;
    let mut other = database.options().connect().await?;
    sqlx::raw_sql("BEGIN").execute(&mut other).await?;
    let second = session_of(&mut other).await?;
    let again = session_of(connection).await?;
    other.close().await?;
    if first == again && first != second { Ok(()) } else { Err(UnusableReason::Pooled) }
}

async fn session_of(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::raw_sql(SESSION_OF_SERVER).fetch_one(connection).await?.try_get(0)
}

/// The server is one that a ledger can be on.
pub(super) async fn check_server(connection: &mut PgConnection) -> Result<(), UnusableReason> {
    let row = sqlx::query(SERVER).fetch_one(connection).await?;
    let (synchronous_commit, search_path): (&str, &str) = (row.try_get(2)?, row.try_get(3)?);
    if (synchronous_commit, search_path) != ("on", "ledger") {
        // What this session asked for did not arrive.
        return Err(UnusableReason::Pooled);
    }
    if row.try_get::<i32, _>(0)? < OLDEST_SERVER {
        return Err(UnusableReason::OldServer);
    }
    if !row.try_get::<bool, _>(1)? {
        return Err(UnusableReason::NotDurable);
    }
    match row.try_get(4)? {
        "UTF8" => {}
        other => return Err(UnusableReason::Encoding(other.to_owned())),
    }
    if row.try_get(5)? { Err(UnusableReason::ReadOnly) } else { Ok(()) }
}
