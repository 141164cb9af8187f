//! The schemas for analysts: created by `ledgerway migrate`, never by a node. Forward only; several may try at once.

use std::time::Duration;

use events::log::DatabaseAddress;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::runtime::Builder;

use crate::LAYOUT;
use crate::copy_writer::{connect, layout};
use crate::error::CopyError;

/// Each brings the layout before it to the next one. The first makes it from nothing.
const MIGRATIONS: [&str; 1] = [include_str!("../../../migrations/postgres/views/0001_views.sql")];
const GRANTS: &str = include_str!("../../../migrations/postgres/views/grants.sql");
/// Has everything copied again if there is another ledger than the one that was copied.
const LEDGER: &str = include_str!("../../../migrations/postgres/views/ledger.sql");
const _: () = assert!(MIGRATIONS.len() as i64 == LAYOUT);

/// The advisory lock of this migration, in the database's numbers of two parts: `LEDG`, `VIEW`.
const TAKE_LOCK: &str = "SELECT pg_advisory_xact_lock(1279607879, 1447642455)";
const MIGRATION_MAX: Duration = Duration::from_secs(600);

/// The schemas for analysts cannot be created or changed.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("the schemas for analysts: {0}")]
    Copy(#[from] CopyError),
    #[error("start a runtime: {0}")]
    Runtime(#[from] std::io::Error),
}

/// Creates what analysts read, or brings it to this version, and grants the rights to it. A newer layout is left as it is. Blocking.
pub fn migrate(database: &DatabaseAddress) -> Result<(), MigrateError> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async {
        let mut connection = connect(database).await?;
        tokio::time::timeout(MIGRATION_MAX, migrate_in(&mut connection)).await.map_err(|_| CopyError::NoAnswer)?
    })?)
}

async fn migrate_in(connection: &mut PgConnection) -> Result<(), CopyError> {
    let mut change = connection.begin().await?;
    sqlx::raw_sql(TAKE_LOCK).execute(&mut *change).await?;
    let found = layout(&mut change).await?.unwrap_or(0);
    if found > LAYOUT {
        return Ok(());
    }
    let done = usize::try_from(found).unwrap_or(0);
    for migration in MIGRATIONS.iter().skip(done) {
        sqlx::raw_sql(migration).execute(&mut *change).await?;
    }
    sqlx::raw_sql(LEDGER).execute(&mut *change).await?;
    sqlx::raw_sql(GRANTS).execute(&mut *change).await?;
    Ok(change.commit().await?)
}
