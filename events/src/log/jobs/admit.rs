//! The admission of a request: its hold, or a refusal.

use chrono::{DateTime, Utc};

use super::open_hold::OpenHold;
use super::refuse::DraftedRefusal;
use super::{JobKind, OpenBatch, RecordedBatch, Reply};
use crate::ledger::{Admission, AdmitDecision, Balances, RefusedRequest};
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

/// Answers `None` if a tighter bound may fit: see [`Balances::admit_unless_short`].
pub(in crate::log) struct AdmitRequestUnlessShort(pub(in crate::log) Box<KeyedAdmission>);

/// The decision on an admission.
pub(in crate::log) enum AdmissionDecided {
    Held(NewHold),
    Refused(DraftedRefusal),
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
        let decision = batch.balances.admit(&self.0.admission, batch.now)?;
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
        let decision = batch.balances.admit_unless_short(&self.0.admission, batch.now)?;
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
            let decision = batch.balances.refuse(&refused, batch.now);
            AdmissionDecided::Refused(DraftedRefusal::record(batch, self.admission.request_id, decision))
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
            AdmitDecision::Refused(decision) => {
                let refusal = DraftedRefusal::record(batch, self.admission.request_id, decision);
                Ok(AdmissionDecided::Refused(refusal))
            }
            AdmitDecision::AlreadyAdmitted => Err(LogError::Append("the request has already been admitted".to_owned())),
        }
    }

    fn reply<K>(self, decided: AdmissionDecided, batch: &RecordedBatch<'_>) -> Reply<K>
    where
        K: JobKind<Error = LogError>,
        K::Answer: From<Admitted>,
    {
        let Self { admission, .. } = self;
        match decided {
            AdmissionDecided::Held(held) => Reply::Now(Ok(Admitted::Hold(open_hold(admission, held, batch)).into())),
            AdmissionDecided::Refused(refusal) => refusal.reply(
                |refusal| Box::new(RefusedRequest::of(&admission, refusal)),
                |refusal| Ok(Admitted::Refused(refusal).into()),
            ),
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
