//! Requests and prices of the tests.

use std::collections::BTreeMap;

use events::event::inference::{AttemptFailed, Backend, InferenceAdmitted, ReportedByFailedCall, Versions};
use events::money::{GivenRates, NanoUsd, NanoUsdPerMtok, PriceTier, Tiers, TokenRate, TokenRates};
use events::usage::{ServiceTier, TokenClasses, Usage, UsageSource};
use uuid::Uuid;

pub(super) const BACKENDS: [&str; 2] = ["one", "two"];
/// A longer prompt is priced by another tier.
const LONG: u64 = 25;

/// A call of a backend.
pub(super) struct Call {
    pub(super) backend: usize,
    pub(super) tokens: u64,
    /// The version of the price that it was charged by.
    pub(super) version: u64,
    pub(super) cost: i64,
}

pub(super) fn id<I: From<Uuid>>(number: u128) -> I {
    I::from(Uuid::from_u128(number))
}

pub(super) fn admitted(versions: Versions) -> Box<InferenceAdmitted> {
    Box::new(InferenceAdmitted {
        model: "m".to_owned(),
        dialect: "native".to_owned(),
        streamed: false,
        max_output_tokens: 100,
        requested_max_output_tokens: None,
        output_tokens_beyond_cap: None,
        input_tokens_bound: 100,
        body_sha256: "00".to_owned(),
        prompt_digest: None,
        content_policy: events::content::ContentPolicy::default(),
        metadata: BTreeMap::new(),
        versions,
        would_have_refused: Vec::new(),
        rate_limited_tokens: None,
        hedge_after_ms: None,
        route: None,
        shadow_of: None,
        hold_shares: Default::default(),
    })
}

pub(super) fn served_by(backend: usize) -> Backend {
    let (provider, model) = ("p".to_owned(), BACKENDS[backend].to_owned());
    Backend { provider_id: id(1), provider, model, provider_key_id: None }
}

/// Returns the usage of a request; one of every five numbers of tokens means that the flex tier served it.
pub(super) fn used(tokens: u64) -> Usage {
    let service_tier = is_flex(tokens).then_some(ServiceTier::Flex);
    let tokens = TokenClasses { input_uncached_tokens: tokens, ..TokenClasses::default() };
    Usage { service_tier, ..Usage::new(tokens, UsageSource::Provider) }
}

const fn is_flex(tokens: u64) -> bool {
    tokens % 5 == 3
}

/// How many times its rate a price has for a request.
pub(super) const fn times_rate(tokens: u64) -> i64 {
    match (tokens > LONG, is_flex(tokens)) {
        (false, false) => 1,
        (true, false) => 2,
        (false, true) => 3,
        (true, true) => 4,
    }
}

/// Prices of this many nano-dollars a token, with tiers.
pub(super) fn rates(nanos: i64) -> GivenRates {
    let rate = |times: i64| NanoUsdPerMtok::new(NanoUsd::new(times * nanos * 1_000_000)).unwrap();
    let tier = |above_input_tokens, service_tier, times| {
        let rates = TokenRates::default().with(TokenRate::Input, rate(times));
        PriceTier { above_input_tokens, service_tier, rates }
    };
    let flex = Some(ServiceTier::Flex);
    let tiers = vec![tier(Some(LONG), None, 2), tier(None, flex, 3), tier(Some(LONG), flex, 4)];
    GivenRates { tiers: Tiers::new(tiers).unwrap(), ..GivenRates::new(rate(1), rate(9)) }
}

pub(super) fn failed_call(call: &Call) -> AttemptFailed {
    AttemptFailed {
        backend: served_by(call.backend),
        attempt: 1,
        reason: "in_band_error".to_owned(),
        status: None,
        upstream_code: None,
        latency_ms: 1,
        reported: ReportedByFailedCall {
            usage: Some(used(call.tokens)),
            provider_usage: None,
            cost_usd: Some(NanoUsd::new(call.cost)),
            price_version: Some(call.version),
        },
    }
}
