//! The reach of a key: what its user's roles grant, limited to the narrowest reach of the key's own permissions.

use events::event::Chain;
use events::event::admin::{Permission, Reach, User, UserRole};
use events::ids::{PartnerId, TenantId};

/// The table of roles and permissions, as in `docs/tenancy.md`: the permissions that a role widens to its scope. A
/// permission that no role of a user grants reaches the user's own tenant. The operator has no role but every permission.
pub const GRANTS: &[(UserRole, &[Permission])] = &[
    (UserRole::PartnerAdmin, Permission::ALL),
    (UserRole::TenantAdmin, Permission::ALL),
    (UserRole::Auditor, &[Permission::UsageRead, Permission::AuditRead, Permission::EventsRead]),
    (UserRole::Analyst, &[Permission::UsageRead]),
    (UserRole::Member, &[Permission::ModelsUse, Permission::RoutingChoose]),
];

/// Whether the role grants the permission within its scope.
pub fn grants(role: UserRole, permission: Permission) -> bool {
    GRANTS.iter().any(|(granting, permissions)| *granting == role && permissions.contains(&permission))
}

/// The reach that a key has with all of its permissions. An auditor of the platform whose key may also administrate does
/// neither beyond its tenant.
pub fn of_permissions(user: &User, permissions: &[Permission]) -> Reach {
    let own = Reach::Tenant(user.tenant_id);
    let each = permissions.iter().map(|permission| {
        let granting = user.roles.iter().filter(|grant| grants(grant.role, *permission));
        granting.map(|grant| grant.scope).fold(own, wider)
    });
    each.reduce(narrower).unwrap_or(own)
}

/// The widest reach of the user's roles, whatever permissions its keys have.
pub fn of_roles(user: &User) -> Reach {
    user.roles.iter().map(|grant| grant.scope).fold(Reach::Tenant(user.tenant_id), wider)
}

/// Whether everything within `inner` is within `outer`. `partner_of` returns the partner of a tenant.
pub fn covers(outer: Reach, inner: Reach, partner_of: impl Fn(TenantId) -> Option<PartnerId>) -> bool {
    match (outer, inner) {
        (Reach::Platform, _) => true,
        (Reach::Partner(_) | Reach::Tenant(_), Reach::Platform) | (Reach::Tenant(_), Reach::Partner(_)) => false,
        (Reach::Partner(outer), Reach::Partner(inner)) => outer == inner,
        (Reach::Partner(outer), Reach::Tenant(inner)) => partner_of(inner) == Some(outer),
        (Reach::Tenant(outer), Reach::Tenant(inner)) => outer == inner,
    }
}

/// Whether a resource that belongs to `chain` is within `reach`. A resource without an owner is the platform's.
pub fn contains(reach: Reach, chain: &Chain) -> bool {
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

    fn user(roles: &[(UserRole, Reach)]) -> User {
        User {
            roles: roles.iter().map(|(role, scope)| RoleGrant { role: *role, scope: *scope }).collect(),
            ..User::new(UserId::from(Uuid::from_u128(2)), TenantId::from(Uuid::from_u128(TENANT)), String::new())
        }
    }

    /// The table in the format of the page.
    fn as_documented() -> String {
        let names: Vec<_> = Permission::ALL.iter().map(|permission| format!("`{}`", permission.as_str())).collect();
        let mut table = format!("| role | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
        let row = |name: &str, has: &dyn Fn(Permission) -> bool| {
            let cells: Vec<_> = Permission::ALL.iter().map(|one| if has(*one) { "yes" } else { "" }).collect();
            format!("| {name} | {} |\n", cells.join(" | "))
        };
        table.push_str(&row("operator", &|_| true));
        for role in UserRole::ALL {
            table.push_str(&row(&format!("`{}`", role.as_str()), &|permission| grants(*role, permission)));
        }
        table
    }

    /// Holds: admin.roles
    #[test]
    fn the_page_has_the_table_of_roles_and_permissions_as_it_is_here() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/tenancy.md");
        let page = std::fs::read_to_string(page).expect("docs/tenancy.md");
        assert!(page.contains(&as_documented()), "docs/tenancy.md lacks this table:\n{}", as_documented());
    }

    #[test]
    fn every_role_stands_in_the_table_once() {
        let named: Vec<UserRole> = GRANTS.iter().map(|(role, _)| *role).collect();
        assert_eq!(named, UserRole::ALL);
    }

    /// Holds: admin.roles
    #[test]
    fn without_a_role_every_permission_reaches_the_own_tenant() {
        assert_eq!(of_permissions(&user(&[]), Permission::ALL), tenant());
    }

    #[test]
    fn a_read_only_role_widens_no_administration() {
        let auditor = user(&[(UserRole::Auditor, Reach::Platform)]);
        assert_eq!(of_permissions(&auditor, &[Permission::AuditRead, Permission::UsageRead]), Reach::Platform);
        assert_eq!(of_permissions(&auditor, &[Permission::AdminAccess]), tenant());
        assert_eq!(of_permissions(&auditor, &[Permission::AuditRead, Permission::AdminAccess]), tenant());
        assert_eq!(of_roles(&auditor), Reach::Platform);
    }

    /// Holds: admin.roles
    #[test]
    fn an_administrator_reaches_as_far_as_its_role() {
        let partner = Reach::Partner(PartnerId::from(Uuid::from_u128(3)));
        let admin = user(&[(UserRole::Member, tenant()), (UserRole::PartnerAdmin, partner)]);
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
        assert!(!contains(tenant(), &Chain::default()), "what belongs to nobody is the platform's");
    }
}
