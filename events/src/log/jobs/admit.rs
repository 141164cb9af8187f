//! A request asks for its money.

use chrono::{DateTime, Utc};

use super::refuse::{WaitingRefusal, record_refusal};
use super::{Deciding, RecordedBatch, Reply, Request};
use crate::ledger::{Admission, Admit, AdmitDecision, Balances, Refuse, RefuseDecision, RefusedRequest, decide};
use crate::log::facts::Wanted;
use crate::log::{InferenceKey, LogError, OpenHold};
use crate::money::NanoUsd;
use crate::wire::Refusal;

/// What the ledger said to a request.
#[derive(Debug)]
pub enum Admitted {
    Hold(OpenHold),
    Refused(Refusal),
    /// Not enough left, and nothing recorded: see [`IfShort::AskAgain`](crate::ledger::IfShort::AskAgain).
    Short,
}

/// An admission, and what makes it the only one of its kind.
pub(in crate::log) struct AdmitRequest(pub(in crate::log) Box<Asking>);

pub(in crate::log) struct Asking {
    pub(in crate::log) admission: Admission,
    pub(in crate::log) key: Option<InferenceKey>,
}

/// What a request will be told.
pub(in crate::log) enum Decided {
    Held(Held),
    Short,
    Refused(Refusal),
    RefusedInNextSecond(Refusal),
}

/// A hold that is about to stand.
pub(in crate::log) struct Held {
    admitted_position: u64,
    expires_at: DateTime<Utc>,
    amount: NanoUsd,
    lowered_to: Option<u64>,
}

impl Request for AdmitRequest {
    type Decided = Decided;
    type Answer = Admitted;
    type Error = LogError;

    fn wants(&self, _balances: &Balances, wanted: &mut Wanted) {
        if let Some(key) = &self.0.key {
            wanted.claims.insert(key.claimed());
        }
    }

    fn decide(&self, batch: &mut Deciding<'_>) -> Result<Decided, LogError> {
        let Asking { admission, key } = &*self.0;
        if let Some(key) = key
            && let Some(refusal) = key.refusal(batch.facts, batch.balances, batch.left_behind, batch.now)?
        {
            // Before the ledger is asked for money.
            let refused = RefusedRequest::of(admission, refusal);
            let decision = decide(batch.balances, &Refuse(&refused), batch.now);
            return Ok(refusal_decided(batch, admission, decision));
        }
        match decide(batch.balances, &Admit(admission), batch.now) {
            AdmitDecision::Admitted { held: amount, lowered_to, expires_at, events } => {
                let admitted_position = batch.draft.position() + 1;
                batch.record(events);
                if let Some(key) = key {
                    batch.draft.claim(batch.facts, key, admission.request_id);
                }
                Ok(Decided::Held(Held { admitted_position, expires_at, amount, lowered_to }))
            }
            AdmitDecision::Short => Ok(Decided::Short),
            AdmitDecision::Refused(decision) => Ok(refusal_decided(batch, admission, decision)),
            AdmitDecision::AlreadyAdmitted => Err(LogError::Append("the request was admitted before".to_owned())),
            AdmitDecision::Overflow(_) => Err(LogError::Overflow),
        }
    }

    fn answer(self, decided: Decided, batch: &RecordedBatch<'_>) -> Reply<Self> {
        let Asking { admission, .. } = *self.0;
        Reply::Now(Ok(match decided {
            Decided::Held(held) => Admitted::Hold(open_hold(admission, held, batch)),
            Decided::Short => Admitted::Short,
            Decided::Refused(refusal) => Admitted::Refused(refusal),
            Decided::RefusedInNextSecond(refusal) => {
                let refused = Box::new(RefusedRequest::of(&admission, refusal));
                let answer = |refusal| Ok(Admitted::Refused(refusal));
                return Reply::NextSecond(WaitingRefusal { refused, answer });
            }
        }))
    }
}

fn refusal_decided(batch: &mut Deciding<'_>, admission: &Admission, decision: RefuseDecision) -> Decided {
    match decision {
        RefuseDecision::Now(refused) => {
            let position = record_refusal(batch, admission.request_id, refused.events);
            Decided::Refused(refused.refusal.at(position))
        }
        RefuseDecision::NextSecond(refused) => {
            batch.record(refused.events);
            Decided::RefusedInNextSecond(refused.refusal)
        }
    }
}

fn open_hold(admission: Admission, held: Held, batch: &RecordedBatch<'_>) -> OpenHold {
    OpenHold {
        request_id: admission.request_id,
        held: held.amount,
        lowered_to: held.lowered_to,
        admitted_position: held.admitted_position,
        admitted_at: batch.recorded_at,
        expires_at: held.expires_at,
        model: admission.admitted.model,
        context: admission.context,
        ender: Some(batch.ender.clone()),
    }
}
