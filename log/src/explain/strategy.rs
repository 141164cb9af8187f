//! The strategy of a request, by whoever chose it: the model, its tenant or the request itself.

use events::event::admin::{Permission, Strategy};
use events::routing::ChosenBy;

use super::evidence::AdmissionEvidence;
use super::verdict::Verdict;

const MAY_NOT_CHOOSE: &str = "the key that the admission names lacks routing:choose";
const KEY_WAS_ROTATED: &str = "the version of the key that the admission names is a rotation, which does not say whether the key has routing:choose";

/// The strategy that follows for a request, where the model or its rule says this one. Compares what the log has of the one who chose it.
pub(super) fn follows(of: AdmissionEvidence<'_>, of_model: Strategy, verdict: &mut Verdict) -> Strategy {
    let AdmissionEvidence { evidence, recorded, admitted } = of;
    let route = admitted.route.as_deref();
    let chosen_by = route.map_or(ChosenBy::Model, |route| route.chosen_by);
    let said = route.map(|route| route.strategy);
    if chosen_by == ChosenBy::Request {
        match admitted.versions.key.map(|version| evidence.key(version)) {
            Some(Some(key)) if !key.permissions.contains(&Permission::RoutingChoose) => {
                verdict.differ(recorded.position, "route.chosen_by", chosen_by, MAY_NOT_CHOOSE);
            }
            Some(None) => verdict.undecided.push(KEY_WAS_ROTATED.to_owned()),
            // The operator may.
            Some(Some(_)) | None => {}
        }
        // Which one the request asked for, only the admission says.
        let is_choosable = |said: &Strategy| Strategy::CHOOSABLE.iter().any(|known| known.value == *said);
        return said.filter(is_choosable).unwrap_or(of_model);
    }
    if of_model != Strategy::TenantDefault {
        verdict.compare(recorded.position, "route.chosen_by", chosen_by, ChosenBy::Model);
        return of_model;
    }
    let chosen = said.filter(|_| chosen_by == ChosenBy::Tenant);
    if evidence.terms.tenant_had(recorded.recorded_at, |tenant| tenant.default_strategy == chosen) {
        return chosen.unwrap_or(Strategy::Priority);
    }
    let of_tenant = evidence.terms.tenant().and_then(|tenant| tenant.default_strategy);
    let by = if of_tenant.is_some() { ChosenBy::Tenant } else { ChosenBy::Model };
    verdict.compare(recorded.position, "route.chosen_by", chosen_by, by);
    of_tenant.unwrap_or(Strategy::Priority)
}
