//! Targets whose provider this version cannot call.

use super::{RecordedLeftOut, Rule};
use crate::routing::inputs::{DialectFit, RouteQuestion, TargetInputs};

/// Its provider is of a kind that this version does not have: a later version recorded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindUnknown;

impl Rule for KindUnknown {
    const WORD: &'static str = "kind_unknown";
    const TOLD: &'static str = "the provider's kind is unknown to this version";

    fn judge(_: &RouteQuestion<'_>, target: &TargetInputs<'_>) -> Option<Self> {
        (target.dialect == DialectFit::KindUnknown).then_some(Self)
    }

    fn restate(_: &RecordedLeftOut, _: &mut RouteQuestion<'_>, target: &mut TargetInputs<'_>) {
        target.dialect = DialectFit::KindUnknown;
    }
}
