//! Budgets: how much their owner may spend in a period.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Labels, NarrowedScope, Scope};
use crate::event::Shown;
use crate::fraction::Fraction;
use crate::ids::BudgetId;
use crate::money::NanoUsd;
use crate::named;
use crate::time::Period;

named! {
    pub enum WhenShort {
        Refuse = "refuse",
        /// Lowers the output cap to what is left.
        Shrink = "shrink",
    }
}

named! {
    pub enum Enforcement {
        Hard = "hard",
        /// Charges and holds like any budget, but never refuses; what it would have refused is recorded.
        Observe = "observe",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    pub budget_id: BudgetId,
    pub scope: NarrowedScope,
    pub limit_usd: NanoUsd,
    pub period: Period,
    /// In ascending order, without repeats.
    pub alert_at: Vec<Fraction>,
    pub when_short: WhenShort,
    pub enforcement: Enforcement,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

impl Budget {
    /// A budget that refuses what exceeds it, without alerts.
    pub const fn new(budget_id: BudgetId, scope: Scope, limit_usd: NanoUsd, period: Period) -> Self {
        let (when_short, enforcement) = (WhenShort::Refuse, Enforcement::Hard);
        let scope = NarrowedScope::of(scope);
        let labels = Labels::none();
        Self { budget_id, scope, limit_usd, period, alert_at: Vec::new(), when_short, enforcement, labels }
    }
}

impl Shown for Budget {
    fn left_out() -> Value {
        json!({ "labels": {} })
    }
}
