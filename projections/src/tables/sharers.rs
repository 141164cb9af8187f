//! Sharers of the budgets of a partner, a tenant, a team and a user: the keys below it that may use models. A key that has expired counts
//! until it is revoked.

use events::event::admin::{Key, Permission, Scope, Team, Tenant, User};
use events::event::{Chain, Change, TeamVersions};
use events::ids::{KeyId, TenantId};
use events::ledger::SharedScopes;

use super::{Entry, Tables};

/// The number of those who share the budgets of an owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sharers {
    keys: u64,
    /// The tenants of a partner that have such keys.
    tenants: u64,
}

impl Tables {
    /// The owners whose budgets a request of this chain, that counts for these teams, shares with others.
    pub fn shared_scopes(&self, chain: &Chain, teams: &TeamVersions) -> SharedScopes {
        let of = |owner: Option<Scope>| owner.map_or_else(Sharers::default, |owner| self.sharers_of(owner));
        let partner = of(chain.partner.map(Scope::Partner));
        let user = of(chain.user.map(Scope::User)).keys > 1;
        let has_others = |team: &Entry<Team>| team.value.user_ids.len() > 1;
        SharedScopes {
            partner: partner.keys > 1,
            partner_tenants: partner.tenants > 1,
            tenant: of(chain.tenant.map(Scope::Tenant)).keys > 1,
            teams: user || teams.keys().filter_map(|id| self.team(*id)).any(has_others),
            user,
        }
    }

    /// Whether a request of this chain is one of a user of another tenant.
    pub fn is_guest(&self, chain: &Chain) -> bool {
        let own = chain.user.and_then(|user| self.chain_of_user(user));
        own.is_some_and(|own| own.tenant != chain.tenant)
    }

    fn sharers_of(&self, owner: Scope) -> Sharers {
        self.sharers.get(&owner).copied().unwrap_or_default()
    }

    /// Whether a key shares budgets with others.
    pub(super) fn is_sharer(&self, id: KeyId) -> bool {
        let may_use_models = |key: &Key| key.permissions.contains(&Permission::ModelsUse);
        self.key(id).is_some_and(|entry| entry.ended_at.is_none() && may_use_models(&entry.key))
    }

    /// Counts a change of whether a key shares budgets.
    pub(super) fn count_sharer(&mut self, id: KeyId, was: bool) {
        let keys = i64::from(self.is_sharer(id)) - i64::from(was);
        let Some(Chain { user: Some(user), tenant, .. }) = self.key(id).map(|entry| entry.chain) else { return };
        if keys == 0 {
            return;
        }
        self.add_sharers(Scope::User(user), keys, 0);
        // A user that has ended counts for nobody any more, and neither do its keys.
        if self.user(user).is_some_and(Entry::is_live)
            && let Some(tenant) = tenant
        {
            self.add_keys_of_tenant(tenant, keys);
        }
    }

    /// Takes the keys of a user that ends out of its tenant.
    pub(super) fn count_end_of_user(&mut self, change: &Change<User>) {
        let Change::Ended(id) = change else { return };
        let Some(tenant) = self.user(*id).filter(|user| user.is_live()).map(|user| user.value.tenant_id) else {
            return;
        };
        let keys = self.sharers_of(Scope::User(*id)).keys;
        self.add_keys_of_tenant(tenant, 0_i64.saturating_sub_unsigned(keys));
    }

    /// Takes the keys of a tenant that ends out of its partner.
    pub(super) fn count_end_of_tenant(&mut self, change: &Change<Tenant>) {
        let Change::Ended(id) = change else { return };
        let keys = self.sharers_of(Scope::Tenant(*id)).keys;
        self.add_to_partner(*id, 0_i64.saturating_sub_unsigned(keys), -i64::from(keys > 0));
    }

    fn add_keys_of_tenant(&mut self, tenant: TenantId, keys: i64) {
        let owner = Scope::Tenant(tenant);
        let had_some = self.sharers_of(owner).keys > 0;
        self.add_sharers(owner, keys, 0);
        let has_some = self.sharers_of(owner).keys > 0;
        self.add_to_partner(tenant, keys, i64::from(has_some) - i64::from(had_some));
    }

    /// Counts at the partner what changes in a tenant, unless that has ended.
    fn add_to_partner(&mut self, tenant: TenantId, keys: i64, tenants: i64) {
        let live = self.tenant(tenant).filter(|tenant| tenant.is_live());
        if let Some(partner) = live.map(|tenant| tenant.value.partner_id) {
            self.add_sharers(Scope::Partner(partner), keys, tenants);
        }
    }

    fn add_sharers(&mut self, owner: Scope, keys: i64, tenants: i64) {
        let before = self.sharers_of(owner);
        let after = Sharers {
            keys: before.keys.saturating_add_signed(keys),
            tenants: before.tenants.saturating_add_signed(tenants),
        };
        self.sharers.insert(owner, after);
    }
}
