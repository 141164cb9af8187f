//! Targets without a price, whose cost nobody knows.

use super::{RecordedLeftOut, Rule};
use crate::routing::inputs::{RouteQuestion, TargetInputs};

/// The target has no price in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPrice;

impl Rule for NoPrice {
    const WORD: &'static str = "no_price";
    const TOLD: &'static str = "no price in force";

    fn judge(_: &RouteQuestion<'_>, target: &TargetInputs<'_>) -> Option<Self> {
        target.tariff.is_none().then_some(Self)
    }

    fn restate(_: &RecordedLeftOut, _: &mut RouteQuestion<'_>, target: &mut TargetInputs<'_>) {
        target.tariff = None;
    }
}
