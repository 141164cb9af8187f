//! The settlement: what each call costs by its usage and its price, and what was charged for all of them.

use events::event::hold::BudgetWindow;
use events::event::inference::{Backend, InferenceEnded};
use events::event::{Chain, Event, Hold, Recorded};
use events::ledger::UnknownUsage;
use events::money::{CostItem, NanoUsd};
use events::usage::{Usage, UsageSource};

use super::admission::windows;
use super::evidence::{Evidence, HeldAmount};
use super::verdict::Verdict;

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
    /// The owners of the price.
    pub owners: Option<Chain>,
    pub recorded: NanoUsd,
    /// `None` if it cannot be computed: the price is missing, money cannot count it, or a setting decided.
    pub computed: Option<NanoUsd>,
    /// True if nobody knows the usage, and the recorded cost is one of the two between which a setting decides.
    pub is_by_setting: bool,
    /// Billed items, without those that cost nothing. Empty if the cost does not follow from usage.
    pub items: Vec<CostItem>,
}

const BY_SETTING: &str = "nobody knows what the last call used: it costs the whole hold or nothing, by a setting of the gateway that \
     the log does not have";
const CANCELLED_BY_SETTING: &str = "nobody knows what a cancelled call used: it costs the most that it can have cost, or nothing, by a \
     setting of the gateway that the log does not have";

/// `None` for a request that has not ended.
pub(super) fn check(evidence: &Evidence, held: Option<HeldAmount>) -> Option<SettlementCheck> {
    let (end, ended) = evidence.life.iter().find_map(|recorded| Some((recorded, recorded.event.outcome()?)))?;
    let mut check = SettlementCheck {
        verdict: Verdict::default(),
        calls: failed_calls(evidence, held.map(|held| held.amount)),
        cost: ended.cost_usd,
        charged: None,
        adjustments: Vec::new(),
    };
    let of_failed = check.calls.iter().try_fold(NanoUsd::ZERO, |sum, call| sum.checked_add(call.recorded));
    let own = of_failed.and_then(|of_failed| ended.cost_usd.checked_sub(of_failed));
    match own {
        Some(own) => check.calls.push(last_call(evidence, end, ended, own, held.map(|held| held.amount))),
        None => check.verdict.differ(end.position, "cost_usd", ended.cost_usd, "at least what its failed calls cost"),
    }
    for call in &check.calls {
        match call.computed {
            Some(computed) => check.verdict.compare(call.position, "cost_usd", call.recorded, computed),
            None if call.is_by_setting => {
                let why = if call.attempt.is_some() { CANCELLED_BY_SETTING } else { BY_SETTING };
                check.verdict.undecided.push(why.to_owned());
            }
            None => {
                check.verdict.differ(call.position, "price_version", version(call), "no price of its backend is there")
            }
        }
    }
    for recorded in &evidence.life {
        let Event::Hold(hold) = &recorded.event else { continue };
        must_move_what_was_held(&mut check.verdict, evidence, recorded, hold);
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

/// The end of a hold and its corrections name the budgets of its beginning, and the end what was held.
fn must_move_what_was_held(verdict: &mut Verdict, evidence: &Evidence, recorded: &Recorded, hold: &Hold) {
    let Some((_, reserved)) = evidence.hold() else { return };
    let moved = hold.movement();
    verdict.compare(recorded.position, "budgets", windows(moved.windows), windows(&reserved.budgets));
    let is_end = matches!(hold, Hold::Settled(_) | Hold::Released(_) | Hold::Expired(_));
    if is_end {
        verdict.compare(recorded.position, "held_usd", moved.released, reserved.held_usd);
    }
    let (moved, part) = (hold.brokered_movement(), reserved.brokered.as_deref());
    let named = |budgets: Option<&[BudgetWindow]>| budgets.map(windows).unwrap_or_default();
    let (ends, begins) = (moved.map(|moved| moved.windows), part.map(|part| part.budgets.as_slice()));
    verdict.compare(recorded.position, "brokered.budgets", named(ends), named(begins));
    if is_end && let (Some(moved), Some(part)) = (moved, part) {
        verdict.compare(recorded.position, "brokered.held_usd", moved.released, part.held_usd);
    }
}

fn version(call: &CallCost) -> String {
    call.price_version.map_or_else(|| "none".to_owned(), |version| version.to_string())
}

/// Whether the hold is for two calls.
fn may_be_hedged(evidence: &Evidence) -> bool {
    let mut admissions = evidence.life.iter().filter_map(|recorded| recorded.event.admission());
    admissions.any(|admitted| admitted.hedge_after_ms.is_some())
}

/// Recomputes the costs of failed calls. The usage of a call that was cancelled for another one may be unknown: such a call costs its own
/// bound or nothing.
fn failed_calls(evidence: &Evidence, held: Option<NanoUsd>) -> Vec<CallCost> {
    let may_be_hedged = may_be_hedged(evidence);
    let failed = evidence.life.iter().filter_map(|recorded| Some((recorded, recorded.event.failed_call()?)));
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
            is_by_setting: false,
            items: Vec::new(),
        };
        match held {
            Some(held) if reported.is_charged_unknown() && may_be_hedged && call.recorded <= held => {
                CallCost { is_by_setting: true, ..call }
            }
            _ if is_unknown(&call) => free(call),
            _ => computed(evidence, call),
        }
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
        is_by_setting: false,
        items: Vec::new(),
    };
    if is_unknown(&call) { of_unknown_usage(evidence, call, held) } else { computed(evidence, call) }
}

fn is_unknown(call: &CallCost) -> bool {
    call.usage.as_ref().is_some_and(|usage| usage.source == UsageSource::Unknown)
}

fn free(call: CallCost) -> CallCost {
    CallCost { computed: Some(NanoUsd::ZERO), ..call }
}

/// The call with its cost by its usage.
fn computed(evidence: &Evidence, call: CallCost) -> CallCost {
    let Some(usage) = &call.usage else { return free(call) };
    let priced = call.price_version.and_then(|version| evidence.price(version));
    let Some((event, price)) = priced else { return call };
    let rates = price.tariff.rates_for(usage.tokens.input(), usage.service_tier);
    let items = rates.items(&usage.tokens).filter(|item| item.count > 0).collect();
    let computed = price.tariff.cost(&usage.tokens, usage.service_tier);
    CallCost { computed, items, owners: Some(event.context.chain()), ..call }
}

/// The last call if nobody knows what it used: it costs the whole hold, its own part of one for two calls, or nothing. A hold that expired says which; otherwise, a
/// setting of the gateway decided.
fn of_unknown_usage(evidence: &Evidence, call: CallCost, held: Option<NanoUsd>) -> CallCost {
    let held = held.unwrap_or(NanoUsd::ZERO);
    let policy = evidence.life.iter().find_map(|recorded| match &recorded.event {
        Event::Hold(Hold::Expired(expired)) => UnknownUsage::parse(&expired.policy),
        _ => None,
    });
    match policy {
        Some(UnknownUsage::ChargeHold) => CallCost { computed: Some(held), ..call },
        Some(UnknownUsage::Release) => free(call),
        None if held != NanoUsd::ZERO && [held, NanoUsd::ZERO].contains(&call.recorded) => {
            CallCost { is_by_setting: true, ..call }
        }
        None if call.recorded < held && may_be_hedged(evidence) => CallCost { is_by_setting: true, ..call },
        None => free(call),
    }
}
