//! Every cost, from the tokens that were used and the price that was in force.

use super::Depth;
use super::lives::Life;
use super::references::References;
use crate::event::inference::InferenceEnded;
use crate::money::NanoUsd;
use crate::usage::{TokenClasses, UsageSource};

pub(super) fn must_be_right(
    ended: &InferenceEnded,
    life: &Life,
    references: &References,
    depth: Depth,
) -> Result<(), String> {
    if ended.cost_usd.is_negative() {
        return Err(format!("it cost {} USD", ended.cost_usd));
    }
    let Some(usage) = &ended.usage else { return unused(ended, depth) };
    must_add_up(&usage.tokens)?;
    if usage.source == UsageSource::Unknown {
        return match ended.cost_usd {
            cost if cost == NanoUsd::ZERO || cost == life.held => Ok(()),
            cost => Err(format!("nobody knows what it used, and it cost {cost} USD of {} USD held", life.held)),
        };
    }
    let Some(version) = ended.price_version else {
        return if depth == Depth::Gateway { Err("it used tokens without a price".to_owned()) } else { Ok(()) };
    };
    if depth == Depth::Gateway {
        must_be_the_backends(ended, life, version, references)?;
    }
    match references.price(version)?.rates.cost(&usage.tokens) {
        Some(cost) if cost == ended.cost_usd => Ok(()),
        Some(cost) => Err(format!("its tokens cost {cost} USD at its price, and it says {} USD", ended.cost_usd)),
        None => Err("its tokens cost more than money can count".to_owned()),
    }
}

/// Without any usage nothing is charged.
fn unused(ended: &InferenceEnded, depth: Depth) -> Result<(), String> {
    if depth == Depth::Gateway && ended.cost_usd != NanoUsd::ZERO {
        return Err(format!("it used nothing and cost {} USD", ended.cost_usd));
    }
    Ok(())
}

/// Cache writes by lifetime are the cache writes.
fn must_add_up(tokens: &TokenClasses) -> Result<(), String> {
    let by_ttl = tokens.input_cache_write_by_ttl.values().try_fold(0_u64, |sum, class| sum.checked_add(*class));
    if tokens.input_cache_write_by_ttl.is_empty() || by_ttl == Some(tokens.input_cache_write_tokens) {
        return Ok(());
    }
    Err(format!("its cache writes by lifetime are not {} tokens", tokens.input_cache_write_tokens))
}

/// The price is the one that its admission named for the backend that served.
fn must_be_the_backends(
    ended: &InferenceEnded,
    life: &Life,
    version: u64,
    references: &References,
) -> Result<(), String> {
    let Some(backend) = &ended.backend else { return Err("it used tokens of no backend".to_owned()) };
    if !life.prices.contains(&version) || !references.price(version)?.is_of(backend) {
        let model = &backend.model;
        return Err(format!("the price at position {version} is not the one that was admitted for {model}"));
    }
    Ok(())
}
