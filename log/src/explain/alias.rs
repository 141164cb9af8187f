//! Whether the alias that was asked for stood for the model that served.

use super::decision_time;
use super::planned::PlannedRequest;
use super::verdict::Verdict;

pub(super) fn check(request: &PlannedRequest<'_>, verdict: &mut Verdict) {
    let (position, at) = (request.position(), request.at);
    // Without the version of an alias, the version of the model has the name that was asked for: the part `life` checks that.
    let Some(version) = request.admitted.versions.alias else { return };
    let recorded_name = request.route().and_then(|route| route.stands_for.as_deref()).unwrap_or("nothing");
    let Some(alias) = request.evidence.model(version) else {
        verdict.differ(position, "versions.alias", version, "a version of the alias that was asked for");
        return;
    };
    decision_time::must_not_be_retired(request.recorded, &alias, at, verdict);
    verdict.compare(position, "route.stands_for", recorded_name, alias.alias.stands_for(at).unwrap_or("nothing"));
}
