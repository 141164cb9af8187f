//! Idempotency keys of inference: a request that is sent again under its key is not paid for again. A key is claimed in
//! the transaction of the request's admission, so that of two at once one is admitted, and what is answered to the other
//! is read from the ledger: there is no state of a key that could differ from it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::{Connection, OptionalExtension, params};

use super::{LogError, read};
use crate::event::{Event, Hold, Stream};
use crate::ids::{IdSet, RequestId, TenantId};
use crate::ledger::Balances;
use crate::money::NanoUsd;
use crate::time::rfc3339;
use crate::wire::{ErrorCode, Refusal};

/// For so long an idempotency key is known, of inference and of administration.
pub const IDEMPOTENCY_KEPT: TimeDelta = TimeDelta::days(30);
/// Advice for who sends again what is still being answered.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

const SELECT: &str =
    "SELECT fingerprint, request_id FROM inference_keys WHERE tenant = ?1 AND key = ?2 AND recorded_at > ?3";
const CLAIM: &str = "INSERT OR REPLACE INTO inference_keys (tenant, key, fingerprint, request_id, recorded_at)
                     VALUES (?1, ?2, ?3, ?4, ?5)";
const FORGET: &str = "DELETE FROM inference_keys WHERE (tenant, key) IN
                      (SELECT tenant, key FROM inference_keys WHERE recorded_at <= ?1 ORDER BY recorded_at LIMIT ?2)";

/// How a request that is sent again is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InferenceKey {
    /// Whose key it is: the tenant that is charged.
    pub tenant: TenantId,
    pub key: String,
    /// SHA-256 of all that the request says.
    pub fingerprint: [u8; 32],
}

/// The request that was last admitted under a key.
struct Claim {
    fingerprint: [u8; 32],
    request_id: RequestId,
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
    /// Why a request may not be admitted under this key; `None` where it may. `left_behind`: requests that processes
    /// before this one admitted, and did not end.
    pub(super) fn refusal(
        &self,
        connection: &Connection,
        balances: &Balances,
        left_behind: &IdSet<RequestId>,
        now: DateTime<Utc>,
    ) -> Result<Option<Refusal>, LogError> {
        let Some(Claim { fingerprint, request_id }) = self.claim(connection, now)? else { return Ok(None) };
        if fingerprint != self.fingerprint {
            let message = format!("this Idempotency-Key came before with another request: {request_id}");
            return Ok(Some(Refusal::new(ErrorCode::IdempotencyKeyReused, message).with_request(request_id)));
        }
        Ok(match hold_state(connection, balances, request_id)? {
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

    fn claim(&self, connection: &Connection, now: DateTime<Utc>) -> Result<Option<Claim>, LogError> {
        let values = params![self.tenant.to_string(), self.key, (now - IDEMPOTENCY_KEPT).timestamp_micros()];
        let row = connection
            .prepare_cached(SELECT)?
            .query_row(values, |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))
            .optional()?;
        let Some((fingerprint, request)) = row else { return Ok(None) };
        let request_id = request.parse().map_err(|error| LogError::Stored(format!("{request}: {error}")))?;
        Ok(Some(Claim { fingerprint, request_id }))
    }

    /// From now on the key stands for this request, which has been admitted.
    pub(super) fn stand_for(
        &self,
        request: RequestId,
        connection: &Connection,
        now: DateTime<Utc>,
    ) -> Result<(), LogError> {
        let values =
            params![self.tenant.to_string(), self.key, self.fingerprint, request.to_string(), now.timestamp_micros()];
        connection.prepare_cached(CLAIM)?.execute(values)?;
        Ok(())
    }
}

/// Forgets keys that are too old, at most so many; how many there were.
pub(super) fn forget_old(connection: &Connection, now: DateTime<Utc>, rows_max: usize) -> Result<usize, LogError> {
    Ok(connection.prepare_cached(FORGET)?.execute(params![(now - IDEMPOTENCY_KEPT).timestamp_micros(), rows_max])?)
}

/// As its events say, those of the open transaction among them.
fn hold_state(connection: &Connection, balances: &Balances, request: RequestId) -> Result<HoldState, LogError> {
    if let Some(hold) = balances.open_hold(request) {
        return Ok(HoldState::Open { expires_at: Some(hold.expires_at) });
    }
    let mut state = HoldState::Open { expires_at: None };
    for recorded in read::stream(connection, &Stream::hold(request))? {
        state = match (recorded.event, state) {
            (Event::Hold(Hold::Settled(settled)), _) => HoldState::Charged(settled.charged_usd),
            (Event::Hold(Hold::Expired(expired)), _) => charged(expired.charged_usd),
            (Event::Hold(Hold::Released(_)), _) => HoldState::Released,
            (Event::Hold(Hold::Adjusted(adjusted)), HoldState::Charged(before)) => {
                HoldState::Charged(before.checked_add(adjusted.delta_usd).ok_or(LogError::Overflow)?)
            }
            (Event::Hold(Hold::Adjusted(adjusted)), HoldState::Released) => charged(adjusted.delta_usd),
            (_, state) => state,
        };
    }
    Ok(state)
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

/// Of a hold that nobody ended: without a charge it counts as given back.
fn charged(amount: NanoUsd) -> HoldState {
    if amount == NanoUsd::ZERO { HoldState::Released } else { HoldState::Charged(amount) }
}

impl Refusal {
    /// Names the request that came first.
    fn with_request(self, first: RequestId) -> Self {
        self.with("request_id", first.to_string())
    }
}
