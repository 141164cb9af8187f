//! Settings of tenants for all of their requests, in the form in which requests are held to them. Most tenants have set nothing, so
//! that there is nothing to look up for their requests.

use events::event::admin::Tenant;
use events::ids::TenantId;
use events::routing::Strategy;
use events::terms::RequiredTerms;

use super::shared_map::SharedMap;
use crate::model_globs::ModelGlobs;

/// The settings that bind each request of a tenant.
#[derive(Debug)]
pub struct TenantSettings {
    pub required_terms: RequiredTerms,
    /// The models that it may use; `None` for every model that it can see.
    models: Option<ModelGlobs>,
    /// The strategy of models that leave it to the tenant.
    pub default_strategy: Option<Strategy>,
}

impl TenantSettings {
    /// `None` if the tenant has set nothing.
    pub fn of(tenant: &Tenant) -> Option<Self> {
        let Tenant { required_terms, models, default_strategy, .. } = tenant;
        if required_terms.is_empty() && models.is_none() && default_strategy.is_none() {
            return None;
        }
        let models = models.as_ref().map(|patterns| ModelGlobs::of_recorded(patterns, &tenant.tenant_id));
        Some(Self { required_terms: required_terms.clone(), models, default_strategy: *default_strategy })
    }

    pub const fn has_allow_list(&self) -> bool {
        self.models.is_some()
    }

    pub fn allows_model(&self, name: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.matches(name))
    }
}

/// Settings by tenant, only of tenants that have set something.
pub type SettingsByTenant = SharedMap<TenantId, TenantSettings>;
