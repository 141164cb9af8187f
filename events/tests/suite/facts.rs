//! Sample events for the tests.

use std::time::Duration;

use chrono::{DateTime, Utc};
use events::event::admin::{Budget, Scope};
use events::event::inference::{InferenceAdmitted, InferenceEnded, Versions};
use events::event::{Actor, Chain, Context};
use events::ids::{KeyId, PartnerId, RequestId, TenantId, UserId};
use events::ledger::{Admission, AdmissionBounds, Charge, Ending, IfShort, Outcome};
use events::money::{CostLine, GivenRates, NanoUsd, NanoUsdPerMtok, PromptBound, Tariff};
use events::output_cap::Shrinking;
use events::time::{Period, parse_rfc3339};
use uuid::Uuid;

pub fn id<I: From<Uuid>>(number: u128) -> I {
    I::from(Uuid::from_u128(number))
}

/// Long ago: a database that is shared refuses times that are ahead of its own clock, and tests move theirs by weeks.
pub fn start() -> DateTime<Utc> {
    parse_rfc3339("2020-11-20T08:00:00Z").expect("a time")
}

/// Key `n` belongs to user, tenant and partner 1.
pub fn chain(key: u128) -> Chain {
    Chain {
        partner: Some(id::<PartnerId>(1)),
        tenant: Some(id::<TenantId>(1)),
        user: Some(id::<UserId>(1)),
        key: Some(id::<KeyId>(key)),
    }
}

pub fn context(key: u128) -> Context {
    Context::about(Actor::Key(id(key)), chain(key))
}

pub fn budget(number: u128, scope: Scope, limit: i64, period: Period) -> Budget {
    Budget::new(id(number), scope, NanoUsd::new(limit), period)
}

pub fn admission(request: u128, key: u128, held: i64, ttl: Duration) -> Admission {
    let request_id: RequestId = id(request);
    Admission {
        request_id,
        context: context(key).in_request(request_id),
        planned_at: u64::MAX,
        held: NanoUsd::new(held),
        ttl,
        if_short: IfShort::Shrink(Shrinking {
            line: cost_line(held),
            resent: Some(cost_line(held)),
            tokens_min: CAP_MIN,
        }),
        bounds: AdmissionBounds::NONE,
        admitted: Box::new(InferenceAdmitted {
            model: "m".to_owned(),
            dialect: "native".to_owned(),
            streamed: false,
            max_output_tokens: CAP,
            requested_max_output_tokens: None,
            output_tokens_beyond_cap: None,
            input_tokens_bound: 64,
            body_sha256: "00".to_owned(),
            prompt_digest: None,
            content_policy: events::content::ContentPolicy::default(),
            metadata: Default::default(),
            versions: Versions::default(),
            would_have_refused: Vec::new(),
            rate_limited_tokens: None,
            hedge_after_ms: None,
            route: None,
            shadow_of: None,
            hold_shares: Default::default(),
        }),
        brokered: None,
    }
}

/// The output cap of every request, and its lowest useful value.
pub const CAP: u64 = 20;
pub const CAP_MIN: u64 = 4;

/// The cost of a request: half for the prompt and half for the output, which is complete at [`CAP`].
fn cost_line(held: i64) -> CostLine {
    let price = |nanos| NanoUsdPerMtok::new(NanoUsd::new(nanos)).expect("not negative");
    let given = GivenRates::new(price(held * 500_000), price(held * 25_000));
    let prompt = PromptBound { tokens: 1, ..PromptBound::default() };
    CostLine::of(&Tariff::new(given), prompt, 1).expect("small amounts")
}

pub fn ended(cost: i64) -> Box<InferenceEnded> {
    Box::new(InferenceEnded::new("m".to_owned(), start(), NanoUsd::new(cost)))
}

pub fn ending(request: u128, key: u128, charged: Option<i64>) -> Ending {
    let request_id: RequestId = id(request);
    let charge = match charged {
        Some(charged) => Charge::Settle(NanoUsd::new(charged)),
        None => Charge::Release { reason: "test".to_owned() },
    };
    Ending {
        request_id,
        context: context(key).in_request(request_id),
        attempts: Vec::new(),
        outcome: Outcome::Completed(ended(charged.unwrap_or(0))),
        charge,
        own: NanoUsd::ZERO,
    }
}
