//! Claims to unique names. Names of models and of providers are unique among those that all tenants share, and among each
//! tenant's own; names of saved searches among the platform's, and among each tenant's.

use std::fmt::Display;

use events::event::StreamKind;
use events::ids::TenantId;
use events_log::{Name, SideRow};

/// The scope of names without a tenant.
const SHARED: &str = "shared";

/// Claims a name for a shared resource, or one of the platform's (`None`), or a tenant's own.
pub fn claim(kind: StreamKind, id: impl Display, name: &str, tenant: Option<TenantId>) -> SideRow {
    match tenant {
        Some(tenant) => claim_among(tenant, kind, id, name),
        None => claim_among(SHARED, kind, id, name),
    }
}

/// Claims a name in any scope.
pub fn claim_among(scope: impl Display, kind: StreamKind, id: impl Display, name: &str) -> SideRow {
    SideRow::ClaimName { name: Name { kind, scope: scope.to_string(), name: name.to_owned() }, owner: id.to_string() }
}

/// Releases every name of a resource.
pub fn release(id: impl Display) -> SideRow {
    SideRow::ReleaseNames { owner: id.to_string() }
}
