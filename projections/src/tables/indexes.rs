//! The indexes of live resources by other attributes than the id. Every change removes the old state and adds the new one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use events::event::TeamVersions;
use events::event::admin::{Budget, Model, Partner, Price, Provider, ProviderKey, RateLimit, Team, Tenant, User};
use events::ids::{BudgetId, IdMap, LimitId, ModelId, PriceId, ProviderId, ProviderKeyId, TenantId, UserId};
use events::scope_index::ScopeIndex;

use super::backends::Backends;
use super::shared_terms::SharedTerms;
use super::tenant_settings::{SettingsByTenant, TenantSettings};

/// Live models by their namespace and frontend name.
type Routes = IdMap<Namespace, BTreeMap<String, ModelId>>;
/// Prices by provider and the provider's own model name.
type PriceLists = IdMap<ProviderId, HashMap<String, Vec<PriceId>>>;

/// A set of models whose names are unique. A name in a narrower one shadows the same name in a wider one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Namespace {
    Tenant(TenantId),
    /// Created by the platform, for all tenants.
    Shared,
    /// Made by the gateway itself, for all tenants.
    Automatic,
}

impl Namespace {
    pub const fn of(model: &Model) -> Self {
        match (model.tenant_id, model.origin) {
            (Some(tenant), _) => Self::Tenant(tenant),
            (None, Some(_)) => Self::Automatic,
            (None, None) => Self::Shared,
        }
    }

    /// Those that a client of `tenant` can name models of, the narrowest first.
    pub fn seen_by(tenant: Option<TenantId>) -> impl DoubleEndedIterator<Item = Self> {
        tenant.map(Self::Tenant).into_iter().chain([Self::Shared, Self::Automatic])
    }
}

/// All indexes; copies share each until one of them is changed.
#[derive(Clone, Default)]
pub struct TableIndexes {
    /// Live tenants by slug, which several partners may use.
    pub tenant_slugs: Arc<HashMap<String, BTreeSet<TenantId>>>,
    pub routes: Arc<Routes>,
    pub price_lists: Arc<PriceLists>,
    pub backends: Arc<Backends>,
    pub shared_terms: Arc<SharedTerms>,
    pub tenant_settings: Arc<SettingsByTenant>,
    pub budgets_by_scope: Arc<ScopeIndex<BudgetId>>,
    pub limits_by_scope: Arc<ScopeIndex<LimitId>>,
    /// The live teams of the users who are in some.
    pub teams_by_user: Arc<IdMap<UserId, TeamVersions>>,
    /// Live provider keys of the providers that have some.
    pub keys_by_provider: Arc<IdMap<ProviderId, BTreeSet<ProviderKeyId>>>,
}

/// The change of a state in the indexes.
#[derive(Clone, Copy)]
pub enum IndexChange {
    /// The state is the newest one, of the event at this position.
    Add { version: u64 },
    /// The state is no longer the newest one.
    Remove,
}

/// A resource that may be found by other attributes than its id.
pub trait Indexed: Clone {
    fn index(&self, _: &mut TableIndexes, _: IndexChange) {}

    /// The state in the form that requests read, so that they need not compute it.
    fn for_requests(&self) -> Self {
        self.clone()
    }
}

impl Indexed for Partner {}
impl Indexed for User {}
impl Indexed for Provider {}

impl Indexed for Tenant {
    fn index(&self, indexes: &mut TableIndexes, change: IndexChange) {
        if let Some(slug) = &self.handles.slug {
            bind(&mut indexes.tenant_slugs, slug.clone(), self.tenant_id, change);
        }
        let Some(settings) = TenantSettings::of(self) else { return };
        let by_tenant = Arc::make_mut(&mut indexes.tenant_settings);
        match change {
            IndexChange::Add { .. } => drop(by_tenant.insert(self.tenant_id, Arc::new(settings))),
            IndexChange::Remove => drop(by_tenant.remove(&self.tenant_id)),
        }
    }
}

impl Indexed for Team {
    fn index(&self, indexes: &mut TableIndexes, change: IndexChange) {
        let by_user = Arc::make_mut(&mut indexes.teams_by_user);
        for user in &self.user_ids {
            match change {
                IndexChange::Add { version } => drop(by_user.entry(*user).or_default().insert(self.team_id, version)),
                IndexChange::Remove => {
                    let Some(teams) = by_user.get_mut(user) else { continue };
                    teams.remove(&self.team_id);
                    if teams.is_empty() {
                        by_user.remove(user);
                    }
                }
            }
        }
    }
}

impl Indexed for Model {
    fn index(&self, indexes: &mut TableIndexes, change: IndexChange) {
        if self.tenant_id.is_none() {
            let backends = Arc::make_mut(&mut indexes.backends);
            let terms = Arc::make_mut(&mut indexes.shared_terms);
            match change {
                IndexChange::Add { version } => {
                    backends.add(self);
                    terms.add(self, version);
                }
                IndexChange::Remove => {
                    backends.remove(self);
                    terms.remove(self);
                }
            }
        }
        let routes = Arc::make_mut(&mut indexes.routes).entry(Namespace::of(self)).or_default();
        match change {
            IndexChange::Add { .. } => drop(routes.insert(self.name.clone(), self.model_id)),
            IndexChange::Remove if routes.get(&self.name) == Some(&self.model_id) => drop(routes.remove(&self.name)),
            IndexChange::Remove => {}
        }
    }

    /// Targets with a name first, in the order of their names: strategies keep the order of targets that they rank equally.
    fn for_requests(&self) -> Self {
        let mut model = self.clone();
        model.sort_targets();
        model
    }
}

impl Indexed for Price {
    fn index(&self, indexes: &mut TableIndexes, change: IndexChange) {
        let list = Arc::make_mut(&mut indexes.price_lists).entry(self.provider_id).or_default();
        let prices = list.entry(self.model.clone()).or_default();
        match change {
            IndexChange::Add { .. } => prices.push(self.price_id),
            IndexChange::Remove => prices.retain(|listed| *listed != self.price_id),
        }
    }
}

impl Indexed for ProviderKey {
    fn index(&self, indexes: &mut TableIndexes, change: IndexChange) {
        bind(&mut indexes.keys_by_provider, self.provider_id, self.provider_key_id, change);
    }
}

impl Indexed for Budget {
    fn index(&self, indexes: &mut TableIndexes, change: IndexChange) {
        let index = Arc::make_mut(&mut indexes.budgets_by_scope);
        match change {
            IndexChange::Add { .. } => index.push(&self.scope, self.budget_id),
            IndexChange::Remove => drop(index.remove(&self.scope, self.budget_id)),
        }
    }
}

impl Indexed for RateLimit {
    fn index(&self, indexes: &mut TableIndexes, change: IndexChange) {
        let index = Arc::make_mut(&mut indexes.limits_by_scope);
        match change {
            IndexChange::Add { .. } => index.push(&self.scope, self.limit_id),
            IndexChange::Remove => drop(index.remove(&self.scope, self.limit_id)),
        }
    }
}

/// Changes the ids of a key that several resources may have.
fn bind<K, I, S>(index: &mut Arc<HashMap<K, BTreeSet<I>, S>>, key: K, id: I, change: IndexChange)
where
    K: Hash + Eq + Clone,
    I: Ord + Clone,
    S: BuildHasher + Clone,
{
    let index = Arc::make_mut(index);
    match change {
        IndexChange::Add { .. } => drop(index.entry(key).or_default().insert(id)),
        IndexChange::Remove => {
            let Some(ids) = index.get_mut(&key) else { return };
            ids.remove(&id);
            if ids.is_empty() {
                index.remove(&key);
            }
        }
    }
}
