//! The facts that the platform states of each backend, and the limits that a target has by them.
//!
//! A tenant may name backends of shared providers in models of its own. The platform pays for them, so what such a target says of
//! the backend must not lower the bound of a request, nor what is believed of a report of its usage: the facts are those of the
//! shared models' targets on the same backend, including the models that the gateway makes from its catalogue. They are gathered
//! when a shared model changes, and come from the log alone, so that every node and every release bounds a request alike.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use events::event::admin::{Model, Provider, Target, Tokenizer};
use events::ids::{IdMap, ModelId, ProviderId};
use events::refused_parameters::RefusedParameters;

/// The limits of a target by which requests to it are bounded and measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetLimits {
    pub context_window: Option<u64>,
    /// Whether the output cap counts within that window as well.
    pub window_counts_output: bool,
    /// The highest output cap that it accepts.
    pub max_output_tokens: Option<u64>,
    /// The tokenizer that the backend is known to use.
    pub tokenizer: Option<Tokenizer>,
    /// Reports of up to so many tokens are believed, whatever the request; 0 if nothing is known.
    pub input_tokens_believed: u64,
    pub output_tokens_believed: u64,
    /// How many calls it may have under way from one node.
    pub max_concurrent: Option<u32>,
    /// The parameters that its model refuses.
    pub refused_parameters: RefusedParameters,
}

/// The facts of one backend that the targets of all shared models state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Facts {
    /// The widest.
    context_window: Option<u64>,
    /// Whether any of them counts the output within it.
    window_counts_output: bool,
    /// The highest; `None` if one of them has no maximum.
    max_output_tokens: Option<u64>,
    /// The one that they agree on.
    tokenizer: Option<Tokenizer>,
    /// The lowest.
    max_concurrent: Option<u32>,
    /// All names of the output cap that any of them says is refused.
    refused_caps: RefusedParameters,
}

/// The backends of shared models.
#[derive(Clone, Default)]
pub struct Backends {
    by_provider: IdMap<ProviderId, Arc<HashMap<String, Backend>>>,
    /// The models that limit the calls to one of their backends.
    limiting: Arc<BTreeSet<ModelId>>,
}

#[derive(Clone, Default)]
struct Backend {
    /// The facts by the model whose target states them: a model has a backend once.
    said: BTreeMap<ModelId, Facts>,
    together: Facts,
}

impl Backends {
    /// Counts what a shared model's targets say.
    pub fn add(&mut self, model: &Model) {
        if model.targets.iter().any(|target| target.max_concurrent.is_some()) {
            Arc::make_mut(&mut self.limiting).insert(model.model_id);
        }
        for target in &model.targets {
            let backends = Arc::make_mut(self.by_provider.entry(target.provider_id).or_default());
            let backend = backends.entry(target.model.clone()).or_default();
            backend.said.insert(model.model_id, Facts::of(target));
            backend.together = Facts::together(backend.said.values());
        }
    }

    /// Counts it no longer.
    pub fn remove(&mut self, model: &Model) {
        if self.limiting.contains(&model.model_id) {
            Arc::make_mut(&mut self.limiting).remove(&model.model_id);
        }
        for target in &model.targets {
            let Some(backends) = self.by_provider.get_mut(&target.provider_id).map(Arc::make_mut) else { continue };
            let Some(backend) = backends.get_mut(&target.model) else { continue };
            backend.said.remove(&model.model_id);
            backend.together = Facts::together(backend.said.values());
            if backend.said.is_empty() {
                backends.remove(&target.model);
            }
            if backends.is_empty() {
                self.by_provider.remove(&target.provider_id);
            }
        }
    }

    /// The limits of a model's target at this provider.
    pub fn limits(&self, model: &Model, target: &Target, provider: &Provider) -> TargetLimits {
        if provider.tenant_id.is_some() || model.tenant_id.is_none() && self.limiting.is_empty() {
            return TargetLimits::as_given(target);
        }
        let facts = self.facts(target);
        if model.tenant_id.is_none() {
            return TargetLimits { max_concurrent: facts.max_concurrent, ..TargetLimits::as_given(target) };
        }
        TargetLimits::of_tenants_target(target, facts)
    }

    fn facts(&self, target: &Target) -> Facts {
        let backend = self.by_provider.get(&target.provider_id).and_then(|backends| backends.get(&target.model));
        backend.map_or_else(Facts::default, |backend| backend.together)
    }
}

impl Facts {
    fn of(target: &Target) -> Self {
        let Target { window, max_output_tokens, tokenizer, max_concurrent, .. } = *target;
        let (context_window, window_counts_output) = (window.tokens, window.counts_output);
        let refused_caps = target.facts.refused_parameters().intersection(RefusedParameters::caps());
        Self { context_window, window_counts_output, max_output_tokens, tokenizer, max_concurrent, refused_caps }
    }

    fn together<'a>(said: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let known = || said.clone().filter_map(|facts| facts.tokenizer);
        Self {
            context_window: said.clone().filter_map(|facts| facts.context_window).max(),
            window_counts_output: said.clone().any(|facts| facts.window_counts_output),
            max_output_tokens: said
                .clone()
                .map(|facts| facts.max_output_tokens)
                .reduce(|one, other| Some(one?.max(other?)))
                .flatten(),
            tokenizer: known().next().filter(|first| known().all(|other| other == *first)),
            refused_caps: said
                .clone()
                .map(|facts| facts.refused_caps)
                .fold(RefusedParameters::NONE, RefusedParameters::union),
            max_concurrent: said.filter_map(|facts| facts.max_concurrent).min(),
        }
    }
}

impl TargetLimits {
    /// Those of a target whose author answers for what it says: the platform, or the tenant that pays the provider.
    fn as_given(target: &Target) -> Self {
        let Target { window, max_output_tokens, tokenizer, max_concurrent, .. } = *target;
        let context_window = window.tokens;
        Self {
            context_window,
            window_counts_output: window.counts_output,
            max_output_tokens,
            tokenizer,
            input_tokens_believed: context_window.unwrap_or(0),
            output_tokens_believed: max_output_tokens.unwrap_or(0),
            max_concurrent,
            refused_parameters: target.facts.refused_parameters(),
        }
    }

    /// Those of a tenant's target at a shared provider: its own maximum may be lower than the platform's, and nothing else
    /// that it says counts. Where the platform says nothing, its provider is believed.
    fn of_tenants_target(target: &Target, facts: Facts) -> Self {
        let Facts { context_window, window_counts_output, max_output_tokens, tokenizer, max_concurrent, refused_caps } =
            facts;
        Self {
            context_window,
            window_counts_output,
            max_output_tokens: target.max_output_tokens.into_iter().chain(max_output_tokens).min(),
            tokenizer,
            input_tokens_believed: context_window.unwrap_or(Target::TOKENS_MAX),
            output_tokens_believed: max_output_tokens.unwrap_or(Target::TOKENS_MAX),
            max_concurrent,
            refused_parameters: refused_by_tenants_target(target, refused_caps),
        }
    }
}

/// The refused parameters of a tenant's target at a shared provider: its own, but for the names of the output cap, which are those of the
/// shared models, or else of the catalogue. A server could ignore the cap under another name, and then the platform would pay for more
/// than was held.
fn refused_by_tenants_target(target: &Target, of_shared: RefusedParameters) -> RefusedParameters {
    let caps = RefusedParameters::caps();
    let catalogued = target.facts.catalogued.refused_parameters.unwrap_or_default().intersection(caps);
    let refused_caps = if of_shared.is_empty() { catalogued } else { of_shared };
    target.facts.refused_parameters().difference(caps).union(refused_caps)
}

#[cfg(test)]
mod tests {
    use events::event::admin::Tokenizer::{Cl100kBase, O200kBase};
    use events::event::admin::{ProviderKindName, StatedWindow};
    use events::ids::TenantId;
    use uuid::Uuid;

    use super::*;

    fn id<I: From<Uuid>>(number: u128) -> I {
        I::from(Uuid::from_u128(number))
    }

    fn target(context_window: Option<u64>, max_output_tokens: Option<u64>, tokenizer: Option<Tokenizer>) -> Target {
        let window = StatedWindow { tokens: context_window, ..StatedWindow::default() };
        Target { window, max_output_tokens, tokenizer, ..Target::new(id(1), "m") }
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
    fn the_lowest_concurrency_that_a_shared_model_states_counts_for_all_models_on_its_backend() {
        let limited = |max_concurrent| Target { max_concurrent, ..target(None, None, None) };
        let mut backends = Backends::default();
        let (wide, narrow, free) =
            (model(10, None, limited(Some(9))), model(11, None, limited(Some(4))), model(12, None, limited(None)));
        let own = model(2, Some(id(3)), limited(Some(1)));
        let seen = |backends: &Backends| {
            let of = |model: &Model, provider| backends.limits(model, &model.targets[0], &provider).max_concurrent;
            [of(&free, provider(None)), of(&wide, provider(None)), of(&own, provider(None))]
        };
        backends.add(&free);
        assert_eq!(seen(&backends)[..1], [None]);
        backends.add(&wide);
        backends.add(&narrow);
        assert_eq!(seen(&backends), [Some(4); 3]);
        backends.remove(&narrow);
        assert_eq!(seen(&backends), [Some(9); 3]);
        backends.remove(&wide);
        assert_eq!(seen(&backends), [None, Some(9), None], "without any, each has what it states");
        // On a tenant's own provider, its model has what it states.
        backends.add(&narrow);
        assert_eq!(backends.limits(&own, &own.targets[0], &provider(Some(id(3)))).max_concurrent, Some(1));
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

    #[test]
    fn a_tenants_target_does_not_say_by_which_name_a_shared_provider_takes_the_cap() {
        use events::refused_parameters::RefusedParameter::{self, MaxCompletionTokens, MaxTokens, TopP};
        let words = |words: &[RefusedParameter]| Some(words.iter().copied().collect::<RefusedParameters>());
        let mut own = target(None, None, None);
        own.facts.stated.refused_parameters = words(&[MaxTokens, TopP]);
        assert_eq!(limits(&[], own.clone()).refused_parameters.to_string(), "top_p");
        own.facts.catalogued.refused_parameters = words(&[MaxCompletionTokens]);
        assert_eq!(limits(&[], own.clone()).refused_parameters.to_string(), "top_p, max_completion_tokens");
        let mut shared_one = target(None, None, None);
        shared_one.facts.stated.refused_parameters = words(&[MaxTokens]);
        assert_eq!(limits(&[shared_one], own.clone()).refused_parameters.to_string(), "top_p, max_tokens");
        let (shared, mine) = (model(4, None, own.clone()), model(5, Some(id(3)), own));
        let as_stated = Some(words(&[MaxTokens, TopP]).expect("words"));
        let backends = Backends::default();
        assert_eq!(Some(backends.limits(&shared, &shared.targets[0], &provider(None)).refused_parameters), as_stated);
        let at_its_own = backends.limits(&mine, &mine.targets[0], &provider(Some(id(3))));
        assert_eq!(Some(at_its_own.refused_parameters), as_stated);
    }
}
