//! A copy: whether the request that it is a copy of was to be copied, to this model, for whom, and with which terms.

use events::content::ContentPolicy;
use events::event::admin::Model;
use events::event::inference::InferenceAdmitted;
use events::event::{Actor, Chain, Event, Inference, Recorded};
use events::ids::RequestId;
use events::terms::RequiredTerms;

use super::verdict::Verdict;
use crate::{LogError, Reader};

/// The events of a copied request that the log had before the copy was admitted.
pub(super) struct CopiedRequest {
    request: RequestId,
    admission: Option<Recorded>,
    is_answered: bool,
    /// The version of its model that its admission names.
    model: Option<Box<Model>>,
}

impl CopiedRequest {
    /// `life` is all that the log has of the request.
    pub(super) fn read(
        reader: &dyn Reader,
        request: RequestId,
        mut life: Vec<Recorded>,
        before: u64,
    ) -> Result<Self, LogError> {
        life.retain(|recorded| recorded.position < before);
        let is_answered =
            life.iter().any(|recorded| matches!(recorded.event, Event::Inference(Inference::Completed(_))));
        let admission = life.into_iter().next().filter(|begin| begin.event.admission().is_some());
        let admitted = admission.as_ref().and_then(|begin| begin.event.admission());
        let version = admitted.map(|admitted| admitted.versions.model);
        let named = version.map(|version| reader.at(&[version])).transpose()?.unwrap_or_default();
        let model = named.into_values().next().and_then(|recorded| recorded.event.state().cloned().map(Box::new));
        Ok(Self { request, admission, is_answered, model })
    }
}

/// Compares a copy with the request that it says it is a copy of.
pub(super) fn check(
    copied: Option<&CopiedRequest>,
    recorded: &Recorded,
    admitted: &InferenceAdmitted,
    verdict: &mut Verdict,
) {
    let (position, what) = (recorded.position, "shadow_of");
    let is_of_shadow = recorded.context.actor == Actor::SHADOW;
    let Some(copied) = copied else {
        if is_of_shadow {
            verdict.differ(position, what, "nothing", "the request that it is a copy of");
        }
        return;
    };
    if !is_of_shadow {
        verdict.compare(position, "actor", recorded.context.actor.to_string(), Actor::SHADOW.to_string());
    }
    let admission = copied.admission.as_ref().filter(|_| copied.is_answered);
    let Some((begin, original)) = admission.and_then(|begin| Some((begin, begin.event.admission()?))) else {
        verdict.differ(position, what, copied.request, "a request that was answered before");
        return;
    };
    if original.shadow_of.is_some() {
        verdict.differ(position, what, copied.request, "a request that is no copy itself");
    }
    let Some(model) = &copied.model else {
        verdict.differ(position, what, copied.request, "a request whose model is in the log");
        return;
    };
    match &model.shadow {
        None => verdict.differ(position, what, copied.request, "nothing: the model of the request had no shadow"),
        Some(shadow) => {
            if !shadow.draws(model.model_id, copied.request) {
                verdict.differ(position, what, copied.request, "nothing: the request is not in the share");
            }
            verdict.compare(position, "model", &*admitted.model, &*shadow.model);
        }
    }
    let payer = match model.tenant_id {
        None => Chain::default(),
        Some(_) => Chain { user: None, key: None, ..begin.context.chain() },
    };
    if recorded.context.chain() != payer {
        let shown = |chain: Chain| chain.tenant.map_or_else(|| "the platform".to_owned(), |tenant| tenant.to_string());
        verdict.differ(position, "tenant_id", shown(recorded.context.chain()), shown(payer) + " alone");
    }
    let wanted = required_together(original);
    if !required_together(admitted).includes(&wanted) {
        let all = serde_json::json!(wanted);
        verdict.differ(
            position,
            "route.terms",
            "less",
            format!("at least what was required of the copied request: {all}"),
        );
    }
    // Nothing of the conversation, nor what its client said about it.
    verdict.compare(position, "content_policy", admitted.content_policy.as_str(), ContentPolicy::None.as_str());
    if !admitted.metadata.is_empty() {
        verdict.differ(position, "metadata", "some", "nothing");
    }
}

/// The terms that tenant and request required together. If their regions exclude each other, those of the request: no target meets both, so
/// none was called.
fn required_together(admitted: &InferenceAdmitted) -> RequiredTerms {
    let terms = admitted.route.as_ref().and_then(|route| route.terms.as_ref());
    let terms =
        terms.map(|terms| terms.tenant.clone().and(terms.request.clone()).unwrap_or_else(|| terms.request.clone()));
    terms.unwrap_or_default()
}
