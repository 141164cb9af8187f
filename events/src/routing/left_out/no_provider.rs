//! Targets without a provider that may be called.

use super::{RecordedLeftOut, Rule};
use crate::routing::inputs::{RouteQuestion, TargetInputs};

/// Its provider is deleted, or belongs to another tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoProvider;

impl Rule for NoProvider {
    const WORD: &'static str = "no_provider";
    const TOLD: &'static str = "no live provider for this tenant";

    fn judge(_: &RouteQuestion<'_>, target: &TargetInputs<'_>) -> Option<Self> {
        target.provider_maintenance.is_none().then_some(Self)
    }

    fn restate(_: &RecordedLeftOut, _: &mut RouteQuestion<'_>, target: &mut TargetInputs<'_>) {
        target.provider_maintenance = None;
    }
}
