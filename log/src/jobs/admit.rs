//! The admission of a request: its hold, or a refusal.

use std::time::Duration;

use chrono::{DateTime, Utc};
use events::ledger::{Admission, AdmitDecision, Balances, RefusedRequest};
use events::money::NanoUsd;
use events::output_cap::LoweredCap;
use events::refusal::Refusal;

use super::open_hold::{OpenHold, end_of_unknown};
use super::refuse::DraftedRefusal;
use super::{EndRequest, JobKind, OpenBatch, RecordedBatch, Reply};
use crate::facts::WantedFacts;
use crate::{InferenceKey, LogError, WRITE_WAIT_MAX};

/// The answer to an admission.
#[derive(Debug)]
pub enum Admitted {
    Hold(OpenHold),
    /// Nothing is recorded: a tighter bound may fit. See [`IfShort::AskAgain`](events::ledger::IfShort::AskAgain).
    Short,
    /// Nothing is recorded: a right, a price or a route that may concern the request has changed since it was planned.
    Stale {
        changed_at: u64,
    },
    Refused(Refusal),
}

/// An admission, and the idempotency key that makes it unique.
pub(crate) struct AdmitRequest {
    pub(crate) admission: Box<Admission>,
    pub(crate) key: Option<InferenceKey>,
}

/// The decision on an admission.
pub(crate) enum AdmissionDecided {
    Held(NewHold),
    Short,
    Stale { changed_at: u64 },
    Refused(DraftedRefusal),
}

/// A hold that is decided but not yet durable.
pub(crate) struct NewHold {
    admitted_position: u64,
    admitted_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    amount: NanoUsd,
    brokered_held: Option<NanoUsd>,
    lowered_cap: Option<LoweredCap>,
}

impl JobKind for AdmitRequest {
    type Decided = AdmissionDecided;
    type Answer = Admitted;
    type Error = LogError;

    fn wants(&self, _balances: &Balances, wanted: &mut WantedFacts) {
        wanted.claims.extend(self.key.as_ref().map(InferenceKey::claimed));
    }

    fn decide(&self, batch: &mut OpenBatch<'_>) -> Result<AdmissionDecided, LogError> {
        if let Some(changed_at) = batch.changed_since(self.admission.planned_at, &self.admission.context) {
            return Ok(AdmissionDecided::Stale { changed_at });
        }
        match self.decision(batch)? {
            AdmitDecision::Admitted { held: amount, brokered_held, lowered_cap, expires_at, events } => {
                let admitted_position = batch.draft.position() + 1;
                batch.record(events);
                if let Some(key) = &self.key {
                    batch.draft.claim(batch.facts, key, self.admission.request_id);
                }
                let admitted_at = batch.now;
                Ok(AdmissionDecided::Held(NewHold {
                    admitted_position,
                    admitted_at,
                    expires_at,
                    amount,
                    brokered_held,
                    lowered_cap,
                }))
            }
            AdmitDecision::Short => Ok(AdmissionDecided::Short),
            AdmitDecision::Refused(decision) => {
                let refusal = DraftedRefusal::record(batch, self.admission.request_id, decision);
                Ok(AdmissionDecided::Refused(refusal))
            }
            AdmitDecision::AlreadyAdmitted => Err(LogError::Append("the request has already been admitted".to_owned())),
        }
    }

    fn answer(self, decided: AdmissionDecided, batch: &RecordedBatch<'_>) -> Reply<Self> {
        let Self { admission, .. } = self;
        match decided {
            AdmissionDecided::Held(held) => Reply::Now(Ok(Admitted::Hold(open_hold(*admission, held, batch)))),
            AdmissionDecided::Short => Reply::Now(Ok(Admitted::Short)),
            AdmissionDecided::Stale { changed_at } => Reply::Now(Ok(Admitted::Stale { changed_at })),
            AdmissionDecided::Refused(refusal) => refusal.reply(
                |refusal| Box::new(RefusedRequest::of(&admission, refusal)),
                |refusal| Ok(Admitted::Refused(refusal)),
            ),
        }
    }

    /// Whoever has waited for so long was told that there is no answer.
    fn unheard(answer: Admitted, waited: Duration) {
        if let Admitted::Hold(hold) = answer
            && waited >= WRITE_WAIT_MAX
        {
            hold.end_unconfirmed();
        }
    }

    /// If the hold stands after all, nobody will use it.
    fn to_retry(self, decided: Option<AdmissionDecided>, error: &LogError) -> Option<EndRequest> {
        match decided {
            Some(AdmissionDecided::Held(held)) if error.may_be_recorded() => {
                Some(end_of_unknown(*self.admission, held.admitted_at, held.admitted_position))
            }
            _ => None,
        }
    }
}

impl AdmitRequest {
    /// The idempotency key decides before the budgets.
    fn decision(&self, batch: &mut OpenBatch<'_>) -> Result<AdmitDecision, LogError> {
        let refusal = match &self.key {
            Some(key) => key.refusal(batch.facts, batch.balances, batch.orphaned, batch.now)?,
            None => None,
        };
        Ok(match refusal {
            Some(refusal) => {
                let refused = RefusedRequest::of(&self.admission, refusal);
                AdmitDecision::Refused(batch.balances.refuse(&refused, batch.now))
            }
            None => batch.balances.admit(&self.admission, batch.now),
        })
    }
}

fn open_hold(admission: Admission, held: NewHold, batch: &RecordedBatch<'_>) -> OpenHold {
    OpenHold {
        request_id: admission.request_id,
        held: held.amount,
        brokered_held: held.brokered_held,
        own_charge: NanoUsd::ZERO,
        lowered_cap: held.lowered_cap,
        admitted_position: held.admitted_position,
        admitted_at: held.admitted_at,
        expires_at: held.expires_at,
        model: admission.admitted.model,
        context: admission.context,
        ender: Some(batch.ender.clone()),
    }
}
