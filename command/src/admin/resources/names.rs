//! Names that are unique in their scope: of models and of providers, among what all tenants share and among each tenant's
//! own.

use std::fmt::Display;

use events::event::StreamKind;
use events::ids::TenantId;
use events::log::SideRow;

/// Scope of what all tenants share.
const SHARED: &str = "shared";

/// Of the name, for the resource that has it.
pub fn claim(kind: StreamKind, id: impl Display, name: &str, tenant: Option<TenantId>) -> SideRow {
    match tenant {
        Some(tenant) => claim_among(tenant, kind, id, name),
        None => claim_among(SHARED, kind, id, name),
    }
}

/// The same, in a scope that its owner is known by.
pub fn claim_among(scope: impl Display, kind: StreamKind, id: impl Display, name: &str) -> SideRow {
    SideRow::ClaimName { kind, scope: scope.to_string(), name: name.to_owned(), owner: id.to_string() }
}

pub fn release(id: impl Display) -> SideRow {
    SideRow::ReleaseNames { owner: id.to_string() }
}
