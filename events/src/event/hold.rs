//! Facts about one hold on money. Stream: `hold-{request_id}`: reserved is 1, its end is 2, so it can end only once.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::family::family;
use crate::ids::{BudgetId, RequestId};
use crate::money::NanoUsd;
use crate::time::wire;

family! {
    /// Facts about one hold on money.
    Hold {
        Reserved(BudgetReserved) "budget.reserved" v 1 at First;
        Settled(BudgetSettled) "budget.settled" v 1 at Later;
        Released(BudgetReleased) "budget.released" v 1 at Later;
        Expired(BudgetExpired) "budget.expired" v 1 at Later;
        Adjusted(BudgetAdjusted) "budget.adjusted" v 1 at Later;
    }
}

/// What an event of a hold moves in each of its windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Movement<'a> {
    pub windows: &'a [BudgetWindow],
    /// Added to what is charged; a correction can be negative.
    pub settled: NanoUsd,
    /// Added to what is held.
    pub held: NanoUsd,
    /// Taken off what is held.
    pub given_back: NanoUsd,
}

impl Hold {
    pub fn movement(&self) -> Movement<'_> {
        let none = NanoUsd::ZERO;
        let (windows, settled, held, given_back) = match self {
            Self::Reserved(hold) => (&hold.budgets, none, hold.held_usd, none),
            Self::Settled(end) => (&end.budgets, end.charged_usd, none, end.held_usd),
            Self::Expired(end) => (&end.budgets, end.charged_usd, none, end.held_usd),
            Self::Released(end) => (&end.budgets, none, none, end.held_usd),
            Self::Adjusted(correction) => (&correction.budgets, correction.delta_usd, none, none),
        };
        Movement { windows, settled, held, given_back }
    }
}

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
