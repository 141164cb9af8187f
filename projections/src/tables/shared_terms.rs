//! The terms that shared models state of their backends. They are those of a tenant's targets at shared providers: the platform
//! answers for its providers, and a tenant cannot promise anything for them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use events::event::admin::{Model, Provider, Target};
use events::ids::{IdMap, ModelId, ProviderId};
use events::terms::{AgreedTerms, StatedTerms};

/// The backends of which shared models state terms.
#[derive(Clone, Default)]
pub struct SharedTerms(IdMap<ProviderId, Arc<HashMap<String, SharedBackend>>>);

#[derive(Clone, Default)]
struct SharedBackend {
    /// The terms by the model whose target states them, with the model's version.
    stated: BTreeMap<ModelId, (StatedTerms, u64)>,
    agreed: AgreedTerms,
}

impl SharedBackend {
    fn agree(&mut self) {
        self.agreed = AgreedTerms::of(self.stated.values().map(|(terms, version)| (terms, *version)));
    }
}

/// The terms stated of a target.
#[derive(Clone, Copy, Debug)]
pub struct TargetTerms<'a> {
    pub terms: &'a StatedTerms,
    /// The versions of the shared models that state it; empty if the model's own row does.
    pub stated_by: &'a [u64],
}

static NOT_STATED: AgreedTerms = AgreedTerms::NONE;

impl SharedTerms {
    /// Counts what this version of a shared model states.
    pub fn add(&mut self, model: &Model, version: u64) {
        for target in model.targets.iter().filter(|target| !target.terms.is_empty()) {
            let backends = Arc::make_mut(self.0.entry(target.provider_id).or_default());
            let backend = backends.entry(target.model.clone()).or_default();
            backend.stated.insert(model.model_id, (target.terms.clone(), version));
            backend.agree();
        }
    }

    /// Counts it no longer.
    pub fn remove(&mut self, model: &Model) {
        for target in model.targets.iter().filter(|target| !target.terms.is_empty()) {
            let Some(backends) = self.0.get_mut(&target.provider_id).map(Arc::make_mut) else { continue };
            let Some(backend) = backends.get_mut(&target.model) else { continue };
            backend.stated.remove(&model.model_id);
            backend.agree();
            if backend.stated.is_empty() {
                backends.remove(&target.model);
            }
            if backends.is_empty() {
                self.0.remove(&target.provider_id);
            }
        }
    }

    /// The terms stated of a model's target at this provider.
    pub fn of<'a>(&'a self, model: &Model, target: &'a Target, provider: &Provider) -> TargetTerms<'a> {
        if model.tenant_id.is_none() || provider.tenant_id.is_some() {
            return TargetTerms { terms: &target.terms, stated_by: &[] };
        }
        let backend = self.0.get(&target.provider_id).and_then(|backends| backends.get(&target.model));
        let agreed = backend.map_or(&NOT_STATED, |backend| &backend.agreed);
        TargetTerms { terms: &agreed.terms, stated_by: &agreed.by }
    }
}

#[cfg(test)]
mod tests {
    use events::event::admin::ProviderKindName;
    use events::ids::TenantId;
    use uuid::Uuid;

    use super::*;

    fn id<I: From<Uuid>>(number: u128) -> I {
        I::from(Uuid::from_u128(number))
    }

    fn provider(tenant_id: Option<TenantId>) -> Provider {
        Provider { tenant_id, ..Provider::new(id(1), "p", ProviderKindName::literal("openai")) }
    }

    fn model(number: u128, tenant_id: Option<TenantId>, region: Option<&str>) -> Model {
        let region = region.map(|region| region.parse().expect("a region"));
        let terms = StatedTerms { region, ..StatedTerms::NONE };
        Model { tenant_id, ..Model::new(id(number), "m", vec![Target { terms, ..Target::new(id(1), "m") }]) }
    }

    fn region_of(shared: &SharedTerms, model: &Model, provider: &Provider) -> Option<String> {
        let found = shared.of(model, &model.targets[0], provider);
        found.terms.region.as_ref().map(ToString::to_string)
    }

    /// Holds: admin.terms-of-shared-providers
    #[test]
    fn of_a_shared_provider_a_tenants_target_has_what_the_platform_states() {
        let owner = Some(id(3));
        let mut shared = SharedTerms::default();
        let claimed = model(2, owner, Some("eu"));
        assert_eq!(region_of(&shared, &claimed, &provider(None)), None);
        assert_eq!(region_of(&shared, &claimed, &provider(owner)), Some("eu".to_owned()));
        assert_eq!(region_of(&shared, &model(4, None, Some("eu")), &provider(None)), Some("eu".to_owned()));
        shared.add(&model(10, None, None), 7);
        shared.add(&model(11, None, Some("us")), 8);
        assert_eq!(region_of(&shared, &claimed, &provider(None)), Some("us".to_owned()));
        assert_eq!(shared.of(&claimed, &claimed.targets[0], &provider(None)).stated_by, [8]);
        shared.add(&model(12, None, Some("eu")), 9);
        assert_eq!(region_of(&shared, &claimed, &provider(None)), None);
        shared.remove(&model(11, None, Some("us")));
        assert_eq!(region_of(&shared, &claimed, &provider(None)), Some("eu".to_owned()));
        shared.remove(&model(12, None, Some("eu")));
        assert!(shared.0.is_empty());
    }
}
