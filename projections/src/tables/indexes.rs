//! The indexes of live resources by other attributes than the id. Every change removes the old state and adds the new one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use events::event::ResourceState;
use events::event::admin::{Budget, Model, Partner, Price, Provider, RateLimit, Scope, Tenant, User};
use events::ids::{BudgetId, IdMap, LimitId, ModelId, PriceId, ProviderId, TenantId};

use super::shared_map::SharedMap;
use super::slugs::TenantSlugs;
use super::{Entry, Tables};

/// Ids of budgets or limits by the scope that they bind.
type ByScope<I> = IdMap<Scope, BTreeSet<I>>;
/// Live models by their owner (`None`: shared by all) and frontend name.
type Routes = IdMap<Option<TenantId>, BTreeMap<String, ModelId>>;
/// Prices by provider and the provider's own model name.
type PriceLists = IdMap<ProviderId, HashMap<String, Vec<PriceId>>>;

/// All indexes; copies share each until one of them is changed.
#[derive(Clone, Default)]
pub struct Indexes {
    pub tenant_slugs: TenantSlugs,
    pub routes: Arc<Routes>,
    pub price_lists: Arc<PriceLists>,
    pub budgets_by_scope: Arc<ByScope<BudgetId>>,
    pub limits_by_scope: Arc<ByScope<LimitId>>,
}

/// The state of a resource that the tables hold.
pub trait TableResource: ResourceState {
    /// The entries of this kind, and the indexes.
    fn entries(tables: &mut Tables) -> (&mut SharedMap<Self::Id, Entry<Self>>, &mut Indexes);

    /// Adds the newest state to the indexes.
    fn add_to(&self, _: &mut Indexes) {}

    /// Removes a state that is no longer the newest one.
    fn remove_from(&self, _: &mut Indexes) {}
}

impl TableResource for Partner {
    fn entries(tables: &mut Tables) -> (&mut SharedMap<Self::Id, Entry<Self>>, &mut Indexes) {
        (&mut tables.partners, &mut tables.indexes)
    }
}

impl TableResource for Tenant {
    fn entries(tables: &mut Tables) -> (&mut SharedMap<Self::Id, Entry<Self>>, &mut Indexes) {
        (&mut tables.tenants, &mut tables.indexes)
    }

    fn add_to(&self, indexes: &mut Indexes) {
        indexes.tenant_slugs.add(self);
    }

    fn remove_from(&self, indexes: &mut Indexes) {
        indexes.tenant_slugs.remove(self);
    }
}

impl TableResource for User {
    fn entries(tables: &mut Tables) -> (&mut SharedMap<Self::Id, Entry<Self>>, &mut Indexes) {
        (&mut tables.users, &mut tables.indexes)
    }
}

impl TableResource for Provider {
    fn entries(tables: &mut Tables) -> (&mut SharedMap<Self::Id, Entry<Self>>, &mut Indexes) {
        (&mut tables.providers, &mut tables.indexes)
    }
}

impl TableResource for Model {
    fn entries(tables: &mut Tables) -> (&mut SharedMap<Self::Id, Entry<Self>>, &mut Indexes) {
        (&mut tables.models, &mut tables.indexes)
    }

    fn add_to(&self, indexes: &mut Indexes) {
        let routes = Arc::make_mut(&mut indexes.routes).entry(self.tenant_id).or_default();
        routes.insert(self.name.clone(), self.model_id);
    }

    fn remove_from(&self, indexes: &mut Indexes) {
        let routes = Arc::make_mut(&mut indexes.routes).get_mut(&self.tenant_id);
        if let Some(routes) = routes.filter(|routes| routes.get(&self.name) == Some(&self.model_id)) {
            routes.remove(&self.name);
        }
    }
}

impl TableResource for Price {
    fn entries(tables: &mut Tables) -> (&mut SharedMap<Self::Id, Entry<Self>>, &mut Indexes) {
        (&mut tables.prices, &mut tables.indexes)
    }

    fn add_to(&self, indexes: &mut Indexes) {
        let list = Arc::make_mut(&mut indexes.price_lists).entry(self.provider_id).or_default();
        list.entry(self.model.clone()).or_default().push(self.price_id);
    }

    fn remove_from(&self, indexes: &mut Indexes) {
        let list = Arc::make_mut(&mut indexes.price_lists).get_mut(&self.provider_id);
        if let Some(prices) = list.and_then(|list| list.get_mut(&self.model)) {
            prices.retain(|listed| *listed != self.price_id);
        }
    }
}

impl TableResource for Budget {
    fn entries(tables: &mut Tables) -> (&mut SharedMap<Self::Id, Entry<Self>>, &mut Indexes) {
        (&mut tables.budgets, &mut tables.indexes)
    }

    fn add_to(&self, indexes: &mut Indexes) {
        bind(&mut indexes.budgets_by_scope, self.scope, self.budget_id);
    }

    fn remove_from(&self, indexes: &mut Indexes) {
        unbind(&mut indexes.budgets_by_scope, self.scope, self.budget_id);
    }
}

impl TableResource for RateLimit {
    fn entries(tables: &mut Tables) -> (&mut SharedMap<Self::Id, Entry<Self>>, &mut Indexes) {
        (&mut tables.rate_limits, &mut tables.indexes)
    }

    fn add_to(&self, indexes: &mut Indexes) {
        bind(&mut indexes.limits_by_scope, self.scope, self.limit_id);
    }

    fn remove_from(&self, indexes: &mut Indexes) {
        unbind(&mut indexes.limits_by_scope, self.scope, self.limit_id);
    }
}

fn bind<I: Ord + Clone>(index: &mut Arc<ByScope<I>>, scope: Scope, id: I) {
    Arc::make_mut(index).entry(scope).or_default().insert(id);
}

fn unbind<I: Ord + Clone>(index: &mut Arc<ByScope<I>>, scope: Scope, id: I) {
    let index = Arc::make_mut(index);
    let Some(ids) = index.get_mut(&scope) else { return };
    ids.remove(&id);
    if ids.is_empty() {
        index.remove(&scope);
    }
}
