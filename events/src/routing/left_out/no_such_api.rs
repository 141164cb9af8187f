//! Targets whose provider does not have the API that the request needs.

use super::{RecordedLeftOut, Rule};
use crate::routing::inputs::{DialectFit, RouteQuestion, TargetInputs};

/// Its provider does not have the API that the request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchApi;

impl Rule for NoSuchApi {
    const WORD: &'static str = "no_such_api";
    const TOLD: &'static str = "its provider does not have the API";

    fn judge(_: &RouteQuestion<'_>, target: &TargetInputs<'_>) -> Option<Self> {
        (target.dialect == DialectFit::NoSuchApi).then_some(Self)
    }

    fn restate(_: &RecordedLeftOut, _: &mut RouteQuestion<'_>, target: &mut TargetInputs<'_>) {
        target.dialect = DialectFit::NoSuchApi;
    }
}
