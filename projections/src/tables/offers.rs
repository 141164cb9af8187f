//! Which targets can serve which callers, at what price, and which target most requests try first.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::event::admin::{Model, Price, Provider, Retirement, Target};
use events::ids::TenantId;
use events::refusal::{ErrorCode, Refusal};
use events::routing::{
    ChosenBy, DialectFit, Features, LeftOut, Observed, RouteDecision, RouteInputs, RouteQuestion, Strategy,
    TargetInputs, decide,
};
use events::terms::{RequiredTerms, Requirements, StatedTerms};
use events::time::rfc3339;

use super::{Entry, Tables, TargetLimits, TargetTerms, TenantSettings};

/// A live provider that the tenant may use, the price in force, and the limits of the target.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    pub provider: &'a Arc<Provider>,
    pub price: &'a Entry<Price>,
    pub limits: TargetLimits,
}

/// A target of a model as the tables know it.
#[derive(Clone, Copy)]
pub struct KnownTarget<'a> {
    /// `None` if it has no provider for the tenant, or no price.
    pub offer: Option<Offer<'a>>,
    /// The inputs that the tables have of it: nothing of the request, of its breaker, or of what was measured.
    pub inputs: TargetInputs<'a>,
}

impl Tables {
    /// The settings of a tenant for all of its requests; `None` if there are none.
    pub fn tenant_settings(&self, tenant: Option<TenantId>) -> Option<&TenantSettings> {
        let settings = &self.indexes.tenant_settings;
        if settings.is_empty() { None } else { settings.get(&tenant?) }
    }

    /// The terms that a tenant requires of each target that its requests are sent to.
    pub fn required_terms(&self, tenant: Option<TenantId>) -> &RequiredTerms {
        self.tenant_settings(tenant).map_or(&RequiredTerms::NONE, |settings| &settings.required_terms)
    }

    /// The strategy of a model for a tenant, and who chose it.
    pub fn strategy_for(&self, tenant: Option<TenantId>, model: &Model) -> (Strategy, ChosenBy) {
        if model.strategy != Strategy::TenantDefault {
            return (model.strategy, ChosenBy::Model);
        }
        match self.tenant_settings(tenant).and_then(|settings| settings.default_strategy) {
            Some(strategy) => (strategy, ChosenBy::Tenant),
            None => (Strategy::Priority, ChosenBy::Model),
        }
    }

    /// The terms stated of a model's target at this provider.
    pub fn stated_terms<'a>(&'a self, model: &Model, target: &'a Target, provider: &Provider) -> TargetTerms<'a> {
        self.indexes.shared_terms.of(model, target, provider)
    }

    /// The facts about a model's target for a client of `tenant` now. The terms that are stated of it are looked up only if some are
    /// required.
    pub fn known_target<'a>(
        &'a self,
        tenant: Option<TenantId>,
        model: &Model,
        target: &'a Target,
        now: DateTime<Utc>,
        required: Requirements<'_>,
    ) -> KnownTarget<'a> {
        let provider = self.provider(target.provider_id).filter(|provider| provider.is_live());
        let provider = provider.filter(|provider| provider.value.tenant_id.is_none_or(|owner| tenant == Some(owner)));
        let provider = provider.map(|entry| &entry.value);
        let price = provider.and_then(|_| self.price_in_force(target.provider_id, &target.model, now));
        let offer = provider.zip(price).map(|(provider, price)| {
            let limits = self.indexes.backends.limits(model, target, provider);
            Offer { provider, price, limits }
        });
        let terms = match provider {
            Some(provider) if !required.are_none() => self.stated_terms(model, target, provider).terms,
            Some(_) | None => &StatedTerms::NONE,
        };
        let inputs = TargetInputs {
            target,
            provider_maintenance: provider.map(|provider| &provider.maintenance),
            tariff: price.map(|price| &price.value.tariff),
            context_window: offer.and_then(|offer| offer.limits.context_window),
            window_counts_output: offer.is_some_and(|offer| offer.limits.window_counts_output),
            max_output_tokens: offer.and_then(|offer| offer.limits.max_output_tokens),
            terms,
            dialect: DialectFit::Fits,
            prompt_tokens: None,
            open_breaker: None,
            observed: Observed::default(),
        };
        KnownTarget { offer, inputs }
    }

    /// The decision for a request of this tenant that needs nothing but these terms, with the targets in the order of the model's row.
    fn decided_for_none<'a>(
        &'a self,
        tenant: Option<TenantId>,
        model: &'a Model,
        now: DateTime<Utc>,
        required: Requirements<'a>,
    ) -> (Vec<KnownTarget<'a>>, RouteDecision<'a>) {
        let known = |target| self.known_target(tenant, model, target, now, required);
        let targets: Vec<_> = model.targets.iter().map(known).collect();
        let (strategy, _) = self.strategy_for(tenant, model);
        let decision = decide(RouteInputs {
            model_id: model.model_id,
            canary: model.canary.as_ref(),
            tenant,
            strategy,
            features: Features::default(),
            session: None,
            question: RouteQuestion::of_none(now, required),
            targets: targets.iter().map(|known| known.inputs).collect(),
        });
        (targets, decision)
    }

    /// The target that most of this tenant's requests for a model try first; `None` if no target can serve them. While all are under
    /// maintenance, it is the one that is tried first afterwards.
    pub fn first_offer<'a>(
        &'a self,
        tenant: Option<TenantId>,
        model: &'a Model,
        now: DateTime<Utc>,
        required: Requirements<'a>,
    ) -> Option<(&'a Target, Offer<'a>)> {
        let (targets, RouteDecision { order, .. }) = self.decided_for_none(tenant, model, now, required);
        let is_under_maintenance = |why: &LeftOut| matches!(why, LeftOut::Maintenance(_));
        let later = || order.left_out().find(|(_, why)| is_under_maintenance(why)).map(|(at, _)| at);
        let first = targets.get(order.tried().next().or_else(later)?)?;
        Some((first.inputs.target, first.offer?))
    }
}

/// A 404 for a model that answered until then.
pub fn model_retired(model: &Model, since: DateTime<Utc>) -> Refusal {
    let Model { name, retirement: Retirement { successor, .. }, .. } = model;
    let since = rfc3339(since);
    let mut message = format!("the model {name} was retired at {since}");
    if let Some(successor) = successor {
        message.push_str(&format!(": use {successor}"));
    }
    let refusal = Refusal::new(ErrorCode::ModelNotFound, message).with("model", &**name).with("retired_at", since);
    match successor {
        Some(successor) => refusal.with("successor", &**successor),
        None => refusal,
    }
}

/// A 404 that names the model, with a bounded name.
pub fn model_not_found(model: &str) -> Refusal {
    let shown = Model::bounded_name(model);
    let message = format!("there is no model {shown}: GET /v1/models lists those that the key may use");
    Refusal::new(ErrorCode::ModelNotFound, message).with("model", shown)
}
