//! Refusals decided before the ledger was involved, and refusals that waited for the next second.

use super::{JobKind, OpenBatch, RecordedBatch, Reply};
use crate::ids::RequestId;
use crate::ledger::{Balances, Emitted, Refuse, RefuseDecision, RefuseWaiting, RefusedRequest, decide};
use crate::log::LogError;
use crate::refusal::Refusal;

pub(in crate::log) struct RecordRefusal(pub(in crate::log) Box<RefusedRequest>);

/// The decision on how to record a refusal.
pub(in crate::log) enum RefusalDecided {
    /// Its position; `None` if it was only counted.
    Recorded(Option<u64>),
    InNextSecond,
}

impl JobKind for RecordRefusal {
    type Decided = RefusalDecided;
    type Answer = Option<u64>;
    type Error = LogError;

    fn decide(&self, batch: &mut OpenBatch<'_>) -> Result<RefusalDecided, LogError> {
        Ok(match decide(batch.balances, &Refuse(&self.0), batch.now) {
            RefuseDecision::Now(refused) => {
                RefusalDecided::Recorded(record_refusal(batch, self.0.request_id, refused.events))
            }
            RefuseDecision::NextSecond(refused) => {
                batch.record(refused.events);
                RefusalDecided::InNextSecond
            }
        })
    }

    fn answer(self, decided: RefusalDecided, _batch: &RecordedBatch<'_>) -> Reply<Self> {
        match decided {
            RefusalDecided::Recorded(position) => Reply::Now(Ok(position)),
            RefusalDecided::InNextSecond => {
                Reply::NextSecond(WaitingRefusal { refused: self.0, answer: |refusal| Ok(refusal.position) })
            }
        }
    }
}

/// A refusal that waits for the next second, and the function that makes its answer.
pub(in crate::log) struct WaitingRefusal<A, E> {
    pub(super) refused: Box<RefusedRequest>,
    pub(super) answer: fn(Refusal) -> Result<A, E>,
}

impl<A: Send + 'static, E: From<LogError> + Send + 'static> JobKind for WaitingRefusal<A, E> {
    type Decided = Refusal;
    type Answer = A;
    type Error = E;

    fn decide(&self, batch: &mut OpenBatch<'_>) -> Result<Refusal, E> {
        let refused = decide(batch.balances, &RefuseWaiting(&self.refused), batch.now);
        let position = record_refusal(batch, self.refused.request_id, refused.events);
        Ok(refused.refusal.at(position))
    }

    fn give_up(&self, balances: &mut Balances) {
        balances.forget_waiting_refusal(&self.refused.context.actor);
    }

    fn answer(self, refusal: Refusal, _batch: &RecordedBatch<'_>) -> Reply<Self> {
        Reply::Now((self.answer)(refusal))
    }
}

/// The position of the refusal's own event; `None` if it was only counted.
pub(super) fn record_refusal(batch: &mut OpenBatch<'_>, of: RequestId, events: Vec<Emitted>) -> Option<u64> {
    let has_own_event = events.last().is_some_and(|emitted| emitted.context.request_id == Some(of));
    batch.record(events).filter(|_| has_own_event)
}
