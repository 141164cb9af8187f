//! Targets whose provider does not allow a field that changes the cost.

use super::{RecordedLeftOut, Rule};
use crate::routing::inputs::{DialectFit, RouteQuestion, TargetInputs};

/// The request has a field that changes the cost, and the provider does not allow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldNotAllowed;

impl Rule for FieldNotAllowed {
    const WORD: &'static str = "field_not_allowed";
    const TOLD: &'static str = "a field changes the cost and is not allowed";

    fn judge(_: &RouteQuestion<'_>, target: &TargetInputs<'_>) -> Option<Self> {
        (target.dialect == DialectFit::FieldNotAllowed).then_some(Self)
    }

    fn restate(_: &RecordedLeftOut, _: &mut RouteQuestion<'_>, target: &mut TargetInputs<'_>) {
        target.dialect = DialectFit::FieldNotAllowed;
    }
}
