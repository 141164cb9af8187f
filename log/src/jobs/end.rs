//! The end of a request: its outcome and the end of its hold.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::event::Recorded;
use events::ledger::{Balances, DecidedEnd, Ending, Outcome};
use events::refusal::ErrorCode;

use super::{JobKind, OpenBatch, RecordedBatch, Reply};
use crate::LogError;
use crate::facts::WantedFacts;

/// The position and the time of a request's end.
#[derive(Clone, Debug, PartialEq)]
pub struct EndedAt {
    /// Position of the event that ended or adjusted the hold.
    pub position: u64,
    pub recorded_at: DateTime<Utc>,
    /// The event; `None` if it was recorded before, and its first answer was lost.
    pub event: Option<Arc<Recorded>>,
}

/// The end of a request.
pub(crate) struct EndRequest {
    pub(crate) ending: Box<Ending>,
    pub(crate) admission: AdmissionStatus,
}

/// The known state of the admission of a request that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdmissionStatus {
    Recorded,
    /// The commit failed, and nobody knows what became of it. If it was recorded, its hold is released; its client was told
    /// that there is none. A shared database may still receive the statement until the log has passed this position.
    Unknown {
        position: u64,
    },
}

/// The state in the log of a request that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndDecision {
    /// The position of its end.
    Ended(u64),
    NeverAdmitted,
    /// The request may still be admitted.
    Undecided,
}

impl EndRequest {
    pub(crate) fn of(ending: Ending) -> Self {
        Self { ending: Box::new(ending), admission: AdmissionStatus::Recorded }
    }
}

impl JobKind for EndRequest {
    type Decided = EndDecision;
    type Answer = EndedAt;
    type Error = LogError;

    fn wants(&self, balances: &Balances, wanted: &mut WantedFacts) {
        if balances.open_hold(self.ending.request_id).is_none() {
            wanted.holds.insert(self.ending.request_id);
        }
    }

    fn decide(&self, batch: &mut OpenBatch<'_>) -> Result<EndDecision, LogError> {
        let after = batch.draft.after;
        let position = match batch.balances.end(&self.ending) {
            Some(ended) => Some(record_end(batch, ended)?),
            None => end_late(batch, &self.ending)?,
        };
        match (position, self.admission) {
            (Some(position), _) => Ok(EndDecision::Ended(position)),
            (None, AdmissionStatus::Recorded) => Err(never_admitted()),
            (None, AdmissionStatus::Unknown { position }) if batch.is_shared && after < position => {
                Ok(EndDecision::Undecided)
            }
            (None, AdmissionStatus::Unknown { .. }) => Ok(EndDecision::NeverAdmitted),
        }
    }

    fn answer(self, decided: EndDecision, batch: &RecordedBatch<'_>) -> Reply<Self> {
        Reply::Now(match decided {
            EndDecision::Ended(position) => {
                Ok(EndedAt { position, recorded_at: batch.recorded_at, event: batch.event(position) })
            }
            EndDecision::NeverAdmitted => Err(never_admitted()),
            EndDecision::Undecided => {
                // Nobody waits for it. It is decided again with the next batch, or when the writer wakes up.
                batch.ender.unattended.extend([self]);
                Err(never_admitted())
            }
        })
    }

    /// Logged, because nobody may wait for the answer. The hold will expire.
    fn on_rejected(&self, error: &LogError) {
        tracing::error!(request_id = %self.ending.request_id, %error, "cannot record the end of a request; its hold will expire");
    }

    /// The hold is still open and its figures are known, so the end is tried again.
    fn to_retry(self, _decided: Option<EndDecision>, _error: &LogError) -> Option<EndRequest> {
        Some(Self { ending: Box::new(as_unconfirmed(*self.ending)), ..self })
    }
}

fn never_admitted() -> LogError {
    LogError::Append("cannot end a request that was never admitted".to_owned())
}

/// The hold has already ended: by the sweeper, whose charge is adjusted, or by this same end, whose first answer was lost.
/// `None` if there was none.
fn end_late(batch: &mut OpenBatch<'_>, ending: &Ending) -> Result<Option<u64>, LogError> {
    let Some(history) = batch.facts.hold(ending.request_id) else { return Ok(None) };
    let Some(expired) = history.expired.clone() else { return Ok(Some(history.position)) };
    let adjusted = batch.balances.end_late(ending, &expired)?;
    record_end(batch, adjusted).map(Some)
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
