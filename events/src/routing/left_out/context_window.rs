//! Targets whose context window the prompt does not fit into.

use std::fmt;

use super::{RecordedLeftOut, Rule};
use crate::routing::inputs::{RouteQuestion, TargetInputs};

/// The prompt has more tokens than the target's context window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextWindow {
    /// In tokens.
    pub window: u64,
}

impl Rule for ContextWindow {
    const WORD: &'static str = "context_window";
    const TOLD: &'static str = "its context window is too small for the prompt";

    fn judge(question: &RouteQuestion<'_>, target: &TargetInputs<'_>) -> Option<Self> {
        let window = target.context_window?;
        let needed = target.prompt_tokens?.saturating_add(target.output_in_window(question));
        (needed > window).then_some(Self { window })
    }

    fn write(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its context window of {} tokens is too small for the prompt", self.window)
    }

    fn restate(_: &RecordedLeftOut, _: &mut RouteQuestion<'_>, target: &mut TargetInputs<'_>) {
        (target.prompt_tokens, target.context_window) = (Some(1), Some(0));
    }
}
