//! The indexes of live resources by other attributes than the id. Every change removes the old state and adds the new one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use events::event::admin::{Budget, Model, Partner, Price, Provider, RateLimit, Scope, Tenant, User};
use events::ids::{BudgetId, IdMap, LimitId, ModelId, PriceId, ProviderId, TenantId};

/// Ids of budgets or limits by the scope that they bind.
type ByScope<I> = IdMap<Scope, BTreeSet<I>>;
/// Live models by their owner (`None`: shared by all) and frontend name.
type Routes = IdMap<Option<TenantId>, BTreeMap<String, ModelId>>;
/// Prices by provider and the provider's own model name.
type PriceLists = IdMap<ProviderId, HashMap<String, Vec<PriceId>>>;

/// All indexes; copies share each until one of them is changed.
#[derive(Clone, Default)]
pub struct Indexes {
    /// Live tenants by slug, which several partners may use.
    pub tenant_slugs: Arc<HashMap<String, BTreeSet<TenantId>>>,
    pub routes: Arc<Routes>,
    pub price_lists: Arc<PriceLists>,
    pub budgets_by_scope: Arc<ByScope<BudgetId>>,
    pub limits_by_scope: Arc<ByScope<LimitId>>,
}

/// A resource that may be found by other attributes than its id.
pub trait Indexed {
    /// Adds the newest state to the indexes.
    fn add_to(&self, _: &mut Indexes) {}

    /// Removes a state that is no longer the newest one.
    fn remove_from(&self, _: &mut Indexes) {}
}

impl Indexed for Partner {}
impl Indexed for User {}
impl Indexed for Provider {}

impl Indexed for Tenant {
    fn add_to(&self, indexes: &mut Indexes) {
        if let Some(slug) = &self.handles.slug {
            bind(&mut indexes.tenant_slugs, slug.clone(), self.tenant_id);
        }
    }

    fn remove_from(&self, indexes: &mut Indexes) {
        if let Some(slug) = &self.handles.slug {
            unbind(&mut indexes.tenant_slugs, slug, self.tenant_id);
        }
    }
}

impl Indexed for Model {
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

impl Indexed for Price {
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

impl Indexed for Budget {
    fn add_to(&self, indexes: &mut Indexes) {
        bind(&mut indexes.budgets_by_scope, self.scope, self.budget_id);
    }

    fn remove_from(&self, indexes: &mut Indexes) {
        unbind(&mut indexes.budgets_by_scope, &self.scope, self.budget_id);
    }
}

impl Indexed for RateLimit {
    fn add_to(&self, indexes: &mut Indexes) {
        bind(&mut indexes.limits_by_scope, self.scope, self.limit_id);
    }

    fn remove_from(&self, indexes: &mut Indexes) {
        unbind(&mut indexes.limits_by_scope, &self.scope, self.limit_id);
    }
}

/// Ids by a key that several resources may have.
type IdsBy<K, I, S> = Arc<HashMap<K, BTreeSet<I>, S>>;

fn bind<K, I, S>(index: &mut IdsBy<K, I, S>, key: K, id: I)
where
    K: Hash + Eq + Clone,
    I: Ord + Clone,
    S: BuildHasher + Clone,
{
    Arc::make_mut(index).entry(key).or_default().insert(id);
}

fn unbind<K, I, S>(index: &mut IdsBy<K, I, S>, key: &K, id: I)
where
    K: Hash + Eq + Clone,
    I: Ord + Clone,
    S: BuildHasher + Clone,
{
    let index = Arc::make_mut(index);
    let Some(ids) = index.get_mut(key) else { return };
    ids.remove(&id);
    if ids.is_empty() {
        index.remove(key);
    }
}
