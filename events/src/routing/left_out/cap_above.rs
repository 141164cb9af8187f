//! Targets that accept only a lower output cap than the client's. A default cap is lowered to the target's.

use std::fmt;

use super::{RecordedLeftOut, Rule};
use crate::routing::inputs::{RouteQuestion, TargetInputs};

/// The client's own output cap is above the target's maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapAbove {
    pub maximum: u64,
}

impl Rule for CapAbove {
    const WORD: &'static str = "cap_above";
    const TOLD: &'static str = "accepts fewer output tokens than the request asked for";

    fn judge(question: &RouteQuestion<'_>, target: &TargetInputs<'_>) -> Option<Self> {
        let maximum = target.max_output_tokens?;
        (question.output_cap? > maximum).then_some(Self { maximum })
    }

    fn write(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "accepts at most {} output tokens", self.maximum)
    }

    fn restate(_: &RecordedLeftOut, question: &mut RouteQuestion<'_>, target: &mut TargetInputs<'_>) {
        (question.output_cap, target.max_output_tokens) = (Some(u64::MAX), Some(0));
    }
}
