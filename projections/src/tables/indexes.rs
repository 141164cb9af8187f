//! The indexes of live resources by other attributes than the id. Every change removes the old state and adds the new one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use events::event::TeamVersions;
use events::event::admin::{Budget, Model, Partner, Price, Provider, ProviderKey, RateLimit, Team, Tenant, User};
use events::ids::{BudgetId, LimitId, ModelId, PriceId, ProviderId, ProviderKeyId, TenantId, UserId};

use super::backends::Backends;
use super::owner_index::OwnerIndex;
use super::shared_map::SharedMap;
use super::shared_terms::SharedTerms;
use super::tenant_settings::{SettingsByTenant, TenantSettings};

/// Live models by their namespace and frontend name.
type Routes = SharedMap<Namespace, BTreeMap<String, ModelId>>;
/// Prices by provider and the provider's own model name.
type PriceLists = SharedMap<ProviderId, HashMap<String, Vec<PriceId>>>;

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

/// All indexes; copies share each until one of them is changed. What tenants can make many entries of is shared by owner, so that
/// nobody's change copies what others have.
#[derive(Clone, Default)]
pub struct TableIndexes {
    /// Live tenants by slug, which several partners may use.
    pub tenant_slugs: Arc<HashMap<String, BTreeSet<TenantId>>>,
    pub routes: Routes,
    pub price_lists: PriceLists,
    pub backends: Arc<Backends>,
    pub shared_terms: Arc<SharedTerms>,
    pub tenant_settings: SettingsByTenant,
    pub budgets_by_scope: OwnerIndex<BudgetId>,
    pub limits_by_scope: OwnerIndex<LimitId>,
    /// The live teams of the users who are in some.
    pub teams_by_user: SharedMap<UserId, TeamVersions>,
    /// The live providers of each tenant that has some, and those of the platform.
    pub providers_by_owner: SharedMap<Option<TenantId>, BTreeSet<ProviderId>>,
    /// Live provider keys of the providers that have some.
    pub keys_by_provider: SharedMap<ProviderId, BTreeSet<ProviderKeyId>>,
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

    /// The state without large texts that nobody reads after its end; `None` if it has none.
    fn after_end(&self) -> Option<Self> {
        None
    }
}

impl Indexed for Partner {}
impl Indexed for User {}

impl Indexed for Provider {
    fn index(&self, indexes: &mut TableIndexes, change: IndexChange) {
        let of_owner = |providers: &mut BTreeSet<ProviderId>| match change {
            IndexChange::Add { .. } => drop(providers.insert(self.provider_id)),
            IndexChange::Remove => drop(providers.remove(&self.provider_id)),
        };
        indexes.providers_by_owner.change(&self.tenant_id, of_owner, BTreeSet::is_empty);
    }

    /// A provider of the gateway's own is compared with later ones.
    fn after_end(&self) -> Option<Self> {
        let is_long = self.tenant_id.is_some() && !self.headers.is_empty();
        is_long.then(|| Self { headers: BTreeMap::new(), ..self.clone() })
    }
}

impl Indexed for Tenant {
    fn index(&self, indexes: &mut TableIndexes, change: IndexChange) {
        if let Some(slug) = &self.handles.slug {
            bind_slug(&mut indexes.tenant_slugs, slug, self.tenant_id, change);
        }
        let Some(settings) = TenantSettings::of(self) else { return };
        match change {
            IndexChange::Add { .. } => indexes.tenant_settings.insert(self.tenant_id, settings),
            IndexChange::Remove => indexes.tenant_settings.remove(&self.tenant_id),
        }
    }
}

impl Indexed for Team {
    fn index(&self, indexes: &mut TableIndexes, change: IndexChange) {
        for user in &self.user_ids {
            let of_user = |teams: &mut TeamVersions| match change {
                IndexChange::Add { version } => drop(teams.insert(self.team_id, version)),
                IndexChange::Remove => drop(teams.remove(&self.team_id)),
            };
            indexes.teams_by_user.change(user, of_user, TeamVersions::is_empty);
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
        let in_namespace = |routes: &mut BTreeMap<String, ModelId>| match change {
            IndexChange::Add { .. } => drop(routes.insert(self.name.clone(), self.model_id)),
            IndexChange::Remove if routes.get(&self.name) == Some(&self.model_id) => drop(routes.remove(&self.name)),
            IndexChange::Remove => {}
        };
        indexes.routes.change(&Namespace::of(self), in_namespace, BTreeMap::is_empty);
    }

    /// Targets with a name first, in the order of their names: strategies keep the order of targets that they rank equally.
    fn for_requests(&self) -> Self {
        let mut model = self.clone();
        model.sort_targets();
        model
    }

    fn after_end(&self) -> Option<Self> {
        let is_long = self.tenant_id.is_some() && self.system_prefix.is_some();
        is_long.then(|| Self { system_prefix: None, ..self.clone() })
    }
}

impl Indexed for Price {
    fn index(&self, indexes: &mut TableIndexes, change: IndexChange) {
        let of_provider = |list: &mut HashMap<String, Vec<PriceId>>| {
            let prices = list.entry(self.model.clone()).or_default();
            match change {
                IndexChange::Add { .. } => prices.push(self.price_id),
                IndexChange::Remove => prices.retain(|listed| *listed != self.price_id),
            }
            if prices.is_empty() {
                list.remove(&self.model);
            }
        };
        indexes.price_lists.change(&self.provider_id, of_provider, HashMap::is_empty);
    }
}

impl Indexed for ProviderKey {
    fn index(&self, indexes: &mut TableIndexes, change: IndexChange) {
        let of_provider = |keys: &mut BTreeSet<ProviderKeyId>| match change {
            IndexChange::Add { .. } => drop(keys.insert(self.provider_key_id)),
            IndexChange::Remove => drop(keys.remove(&self.provider_key_id)),
        };
        indexes.keys_by_provider.change(&self.provider_id, of_provider, BTreeSet::is_empty);
    }
}

impl Indexed for Budget {
    fn index(&self, indexes: &mut TableIndexes, change: IndexChange) {
        match change {
            IndexChange::Add { .. } => indexes.budgets_by_scope.push(&self.scope, self.budget_id),
            IndexChange::Remove => indexes.budgets_by_scope.remove(&self.scope, self.budget_id),
        }
    }
}

impl Indexed for RateLimit {
    fn index(&self, indexes: &mut TableIndexes, change: IndexChange) {
        match change {
            IndexChange::Add { .. } => indexes.limits_by_scope.push(&self.scope, self.limit_id),
            IndexChange::Remove => indexes.limits_by_scope.remove(&self.scope, self.limit_id),
        }
    }
}

/// Changes the tenants with a slug.
fn bind_slug(index: &mut Arc<HashMap<String, BTreeSet<TenantId>>>, slug: &str, id: TenantId, change: IndexChange) {
    let index = Arc::make_mut(index);
    match change {
        IndexChange::Add { .. } => drop(index.entry(slug.to_owned()).or_default().insert(id)),
        IndexChange::Remove => {
            let Some(ids) = index.get_mut(slug) else { return };
            ids.remove(&id);
            if ids.is_empty() {
                index.remove(slug);
            }
        }
    }
}
