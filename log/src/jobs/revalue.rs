//! Corrections of requests by a price that was corrected later. A request gets the value of each version of the price list at
//! most once, however often the correction is sent.

use events::ids::RequestId;
use events::ledger::{Balances, Overflow, Revaluation};

use super::{JobKind, OpenBatch, RecordedBatch, Reply};
use crate::LogError;
use crate::facts::WantedFacts;

/// The outcome of several corrections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revalued {
    /// The position of the last correction; `None` if nothing had to be corrected.
    pub last: Option<u64>,
    /// The requests that keep their charge, because the correction is no amount that money can count.
    pub uncountable: Vec<RequestId>,
}

pub(crate) struct RevalueRequests(pub(crate) Vec<Revaluation>);

impl JobKind for RevalueRequests {
    type Decided = Revalued;
    type Answer = Revalued;
    type Error = LogError;

    fn wants(&self, _balances: &Balances, wanted: &mut WantedFacts) {
        wanted.charges.extend(self.0.iter().map(|revaluation| revaluation.request_id));
    }

    fn decide(&self, batch: &mut OpenBatch<'_>) -> Result<Revalued, LogError> {
        let mut revalued = Revalued::default();
        for revaluation in &self.0 {
            match correct(batch, revaluation) {
                Ok(None) => {}
                Ok(last) => revalued.last = last,
                Err(Overflow) => revalued.uncountable.push(revaluation.request_id),
            }
        }
        Ok(revalued)
    }

    fn answer(self, revalued: Revalued, _batch: &RecordedBatch<'_>) -> Reply<Self> {
        Reply::Now(Ok(revalued))
    }
}

/// Returns the position of the correction; `None` if the request is not charged by a price, was corrected by this version or a
/// later one, or has this value.
fn correct(batch: &mut OpenBatch<'_>, revaluation: &Revaluation) -> Result<Option<u64>, Overflow> {
    let Some(history) = batch.facts.hold(revaluation.request_id) else { return Ok(None) };
    if history.revalued_by >= revaluation.value.version {
        return Ok(None);
    }
    let Some(charged) = history.settled()? else { return Ok(None) };
    let Some(corrected) = batch.balances.revalue(revaluation, &charged)? else { return Ok(None) };
    let position = batch.record(corrected.events);
    batch.record(corrected.alerts);
    Ok(position)
}
