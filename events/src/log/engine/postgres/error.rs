//! The database's errors, as the log's.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::log::{EngineError, EngineErrorKind, LogError};

/// SQLSTATE `insufficient_privilege`.
const NOT_ALLOWED: &str = "42501";
/// The users who may use a ledger.
pub(super) const RIGHTS: &str = "gateways connect as the owner of the schema `ledger`, or as a user with the role of gateways (GRANT \
     ledgerway_gateway TO …). First, and after each restore, the owner runs `ledgerway migrate`: it creates the role, if the owner \
     may create roles, and gives it its rights";
pub(super) const POOLED: &str = "it is reached through a pooler, such as PgBouncer, that shares sessions between clients or does not \
     pass on the settings of a session: connect to the server itself";
const PASSWORD: &str =
    "the password is the one in the address, or else in PGPASSWORD, or else in ~/.pgpass (or the file in PGPASSFILE)";
const NO_TLS: &str = "to connect to it without encryption, add sslmode=disable to the address";
const UNKNOWN_ISSUER: &str = "the machine does not trust the certificate's issuer: name a file with that issuer's certificate in the \
     address, as sslrootcert=FILE";
const OTHER_NAME: &str = "the certificate is for another name: use a host that is in it";

impl From<sqlx::Error> for LogError {
    fn from(error: sqlx::Error) -> Self {
        Self::Engine(error.into())
    }
}

impl From<sqlx::Error> for EngineError {
    fn from(error: sqlx::Error) -> Self {
        let kind = match (&error, sqlstate(&error).as_deref()) {
            // Data exceptions and violated constraints.
            (_, Some(state)) if state.starts_with("22") || state.starts_with("23") => EngineErrorKind::Data,
            // Damaged data or a damaged index.
            (_, Some(state)) if state.starts_with("XX") => EngineErrorKind::Damaged,
            _ => EngineErrorKind::Unavailable,
        };
        let message = match advice(&error) {
            Some(advice) => format!("{error}: {advice}"),
            None => error.to_string(),
        };
        Self { kind, message }
    }
}

/// The error of a database that cannot be used now.
pub(super) fn unavailable(message: impl Into<String>) -> EngineError {
    EngineError { kind: EngineErrorKind::Unavailable, message: message.into() }
}

/// The five characters of the database's own error, if it sent one.
pub(super) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned())
}

/// True if the connection may be lost or in any state, so that nobody knows what became of the statement: anything but an
/// answer of the database, and its answers that end the session. Among them is the failure of a commit whose record may be on
/// the disk all the same: a server that cannot sync its write-ahead log says so, and crashes.
pub(super) fn is_about_connection(error: &sqlx::Error) -> bool {
    match sqlstate(error) {
        Some(state) => state.starts_with("08") || state.starts_with("57P") || ends_session(error),
        None => !matches!(
            error,
            sqlx::Error::RowNotFound
                | sqlx::Error::ColumnNotFound(_)
                | sqlx::Error::ColumnIndexOutOfBounds { .. }
                | sqlx::Error::ColumnDecode { .. }
                | sqlx::Error::Decode(_)
                | sqlx::Error::Encode(_)
                | sqlx::Error::TypeNotFound { .. }
        ),
    }
}

fn ends_session(error: &sqlx::Error) -> bool {
    let answer = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    answer.is_some_and(|answer| matches!(answer.severity(), PgSeverity::Fatal | PgSeverity::Panic))
}

/// Advice about a database that refuses this user or this kind of connection.
fn advice(error: &sqlx::Error) -> Option<&'static str> {
    match sqlstate(error).as_deref() {
        Some(NOT_ALLOWED) => Some(RIGHTS),
        Some("28P01") => Some(PASSWORD),
        Some(_) if is_of_pooler(error) => Some(POOLED),
        Some(_) => None,
        // TLS has no codes, and its errors are in those of the connection.
        None => {
            let words = error.to_string();
            let said = [
                ("does not support TLS", NO_TLS),
                ("UnknownIssuer", UNKNOWN_ISSUER),
                ("not valid for name", OTHER_NAME),
            ];
            said.into_iter().find(|(part, _)| words.contains(part)).map(|(_, advice)| advice)
        }
    }
}

/// True for the errors that only a pooler gives: it refuses the settings of a session, or has lost or mixed up the prepared
/// statements.
fn is_of_pooler(error: &sqlx::Error) -> bool {
    match sqlstate(error).as_deref() {
        Some("08P01") => error.to_string().contains("startup parameter"),
        Some("26000" | "42P05") => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use testing::refusing_postgres::{self, Refusal};
    use testing::upstream::CERTIFICATE;

    use super::super::session::Session;
    use super::*;

    /// The message for a database that refuses its clients like this.
    fn said(host: Ipv4Addr, refusal: Refusal, parameters: &str) -> String {
        let port = refusing_postgres::start(host, refusal);
        let address = format!("postgres://u:secret@{host}:{port}/ledger?{parameters}");
        let mut session = Session::new(address.parse().expect("an address")).expect("a session");
        LogError::from(session.run(async |_| Ok(())).expect_err(parameters)).to_string()
    }

    /// TLS and its library have only words for their errors, which may change with every version.
    #[test]
    fn whoever_cannot_connect_is_told_what_to_do_about_encryption() {
        let of_mocks = format!("sslmode=verify-full&sslrootcert={CERTIFICATE}");
        for (host, refusal, parameters, advice) in [
            (Ipv4Addr::LOCALHOST, Refusal::NoTls, "sslmode=require", NO_TLS),
            (Ipv4Addr::LOCALHOST, Refusal::Certificate, "sslmode=verify-full", UNKNOWN_ISSUER),
            (Ipv4Addr::new(127, 0, 0, 2), Refusal::Certificate, &of_mocks, OTHER_NAME),
        ] {
            let said = said(host, refusal, parameters);
            assert!(said.ends_with(&format!(": {advice}")), "{parameters}: {said}");
        }
    }

    #[test]
    fn whoever_is_refused_by_the_server_is_told_what_to_do_if_that_is_known() {
        for (sqlstate, message, advice) in [
            ("28P01", "password authentication failed for user \"u\"", Some(PASSWORD)),
            ("42501", "permission denied for database \"ledger\"", Some(RIGHTS)),
            ("08P01", "unsupported startup parameter in options: search_path", Some(POOLED)),
            ("26000", "prepared statement \"sqlx_s_1\" does not exist", Some(POOLED)),
            ("08P01", "no PostgreSQL user name specified in startup packet", None),
            ("53300", "sorry, too many clients already", None),
        ] {
            let said = said(Ipv4Addr::LOCALHOST, Refusal::Error { sqlstate, message }, "sslmode=disable");
            let expected = advice.map_or_else(|| message.to_owned(), |advice| format!("{message}: {advice}"));
            assert!(said.ends_with(&expected), "{sqlstate}: {said}");
        }
    }
}
