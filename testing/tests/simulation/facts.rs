//! The requests and events of the simulated clients. Each key belongs to user, tenant and partner 1.

use std::time::Duration;

use chrono::{DateTime, Utc};
use events::event::access::AccessDenied;
use events::event::admin::{Budget, Scope};
use events::event::inference::{InferenceAdmitted, InferenceEnded, Versions};
use events::event::{Access, Actor, Chain, Context, Event, Stream, StreamKind};
use events::ids::{KeyId, RequestId};
use events::ledger::{Admission, AdmissionBounds, IfShort, Outcome, RefusedRequest};
use events::money::{CostLine, GivenRates, NanoUsd, NanoUsdPerMtok, PromptBound, Tariff};
use events::output_cap::Shrinking;
use events::refusal::{ErrorCode, Refusal};
use events::time::{Period, parse_rfc3339};
use events_log::Note;
use uuid::Uuid;

/// The number of keys.
pub const KEYS: usize = 3;
/// The output cap of every request, and the lowest one that is useful.
pub const CAP: u64 = 20;
pub const CAP_MIN: u64 = 4;

pub fn id<I: From<Uuid>>(number: usize) -> I {
    I::from(Uuid::from_u128(u128::try_from(number).expect("a small number")))
}

/// A Friday evening, so that days, weeks and months end soon.
pub fn start() -> DateTime<Utc> {
    parse_rfc3339("2026-10-30T23:58:00Z").expect("a time")
}

pub fn context(key: usize) -> Context {
    let chain = Chain { partner: Some(id(1)), tenant: Some(id(1)), user: Some(id(1)), key: Some(id(key)) };
    Context::about(Actor::Key(id(key)), chain)
}

pub fn admission(request: usize, key: usize, held: i64, ttl: Duration) -> Admission {
    let request_id: RequestId = id(request);
    let admitted = InferenceAdmitted {
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
    };
    let context = context(key).in_request(request_id);
    let if_short =
        IfShort::Shrink(Shrinking { line: cost_line(held), resent: Some(cost_line(held)), tokens_min: CAP_MIN });
    let (planned_at, admitted) = (u64::MAX, Box::new(admitted));
    let held = NanoUsd::new(held);
    let bounds = AdmissionBounds::NONE;
    Admission { request_id, context, planned_at, held, ttl, if_short, bounds, admitted, brokered: None }
}

/// Half of it for the prompt, the other half for all of the output: the whole at [`CAP`].
fn cost_line(held: i64) -> CostLine {
    let price = |nanos| NanoUsdPerMtok::new(NanoUsd::new(nanos)).expect("not negative");
    let given = GivenRates::new(price(held * 500_000), price(held * 25_000));
    let prompt = PromptBound { tokens: 1, ..PromptBound::default() };
    CostLine::of(&Tariff::new(given), prompt, 1).expect("small amounts")
}

pub fn outcome(admitted_at: DateTime<Utc>, cost: i64) -> Outcome {
    Outcome::Completed(Box::new(InferenceEnded {
        latency_ms: Some(7),
        attempts: Some(1),
        ..InferenceEnded::new("m".to_owned(), admitted_at, NanoUsd::new(cost))
    }))
}

pub fn budget(number: usize, scope: Scope, limit: i64, period: Period) -> Budget {
    Budget::new(id(number), scope, NanoUsd::new(limit), period)
}

pub fn refused(request: usize, key: usize) -> RefusedRequest {
    let request_id: RequestId = id(request);
    let refusal = Refusal::new(ErrorCode::ModelNotFound, "there is no such model");
    RefusedRequest {
        request_id,
        context: context(key).in_request(request_id),
        model: "?".to_owned(),
        scoped_by: None,
        refusal,
    }
}

pub fn denied(key: usize) -> Note {
    let event = Event::Access(Access::Denied(Box::new(AccessDenied { code: ErrorCode::Forbidden, count: 1 })));
    Note { stream: Stream::new(StreamKind::Access, id::<KeyId>(key)), context: context(key), event }
}
