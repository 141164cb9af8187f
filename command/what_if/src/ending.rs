//! Ends of requests, as the ledger takes them. It looks only at the charge, so that the outcomes have no details.

use chrono::DateTime;
use events::event::Context;
use events::event::inference::InferenceEnded;
use events::ids::RequestId;
use events::ledger::{Charge, Ending, Outcome};
use events::money::NanoUsd;

/// `own` is the part of the charge that its tenant's own providers cost.
pub(crate) fn ending(request_id: RequestId, context: &Context, charge: Charge, own: NanoUsd) -> Ending {
    let ended = InferenceEnded::new(String::new(), DateTime::UNIX_EPOCH, charge.amount());
    let outcome = Outcome::Completed(Box::new(ended));
    Ending { request_id, context: context.clone(), attempts: Vec::new(), outcome, charge, own }
}
