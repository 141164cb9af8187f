//! An admission whose plan is compared with what its model said.

use chrono::{DateTime, Utc};
use events::event::Recorded;
use events::event::admin::Model;
use events::event::inference::{InferenceAdmitted, Route};

use super::evidence::Evidence;

/// An admission, and the model that it was planned by.
#[derive(Clone, Copy)]
pub(super) struct PlannedRequest<'a> {
    pub evidence: &'a Evidence,
    /// The event of the admission.
    pub recorded: &'a Recorded,
    pub admitted: &'a InferenceAdmitted,
    /// The version that the admission names.
    pub model: &'a Model,
    /// When it was decided.
    pub at: DateTime<Utc>,
}

impl<'a> PlannedRequest<'a> {
    pub(super) const fn position(&self) -> u64 {
        self.recorded.position
    }

    pub(super) fn route(&self) -> Option<&'a Route> {
        self.admitted.route.as_deref()
    }
}
