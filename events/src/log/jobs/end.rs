//! The end of a request: its outcome and the end of its hold.

use chrono::{DateTime, Utc};

use super::{JobKind, OpenBatch, RecordedBatch, Reply};
use crate::ledger::{Balances, DecidedEnd, Ending, Outcome};
use crate::log::LogError;
use crate::log::facts::Wanted;
use crate::refusal::ErrorCode;

/// The position and the time of a request's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedAt {
    /// Position of the event that ended or adjusted the hold.
    pub position: u64,
    pub recorded_at: DateTime<Utc>,
}

pub(in crate::log) struct EndRequest(pub(in crate::log) Box<Ending>);

impl JobKind for EndRequest {
    /// The position of the end.
    type Decided = u64;
    type Answer = EndedAt;
    type Error = LogError;

    fn wants(&self, balances: &Balances, wanted: &mut Wanted) {
        if balances.open_hold(self.0.request_id).is_none() {
            wanted.holds.insert(self.0.request_id);
        }
    }

    fn decide(&self, batch: &mut OpenBatch<'_>) -> Result<u64, LogError> {
        match batch.balances.end(&self.0) {
            Some(ended) => record_end(batch, ended),
            None => end_late(batch, &self.0),
        }
    }

    fn answer(self, position: u64, batch: &RecordedBatch<'_>) -> Reply<Self> {
        Reply::Now(Ok(EndedAt { position, recorded_at: batch.recorded_at }))
    }

    /// Logged, because nobody may wait for the answer. The hold will expire.
    fn on_rejected(&self, error: &LogError) {
        tracing::error!(request_id = %self.0.request_id, %error, "cannot record the end of a request; its hold will expire");
    }

    /// The hold is still open and its figures are known, so the end is tried again.
    fn to_retry(self) -> Option<Ending> {
        Some(as_unconfirmed(*self.0))
    }
}

/// The hold has already ended: by the sweeper, whose charge is adjusted, or by this same end, whose first answer was lost.
fn end_late(batch: &mut OpenBatch<'_>, ending: &Ending) -> Result<u64, LogError> {
    let Some(history) = batch.facts.hold(ending.request_id) else {
        return Err(LogError::Append("cannot end a request that was never admitted".to_owned()));
    };
    let Some(expired) = history.expired.clone() else { return Ok(history.position) };
    let adjusted = batch.balances.end_late(ending, &expired)?;
    record_end(batch, adjusted)
}

fn record_end(batch: &mut OpenBatch<'_>, ended: DecidedEnd) -> Result<u64, LogError> {
    let position = batch.record(ended.events);
    batch.record(ended.alerts);
    position.ok_or_else(|| LogError::Append("the end of a request has no event".to_owned()))
}

/// The outcome of an end that did not become durable in time: a failure, as its client was told.
fn as_unconfirmed(mut ending: Ending) -> Ending {
    if let Outcome::Completed(mut ended) = ending.outcome {
        ended.code = Some(ErrorCode::LedgerUnavailable.as_str().to_owned());
        ended.reason = Some("settlement_delayed".to_owned());
        ending.outcome = Outcome::Failed(ended);
    }
    ending
}
