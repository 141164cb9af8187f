//! What a client is told where the ledger cannot record.

use events::log::LogError;
use events::refusal::Refusal;

use crate::reply::ledger_unavailable;

/// No ledger, no dispatch. Why it cannot record is for the operator, not for the client. What it records later all the
/// same, it releases.
pub fn not_admitted(request_id: &str, error: &LogError) -> Refusal {
    tracing::error!(request_id, %error, "record a request");
    let recorded = if error.may_be_recorded() { "unknown" } else { "no" };
    let message = "the ledger cannot record this request now, and nothing was sent to a provider: try again";
    ledger_unavailable(recorded, message)
}

/// A provider may have been at work, and the end of it is not a fact yet. It is kept, and recorded when that is possible.
pub fn not_ended(request_id: &str, error: &LogError) -> Refusal {
    tracing::error!(request_id, %error, "record the end of a request");
    let message = format!(
        "the ledger has not confirmed the end of this request, which may be charged: GET /v1/inferences/{request_id} says \
         what became of it. Sent again it is a new request, unless it has the same Idempotency-Key"
    );
    ledger_unavailable("unknown", message)
}
