//! Targets whose breaker is open: they come after all others, and are called only if no other one can be.

use std::fmt;

use super::{RecordedLeftOut, Rule};
use crate::routing::inputs::{OpenBreakerInputs, RouteQuestion, TargetInputs};

/// Its breaker is open, and another target may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerOpen;

impl Rule for BreakerOpen {
    const WORD: &'static str = "breaker_open";
    // It may have been called nevertheless.
    const TOLD: &'static str = "its breaker was open, so it came after all others";

    fn judge(_: &RouteQuestion<'_>, target: &TargetInputs<'_>) -> Option<Self> {
        target.open_breaker.is_some().then_some(Self)
    }

    fn write(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its breaker is open, so it is called only if no other one can be")
    }

    fn restate(_: &RecordedLeftOut, _: &mut RouteQuestion<'_>, target: &mut TargetInputs<'_>) {
        target.open_breaker = Some(OpenBreakerInputs { has_answered: false, until: None });
    }
}
