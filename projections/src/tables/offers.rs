//! Who can serve whom, and at what price.

use chrono::{DateTime, Utc};
use events::event::admin::{Price, Provider, Target};
use events::ids::TenantId;

use super::{Entry, Tables};

/// A target's provider, live and for everybody or for this tenant, and the price in force.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    pub provider: &'a Provider,
    pub price: &'a Entry<Price>,
}

impl Tables {
    /// `None` where the target cannot serve a client of `tenant` now.
    pub fn offer(&self, tenant: Option<TenantId>, target: &Target, now: DateTime<Utc>) -> Option<Offer<'_>> {
        let provider = self.provider(target.provider_id).filter(|provider| provider.is_live())?;
        let is_theirs = provider.value.tenant_id.is_none_or(|owner| tenant == Some(owner));
        let price = self.price_in_force(target.provider_id, &target.model, now).filter(|_| is_theirs)?;
        Some(Offer { provider: &provider.value, price })
    }
}
