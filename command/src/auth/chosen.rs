//! `X-Tenant-ID`: which tenant a request is for. An id, a slug, or `PARTNER/TENANT` where the slug alone could mean
//! several; whatever lies out of the key's reach does not exist for it.

use std::sync::Arc;

use events::event::Chain;
use events::ids::TenantId;
use events::wire::{ErrorCode, Refusal};
use http::HeaderValue;
use projections::caller::Caller;
use projections::tables::Tables;

/// The caller for the tenant that the header names. A key keeps its own id, and its user's: their budgets bind it
/// wherever it goes.
///
/// Errors: `FORBIDDEN` where the tenant has ended, is unknown or out of reach, or where several are meant.
pub fn choose(caller: &Arc<Caller>, tables: &Tables, header: &HeaderValue) -> Result<Arc<Caller>, Refusal> {
    let mut named = header.to_str().map(|text| tenants_named(tables, text)).unwrap_or_default();
    named.retain(|chain| is_within(caller, tables, chain));
    match named.as_slice() {
        [] => Err(refused("X-Tenant-ID names no tenant within the key's reach")),
        [chain] => Ok(within(caller, *chain)),
        [_, _, ..] => Err(refused("X-Tenant-ID is the slug of several tenants within reach: write PARTNER/TENANT")),
    }
}

fn refused(message: &str) -> Refusal {
    Refusal::new(ErrorCode::Forbidden, message)
}

fn tenants_named(tables: &Tables, text: &str) -> Vec<Chain> {
    if let Ok(id) = text.parse::<TenantId>() {
        return tables.chain_of_tenant(id).into_iter().collect();
    }
    let (partner, slug) = text.split_once('/').map_or((None, text), |(partner, slug)| (Some(partner), slug));
    let chains = tables.tenants_called(slug);
    chains.filter(|chain| partner.is_none_or(|partner| is_partner(tables, chain, partner))).collect()
}

/// Whether the chain's partner has this slug, or this id.
fn is_partner(tables: &Tables, chain: &Chain, named: &str) -> bool {
    let partner = chain.partner.and_then(|id| tables.partner(id));
    partner.is_some_and(|entry| {
        entry.value.handles.slug.as_deref() == Some(named) || entry.value.partner_id.to_string() == named
    })
}

fn is_within(caller: &Caller, tables: &Tables, chain: &Chain) -> bool {
    // A key may always name its own tenant, however far it reaches.
    let reached = chain.tenant == caller.chain.tenant
        || chain.partner.zip(chain.tenant).is_some_and(|(partner, tenant)| caller.reaches_tenant(partner, tenant));
    reached && tables.owners_are_live(chain)
}

fn within(caller: &Arc<Caller>, chain: Chain) -> Arc<Caller> {
    let (own, chosen_tenant) = (caller.chain, chain.tenant);
    let chain = if own.tenant == chosen_tenant {
        own
    } else {
        // The operator's own user belongs to the default tenant alone.
        Chain { user: own.key.and(own.user), key: own.key, ..chain }
    };
    Arc::new(Caller { chain, chosen_tenant, ..Caller::clone(caller) })
}
