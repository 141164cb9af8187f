//! The refusals for a ledger that cannot record.

use events::refusal::Refusal;
use events_log::LogError;

use crate::ledger_unavailable::ledger_unavailable;

/// The refusal of a request that could not be admitted: without the ledger there is no dispatch. The cause is logged for the
/// operator and not shown to the client. If the admission is recorded after all, the ledger releases its hold.
pub fn not_admitted(request_id: &str, error: &LogError) -> Refusal {
    tracing::error!(request_id, %error, "cannot record a request");
    let recorded = if error.may_be_recorded() { "unknown" } else { "no" };
    let message = "the ledger cannot record this request now, and nothing was sent to a provider: try again";
    ledger_unavailable(recorded, message)
}

/// The refusal of a request for which the ledger could not be read, before anything was recorded.
pub fn not_read(request_id: &str, error: &LogError) -> Refusal {
    tracing::error!(request_id, %error, "cannot read what a request needs");
    ledger_unavailable("no", "the ledger cannot be read now, and nothing was sent to a provider: try again")
}

/// The refusal of a request whose end is not durable yet, although a provider may have worked for it. The end is kept, and
/// recorded as soon as possible.
pub fn not_ended(request_id: &str, error: &LogError) -> Refusal {
    tracing::error!(request_id, %error, "cannot record the end of a request");
    let message = format!(
        "the ledger has not confirmed the end of this request, which may be charged: GET /v1/inferences/{request_id} shows \
         its outcome. Sent again, it is a new request unless it has the same Idempotency-Key"
    );
    ledger_unavailable("unknown", message)
}
