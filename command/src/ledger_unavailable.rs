//! The refusal of administration and of inference while the ledger cannot be used.

use std::time::Duration;

use events::refusal::{ErrorCode, Refusal};

/// `Retry-After` if the ledger cannot be used.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// `recorded` tells whether the requested change is in the log: `no`, `unknown` or `yes`.
pub fn ledger_unavailable(recorded: &str, message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::LedgerUnavailable, message).with("recorded", recorded).retry_after(RETRY_AFTER)
}
