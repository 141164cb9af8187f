//! What the platform says of each backend, and which limits a target has by it.
//!
//! A tenant may name backends of shared providers in models of its own. The platform pays for them, so what such a target says of
//! the backend must not lower the bound of a request, nor what is believed of a report of its usage: the facts are those of the
//! shared models' targets on the same backend, including the models that the gateway makes from its catalogue. They are gathered
//! when a shared model changes, and come from the log alone, so that every node and every release bounds a request alike.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use events::event::admin::{Model, Provider, Target, Tokenizer};
use events::ids::{IdMap, ModelId, ProviderId};

/// The limits of a target by which requests to it are bounded and measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetLimits {
    pub context_window: Option<u64>,
    /// The highest output cap that it accepts.
    pub max_output_tokens: Option<u64>,
    /// The tokenizer that the backend is known to use.
    pub tokenizer: Option<Tokenizer>,
    /// Reports of up to so many tokens are believed, whatever the request; 0 if nothing is known.
    pub input_tokens_believed: u64,
    pub output_tokens_believed: u64,
}

/// What the targets of all shared models say of one backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Facts {
    /// The widest.
    context_window: Option<u64>,
    /// The highest; `None` if one of them has no maximum.
    max_output_tokens: Option<u64>,
    /// The one that they agree on.
    tokenizer: Option<Tokenizer>,
}

/// The backends of shared models.
#[derive(Clone, Default)]
pub struct Backends(IdMap<ProviderId, Arc<HashMap<String, Backend>>>);

#[derive(Clone, Default)]
struct Backend {
    /// By the model whose target it is: a model has a backend once.
    said: BTreeMap<ModelId, Facts>,
    together: Facts,
}

impl Backends {
    /// Counts what a shared model's targets say.
    pub fn add(&mut self, model: &Model) {
        for target in &model.targets {
            let backends = Arc::make_mut(self.0.entry(target.provider_id).or_default());
            let backend = backends.entry(target.model.clone()).or_default();
            backend.said.insert(model.model_id, Facts::of(target));
            backend.together = Facts::together(backend.said.values());
        }
    }

    /// Counts it no longer.
    pub fn remove(&mut self, model: &Model) {
        for target in &model.targets {
            let Some(backends) = self.0.get_mut(&target.provider_id).map(Arc::make_mut) else { continue };
            let Some(backend) = backends.get_mut(&target.model) else { continue };
            backend.said.remove(&model.model_id);
            backend.together = Facts::together(backend.said.values());
            if backend.said.is_empty() {
                backends.remove(&target.model);
            }
            if backends.is_empty() {
                self.0.remove(&target.provider_id);
            }
        }
    }

    /// The limits of a model's target at this provider.
    pub fn limits(&self, model: &Model, target: &Target, provider: &Provider) -> TargetLimits {
        if model.tenant_id.is_none() || provider.tenant_id.is_some() {
            return TargetLimits::as_given(target);
        }
        let backend = self.0.get(&target.provider_id).and_then(|backends| backends.get(&target.model));
        let facts = backend.map_or_else(Facts::default, |backend| backend.together);
        TargetLimits::of_tenants_target(target, facts)
    }
}

impl Facts {
    fn of(target: &Target) -> Self {
        let Target { context_window, max_output_tokens, tokenizer, .. } = *target;
        Self { context_window, max_output_tokens, tokenizer }
    }

    fn together<'a>(said: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let known = || said.clone().filter_map(|facts| facts.tokenizer);
        Self {
            context_window: said.clone().filter_map(|facts| facts.context_window).max(),
            max_output_tokens: said
                .clone()
                .map(|facts| facts.max_output_tokens)
                .reduce(|one, other| Some(one?.max(other?)))
                .flatten(),
            tokenizer: known().next().filter(|first| known().all(|other| other == *first)),
        }
    }
}

impl TargetLimits {
    /// Those of a target whose author answers for what it says: the platform, or the tenant that pays the provider.
    fn as_given(target: &Target) -> Self {
        let Target { context_window, max_output_tokens, tokenizer, .. } = *target;
        Self {
            context_window,
            max_output_tokens,
            tokenizer,
            input_tokens_believed: context_window.unwrap_or(0),
            output_tokens_believed: max_output_tokens.unwrap_or(0),
        }
    }

    /// Those of a tenant's target at a shared provider: its own maximum may be lower than the platform's, and nothing else
    /// that it says counts. Where the platform says nothing, its provider is believed.
    fn of_tenants_target(target: &Target, facts: Facts) -> Self {
        let Facts { context_window, max_output_tokens, tokenizer } = facts;
        Self {
            context_window,
            max_output_tokens: target.max_output_tokens.into_iter().chain(max_output_tokens).min(),
            tokenizer,
            input_tokens_believed: context_window.unwrap_or(Target::TOKENS_MAX),
            output_tokens_believed: max_output_tokens.unwrap_or(Target::TOKENS_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use events::event::admin::ProviderKindName;
    use events::event::admin::Tokenizer::{Cl100kBase, O200kBase};
    use events::ids::TenantId;
    use uuid::Uuid;

    use super::*;

    fn id<I: From<Uuid>>(number: u128) -> I {
        I::from(Uuid::from_u128(number))
    }

    fn target(context_window: Option<u64>, max_output_tokens: Option<u64>, tokenizer: Option<Tokenizer>) -> Target {
        Target { context_window, max_output_tokens, tokenizer, ..Target::new(id(1), "m") }
    }

    fn provider(tenant_id: Option<TenantId>) -> Provider {
        Provider { tenant_id, ..Provider::new(id(1), "p", ProviderKindName::literal("openai")) }
    }

    fn model(number: u128, tenant_id: Option<TenantId>, target: Target) -> Model {
        Model { tenant_id, ..Model::new(id(number), "m", vec![target]) }
    }

    /// The limits of a tenant's target among shared models with these.
    fn limits(shared: &[Target], own: Target) -> TargetLimits {
        let mut backends = Backends::default();
        for (number, target) in (10..).zip(shared) {
            backends.add(&model(number, None, target.clone()));
        }
        let owned = model(2, Some(id(3)), own);
        backends.limits(&owned, &owned.targets[0], &provider(None))
    }

    fn figures(limits: TargetLimits) -> ([Option<u64>; 2], Option<Tokenizer>, [u64; 2]) {
        let TargetLimits { context_window, max_output_tokens, tokenizer, .. } = limits;
        let believed = [limits.input_tokens_believed, limits.output_tokens_believed];
        ([context_window, max_output_tokens], tokenizer, believed)
    }

    #[test]
    fn a_tenants_target_at_a_shared_provider_has_what_the_platform_says_and_at_most_a_lower_cap() {
        let shared = [target(Some(200_000), Some(64_000), None), target(Some(1_000_000), Some(8_000), Some(O200kBase))];
        for (own, cap) in [
            (target(Some(1), Some(100_000_000), Some(Cl100kBase)), 64_000),
            (target(Some(100_000_000), Some(100), None), 100),
            (target(None, None, None), 64_000),
        ] {
            let wanted = ([Some(1_000_000), Some(cap)], Some(O200kBase), [1_000_000, 64_000]);
            assert_eq!(figures(limits(&shared, own)), wanted);
        }
    }

    #[test]
    fn where_the_platform_says_nothing_a_tenants_target_knows_nothing_and_reports_are_believed() {
        let own = target(Some(1), Some(100), Some(O200kBase));
        let wanted = ([None, Some(100)], None, [Target::TOKENS_MAX; 2]);
        assert_eq!(figures(limits(&[], own.clone())), wanted);
        assert_eq!(figures(limits(&[target(None, None, None)], own)), wanted);
        // One without a maximum takes any cap, and tokenizers that differ are none.
        let shared = [target(None, Some(8_000), Some(O200kBase)), target(Some(8_192), None, Some(Cl100kBase))];
        let wanted = ([Some(8_192), None], None, [8_192, Target::TOKENS_MAX]);
        assert_eq!(figures(limits(&shared, target(None, None, None))), wanted);
    }

    #[test]
    fn shared_models_and_tenants_own_providers_have_what_their_targets_say() {
        let mut backends = Backends::default();
        backends.add(&model(10, None, target(Some(9), Some(9), None)));
        let given = target(Some(1), None, Some(O200kBase));
        let wanted = ([Some(1), None], Some(O200kBase), [1, 0]);
        for (owner, provider) in [(None, provider(None)), (Some(id(3)), provider(Some(id(3))))] {
            let model = model(2, owner, given.clone());
            assert_eq!(figures(backends.limits(&model, &given, &provider)), wanted);
        }
    }

    #[test]
    fn what_a_shared_model_no_longer_says_no_longer_counts() {
        let mut backends = Backends::default();
        let (narrow, wide) =
            (model(10, None, target(Some(8), None, None)), model(11, None, target(Some(9), None, None)));
        let own = model(2, Some(id(3)), target(None, None, None));
        let window = |backends: &Backends| backends.limits(&own, &own.targets[0], &provider(None)).context_window;
        let mut seen = Vec::new();
        for change in [Backends::add, Backends::remove] {
            for model in [&narrow, &wide] {
                change(&mut backends, model);
                seen.push(window(&backends));
            }
        }
        assert_eq!(seen, [Some(8), Some(9), Some(9), None]);
        backends.add(&narrow);
        backends.add(&wide);
        backends.remove(&wide);
        assert_eq!(window(&backends), Some(8));
    }
}
