//! The refusal of administration and of inference while the ledger cannot be used.

use events::refusal::{ErrorCode, Refusal};

/// `recorded` tells whether the requested change is in the log: `no`, `unknown` or `yes`.
pub fn ledger_unavailable(recorded: &str, message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::LedgerUnavailable, message).with("recorded", recorded).try_again()
}
