//! Targets whose context window is unknown, for requests whose documents may fill it.

use std::fmt;

use super::{RecordedLeftOut, Rule};
use crate::routing::inputs::{RouteQuestion, TargetInputs};

/// The request has documents, which may fill the target's context, whose length is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextUnknown;

impl Rule for ContextUnknown {
    const WORD: &'static str = "context_unknown";
    const TOLD: &'static str = "its context window is not known, and the request has documents";

    fn judge(question: &RouteQuestion<'_>, target: &TargetInputs<'_>) -> Option<Self> {
        (question.has_documents && target.context_window.is_none()).then_some(Self)
    }

    fn write(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("documents need a target with a context_window")
    }

    fn restate(_: &RecordedLeftOut, question: &mut RouteQuestion<'_>, target: &mut TargetInputs<'_>) {
        (question.has_documents, target.context_window) = (true, None);
    }
}
