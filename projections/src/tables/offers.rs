//! Who can serve whom, and at what price, and whom most requests are tried on first.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::event::admin::{Model, Price, Provider, Target};
use events::ids::TenantId;
use events::refusal::{ErrorCode, Refusal};
use events::routing::{Candidate, Features, LeftOut, choose};

use super::{Entry, Tables};

/// A target's provider, live and for everybody or for this tenant, and the price in force.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    pub provider: &'a Arc<Provider>,
    pub price: &'a Entry<Price>,
}

/// A target of a model that a client asks for.
#[derive(Clone, Copy, Debug)]
pub struct Considered<'a> {
    pub target: &'a Target,
    pub offer: Option<Offer<'a>>,
    /// Why it cannot serve: always said where there is no offer.
    pub left_out: Option<LeftOut>,
}

impl<'a> Considered<'a> {
    /// As strategies see it.
    pub fn candidate(&self) -> Candidate<'a> {
        Candidate {
            priority: self.target.priority,
            weight: self.target.weight,
            rates: self.offer.map(|offer| &offer.price.value.rates),
            left_out: self.left_out,
        }
    }
}

impl Tables {
    /// A model's target, as far as it can serve a client of `tenant` now.
    pub fn consider<'a>(&'a self, tenant: Option<TenantId>, target: &'a Target, now: DateTime<Utc>) -> Considered<'a> {
        match self.offer(tenant, target, now) {
            Ok(offer) => Considered { target, offer: Some(offer), left_out: None },
            Err(why) => Considered { target, offer: None, left_out: Some(why) },
        }
    }

    fn offer(&self, tenant: Option<TenantId>, target: &Target, now: DateTime<Utc>) -> Result<Offer<'_>, LeftOut> {
        let provider = self.provider(target.provider_id).filter(|provider| provider.is_live());
        let provider = provider.filter(|provider| provider.value.tenant_id.is_none_or(|owner| tenant == Some(owner)));
        let provider = &provider.ok_or(LeftOut::NoProvider)?.value;
        let price = self.price_in_force(target.provider_id, &target.model, now).ok_or(LeftOut::NoPrice)?;
        Ok(Offer { provider, price })
    }

    /// The target of a model that most requests of this tenant's are tried on first; `None` where nobody can serve them.
    pub fn first_offer<'a>(
        &'a self,
        tenant: Option<TenantId>,
        model: &'a Model,
        now: DateTime<Utc>,
    ) -> Option<(&'a Target, Offer<'a>)> {
        let considered: Vec<_> = model.targets.iter().map(|target| self.consider(tenant, target, now)).collect();
        let order = choose(model.strategy, considered.iter().map(Considered::candidate), &Features::default());
        let first = considered.get(order.tried().next()?)?;
        Some((first.target, first.offer?))
    }
}

/// 404 that names the model, as far as its name goes.
pub fn model_not_found(model: &str) -> Refusal {
    let shown = Model::bounded_name(model);
    Refusal::new(ErrorCode::ModelNotFound, format!("there is no model {shown}")).with("model", shown)
}
