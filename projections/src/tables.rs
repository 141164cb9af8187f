//! The in-memory tables: the state of all resources of administration, such as keys, models, prices and limits.
//!
//! A request is decided from one immutable snapshot: its decisions agree with each other, and no SQL is on its path. The
//! tables are a pure fold of administrative events in the log's order, so nodes with the same log have the same tables.
//! A change replaces the snapshot as a whole; the new one shares with the old one whatever did not change.
//!
//! The tables hold no balances: they bound and price requests, and the ledger decides. They may lag the log for a moment; a
//! caller that needs a certain change waits for its position ([`TablesHandle::wait_for`]). Ended resources stay, since
//! events and rows still refer to them. The tables are not read from `views.db`, because a view may lag, stop or be under
//! rebuild, and admission must not depend on that.
//!
//! - `updater` follows the log, `shared_map` makes a copy cheap, `indexes` finds live resources by other attributes than the
//!   id, such as the teams of a user.
//! - `offers`: which targets can serve which callers, and at what price. `aliases`: which model a name means at a time.
//! - `backends`: what shared models say of each backend, which limits tenants' targets on it; `shared_terms`: what they state
//!   of its terms.
//! - `owner_index`: the budgets and rate limits of each owner. `owned`: how much each tenant and each partner has of what is bounded.
//! - `tenant_settings`: what tenants have set for all of their requests. `set_aside`: which keys their providers do not
//!   accept. `sharers`: how many keys share the budgets of an owner.

mod aliases;
mod backends;
mod breakers;
mod indexes;
mod lag;
mod offers;
mod owned;
mod owner_index;
mod providers_at;
mod set_aside;
mod shared_map;
mod shared_terms;
mod sharers;
mod tenant_settings;
mod updater;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::content::ContentPolicy;
use events::event::admin::{
    Budget, Key, KeyRotated, Model, NarrowedScope, Partner, Price, Provider, ProviderKey, RateLimit, Scope, Team,
    Tenant, User,
};
use events::event::log_key::LogKeyCreated;
use events::event::{Chain, Change, Event, Recorded, Resource, ResourceState, ScopeSubject, TeamVersions};
use events::ids::{
    BudgetId, KeyId, LimitId, ModelId, PartnerId, PriceId, ProviderId, ProviderKeyId, TeamId, TenantId, UserId,
};
use events::scope_index::binding_of;

use crate::model_globs::ModelGlobs;

pub use aliases::NamedModel;
pub use backends::TargetLimits;
use breakers::OpenBreakers;
pub use breakers::{OpenBreaker, RecordedBreaker};
use indexes::{IndexChange, Indexed, Namespace, TableIndexes};
pub use offers::{KnownTarget, Offer, model_not_found, model_retired};
use owned::OwnedResources;
use set_aside::KeysSetAside;
pub use set_aside::SetAside;
use shared_map::SharedMap;
pub use shared_terms::TargetTerms;
use sharers::Sharers;
pub use tenant_settings::TenantSettings;
pub use updater::{CatchUp, TablesHandle, start};

/// The narrowed budgets, and the narrowed rate limits, of a key that are shown to it: its tenant may have thousands.
pub const NARROWED_SHOWN_MAX: usize = 100;

/// A resource in its latest state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<T> {
    /// Shared, so that it can outlive the snapshot without a copy.
    pub value: Arc<T>,
    /// Log position of its last event.
    pub version: u64,
    pub created_at: DateTime<Utc>,
    /// When it ended; `None` while it is live.
    pub ended_at: Option<DateTime<Utc>>,
}

impl<T> Entry<T> {
    pub const fn is_live(&self) -> bool {
        self.ended_at.is_none()
    }
}

/// An API key with the data that every request needs.
#[derive(Clone, Debug)]
pub struct KeyEntry {
    pub key: Key,
    /// The key and its owners; levels above an unknown user are absent.
    pub chain: Chain,
    /// Log position of its last event.
    pub version: u64,
    /// Generation of its newest secret, from 1.
    pub generation: u32,
    /// The previous generation, and until when it remains valid.
    pub previous: Option<(u32, DateTime<Utc>)>,
    /// Its allow list, compiled; `None` means every model.
    pub models: Option<Arc<ModelGlobs>>,
    pub created_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
}

/// One snapshot. A copy shares everything with the original until either is changed.
#[derive(Clone, Default)]
pub struct Tables {
    /// Log position of the last event that was folded.
    pub position: u64,
    partners: SharedMap<PartnerId, Entry<Partner>>,
    tenants: SharedMap<TenantId, Entry<Tenant>>,
    users: SharedMap<UserId, Entry<User>>,
    teams: SharedMap<TeamId, Entry<Team>>,
    keys: SharedMap<KeyId, KeyEntry>,
    sharers: SharedMap<Scope, Sharers>,
    providers: SharedMap<ProviderId, Entry<Provider>>,
    provider_keys: SharedMap<ProviderKeyId, Entry<ProviderKey>>,
    set_aside: KeysSetAside,
    open_breakers: OpenBreakers,
    models: SharedMap<ModelId, Entry<Model>>,
    prices: SharedMap<PriceId, Entry<Price>>,
    budgets: SharedMap<BudgetId, Entry<Budget>>,
    rate_limits: SharedMap<LimitId, Entry<RateLimit>>,
    /// The keys that have signed checkpoints of the log, oldest first.
    log_keys: Vec<LogKeyCreated>,
    owned: OwnedResources,
    indexes: TableIndexes,
}

/// The state of a resource that the tables hold.
trait TableResource: ResourceState + Indexed {
    /// The entries of this kind, and the indexes.
    fn entries(tables: &mut Tables) -> (&mut SharedMap<Self::Id, Entry<Self>>, &mut TableIndexes);
}

/// For each kind of resource but keys: the field with its entries, its state, and the look-up by id.
macro_rules! table_resources {
    ($($entries:ident: $state:ident, $one:ident($id:ident);)+) => { $(
        impl TableResource for $state {
            fn entries(tables: &mut Tables) -> (&mut SharedMap<Self::Id, Entry<Self>>, &mut TableIndexes) {
                (&mut tables.$entries, &mut tables.indexes)
            }
        }

        impl Tables {
            pub fn $one(&self, id: $id) -> Option<&Entry<$state>> {
                self.$entries.get(&id)
            }
        }
    )+ };
}

table_resources! {
    partners: Partner, partner(PartnerId);
    tenants: Tenant, tenant(TenantId);
    users: User, user(UserId);
    teams: Team, team(TeamId);
    providers: Provider, provider(ProviderId);
    provider_keys: ProviderKey, provider_key(ProviderKeyId);
    models: Model, model(ModelId);
    prices: Price, price(PriceId);
    budgets: Budget, budget(BudgetId);
    rate_limits: RateLimit, rate_limit(LimitId);
}

impl Tables {
    /// Applies one event. Pure: the same events give the same tables. Events must come in the log's order, each once.
    pub fn fold(&mut self, recorded: &Recorded) {
        self.position = recorded.position;
        let Event::Resource(resource) = &recorded.event else { return };
        match resource {
            Resource::Partner(change) => self.apply(change, recorded),
            Resource::Tenant(change) => {
                self.count_end_of_tenant(change);
                self.apply(change, recorded);
            }
            Resource::User(change) => {
                self.count_end_of_user(change);
                self.apply(change, recorded);
            }
            Resource::Team(change) => self.apply(change, recorded),
            Resource::Key(change) => {
                let was_sharer = self.is_sharer(change.id());
                self.apply_to_key(change, recorded);
                self.count_sharer(change.id(), was_sharer);
            }
            Resource::KeyRotated(rotated) => {
                self.count_fact(recorded);
                self.rotate_key(rotated, recorded);
            }
            Resource::Provider(change) => {
                self.forget_breakers_of(change.id());
                self.apply(change, recorded);
            }
            Resource::BreakerOpened(fact) => self.fold_breaker_opened(fact, recorded.recorded_at),
            Resource::BreakerClosed(fact) => {
                self.count_fact(recorded);
                self.fold_breaker_closed(fact);
            }
            Resource::ProviderKey(change) => self.apply(change, recorded),
            Resource::ProviderKeySetAside(fact) => self.fold_set_aside(fact, recorded),
            Resource::ProviderKeyRestored(fact) => {
                self.count_fact(recorded);
                self.fold_restored(fact);
            }
            Resource::Model(change) => self.apply(change, recorded),
            Resource::Price(change) => self.apply(change, recorded),
            Resource::Budget(change) => self.apply(change, recorded),
            Resource::RateLimit(change) => self.apply(change, recorded),
            Resource::LogKeyCreated(key) => {
                if key.is_of_log(&self.log_keys) {
                    self.log_keys.push((**key).clone());
                }
            }
            // No request is decided by a saved search.
            Resource::AuditSearch(change) => self.count(change, recorded),
            Resource::UserErased(_)
            | Resource::NodeKeyReplaced(_)
            | Resource::PriceRevalued(_)
            | Resource::CatalogueImported(_)
            | Resource::PublishedLogRepaired(_) => {}
        }
    }

    fn apply<R: TableResource>(&mut self, change: &Change<R>, recorded: &Recorded) {
        self.count(change, recorded);
        let (entries, indexes) = R::entries(self);
        let id = change.id();
        if let Some(before) = entries.get(&id) {
            before.value.index(indexes, IndexChange::Remove);
        }
        let (version, at) = (recorded.position, recorded.recorded_at);
        match change {
            Change::Created(state) => {
                let value = Arc::new(state.for_requests());
                entries.insert(id, Entry { value, version, created_at: at, ended_at: None });
            }
            Change::Changed(state) => entries.update(&id, |entry| {
                (entry.value, entry.version) = (Arc::new(state.for_requests()), version);
            }),
            Change::Ended(_) => entries.update(&id, |entry| {
                (entry.ended_at, entry.version) = (Some(at), version);
                if let Some(shorter) = entry.value.after_end() {
                    entry.value = Arc::new(shorter);
                }
            }),
        }
        if let Some(state) = change.state() {
            state.index(indexes, IndexChange::Add { version });
        }
    }

    /// The keys that have signed checkpoints of the log, oldest first.
    pub fn log_keys(&self) -> &[LogKeyCreated] {
        &self.log_keys
    }

    pub fn key(&self, id: KeyId) -> Option<&KeyEntry> {
        self.keys.get(&id)
    }

    /// Every provider, ended ones too, in no particular order.
    pub fn providers(&self) -> impl Iterator<Item = &Entry<Provider>> {
        self.providers.values()
    }

    /// The live providers of a tenant, or those of the platform.
    pub fn providers_of(&self, owner: Option<TenantId>) -> impl Iterator<Item = &Entry<Provider>> {
        let ids = self.indexes.providers_by_owner.get(&owner).into_iter().flatten();
        ids.filter_map(|id| self.provider(*id))
    }

    /// Every model, ended ones too, in no particular order.
    pub fn models(&self) -> impl Iterator<Item = &Entry<Model>> {
        self.models.values()
    }

    /// The live models of a tenant's own.
    pub fn models_of(&self, tenant: TenantId) -> impl Iterator<Item = &Entry<Model>> {
        let routes = self.indexes.routes.get(&Namespace::Tenant(tenant)).into_iter().flatten();
        routes.filter_map(|(_, id)| self.model(*id))
    }

    /// Whether the key is valid: neither it nor its user, tenant or partner has ended, and it has not expired at `now`.
    pub fn key_is_live(&self, entry: &KeyEntry, now: DateTime<Utc>) -> bool {
        entry.ended_at.is_none()
            && entry.key.expires_at.is_none_or(|expires_at| now < expires_at)
            && self.user(entry.key.user_id).is_some_and(Entry::is_live)
            && self.owners_are_live(&entry.chain)
    }

    /// Whether the chain's tenant and partner are live.
    pub fn owners_are_live(&self, chain: &Chain) -> bool {
        let tenant = chain.tenant.and_then(|id| self.tenant(id));
        let partner = chain.partner.and_then(|id| self.partner(id));
        tenant.is_some_and(Entry::is_live) && partner.is_some_and(Entry::is_live)
    }

    /// The provider, if neither it nor the tenant that owns it has ended.
    pub fn live_provider(&self, id: ProviderId) -> Option<&Entry<Provider>> {
        let provider = self.provider(id).filter(|provider| provider.is_live())?;
        let Some(owner) = provider.value.tenant_id else { return Some(provider) };
        self.chain_of_tenant(owner).filter(|chain| self.owners_are_live(chain)).map(|_| provider)
    }

    /// Whether all targets of a model are on providers that this tenant owns.
    pub fn is_on_providers_of(&self, tenant: TenantId, model: &Model) -> bool {
        let owner = |provider| self.provider(provider).and_then(|provider| provider.value.tenant_id);
        model.targets.iter().all(|target| owner(target.provider_id) == Some(tenant))
    }

    /// The live tenants of which nothing may be deleted or erased, in no particular order.
    pub fn tenants_under_legal_hold(&self) -> impl Iterator<Item = &Tenant> {
        self.tenants.values().filter(|tenant| tenant.is_live() && tenant.value.legal_hold).map(|tenant| &*tenant.value)
    }

    /// The live tenants whose prompts and answers are kept sealed, in no particular order.
    pub fn tenants_with_sealed_content(&self) -> impl Iterator<Item = &Tenant> {
        let is_sealed =
            |tenant: &&Entry<Tenant>| tenant.is_live() && tenant.value.content_policy == ContentPolicy::Sealed;
        self.tenants.values().filter(is_sealed).map(|tenant| &*tenant.value)
    }

    /// The tenants with [`Self::retention_days`], in no particular order.
    pub fn tenants_with_retention(&self) -> impl Iterator<Item = TenantId> {
        self.tenants.values().filter_map(|tenant| retention_days(&tenant.value).map(|_| tenant.value.tenant_id))
    }

    /// After how many days a tenant's sealed content is deleted; `None` if it is never, or the tenant is under legal hold.
    pub fn retention_days(&self, id: TenantId) -> Option<u32> {
        self.tenant(id).and_then(|tenant| retention_days(&tenant.value))
    }

    /// The chains of the live tenants with this slug: at most one per partner.
    pub fn tenants_with_slug(&self, slug: &str) -> impl Iterator<Item = Chain> {
        self.indexes.tenant_slugs.get(slug).into_iter().flatten().filter_map(|id| self.chain_of_tenant(*id))
    }

    /// Partner, tenant and user; `None` if the user does not exist.
    pub fn chain_of_user(&self, id: UserId) -> Option<Chain> {
        let user = self.user(id)?;
        Some(Chain { user: Some(id), ..self.chain_of_tenant(user.value.tenant_id)? })
    }

    /// Partner and tenant; `None` if the tenant does not exist.
    pub fn chain_of_tenant(&self, id: TenantId) -> Option<Chain> {
        let tenant = self.tenant(id)?;
        Some(Chain { partner: Some(tenant.value.partner_id), tenant: Some(id), user: None, key: None })
    }

    /// The chain from the partner down to the resource that a scope names; `None` if that does not exist.
    pub fn chain_of_scope(&self, scope: Scope) -> Option<Chain> {
        match scope {
            Scope::Partner(id) => self.partner(id).map(|_| Chain { partner: Some(id), ..Chain::default() }),
            Scope::Tenant(id) => self.chain_of_tenant(id),
            Scope::Team(id) => self.team(id).and_then(|team| self.chain_of_tenant(team.value.tenant_id)),
            Scope::User(id) => self.chain_of_user(id),
            Scope::Key(id) => self.key(id).map(|entry| entry.chain),
        }
    }

    /// The live model with this name for a client of `tenant`: the tenant's own model shadows a shared one, and both shadow one
    /// that the gateway made itself. A tenant with an allow list has no models of its own: the list consists of names, which the
    /// tenant could have given to them before.
    pub fn route(&self, tenant: Option<TenantId>, name: &str) -> Option<&Entry<Model>> {
        let id = self.namespaces_of(tenant).find_map(|seen| self.indexes.routes.get(&seen)?.get(name))?;
        self.models.get(id)
    }

    fn namespaces_of(&self, tenant: Option<TenantId>) -> impl DoubleEndedIterator<Item = Namespace> {
        let has_list = self.tenant_settings(tenant).is_some_and(TenantSettings::has_allow_list);
        Namespace::seen_by(tenant.filter(|_| !has_list))
    }

    /// Whether there is any live model, whoever can name it.
    pub fn has_models(&self) -> bool {
        self.indexes.routes.values().any(|named| !named.is_empty())
    }

    /// Every live model that a client of `tenant` can name, by name, shadowing applied.
    pub fn models_for(&self, tenant: Option<TenantId>) -> Vec<&Entry<Model>> {
        let mut named: BTreeMap<&str, ModelId> = BTreeMap::new();
        for seen in self.namespaces_of(tenant).rev() {
            let routes = self.indexes.routes.get(&seen).into_iter().flatten();
            named.extend(routes.map(|(name, id)| (name.as_str(), *id)));
        }
        named.values().filter_map(|id| self.models.get(id)).collect()
    }

    /// The live model with this name that was created for all tenants, without shadowing.
    pub fn shared_model(&self, name: &str) -> Option<&Entry<Model>> {
        self.models.get(self.indexes.routes.get(&Namespace::Shared)?.get(name)?)
    }

    /// The live models that commands created for all tenants, by name.
    pub fn shared_models(&self) -> impl Iterator<Item = &Entry<Model>> {
        let named = self.indexes.routes.get(&Namespace::Shared).into_iter().flatten();
        named.filter_map(|(_, id)| self.models.get(id))
    }

    /// The live models that commands created, tenants' own too, in no particular order.
    pub fn created_models(&self) -> impl Iterator<Item = &Entry<Model>> {
        self.models.values().filter(|model| model.is_live() && model.value.origin.is_none())
    }

    /// The live prices that commands created, in no particular order.
    pub fn created_prices(&self) -> impl Iterator<Item = &Entry<Price>> {
        self.prices.values().filter(|price| price.is_live() && price.value.origin.is_none())
    }

    /// The live models that the gateway made itself, by name.
    pub fn automatic_models(&self) -> impl Iterator<Item = &Entry<Model>> {
        let named = self.indexes.routes.get(&Namespace::Automatic).into_iter().flatten();
        named.filter_map(|(_, id)| self.models.get(id))
    }

    /// Whether the backend of a price had another price, live or ended, before this position and time.
    pub fn had_another_price(&self, price: &Price, position: u64, at: DateTime<Utc>) -> bool {
        let is_of_backend = |of: &Price| {
            of.provider_id == price.provider_id && of.model == price.model && of.price_id != price.price_id
        };
        let is_earlier = |entry: &Entry<Price>| entry.version < position || entry.created_at < at;
        self.prices.values().any(|entry| is_of_backend(&entry.value) && is_earlier(entry))
    }

    /// The live prices that the gateway made itself, in no particular order.
    pub fn automatic_prices(&self) -> impl Iterator<Item = &Entry<Price>> {
        self.prices.values().filter(|price| price.is_live() && price.value.origin.is_some())
    }

    /// The price in force: of those whose time has come, one that was created by a command before one that the gateway made
    /// itself; of several, the one with the latest `effective_from`, and the newest position among equals.
    pub fn price_in_force(
        &self,
        provider: ProviderId,
        backend_model: &str,
        now: DateTime<Utc>,
    ) -> Option<&Entry<Price>> {
        let listed = self.indexes.price_lists.get(&provider)?.get(backend_model)?;
        let prices = listed.iter().filter_map(|id| self.prices.get(id));
        prices
            .filter(|price| price.is_live() && price.value.effective_from <= now)
            .max_by_key(|price| (price.value.origin.is_none(), price.value.effective_from, price.version))
    }

    /// The live prices of a backend, whatever the time from which each is in force.
    pub fn prices_of_backend(&self, provider: ProviderId, backend_model: &str) -> impl Iterator<Item = &Entry<Price>> {
        let listed = self.indexes.price_lists.get(&provider).and_then(|listed| listed.get(backend_model));
        listed.into_iter().flatten().filter_map(|id| self.prices.get(id))
    }

    /// The live teams of the chain's user, if they are teams of the chain's tenant: requests in other tenants count for no team.
    pub fn teams_of(&self, chain: &Chain) -> &TeamVersions {
        static NONE: TeamVersions = TeamVersions::new();
        if self.indexes.teams_by_user.is_empty() {
            return &NONE;
        }
        let user =
            chain.user.filter(|id| self.user(*id).is_some_and(|user| Some(user.value.tenant_id) == chain.tenant));
        user.map_or(&NONE, |id| self.teams_of_user(id))
    }

    /// The live teams that a user is in.
    pub fn teams_of_user(&self, id: UserId) -> &TeamVersions {
        static NONE: TeamVersions = TeamVersions::new();
        self.indexes.teams_by_user.get(&id).unwrap_or(&NONE)
    }

    /// The live rate limits that bind every request of `chain` that counts for these teams: those of its key, user, teams, tenant and
    /// partner.
    pub fn rate_limits(&self, chain: &Chain, teams: &TeamVersions) -> Vec<(LimitId, &RateLimit)> {
        let ids = scopes_of(chain, teams).flat_map(|scope| self.indexes.limits_by_scope.whole(scope));
        ids.filter_map(|id| Some((id, &*self.rate_limits.get(&id)?.value))).collect()
    }

    /// Whether any rate limit binds only some requests of its owner.
    pub fn has_narrowed_rate_limits(&self) -> bool {
        self.indexes.limits_by_scope.has_narrowed()
    }

    /// The live rate limits that bind a request because of its model or its metadata. `None` if they are more than `most`, or too many
    /// would have to be looked at, if `bind_max` of all may bind it.
    pub fn narrowed_rate_limits(
        &self,
        request: &ScopeSubject<'_>,
        most: usize,
        bind_max: usize,
    ) -> Option<Vec<&RateLimit>> {
        let ids = Scope::all_of(&request.chain, request.teams);
        let ids = ids.flat_map(|owner| self.indexes.limits_by_scope.narrowed(owner, request));
        let limits = ids.filter_map(|id| Some(&*self.rate_limits.get(&id)?.value));
        binding_of(limits, |limit| limit.scope.includes(request).then_some(limit), most, bind_max)
    }

    /// The live rate limits of these owners that bind only some of their requests: the oldest [`NARROWED_SHOWN_MAX`].
    pub fn narrowed_rate_limits_of(&self, owners: impl Iterator<Item = Scope>) -> impl Iterator<Item = &RateLimit> {
        let ids = self.indexes.limits_by_scope.first_narrowed(owners, NARROWED_SHOWN_MAX);
        ids.into_iter().filter_map(|id| Some(&*self.rate_limits.get(&id)?.value))
    }

    /// The live rate limits that may bind a request together with one of this scope.
    pub fn rate_limits_under_same_condition(&self, scope: &NarrowedScope) -> impl Iterator<Item = &Entry<RateLimit>> {
        let ids = self.indexes.limits_by_scope.under_same_condition(scope);
        ids.iter().filter_map(|id| self.rate_limits.get(id))
    }

    /// The live budgets that bind requests of `chain`: those of its key, user, teams, tenant and partner, that bind all of them; and of
    /// those of the owners `narrowed_of` that bind only some, the oldest [`NARROWED_SHOWN_MAX`].
    pub fn budgets_for(&self, chain: &Chain, narrowed_of: impl Iterator<Item = Scope>) -> Vec<&Entry<Budget>> {
        let index = &self.indexes.budgets_by_scope;
        let narrowed = index.first_narrowed(narrowed_of, NARROWED_SHOWN_MAX);
        let ids = scopes_of(chain, self.teams_of(chain)).flat_map(|scope| index.whole(scope)).chain(narrowed);
        ids.filter_map(|id| self.budgets.get(&id)).collect()
    }

    /// The live budgets that may bind a request together with one of this scope.
    pub fn budgets_under_same_condition(&self, scope: &NarrowedScope) -> impl Iterator<Item = &Entry<Budget>> {
        let ids = self.indexes.budgets_by_scope.under_same_condition(scope);
        ids.iter().filter_map(|id| self.budgets.get(id))
    }

    fn apply_to_key(&mut self, change: &Change<Key>, recorded: &Recorded) {
        self.count(change, recorded);
        match change {
            Change::Created(key) => self.create_key(key, recorded),
            Change::Changed(key) => self.keys.update(&key.key_id, |entry| {
                entry.key = (**key).clone();
                entry.models = compile_allow_list(key);
                entry.version = recorded.position;
            }),
            Change::Ended(key) => self.keys.update(key, |entry| {
                entry.ended_at = Some(recorded.recorded_at);
                entry.version = recorded.position;
            }),
        }
    }

    fn create_key(&mut self, key: &Key, recorded: &Recorded) {
        let owners = self.chain_of_user(key.user_id).unwrap_or_default();
        let entry = KeyEntry {
            key: key.clone(),
            chain: Chain { user: Some(key.user_id), key: Some(key.key_id), ..owners },
            version: recorded.position,
            generation: 1,
            previous: None,
            models: compile_allow_list(key),
            created_at: recorded.recorded_at,
            ended_at: None,
        };
        self.keys.insert(key.key_id, entry);
    }

    fn rotate_key(&mut self, rotated: &KeyRotated, recorded: &Recorded) {
        self.keys.update(&rotated.key_id, |entry| {
            entry.previous = Some((entry.generation, rotated.previous_until));
            entry.generation = rotated.generation;
            entry.version = recorded.position;
        });
    }
}

/// The scopes of a chain and its teams, from the narrowest to the widest.
fn scopes_of<'a>(chain: &Chain, teams: &'a TeamVersions) -> impl Iterator<Item = Scope> + use<'a> {
    Scope::all_of(chain, teams).rev()
}

fn retention_days(tenant: &Tenant) -> Option<u32> {
    tenant.content_days.filter(|_| !tenant.legal_hold)
}

/// Compiles a key's allow list.
fn compile_allow_list(key: &Key) -> Option<Arc<ModelGlobs>> {
    let patterns = key.models.as_ref()?;
    Some(Arc::new(ModelGlobs::of_recorded(patterns, &key.key_id)))
}

#[cfg(test)]
mod tests;
