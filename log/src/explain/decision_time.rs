//! The time that a request was decided by, and whether its model was retired then.

use chrono::{DateTime, Utc};
use events::decision_time::NEAR;
use events::event::Recorded;
use events::event::admin::Model;
use events::event::inference::InferenceAdmitted;
use events::time::rfc3339;

use super::verdict::Verdict;

/// The recorded time of the decision. Where none is recorded, no date was near, so that the time of the record does as well.
pub(super) fn decided_at(recorded: &Recorded, admitted: &InferenceAdmitted, verdict: &mut Verdict) -> DateTime<Utc> {
    let at = admitted.route.as_ref().and_then(|route| route.decided_at).unwrap_or(recorded.recorded_at);
    if (recorded.recorded_at - at).abs() > NEAR {
        verdict.differ(recorded.position, "route.decided_at", rfc3339(at), "a time within an hour of the admission");
    }
    at
}

/// A retired model serves no request.
pub(super) fn must_not_be_retired(recorded: &Recorded, model: &Model, at: DateTime<Utc>, verdict: &mut Verdict) {
    if let Some(since) = model.retirement.retired_since(at) {
        let follows = format!("no admission: the model was retired at {}", rfc3339(since));
        verdict.differ(recorded.position, "model", &model.name, follows);
    }
}
