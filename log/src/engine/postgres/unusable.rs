//! Why a ledger that several nodes share cannot be used.

use super::database::DatabaseAddress;
use super::error::{POOLED, RIGHTS};
use crate::LogError;

/// A shared ledger cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the shared ledger {database}: {reason}")]
pub struct WrongLedger {
    /// Without the password.
    pub database: String,
    pub reason: UnusableReason,
}

impl WrongLedger {
    pub(super) fn of(database: &DatabaseAddress, reason: UnusableReason) -> Self {
        Self { database: database.to_string(), reason }
    }
}

/// Why a shared ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UnusableReason {
    #[error("its server is older than PostgreSQL 15")]
    OldServer,
    /// A crash of the machine would lose what was acknowledged, and could damage the rest.
    #[error("its server runs with fsync = off, so that it would lose payments in a crash: turn it on")]
    NotDurable,
    #[error("it can only be read: its server is a standby, or the database or its user was set read-only")]
    ReadOnly,
    #[error("its encoding is {0}; it must be UTF8")]
    Encoding(String),
    /// The user of the address is neither the owner nor in the gateways' role.
    #[error("its user may not append to it: {RIGHTS}")]
    NotAllowed,
    /// Locks, prepared statements and settings of a session would come and go.
    #[error("{POOLED}")]
    Pooled,
    #[error(
        "node {node} runs on it, connected from {address}, and is too old to read events that this version writes: run the \
         version between the two on all nodes first, or stop that node"
    )]
    OlderNode { node: String, address: String },
    #[error(
        "node {node} runs on it, connected from {address}, and is of a newer version that writes events which this version \
         cannot read: start the version of that node"
    )]
    NewerNode { node: String, address: String },
    /// For a command that needs the ledger for itself.
    #[error(
        "node {node} runs on it, connected from {address}: stop all gateways that use it, and run this again; a gateway that was \
         killed counts as running for ten seconds"
    )]
    InUse { node: String, address: String },
    /// The same.
    #[error("something was recorded in it at the same time, so nothing was changed: run this again")]
    Changed,
    /// Not the database: this machine cannot start or write something.
    #[error("{0}")]
    Local(String),
    #[error(transparent)]
    Log(#[from] LogError),
}

impl From<sqlx::Error> for UnusableReason {
    fn from(error: sqlx::Error) -> Self {
        Self::Log(error.into())
    }
}
