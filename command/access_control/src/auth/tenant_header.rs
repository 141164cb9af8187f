//! `X-Tenant-ID` selects the tenant of a request: by id, by slug, or by `PARTNER/TENANT` if several tenants have the slug.
//! For a key, tenants beyond its reach do not exist.

use std::sync::Arc;

use events::event::Chain;
use events::ids::TenantId;
use events::refusal::{ErrorCode, Refusal};
use http::HeaderValue;
use projections::caller::Caller;
use projections::tables::Tables;

/// Why the header selects no tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSelected {
    /// The tenant has ended, does not exist, or is beyond the key's reach.
    Unknown,
    Ambiguous,
}

impl From<NotSelected> for Refusal {
    fn from(why: NotSelected) -> Self {
        let message = match why {
            NotSelected::Unknown => "X-Tenant-ID names no tenant within the key's reach",
            NotSelected::Ambiguous => {
                "X-Tenant-ID is the slug of several tenants within the key's reach: write PARTNER/TENANT"
            }
        };
        Self::new(ErrorCode::Forbidden, message)
    }
}

/// The caller for the tenant that the header names.
pub fn select_tenant(caller: &Arc<Caller>, tables: &Tables, header: &HeaderValue) -> Result<Arc<Caller>, NotSelected> {
    let named = header.to_str().map(|text| tenants_named(tables, text)).unwrap_or_default();
    let mut matching = named.into_iter().filter_map(|chain| caller.for_tenant(tables, chain));
    match (matching.next(), matching.next()) {
        (None, _) => Err(NotSelected::Unknown),
        (Some(caller), None) => Ok(Arc::new(caller)),
        (Some(_), Some(_)) => Err(NotSelected::Ambiguous),
    }
}

fn tenants_named(tables: &Tables, text: &str) -> Vec<Chain> {
    if let Ok(id) = text.parse::<TenantId>() {
        return tables.chain_of_tenant(id).into_iter().collect();
    }
    let (partner, slug) = text.split_once('/').map_or((None, text), |(partner, slug)| (Some(partner), slug));
    let chains = tables.tenants_with_slug(slug);
    chains.filter(|chain| partner.is_none_or(|partner| is_partner(tables, chain, partner))).collect()
}

/// True if the chain's partner has this slug or id.
fn is_partner(tables: &Tables, chain: &Chain, named: &str) -> bool {
    let partner = chain.partner.and_then(|id| tables.partner(id));
    partner.is_some_and(|entry| {
        entry.value.handles.slug.as_deref() == Some(named) || entry.value.partner_id.to_string() == named
    })
}
