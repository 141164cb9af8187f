//! A refusal that was decided before the ledger, and any that had to wait for the next second.

use super::{Deciding, JobKind, RecordedBatch, Reply};
use crate::ids::RequestId;
use crate::ledger::{Balances, Emitted, Refuse, RefuseDecision, RefuseWaiting, RefusedRequest, decide};
use crate::log::LogError;
use crate::refusal::Refusal;

pub(in crate::log) struct RecordRefusal(pub(in crate::log) Box<RefusedRequest>);

pub(in crate::log) enum Decided {
    /// Its position; `None` where it was rolled up.
    Recorded(Option<u64>),
    InNextSecond,
}

impl JobKind for RecordRefusal {
    type Decided = Decided;
    type Answer = Option<u64>;
    type Error = LogError;

    fn decide(&self, batch: &mut Deciding<'_>) -> Result<Decided, LogError> {
        Ok(match decide(batch.balances, &Refuse(&self.0), batch.now) {
            RefuseDecision::Now(refused) => Decided::Recorded(record_refusal(batch, self.0.request_id, refused.events)),
            RefuseDecision::NextSecond(refused) => {
                batch.record(refused.events);
                Decided::InNextSecond
            }
        })
    }

    fn answer(self, decided: Decided, _batch: &RecordedBatch<'_>) -> Reply<Self> {
        match decided {
            Decided::Recorded(position) => Reply::Now(Ok(position)),
            Decided::InNextSecond => {
                Reply::NextSecond(WaitingRefusal { refused: self.0, answer: |refusal| Ok(refusal.position) })
            }
        }
    }
}

/// A refusal that waits for the next second, and how whoever waits for it is answered.
pub(in crate::log) struct WaitingRefusal<A, E> {
    pub(super) refused: Box<RefusedRequest>,
    pub(super) answer: fn(Refusal) -> Result<A, E>,
}

impl<A: Send + 'static, E: From<LogError> + Send + 'static> JobKind for WaitingRefusal<A, E> {
    type Decided = Refusal;
    type Answer = A;
    type Error = E;

    fn decide(&self, batch: &mut Deciding<'_>) -> Result<Refusal, E> {
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

/// Position of the refusal's own event; `None` where it was only counted.
pub(super) fn record_refusal(batch: &mut Deciding<'_>, of: RequestId, events: Vec<Emitted>) -> Option<u64> {
    let has_its_own = events.last().is_some_and(|emitted| emitted.context.request_id == Some(of));
    batch.record(events).filter(|_| has_its_own)
}
