//! What a caller may do to whom: every reference of a command is looked up here, and every bound on authority drawn.
//! What a caller cannot see does not exist for it; what it sees but may not manage is forbidden.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::event::admin::{Permission, Provider, Reach, RoleGrant, Scope, User};
use events::event::{Chain, StreamKind};
use events::ids::{PartnerId, ProviderId, TenantId, UserId};
use events::log::Basis;
use projections::caller::Caller;
use projections::reach;
use projections::tables::{Entry, Tables};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::AdminState;
use super::fields::FieldError;
use super::given::Given;
use crate::admin::error::CommandError;

/// One command's view: the state of things, who asks, and when.
pub struct AdminContext<'a> {
    pub admin: &'a AdminState,
    pub caller: Arc<Caller>,
    pub tables: Arc<Tables>,
    pub now: DateTime<Utc>,
}

impl<'a> AdminContext<'a> {
    /// Looks the caller up again: what it was let in with may have been taken away while its body was on the way, or
    /// while it waited for something else.
    ///
    /// Errors: the caller would not be let in any more, or may not administrate.
    pub fn new(admin: &'a AdminState, caller: &Arc<Caller>) -> Result<Self, CommandError> {
        let (tables, now) = (admin.tables.load(), admin.clock.now());
        let caller = caller.refreshed(&tables, now).map_err(CommandError::NotPermitted)?;
        caller.require(Permission::AdminAccess).map_err(CommandError::NotPermitted)?;
        Ok(Self { admin, caller, tables, now })
    }

    /// What a command that is decided here must find unchanged when it is appended: the caller's right to it.
    pub fn basis(&self) -> Basis {
        Basis { streams: self.caller.streams(&self.tables), known_until: self.tables.position }
    }

    /// For what only the operator's own reach may do.
    pub fn platform(&self, reason: &'static str) -> Result<(), CommandError> {
        if self.caller.reaches_platform() { Ok(()) } else { Err(CommandError::OutOfReach { reason }) }
    }

    /// For a resource of `kind` that belongs to `chain` (to nobody: shared by all). Seen by all is what is shared.
    pub fn sees(&self, kind: StreamKind, chain: &Chain) -> Result<(), CommandError> {
        if reach::contains(self.caller.reach, chain) {
            Ok(())
        } else if chain.partner.is_none() {
            Err(CommandError::OutOfReach { reason: "what all tenants share is managed by the platform" })
        } else {
            Err(CommandError::NotFound { kind })
        }
    }

    /// The parent that the body names as `field`, else the caller's own, which is then put there.
    pub fn parent<I>(&self, given: &mut Given, field: &'static str, own: Option<I>) -> Result<I, CommandError>
    where
        I: Copy + Serialize + DeserializeOwned,
    {
        let named = given.get(field)?.or(own);
        let parent: I = named.ok_or_else(|| FieldError::new(field, "is missing"))?;
        given.put(field, parent);
        Ok(parent)
    }

    /// A live partner within reach that the body names as `field`.
    pub fn partner(&self, id: PartnerId, field: &str) -> Result<Chain, CommandError> {
        let kind = StreamKind::Partner;
        let chain = self.tables.partner(id).map(|_| Chain { partner: Some(id), ..Chain::default() });
        self.live_reference(chain, kind, field)
    }

    /// A live tenant within reach that the body names as `field`.
    pub fn tenant(&self, id: TenantId, field: &str) -> Result<Chain, CommandError> {
        self.live_reference(self.tables.chain_of_tenant(id), StreamKind::Tenant, field)
    }

    /// Whose a provider or a model is to be: a live tenant's within reach, or, by the platform alone, shared by all.
    pub fn owner(&self, tenant: Option<TenantId>) -> Result<Chain, CommandError> {
        match tenant {
            Some(tenant) => self.tenant(tenant, "tenant_id"),
            None => {
                self.platform("without tenant_id it would be shared by all, which only the platform may do")?;
                Ok(Chain::default())
            }
        }
    }

    /// A live user within reach that the body names as `field`.
    pub fn user(&self, id: UserId, field: &str) -> Result<(Chain, &User), CommandError> {
        let kind = StreamKind::User;
        let chain = self.live_reference(self.tables.chain_of_user(id), kind, field)?;
        let user = self.tables.user(id).ok_or_else(|| not_found(field, kind))?;
        Ok((chain, &user.value))
    }

    /// What a budget or a limit is to bind: live, within reach, and narrower than what the caller itself is held to.
    pub fn scope(&self, scope: Scope, field: &str) -> Result<Chain, CommandError> {
        let kind = kind_of(scope);
        let field = format!("{field}.{}_id", kind.as_str());
        let chain = self.live_reference(self.tables.chain_of_scope(scope), kind, &field)?;
        self.wider_than(scope)?;
        Ok(chain)
    }

    /// Nobody loosens what binds it: a scope within reach has to be strictly narrower than the reach.
    pub fn wider_than(&self, scope: Scope) -> Result<(), CommandError> {
        let wider = match (self.caller.reach, scope) {
            (Reach::Platform, _)
            | (Reach::Partner(_), Scope::Tenant(_) | Scope::User(_) | Scope::Key(_))
            | (Reach::Tenant(_), Scope::User(_) | Scope::Key(_)) => true,
            (Reach::Partner(_), Scope::Partner(_)) | (Reach::Tenant(_), Scope::Partner(_) | Scope::Tenant(_)) => false,
        };
        if wider {
            return Ok(());
        }
        Err(CommandError::OutOfReach { reason: "budgets and limits are managed from a scope wider than theirs" })
    }

    /// A live provider that a model of `tenant` (`None`: a shared one) can use.
    pub fn provider(&self, id: ProviderId, tenant: Option<TenantId>, field: &str) -> Result<&Provider, CommandError> {
        let kind = StreamKind::Provider;
        let usable = |entry: &&Entry<Provider>| entry.value.tenant_id.is_none() || entry.value.tenant_id == tenant;
        let entry = self.tables.provider(id).filter(usable).ok_or_else(|| not_found(field, kind))?;
        if !entry.is_live() {
            return Err(CommandError::ReferenceEnded { field: field.to_owned(), kind });
        }
        Ok(&entry.value)
    }

    /// Whether the caller may give a key of `user` these permissions: it has each of them, as far as the key would.
    pub fn may_give(&self, user: &User, permissions: &[Permission]) -> Result<(), CommandError> {
        if !permissions.iter().all(|permission| self.caller.may(*permission)) {
            return Err(CommandError::OutOfReach { reason: "a key can be given no permission that its giver has not" });
        }
        self.covers(reach::of_permissions(user, permissions))
    }

    /// Whether the caller may give a key that uses models this allow list (`None`: every model): none that its own has not.
    pub fn may_give_models(&self, permissions: &[Permission], models: Option<&[String]>) -> Result<(), CommandError> {
        let own = self.caller.models.as_ref().filter(|_| permissions.contains(&Permission::ModelsUse));
        let within = own.is_none_or(|own| models.is_some_and(|given| given.iter().all(|one| own.covers(one))));
        if within {
            return Ok(());
        }
        Err(CommandError::OutOfReach { reason: "a key can be given no model that its giver may not use" })
    }

    /// Whether the caller may manage a user, or a key of one: it reaches as far as any of the user's roles.
    pub fn governs(&self, user: &User) -> Result<(), CommandError> {
        self.covers(reach::of_roles(user))
    }

    /// Whether the caller may give a user of `tenant` these roles: none that would hand out what it has not itself.
    /// `field` is where the list stands.
    pub fn may_grant(&self, tenant: TenantId, roles: &[RoleGrant], field: &str) -> Result<(), CommandError> {
        for (index, grant) in roles.iter().enumerate() {
            if !reach::covers(grant.scope, Reach::Tenant(tenant), |tenant| self.partner_of(tenant)) {
                let field = format!("{field}[{index}].scope");
                return Err(FieldError::new(field, "must contain the user's own tenant").into());
            }
            self.covers(grant.scope)?;
            let given = Permission::ALL.iter().filter(|permission| reach::grants(grant.role, **permission));
            let beyond_tenant = grant.scope != Reach::Tenant(tenant);
            if beyond_tenant && !given.into_iter().all(|permission| self.caller.may(*permission)) {
                return Err(CommandError::OutOfReach { reason: "a role can be given only by who has its permissions" });
            }
        }
        Ok(())
    }

    fn covers(&self, inner: Reach) -> Result<(), CommandError> {
        if reach::covers(self.caller.reach, inner, |tenant| self.partner_of(tenant)) {
            return Ok(());
        }
        Err(CommandError::OutOfReach { reason: "this reaches further than the caller does" })
    }

    fn partner_of(&self, tenant: TenantId) -> Option<PartnerId> {
        self.tables.tenant(tenant).map(|entry| entry.value.partner_id)
    }

    /// Of what has ended nothing is changed any more: neither a part of it, nor what it may spend.
    pub fn owners_live(&self, kind: StreamKind, chain: &Chain) -> Result<(), CommandError> {
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

    /// The levels of the chain that have ended, the widest first.
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

const fn kind_of(scope: Scope) -> StreamKind {
    match scope {
        Scope::Partner(_) => StreamKind::Partner,
        Scope::Tenant(_) => StreamKind::Tenant,
        Scope::User(_) => StreamKind::User,
        Scope::Key(_) => StreamKind::Key,
    }
}

fn not_found(field: &str, kind: StreamKind) -> CommandError {
    CommandError::ReferenceNotFound { field: field.to_owned(), kind }
}
