//! Facts about one hold on money. Stream: `hold-{request_id}`: reserved is 1, its end is 2, so it can end only once.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::{BudgetId, RequestId};
use crate::money::NanoUsd;
use crate::time::wire;

/// A budget and the window of it that a hold counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BudgetWindow {
    pub budget_id: BudgetId,
    /// `null` for the period `total`.
    #[serde(with = "wire::option")]
    pub window_start: Option<DateTime<Utc>>,
}

/// Money was set aside for a request that is about to be sent.
///
/// - `held_usd`: upper bound, from the body's size, the output cap and the prices in force.
/// - `budgets`: every budget that binds the request, each with the window it counts in; empty where none does.
/// - `expires_at`: the sweeper ends the hold after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetReserved {
    pub held_usd: NanoUsd,
    pub budgets: Vec<BudgetWindow>,
    #[serde(with = "wire")]
    pub expires_at: DateTime<Utc>,
}

/// The hold became a charge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetSettled {
    pub held_usd: NanoUsd,
    pub charged_usd: NanoUsd,
    pub budgets: Vec<BudgetWindow>,
    /// What the provider billed above the hold; absent when nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrun_usd: Option<NanoUsd>,
}

/// The hold was given back: nothing was consumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetReleased {
    pub held_usd: NanoUsd,
    pub budgets: Vec<BudgetWindow>,
    pub reason: String,
}

/// Nobody ended the hold in time; it was charged by policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetExpired {
    pub held_usd: NanoUsd,
    pub charged_usd: NanoUsd,
    pub budgets: Vec<BudgetWindow>,
    /// `charge_hold` or `release`.
    pub policy: String,
}

/// A signed correction of an earlier charge: real figures that came late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetAdjusted {
    pub delta_usd: NanoUsd,
    pub budgets: Vec<BudgetWindow>,
    pub reason: String,
    pub of: RequestId,
}
