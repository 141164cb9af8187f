//! Targets under maintenance: nobody calls them until it is over, even if no other one can serve.

use std::fmt;

use chrono::{DateTime, Utc};

use super::Rule;
use crate::routing::inputs::{RouteQuestion, TargetInputs};
use crate::time::rfc3339;

/// The target, or its provider, is under maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maintenance {
    pub until: DateTime<Utc>,
}

impl Rule for Maintenance {
    const WORD: &'static str = "maintenance";
    const TOLD: &'static str = "under maintenance";

    fn judge(question: &RouteQuestion<'_>, target: &TargetInputs<'_>) -> Option<Self> {
        let until = target.target.maintenance.end_together_with(target.provider_maintenance?, question.now)?;
        Some(Self { until })
    }

    fn write(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} until {}", Self::TOLD, rfc3339(self.until))
    }
}
