//! The authority of a caller: every reference that a command makes is looked up here, and every limit of authority is
//! enforced here. A resource that the caller cannot see is reported as not found; one that it sees but may not manage is
//! forbidden.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::event::admin::{Permission, Provider, Reach, RoleGrant, Scope, Team, User};
use events::event::{Chain, StreamKind};
use events::ids::{PartnerId, ProviderId, TeamId, TenantId, UserId};
use events_log::{Basis, SideRow};
use projections::caller::Caller;
use projections::reach;
use projections::tables::{Entry, Tables, TenantSettings};
use secrets::vault::Sealing;
use secrets::{Secret, SecretId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use super::AdminState;
use super::field_values::FieldValues;
use super::fields::FieldError;
use crate::admin::error::CommandError;

/// The context that one command is decided in: the tables, the caller and the time.
pub struct AdminContext<'a> {
    pub admin: &'a AdminState,
    pub caller: Arc<Caller>,
    pub tables: Arc<Tables>,
    pub now: DateTime<Utc>,
    /// The secrets that are sealed for one append. Drop it after the append.
    pub sealing: Arc<Mutex<Sealing>>,
}

impl<'a> AdminContext<'a> {
    /// Looks the caller up again: its key, permission or role may have been taken away while its body was on the way, or
    /// while the command waited for something else.
    ///
    /// Errors: the caller would no longer be authenticated, or may not administrate.
    pub fn new(admin: &'a AdminState, caller: &Arc<Caller>) -> Result<Self, CommandError> {
        Self::at(admin, caller, admin.tables.load(), Arc::default())
    }

    /// The context as of these tables.
    pub fn at(
        admin: &'a AdminState,
        caller: &Arc<Caller>,
        tables: Arc<Tables>,
        sealing: Arc<Mutex<Sealing>>,
    ) -> Result<Self, CommandError> {
        let now = admin.clock.now();
        let caller = caller.refreshed(&tables, now).map_err(CommandError::NotPermitted)?;
        caller.require(Permission::AdminAccess).map_err(CommandError::NotPermitted)?;
        Ok(Self { admin, caller, tables, now, sealing })
    }

    /// Seals a secret of a provider, as [`secrets::Vault::seal`] does: the rows to append.
    pub async fn seal(
        &self,
        owner: Option<TenantId>,
        id: impl Into<SecretId>,
        generation: u32,
        secret: &Secret,
    ) -> Result<Vec<SideRow>, CommandError> {
        let sealing = &mut *self.sealing.lock().await;
        Ok(self.admin.vault.seal(sealing, owner, id, generation, secret).await?)
    }

    /// The caller's right to the command, which must be unchanged when the command's events are appended.
    pub fn basis(&self) -> Basis {
        Basis { streams: self.caller.streams(&self.tables), kinds: Vec::new(), known_until: self.tables.position }
    }

    /// Errors: the caller does not reach the whole platform.
    pub fn require_platform(&self, reason: &'static str) -> Result<(), CommandError> {
        require(self.caller.reaches_platform(), reason)
    }

    /// Checks that the caller reaches a resource of `kind` that belongs to `chain`. An empty chain means a resource that all
    /// tenants share: everybody sees it, and the platform manages it. A saved search is shared with nobody.
    pub fn require_visible(&self, kind: StreamKind, chain: &Chain) -> Result<(), CommandError> {
        if reach::contains(self.caller.reach, chain) {
            Ok(())
        } else if chain.partner.is_none() && kind != StreamKind::AuditSearch {
            Err(CommandError::OutOfReach { reason: "only the platform may manage a resource that all tenants share" })
        } else {
            Err(CommandError::NotFound { kind })
        }
    }

    /// The parent that the body names in `field`; if it names none, the caller's own, which is then set in `given`.
    pub fn parent<I>(&self, given: &mut FieldValues, field: &'static str, own: Option<I>) -> Result<I, CommandError>
    where
        I: Copy + Serialize + DeserializeOwned,
    {
        let named = given.get(field)?.or(own);
        let parent: I = named.ok_or_else(|| FieldError::new(field, "is required"))?;
        given.put(field, parent);
        Ok(parent)
    }

    /// The owners of a live partner within reach, which the body names in `field`.
    pub fn partner(&self, id: PartnerId, field: &str) -> Result<Chain, CommandError> {
        let kind = StreamKind::Partner;
        let chain = self.tables.partner(id).map(|_| Chain { partner: Some(id), ..Chain::default() });
        self.live_reference(chain, kind, field)
    }

    /// The owners of a live tenant within reach, which the body names in `field`.
    pub fn tenant(&self, id: TenantId, field: &str) -> Result<Chain, CommandError> {
        self.live_reference(self.tables.chain_of_tenant(id), StreamKind::Tenant, field)
    }

    /// The owners of a provider or a model: a live tenant within reach, or nobody. Only the platform may create a shared one.
    pub fn owner(&self, tenant: Option<TenantId>) -> Result<Chain, CommandError> {
        let Some(tenant) = tenant else {
            self.require_platform("only the platform may create a resource without a tenant_id")?;
            return Ok(Chain::default());
        };
        self.tenant(tenant, "tenant_id")
    }

    /// Checks that the caller may create or change an own provider of this tenant, which it reaches, its prices and its keys:
    /// whoever reaches further may, and the tenant's own administrators if the tenant's policy says so. `None` is a shared
    /// provider, about which other rules decide.
    pub fn require_own_providers(&self, tenant: Option<TenantId>) -> Result<(), CommandError> {
        let Some(tenant) = tenant else { return Ok(()) };
        let is_allowed = match self.caller.reach {
            Reach::Platform | Reach::Partner(_) => true,
            Reach::Tenant(_) => self.tables.tenant(tenant).is_some_and(|entry| entry.value.own_providers),
        };
        require(
            is_allowed,
            "this tenant may not have its own providers: the platform or its partner can set own_providers",
        )
    }

    /// A live user within reach, which the body names in `field`, with its owners.
    pub fn user(&self, id: UserId, field: &str) -> Result<(Chain, &User), CommandError> {
        let kind = StreamKind::User;
        let chain = self.live_reference(self.tables.chain_of_user(id), kind, field)?;
        let user = self.tables.user(id).ok_or_else(|| not_found(field, kind))?;
        Ok((chain, &user.value))
    }

    /// The owners of the scope of a budget or a rate limit: it must be live, within reach, and narrower than the caller's reach.
    pub fn scope(&self, scope: Scope, field: &str) -> Result<Chain, CommandError> {
        let kind = scope.kind();
        let field = format!("{field}.{}_id", kind.as_str());
        let chain = self.live_reference(self.tables.chain_of_scope(scope), kind, &field)?;
        if self.has_ended_team(scope) {
            return Err(CommandError::ReferenceEnded { field, kind });
        }
        self.require_wider_reach(scope)?;
        Ok(chain)
    }

    /// Errors: the scope is a team that has ended. What bound it can be ended but not changed.
    pub fn require_live_team(&self, scope: Scope) -> Result<(), CommandError> {
        if self.has_ended_team(scope) { Err(CommandError::OwnerEnded { owner: StreamKind::Team }) } else { Ok(()) }
    }

    fn has_ended_team(&self, scope: Scope) -> bool {
        matches!(scope, Scope::Team(id) if !self.tables.team(id).is_some_and(Entry::is_live))
    }

    /// Checks that these users can be in a team of this tenant: they are its own, live, and in few other teams. These are counted in
    /// the tables, which lack what is being changed now.
    pub fn require_team_users(&self, team: TeamId, tenant: TenantId, users: &[UserId]) -> Result<(), CommandError> {
        for (index, id) in users.iter().enumerate() {
            let field = || format!("user_ids[{index}]");
            let user = self.tables.user(*id).filter(|user| user.value.tenant_id == tenant);
            let user = user.ok_or_else(|| not_found(&field(), StreamKind::User))?;
            if !user.is_live() {
                return Err(CommandError::ReferenceEnded { field: field(), kind: StreamKind::User });
            }
            let others = self.tables.teams_of_user(*id).keys().filter(|other| **other != team).count();
            if others >= Team::TEAMS_OF_USER_MAX {
                let reason = format!("is in {} teams already, which is the most", Team::TEAMS_OF_USER_MAX);
                return Err(FieldError::new(field(), reason).into());
            }
        }
        Ok(())
    }

    /// Errors: the caller's reach is not strictly wider than the scope. Nobody may loosen a bound on itself.
    pub fn require_wider_reach(&self, scope: Scope) -> Result<(), CommandError> {
        let reason = match (self.caller.reach, scope) {
            (Reach::Platform, _)
            | (Reach::Partner(_), Scope::Tenant(_) | Scope::Team(_) | Scope::User(_) | Scope::Key(_))
            | (Reach::Tenant(_), Scope::Team(_) | Scope::User(_) | Scope::Key(_)) => return Ok(()),
            (Reach::Partner(_) | Reach::Tenant(_), Scope::Partner(_)) => {
                "only the platform can create, change or end a budget or rate limit of a partner"
            }
            (Reach::Tenant(_), Scope::Tenant(_)) => {
                "only the platform or the tenant's partner can create, change or end a budget or rate limit of a tenant"
            }
        };
        Err(CommandError::OutOfReach { reason })
    }

    /// A live provider that a model of `tenant` can use; `None` is a shared model.
    pub fn provider(&self, id: ProviderId, tenant: Option<TenantId>, field: &str) -> Result<&Provider, CommandError> {
        let kind = StreamKind::Provider;
        let usable = |entry: &&Entry<Provider>| entry.value.tenant_id.is_none() || entry.value.tenant_id == tenant;
        let entry = self.tables.provider(id).filter(usable).ok_or_else(|| not_found(field, kind))?;
        if !entry.is_live() {
            return Err(CommandError::ReferenceEnded { field: field.to_owned(), kind });
        }
        Ok(&entry.value)
    }

    /// The owners of a live provider whose prices the caller may manage, which the body names in `field`.
    pub fn priced_provider(&self, id: ProviderId, field: &str) -> Result<Chain, CommandError> {
        let kind = StreamKind::Provider;
        let entry = self.tables.provider(id).ok_or_else(|| not_found(field, kind))?;
        let Some(tenant) = entry.value.tenant_id else {
            self.require_platform("only the platform may manage prices of a provider that all tenants share")?;
            self.provider(id, None, field)?;
            return Ok(Chain::default());
        };
        let chain = self.live_reference(self.tables.chain_of_tenant(tenant), kind, field)?;
        self.provider(id, Some(tenant), field)?;
        Ok(chain)
    }

    /// Checks that the caller may give a key of `user` these permissions: it has each of them, and reaches as far as the key.
    pub fn may_grant_permissions(&self, user: &User, permissions: &[Permission]) -> Result<(), CommandError> {
        let has_all = permissions.iter().all(|permission| self.caller.may(*permission));
        require(has_all, "you cannot give a key a permission that you do not have")?;
        self.require_reach(reach::of_permissions(user, permissions))
    }

    /// Checks that the caller may give a key this allow list of models (`None`: every model): its own list covers each of them.
    /// That holds for a key that administers, too: without a list it could give the caller's names other models.
    pub fn may_grant_models(&self, permissions: &[Permission], models: Option<&[String]>) -> Result<(), CommandError> {
        let reaches_models =
            [Permission::ModelsUse, Permission::AdminAccess].iter().any(|one| permissions.contains(one));
        let own = self.caller.models.as_ref().filter(|_| reaches_models);
        let within = own.is_none_or(|own| models.is_some_and(|given| given.iter().all(|one| own.covers(one))));
        require(within, "you cannot give a key a model that you may not use")
    }

    /// Checks that the caller may create, change and end models: its key has no allow list of them. A list consists of names, and
    /// what a name stands for depends on other models too: with a new model, a new name or the end of a model, the key could reach
    /// what it was not given. The same holds for the administrators of a tenant that has such a list.
    pub fn may_manage_models(&self) -> Result<(), CommandError> {
        let reason = "your key has an allow list of models, so it cannot create, change or delete any";
        require(self.caller.models.is_none(), reason)?;
        let reason = "your tenant has an allow list of models, so only the platform or its partner can create, change or delete its models";
        let Reach::Tenant(tenant) = self.caller.reach else { return Ok(()) };
        require(!self.tables.tenant_settings(Some(tenant)).is_some_and(TenantSettings::has_allow_list), reason)
    }

    /// Checks that the caller may manage a user and the user's keys: it reaches as far as each of the user's roles.
    pub fn may_manage_user(&self, user: &User) -> Result<(), CommandError> {
        self.require_reach(reach::of_roles(user))
    }

    /// Checks that the caller may give a user of `tenant` these roles: none grants what the caller does not have. `field` is
    /// the path of the list.
    pub fn may_grant_roles(&self, tenant: TenantId, roles: &[RoleGrant], field: &str) -> Result<(), CommandError> {
        for (index, grant) in roles.iter().enumerate() {
            if !reach::covers(grant.scope, Reach::Tenant(tenant), |tenant| self.partner_of(tenant)) {
                let field = format!("{field}[{index}].scope");
                return Err(FieldError::new(field, "must include the user's own tenant").into());
            }
            self.require_reach(grant.scope)?;
            let mut given = Permission::ALL.iter().filter(|permission| reach::grants(grant.role, **permission));
            let may_give = grant.scope == Reach::Tenant(tenant) || given.all(|permission| self.caller.may(*permission));
            require(may_give, "you cannot give a role whose permissions you do not have")?;
        }
        Ok(())
    }

    fn require_reach(&self, inner: Reach) -> Result<(), CommandError> {
        let is_within = reach::covers(self.caller.reach, inner, |tenant| self.partner_of(tenant));
        require(is_within, "this reaches further than you do")
    }

    fn partner_of(&self, tenant: TenantId) -> Option<PartnerId> {
        self.tables.tenant(tenant).map(|entry| entry.value.partner_id)
    }

    /// Errors: an owner has ended. Resources below it, budgets included, can be ended but not changed.
    pub fn require_live_owners(&self, kind: StreamKind, chain: &Chain) -> Result<(), CommandError> {
        match self.ended_levels(chain).find(|level| *level != kind) {
            None => Ok(()),
            Some(owner) => Err(CommandError::OwnerEnded { owner }),
        }
    }

    fn live_reference(&self, chain: Option<Chain>, kind: StreamKind, field: &str) -> Result<Chain, CommandError> {
        let seen = chain.filter(|chain| reach::contains(self.caller.reach, chain));
        let chain = seen.ok_or_else(|| not_found(field, kind))?;
        if self.ended_levels(&chain).next().is_none() {
            return Ok(chain);
        }
        Err(CommandError::ReferenceEnded { field: field.to_owned(), kind })
    }

    /// The ended owners of the chain, the widest first.
    fn ended_levels(&self, chain: &Chain) -> impl Iterator<Item = StreamKind> {
        let tables = &self.tables;
        let has_ended = [
            (StreamKind::Partner, chain.partner.is_some_and(|id| !tables.partner(id).is_some_and(Entry::is_live))),
            (StreamKind::Tenant, chain.tenant.is_some_and(|id| !tables.tenant(id).is_some_and(Entry::is_live))),
            (StreamKind::User, chain.user.is_some_and(|id| !tables.user(id).is_some_and(Entry::is_live))),
            (StreamKind::Key, chain.key.is_some_and(|id| tables.key(id).is_none_or(|key| key.ended_at.is_some()))),
        ];
        has_ended.into_iter().filter_map(|(level, has_ended)| has_ended.then_some(level))
    }
}

fn require(is_allowed: bool, reason: &'static str) -> Result<(), CommandError> {
    if is_allowed { Ok(()) } else { Err(CommandError::OutOfReach { reason }) }
}

fn not_found(field: &str, kind: StreamKind) -> CommandError {
    CommandError::ReferenceNotFound { field: field.to_owned(), kind }
}
