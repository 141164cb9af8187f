//! Migrations of the shared ledger: forward only, one change per file, each in one transaction with its version number.
//! Several nodes may try at once, and nodes of the version before may still be at work.

use sqlx::Connection;

use super::database::DatabaseAddress;
use super::open::check_server;
use super::schema::{self, NEWEST};
use super::session::{LONG_MAX, Session};
use super::unusable::{UnusableReason, WrongLedger};
use crate::{Migrated, OpenError};

/// Each with its version, the oldest schema version whose programs can still use the ledger after it, and its statements.
const MIGRATIONS: [(i64, i64, &str); 5] = [
    (1, 1, include_str!("../../../../migrations/postgres/ledger/0001_ledger.sql")),
    (2, 1, include_str!("../../../../migrations/postgres/ledger/0002_roles.sql")),
    (3, 1, include_str!("../../../../migrations/postgres/ledger/0003_limit_sharing.sql")),
    (4, 1, include_str!("../../../../migrations/postgres/ledger/0004_key_macs.sql")),
    (5, 1, include_str!("../../../../migrations/postgres/ledger/0005_erasable_rows.sql")),
];
const _: () = assert!(MIGRATIONS[MIGRATIONS.len() - 1].0 == NEWEST);

const GRANTS: &str = include_str!("../../../../migrations/postgres/ledger/grants.sql");

/// The advisory lock of migrations, in the database's numbers of two parts: `LEDG`, `MIGR`.
const LOCK: (i32, i32) = (0x4C45_4447, 0x4D49_4752);
const TAKE_LOCK: &str = "SELECT pg_advisory_xact_lock($1, $2)";
/// A migration may read a whole table. It is bounded by the session.
const NO_STATEMENT_TIMEOUT: &str = "SET LOCAL statement_timeout = 0";
const SET_VERSION: &str = "INSERT INTO ledger.schema_version (version, oldest_reader) VALUES ($1, $2)
    ON CONFLICT (only_row) DO UPDATE SET version = excluded.version, oldest_reader = excluded.oldest_reader";

/// Creates the ledger, or migrates it to this version, and grants the gateways what they need. Refuses a newer one that this
/// version cannot use.
pub(crate) fn migrate(database: &DatabaseAddress) -> Result<Migrated, OpenError> {
    let mut session = Session::new(database.clone())?;
    let migrated = session.run_for(LONG_MAX, async |connection| {
        check_server(connection).await?;
        let mut is_new = false;
        loop {
            // Each on its own: nodes do not wait for a table that the next one has nothing to do with.
            let mut change = connection.begin().await?;
            let (first, second) = LOCK;
            sqlx::query(TAKE_LOCK).bind(first).bind(second).execute(&mut *change).await?;
            sqlx::raw_sql(NO_STATEMENT_TIMEOUT).execute(&mut *change).await?;
            let found = schema::version(&mut change).await?;
            let had = found.map_or(0, |(version, _)| version);
            is_new |= found.is_none();
            let next = MIGRATIONS.into_iter().find(|(version, ..)| *version > had);
            if let Some((version, oldest_reader, sql)) = next {
                sqlx::raw_sql(sql).execute(&mut *change).await?;
                sqlx::query(SET_VERSION).bind(version).bind(oldest_reader).execute(&mut *change).await?;
                change.commit().await?;
                continue;
            }
            schema::must_fit(&mut change).await?;
            // A newer version has granted what its tables need.
            if had <= NEWEST {
                sqlx::raw_sql(GRANTS).execute(&mut *change).await?;
            }
            change.commit().await?;
            break Ok(if is_new { Migrated::New } else { Migrated::Existing });
        }
    });
    session.close();
    migrated.map_err(|reason: UnusableReason| WrongLedger::of(database, reason).into())
}
