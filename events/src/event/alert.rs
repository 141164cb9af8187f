//! Facts about how far a budget is spent. Stream: `alert-{budget_id}`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::family::family;
use super::hold::BudgetWindow;
use crate::fraction::Fraction;
use crate::ids::BudgetId;
use crate::money::NanoUsd;
use crate::time::wire;

family! {
    /// Facts about how far a budget is spent.
    Alert {
        /// A budget is spent up to a fraction that somebody wanted to know of.
        BudgetThresholdReached(BudgetThresholdReached) "budget.threshold_reached" v 1 at Anywhere;
    }
}

impl Alert {
    /// The budget that it is about, and whose stream it stands on.
    pub const fn budget_id(&self) -> BudgetId {
        match self {
            Self::BudgetThresholdReached(reached) => reached.budget_id,
        }
    }
}

/// What is settled in a window has come to a fraction of the limit. Once a fraction and window, behind the event that
/// moved the money and in its batch; a limit that is raised above it arms it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetThresholdReached {
    pub budget_id: BudgetId,
    /// `null` for the period `total`.
    #[serde(with = "wire::option")]
    pub window_start: Option<DateTime<Utc>>,
    pub fraction: Fraction,
    /// In the window, with the money that has just moved.
    pub settled_usd: NanoUsd,
}

impl BudgetThresholdReached {
    pub const fn window(&self) -> BudgetWindow {
        BudgetWindow { budget_id: self.budget_id, window_start: self.window_start }
    }
}
