//! Refusals decided before the ledger was involved, and refusals that waited for the next second.

use events::ids::RequestId;
use events::ledger::{Balances, DecidedRefusal, RefuseDecision, RefusedRequest};
use events::refusal::Refusal;

use super::{JobKind, OpenBatch, RecordedBatch, Reply};
use crate::LogError;

pub(crate) struct RecordRefusal(pub(crate) Box<RefusedRequest>);

/// A refusal that is decided but not yet durable.
pub(crate) enum DraftedRefusal {
    /// With the position of its event, unless it is only counted.
    Now(Refusal),
    NextSecond(Refusal),
}

impl JobKind for RecordRefusal {
    type Decided = DraftedRefusal;
    type Answer = Option<u64>;
    type Error = LogError;

    fn decide(&self, batch: &mut OpenBatch<'_>) -> Result<DraftedRefusal, LogError> {
        let decision = batch.balances.refuse(&self.0, batch.now);
        Ok(DraftedRefusal::record(batch, self.0.request_id, decision))
    }

    fn answer(self, decided: DraftedRefusal, _batch: &RecordedBatch<'_>) -> Reply<Self> {
        decided.reply(|_| self.0, |refusal| Ok(refusal.position))
    }
}

impl DraftedRefusal {
    /// Adds the events of a refusal to the draft.
    pub(super) fn record(batch: &mut OpenBatch<'_>, of: RequestId, decision: RefuseDecision) -> Self {
        match decision {
            RefuseDecision::Now(refused) => Self::Now(record_now(batch, of, refused)),
            RefuseDecision::NextSecond(refused) => {
                batch.record(refused.events);
                Self::NextSecond(refused.refusal)
            }
        }
    }

    pub(super) fn reply<K: JobKind>(
        self,
        request: impl FnOnce(Refusal) -> Box<RefusedRequest>,
        answer: fn(Refusal) -> Result<K::Answer, K::Error>,
    ) -> Reply<K> {
        match self {
            Self::Now(refusal) => Reply::Now(answer(refusal)),
            Self::NextSecond(refusal) => Reply::NextSecond(WaitingRefusal { refused: request(refusal), answer }),
        }
    }
}

/// A refusal that waits for the next second, and the function that makes its answer.
pub(crate) struct WaitingRefusal<A, E> {
    pub(super) refused: Box<RefusedRequest>,
    pub(super) answer: fn(Refusal) -> Result<A, E>,
}

impl<A: Send + 'static, E: From<LogError> + Send + 'static> JobKind for WaitingRefusal<A, E> {
    type Decided = Refusal;
    type Answer = A;
    type Error = E;

    fn decide(&self, batch: &mut OpenBatch<'_>) -> Result<Refusal, E> {
        let refused = batch.balances.refuse_waiting(&self.refused, batch.now);
        Ok(record_now(batch, self.refused.request_id, refused))
    }

    fn give_up(&self, balances: &mut Balances) {
        balances.forget_waiting_refusal(&self.refused.context.actor);
    }

    fn answer(self, refusal: Refusal, _batch: &RecordedBatch<'_>) -> Reply<Self> {
        Reply::Now((self.answer)(refusal))
    }
}

/// The refusal, with the position of its own event unless it is only counted.
fn record_now(batch: &mut OpenBatch<'_>, of: RequestId, refused: DecidedRefusal) -> Refusal {
    let DecidedRefusal { refusal, events } = refused;
    let has_own_event = events.last().is_some_and(|emitted| emitted.context.request_id == Some(of));
    let position = batch.record(events).filter(|_| has_own_event);
    refusal.at(position)
}
