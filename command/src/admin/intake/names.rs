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
    SideRow::ClaimName {
        kind,
        scope: tenant.map_or_else(|| SHARED.to_owned(), |tenant| tenant.to_string()),
        name: name.to_owned(),
        owner: id.to_string(),
    }
}

pub fn release(id: impl Display) -> SideRow {
    SideRow::ReleaseNames { owner: id.to_string() }
}
