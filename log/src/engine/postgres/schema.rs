//! The version of the ledger's schema.

use sqlx::Row;
use sqlx::postgres::PgConnection;

use super::error::sqlstate;
use crate::{LogError, OtherSchema};

/// The schema version of this program.
pub(super) const NEWEST: i64 = 5;
/// SQLSTATE `undefined_column`: the table is of another program.
const NO_COLUMN: &str = "42703";
const HAS_TABLE: &str =
    "SELECT to_regclass('ledger.schema_version') IS NOT NULL FROM pg_namespace WHERE nspname = 'ledger'";
const VERSION: &str = "SELECT version, oldest_reader FROM ledger.schema_version";

/// The schema version of a ledger, and the oldest one whose programs can use it; `None` if there is no ledger.
///
/// Errors: among others, the schema is of another program.
pub(super) async fn version(connection: &mut PgConnection) -> Result<Option<(i64, i64)>, LogError> {
    match sqlx::query_scalar(HAS_TABLE).fetch_optional(&mut *connection).await? {
        None => return Ok(None),
        Some(false) => return Err(OtherSchema::Foreign.into()),
        Some(true) => {}
    }
    match sqlx::query(VERSION).fetch_one(connection).await {
        Ok(row) => Ok(Some((row.try_get(0)?, row.try_get(1)?))),
        Err(error) if sqlstate(&error).as_deref() == Some(NO_COLUMN) => Err(OtherSchema::Foreign.into()),
        Err(error) => Err(error.into()),
    }
}

/// Refuses a ledger that this program cannot use: an older one, or a newer one that has dropped something.
pub(super) async fn must_fit(connection: &mut PgConnection) -> Result<(), LogError> {
    let (found, oldest_reader) = version(connection).await?.ok_or(OtherSchema::Missing)?;
    Ok(fits(found, oldest_reader, NEWEST)?)
}

/// Whether a program whose schema version is `newest` can use a ledger of version `found`, which says itself from which version
/// on programs can.
pub(super) fn fits(found: i64, oldest_reader: i64, newest: i64) -> Result<(), OtherSchema> {
    if found < newest {
        return Err(OtherSchema::Older { found, newest });
    }
    if oldest_reader > newest {
        return Err(OtherSchema::Newer { found, newest });
    }
    Ok(())
}
