//! Whether the alias that was asked for stood for the model that served.

use chrono::{DateTime, Utc};

use super::decision_time;
use super::evidence::AdmissionEvidence;
use super::verdict::Verdict;

pub(super) fn check(of: AdmissionEvidence<'_>, at: DateTime<Utc>, verdict: &mut Verdict) {
    let AdmissionEvidence { evidence, recorded, admitted } = of;
    let position = recorded.position;
    // Without the version of an alias, the version of the model has the name that was asked for: the part `life` checks that.
    let Some(version) = admitted.versions.alias else { return };
    let recorded_name = admitted.route.as_ref().and_then(|route| route.stands_for.as_deref()).unwrap_or("nothing");
    let Some(alias) = evidence.model(version) else {
        verdict.differ(position, "versions.alias", version, "a version of the alias that was asked for");
        return;
    };
    decision_time::must_not_be_retired(recorded, &alias, at, verdict);
    verdict.compare(position, "route.stands_for", recorded_name, alias.alias.stands_for(at).unwrap_or("nothing"));
}
