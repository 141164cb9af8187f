//! The admission of a request: its hold, or a refusal.

use chrono::{DateTime, Utc};

use super::open_hold::OpenHold;
use super::refuse::{WaitingRefusal, record_refusal};
use super::{JobKind, OpenBatch, RecordedBatch, Reply};
use crate::ledger::{
    Admission, Admit, AdmitDecision, AdmitUnlessShort, Balances, Refuse, RefuseDecision, RefusedRequest, decide,
};
use crate::log::facts::Wanted;
use crate::log::{InferenceKey, LogError};
use crate::money::NanoUsd;
use crate::output_cap::LoweredCap;
use crate::refusal::Refusal;

/// The answer to an admission.
#[derive(Debug)]
pub enum Admitted {
    Hold(OpenHold),
    Refused(Refusal),
}

/// An admission, and the idempotency key that makes it unique.
pub(in crate::log) struct KeyedAdmission {
    pub(in crate::log) admission: Admission,
    pub(in crate::log) key: Option<InferenceKey>,
}

pub(in crate::log) struct AdmitRequest(pub(in crate::log) Box<KeyedAdmission>);

/// Answers `None` if a tighter bound may fit: see [`AdmitUnlessShort`].
pub(in crate::log) struct AdmitRequestUnlessShort(pub(in crate::log) Box<KeyedAdmission>);

/// The decision on an admission.
pub(in crate::log) enum AdmissionDecided {
    Held(NewHold),
    Refused(Refusal),
    RefusedInNextSecond(Refusal),
}

/// A hold that is decided but not yet durable.
pub(in crate::log) struct NewHold {
    admitted_position: u64,
    expires_at: DateTime<Utc>,
    amount: NanoUsd,
    lowered_cap: Option<LoweredCap>,
}

impl JobKind for AdmitRequest {
    type Decided = AdmissionDecided;
    type Answer = Admitted;
    type Error = LogError;

    fn wants(&self, _balances: &Balances, wanted: &mut Wanted) {
        self.0.wants(wanted);
    }

    fn decide(&self, batch: &mut OpenBatch<'_>) -> Result<AdmissionDecided, LogError> {
        if let Some(refused) = self.0.refused_by_key(batch)? {
            return Ok(refused);
        }
        let decision = decide(batch.balances, &Admit(&self.0.admission), batch.now);
        self.0.decided(batch, decision)
    }

    fn answer(self, decided: AdmissionDecided, batch: &RecordedBatch<'_>) -> Reply<Self> {
        self.0.reply(decided, batch)
    }
}

impl JobKind for AdmitRequestUnlessShort {
    type Decided = Option<AdmissionDecided>;
    type Answer = Option<Admitted>;
    type Error = LogError;

    fn wants(&self, _balances: &Balances, wanted: &mut Wanted) {
        self.0.wants(wanted);
    }

    fn decide(&self, batch: &mut OpenBatch<'_>) -> Result<Option<AdmissionDecided>, LogError> {
        if let Some(refused) = self.0.refused_by_key(batch)? {
            return Ok(Some(refused));
        }
        let decision = decide(batch.balances, &AdmitUnlessShort(&self.0.admission), batch.now);
        decision.map(|decision| self.0.decided(batch, decision)).transpose()
    }

    fn answer(self, decided: Option<AdmissionDecided>, batch: &RecordedBatch<'_>) -> Reply<Self> {
        match decided {
            Some(decided) => self.0.reply(decided, batch),
            None => Reply::Now(Ok(None)),
        }
    }
}

impl KeyedAdmission {
    fn wants(&self, wanted: &mut Wanted) {
        if let Some(key) = &self.key {
            wanted.claims.insert(key.claimed());
        }
    }

    /// The refusal by the idempotency key, which comes before the budgets.
    fn refused_by_key(&self, batch: &mut OpenBatch<'_>) -> Result<Option<AdmissionDecided>, LogError> {
        let Some(key) = &self.key else { return Ok(None) };
        let refusal = key.refusal(batch.facts, batch.balances, batch.orphaned, batch.now)?;
        Ok(refusal.map(|refusal| {
            let refused = RefusedRequest::of(&self.admission, refusal);
            let decision = decide(batch.balances, &Refuse(&refused), batch.now);
            refusal_decided(batch, &self.admission, decision)
        }))
    }

    fn decided(&self, batch: &mut OpenBatch<'_>, decision: AdmitDecision) -> Result<AdmissionDecided, LogError> {
        match decision {
            AdmitDecision::Admitted { held: amount, lowered_cap, expires_at, events } => {
                let admitted_position = batch.draft.position() + 1;
                batch.record(events);
                if let Some(key) = &self.key {
                    batch.draft.claim(batch.facts, key, self.admission.request_id);
                }
                Ok(AdmissionDecided::Held(NewHold { admitted_position, expires_at, amount, lowered_cap }))
            }
            AdmitDecision::Refused(decision) => Ok(refusal_decided(batch, &self.admission, decision)),
            AdmitDecision::AlreadyAdmitted => Err(LogError::Append("the request has already been admitted".to_owned())),
            AdmitDecision::Overflow(_) => Err(LogError::Overflow),
        }
    }

    fn reply<K>(self, decided: AdmissionDecided, batch: &RecordedBatch<'_>) -> Reply<K>
    where
        K: JobKind<Error = LogError>,
        K::Answer: From<Admitted>,
    {
        let Self { admission, .. } = self;
        let admitted = match decided {
            AdmissionDecided::Held(held) => Admitted::Hold(open_hold(admission, held, batch)),
            AdmissionDecided::Refused(refusal) => Admitted::Refused(refusal),
            AdmissionDecided::RefusedInNextSecond(refusal) => {
                let refused = Box::new(RefusedRequest::of(&admission, refusal));
                let answer = |refusal| Ok(Admitted::Refused(refusal).into());
                return Reply::NextSecond(WaitingRefusal { refused, answer });
            }
        };
        Reply::Now(Ok(admitted.into()))
    }
}

fn refusal_decided(batch: &mut OpenBatch<'_>, admission: &Admission, decision: RefuseDecision) -> AdmissionDecided {
    match decision {
        RefuseDecision::Now(refused) => {
            let position = record_refusal(batch, admission.request_id, refused.events);
            AdmissionDecided::Refused(refused.refusal.at(position))
        }
        RefuseDecision::NextSecond(refused) => {
            batch.record(refused.events);
            AdmissionDecided::RefusedInNextSecond(refused.refusal)
        }
    }
}

fn open_hold(admission: Admission, held: NewHold, batch: &RecordedBatch<'_>) -> OpenHold {
    OpenHold {
        request_id: admission.request_id,
        held: held.amount,
        lowered_cap: held.lowered_cap,
        admitted_position: held.admitted_position,
        admitted_at: batch.recorded_at,
        expires_at: held.expires_at,
        model: admission.admitted.model,
        context: admission.context,
        ender: Some(batch.ender.clone()),
    }
}
