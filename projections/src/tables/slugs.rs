//! The index of live tenants by slug. Several partners may use the same slug.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use events::event::admin::Tenant;
use events::ids::TenantId;

/// Tenants by slug; copies share it until one of them is changed.
#[derive(Clone, Default)]
pub struct TenantSlugs(Arc<HashMap<String, BTreeSet<TenantId>>>);

impl TenantSlugs {
    pub fn get(&self, slug: &str) -> impl Iterator<Item = TenantId> {
        self.0.get(slug).into_iter().flatten().copied()
    }

    pub fn add(&mut self, tenant: &Tenant) {
        if let Some(slug) = &tenant.handles.slug {
            Arc::make_mut(&mut self.0).entry(slug.clone()).or_default().insert(tenant.tenant_id);
        }
    }

    pub fn remove(&mut self, tenant: &Tenant) {
        let Some(slug) = &tenant.handles.slug else { return };
        let index = Arc::make_mut(&mut self.0);
        let Some(tenants) = index.get_mut(slug) else { return };
        tenants.remove(&tenant.tenant_id);
        if tenants.is_empty() {
            index.remove(slug);
        }
    }
}
