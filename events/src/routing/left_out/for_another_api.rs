//! Targets whose model is known to be for another API.

use super::{RecordedLeftOut, Rule};
use crate::routing::inputs::{DialectFit, RouteQuestion, TargetInputs};

/// The catalogue knows that the model is for the other API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForAnotherApi;

impl Rule for ForAnotherApi {
    const WORD: &'static str = "for_another_api";
    const TOLD: &'static str = "the model is known to be for another API";

    fn judge(_: &RouteQuestion<'_>, target: &TargetInputs<'_>) -> Option<Self> {
        (target.dialect == DialectFit::ForAnotherApi).then_some(Self)
    }

    fn restate(_: &RecordedLeftOut, _: &mut RouteQuestion<'_>, target: &mut TargetInputs<'_>) {
        target.dialect = DialectFit::ForAnotherApi;
    }
}
