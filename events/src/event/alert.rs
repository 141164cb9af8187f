//! Events about how far a budget is spent. Stream `alert-{budget_id}`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::family::family;
use super::hold::BudgetWindow;
use crate::fraction::Fraction;
use crate::ids::BudgetId;
use crate::money::NanoUsdSum;
use crate::time::wire;

family! {
    /// Events about how far a budget is spent.
    Alert {
        /// A budget is spent up to one of its alert fractions.
        BudgetThresholdReached(BudgetThresholdReached) "budget.threshold_reached" v 1 in set 1 at Anywhere;
    }
}

impl Alert {
    /// The budget that it is about, whose stream it is on.
    pub const fn budget_id(&self) -> BudgetId {
        match self {
            Self::BudgetThresholdReached(reached) => reached.budget_id,
        }
    }
}

/// The settled amount of a window has reached a fraction of the limit. It is announced once per fraction and window, after
/// the event that moved the money and in the same batch; raising the limit above it arms it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetThresholdReached {
    pub budget_id: BudgetId,
    /// `null` for the period `total`.
    #[serde(with = "wire::option")]
    pub window_start: Option<DateTime<Utc>>,
    pub fraction: Fraction,
    /// The settled amount of the window, including the money that has just moved.
    pub settled_usd: NanoUsdSum,
}

impl BudgetThresholdReached {
    pub const fn window(&self) -> BudgetWindow {
        BudgetWindow { budget_id: self.budget_id, window_start: self.window_start }
    }
}
