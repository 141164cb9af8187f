//! Targets that the rule which holds for the request does not name.

use super::Rule;
use crate::routing::inputs::{RouteQuestion, TargetInputs};

/// The rule that holds for the request does not name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotInRule;

impl Rule for NotInRule {
    const WORD: &'static str = "not_in_rule";
    const TOLD: &'static str = "the rule that holds does not name it";

    fn judge(question: &RouteQuestion<'_>, target: &TargetInputs<'_>) -> Option<Self> {
        let rule = question.rule?;
        rule.place_of(&target.target.key()).is_none().then_some(Self)
    }
}
