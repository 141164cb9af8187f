//! The version of the ledger's schema.

use sqlx::Row;
use sqlx::postgres::PgConnection;

use super::error::sqlstate;
use crate::log::{LogError, OtherSchema};

/// The schema version of this program.
pub(super) const NEWEST: i64 = 1;
/// SQLSTATE `undefined_table`: nothing was migrated yet.
const NO_TABLE: &str = "42P01";

/// Refuses a ledger that this program cannot use: an older one, or a newer one that has dropped something.
pub(super) async fn must_fit(connection: &mut PgConnection) -> Result<(), LogError> {
    const SQL: &str = "SELECT version, oldest_reader FROM ledger.schema_version";
    let (found, oldest_reader) = match sqlx::query(SQL).fetch_optional(connection).await {
        Ok(Some(row)) => (row.try_get(0)?, row.try_get(1)?),
        Ok(None) => (0, 0),
        Err(error) if sqlstate(&error).as_deref() == Some(NO_TABLE) => (0, 0),
        Err(error) => return Err(error.into()),
    };
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
