//! The check of costs: each follows from the tokens used and the price in force.

use events::event::admin::Price;
use events::event::inference::{AttemptFailed, Backend, InferenceEnded};
use events::money::NanoUsd;
use events::usage::{TokenClasses, Usage, UsageSource};

use super::Depth;
use super::open_requests::OpenRequest;
use super::references::References;

/// Usage, and the cost that the event states for it.
struct PricedUsage<'a> {
    usage: &'a Usage,
    cost: NanoUsd,
    price_version: Option<u64>,
    backend: Option<&'a Backend>,
}

/// An outcome costs its own call plus the failed calls before it.
pub(super) fn must_be_right(
    ended: &InferenceEnded,
    request: &OpenRequest,
    references: &References,
    depth: Depth,
) -> Result<(), String> {
    let own = ended.cost_usd.checked_sub(request.failed_calls_cost).filter(|own| !own.is_negative());
    let Some(cost) = own.filter(|_| !ended.cost_usd.is_negative()) else {
        return Err(format!("it cost {} USD, and its failed calls {} USD", ended.cost_usd, request.failed_calls_cost));
    };
    let Some(usage) = &ended.usage else { return unused(cost, depth) };
    let (price_version, backend) = (ended.price_version, ended.backend.as_ref());
    let priced = PricedUsage { usage, cost, price_version, backend };
    // It costs all that is held, or its own part of a hold for two calls.
    let is_bound = cost == request.held || request.may_be_hedged() && cost < request.held;
    if usage.source == UsageSource::Unknown && is_bound {
        return must_add_up(&usage.tokens);
    }
    priced.must_be_right(request, references, depth)
}

/// A failed call costs the usage that its provider reported, if the gateway accepted the report. One that was cancelled for another
/// call costs what it may have used.
pub(super) fn failed_call_must_be_right(
    attempt: &AttemptFailed,
    request: &OpenRequest,
    references: &References,
    depth: Depth,
) -> Result<(), String> {
    let reported = &attempt.reported;
    let cost = reported.cost_usd.unwrap_or(NanoUsd::ZERO);
    if cost.is_negative() {
        return Err(format!("a failed call cost {cost} USD"));
    }
    let Some(usage) = &reported.usage else { return unused(cost, depth) };
    // It was cancelled, and costs the most that it can have cost.
    if usage.source == UsageSource::Unknown && request.may_be_hedged() && cost <= request.held {
        return must_add_up(&usage.tokens);
    }
    let (price_version, backend) = (reported.price_version, Some(&attempt.backend));
    PricedUsage { usage, cost, price_version, backend }.must_be_right(request, references, depth)
}

impl PricedUsage<'_> {
    fn must_be_right(&self, request: &OpenRequest, references: &References, depth: Depth) -> Result<(), String> {
        let Self { usage, cost, price_version, backend } = *self;
        must_add_up(&usage.tokens)?;
        if usage.source == UsageSource::Unknown {
            return match cost {
                NanoUsd::ZERO => Ok(()),
                cost => Err(format!("nobody knows what it used, and it cost {cost} USD of {} USD held", request.held)),
            };
        }
        let Some(version) = price_version else {
            return if depth == Depth::Gateway { Err("it used tokens without a price".to_owned()) } else { Ok(()) };
        };
        if depth == Depth::Gateway {
            must_be_the_backends(backend, request, version, references)?;
        }
        match references.price(version)?.tariff.cost(&usage.tokens, usage.service_tier) {
            Some(right) if right == cost => Ok(()),
            Some(right) => Err(format!("its tokens cost {right} USD at its price, and it says {cost} USD")),
            None => Err("its tokens cost more than money can count".to_owned()),
        }
    }
}

/// Without usage, nothing is charged.
fn unused(cost: NanoUsd, depth: Depth) -> Result<(), String> {
    if depth == Depth::Gateway && cost != NanoUsd::ZERO {
        return Err(format!("it used nothing and cost {cost} USD"));
    }
    Ok(())
}

/// The cache writes by lifetime add up to the cache writes.
fn must_add_up(tokens: &TokenClasses) -> Result<(), String> {
    let by_ttl = tokens.input_cache_write_by_ttl.values().try_fold(0_u64, |sum, class| sum.checked_add(*class));
    if tokens.input_cache_write_by_ttl.is_empty() || by_ttl == Some(tokens.input_cache_write_tokens) {
        return Ok(());
    }
    Err(format!("its cache writes by lifetime are not {} tokens", tokens.input_cache_write_tokens))
}

/// The price is the one that the admission named for the backend that answered.
fn must_be_the_backends(
    backend: Option<&Backend>,
    request: &OpenRequest,
    version: u64,
    references: &References,
) -> Result<(), String> {
    let Some(backend) = backend else { return Err("it used tokens of no backend".to_owned()) };
    let is_of_it = |price: &Price| price.provider_id == backend.provider_id && price.model == backend.model;
    if !request.admitted.versions.prices.values().any(|price| *price == version)
        || !is_of_it(references.price(version)?)
    {
        let model = &backend.model;
        return Err(format!("the price at position {version} is not the one that was admitted for {model}"));
    }
    Ok(())
}
