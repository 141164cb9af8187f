//! Idempotency keys of inference: a request that is sent again with its key is not charged again. A key is claimed in the
//! transaction of the request's admission, so that only one of two concurrent requests is admitted. The answer to the other
//! follows from the ledger: a key has no state of its own that could differ.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use events::ids::{IdSet, RequestId, TenantId};
use events::ledger::Balances;
use events::money::NanoUsd;
use events::refusal::{ErrorCode, Refusal};
use events::time::rfc3339;

use super::facts::{Claim, ClaimedKey, Facts};
use super::{Fingerprint, LogError};

/// How long idempotency keys are kept, of inference and of administration.
pub const IDEMPOTENCY_KEPT: TimeDelta = TimeDelta::days(30);
/// The `Retry-After` for a request that is still being answered.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The fingerprint of a claim of an earlier version, which kept a digest of the request that anybody could compare with a guess.
const DROPPED: [u8; 32] = [0; 32];

/// The identity of a repeated request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InferenceKey {
    /// The owner of the key: the tenant that is charged.
    pub tenant: TenantId,
    pub key: String,
    pub fingerprint: Fingerprint,
}

impl InferenceKey {
    pub(super) fn claimed(&self) -> ClaimedKey {
        ClaimedKey { tenant: self.tenant, key: self.key.clone() }
    }

    /// The refusal of a request with this key; `None` if it may be admitted. `orphaned`: requests that earlier processes
    /// admitted and did not end.
    pub(super) fn refusal(
        &self,
        facts: &Facts,
        balances: &Balances,
        orphaned: &IdSet<RequestId>,
        now: DateTime<Utc>,
    ) -> Result<Option<Refusal>, LogError> {
        let Some(&Claim { fingerprint, request_id }) = facts.claim(&self.claimed())? else { return Ok(None) };
        // Of a request that nobody can compare any more, a retry must not be paid for again.
        if fingerprint != DROPPED && !self.fingerprint.matches(&fingerprint) {
            let message = format!("this Idempotency-Key was used before, for a different request: {request_id}");
            return Ok(Some(about(request_id, ErrorCode::IdempotencyKeyReused, message)));
        }
        let refusal = match (balances.open_hold(request_id), facts.hold(request_id)) {
            (Some(hold), _) if orphaned.contains(&request_id) || facts.orphaned.contains(&request_id) => {
                process_ended(request_id, hold.expires_at, now)
            }
            // A hold without a known end is taken for an open one.
            (Some(_), _) | (None, None) => still_answered(request_id),
            (None, Some(history)) => {
                // Released, or expired without a charge: the request may be sent again.
                let Some(cost) = history.charged? else { return Ok(None) };
                charged_before(request_id, cost)
            }
        };
        Ok(Some(refusal))
    }
}

fn still_answered(request: RequestId) -> Refusal {
    let message = format!("the request with this Idempotency-Key is still being answered: {request}");
    about(request, ErrorCode::Conflict, message).retry_after(TRY_AGAIN_AFTER)
}

fn charged_before(request: RequestId, cost: NanoUsd) -> Refusal {
    let message = format!(
        "the request with this Idempotency-Key has been charged and is not sent again: {request}, {cost} USD; see GET \
         /v1/inferences/{request}"
    );
    about(request, ErrorCode::IdempotencyKeyReused, message).with("cost_usd", cost.to_string())
}

/// The refusal for an orphaned request: nobody answers it any more and its usage is unknown until its hold expires.
fn process_ended(request: RequestId, expires_at: DateTime<Utc>, now: DateTime<Utc>) -> Refusal {
    let until = rfc3339(expires_at);
    let message = format!(
        "the process that answered the request with this Idempotency-Key has ended, and the usage of the request is not \
         known: {request}; its hold expires at {until}, try again after that"
    );
    let wait = (expires_at - now).to_std().unwrap_or_default().max(TRY_AGAIN_AFTER);
    about(request, ErrorCode::Conflict, message).with("expires_at", until).retry_after(wait)
}

/// A refusal that names the first request with the key.
fn about(first: RequestId, code: ErrorCode, message: String) -> Refusal {
    Refusal::new(code, message).with("request_id", first.to_string())
}
