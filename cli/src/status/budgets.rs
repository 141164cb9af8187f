//! The budgets that need attention.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use events::event::admin::{Budget, NarrowedScope};
use events::event::hold::BudgetWindow;
use events::event::{Event, Inference, Recorded};
use events::ids::{BudgetId, IdMap};
use events::ledger::Balances;
use events::money::{NanoUsd, NanoUsdSum};
use events::refusal::ErrorCode;
use events::time::rfc3339;
use serde_json::{Value, json};

use super::SHOWN_MAX;

/// The share of its limit from which on a budget is near it.
const NEAR_PERCENT: i128 = 80;

/// A budget whose window is nearly used up, or that has refused requests today.
pub struct NearLimit {
    pub budget: BudgetId,
    pub scope: NarrowedScope,
    /// The owner's name, if known.
    pub scope_name: Option<String>,
    pub limit: NanoUsd,
    pub settled: NanoUsdSum,
    pub held: NanoUsdSum,
    pub used_percent: i128,
    /// Requests that it refused today (UTC), of those that were read.
    pub refused_today: u64,
    pub resets_at: Option<DateTime<Utc>>,
}

/// Number of requests that each budget refused.
type RefusalCounts = IdMap<BudgetId, u64>;

/// Counts these events.
pub fn count_refusals(refusals: &HashMap<u64, Recorded>) -> RefusalCounts {
    let mut refused = RefusalCounts::default();
    for recorded in refusals.values() {
        let Event::Inference(Inference::Refused(refusal)) = &recorded.event else { continue };
        let budget = refusal.details.get("budget_id").and_then(Value::as_str).and_then(|id| id.parse().ok());
        if let (ErrorCode::BudgetExceeded, Some(budget)) = (refusal.code, budget) {
            let count = refused.entry(budget).or_default();
            *count = count.saturating_add(refusal.count);
        }
    }
    refused
}

/// The budgets near their limits, at most [`SHOWN_MAX`]: those that refused requests first, then by share used.
pub fn near_limits(balances: &Balances, refused: &RefusalCounts, now: DateTime<Utc>) -> Vec<NearLimit> {
    let mut near: Vec<NearLimit> = balances
        .budgets()
        .map(|(id, in_force)| standing(balances, &in_force.budget, refused.get(&id).copied().unwrap_or_default(), now))
        .filter(|budget| budget.used_percent >= NEAR_PERCENT || budget.refused_today > 0)
        .collect();
    let rank = |budget: &NearLimit| (budget.refused_today > 0, budget.used_percent);
    near.sort_by(|a, b| rank(b).cmp(&rank(a)).then(a.budget.cmp(&b.budget)));
    near.truncate(SHOWN_MAX);
    near
}

fn standing(balances: &Balances, budget: &Budget, refused_today: u64, now: DateTime<Utc>) -> NearLimit {
    let window = budget.period.window(now);
    let key = BudgetWindow { budget_id: budget.budget_id, window_start: window.start };
    let amounts = balances.amounts(&key);
    let limit = i128::from(budget.limit_usd.nanos());
    NearLimit {
        budget: budget.budget_id,
        scope: budget.scope.clone(),
        scope_name: None,
        limit: budget.limit_usd,
        settled: amounts.settled,
        held: amounts.held,
        // A limit of zero is used up.
        used_percent: amounts.used().nanos().saturating_mul(100).checked_div(limit).unwrap_or(100),
        refused_today,
        resets_at: window.end,
    }
}

impl NearLimit {
    pub fn json(&self) -> Value {
        json!({
            "budget_id": self.budget,
            "scope": self.scope,
            "scope_name": self.scope_name,
            "limit_usd": self.limit.to_string(),
            "settled_usd": self.settled.to_string(),
            "held_usd": self.held.to_string(),
            "used_percent": i64::try_from(self.used_percent).unwrap_or(i64::MAX),
            "refused_today": self.refused_today,
            "resets_at": self.resets_at.map(rfc3339),
        })
    }
}
