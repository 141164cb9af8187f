//! How far a key reaches: what its user's roles grant, and no further than the narrowest of its own permissions does.

use events::event::Chain;
use events::event::admin::{Key, Permission, Reach, Role, User};
use events::ids::{PartnerId, TenantId};

use crate::tables::Tables;

/// The one table of roles and permissions. A permission that no role of a user grants reaches the user's own tenant.
pub const fn grants(role: Role, permission: Permission) -> bool {
    match (role, permission) {
        (Role::PartnerAdmin | Role::TenantAdmin, _) => true,
        (Role::Auditor, Permission::AuditRead | Permission::EventsRead | Permission::UsageRead) => true,
        (Role::Auditor, Permission::ModelsUse | Permission::AdminAccess) => false,
        (Role::Analyst, Permission::UsageRead) => true,
        (
            Role::Analyst,
            Permission::ModelsUse | Permission::AuditRead | Permission::EventsRead | Permission::AdminAccess,
        ) => false,
        (Role::Member, Permission::ModelsUse) => true,
        (
            Role::Member,
            Permission::UsageRead | Permission::AuditRead | Permission::EventsRead | Permission::AdminAccess,
        ) => false,
    }
}

/// How far the key reaches with every one of its permissions: a platform's auditor whose key may also administrate
/// does neither beyond the tenant.
pub fn of_key(tables: &Tables, key: &Key) -> Reach {
    let Some(user) = tables.user(key.user_id) else {
        // Nobody's tenant: a key without its user reaches nothing.
        return Reach::Tenant(TenantId::from(key.user_id.uuid()));
    };
    of_permissions(&user.value, &key.permissions)
}

/// The same for a key that is still to be made.
pub fn of_permissions(user: &User, permissions: &[Permission]) -> Reach {
    let own = Reach::Tenant(user.tenant_id);
    let each = permissions.iter().map(|permission| {
        let granting = user.roles.iter().filter(|grant| grants(grant.role, *permission));
        granting.map(|grant| grant.scope).fold(own, wider)
    });
    each.reduce(narrower).unwrap_or(own)
}

/// The widest reach of any of the user's roles, whatever a key of it may do.
pub fn of_roles(user: &User) -> Reach {
    user.roles.iter().map(|grant| grant.scope).fold(Reach::Tenant(user.tenant_id), wider)
}

/// Whether everything within `inner` is within `outer`. `partner_of` says whose an inner tenant is.
pub fn covers(outer: Reach, inner: Reach, partner_of: impl Fn(TenantId) -> Option<PartnerId>) -> bool {
    match (outer, inner) {
        (Reach::Platform, _) => true,
        (Reach::Partner(_) | Reach::Tenant(_), Reach::Platform) | (Reach::Tenant(_), Reach::Partner(_)) => false,
        (Reach::Partner(outer), Reach::Partner(inner)) => outer == inner,
        (Reach::Partner(outer), Reach::Tenant(inner)) => partner_of(inner) == Some(outer),
        (Reach::Tenant(outer), Reach::Tenant(inner)) => outer == inner,
    }
}

/// Whether a resource that belongs to `chain` is within `reach`. What belongs to nobody is the platform's.
pub fn has(reach: Reach, chain: &Chain) -> bool {
    match reach {
        Reach::Platform => true,
        Reach::Partner(partner) => chain.partner == Some(partner),
        Reach::Tenant(tenant) => chain.tenant == Some(tenant),
    }
}

const fn breadth(reach: Reach) -> u8 {
    match reach {
        Reach::Tenant(_) => 0,
        Reach::Partner(_) => 1,
        Reach::Platform => 2,
    }
}

const fn wider(one: Reach, other: Reach) -> Reach {
    if breadth(other) > breadth(one) { other } else { one }
}

const fn narrower(one: Reach, other: Reach) -> Reach {
    if breadth(other) < breadth(one) { other } else { one }
}

#[cfg(test)]
mod tests {
    use events::event::admin::RoleGrant;
    use events::ids::UserId;
    use uuid::Uuid;

    use super::*;

    const TENANT: u128 = 1;

    fn tenant() -> Reach {
        Reach::Tenant(TenantId::from(Uuid::from_u128(TENANT)))
    }

    fn user(roles: &[(Role, Reach)]) -> User {
        User {
            user_id: UserId::from(Uuid::from_u128(2)),
            tenant_id: TenantId::from(Uuid::from_u128(TENANT)),
            roles: roles.iter().map(|(role, scope)| RoleGrant { role: *role, scope: *scope }).collect(),
            name_digest: String::new(),
            email_digest: None,
        }
    }

    #[test]
    fn without_a_role_every_permission_reaches_the_own_tenant() {
        assert_eq!(of_permissions(&user(&[]), Permission::ALL), tenant());
    }

    #[test]
    fn a_read_only_role_widens_no_administration() {
        let auditor = user(&[(Role::Auditor, Reach::Platform)]);
        assert_eq!(of_permissions(&auditor, &[Permission::AuditRead, Permission::UsageRead]), Reach::Platform);
        assert_eq!(of_permissions(&auditor, &[Permission::AdminAccess]), tenant());
        assert_eq!(of_permissions(&auditor, &[Permission::AuditRead, Permission::AdminAccess]), tenant());
        assert_eq!(of_roles(&auditor), Reach::Platform);
    }

    #[test]
    fn an_administrator_reaches_as_far_as_its_role() {
        let partner = Reach::Partner(PartnerId::from(Uuid::from_u128(3)));
        let admin = user(&[(Role::Member, tenant()), (Role::PartnerAdmin, partner)]);
        assert_eq!(of_permissions(&admin, Permission::ALL), partner);
    }

    #[test]
    fn a_reach_covers_what_lies_within_it() {
        let [one, two] = [3, 4].map(|number| PartnerId::from(Uuid::from_u128(number)));
        let partner_of = |_| Some(one);
        assert!(covers(Reach::Platform, Reach::Platform, partner_of));
        assert!(covers(Reach::Partner(one), tenant(), partner_of));
        assert!(!covers(Reach::Partner(two), tenant(), partner_of));
        assert!(!covers(Reach::Partner(one), Reach::Platform, partner_of));
        assert!(!covers(tenant(), Reach::Partner(one), partner_of));
        assert!(!has(tenant(), &Chain::default()), "what belongs to nobody is the platform's");
    }
}
