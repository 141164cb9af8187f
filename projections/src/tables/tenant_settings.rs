//! What tenants have set for all of their requests, in the form in which requests are held to it. Most tenants have set nothing, so
//! that there is nothing to look up for their requests.

use events::event::admin::Tenant;
use events::ids::{IdMap, TenantId};
use events::terms::RequiredTerms;

/// What binds each request of a tenant.
#[derive(Debug)]
pub struct TenantSettings {
    pub required_terms: RequiredTerms,
}

impl TenantSettings {
    /// `None` if the tenant has set nothing.
    pub fn of(tenant: &Tenant) -> Option<Self> {
        let Tenant { required_terms, .. } = tenant;
        let has_any = !required_terms.is_empty();
        has_any.then(|| Self { required_terms: required_terms.clone() })
    }
}

/// By tenant, of those that have set something.
pub type SettingsByTenant = IdMap<TenantId, std::sync::Arc<TenantSettings>>;
