//! The settlement: what each call costs by its usage and its price, and what was charged for all of them.

use super::evidence::Evidence;
use super::verdict::Verdict;
use crate::event::inference::{Backend, InferenceEnded};
use crate::event::{Chain, Event, Hold, Inference, Recorded};
use crate::money::{CostItem, NanoUsd};
use crate::usage::{Usage, UsageSource};

/// How a request was charged, and what follows.
#[derive(Clone, Debug)]
pub struct SettlementCheck {
    pub verdict: Verdict,
    /// Failed calls first, in their order.
    pub calls: Vec<CallCost>,
    /// The cost that its end says.
    pub cost: NanoUsd,
    /// The event that ended its hold, with what it charged; `None` while the hold is open.
    pub charged: Option<(Recorded, NanoUsd)>,
    /// Corrections, with their positions.
    pub adjustments: Vec<(u64, NanoUsd)>,
}

/// The cost of one call.
#[derive(Clone, Debug)]
pub struct CallCost {
    pub position: u64,
    /// The number of a failed call; `None` for the last one.
    pub attempt: Option<u32>,
    pub backend: Option<Backend>,
    pub usage: Option<Usage>,
    pub price_version: Option<u64>,
    /// Of the price.
    pub owners: Option<Chain>,
    pub recorded: NanoUsd,
    /// `None` if it cannot be computed: the price is missing, or money cannot count it.
    pub computed: Option<NanoUsd>,
    /// What is billed, without what costs nothing. Empty if the cost does not follow from usage.
    pub items: Vec<CostItem>,
}

/// `None` for a request that has not ended.
pub(super) fn check(evidence: &Evidence, held: Option<(u64, NanoUsd)>) -> Option<SettlementCheck> {
    let (end, ended) = evidence.life.iter().find_map(|recorded| match &recorded.event {
        Event::Inference(Inference::Completed(ended) | Inference::Failed(ended) | Inference::Aborted(ended)) => {
            Some((recorded, &**ended))
        }
        _ => None,
    })?;
    let mut check = SettlementCheck {
        verdict: Verdict::default(),
        calls: failed_calls(evidence),
        cost: ended.cost_usd,
        charged: None,
        adjustments: Vec::new(),
    };
    let of_failed = check.calls.iter().try_fold(NanoUsd::ZERO, |sum, call| sum.checked_add(call.recorded));
    let own = of_failed.and_then(|of_failed| ended.cost_usd.checked_sub(of_failed));
    match own {
        Some(own) => check.calls.push(last_call(evidence, end, ended, own, held.map(|(_, held)| held))),
        None => check.verdict.differ(end.position, "cost_usd", ended.cost_usd, "at least what its failed calls cost"),
    }
    for call in &check.calls {
        match call.computed {
            Some(computed) => check.verdict.compare(call.position, "cost_usd", call.recorded, computed),
            None => {
                check.verdict.differ(call.position, "price_version", version(call), "no price of its backend is there")
            }
        }
    }
    for recorded in &evidence.life {
        let Event::Hold(hold) = &recorded.event else { continue };
        let charged = match hold {
            Hold::Settled(settled) => settled.charged_usd,
            Hold::Expired(expired) => expired.charged_usd,
            Hold::Released(_) => NanoUsd::ZERO,
            Hold::Adjusted(adjusted) => {
                check.adjustments.push((recorded.position, adjusted.delta_usd));
                continue;
            }
            Hold::Reserved(_) => continue,
        };
        check.verdict.compare(recorded.position, "charged_usd", charged, ended.cost_usd);
        check.charged = Some((recorded.clone(), charged));
    }
    Some(check)
}

fn version(call: &CallCost) -> String {
    call.price_version.map_or_else(|| "none".to_owned(), |version| version.to_string())
}

fn failed_calls(evidence: &Evidence) -> Vec<CallCost> {
    let failed = evidence.life.iter().filter_map(|recorded| match &recorded.event {
        Event::Inference(Inference::AttemptFailed(attempt)) => Some((recorded, &**attempt)),
        _ => None,
    });
    let cost = failed.map(|(recorded, attempt)| {
        let reported = &attempt.reported;
        let call = CallCost {
            position: recorded.position,
            attempt: Some(attempt.attempt),
            backend: Some(attempt.backend.clone()),
            usage: reported.usage.clone(),
            price_version: reported.price_version,
            owners: None,
            recorded: reported.cost_usd.unwrap_or(NanoUsd::ZERO),
            computed: None,
            items: Vec::new(),
        };
        computed(evidence, call, None)
    });
    cost.collect()
}

fn last_call(
    evidence: &Evidence,
    end: &Recorded,
    ended: &InferenceEnded,
    own: NanoUsd,
    held: Option<NanoUsd>,
) -> CallCost {
    let call = CallCost {
        position: end.position,
        attempt: None,
        backend: ended.backend.clone(),
        usage: ended.usage.clone(),
        price_version: ended.price_version,
        owners: None,
        recorded: own,
        computed: None,
        items: Vec::new(),
    };
    computed(evidence, call, held)
}

/// The call with its cost. Where nobody knows the usage, the last call costs the whole hold or nothing, by the setting of the
/// gateway, which the log does not have.
fn computed(evidence: &Evidence, call: CallCost, held: Option<NanoUsd>) -> CallCost {
    let computed = match &call.usage {
        None => Some(NanoUsd::ZERO),
        Some(usage) if usage.source == UsageSource::Unknown => {
            Some(held.filter(|held| call.recorded == *held).unwrap_or(NanoUsd::ZERO))
        }
        Some(usage) => {
            let priced = call.price_version.and_then(|version| evidence.price(version));
            let Some((event, price)) = priced else { return call };
            let rates = price.tariff.rates_for(usage.tokens.input(), usage.service_tier);
            let items = rates.items(&usage.tokens).filter(|item| item.count > 0).collect();
            let computed = price.tariff.cost(&usage.tokens, usage.service_tier);
            return CallCost { computed, items, owners: Some(event.context.chain()), ..call };
        }
    };
    CallCost { computed, ..call }
}
