//! The canary of a model: whether the request was in its share, by the model's version and the ids in the log.

use events::event::admin::Model;

use super::evidence::AdmissionEvidence;
use super::verdict::Verdict;

/// Compares which target came first because it is a canary.
pub(super) fn check(of: AdmissionEvidence<'_>, model: &Model, verdict: &mut Verdict) {
    let AdmissionEvidence { evidence, recorded, admitted } = of;
    let (position, what) = (recorded.position, "route.canary");
    let route = admitted.route.as_deref();
    let said = route.and_then(|route| route.canary.as_ref());
    let Some(canary) = &model.canary else {
        if let Some(said) = said {
            verdict.differ(position, what, said, "nothing: the model has no canary");
        }
        return;
    };
    let backend = canary.key();
    let is_drawn = canary.draws(model.model_id, evidence.request, recorded.context.tenant_id);
    let is_left_out = route.is_some_and(|route| route.left_out.contains_key(&backend));
    match said {
        Some(said) if !is_drawn => verdict.differ(position, what, said, "nothing: the request is not in its share"),
        Some(said) if is_left_out => verdict.differ(position, what, said, "nothing: it was left out"),
        Some(said) => verdict.compare(position, what, said, &backend),
        // One that could not serve has no price there.
        None if is_drawn && !is_left_out && admitted.versions.prices.contains_key(&backend) => {
            verdict.differ(position, what, "nothing", &backend);
        }
        None => {}
    }
}
