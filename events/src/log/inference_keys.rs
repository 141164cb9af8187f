//! Idempotency keys of inference: a request that is sent again under its key is not paid for again. A key is claimed in
//! the transaction of the request's admission, so that of two at once one is admitted, and what is answered to the other
//! is read from the ledger: there is no state of a key that could differ from it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::LogError;
use super::facts::{Claim, ClaimedKey, Facts};
use crate::ids::{IdSet, RequestId, TenantId};
use crate::ledger::Balances;
use crate::money::NanoUsd;
use crate::refusal::{ErrorCode, Refusal};
use crate::time::rfc3339;

/// For so long an idempotency key is known, of inference and of administration.
pub const IDEMPOTENCY_KEPT: TimeDelta = TimeDelta::days(30);
/// Advice for who sends again what is still being answered.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How a request that is sent again is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InferenceKey {
    /// Whose key it is: the tenant that is charged.
    pub tenant: TenantId,
    pub key: String,
    /// SHA-256 of all that the request says.
    pub fingerprint: [u8; 32],
}

/// What became of a hold.
enum HoldState {
    Open {
        expires_at: Option<DateTime<Utc>>,
    },
    /// It was given back, or expired without a charge.
    Released,
    Charged(NanoUsd),
}

impl InferenceKey {
    pub(super) fn claimed(&self) -> ClaimedKey {
        ClaimedKey { tenant: self.tenant, key: self.key.clone() }
    }

    /// Why a request may not be admitted under this key; `None` where it may. `left_behind`: requests that processes
    /// before this one admitted, and did not end.
    pub(super) fn refusal(
        &self,
        facts: &Facts,
        balances: &Balances,
        left_behind: &IdSet<RequestId>,
        now: DateTime<Utc>,
    ) -> Result<Option<Refusal>, LogError> {
        let Some(&Claim { fingerprint, request_id }) = facts.claim(&self.claimed())? else { return Ok(None) };
        if fingerprint != self.fingerprint {
            let message = format!("this Idempotency-Key came before with another request: {request_id}");
            return Ok(Some(Refusal::new(ErrorCode::IdempotencyKeyReused, message).with_request(request_id)));
        }
        Ok(match hold_state(facts, balances, request_id)? {
            HoldState::Released => None,
            HoldState::Open { expires_at: Some(expires_at) } if left_behind.contains(&request_id) => {
                Some(process_ended(request_id, expires_at, now))
            }
            HoldState::Open { .. } => {
                let message = format!("the request with this Idempotency-Key is still being answered: {request_id}");
                let refusal = Refusal::new(ErrorCode::Conflict, message).with_request(request_id);
                Some(refusal.retry_after(TRY_AGAIN_AFTER))
            }
            HoldState::Charged(cost) => {
                let message = format!(
                    "the request with this Idempotency-Key has been charged, and is not made again: {request_id}, {cost} \
                     USD; GET /v1/inferences/{request_id} shows what became of it"
                );
                let refusal = Refusal::new(ErrorCode::IdempotencyKeyReused, message).with_request(request_id);
                Some(refusal.with("cost_usd", cost.to_string()))
            }
        })
    }
}

fn hold_state(facts: &Facts, balances: &Balances, request: RequestId) -> Result<HoldState, LogError> {
    if let Some(hold) = balances.open_hold(request) {
        return Ok(HoldState::Open { expires_at: Some(hold.expires_at) });
    }
    let Some(history) = facts.hold(request) else { return Ok(HoldState::Open { expires_at: None }) };
    Ok(history.charged()?.map_or(HoldState::Released, HoldState::Charged))
}

/// Nobody answers that request any more, and nobody knows what it used: the sweeper decides when its hold expires.
fn process_ended(request: RequestId, expires_at: DateTime<Utc>, now: DateTime<Utc>) -> Refusal {
    let until = rfc3339(expires_at);
    let message = format!(
        "the process that answered the request with this Idempotency-Key has ended, and what the request used is not \
         known: {request}; its hold expires at {until}, try again after that"
    );
    let wait = (expires_at - now).to_std().unwrap_or_default().max(TRY_AGAIN_AFTER);
    let refusal = Refusal::new(ErrorCode::Conflict, message).with_request(request);
    refusal.with("expires_at", until).retry_after(wait)
}

impl Refusal {
    /// Names the request that came first.
    fn with_request(self, first: RequestId) -> Self {
        self.with("request_id", first.to_string())
    }
}
