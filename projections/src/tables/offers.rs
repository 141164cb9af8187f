//! Which targets can serve which callers, at what price, and which target most requests try first.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::event::admin::{Model, Price, Provider, Retirement, Target};
use events::ids::TenantId;
use events::refusal::{ErrorCode, Refusal};
use events::routing::{CanaryPlace, Candidate, ChosenBy, Features, LeftOut, Observed, Strategy, choose};
use events::terms::{RequiredTerms, Requirements};
use events::time::rfc3339;

use super::{Entry, Tables, TargetLimits, TargetTerms, TenantSettings};

/// A live provider that the tenant may use, the price in force, and the limits of the target.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    pub provider: &'a Arc<Provider>,
    pub price: &'a Entry<Price>,
    pub limits: TargetLimits,
}

/// A target of a model, with its offer or the reason why it has none.
#[derive(Clone, Copy, Debug)]
pub struct EvaluatedTarget<'a> {
    pub target: &'a Target,
    pub offer: Option<Offer<'a>>,
    /// Why it cannot serve. Without an offer there is a reason; with one, the request may give another.
    pub left_out: Option<LeftOut>,
}

impl<'a> EvaluatedTarget<'a> {
    /// The target as routing strategies see it.
    pub fn candidate(&self) -> Candidate<'a> {
        Candidate {
            priority: self.target.priority,
            weight: self.target.weight,
            quality: self.target.quality.unwrap_or_default(),
            tariff: self.offer.map(|offer| &offer.price.value.tariff),
            observed: Observed::default(),
            left_out: self.left_out,
        }
    }

    /// Until when it, or its provider, is under maintenance; `None` if neither is, or it has no offer.
    pub fn maintenance_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.target.maintenance.end_together_with(&self.offer?.provider.maintenance, now)
    }
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

    /// Evaluates whether a model's target can serve a client of `tenant` now, of which this is required.
    pub fn evaluate<'a>(
        &'a self,
        tenant: Option<TenantId>,
        model: &Model,
        target: &'a Target,
        now: DateTime<Utc>,
        required: Requirements<'_>,
    ) -> EvaluatedTarget<'a> {
        match self.offer(tenant, model, target, now) {
            Ok(offer) => {
                let unmet = match required.are_none() {
                    true => None,
                    false => required.unmet_by(self.stated_terms(model, target, offer.provider).terms),
                };
                let left_out = unmet.map(|(term, _)| LeftOut::TermNotMet(term));
                EvaluatedTarget { target, offer: Some(offer), left_out }
            }
            Err(why) => EvaluatedTarget { target, offer: None, left_out: Some(why) },
        }
    }

    fn offer(
        &self,
        tenant: Option<TenantId>,
        model: &Model,
        target: &Target,
        now: DateTime<Utc>,
    ) -> Result<Offer<'_>, LeftOut> {
        let provider = self.provider(target.provider_id).filter(|provider| provider.is_live());
        let provider = provider.filter(|provider| provider.value.tenant_id.is_none_or(|owner| tenant == Some(owner)));
        let provider = &provider.ok_or(LeftOut::NoProvider)?.value;
        let price = self.price_in_force(target.provider_id, &target.model, now).ok_or(LeftOut::NoPrice)?;
        let limits = self.indexes.backends.limits(model, target, provider);
        Ok(Offer { provider, price, limits })
    }

    /// The target that most of this tenant's requests for a model try first; `None` if no target can serve them. While all are under
    /// maintenance, it is the one that is tried first afterwards.
    pub fn first_offer<'a>(
        &'a self,
        tenant: Option<TenantId>,
        model: &'a Model,
        now: DateTime<Utc>,
        required: Requirements<'_>,
    ) -> Option<(&'a Target, Offer<'a>)> {
        let evaluate = |target| self.evaluate(tenant, model, target, now, required);
        let targets: Vec<_> = model.targets.iter().map(evaluate).collect();
        let (strategy, _) = self.strategy_for(tenant, model);
        let mut order = choose(strategy, targets.iter().map(EvaluatedTarget::candidate), &Features::default());
        if let Some(canary) = model.canary_index() {
            order.place_canary(canary, CanaryPlace::Last);
        }
        let able = || order.tried().filter_map(|at| targets.get(at));
        let available = able().find(|target| target.maintenance_until(now).is_none());
        let first = available.or_else(|| able().next())?;
        Some((first.target, first.offer?))
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
