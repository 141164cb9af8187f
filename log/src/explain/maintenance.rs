//! Which targets were under maintenance when the request was admitted, by the versions of its model and of its providers, and
//! whether the admission left out these and no others for it.

use chrono::{DateTime, Utc};
use events::event::admin::{Model, Provider, Target};
use events::event::inference::InferenceAdmitted;
use events::maintenance::MaintenanceWindows;
use events::routing::RecordedLeftOut;

use super::evidence::{AdmissionEvidence, Evidence};
use super::verdict::Verdict;

pub(super) fn check(of: AdmissionEvidence<'_>, model: &Model, at: DateTime<Utc>, verdict: &mut Verdict) {
    let AdmissionEvidence { evidence, recorded, admitted } = of;
    let position = recorded.position;
    let route = admitted.route.as_deref();
    for (provider, version) in &admitted.versions.providers {
        if evidence.provider(*version).is_none_or(|named| named.provider_id != *provider) {
            verdict.differ(position, "versions.providers", version, format!("a version of {provider}"));
        }
    }
    let nothing = MaintenanceWindows::default();
    for target in &model.targets {
        let provider = provider_of(evidence, target, admitted);
        let of_provider = provider.map_or(&nothing, |provider| &provider.maintenance);
        let is_under_maintenance = target.maintenance.end_together_with(of_provider, at).is_some();
        let backend = target.key();
        let why = route.and_then(|route| route.left_out.get(&backend));
        if is_under_maintenance && why.is_none_or(RecordedLeftOut::is_breaker_open) {
            let follows = format!("{backend}, which was under maintenance");
            verdict.differ(position, "route.left_out", why.map_or("nothing".into(), RecordedLeftOut::shown), follows);
        }
        if !is_under_maintenance && why.is_some_and(RecordedLeftOut::is_maintenance) {
            verdict.differ(position, "route.left_out", backend, "it was not under maintenance");
        }
    }
}

/// The version of a target's provider that the admission names.
fn provider_of<'a>(evidence: &'a Evidence, target: &Target, admitted: &InferenceAdmitted) -> Option<&'a Provider> {
    let version = admitted.versions.providers.get(&target.provider_id)?;
    evidence.provider(*version).filter(|provider| provider.provider_id == target.provider_id)
}
