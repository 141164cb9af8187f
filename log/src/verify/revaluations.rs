//! The check of corrections by prices that were corrected later. Each one is computed again: from what the request was charged
//! and corrected by so far, and from its tokens at the prices that were in force at its admission, by the price list as of
//! the version that the correction names.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use events::event::hold::{BudgetAdjusted, CorrectedValue};
use events::event::inference::{AttemptFailed, Backend};
use events::event::price_revalued::PriceRevalued;
use events::event::{Event, Hold, Inference, Recorded, Resource};
use events::money::NanoUsd;
use events::usage::{Usage, UsageSource};

use super::Depth;
use super::open_requests::{must_be_of_its_request, must_be_of_part};
use super::price_lists::PriceLists;

#[derive(Default)]
pub(super) struct Revaluations {
    prices: PriceLists,
    /// The number of corrections that name a version, and their sum in nano-dollars.
    corrections: HashMap<u64, (u64, i128)>,
    completed: HashSet<u64>,
}

/// The usage of one call of a request.
struct PricedCall<'a> {
    backend: &'a Backend,
    usage: &'a Usage,
    /// The price that it was charged by.
    price_version: Option<u64>,
}

impl Revaluations {
    pub(super) fn record(&mut self, recorded: &Recorded, fact: &Resource) -> Result<(), String> {
        match fact {
            Resource::PriceRevalued(revalued) => self.must_be_the_sum(revalued),
            other => {
                self.prices.record(recorded, other);
                Ok(())
            }
        }
    }

    /// The corrections that name a version are counted once, and right.
    fn must_be_the_sum(&mut self, revalued: &PriceRevalued) -> Result<(), String> {
        let version = revalued.version;
        if !self.completed.insert(version) {
            return Err(format!("the corrections by the price at position {version} were completed before"));
        }
        let (requests, delta) = self.corrections.get(&version).copied().unwrap_or_default();
        let delta = i64::try_from(delta).ok().map(NanoUsd::new);
        if (requests, delta) == (revalued.requests, revalued.delta_usd) {
            return Ok(());
        }
        let delta = delta.map_or_else(|| "more than money can count".to_owned(), |delta| format!("{delta} USD"));
        Err(format!("the price at position {version} corrected {requests} requests by {delta}"))
    }

    pub(super) fn must_correct(
        &mut self,
        recorded: &Recorded,
        adjusted: &BudgetAdjusted,
        value: &CorrectedValue,
        before: &[Recorded],
        depth: Depth,
    ) -> Result<(), String> {
        let request = must_be_of_its_request(recorded, adjusted)?;
        let charged = charged_before(recorded, adjusted, value, before)?;
        if adjusted.reason != BudgetAdjusted::PRICE_CORRECTED {
            return Err(format!("a price corrected {request}, and the reason is {}", adjusted.reason));
        }
        let (cost, delta) = (value.cost_usd, adjusted.delta_usd);
        if delta == NanoUsd::ZERO || cost.is_negative() || charged.checked_add(delta) != Some(cost) {
            return Err(format!(
                "{request} was charged {charged} USD, and a price corrects it by {delta} to {cost} USD"
            ));
        }
        if depth == Depth::Gateway {
            self.must_be_the_value(value, before)?;
        }
        let (requests, sum) = self.corrections.entry(value.version).or_default();
        (*requests, *sum) = (*requests + 1, sum.saturating_add(delta.nanos().into()));
        Ok(())
    }

    /// The value is that of the request's tokens, by the list of prices as of the version.
    fn must_be_the_value(&self, value: &CorrectedValue, history: &[Recorded]) -> Result<(), String> {
        let CorrectedValue { version, cost_usd } = *value;
        let (admitted_at, calls) = calls(history)?;
        if !calls.iter().any(|call| self.prices.has_version(call.backend, version)) {
            return Err(format!("the price at position {version} is not one of a backend that it was charged for"));
        }
        let mut right = NanoUsd::ZERO;
        for PricedCall { backend, usage, price_version } in calls {
            let model = &backend.model;
            let price = if self.prices.is_own(backend) {
                price_version.and_then(|charged_by| self.prices.at_version(backend, charged_by))
            } else {
                self.prices.in_force(backend, admitted_at, version)
            };
            let price = price.ok_or_else(|| format!("as of position {version} no price was in force for {model}"))?;
            let cost = price.tariff.cost(&usage.tokens, usage.service_tier).and_then(|cost| right.checked_add(cost));
            right = cost.ok_or("its tokens cost more than money can count")?;
        }
        if right == cost_usd {
            return Ok(());
        }
        Err(format!("as of position {version} its tokens cost {right} USD, and the correction says {cost_usd} USD"))
    }
}

/// The charge of the request before the correction: by a settlement, and by corrections of earlier versions.
fn charged_before(
    recorded: &Recorded,
    adjusted: &BudgetAdjusted,
    value: &CorrectedValue,
    history: &[Recorded],
) -> Result<NanoUsd, String> {
    let mut charged: Option<NanoUsd> = None;
    for before in history {
        match &before.event {
            Event::Hold(Hold::Reserved(_)) if before.context.chain() != recorded.context.chain() => {
                return Err(format!("{} was admitted for somebody else", adjusted.of));
            }
            Event::Hold(Hold::Settled(settled)) if settled.budgets == adjusted.budgets => {
                charged = Some(settled.charged_usd);
                must_be_of_part(settled.brokered.as_deref(), adjusted)?;
                must_move_part(adjusted)?;
            }
            Event::Hold(Hold::Adjusted(earlier)) => {
                if earlier.price.is_none_or(|price| price.version >= value.version) {
                    return Err(format!("position {} had corrected {} for good", before.position, adjusted.of));
                }
                charged = charged.and_then(|charged| charged.checked_add(earlier.delta_usd));
            }
            _ => {}
        }
    }
    charged.ok_or_else(|| format!("{} was not settled on these budgets", adjusted.of))
}

/// Above its tenant a price corrects as much as elsewhere: calls to the tenant's own providers keep their prices.
fn must_move_part(adjusted: &BudgetAdjusted) -> Result<(), String> {
    let delta = adjusted.delta_usd;
    match &adjusted.brokered {
        Some(by) if by.delta_usd != delta => {
            Err(format!("a price corrects it by {} USD above its tenant, and {delta} USD would be right", by.delta_usd))
        }
        Some(_) | None => Ok(()),
    }
}

/// When the request was admitted, and its calls that were charged by their tokens.
fn calls(history: &[Recorded]) -> Result<(DateTime<Utc>, Vec<PricedCall<'_>>), String> {
    let (mut admitted_at, mut failed_calls_cost, mut calls) = (None, NanoUsd::ZERO, Vec::new());
    for before in history {
        match &before.event {
            Event::Inference(Inference::Admitted(_)) => admitted_at = Some(before.recorded_at),
            Event::Inference(Inference::AttemptFailed(attempt)) => {
                let AttemptFailed { backend, reported, .. } = &**attempt;
                calls.extend(priced(Some(backend), reported.usage.as_ref(), reported.price_version));
                let cost = reported.cost_usd.unwrap_or(NanoUsd::ZERO);
                if reported.is_charged_unknown() {
                    return Err("nobody knows what one of its calls used, and a price corrects it".to_owned());
                }
                failed_calls_cost =
                    failed_calls_cost.checked_add(cost).ok_or("its calls cost more than money can count")?;
            }
            Event::Inference(Inference::Completed(ended) | Inference::Failed(ended) | Inference::Aborted(ended)) => {
                let is_unknown = ended.usage.as_ref().is_some_and(|usage| usage.source == UsageSource::Unknown);
                if is_unknown && ended.cost_usd != failed_calls_cost {
                    return Err("nobody knows what it used, and a price corrects it".to_owned());
                }
                calls.extend(priced(ended.backend.as_ref(), ended.usage.as_ref(), ended.price_version));
            }
            _ => {}
        }
    }
    Ok((admitted_at.ok_or("it was never admitted")?, calls))
}

fn priced<'a>(
    backend: Option<&'a Backend>,
    usage: Option<&'a Usage>,
    price_version: Option<u64>,
) -> Option<PricedCall<'a>> {
    let usage = usage.filter(|usage| usage.source != UsageSource::Unknown)?;
    Some(PricedCall { backend: backend?, usage, price_version })
}
